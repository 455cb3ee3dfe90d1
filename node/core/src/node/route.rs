//! The one file that carries what each machine says to the others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use skein_crdt_state::StoreChange;
use skein_gossip::membership::{self, Input as ToMembership};
use skein_gossip::{NodeId, Now, Offence};

use super::decision::decided_by;
use super::durability::{ReplyTo, Rule};
use super::spread::DIRECT;
use super::{Effect, Frame, Input, Lane, MAX_CONTROL_BYTES, Node, Wait};
use crate::agent;
use crate::election::{self, Input as ToElection};
use crate::project::Sources;
use crate::request::{WriteError, WriteRequest};

/// How long those who come to a large cluster wait to be looked at together.
const COMINGS_TOGETHER: Duration = Duration::from_millis(100);
/// The least time between two renderings that only time asks for.
const PROJECT_AGAIN: Duration = Duration::from_millis(50);
/// How often the machines may hand each other things within one input before the rest waits for the next deadline. Never
/// reached unless two of them answer each other for ever, which would be a mistake of ours.
const MAX_ROUNDS: usize = 64;

/// What a node answers that left or was removed.
const NOT_IN_ANY_MORE: &str = "this node does not belong to the cluster any more; ask another member";

impl Node {
    pub(super) fn route(&mut self, now: Now, input: Input) {
        if self.left && !self.is_heard_after_leaving(&input) {
            return self.refuse_after_leaving(now, &input);
        }
        match input {
            Input::LinkUp(peer) => {
                self.peers.linked.insert(peer);
                self.introductions.welcome(&peer);
                self.membership.handle(now, ToMembership::LinkUp(peer));
                self.exchange_over_new_link(peer);
                self.compare_to_catch_up(now, peer);
                self.in_reach(peer);
            }
            Input::LinkDown(peer) => {
                self.peers.linked.remove(&peer);
                self.inheritance.forget(&peer);
                self.out_of_reach(now, peer);
                self.decider_unlinked(peer);
                self.membership.handle(now, ToMembership::LinkDown(peer));
            }
            Input::Frame { from, bytes } => self.frame(now, from, &bytes),
            Input::Write(id, request) => self.write(now, id, *request),
            Input::Admit(id, request) => self.admit(now, id, &request),
            Input::Unwelcome(peer) => self.unwelcome(now, peer),
            Input::Introduced { id, stranger, said } => self.introduced(now, id, stranger, &said),
            Input::Acquainted { peer, said } => self.acquainted(now, peer, &said),
            Input::Leave(id) => self.leave(now, id),
            Input::Keys { keyring, ca_certificate } => self.hold_keys(now, keyring, ca_certificate),
            Input::Rotate(id, epoch, lapse_ms) => self.rotate(now, id, epoch, lapse_ms),
            Input::Runtime(event) => self.agent.handle(now, agent::Input::Runtime(event)),
            Input::SignAnew => self.agent.handle(now, agent::Input::SignAnew),
            Input::Persisted(batch) => self.persisted(now, batch),
            Input::PersistFailed(batch, reason) => self.persist_failed(now, batch, &reason),
            Input::Timeout => self.timeout(now),
        }
    }

    /// Lets every machine hear what became of the input, until none has anything more to say.
    pub(super) fn settle(&mut self, now: Now) {
        for _ in 0..MAX_ROUNDS {
            let mut quiet = true;
            // Of many that come at once, as when a cluster forms, each would make everybody look at everybody.
            let mut aliveness = false;
            while let Some(output) = self.membership.poll_output() {
                aliveness |= matches!(output, membership::Output::Alive(_) | membership::Output::Down(_));
                self.hear_membership(now, output);
                quiet = false;
            }
            if aliveness {
                self.aliveness_changed_soon(now);
            }
            while let Some(output) = self.election.poll_output() {
                self.hear_election(now, output);
                quiet = false;
            }
            while let Some(output) = self.agent.poll_output() {
                self.hear_agent(now, output);
                quiet = false;
            }
            let changes = self.store.drain_changes();
            if !changes.is_empty() {
                self.hear_store(now, &changes);
                quiet = false;
            }
            if self.events_unsaid {
                self.say_events(now);
                quiet = false;
            }
            quiet &= !self.depart_when_ready(now);
            if quiet {
                break;
            }
        }
        self.tell_conclusions();
        self.persist(now);
    }

    /// Sends a frame by the lane that fits its length.
    pub(super) fn send(&mut self, to: NodeId, frame: &Frame, after: Option<u64>) {
        // Serialising into memory fails for no frame.
        let bytes: Arc<[u8]> = postcard::to_stdvec(frame).unwrap_or_default().into();
        self.send_bytes(to, bytes, after.or_else(|| self.outbox.unnumbered().filter(|_| frame.holds_words())));
    }

