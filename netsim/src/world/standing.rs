//! Who belongs to the cluster: founding, joining with a token, leaving, being removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngExt;
use rand::seq::IteratorRandom;
use skein_core::node::{Input, Node, TOKEN_KIND, founding_record};
use skein_core::request::{AdmissionError, AdmissionRequest, Durability, LeaveError, RequestId, WriteOp, WriteRequest};
use skein_crdt_state::members::{Ended, Member, REMOVAL};
use skein_crdt_state::store::tables;
use skein_crdt_state::{Edit, Envelope, Kind, NameKey, Operation, Record, Scalar};

use super::{Event, World};
use crate::disk::Disk;
use crate::host::{Host, Standing};

/// The hash of the secret that members join with, and of the one for observers.
const TOKEN: [u8; 32] = [9; 32];
const OBSERVERS_TOKEN: [u8; 32] = [8; 32];
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
        matches!(self.standing, Standing::Member | Standing::Leaving | Standing::Removed)
    }
}

impl World {
    /// The first host founds the cluster and mints a token, and everybody else asks to be let in with it.
    pub(super) fn found(&mut self) {
        self.hosts[0].standing = Standing::Member;
        self.hosts[0].is_founder = true;
        self.hosts[0].disk.begin(0, [founding_record(self.cluster)].into(), false);
        // A new disk refuses nothing.
        let _ = self.hosts[0].disk.sync(0);
        self.boot(0);
        self.mint(0, 0, TOKEN, "member");
        if self.knobs.observers > 0 {
            self.mint(0, 1, OBSERVERS_TOKEN, "observer");
        }
        for host in 1..self.hosts.len().saturating_sub(self.knobs.outside()) {
            self.after(host as u64 * 10_000, Event::Join { host });
        }
    }

    /// Whether a host comes in as an observer.
    #[must_use]
    pub fn observes(&self, host: usize) -> bool {
        host > 0 && host + self.knobs.observers >= self.hosts.len()
    }

    /// The founder's token while it counts at a host; else one that this host's user makes there.
    fn token_of(&mut self, host: usize, observes: bool) -> [u8; 32] {
        let (founders, role) = if observes { (OBSERVERS_TOKEN, "observer") } else { (TOKEN, "member") };
        let Some(node) = &self.hosts[host].node else { return founders };
        let names: Vec<String> = node.tokens().iter().map(|token| token.key.name().to_owned()).collect();
        let is_there = |token: &[u8; 32]| names.contains(&hex(token));
        let mut own = [if observes { OBSERVERS_TOKEN[0] } else { TOKEN[0] }; 32];
        own[..8].copy_from_slice(&(1 + host as u64).to_be_bytes());
        match [founders, own].into_iter().find(is_there) {
            Some(token) => token,
            None => {
                self.tokens_made += 1;
                self.mint(host, 2 + self.tokens_made, own, role);
                own
            }
        }
    }

    fn mint(&mut self, host: usize, number: RequestId, token: [u8; 32], role: &str) {
        let name = NameKey::root(&Kind::new(TOKEN_KIND), &hex(&token));
        let mut edits =
            vec![Edit::set("spec.expiresMs", Scalar::Int(i64::MAX)), Edit::set("spec.uses", Scalar::Int(1_000_000))];
        if role != "member" {
            edits.push(Edit::set("spec.role", Scalar::str(role)));
        }
        let request = WriteRequest {
            op: WriteOp::Create { name, edits },
            durability: Durability::Local,
            user: "founder".into(),
            manager: "netsim".into(),
            operation: Operation::Update,
            request_id: if role == "member" { "token".into() } else { format!("token for {role}") },
        };
        // Requests of this kind that ask for more come after these.
        self.input(host, Input::Write(OTHER_REQUESTS + (number << 20), Box::new(request)));
    }

