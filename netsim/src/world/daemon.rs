//! A daemon in the simulator: it gives the core its inputs and carries out its effects, as the real one does.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use skein_core::node::{Effect, Input, Node, NodeConfig};
use skein_core::request::{RequestId, WriteError, WriteReply};
use skein_core::runtime::{RuntimeAction, RuntimeEvent};
use skein_crdt_state::Hlc;
use skein_crdt_state::store::tables;

use super::{Event, World, hears, layout};
use crate::checks;
use crate::disk::RowKey;
use crate::engine::Engine;
use crate::host::{HeldFrame, Host, Standing};
use crate::workload::LOCK_KIND;

/// How long after a daemon's start its engine says what it offers, in microseconds.
const ENGINE_AFTER_US: u64 = 1_000;

impl World {
    /// Switches a daemon on, with what its disk holds.
    pub fn boot(&mut self, number: usize) {
        if self.hosts[number].node.is_some() || !self.hosts[number].is_switched_on() {
            return;
        }
        // Whoever still believes in a connection to what was there before learns better.
        for peer in self.links.of(number) {
            self.end_connection(number, peer);
        }
        let seed = self.chance.nodes.random();
        let now_us = self.now_us;
        let host = &mut self.hosts[number];
        host.start += 1;
        host.clock.origin_us = now_us;
        host.timeout_at = None;
        host.on_disk = 0;
        host.held.clear();
        host.lost.clear();
        let (config, now, start) =
            (self.config(number, seed), self.hosts[number].now(now_us), self.hosts[number].start);
        let rows = self.hosts[number].disk.read();
        match Node::start(config, now, rows.clone()) {
            Ok((node, damaged)) => {
                self.trace.line(now_us, format_args!("h{number} boots, start {start}"));
                let corrupted = self.hosts[number].disk.corrupted().clone();
                let found = checks::started(self, number, &node, &rows, &corrupted, &damaged);
                self.note(found);
                self.hosts[number].node = Some(node);
                for record in damaged {
                    let line = format_args!("h{number} sets aside {}: {}", record.name(), record.reason);
                    self.trace.line(now_us, line);
                    self.oracle.damaged(number, &record.key);
                    if let Some(table) = tables::ALL.iter().find(|table| **table == record.table) {
                        self.note_copy_less(number, &(*table, record.record.0.into()));
                    }
                }
            }
            Err(error) => return self.violate("boot", format!("h{number} does not start: {error}")),
        }
        let capacity = RuntimeEvent::Capacity(self.hosts[number].engine.capacity());
        self.after(ENGINE_AFTER_US, hears(number, start, capacity));
        self.drain(number);
        if self.hosts[number].standing == Standing::Leaving {
            // Whoever asked it to leave had no answer, and asks again.
            self.after(1_000_000, Event::Leave { host: number });
        }
    }

    fn config(&self, number: usize, seed: u64) -> NodeConfig {
        let host = &self.hosts[number];
        NodeConfig {
            ca_certificate: String::new(),
            keyring: host.keyring.clone(),
            keys: host.keys.clone(),
            cluster: self.cluster,
            found: host.is_founder.then_some(self.nonce),
            name: host.name.clone(),
            address: format!("10.0.0.{number}"),
            peer_addresses: vec![format!("10.0.0.{number}:7311")],
            api_address: format!("10.0.0.{number}:7443"),
            version: "netsim".into(),
            labels: BTreeMap::new(),
            seed,
            layout: layout(),
            built_in: Vec::new(),
            memo: self.memo.clone(),
            serves_api: false,
            tenure: Duration::from_millis(self.knobs.tenure_ms),
            planted: self.knobs.planted,
        }
    }

    /// Ends a daemon without a word. Its connections end, which peers see at once: the machine closes them.
    pub fn kill(&mut self, number: usize) {
        if !self.switch_off(number) {
            return;
        }
        for peer in self.links.of(number) {
            self.end_connection(number, peer);
        }
    }

    /// Takes a machine's power away: unlike a killed daemon's, its connections are not closed, and its containers end.
    pub fn power_off(&mut self, number: usize) {
        let wall_ms = self.hosts[number].wall_ms(self.now_us);
        self.hosts[number].engine.power_loss(wall_ms);
        self.hosts[number].power += 1;
        self.switch_off(number);
        for peer in self.links.of(number) {
            self.doubt(number, peer);
        }
    }

    /// Puts a new disk in the place of the one that the state of a daemon was on that does not run.
    pub fn lose_disk(&mut self, number: usize) {
        let lost = std::mem::take(&mut self.hosts[number].disk);
        for row in lost.into_rows() {
            let object = object_of(&row.1);
            self.oracle.damaged(number, &object);
            self.note_copy_less(number, &row);
            self.hosts[number].lost.insert(row);
        }
        self.watch.begins_anew(number);
        self.note_forgotten_removals();
    }

