//! Letting nodes in and removing others. How this one leaves lives in `departure.rs`.

use std::time::Duration;

use skein_crdt_state::members::{Ended, Member, Role};
use skein_crdt_state::{Kind, NameKey};
use skein_gossip::{NodeId, Now};

use super::credentials::{credentials, removals_of, why_out};
use super::durability::{ReplyTo, Rule, Written, statement_write};
use super::{Effect, Frame, Node, Wait};
use crate::request::{AdmissionError, AdmissionRequest, RequestId, WriteError, WriteOp, WriteReply};

/// The longest name of a node.
const MAX_NODE_NAME: usize = 63;

/// How long the connection to a node stays that was just removed.
const FAREWELL: Duration = Duration::from_millis(100);

impl Node {
    /// Lets a stranger in. Whoever is let in takes the cluster's keys with it, so it is told once the admission is on this disk, and
    /// on a peer's if one answers in time: a power loss must not leave a node with the keys that nobody knows.
    pub(super) fn admit(&mut self, now: Now, id: RequestId, request: &AdmissionRequest) {
        let role = match self.check_admission(now, request).and_then(|role| self.may_say_more().map(|()| role)) {
            Ok(role) => role,
            Err(error) => return self.effects.push_back(Effect::Admitted(id, Err(error))),
        };
        // Who asks again after its answer got lost is admitted again, without another use of the token: it may also have left
        // and this node not have heard of it.
        let envelope = self.store.admit_as(now, request.node, &request.name, request.token, role);
        self.members_changed(now);
        let key = NameKey::root(&Kind::new("Node"), &request.name).life(1);
        let write = statement_write(WriteOp::Edit { key: key.clone(), edits: Vec::new(), if_heads: None });
        self.await_durable(now, ReplyTo::Admission(id, request.node), &write, key, &[envelope], Rule::Disks);
    }

    /// What became of an admission, in its own words.
    pub(super) fn tell_admitted(&mut self, id: RequestId, node: NodeId, outcome: Result<WriteReply, WriteError>) {
        let members = self.store.members();
        let answer = match outcome {
            Err(error) => Err(AdmissionError::Unavailable(format!("{error}; try again"))),
            Ok(_) if members.get(&node).is_some_and(Member::is_removed) => Err(AdmissionError::Removed),
            Ok(_) => Ok(credentials(members, &node)),
        };
        self.effects.push_back(Effect::Admitted(id, answer));
    }

    /// Whether the disk takes another admission, and there is room for another that waits for it.
    fn may_say_more(&self) -> Result<(), AdmissionError> {
        let error = match self.outbox.refusal() {
            Some(reason) => WriteError::Disk(reason.to_owned()),
            None if self.durable.is_full() => WriteError::Busy,
            None => return Ok(()),
        };
        Err(AdmissionError::Unavailable(format!("{error}; ask another member")))
    }

    /// As what a stranger may come in. Whoever shows no token that counts learns that, and nothing of who is here.
    fn check_admission(&self, now: Now, request: &AdmissionRequest) -> Result<Role, AdmissionError> {
        let token = self.valid_token(now, &request.token)?;
        let members = self.store.members();
        let member = members.get(&request.node);
        let again = member.is_some_and(Member::is_active) && members.was_admitted_with(&request.node, &request.token);
        if !again && token.used >= token.spec.uses {
            return Err(AdmissionError::UsedUp(token.spec.uses));
        }
        self.check_that_it_admits()?;
        check_name(&request.name)?;
        if member.is_some_and(Member::is_removed) {
            return Err(AdmissionError::Removed);
        }
        let role = token.spec.role.of_node().ok_or_else(|| {
            AdmissionError::Role("the token is for clients, which get a kubeconfig and run no node; ask for one of another role (skein token create --role member)".into())
        })?;
        if member.is_some_and(|member| member.role > role) {
            let text = "this node's key was let in as a member before, and a member's key does not become an observer's; join with a new key, from another --data-dir";
            return Err(AdmissionError::Role(text.into()));
        }
        let taken =
            members.iter().any(|member| member.name == request.name && member.is_active() && member.id != request.node);
        if taken {
            let text =
                format!("a node named \"{}\" is in the cluster already; choose another with --name", request.name);
            return Err(AdmissionError::Name(text));
        }
        Ok(role)
    }

    /// Whether this node may let anybody in.
    ///
    /// # Errors
    /// When it is an observer: what it says of others would not count.
    pub fn check_that_it_admits(&self) -> Result<(), AdmissionError> {
        if self.store.members().is_observer(&self.me) {
            let text =
                "this node is an observer, which lets nobody in; ask a member (skein peers shows which they are)";
            return Err(AdmissionError::Role(text.into()));
        }
        Ok(())
    }