    pub(super) fn send_bytes(&mut self, to: NodeId, bytes: Arc<[u8]>, after: Option<u64>) {
        let lane = if bytes.len() <= MAX_CONTROL_BYTES { Lane::Control } else { Lane::Bulk };
        self.effects.push_back(Effect::Send { to, lane, bytes, after });
    }

    fn frame(&mut self, now: Now, from: NodeId, bytes: &[u8]) {
        if !self.store.members().is_active(&from) {
            return;
        }
        if self.left && !matches!(postcard::from_bytes::<Frame>(bytes), Ok(Frame::Stored { .. })) {
            return;
        }
        let Ok((frame, [])) = postcard::take_from_bytes::<Frame>(bytes) else {
            return self.offence(from, Offence::Unreadable, "a frame that cannot be read");
        };
        self.peers.heard.insert(from, now.mono);
        match frame {
            Frame::Membership(bytes) => self.membership_frame(now, from, bytes),
            Frame::Election(bytes) => {
                if let Some((offence, what)) = self.election.offence_in(&bytes) {
                    return self.offence(from, offence, what);
                }
                self.election.handle(now, ToElection::Frame { from, bytes });
            }
            Frame::Exchange(message) => self.exchange(now, from, message),
            Frame::Push { envelopes, token, pass_to } => self.pushed(now, from, &envelopes, token, &pass_to),
            Frame::Stored { token } => self.stored(now, from, token),
            Frame::Decide(ask) => self.asked_to_decide(now, from, *ask),
            Frame::Decided { token, verdict, news } => self.decided(now, from, token, verdict, &news),
            Frame::Uphold(decision) => self.uphold(now, from, &decision),
            Frame::Upheld { token } => self.upheld(now, from, token),
            Frame::Overtaken { token } => self.overtaken(now, from, token),
            Frame::Recall { token, term, name, heads } => self.asked_to_recall(from, (token, term), &name, &heads),
            Frame::Recalled { token, known } => self.recalled(now, from, token, &known),
            Frame::Compare { at, known } => self.asked_to_compare(from, at, &known),
            Frame::Alike { at, whole } => self.election.handle(now, ToElection::Alike { peer: from, at, whole }),
            Frame::AskReports => self.tell_reports(from),
            Frame::Reports { envelopes, last } => self.told_reports(now, from, envelopes, last),
        }
    }

    fn membership_frame(&mut self, now: Now, from: NodeId, bytes: Vec<u8>) {
        let before = self.membership.counters();
        self.membership.handle(now, ToMembership::Frame { from, bytes });
        let after = self.membership.counters();
        if after.forged > before.forged {
            self.offence(from, Offence::ForgedAuthor, "a frame of the failure detector in another node's name");
        } else if after.malformed > before.malformed {
            self.offence(from, Offence::Unreadable, "a frame of the failure detector that cannot be read");
        }
    }

    fn offence(&mut self, peer: NodeId, offence: Offence, what: &str) {
        self.effects.push_back(Effect::Offence { peer, offence, what: what.into() });
    }

    fn timeout(&mut self, now: Now) {
        let due = |deadline: Option<skein_gossip::Instant>| deadline.is_some_and(|at| at <= now.mono);
        if due(self.membership.poll_timeout()) {
            self.membership.handle(now, ToMembership::Timeout);
        }
        if due(self.election.poll_timeout()) {
            self.election.handle(now, ToElection::Timeout);
        }
        if due(self.agent.poll_timeout()) {
            self.agent.handle(now, agent::Input::Timeout);
        }
        while let Some(wait) = self.timers.pop_due(now.mono) {
            match wait {
                Wait::Exchange => self.exchange_with_somebody(now),
                Wait::Aliveness => self.aliveness_changed(now),
                Wait::Members => self.members_changed(now),
                Wait::Reports => self.push_reports(now),
                Wait::Disk => self.ask_disk_again(),
                Wait::Reconcile => self.reconcile(now),
                Wait::Durable(token) => self.durable_late(now, token),
                Wait::Decision(token) => self.consult(now, token),
                Wait::Recall(token) => self.recall(now, token),
                Wait::Project => self.project(now, &BTreeSet::new()),
                Wait::Rebirth => self.rebirths_due(now),
                Wait::Handover => self.look_at_handovers(now),
                Wait::CatchUp => self.waited_to_catch_up(now),
                Wait::Reseal => self.reseal(now),
                Wait::Depart => self.depart_or_stay(now),
            }
        }
    }

