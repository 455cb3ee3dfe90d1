//! What the store knows of writes that were decided, for whoever decides the next one or upholds it. Who decides does not live
//! here.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Store;
use crate::envelope::Envelope;
use crate::{Kind, NameKey, ObjectKey, WriteId};

impl Store {
    /// All that somebody lacks of a name who has its present life up to `heads`: the deletion of its earlier lives, and the
    /// changes of the present one, in an order in which they can be taken in.
    #[must_use]
    pub fn all_since(&self, name: &NameKey, heads: &[WriteId]) -> Vec<Arc<Envelope>> {
        let life = self.current_life(name);
        let object = life.as_ref().and_then(|key| self.object(key));
        let changes = object.map(|object| object.changes_since(heads)).unwrap_or_default();
        self.deletion(name).into_iter().chain(changes.into_iter().map(|change| change.envelope.clone())).collect()
    }

    /// Whether an object is here with all these changes.
    #[must_use]
    pub fn has_changes(&self, key: &ObjectKey, changes: &[WriteId]) -> bool {
        changes.is_empty()
            || self.object(key).is_some_and(|object| changes.iter().all(|id| object.changes().contains_key(id)))
    }

    /// Whether this disk has damaged changes of an object that have not come again: what this node upheld may be among them.
    #[must_use]
    pub fn has_lost_changes(&self, key: &ObjectKey) -> bool {
        let is_here = |id: &WriteId| self.object(key).is_some_and(|object| object.changes().contains_key(id));
        self.hurt.changes(key).any(|id| !is_here(id))
    }

    /// Whether this disk has damaged changes of a live object of a kind, see [`Store::has_lost_changes`].
    #[must_use]
    pub fn has_lost_changes_of(&self, kind: &Kind) -> bool {
        let has_lost = |key: &ObjectKey| key.kind() == kind && self.could_live(key) && self.has_lost_changes(key);
        self.hurt.objects().any(|key| has_lost(&key))
    }