    /// Removes another node for good. It is told, as far as it can be reached: the code that it runs then stops its pods.
    pub(super) fn remove(&mut self, now: Now, node: NodeId) -> Written {
        if node == self.me {
            return Err(WriteError::Refused("a node does not remove itself: run skein leave on it".into()));
        }
        if self.store.members().is_observer(&self.me) {
            let text =
                "this node is an observer, which removes nobody; ask a member (skein peers shows which they are)";
            return Err(WriteError::Refused(text.into()));
        }
        let member = self.store.members().get(&node).ok_or(WriteError::NoSuchMember(node))?;
        let name = NameKey::root(&Kind::new("Node"), &member.name);
        let object = self.store.current_life(&name);
        let key = object.clone().unwrap_or_else(|| self.store.next_life(&name));
        let removal = self.store.remove(now, node);
        if let Some(removal) = &removal {
            // Nothing that it says counts from now on, but the connection stays until it may have heard why.
            self.timers.set(Wait::Members, now.mono + FAREWELL);
            self.send(node, &Frame::Push { envelopes: vec![removal.clone()], token: None, pass_to: Vec::new() }, None);
        }
        if let Some(deletion) = object.and_then(|object| self.store.delete(now, &object)) {
            self.push(&[deletion]);
        }
        Ok((key, removal.into_iter().collect()))
    }

    /// Others say that this node does not belong to the cluster any more: it runs nothing from now on.
    pub(super) fn expelled(&mut self, now: Now, why: &Ended) {
        let text = self.why_out(why);
        self.effects.push_back(Effect::Notice(text));
        let linked: Vec<NodeId> = self.peers.linked.iter().copied().collect();
        linked.into_iter().for_each(|peer| self.tell_why_out(peer));
        self.go(now);
        self.is_out_before_leaving(now);
    }

    /// Somebody else has removed nodes that this one has connections to: they are told why these end. Whether there were any; then
    /// the connections stay for a moment.
    pub(super) fn tell_removed(&mut self, now: Now) -> bool {
        let members = self.store.members();
        let is_removed = |node: &NodeId| members.get(node).is_some_and(Member::is_removed);
        let linked = self.known_members.iter().filter(|node| self.peers.linked.contains(*node) && is_removed(node));
        let told: Vec<_> = linked.map(|node| (*node, removals_of(members, |removed| removed == node))).collect();
        for (node, envelopes) in &told {
            let envelopes = envelopes.clone();
            self.send(*node, &Frame::Push { envelopes, token: None, pass_to: Vec::new() }, None);
        }
        if !told.is_empty() {
            self.timers.set(Wait::Members, now.mono + FAREWELL);
        }
        !told.is_empty()
    }

    /// A node that was removed, or whom only removed nodes have admitted, tells whoever it meets: the remover may have been removed
    /// itself before anybody else had heard, and then all others would wait for this one to come back. It may also be one that
    /// nobody else knows yet.
    pub(super) fn tell_why_out(&mut self, peer: NodeId) {
        let envelopes = why_out(self.store.members(), &self.me);
        if !envelopes.is_empty() {
            self.send(peer, &Frame::Push { envelopes, token: None, pass_to: Vec::new() }, None);
        }
    }

    /// What a node that is out tells whoever reads its log, and what to do about it.
    pub(super) fn why_out(&self, why: &Ended) -> String {
        match why {
            Ended::Removed { by, .. } => {
                let by = self.store.members().get(by).map_or_else(|| by.short(), |member| member.name.clone());
                format!(
                    "this node was removed from the cluster by {by}: it runs nothing, and its key stays out for ever; \
                     to join with a new key: skein join TOKEN --data-dir ANOTHER"
                )
            }
            Ended::Unvouched => "the node that had admitted this one was removed: this one runs nothing; to join \
                                 again: skein join TOKEN --discard"
                .to_owned(),
            Ended::Left(_) => "this node does not belong to the cluster any more and runs nothing; to join again: \
                               skein join TOKEN --discard"
                .to_owned(),
        }
    }
}

/// Whether a node may be called that (RFC 1123, as a host name).
pub(super) fn check_name(name: &str) -> Result<(), AdmissionError> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let sane = name.len() <= MAX_NODE_NAME
        && name.bytes().all(inner)
        && edge(name.bytes().next())
        && edge(name.bytes().last());
    if sane {
        return Ok(());
    }
    let shown: String = name.chars().take(MAX_NODE_NAME).collect();
    Err(AdmissionError::Name(format!(
        "\"{shown}\" cannot be a node's name: use at most {MAX_NODE_NAME} lower-case letters, digits, - and . \
         (choose one with --name)"
    )))
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
