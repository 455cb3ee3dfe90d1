//! What the store does with something that was said, by a peer or by this node itself.

use super::restore::leap;
use super::{
    Arc, Body, Envelope, EnvelopeError, GateError, Item, Members, NodeId, Now, ObjectKey, Opened, Record, Report,
    Sequence, Store, StoreChange, WriteId, deletion_record, gate, member_records, members, rotations, tables,
};
use crate::NameKey;
use crate::keyring::EpochId;
use skein_gossip::Offence;
use skein_gossip::planted::{self, Bug};

/// The most retracted sections that are kept of one node; beyond that it starts a new boot, which forgets them.
const MAX_SECTIONS: usize = 4096;

/// What became of something that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It was news and is part of the state now.
    Applied,
    /// It was known.
    Known,
    /// It is about something that is over; whether it keeps the rules was not looked at.
    Over,
    /// It is built on changes of this object that are not here yet.
    Missing(ObjectKey, Vec<WriteId>),
    /// Its author is not known to be a member; it may be offered again when its admission has arrived.
    UnknownAuthor(NodeId),
    /// It is sealed under an epoch whose key is not here; it may be offered again when the key is.
    NoKey(EpochId),
    /// It breaks a rule; nothing of it was used.
    Refused(String),
    /// It does not go with something else that its author has said; nothing of it was used. Whoever passed it on need not have known.
    Contradicts(String),
}

impl Store {
    /// Takes in what somebody said. Total: nothing that a peer sends does harm.
    pub fn receive(&mut self, now: Now, envelope: &Arc<Envelope>) -> Received {
        match self.open(envelope) {
            Ok(opened) => {
                let received = self.take_in(now, &opened);
                self.settle_members();
                received
            }
            Err(error) => Received::Refused(error.to_string()),
        }
    }

    /// Who would belong to the cluster if these admissions were known here as well. Whatever else is among them is left out, and so
    /// is what its author has not said; nothing is taken in.
    #[must_use]
    pub fn members_with(&self, said: &[Arc<Envelope>]) -> Members {
        let mut members = self.members.clone();
        for opened in said.iter().filter_map(|envelope| self.open(envelope).ok()) {
            let name = members::statement_name(opened.envelope().author(), opened.body());
            if name.is_some_and(|name| members::lets_in(&name)) {
                members.insert(&self.identity.cluster, opened.envelope(), opened.body().clone());
            }
        }
        members.settle();
        members
    }

    /// Takes in what was said by somebody who proved it. Of statements about members nothing follows yet for what is said of members
    /// elsewhere, see [`Store::settle_members`].
    pub(crate) fn take_in(&mut self, now: Now, said: &Opened) -> Received {
        let author = said.envelope().author();
        let about_members = members::statement_name(author, said.body()).is_some();
        if !about_members {
            self.settle_members();
        }
        if !about_members && !self.members.is_known(&author) && author != self.me() {
            return Received::UnknownAuthor(author);
        }
        match (said.body(), said.report()) {
            (Body::Change { key, chunk, .. }, _) => self.receive_change(now, key, chunk, said),
            (Body::Blob { key, sealed }, _) => self.receive_blob(key, sealed, said),
            (Body::Rotation { stamp, .. }, _) => self.receive_rotation(now, *stamp, said),
            (_, Some(report)) => self.receive_report(now, report, said),
            (Body::Deletion { name, incarnation, stamp, seen }, _) => {
                self.observe(now, *stamp);
                self.receive_deletion(name, *incarnation, seen, said)
            }
            (statement, _) => self.receive_statement(now, said.envelope(), statement),
        }
    }