    fn hear_membership(&mut self, now: Now, output: membership::Output) {
        match output {
            membership::Output::Send { to, bytes } => self.send(to, &Frame::Membership(bytes), None),
            membership::Output::Alive(peer) => drop(self.peers.seen_ms.insert(peer, now.wall_ms)),
            membership::Output::Down(peer) => {
                self.peers.seen_ms.insert(peer, now.wall_ms);
                self.out_of_reach(now, peer);
            }
            membership::Output::Suspect(_) => {}
            membership::Output::Dial(peer) => self.effects.push_back(Effect::Dial(peer)),
        }
    }

    /// While a large cluster forms or heals, somebody comes every few milliseconds, and each would make everybody look at
    /// everybody. Who goes is never waited with.
    fn aliveness_changed_soon(&mut self, now: Now) {
        let before = self.peers.alive.len();
        let only_more = self.membership.alive().len() + 1 > before
            && self.peers.alive.iter().all(|peer| *peer == self.me || self.membership.alive().contains(peer));
        if before <= DIRECT || !only_more {
            return self.aliveness_changed(now);
        }
        if self.timers.get(&Wait::Aliveness).is_none() {
            self.timers.set(Wait::Aliveness, now.mono + COMINGS_TOGETHER);
        }
    }

    fn members_changed_soon(&mut self, now: Now) {
        if self.timers.get(&Wait::Members).is_some() || self.tell_removed(now) {
            return;
        }
        let active = self.store.members().active();
        if active.len() <= DIRECT || !active.contains(&self.me) || !self.known_members.is_subset(active) {
            return self.members_changed(now);
        }
        self.timers.set(Wait::Members, now.mono + COMINGS_TOGETHER);
    }

    fn aliveness_changed(&mut self, now: Now) {
        self.timers.clear(&Wait::Aliveness);
        let mut alive = self.membership.alive().clone();
        alive.insert(self.me);
        if self.peers.alive == alive {
            return;
        }
        let before = std::mem::replace(&mut self.peers.alive, alive.clone());
        self.election.handle(now, ToElection::Alive(alive));
        let changed: BTreeSet<NodeId> = before.symmetric_difference(&self.peers.alive).copied().collect();
        self.project(now, &BTreeSet::new());
        self.want_reconcile(now);
        self.refresh_pods_of(now, &changed);
        self.look_at_handovers(now);
        self.upholders_changed(now);
        self.deciders_changed(now);
    }

    fn hear_election(&mut self, now: Now, output: election::Output) {
        match output {
            election::Output::Send { to, bytes, after } => {
                let after = after.map(|seq| self.election_batches.get(&seq).copied().unwrap_or(self.coming_batch()));
                let after = after.filter(|batch| *batch > self.outbox.on_disk());
                self.send(to, &Frame::Election(bytes), after);
            }
            election::Output::Persist { seq, record } => {
                self.outbox.add([super::meta::vote_row(&record)]);
                self.election_batches.insert(seq, self.coming_batch());
            }
            election::Output::Compare { peer, at } => self.compare_decisions(now, peer, at),
            election::Output::Changed(leadership) => {
                self.effects.push_back(Effect::Leadership(leadership));
                self.leadership_changed(now);
                self.leadership_lost(now);
                self.deciders_changed(now);
            }
        }
    }

    fn hear_agent(&mut self, now: Now, output: agent::Output) {
        match output {
            agent::Output::Act(action) => self.effects.push_back(Effect::Act(action)),
            agent::Output::PodReport { uid, status } => {
                let body = status.map(|status| postcard::to_stdvec(&status).unwrap_or_default()).unwrap_or_default();
                self.say(now, &format!("pod/{uid}"), &body);
            }
            agent::Output::Claims(claims) => {
                self.status.claims = claims;
                self.say_status(now);
            }
            agent::Output::Event(event) => self.event(event),
            agent::Output::Capacity(capacity) => {
                self.status.capacity = capacity;
                self.say_status(now);
            }
        }
    }

    fn hear_store(&mut self, now: Now, changes: &BTreeSet<StoreChange>) {
        self.view_cache.note(changes);
        for change in changes {
            match change {
                StoreChange::Members => self.members_changed_soon(now),
                StoreChange::Report(node, section) if &**section == "node" => self.node_reported(now, *node),
                StoreChange::EditLost(key, by) => self.edit_lost(now, key, by),
                StoreChange::Epochs => self.epochs_changed(now),
                StoreChange::Report(..) | StoreChange::Object(_) => {}
            }
        }
        self.take_up_unseen(now);
        self.refresh_pods(now, changes);
        if self.concerns_handovers(changes) {
            self.look_at_handovers(now);
        }
        self.project(now, changes);
        self.want_reconcile(now);
        self.want_reseal(now);
    }

