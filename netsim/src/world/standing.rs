//! Who belongs to the cluster: founding, joining with a token, leaving.

use std::sync::Arc;

use rand::RngExt;
use rand::seq::IteratorRandom;
use skein_core::node::{Input, TOKEN_KIND};
use skein_core::request::{AdmissionError, AdmissionRequest, Durability, RequestId, WriteOp, WriteRequest};
use skein_crdt_state::store::tables;
use skein_crdt_state::{Edit, Envelope, Kind, NameKey, Record, Scalar};

use super::{Event, World};
use crate::disk::Disk;
use crate::host::{Host, Standing};

/// The hash of the secret that everybody joins with.
const TOKEN: [u8; 32] = [9; 32];
/// Requests that are no user's writes are numbered from here.
const OTHER_REQUESTS: RequestId = 1 << 40;
/// How long somebody who asks to be let in waits before asking again, in microseconds.
const ASK_AGAIN_US: u64 = 3_000_000;
/// How long a daemon goes on after its departure is known, in microseconds.
const GONE_AFTER_US: u64 = 1_000_000;

impl Host {
    /// Whether its daemon is meant to run.
    #[must_use]
    pub fn is_switched_on(&self) -> bool {
        matches!(self.standing, Standing::Member | Standing::Leaving)
    }
}

impl World {
    /// The first host founds the cluster and mints a token, and everybody else asks to be let in with it.
    pub(super) fn found(&mut self) {
        self.hosts[0].standing = Standing::Member;
        self.hosts[0].is_founder = true;
        self.boot(0);
        let name = NameKey::root(&Kind::new(TOKEN_KIND), &"09".repeat(32));
        let edits =
            vec![Edit::set("spec.expiresMs", Scalar::Int(i64::MAX)), Edit::set("spec.uses", Scalar::Int(1_000_000))];
        let request = WriteRequest {
            op: WriteOp::Create { name, edits },
            durability: Durability::Local,
            user: "founder".into(),
            manager: "netsim".into(),
            request_id: "token".into(),
        };
        self.input(0, Input::Write(OTHER_REQUESTS, Box::new(request)));
        for host in 1..self.hosts.len() {
            self.after(host as u64 * 10_000, Event::Join { host });
        }
    }

    /// Asks a member to let a host in, and again after a while.
    pub(super) fn join(&mut self, number: usize) {
        let standing = &mut self.hosts[number].standing;
        if matches!(standing, Standing::Member | Standing::Leaving) {
            return;
        }
        *standing = Standing::Joining;
        self.after(ASK_AGAIN_US, Event::Join { host: number });
        let up: Vec<usize> = self.up().into_iter().filter(|via| self.links.is_whole(number, *via)).collect();
        let Some(via) = up.into_iter().choose(&mut self.chance.faults) else { return };
        self.trace.line(self.now_us, format_args!("h{number} asks h{via} to be let in"));
        let id = OTHER_REQUESTS + 1 + self.asked.len() as u64;
        self.asked.insert(id, number);
        let (node, name) = (self.hosts[number].keys.node_id(), self.hosts[number].name.clone());
        let input = Box::new(Input::Admit(id, AdmissionRequest { node, name, token: TOKEN }));
        let (start, delay) = (self.hosts[via].start, self.latency_us(number, via));
        self.after(delay, Event::Hear { host: via, start, input });
    }

    pub(super) fn admitted(&mut self, via: usize, id: RequestId, answer: Result<Vec<Arc<Envelope>>, AdmissionError>) {
        let Some(host) = self.asked.get(&id).copied() else { return };
        match answer {
            Ok(statements) if self.links.is_whole(host, via) => {
                let delay = self.latency_us(via, host);
                self.after(delay, Event::Admitted { host, statements });
            }
            Ok(_) => {}
            Err(error) => self.trace.line(self.now_us, format_args!("h{via} does not let h{host} in: {error}")),
        }
    }

    /// A host was let in: it begins with nothing but the statements that say so.
    pub(super) fn let_in(&mut self, number: usize, statements: &[Arc<Envelope>]) {
        if self.hosts[number].standing != Standing::Joining {
            return;
        }
        let record = |said: &Arc<Envelope>| Record {
            table: tables::MEMBERS,
            key: said.digest().to_vec(),
            value: Some(said.encode()),
        };
        let host = &mut self.hosts[number];
        host.standing = Standing::Member;
        host.disk = Disk::default();
        host.disk.begin(0, statements.iter().map(record).collect(), false);
        // A new disk refuses nothing.
        let _ = host.disk.sync(0);
        self.watch.begins_anew(number);
        self.boot(number);
    }

    /// Asks a daemon to leave the cluster for good.
    pub fn leave(&mut self, number: usize) {
        if !self.hosts[number].is_switched_on() {
            return;
        }
        self.hosts[number].standing = Standing::Leaving;
        self.trace.line(self.now_us, format_args!("h{number} is asked to leave"));
        self.input(number, Input::Leave(OTHER_REQUESTS));
    }

    pub(super) fn has_left(&mut self, number: usize) {
        let start = self.hosts[number].start;
        self.after(GONE_AFTER_US, Event::Gone { host: number, start });
    }

    pub(super) fn gone(&mut self, number: usize) {
        if self.hosts[number].standing != Standing::Leaving {
            return;
        }
        self.kill(number);
        let me = self.hosts[number].keys.node_id();
        let mut others = self.hosts.iter().filter_map(|host| host.node.as_ref());
        if !others.any(|node| node.store().members().get(&me).is_some_and(|member| member.left.is_some())) {
            // Its user sees elsewhere that nobody knows, starts it once more and repeats the wish.
            self.trace.line(self.now_us, format_args!("h{number} has left and nobody knows"));
            return self.boot(number);
        }
        self.trace.line(self.now_us, format_args!("h{number} has left"));
        self.hosts[number].standing = Standing::Out;
        self.hosts[number].is_founder = false;
        if self.busy {
            let delay = self.chance.faults.random_range(1_000_000..15_000_000);
            self.after(delay, Event::Join { host: number });
        }
    }
}