    /// Asks a member to let a host in, and again after a while.
    pub(super) fn join(&mut self, number: usize) {
        if self.hosts[number].gone_for_good {
            return;
        }
        let standing = &mut self.hosts[number].standing;
        match standing {
            Standing::Member | Standing::Leaving => return,
            // Whoever was removed asks as well, with the key that must stay out.
            Standing::Removed => {}
            Standing::Out | Standing::Joining => *standing = Standing::Joining,
        }
        self.after(ASK_AGAIN_US, Event::Join { host: number });
        let runs = |host: &&Host| host.node.is_some() && matches!(host.standing, Standing::Member | Standing::Removed);
        let up = self.hosts.iter().filter(runs).map(|host| host.number);
        let up: Vec<usize> = up.filter(|via| *via != number && self.links.is_whole(number, *via)).collect();
        let Some(via) = up.into_iter().choose(&mut self.chance.faults) else { return };
        self.ask(number, via);
    }

    /// Asks one member to let a host in.
    pub(crate) fn ask(&mut self, number: usize, via: usize) {
        self.trace.line(self.now_us, format_args!("h{number} asks h{via} to be let in"));
        let id = OTHER_REQUESTS + 1 + self.asked.len() as u64;
        self.asked.insert(id, (number, via));
        let (node, name) = (self.hosts[number].keys.node_id(), self.hosts[number].name.clone());
        let token = self.token_of(via, self.observes(number));
        let input = Box::new(Input::Admit(id, AdmissionRequest { node, name, token }));
        let (start, delay) = (self.hosts[via].start, self.latency_us(number, via));
        self.after(delay, Event::Hear { host: via, start, input });
    }

    pub(super) fn admitted(&mut self, via: usize, id: RequestId, answer: Result<Vec<Arc<Envelope>>, AdmissionError>) {
        let Some((host, _)) = self.asked.get(&id).copied() else { return };
        match answer {
            Ok(statements) if self.links.is_whole(host, via) => {
                let delay = self.latency_us(via, host);
                self.hosts[host].offered = Some(self.hosts[via].keyring.clone());
                self.after(delay, Event::Admitted { host, statements });
            }
            Ok(_) => {}
            Err(error) => self.trace.line(self.now_us, format_args!("h{via} does not let h{host} in: {error}")),
        }
    }

    /// A daemon hears something that is no frame. An admission stands from now on, though whoever is let in is told later.
    pub(super) fn hear(&mut self, number: usize, input: Input) {
        let asked = if let Input::Admit(id, _) = &input { self.asked.get(id).copied() } else { None };
        self.input(number, input);
        if let Some((host, via)) = asked {
            self.note_admission(host, via);
        }
    }

    /// Notes when one host has admitted another; an answer that is only given again is no admission.
    fn note_admission(&mut self, host: usize, via: usize) {
        let (id, by) = (self.hosts[host].keys.node_id(), self.hosts[via].keys.node_id());
        let said = self.hosts[via].node.as_ref().and_then(|node| node.store().members().envelope(&(id, 1, by)));
        let Some(sequence) = said.map(|said| said.sequence()) else { return };
        let known = self.admissions.get(&(host, via)).map(|(known, _)| *known);
        // One who never heard of it asks again, perhaps one who was removed since and whom its remover had seen let it in.
        let is_again = known.is_some() && self.hosts[host].let_in == 0 && self.hosts[via].standing == Standing::Removed;
        if known != Some(sequence) && !is_again {
            self.admissions.insert((host, via), (sequence, self.now_us));
        }
    }

    /// A host was let in: it begins with nothing but the statements that say so.
    pub(super) fn let_in(&mut self, number: usize, statements: &[Arc<Envelope>]) {
        if self.hosts[number].standing != Standing::Joining {
            return;
        }
        let record = |said: &Arc<Envelope>| Record {
            table: tables::MEMBERS,
            key: said.digest()[..].into(),
            value: Some(said.encode().into()),
        };
        let host = &mut self.hosts[number];
        host.standing = Standing::Member;
        host.let_in += 1;
        host.disk = Disk::default();
        host.keyring = host.offered.take().unwrap_or_else(|| host.keyring.clone());
        host.disk.begin(0, statements.iter().map(record).collect(), false);
        // A new disk refuses nothing.
        let _ = host.disk.sync(0);
        self.watch.begins_anew(number);
        self.boot(number);
    }

