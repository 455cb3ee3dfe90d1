//! What a deletion had not seen of what it ended: an edit is lost and reported; a creation is handed to whoever makes it again
//! as the next life, since its deleter cannot have meant it.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_gossip::planted::{self, Bug};
use skein_gossip::{NodeId, Now};

use super::{EditError, Store, StoreChange};
use crate::blob::BlobId;
use crate::envelope::Envelope;
use crate::{Edit, Hlc, Leaf, LeafPath, NameKey, ObjectKey, ObjectState, Scalar, WriteId};

/// The most ended objects whose deletion has not come that are kept; beyond it those first in order are let go.
const MAX_ENDED: usize = 256;
/// The most texts of ended objects that are waited for, and the most bytes of them that are kept; what is beyond is let go.
const MAX_AWAITED: usize = 1024;
const MAX_AWAITED_BYTES: usize = 16 << 20;
/// The most unseen creations that wait to be drained; more are let go with a report.
const MAX_UNSEEN: usize = 1024;

/// An object at its end.
#[derive(Debug)]
pub(super) struct Last {
    /// What it was.
    pub(super) object: Arc<ObjectState>,
    /// The texts that were kept beside its document.
    pub(super) texts: BTreeMap<BlobId, Arc<str>>,
}

/// An object that was created apart from somebody who deleted another creation of the same life.
#[derive(Debug, Clone)]
pub struct Unseen {
    /// What it was in the end.
    pub object: Arc<ObjectState>,
    /// Who deleted the life.
    pub by: NodeId,
    /// The texts that were kept beside its document.
    texts: BTreeMap<BlobId, Arc<str>>,
}

impl Unseen {
    /// All its fields, as edits.
    pub(super) fn edits(&self) -> Vec<Edit> {
        let edit =
            |(path, leaf): (&LeafPath, &Leaf)| Edit { path: path.clone(), value: Some(self.in_place(&leaf.value)) };
        self.object.leaves().iter().map(edit).collect()
    }

    /// Its fields by when they were written, the earliest first.
    fn by_stamp(&self) -> BTreeMap<Hlc, Vec<&LeafPath>> {
        let mut by_stamp: BTreeMap<Hlc, Vec<&LeafPath>> = BTreeMap::new();
        for (path, leaf) in self.object.leaves() {
            by_stamp.entry(leaf.stamp).or_default().push(path);
        }
        by_stamp
    }

    /// One of its values with the text that it mentions as one to keep aside.
    #[must_use]
    pub fn in_place(&self, value: &Scalar) -> Scalar {
        let text = if let Scalar::Blob(blob) = value { self.texts.get(&blob.id) } else { None };
        text.map_or_else(|| value.clone(), |text| Scalar::Aside(text.clone()))
    }
}

/// Texts that ended objects mention and that were not here when they ended. What was under way then still comes.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    texts: BTreeMap<(ObjectKey, BlobId), Option<Arc<str>>>,
    bytes: usize,
}

impl Awaited {
    /// Waits for what an object's values in force mention and `here` does not have.
    fn begin(&mut self, object: &ObjectState, here: &BTreeMap<BlobId, Arc<str>>) {
        for id in mentions_in_force(object).filter(|id| !here.contains_key(id)) {
            if self.texts.len() < MAX_AWAITED {
                self.texts.entry((object.key().clone(), id)).or_default();
            }
        }
    }

    /// Whether a text of this object is waited for.
    pub(super) fn waits_for(&self, key: &ObjectKey) -> bool {
        let mut of_it = self.texts.range((key.clone(), [0; 32])..=(key.clone(), [0xff; 32]));
        !self.texts.is_empty() && of_it.any(|(_, text)| text.is_none())
    }

    /// Takes a text in, if it is waited for.
    pub(super) fn take(&mut self, key: &ObjectKey, id: &BlobId, text: &Arc<str>) {
        if self.texts.is_empty() || self.bytes + text.len() > MAX_AWAITED_BYTES {
            return;
        }
        if let Some(waiting) = self.texts.get_mut(&(key.clone(), *id))
            && waiting.is_none()
        {
            self.bytes += text.len();
            *waiting = Some(text.clone());
        }
    }

    /// Whether nothing is waited for.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.bytes == 0
    }

    /// What has come for an object.
    fn of<'a>(&'a self, key: &ObjectKey) -> impl Iterator<Item = (BlobId, &'a Arc<str>)> + use<'a> {
        let of_it = self.texts.range((key.clone(), [0; 32])..=(key.clone(), [0xff; 32]));
        of_it.filter_map(|((_, id), text)| Some((*id, text.as_ref()?)))
    }

    fn end(&mut self, key: &ObjectKey) {
        if self.texts.is_empty() {
            return;
        }
        let came: usize = self.of(key).map(|(_, text)| text.len()).sum();
        self.bytes -= came;
        self.texts.retain(|(other, _), _| other != key);
    }
}