    /// Whether what was said is part of the state here, or is about something that is over.
    pub(crate) fn includes_one(&self, envelope: &Arc<Envelope>) -> bool {
        let Ok(opened) = self.open(envelope) else { return false };
        let author = envelope.author();
        match opened.body() {
            Body::Change { key, .. } => {
                let has = |object: &Arc<crate::ObjectState>| {
                    let is_it = |known: &Envelope| known.sequence() == envelope.sequence() && *known == **envelope;
                    object.changes().values().any(|change| is_it(&change.envelope))
                };
                !self.lives.is_live(key) || self.objects.get(key).is_some_and(has)
            }
            Body::Blob { key, sealed } => !self.lives.is_live(key) || self.includes_blob(key, sealed),
            Body::Rotation { .. } => self.rotations.envelope(&rotations::name_of(envelope)).is_some(),
            Body::Deletion { name, incarnation, .. } => !self.lives.is_live(&name.life(*incarnation)),
            Body::Report { section, .. } => {
                let known = self.reports.get(&(author, section.clone()));
                known.is_some_and(|report| report.sequence >= envelope.sequence())
            }
            statement => {
                let name = members::statement_name(author, statement);
                name.is_some_and(|name| self.members.envelope(&name).is_some())
            }
        }
    }

    /// What somebody did who sent words that nobody can be held to.
    pub(crate) fn offence_in(&self, envelope: &Envelope) -> Offence {
        match envelope.open(&self.identity.cluster) {
            Err(EnvelopeError::Signature(_)) => match envelope.open_verified() {
                Ok(Body::Report { .. }) => Offence::ForgedReport,
                _ => Offence::ForgedAuthor,
            },
            _ => Offence::Invalid,
        }
    }

    pub(crate) fn open(&self, envelope: &Arc<Envelope>) -> Result<Opened, EnvelopeError> {
        let digest = envelope.digest();
        let body = match self.memo.verified(&digest) {
            Some(Some(opened)) => return Ok(opened),
            Some(None) => envelope.open_verified()?,
            None => envelope.open(&self.identity.cluster)?,
        };
        let opened = Opened::new(envelope.clone(), body);
        self.memo.keep_verified(digest, &opened);
        Ok(opened)
    }

    fn receive_statement(&mut self, now: Now, envelope: &Arc<Envelope>, body: &Body) -> Received {
        if let Some(stamp) = members::stamp_of(body) {
            self.observe(now, stamp);
        }
        let inserted = self.members.insert(&self.identity.cluster, envelope, body.clone());
        let Some(item) = inserted else { return Received::Known };
        let (node, kind, author) = item;
        let version = u64::from_be_bytes(first_eight(&envelope.digest()));
        self.wanted.set(Item::Member(node, kind, author), Some(version));
        self.records.extend(member_records(&item, envelope));
        self.changed.insert(StoreChange::Members);
        Received::Applied
    }

    /// Finds out what follows from the statements about members that came since the last time.
    pub(crate) fn settle_members(&mut self) {
        if self.members.settle() {
            self.recount_rotations();
        }
    }

    fn receive_change(&mut self, now: Now, key: &ObjectKey, chunk: &[u8], said: &Opened) -> Received {
        if !key.check() {
            return Received::Refused("a key that no node makes".into());
        }
        // A change of a later life says that the earlier ones are over, even if the change itself must wait.
        if !self.lives.is_live(key) {
            return Received::Over;
        }
        let state = self.state_of(key);
        match gate::admit(&self.memo, &state, said.envelope(), chunk) {
            Ok(merged) => {
                self.observe(now, merged.newest());
                self.put_object(&merged, said);
                Received::Applied
            }
            Err(GateError::Known) => Received::Known,
            Err(GateError::Missing(missing)) => Received::Missing(key.clone(), missing),
            Err(GateError::Invalid(reason)) => Received::Refused(format!("{key}: {reason}")),
            Err(GateError::Contradicts(reason)) => Received::Contradicts(format!("{key}: {reason}")),
        }
    }