    /// A hash of the live objects of a kind, of their changes, and of which lives of such names are over: the same at two peers exactly if
    /// these are. Who has not heard of a deletion would make the life again that it ended.
    #[must_use]
    pub fn hash_of(&self, kind: &Kind) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for object in self.live(kind) {
            let key = object.key().to_string();
            hasher.update((key.len() as u64).to_be_bytes());
            hasher.update(key);
            hasher.update((object.heads().len() as u64).to_be_bytes());
            object.heads().iter().for_each(|head| hasher.update(head.0));
        }
        for (name, over) in self.deletions().filter(|(name, _)| name.kind() == kind) {
            let life = name.life(over).to_string();
            hasher.update((life.len() as u64).to_be_bytes());
            hasher.update(life);
        }
        hasher.finalize().into()
    }

    /// Whether something was decided on an object without knowledge of a state of it: then that state cannot be upheld as well.
    #[must_use]
    pub fn is_decided_apart(&self, key: &ObjectKey, heads: &[WriteId]) -> bool {
        let apart = self.object(key).map(|object| object.changes_since(heads)).unwrap_or_default();
        apart.iter().any(|change| change.decided.is_some())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::desk;
    use crate::{Edit, Kind, Message, Operation, Scalar};
    use skein_gossip::{Instant, Now};

    fn at(wall_ms: u64) -> Now {
        Now { mono: Instant(0), wall_ms }
    }

    fn holder(who: &str) -> [Edit; 1] {
        [Edit::set("spec.holderIdentity", Scalar::str(who))]
    }

    fn decided(term: u64) -> String {
        Message { manager: "m", user: "u", operation: Operation::Update, decided: Some(term) }.to_string()
    }

    fn lease() -> NameKey {
        NameKey::root(&Kind::new("Lease.coordination.k8s.io"), "lock")
    }

    #[test]
    fn of_two_decisions_that_were_made_apart_the_later_term_holds_though_its_clock_is_behind() {
        let (mut a, mut b) = desk::pair(at(1));
        let key = lease().life(1);
        let born = a.edit(at(1_000), &key, &holder("nobody"), &decided(1)).unwrap();
        born.iter().for_each(|said| drop(b.receive(at(1_000), said)));
        let early = a.edit(at(900_000), &key, &holder("a"), &decided(4)).unwrap();
        let late = b.edit(at(2_000), &key, &holder("b"), &decided(5)).unwrap();
        late.iter().for_each(|said| drop(a.receive(at(900_000), said)));
        early.iter().for_each(|said| drop(b.receive(at(900_000), said)));
        for store in [&a, &b] {
            assert_eq!(store.object(&key).unwrap().get("spec.holderIdentity"), Some(&Scalar::str("b")));
        }
        assert_eq!(a.state_hash(), b.state_hash());
    }

    #[test]
    fn a_decision_is_apart_from_one_that_was_made_without_it_and_not_from_one_that_was_built_on_it() {
        let (mut a, mut b) = desk::pair(at(1));
        let key = lease().life(1);
        let born = a.edit(at(1), &key, &holder("nobody"), &decided(0)).unwrap();
        born.iter().for_each(|said| drop(b.receive(at(1), said)));
        let heads = a.object(&key).unwrap().heads().to_vec();
        assert!(!b.is_decided_apart(&key, &heads), "it is the same state");
        let plain = b.edit(at(2), &key, &[Edit::set("spec.leaseTransitions", Scalar::Int(1))], "m\tu").unwrap();
        assert_eq!(plain.len(), 1);
        assert!(!b.is_decided_apart(&key, &heads), "an edit that was not decided stands in nobody's way");
        b.edit(at(3), &key, &holder("b"), &decided(0)).unwrap();
        assert!(b.is_decided_apart(&key, &heads));
        let news = b.all_since(&lease(), &heads);
        assert_eq!(news.len(), 2);
        news.iter().for_each(|said| drop(a.receive(at(3), said)));
        a.edit(at(4), &key, &holder("a"), &decided(0)).unwrap();
        assert!(!b.has_changes(&key, a.object(&key).unwrap().heads()));
        a.all_since(&lease(), &heads).iter().for_each(|said| drop(b.receive(at(4), said)));
        assert!(!b.is_decided_apart(&key, a.object(&key).unwrap().heads()), "it was built on what b decided");
    }

    #[test]
    fn the_hash_of_a_kind_is_that_of_its_live_objects_their_changes_and_what_was_deleted() {
        let (mut a, mut b) = desk::pair(at(1));
        let (kind, key) = (Kind::new("Lease.coordination.k8s.io"), lease().life(1));
        let nothing = a.hash_of(&kind);
        a.edit(at(1), &NameKey::root(&Kind::new("ConfigMap"), "lock").life(1), &holder("a"), "m\tu").unwrap();
        assert_eq!(a.hash_of(&kind), nothing, "another kind");
        let mut known = vec![nothing];
        for who in ["a", "b"] {
            let said = a.edit(at(2), &key, &holder(who), &decided(1)).unwrap();
            assert!(!known.contains(&a.hash_of(&kind)));
            said.iter().for_each(|said| drop(b.receive(at(2), said)));
            assert_eq!(a.hash_of(&kind), b.hash_of(&kind));
            known.push(a.hash_of(&kind));
        }
        let over = a.delete(at(3), &key).unwrap();
        assert!(!known.contains(&a.hash_of(&kind)), "who has not heard of it may think that there never was any");
        b.receive(at(3), &over);
        assert_eq!(a.hash_of(&kind), b.hash_of(&kind));
    }

    #[test]
    fn what_this_disk_has_damaged_of_a_kind_is_lost_until_its_life_is_over() {
        let (mut a, mut b) = desk::pair(at(1));
        let (kind, key) = (Kind::new("Lease.coordination.k8s.io"), lease().life(1));
        let said = a.edit(at(1), &key, &holder("a"), &decided(1)).unwrap();
        let mut rows: Vec<_> = a.drain_records().into_iter().collect();
        let record = rows.iter_mut().rfind(|record| record.table == crate::store::tables::CHANGES).unwrap();
        let value: Vec<u8> = record.value.as_ref().unwrap().iter().rev().copied().collect();
        record.value = Some(value.into());
        let rows = rows.iter().filter_map(|r| Some((r.table.to_owned(), r.key.to_vec(), r.value.as_ref()?.to_vec())));
        let (mut again, _) = desk::pair(at(1));
        assert_eq!(again.restore(at(2), rows).len(), 1);
        assert!(again.has_lost_changes_of(&kind) && !again.has_lost_changes_of(&Kind::new("ConfigMap")));
        said.iter().for_each(|said| drop(b.receive(at(2), said)));
        let over = b.delete(at(3), &key).unwrap();
        again.receive(at(3), &over);
        assert!(!again.has_lost_changes_of(&kind));
    }

    #[test]
    fn what_is_told_of_a_name_includes_that_its_earlier_life_is_over() {
        let (mut a, mut b) = desk::pair(at(1));
        let first = lease().life(1);
        let born = a.edit(at(1), &first, &holder("a"), &decided(1)).unwrap();
        born.iter().for_each(|said| drop(b.receive(at(1), said)));
        a.delete(at(2), &first).unwrap();
        a.all_since(&lease(), &[]).iter().for_each(|said| drop(b.receive(at(2), said)));
        assert_eq!(b.current_life(&lease()), None);
        assert_eq!(b.next_life(&lease()), lease().life(2));
    }

    #[test]
    fn a_node_knows_which_changes_its_disk_has_damaged_until_they_have_come_again() {
        let (mut a, mut b) = desk::pair(at(1));
        let key = lease().life(1);
        let said: Vec<_> =
            (1..4).flat_map(|n| a.edit(at(n), &key, &holder(&n.to_string()), &decided(1)).unwrap()).collect();
        said.iter().for_each(|said| drop(b.receive(at(4), said)));
        let kept = b.drain_records().into_iter();
        let mut rows: Vec<_> =
            kept.filter_map(|row| Some((row.table.to_owned(), row.key.to_vec(), row.value?.to_vec()))).collect();
        let last = rows.iter().rposition(|row| row.0 == crate::store::tables::CHANGES).unwrap();
        rows[last].2[40] ^= 1;
        let mut again = desk::store(2, 2);
        assert_eq!(again.restore(at(5), rows).len(), 1);
        assert!(again.has_lost_changes(&key) && !again.has_lost_changes(&lease().life(2)));
        said.iter().for_each(|said| drop(again.receive(at(6), said)));
        assert!(!again.has_lost_changes(&key));
    }
}