    /// A host has a row no more that can be used. If no other has it, and disks are lost, whoever wrote it may miss it.
    fn note_copy_less(&mut self, number: usize, row: &RowKey) {
        let has_it = |host: &Host| {
            host.number != number && host.disk.row(row.0, &row.1).is_some() && !host.disk.corrupted().contains(row)
        };
        if self.knobs.faults.lose_disk_every_ms > 0 && !self.hosts.iter().any(has_it) {
            self.oracle.is_gone(&object_of(&row.1), self.now_us);
        }
    }

    fn switch_off(&mut self, number: usize) -> bool {
        self.note_heir(number);
        let host = &mut self.hosts[number];
        if host.node.take().is_none() {
            return false;
        }
        host.disk.crash();
        host.held.clear();
        host.paused = false;
        // What the engine was at goes on without the daemon; all else was for the daemon alone.
        for event in std::mem::take(&mut host.backlog) {
            if matches!(event, Event::Performed { .. }) {
                self.after(0, event);
            }
        }
        true
    }

    /// Gives a daemon an input.
    pub fn input(&mut self, number: usize, input: Input) {
        let now = self.hosts[number].now(self.now_us);
        if let Some(node) = self.hosts[number].node.as_mut() {
            node.handle(now, input);
            if let Some(spread) = &mut self.spread {
                spread.look(number, self.now_us, node);
            }
            self.drain(number);
        }
    }

    /// The same, also to a machine that stands still: it hears of it when it goes on.
    pub(super) fn tell(&mut self, number: usize, input: Input) {
        let host = &mut self.hosts[number];
        if host.paused {
            host.backlog.push_back(Event::Hear { host: number, start: host.start, input: Box::new(input) });
        } else {
            self.input(number, input);
        }
    }

    pub(super) fn synced(&mut self, number: usize, batch: u64) {
        // What was on its way to the disk ended with the daemon.
        if self.hosts[number].node.is_none() {
            return;
        }
        let synced = match self.hosts[number].disk.sync(batch) {
            Ok(synced) => synced,
            Err((first, reason)) => return self.input(number, Input::PersistFailed(first, reason)),
        };
        let is_knocking = self.is_knocking(number);
        if let Some(what) = synced.iter().filter(|_| !is_knocking).find_map(|records| self.watch.synced(records)) {
            self.violate("words", what);
        }
        self.hosts[number].on_disk = self.hosts[number].on_disk.max(batch);
        self.watch_votes(number);
        let later = self.hosts[number].held.split_off(&(batch + 1));
        let due = std::mem::replace(&mut self.hosts[number].held, later);
        for frame in due.into_values().flatten() {
            self.send(number, frame.to, frame.lane, frame.bytes);
        }
        self.input(number, Input::Persisted(batch));
    }

    fn watch_votes(&mut self, number: usize) {
        let row = self.hosts[number].disk.row("meta", b"vote").cloned().filter(|_| !self.is_knocking(number));
        if let Some(what) = row.and_then(|row| self.watch.vote(number, self.hosts[number].keys.node_id(), &row)) {
            self.violate("vote", what);
        }
    }

    pub(super) fn performed(&mut self, number: usize, start: u64, action: RuntimeAction) {
        let wall_ms = self.hosts[number].wall_ms(self.now_us);
        let faults = if self.busy { self.knobs.faults } else { crate::knobs::Faults::default() };
        let event = self.hosts[number].engine.perform(&mut self.chance.engines, wall_ms, &faults, action);
        // The engine does its work whether or not the daemon that asked is still there to hear of it.
        if self.hosts[number].start == start {
            self.input(number, Input::Runtime(event));
        }
        // Of what runs for no slot that the state knows nobody says any more what it asked for. A daemon that has just started knows which
        // these are once it has heard what runs.
        let overload = self.hosts[number].node.as_ref().and_then(|node| {
            let strays = node.strays().map(|uid| &**uid).collect();
            self.hosts[number].engine.overload(&strays)
        });
        if let Some(what) = overload.filter(|_| !self.is_knocking(number)) {
            self.violate("capacity", format!("h{number} {what}"));
        }
    }

    /// Carries out what a daemon asks for.
    pub(super) fn drain(&mut self, number: usize) {
        while let Some(effect) = self.hosts[number].node.as_mut().and_then(Node::poll_effect) {
            self.effect(number, effect);
        }
        let host = &mut self.hosts[number];
        let Some(at) = host.node.as_ref().and_then(Node::poll_timeout) else { return };
        let at = host.true_us(at).max(self.now_us);
        if host.timeout_at.is_none_or(|known| at < known) {
            host.timeout_at = Some(at);
            let start = host.start;
            self.at(at, Event::Timeout { host: number, start });
        }
    }

