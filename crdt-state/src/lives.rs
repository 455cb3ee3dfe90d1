//! Which lives of a name are over: numbers that only rise, so that nothing that was deleted ever returns.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::envelope::Envelope;
use crate::key::Named;
use crate::{NameKey, ObjectKey};

/// What is known of one name.
#[derive(Debug, Clone, Default)]
struct Lives {
    /// The highest life that somebody deleted, and the statement that says so.
    deleted: u32,
    envelope: Option<Arc<Envelope>>,
    /// The highest life that is known to exist, as an object or as an owner of one.
    seen: u32,
}

impl Lives {
    /// That life k exists implies that all below k are over: a deletion which got lost while its successor spread is not
    /// missed.
    fn over(&self) -> u32 {
        self.deleted.max(self.seen.saturating_sub(1))
    }
}

/// The deletion numbers of all names. A name of which no life is over has no entry, which is most of them.
#[derive(Debug, Clone, Default)]
pub struct LifeTable {
    names: BTreeMap<NameKey, Lives>,
}

impl LifeTable {
    /// Whether a key's life and those of its owners go on. Computed from keys and numbers alone.
    #[must_use]
    pub fn is_live(&self, key: &ObjectKey) -> bool {
        let goes_on = |link: &dyn Named, life: u32| self.names.get(link).is_none_or(|lives| life > lives.over());
        self.names.is_empty() || key.links().all(|link| goes_on(&link, link.incarnation()))
    }

    /// The life that a creation of this name takes now.
    #[must_use]
    pub fn next(&self, name: &NameKey) -> u32 {
        self.names.get(name).map_or(1, |lives| (lives.deleted + 1).max(lives.seen))
    }

    /// Learns that a key exists. Returns the names of which an earlier life ended by that.
    pub fn learn(&mut self, key: &ObjectKey) -> Vec<NameKey> {
        let mut ended = Vec::new();
        // Of a first life nothing follows.
        for link in key.lineage().filter(|link| link.incarnation() > 1) {
            let name = link.name_key();
            let lives = self.names.entry(name.clone()).or_default();
            if link.incarnation() > lives.seen {
                let before = lives.over();
                lives.seen = link.incarnation();
                if lives.over() > before {
                    ended.push(name);
                }
            }
        }
        ended
    }

    /// Learns a deletion; whether it was news.
    pub fn delete(&mut self, name: &NameKey, incarnation: u32, envelope: &Arc<Envelope>) -> bool {
        let lives = self.names.entry(name.clone()).or_default();
        if incarnation <= lives.deleted {
            return false;
        }
        lives.deleted = incarnation;
        lives.envelope = Some(envelope.clone());
        true
    }

    /// Forgets the names within those lives of `ended` that are over: its own number speaks for them, so every peer lets
    /// go of them alike. Returns those that had a number.
    pub fn forget_within(&mut self, ended: &NameKey) -> Vec<NameKey> {
        let over = self.names.get(ended).map_or(0, Lives::over);
        let first = ended.life(1);
        let depth = first.segments().len() - 1;
        let within = |name: &NameKey| {
            let (owner, ended) = (name.parts().0, &first.segments()[depth]);
            owner.starts_with(&first.segments()[..depth])
                && owner
                    .get(depth)
                    .is_some_and(|link| link.kind == ended.kind && link.name == ended.name && link.incarnation <= over)
        };
        let gone: Vec<NameKey> = self.names.keys().filter(|name| within(name)).cloned().collect();
        gone.into_iter().filter(|name| self.names.remove(name).is_some_and(|lives| lives.deleted > 0)).collect()
    }

    /// All deletion numbers.
    pub fn deletions(&self) -> impl Iterator<Item = (&NameKey, u32)> {
        self.names.iter().filter(|(_, lives)| lives.deleted > 0).map(|(name, lives)| (name, lives.deleted))
    }

    /// The statement that holds a name's deletion number.
    #[must_use]
    pub fn deletion(&self, name: &NameKey) -> Option<(u32, &Arc<Envelope>)> {
        let lives = self.names.get(name)?;
        Some((lives.deleted, lives.envelope.as_ref()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterId, Kind, envelope};
    use skein_gossip::Keypair;

    fn namespace() -> NameKey {
        NameKey::root(&Kind::new("Namespace"), "shop")
    }

    fn statement() -> Arc<Envelope> {
        let body = envelope::Body::Departure { stamp: crate::Hlc(1) };
        let sequence = envelope::Sequence { boot: 1, number: 1 };
        Arc::new(Envelope::seal(&Keypair::from_secret([1; 32]), &ClusterId([1; 16]), sequence, &body))
    }

    #[test]
    fn a_dead_owner_takes_its_children_along() {
        let mut lives = LifeTable::default();
        let pod = namespace().life(1).child(&Kind::new("Pod"), "a", 1);
        lives.learn(&pod);
        assert!(lives.is_live(&pod));
        assert!(lives.delete(&namespace(), 1, &statement()));
        assert!(!lives.is_live(&pod));
        assert_eq!(lives.next(&namespace()), 2);
        assert!(lives.is_live(&namespace().life(2).child(&Kind::new("Pod"), "a", 1)));
    }

    #[test]
    fn a_later_life_of_an_owner_ends_the_earlier_ones_though_their_deletion_got_lost() {
        let mut lives = LifeTable::default();
        let old = namespace().life(1).child(&Kind::new("Pod"), "a", 1);
        lives.learn(&old);
        assert_eq!(lives.learn(&namespace().life(2).child(&Kind::new("Pod"), "b", 1)), [namespace()]);
        assert!(!lives.is_live(&old));
        assert!(!lives.is_live(&namespace().life(1)));
    }

    #[test]
    fn a_deletion_number_never_falls() {
        let mut lives = LifeTable::default();
        assert!(lives.delete(&namespace(), 3, &statement()));
        assert!(!lives.delete(&namespace(), 2, &statement()));
        assert!(!lives.is_live(&namespace().life(3)));
        assert_eq!(lives.next(&namespace()), 4);
    }
}