fn mentions_in_force(object: &ObjectState) -> impl Iterator<Item = BlobId> {
    let mention = |leaf: &Leaf| if let Scalar::Blob(blob) = &leaf.value { Some(blob.id) } else { None };
    object.leaves().values().filter_map(mention)
}

impl Store {
    /// The creations since the last call that ended with a life whose deleter had not seen them.
    pub fn drain_unseen(&mut self) -> Vec<Unseen> {
        std::mem::take(&mut self.unseen)
    }

    /// Gives an unseen creation the texts that have come since it ended. Whether none is missing; one that is may be on its way
    /// until [`Store::forget_unseen`].
    pub fn complete(&mut self, unseen: &mut Unseen) -> bool {
        let came = self.awaited.of(unseen.object.key()).map(|(id, text)| (id, text.clone()));
        unseen.texts.extend(came);
        mentions_in_force(&unseen.object).all(|id| unseen.texts.contains_key(&id))
    }

    /// Makes an unseen creation again under another key. Every field counts as written when it was: somebody may be
    /// creating the same life apart from this, and what users wrote last has to stand, not what was made again last. It takes a
    /// change for each stamp, which are no more than its fields.
    ///
    /// # Errors
    /// Those of [`Store::edit`]; nothing is changed then.
    pub fn make_again(
        &mut self,
        now: Now,
        key: &ObjectKey,
        unseen: &Unseen,
        message: &str,
    ) -> Result<Vec<Arc<Envelope>>, EditError> {
        if planted::is(Bug::MadeAgainIsNew) {
            return self.edit(now, key, &unseen.edits(), message);
        }
        let by_stamp = unseen.by_stamp();
        let mut in_order = by_stamp.into_iter();
        let Some((earliest, _)) = in_order.next() else { return Ok(Vec::new()) };
        // Nobody is to see half of it, so the first change has it all, and those after it say later of some fields again.
        let mut said = self.edit_as_of(now, Some(earliest), key, &unseen.edits(), message)?;
        for (stamp, paths) in in_order {
            let Some(made) = self.objects.get(key).cloned() else { break };
            let again = |path: &&LeafPath| {
                let value = made.get(path)?.clone();
                Some([Edit::unset(path), Edit { path: (*path).clone(), value: Some(value) }])
            };
            let edits: Vec<Edit> = paths.iter().filter_map(again).flatten().collect();
            // A field that cannot be said again stays as it is: it is there, and counts as written earlier.
            let Ok(more) = self.edit_as_of(now, Some(stamp), key, &edits, message) else { continue };
            said.extend(more);
        }
        Ok(said)
    }

    /// Nothing more is waited for of an unseen creation.
    pub fn forget_unseen(&mut self, key: &ObjectKey) {
        self.awaited.end(key);
    }

    /// An object ended by the deletion of its own life.
    pub(super) fn ended_by(&mut self, last: Last, by: NodeId, seen: &[WriteId]) {
        let Last { object, texts } = last;
        let created_apart = object.births().any(|birth| !seen.contains(&birth));
        if created_apart && self.unseen.len() < MAX_UNSEEN {
            self.awaited.begin(&object, &texts);
            self.unseen.push(Unseen { object, by, texts });
            return;
        }
        self.awaited.end(object.key());
        if object.heads().iter().any(|head| !seen.contains(head)) {
            self.changed.insert(StoreChange::EditLost(object.key().clone(), by));
        }
    }

    /// An object ended since a later life of its name is known; what its deleter had seen is told by the deletion, which is
    /// still to come.
    pub(super) fn ended_before_its_deletion(&mut self, last: Last) {
        self.awaited.begin(&last.object, &last.texts);
        self.ended.insert(last.object.key().clone(), last);
        if self.ended.len() > MAX_ENDED
            && let Some((key, _)) = self.ended.pop_first()
        {
            self.awaited.end(&key);
        }
    }