    fn effect(&mut self, number: usize, effect: Effect) {
        let start = self.hosts[number].start;
        match effect {
            Effect::Send { to, lane, bytes, after } => match after {
                Some(batch) if batch > self.hosts[number].on_disk => {
                    self.hosts[number].held.entry(batch).or_default().push(HeldFrame { to, lane, bytes });
                }
                _ => self.send(number, to, lane, bytes),
            },
            Effect::Persist { batch, records, again } => {
                self.hosts[number].disk.begin(batch, records, again);
                let delay = self.chance.disks.random_range(50..=self.knobs.disk_us.max(51));
                self.after(delay, Event::Synced { host: number, start, batch });
            }
            Effect::Act(action) => {
                match &action {
                    RuntimeAction::Start(spec) => {
                        if self.observes(number) {
                            self.violate("observers", format!("h{number} is an observer and starts {}", spec.pod));
                        }
                        self.trace.line(self.now_us, format_args!("h{number} starts {} of {}", spec.pod, spec.slot));
                    }
                    RuntimeAction::Stop { id, .. } => {
                        let info = self.hosts[number].engine.running().find(|info| info.id.uid == id.uid);
                        let (pod, slot) = info.map_or((&*id.uid, "a slot"), |info| (&*info.pod, &*info.slot));
                        self.trace.line(self.now_us, format_args!("h{number} stops {pod} of {slot}"));
                    }
                    _ => {}
                }
                let delay = Engine::duration_us(&mut self.chance.engines, self.knobs.pull_ms, &action);
                let power = self.hosts[number].power;
                self.after(delay, Event::Performed { host: number, start, power, action: Box::new(action) });
            }
            Effect::Written(id, result) => self.written(number, id, result),
            Effect::Admitted(id, answer) => self.admitted(number, id, answer),
            Effect::Introduce { to, said } => self.introduce(number, &to, said),
            Effect::Acquainted(id, answer) => self.acquainted(number, id, answer),
            Effect::Left(_, Ok(())) => self.has_left(number),
            Effect::Left(_, Err(error)) => self.does_not_leave(number, &error),
            Effect::Dial(peer) => {
                if let Some(to) = self.host_of(&peer) {
                    self.dial(number, to);
                }
            }
            Effect::Members(members) => self.keep_to_members(number, &members),
            Effect::Leadership(leadership) => {
                let (mine, term, quorate) = (leadership.mine, leadership.term, leadership.quorate);
                let leader = leadership.leader.and_then(|id| self.host_of(&id)).map(|host| format!("h{host}"));
                let leader = leader.unwrap_or_else(|| "none".into());
                self.trace.line(
                    self.now_us,
                    format_args!("h{number} leader {leader} term {term} mine {mine} quorate {quorate}"),
                );
                // Whoever was removed and does not know leads nobody who counts.
                let counts = self.hosts[number].standing != Standing::Removed;
                if let Some(what) = counts.then(|| self.watch.leadership(number, &leadership)).flatten() {
                    self.violate("leader", what);
                }
            }
            // Nobody here is dishonest.
            Effect::Offence { peer, what, .. } => {
                self.violate("honest", format!("h{number} is told by {peer}: {what}"));
            }
            Effect::Notice(text) => self.trace.line(self.now_us, format_args!("h{number} notes: {text}")),
            Effect::Rotated(id, outcome) => self.rotated(number, id, &outcome),
            Effect::Changed(_) | Effect::Rotations(_) => {}
        }
    }

    fn written(&mut self, number: usize, id: RequestId, result: Result<WriteReply, WriteError>) {
        match &result {
            Ok(reply) => {
                let warned = !reply.warnings.is_empty();
                let line = format_args!("h{number} request {id} done: {} warned {warned}", reply.key);
                self.trace.line(self.now_us, line);
                if let Some(op) = self.oracle.op(id).filter(|_| !warned && reply.changed).cloned() {
                    let missing = checks::acknowledged(self, number, &op, reply);
                    self.note(missing);
                }
                self.oracle.stamped(id, self.stamp_of(number, reply));
                if reply.key.kind().as_str() == LOCK_KIND {
                    self.oracle.held_by(id, self.holders(reply));
                }
            }
            Err(error) => self.trace.line(self.now_us, format_args!("h{number} request {id} refused: {error}")),
        }
        self.oracle.answered(id, result, self.now_us);
    }

    /// How a host's daemon has stamped what a write has made, unless it is over already.
    fn stamp_of(&self, host: usize, reply: &WriteReply) -> Option<Hlc> {
        let object = self.hosts[host].node.as_ref()?.store().object(&reply.key)?;
        reply.heads.iter().filter_map(|head| object.changes().get(head)).map(|change| change.stamp).max()
    }

    /// The hosts whose daemons hold what a write has made, each with how often it was let in.
    fn holders(&self, reply: &WriteReply) -> Vec<(usize, u32)> {
        let holds = |host: &&Host| {
            let object = host.node.as_ref().and_then(|node| node.store().object(&reply.key));
            object.is_some_and(|object| reply.heads.iter().all(|head| object.changes().contains_key(head)))
        };
        self.hosts.iter().filter(holds).map(|host| (host.number, host.let_in)).collect()
    }
}

/// The object or the name that a row is about.
fn object_of(key: &[u8]) -> String {
    String::from_utf8_lossy(key.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}