    fn receive_deletion(&mut self, name: &NameKey, incarnation: u32, seen: &[WriteId], said: &Opened) -> Received {
        let envelope = said.envelope();
        let key = name.life(incarnation);
        if !key.check() || incarnation == u32::MAX {
            return Received::Refused("a key that no node makes".into());
        }
        if name.owner().is_some_and(|owner| !self.lives.is_live(&owner)) {
            return Received::Known;
        }
        if let Some(owner) = name.owner() {
            for ended in self.lives.learn(&owner) {
                self.sweep(&ended, None);
            }
        }
        if !self.lives.delete(name, incarnation, envelope) {
            return Received::Known;
        }
        self.wanted.set(Item::Deletion(name.clone()), Some(u64::from(incarnation)));
        self.records.push(deletion_record(name, Some(said.encoded())));
        self.sweep(name, Some((incarnation, envelope.author(), seen)));
        // The name's next life follows from it, though the object may not be here.
        self.changed.insert(StoreChange::Object(key));
        self.deletion_came(name, incarnation, envelope.author(), seen);
        Received::Applied
    }

    fn receive_report(&mut self, now: Now, said: &Arc<Report>, opened: &Opened) -> Received {
        let Report { node, section, sequence, stamp, body, .. } = &**said;
        let (node, sequence, stamp) = (*node, *sequence, *stamp);
        if section.len() > super::MAX_SECTION_BYTES || body.len() > super::MAX_REPORT_BYTES {
            return Received::Refused("a report that is too long".into());
        }
        if node == self.me() && !planted::is(Bug::TwoWriters) && self.is_from_another_past(sequence) {
            self.be_reborn(now, sequence);
            return Received::Known;
        }
        let name = (node, section.clone());
        let by_clock = planted::is(Bug::WallClockOrder);
        let is_newer =
            |report: &Arc<Report>| if by_clock { report.stamp >= stamp } else { report.sequence >= sequence };
        let known = self.reports.get(&name).is_some_and(is_newer);
        if known || sequence.boot < self.boot_of(&node) {
            return Received::Known;
        }
        self.observe(now, stamp);
        self.put_report(said, opened);
        if &**section == "node" {
            self.forget_earlier_boots(node, sequence.boot);
        }
        Received::Applied
    }

    fn put_report(&mut self, report: &Arc<Report>, opened: &Opened) {
        let (node, section) = (report.node, report.section.clone());
        self.reported.set(Item::Report(node, section.clone()), Some(version_of(report.sequence)));
        if node == self.me() {
            let value = (!report.body.is_empty()).then(|| opened.encoded());
            self.records.push(Record { table: tables::REPORTS, key: section.as_bytes().into(), value });
        }
        self.reports.insert((node, section.clone()), report.clone());
        self.changed.insert(StoreChange::Report(node, section));
    }

    /// The boot that a node's own section names; what it said in earlier ones counts no more.
    fn boot_of(&self, node: &NodeId) -> u64 {
        self.reports.get(&(*node, Arc::from("node"))).map_or(0, |report| report.sequence.boot)
    }

    fn forget_earlier_boots(&mut self, node: NodeId, boot: u64) {
        let sections = self.reports.range((node, Arc::from(""))..).take_while(|((of, _), _)| *of == node);
        let old: Vec<Arc<str>> = sections
            .filter(|(_, report)| report.sequence.boot < boot)
            .map(|((_, section), _)| section.clone())
            .take(MAX_SECTIONS)
            .collect();
        for section in old {
            self.reports.remove(&(node, section.clone()));
            self.reported.set(Item::Report(node, section.clone()), None);
            if node == self.me() {
                let key = section.as_bytes().into();
                self.records.push(Record { table: tables::REPORTS, key, value: None });
            }
            self.changed.insert(StoreChange::Report(node, section));
        }
    }

    /// Whether a report of this node's own was not made by this start nor by one that this disk remembers: the disk went
    /// back in time.
    fn is_from_another_past(&self, sequence: Sequence) -> bool {
        sequence.boot > self.identity.boot
            || (sequence.boot == self.identity.boot && sequence.number >= self.next_number)
    }