    /// Renders what became different for clients, if there are any.
    pub(super) fn project(&mut self, now: Now, changes: &BTreeSet<StoreChange>) {
        if !self.config.serves_api {
            return;
        }
        let ca_certificate = self.config.ca_certificate.as_str();
        let sources = Sources { store: &self.store, alive: &self.peers.alive, wall_ms: now.wall_ms, ca_certificate };
        let changed = self.projection.refresh(&sources, changes);
        if !changed.is_empty() {
            self.effects.push_back(Effect::Changed(changed));
        }
        match self.projection.due_ms() {
            Some(at) => {
                let wait = Duration::from_millis(at.saturating_sub(now.wall_ms)).max(PROJECT_AGAIN);
                self.timers.set(Wait::Project, now.mono + wait);
            }
            None => self.timers.clear(&Wait::Project),
        }
    }

    pub(super) fn members_changed(&mut self, now: Now) {
        if let Some(ended) = self.store.members().get(&self.me).and_then(|member| member.ended).filter(|_| !self.left) {
            return self.expelled(now, &ended);
        }
        self.timers.clear(&Wait::Members);
        let members = self.store.members().active().clone();
        let was_known = self.known_members.contains(&self.me);
        self.known_members.clone_from(&members);
        if !was_known && members.contains(&self.me) {
            if self.has_state() {
                self.ensure_node_object(now);
            } else {
                self.begin_catching_up(now);
            }
        }
        self.membership.handle(now, ToMembership::Members(members.clone()));
        let mut observers = self.store.members().observers();
        // Whose disk was lost does not know what it is in the cluster, nor what there is. It may be an observer, so it has no say.
        if !members.contains(&self.me) || !self.has_state() {
            observers.insert(self.me);
        }
        self.election.handle(now, ToElection::Observers(observers));
        let removed = self.store.members().iter().filter(|member| member.is_removed()).map(|member| member.id);
        self.election.on_removed(removed.collect());
        self.election.handle(now, ToElection::Members(members.clone()));
        let gone: Vec<NodeId> = self.claims_by_node.keys().filter(|node| !members.contains(node)).copied().collect();
        gone.into_iter().for_each(|node| self.node_reported(now, node));
        self.effects.push_back(Effect::Members(members));
        self.aliveness_changed(now);
    }

    /// A node that has left still hears what it waits for: that its departure is on disks, and that its pods have ended.
    fn is_heard_after_leaving(&self, input: &Input) -> bool {
        matches!(
            input,
            Input::Persisted(_) | Input::PersistFailed(..) | Input::Runtime(_) | Input::Timeout | Input::Frame { .. }
        )
    }

    fn refuse_after_leaving(&mut self, now: Now, input: &Input) {
        match *input {
            Input::Write(id, _) => self.effects.push_back(Effect::Written(id, Err(WriteError::Left))),
            Input::Admit(id, _) => {
                let reason = crate::request::AdmissionError::Unavailable(NOT_IN_ANY_MORE.into());
                self.effects.push_back(Effect::Admitted(id, Err(reason)));
            }
            Input::Introduced { id, .. } => {
                let reason = crate::request::AdmissionError::Unavailable(NOT_IN_ANY_MORE.into());
                self.effects.push_back(Effect::Acquainted(id, Err(reason)));
            }
            Input::Rotate(id, ..) => {
                self.effects.push_back(Effect::Rotated(id, Err(crate::request::RotateError::Left)));
            }
            Input::Leave(id) => self.leave_again(now, id),
            // Who is told of the departure must be known; nothing else is said to it.
            Input::LinkUp(peer) => {
                self.peers.linked.insert(peer);
                self.tell_why_out(peer);
            }
            Input::LinkDown(peer) => drop(self.peers.linked.remove(&peer)),
            _ => {}
        }
    }

    fn write(&mut self, now: Now, id: crate::request::RequestId, request: WriteRequest) {
        if !self.has_state() {
            return self.effects.push_back(Effect::Written(id, Err(WriteError::Lost)));
        }
        if let Some(by) = decided_by(&request.op) {
            return self.ask_decider(now, id, request, by);
        }
        match self.write_if_able(now, &request, None) {
            Ok((key, said)) if said.is_empty() => self.unchanged(id, key),
            Ok((key, said)) => self.await_durable(now, ReplyTo::Client(id), &request, key, &said, Rule::Disks),
            Err(error) => self.effects.push_back(Effect::Written(id, Err(error))),
        }
    }
}