    /// Takes note of who was removed, as far as any member knows, and of those that everybody else takes for out, since only a
    /// removed node had let them in: their users see that they are alone, and let them join anew.
    pub fn note_removals(&mut self) {
        // Where stories are told, who lets somebody in may leave before anybody has heard of it.
        if !self.oracle.asked_to_remove() && self.knobs.removal_every_ms == 0 {
            return;
        }
        let together = self.together();
        let known =
            together.iter().filter_map(|host| Some((*host, self.hosts[*host].node.as_ref()?.store().members())));
        let (mut ended, mut in_for_some) = (BTreeMap::new(), BTreeSet::new());
        let mut knowers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (by, members) in known {
            for member in members.iter() {
                // What a host believes of itself does not count: it may be the one that is out.
                let Some(host) = self.host_of(&member.id).filter(|host| *host != by) else { continue };
                match member.ended {
                    None => drop(in_for_some.insert(host)),
                    Some(removed @ Ended::Removed { .. }) => {
                        knowers.entry(host).or_default().push(by);
                        ended.insert(host, removed);
                    }
                    Some(why) => drop(ended.entry(host).or_insert(why)),
                }
            }
        }
        // What those alone know who are out themselves, such as two that removed each other, nobody has heard yet.
        let is_heard = |host: &usize| knowers.get(host).into_iter().flatten().any(|by| !knowers.contains_key(by));
        ended.retain(|host, why| match why {
            Ended::Removed { .. } => is_heard(host),
            _ => !in_for_some.contains(host),
        });
        self.note_unheard_of(&together, &in_for_some, &ended);
        self.note_mistaken(&in_for_some, &ended);
        self.note_misled(&in_for_some);
        for (number, why) in ended {
            match (self.hosts[number].standing, why) {
                (Standing::Removed | Standing::Out, _) => {}
                (_, Ended::Removed { .. }) => self.is_removed(number),
                (Standing::Member, _) => self.begins_again(number),
                // What it took while only a removed node had let it in may be gone.
                (Standing::Leaving, Ended::Unvouched) => self.oracle.is_out(number),
                _ => {}
            }
        }
    }

    /// The most members that take each other for members: what is said among others reaches nobody.
    fn together(&self) -> BTreeSet<usize> {
        let up = self.up();
        let takes = |a: usize, b: usize| {
            let id = self.hosts[b].keys.node_id();
            self.hosts[a].node.as_ref().is_some_and(|node| node.store().members().is_active(&id))
        };
        let removals = |host: usize| {
            let members = self.hosts[host].node.as_ref().map(|node| node.store().members().iter());
            members.map_or(0, |members| members.filter(|member| member.is_removed()).count())
        };
        // Whoever takes itself for out is in no group.
        let mut rest: BTreeSet<usize> = up.into_iter().filter(|host| takes(*host, *host)).collect();
        let mut most = BTreeSet::new();
        while let Some(first) = rest.pop_first() {
            let (mut group, mut open) = (BTreeSet::from([first]), vec![first]);
            while let Some(one) = open.pop() {
                let more: Vec<usize> =
                    rest.iter().copied().filter(|other| takes(one, *other) && takes(*other, one)).collect();
                rest.retain(|other| !more.contains(other));
                group.extend(&more);
                open.extend(more);
            }
            // Of as many those who know of more removals: others may be whom only removed nodes have let in.
            let weight = |group: &BTreeSet<usize>| (group.len(), group.iter().map(|host| removals(*host)).max());
            if weight(&group) > weight(&most) {
                most = group;
            }
        }
        most
    }