    /// Takes a boot number beyond what peers remember, and says everything again under it. An earlier start with an empty disk may
    /// have done so before, and of its words nobody who is heard need know.
    fn be_reborn(&mut self, now: Now, beyond: Sequence) {
        self.identity.boot = leap(beyond.boot, self.identity.nonce);
        self.next_number = 1;
        let me = self.me();
        let sections = self.reports.range((me, Arc::from(""))..).take_while(|((of, _), _)| *of == me);
        let mut own: Vec<(Arc<str>, Arc<[u8]>)> =
            sections.map(|((_, section), report)| (section.clone(), report.body.clone())).collect();
        // The node's own section comes last, since its arrival ends what was said under the earlier boot.
        own.sort_by_key(|(section, _)| &**section == "node");
        for (section, body) in own.into_iter().filter(|(_, body)| !body.is_empty()) {
            // It was short enough before.
            let _ = self.set_report(now, &section, &body);
        }
    }
}

fn version_of(sequence: Sequence) -> u64 {
    sequence.boot.rotate_left(32) ^ sequence.number
}

fn first_eight(bytes: &[u8; 32]) -> [u8; 8] {
    [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::desk::{NOW, identity, keys};
    use crate::{Memo, memo::MemoLimits};

    fn store(n: u8, limits: MemoLimits) -> Store {
        Store::new(identity(n, 1, crate::keyring::founding()), Memo::new(limits))
    }

    /// What a member says again under another number is not its word, however well its first is known.
    #[test]
    fn a_word_whose_number_was_changed_on_its_way_is_refused_though_it_was_known_before() {
        for limits in [MemoLimits::DAEMON, MemoLimits::SIMULATOR] {
            let (mut author, mut reader) = (store(1, limits), store(2, limits));
            let said = [author.found(NOW, [5; 32], "a"), author.set_report(NOW, "node", b"well").unwrap().unwrap()];
            said.iter().for_each(|said| assert_eq!(reader.receive(NOW, said), Received::Applied));
            let mut bytes = said[1].encode();
            // Behind version and author come the boot and then the number, each a byte here.
            assert_eq!(bytes[33..35], [1, 2]);
            bytes[34] = 9;
            let forged = Arc::new(Envelope::decode(&bytes).unwrap());
            assert!(matches!(reader.receive(NOW, &forged), Received::Refused(_)));
            assert_eq!(reader.offence_in(&forged), Offence::ForgedReport);
        }
    }

    /// A member that signs with its own key what it says in another's name.
    #[test]
    fn words_in_the_name_of_another_are_told_apart_from_words_that_break_a_rule() {
        let (mut author, mut reader) = (store(1, MemoLimits::DAEMON), store(2, MemoLimits::DAEMON));
        let founding = author.found(NOW, [5; 32], "a");
        assert_eq!(reader.receive(NOW, &founding), Received::Applied);
        let (cluster, thief) = (reader.identity.cluster, keys(3));
        let victim = author.me();
        let forge = |body: &Body| {
            let mut bytes = Envelope::seal(&thief, &cluster, Sequence { boot: 9, number: 9 }, body).encode();
            bytes[1..33].copy_from_slice(&victim.0);
            Arc::new(Envelope::decode(&bytes).unwrap())
        };
        let stamp = crate::Hlc(5);
        let deletion = Body::Deletion {
            name: NameKey::root(&crate::Kind::new("ConfigMap"), "c"),
            incarnation: 1,
            stamp,
            seen: Vec::new(),
        };
        let report = Body::Report { section: "node".into(), stamp, body: [1].into() };
        for (body, offence) in [(deletion, Offence::ForgedAuthor), (report, Offence::ForgedReport)] {
            let forged = forge(&body);
            assert!(matches!(reader.receive(NOW, &forged), Received::Refused(_)));
            assert_eq!(reader.offence_in(&forged), offence);
        }
    }
}