    /// The deletion of a life has come: of what ended before it came, now more is known.
    pub(super) fn deletion_came(&mut self, name: &NameKey, incarnation: u32, by: NodeId, seen: &[WriteId]) {
        let (first, last) = (name.life(0), name.life(incarnation));
        let between = self.ended.range(first..=last).map(|(key, _)| key);
        let over: Vec<ObjectKey> = between.filter(|key| key.name_key() == *name).cloned().collect();
        for key in over {
            let Some(last) = self.ended.remove(&key) else { continue };
            if key.incarnation() == incarnation {
                self.ended_by(last, by, seen);
            } else {
                // The word on its own life was overtaken by one on a later life, so nobody knows what was seen of it.
                self.awaited.end(&key);
                self.changed.insert(StoreChange::EditLost(key, by));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::desk::{NOW, keys, pair};
    use crate::{Envelope, Kind};

    fn name() -> NameKey {
        NameKey::root(&Kind::new("Namespace"), "shop")
    }

    fn write(store: &mut Store, life: u32, value: i64) -> Arc<Envelope> {
        store.edit(NOW, &name().life(life), &[Edit::set("data.x", Scalar::Int(value))], "").unwrap().pop().unwrap()
    }

    fn edits_lost(store: &mut Store) -> usize {
        store.drain_changes().iter().filter(|change| matches!(change, StoreChange::EditLost(..))).count()
    }

    #[test]
    fn what_was_created_apart_from_its_deleter_is_handed_out() {
        let (mut a, mut b) = pair(NOW);
        write(&mut a, 1, 1);
        write(&mut b, 1, 2);
        let deletion = a.delete(NOW, &name().life(1)).unwrap();
        assert!(a.drain_unseen().is_empty(), "the deleter had seen its own");
        b.receive(NOW, &deletion);
        let unseen = b.drain_unseen();
        assert_eq!(unseen.len(), 1);
        assert_eq!(unseen[0].object.get("data.x"), Some(&Scalar::Int(2)));
        assert_eq!(unseen[0].by, keys(1).node_id());
        assert_eq!(edits_lost(&mut b), 0);
    }

    #[test]
    fn what_the_deleter_had_seen_is_over_and_an_edit_that_it_had_not_seen_is_reported() {
        let (mut a, mut b) = pair(NOW);
        let created = write(&mut a, 1, 1);
        b.receive(NOW, &created);
        write(&mut b, 1, 2);
        b.drain_changes();
        let deletion = a.delete(NOW, &name().life(1)).unwrap();
        b.receive(NOW, &deletion);
        assert!(b.drain_unseen().is_empty());
        assert_eq!(edits_lost(&mut b), 1);
    }

    /// Two nodes, one of which shows what the other deleted without having seen it: `data.x` was written at once, `data.y`
    /// two seconds later.
    fn unseen_of_two_writes() -> (Store, Store, Unseen) {
        let (mut a, mut b) = pair(NOW);
        write(&mut a, 1, 1);
        write(&mut b, 1, 2);
        b.edit(later(2000), &name().life(1), &[Edit::set("data.y", Scalar::Int(3))], "").unwrap();
        let deletion = a.delete(NOW, &name().life(1)).unwrap();
        b.receive(later(2100), &deletion);
        let unseen = b.drain_unseen().pop().unwrap();
        (a, b, unseen)
    }

    fn later(ms: u64) -> Now {
        Now { wall_ms: NOW.wall_ms + ms, ..NOW }
    }

    #[test]
    fn what_is_made_again_does_not_win_over_what_was_written_after_it_was_written_first() {
        let (mut a, mut b, unseen) = unseen_of_two_writes();
        let key = name().life(2);
        let made = b.make_again(later(5000), &key, &unseen, "").unwrap();
        let apart = [Edit::set("data.x", Scalar::Int(4)), Edit::set("data.y", Scalar::Int(5))];
        for said in a.edit(later(1000), &key, &apart, "").unwrap() {
            b.receive(later(6000), &said);
        }
        made.iter().for_each(|said| drop(a.receive(later(6000), said)));
        for store in [&a, &b] {
            let object = store.object(&key).unwrap();
            assert_eq!(object.get("data.x"), Some(&Scalar::Int(4)), "written a second after what was made again");
            assert_eq!(object.get("data.y"), Some(&Scalar::Int(3)), "written a second before what was made again");
            assert_eq!(object.born().millis(), NOW.wall_ms);
        }
        assert_eq!(a.object(&key).unwrap().heads(), b.object(&key).unwrap().heads());
    }

    #[test]
    fn whoever_has_a_part_of_what_was_made_again_has_all_its_fields() {
        let (mut a, mut b, unseen) = unseen_of_two_writes();
        let key = name().life(2);
        let made = b.make_again(later(5000), &key, &unseen, "").unwrap();
        assert_eq!(made.len(), 2);
        a.receive(later(6000), &made[0]);
        let object = a.object(&key).unwrap();
        assert_eq!((object.get("data.x"), object.get("data.y")), (Some(&Scalar::Int(2)), Some(&Scalar::Int(3))));
    }

    #[test]
    fn a_creation_that_ended_with_the_news_of_a_later_life_is_judged_when_the_deletion_comes() {
        let (mut a, mut b) = pair(NOW);
        write(&mut a, 1, 1);
        write(&mut b, 1, 2);
        let deletion = a.delete(NOW, &name().life(1)).unwrap();
        let next = write(&mut a, 2, 3);
        b.receive(NOW, &next);
        assert!(b.object(&name().life(1)).is_none());
        assert!(b.drain_unseen().is_empty(), "nobody knows yet what the deleter had seen");
        b.receive(NOW, &deletion);
        assert_eq!(b.drain_unseen().len(), 1);
    }
}