    /// Whom nobody has heard of but those who are out themselves is alone. Once all is mended its user does not wait any longer.
    fn note_unheard_of(
        &mut self,
        together: &BTreeSet<usize>,
        in_for_some: &BTreeSet<usize>,
        ended: &BTreeMap<usize, Ended>,
    ) {
        for number in 0..self.hosts.len() {
            let host = &self.hosts[number];
            let known = together.contains(&number) || in_for_some.contains(&number) || ended.contains_key(&number);
            let belongs = matches!(host.standing, Standing::Member | Standing::Leaving) && host.node.is_some();
            if belongs && !known && !host.is_founder && !self.busy && !together.is_empty() {
                self.begins_again(number);
            }
        }
    }

    /// Who was removed by somebody that was removed itself before anybody had heard of it, or that alone a removed node had let in,
    /// is a member like others.
    fn note_mistaken(&mut self, in_for_some: &BTreeSet<usize>, ended: &BTreeMap<usize, Ended>) {
        // Whoever is down may know better, and while stories are told whoever is apart.
        let is_down = |host: &Host| host.standing == Standing::Member && host.node.is_none();
        let are_apart = self.knobs.removal_every_ms > 0 && (self.busy || self.knocking);
        if are_apart || self.hosts.iter().any(is_down) {
            return;
        }
        for number in 0..self.hosts.len() {
            let host = &self.hosts[number];
            let is_in = in_for_some.contains(&number) && !ended.contains_key(&number);
            if host.standing == Standing::Removed && is_in {
                self.trace.line(self.now_us, format_args!("h{number} was removed by nobody who counts"));
                self.hosts[number].standing = Standing::Member;
            }
        }
    }

    /// Whose removal was on a disk alone that is lost is a member like others: its remover was warned of that, and nobody knows of it.
    pub(super) fn note_forgotten_removals(&mut self) {
        for number in 0..self.hosts.len() {
            let id = self.hosts[number].keys.node_id();
            let is_removal = |table: &str, key: &[u8]| {
                table == tables::MEMBERS
                    && key.strip_prefix(&id.0[..]).is_some_and(|rest| rest.first() == Some(&REMOVAL))
            };
            let knows = |host: &Host| {
                let member = host.node.as_ref().and_then(|node| node.store().members().get(&id));
                member.is_some_and(Member::is_removed) || host.disk.has(is_removal)
            };
            if self.hosts[number].standing == Standing::Removed && !self.hosts.iter().any(knows) {
                self.trace.line(self.now_us, format_args!("that h{number} was removed nobody knows any more"));
                self.hosts[number].standing = Standing::Member;
            }
        }
    }

    /// Who takes itself for out, since it has only heard of the admission by somebody that was removed, stays stopped though others know
    /// of another one. Once all is mended its user does what its log says.
    fn note_misled(&mut self, in_for_some: &BTreeSet<usize>) {
        for number in 0..self.hosts.len() {
            let host = &self.hosts[number];
            let is_out = |node: &Node| !node.store().members().is_active(&node.me());
            let is_misled = host.standing == Standing::Member && host.node.as_ref().is_some_and(is_out);
            if is_misled && in_for_some.contains(&number) && !self.busy {
                self.begins_again(number);
            }
        }
    }

    fn is_removed(&mut self, number: usize) {
        self.trace.line(self.now_us, format_args!("h{number} was removed"));
        self.oracle.is_out(number);
        self.watch.is_removed(number);
        self.hosts[number].standing = Standing::Removed;
        self.hosts[number].is_founder = false;
        if self.busy || self.knocking {
            self.after(ASK_AGAIN_US, Event::Join { host: number });
        } else {
            self.take_away(number);
        }
    }

    /// A host whom nobody takes for a member is stopped by its user, and asks somebody else.
    fn begins_again(&mut self, number: usize) {
        self.trace.line(self.now_us, format_args!("h{number} is out for all others and begins again"));
        self.oracle.is_out(number);
        self.kill(number);
        self.hosts[number].standing = Standing::Out;
        self.after(ASK_AGAIN_US, Event::Join { host: number });
    }

    /// Those that were removed are taken away, with all that runs there.
    pub fn take_away_removed(&mut self) {
        for number in 0..self.hosts.len() {
            if self.hosts[number].standing == Standing::Removed {
                self.take_away(number);
            }
        }
    }

    /// Keeps what a host's disk holds now.
    pub(crate) fn back_up(&mut self, number: usize) {
        self.backups.insert(number, self.hosts[number].disk.clone());
    }

    /// Gives a host that does not run the disk that was kept last; whether one was. While somebody has not heard that it was removed, its
    /// record of votes is damaged: a voter whose disk has silently gone back may vote twice, and no promise covers that.
    pub(crate) fn restore_backup(&mut self, number: usize) -> bool {
        let Some(disk) = self.backups.remove(&number) else { return false };
        let id = self.hosts[number].keys.node_id();
        let takes = |host: &Host| host.node.as_ref().is_some_and(|node| node.store().members().is_active(&id));
        let is_unheard_of = self.hosts.iter().any(takes);
        let host = &mut self.hosts[number];
        host.disk = disk;
        host.disk.crash();
        host.disk.fail(None);
        if is_unheard_of {
            host.disk.corrupt_rows(|table, key| table == "meta" && key == b"vote");
        }
        self.watch.goes_back(number, id);
        true
    }

    fn take_away(&mut self, number: usize) {
        self.power_off(number);
        self.hosts[number].paused = false;
        self.hosts[number].backlog.clear();
        self.hosts[number].standing = Standing::Out;
        self.hosts[number].gone_for_good = true;
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

    /// A daemon says that it cannot leave now, and its user leaves it at that.
    pub(super) fn does_not_leave(&mut self, number: usize, error: &LeaveError) {
        self.trace.line(self.now_us, format_args!("h{number} does not leave: {error}"));
        // Who is asked twice is told so, and leaves as it was asked to first.
        if self.hosts[number].standing == Standing::Leaving && *error != LeaveError::Underway {
            self.hosts[number].standing = Standing::Member;
        }
    }

    /// Notes to whom a host that is about to leave leaves all that it holds, before its daemon may forget it.
    pub(super) fn note_heir(&mut self, number: usize) {
        let host = &self.hosts[number];
        let heir = host.node.as_ref().and_then(Node::heir).filter(|_| host.standing == Standing::Leaving);
        if let Some(heir) = heir.and_then(|heir| self.host_of(&heir)) {
            self.oracle.leaves_to(number, heir);
        }
    }

    pub(super) fn has_left(&mut self, number: usize) {
        self.note_heir(number);
        let start = self.hosts[number].start;
        // Who leaves all to somebody of whose removal it has not heard leaves it to nobody.
        let heir = self.hosts[number].node.as_ref().and_then(Node::heir);
        if heir.is_some_and(|heir| self.oracle.may_be_removed(&heir)) {
            self.oracle.is_out(number);
        }
        self.after(GONE_AFTER_US, Event::Gone { host: number, start });
    }

    pub(super) fn gone(&mut self, number: usize) {
        if self.hosts[number].standing != Standing::Leaving {
            return;
        }
        self.kill(number);
        let me = self.hosts[number].keys.node_id();
        let together = self.together();
        let as_what = |other: &usize| {
            let node = self.hosts[*other].node.as_ref();
            node.and_then(|node| node.store().members().get(&me).map(Member::is_active))
        };
        // What those alone know who are out themselves nobody else hears.
        let is_told = together.iter().any(|other| as_what(other) == Some(false));
        if self.oracle.asked_to_remove() && !is_told {
            self.oracle.is_out(number);
        }
        if !is_told && together.iter().any(|other| as_what(other) == Some(true)) {
            // Its user sees elsewhere that nobody knows, starts it once more and repeats the wish.
            self.trace.line(self.now_us, format_args!("h{number} has left and nobody knows"));
            return self.boot(number);
        }
        self.trace.line(self.now_us, format_args!("h{number} has left"));
        self.oracle.leaves();
        self.hosts[number].standing = Standing::Out;
        self.hosts[number].is_founder = false;
        if self.busy {
            let delay = self.chance.faults.random_range(1_000_000..15_000_000);
            self.after(delay, Event::Join { host: number });
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
