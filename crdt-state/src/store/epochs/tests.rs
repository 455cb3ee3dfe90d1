#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use super::*;
use crate::keyring::{self, DataKey, MAX_EPOCHS};
use crate::memo::MemoLimits;
use crate::store::desk::{NOW, identity, keys};
use crate::{Edit, Kind, Memo, Scalar, Sequence, members};
use proptest::prelude::*;

const PATH: &str = "data.password";
const CANARY: &str = "canary-in-a-coal-mine";
type Rows = BTreeMap<(&'static str, Arc<[u8]>), Arc<[u8]>>;

fn epoch(n: u8) -> EpochId {
    EpochId([n; 16])
}

/// The keys of the founding epoch, 1, and of these.
fn keyring_with(epochs: &[u8]) -> Keyring {
    let mut keyring = keyring::founding();
    epochs.iter().for_each(|n| keyring.insert(epoch(*n), DataKey::new([*n; 32])).unwrap());
    keyring
}

fn store(n: u8, boot: u64, keyring: Keyring) -> Store {
    Store::new(identity(n, boot, keyring), Memo::new(MemoLimits::DAEMON))
}

/// Members that know each other, with the keys of these epochs besides the founding one.
fn cluster<const N: usize>(epochs: &[u8]) -> [Store; N] {
    let mut stores: [Store; N] = std::array::from_fn(|n| store(n as u8 + 1, 1, keyring_with(epochs)));
    let mut said = vec![stores[0].found(NOW, [5; 32], "n1")];
    for n in 1..N {
        said.push(stores[0].admit(NOW, keys(n as u8 + 1).node_id(), &format!("n{}", n + 1), [n as u8; 32]));
    }
    for store in &mut stores[1..] {
        said.iter().for_each(|one| drop(store.receive(NOW, one)));
    }
    stores
}

fn secret() -> ObjectKey {
    ObjectKey::root(&Kind::new("Secret"), "login", 1)
}

fn write(store: &mut Store, text: &str) -> Vec<Arc<Envelope>> {
    store.edit(NOW, &secret(), &[Edit::set(PATH, Scalar::Aside(text.into()))], "t").unwrap()
}

fn shown(store: &Store) -> Option<String> {
    let object = store.object(&secret())?;
    store.json_of(object)["data"]["password"].as_str().map(str::to_owned)
}

/// Lets two stores exchange until neither has anything more to say; what was given.
fn compare(a: &mut Store, b: &mut Store) -> usize {
    let mut given = 0;
    for _ in 0..3 {
        let mut messages = vec![(false, b.exchange_root())];
        for _ in 0..100 {
            let Some((to_b, message)) = messages.pop() else { break };
            if let crate::exchange::Exchange::Give { envelopes, .. } = &message {
                given += envelopes.len();
            }
            let outcome = if to_b { b.exchange(NOW, message) } else { a.exchange(NOW, message) };
            assert_eq!(outcome.refused, []);
            messages.extend(outcome.replies.into_iter().map(|reply| (!to_b, reply)));
        }
        assert!(messages.is_empty(), "they do not come to an end");
    }
    given
}

/// Whether a store that is told what another holds asks for a value.
fn asks_for_values(store: &mut Store, other: &Store) -> bool {
    use crate::exchange::{Exchange, Table};
    let all = (0..=u8::MAX).flat_map(|bucket| other.wanted().bucket(bucket));
    let items = all.map(|(item, version)| (item.clone(), *version)).collect();
    let replies = store.exchange(NOW, Exchange::Items { table: Table::Wanted, buckets: Vec::new(), items }).replies;
    let is_value = |item: &Item| matches!(item, Item::Blob(..));
    replies.iter().any(|reply| matches!(reply, Exchange::Want { items, .. } if items.iter().any(is_value)))
}

fn tell(to: &mut Store, said: &[Arc<Envelope>]) -> Vec<Received> {
    said.iter().map(|one| to.receive(NOW, one)).collect()
}

fn keep(rows: &mut Rows, store: &mut Store) {
    for record in store.drain_records() {
        match record.value {
            Some(value) => drop(rows.insert((record.table, record.key), value)),
            None => drop(rows.remove(&(record.table, record.key))),
        }
    }
}

fn restored(boot: u64, keyring: Keyring, rows: &Rows) -> Store {
    let mut again = store(1, boot, keyring);
    let rows = rows.iter().map(|((table, key), value)| ((*table).to_owned(), key.to_vec(), value.to_vec()));
    assert_eq!(again.restore(NOW, rows), []);
    again
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|found| found == text.as_bytes())
}

#[test]
fn a_text_stands_in_clear_in_no_record_and_in_nothing_that_is_said() {
    let [mut a, mut b] = cluster(&[2]);
    let mut said = write(&mut a, CANARY);
    let long = format!("{CANARY}{}", "x".repeat(40_000));
    let config = ObjectKey::root(&Kind::new("ConfigMap"), "c", 1);
    said.extend(a.edit(NOW, &config, &[Edit::set("data.page", Scalar::str(&long))], "t").unwrap());
    tell(&mut b, &said);
    said.extend(a.rotate(NOW, epoch(2), 0));
    tell(&mut b, &said);
    said.extend(a.reseal(usize::MAX));
    tell(&mut b, &said);
    assert_eq!(shown(&b).as_deref(), Some(CANARY));
    assert!(said.iter().all(|envelope| !holds(&envelope.encode(), CANARY)));
    for store in [&mut a, &mut b] {
        let records = store.drain_records();
        assert!(records.iter().filter(|record| record.table == tables::BLOBS).count() >= 4);
        assert!(records.iter().all(|record| !record.value.as_ref().is_some_and(|value| holds(value, CANARY))));
    }
}

#[test]
fn a_value_of_an_unknown_epoch_is_neither_taken_nor_promised_until_its_key_is_here() {
    let [mut a, mut b] = cluster(&[]);
    a.hold_keys(NOW, keyring_with(&[2]));
    let rotation = a.rotate(NOW, epoch(2), 0).unwrap();
    let said = write(&mut a, CANARY);
    assert_eq!(b.receive(NOW, &rotation), Received::Applied);
    assert_eq!(tell(&mut b, &said), [Received::NoKey(epoch(2)), Received::Applied]);
    assert!(!b.includes(&said) && shown(&b).is_none());
    compare(&mut a, &mut b);
    assert!(shown(&b).is_none() && !asks_for_values(&mut b, &a), "what cannot be read is not asked for");
    assert_eq!(b.current_epoch(), epoch(1));
    b.hold_keys(NOW, keyring_with(&[2]));
    assert!(b.current_epoch() == epoch(2) && asks_for_values(&mut b, &a));
    compare(&mut a, &mut b);
    assert!(b.includes(&said) && a.state_hash() == b.state_hash());
    assert_eq!(shown(&b).as_deref(), Some(CANARY));
}

#[test]
fn what_was_sealed_with_another_key_or_for_another_object_is_refused() {
    let [mut a, mut b] = cluster(&[2]);
    let other_key = {
        let mut keyring = keyring::founding();
        keyring.insert(epoch(2), DataKey::new([99; 32])).unwrap();
        keyring
    };
    a.rotate(NOW, epoch(2), 0);
    a.hold_keys(NOW, other_key);
    let said = write(&mut a, CANARY);
    assert!(matches!(b.receive(NOW, &said[0]), Received::Refused(_)));
    let Ok(Body::Blob { sealed, .. }) = said[0].open(&a.cluster()) else { panic!() };
    let moved = Body::Blob { key: ObjectKey::root(&Kind::new("Secret"), "other", 1), sealed };
    let moved = Envelope::seal(&keys(1), &a.cluster(), Sequence { boot: 1, number: 900 }, &moved);
    assert!(matches!(b.receive(NOW, &Arc::new(moved)), Received::Refused(_)));
}

#[test]
fn what_is_sealed_anew_is_the_same_value_and_takes_the_place_of_the_old_everywhere() {
    let [mut a, mut b, mut c] = cluster(&[2]);
    let said = write(&mut a, CANARY);
    tell(&mut b, &said);
    tell(&mut c, &said);
    let mention = a.object(&secret()).unwrap().get(PATH).cloned();
    let mut rows = Rows::new();
    keep(&mut rows, &mut b);
    // b leads; c hears of it by comparing.
    let rotation = b.rotate(NOW, epoch(2), 0).unwrap();
    assert!(b.has_outdated_seals());
    let anew = b.reseal(1);
    assert_eq!(anew.len(), 1);
    assert!(!b.has_outdated_seals() && b.reseal(1).is_empty());
    assert_eq!(tell(&mut a, &[rotation, anew[0].clone()]), [Received::Applied, Received::Applied]);
    assert!(a.drain_changes().iter().filter(|change| matches!(change, StoreChange::Object(_))).count() <= 1);
    compare(&mut b, &mut c);
    for store in [&mut a, &mut b, &mut c] {
        assert_eq!(store.sealed_under(), BTreeMap::from([(epoch(2), 1)]));
        assert_eq!(
            (shown(store).as_deref(), store.object(&secret()).unwrap().get(PATH).cloned()),
            (Some(CANARY), mention.clone())
        );
        // The old one changes nothing any more.
        assert_eq!(store.receive(NOW, &said[0]), Received::Known);
        assert!(store.includes(&said));
    }
    assert!(a.state_hash() == b.state_hash() && b.state_hash() == c.state_hash());
    keep(&mut rows, &mut b);
    let blobs: Vec<_> = rows.iter().filter(|((table, _), _)| *table == tables::BLOBS).collect();
    assert_eq!(blobs.len(), 1, "it is on the same row");
}

#[test]
fn two_that_seal_anew_apart_agree_without_a_word() {
    let [mut a, mut b] = cluster(&[2]);
    let said = write(&mut a, CANARY);
    tell(&mut b, &said);
    let rotation = a.rotate(NOW, epoch(2), 0).unwrap();
    tell(&mut b, &[rotation]);
    a.reseal(usize::MAX);
    b.reseal(usize::MAX);
    assert_eq!((a.state_hash(), compare(&mut a, &mut b)), (b.state_hash(), 0));
}

#[test]
fn a_row_whose_key_is_not_here_is_no_damage_and_is_read_once_the_key_is() {
    let [mut a] = cluster(&[2]);
    a.rotate(NOW, epoch(2), 0);
    write(&mut a, CANARY);
    let mut rows = Rows::new();
    keep(&mut rows, &mut a);
    let mut again = restored(2, keyring::founding(), &rows);
    keep(&mut rows, &mut again);
    assert_eq!((shown(&again), again.current_epoch()), (None, epoch(1)));
    assert!(rows.keys().any(|(table, _)| *table == tables::BLOBS), "the row stays");
    again.hold_keys(NOW, keyring_with(&[2]));
    assert_eq!((shown(&again).as_deref(), again.current_epoch()), (Some(CANARY), epoch(2)));
    // One that the object does without by then goes.
    let mut again = restored(3, keyring::founding(), &rows);
    write(&mut again, "another");
    again.hold_keys(NOW, keyring_with(&[2]));
    keep(&mut rows, &mut again);
    assert_eq!(rows.keys().filter(|(table, _)| *table == tables::BLOBS).count(), 1);
    assert_eq!(shown(&restored(4, keyring_with(&[2]), &rows)).as_deref(), Some("another"));
}

#[test]
fn an_epoch_is_begun_once_and_later_ones_are_later_whatever_clocks_say() {
    let [mut a, mut b] = cluster(&[2, 3]);
    assert!(a.rotate(NOW, epoch(9), 0).is_none(), "its key is not here");
    assert!(a.rotate(NOW, epoch(1), 0).is_none(), "it is the founding one");
    let first = a.rotate(NOW, epoch(3), 50).unwrap();
    assert!(a.rotate(NOW, epoch(3), 50).is_none());
    b.receive(NOW, &first);
    let past = Now { wall_ms: NOW.wall_ms / 2, ..NOW };
    let second = b.rotate(past, epoch(2), 60).unwrap();
    a.receive(NOW, &second);
    for store in [&a, &b] {
        let order: Vec<_> = store.rotations().iter().map(|one| (one.epoch, one.lapse_ms, one.by)).collect();
        assert_eq!(order, [(epoch(3), 50, keys(1).node_id()), (epoch(2), 60, keys(2).node_id())]);
        assert_eq!(store.current_epoch(), epoch(2));
    }
}

#[test]
fn a_rotation_from_the_far_future_waits_and_a_strangers_does_not_count() {
    let [mut a, mut b] = cluster(&[2]);
    let sequence = Sequence { boot: 1, number: 900 };
    let seal = |n: u8, stamp| {
        let body = Body::Rotation { epoch: epoch(2), stamp, lapse_ms: 0 };
        Arc::new(Envelope::seal(&keys(n), &members::cluster_id(&keys(1).node_id(), &[5; 32]), sequence, &body))
    };
    let far = Hlc::from_millis(NOW.wall_ms + MAX_ROTATION_AHEAD_MS + 1);
    let said = seal(2, far);
    assert_eq!((a.receive(NOW, &said), a.includes(std::slice::from_ref(&said))), (Received::Known, false));
    let later = Now { wall_ms: NOW.wall_ms + 10, ..NOW };
    assert_eq!(a.receive(later, &said), Received::Applied);
    assert!(matches!(b.receive(NOW, &seal(9, Hlc(1))), Received::UnknownAuthor(_)));
    assert_eq!(b.rotations(), []);
}

#[test]
fn a_removed_nodes_rotation_counts_if_its_remover_had_seen_it_and_no_later_one_does() {
    let [mut a, mut b, mut c] = cluster(&[2, 3, 4]);
    let seen = b.rotate(NOW, epoch(2), 0).unwrap();
    tell(&mut a, std::slice::from_ref(&seen));
    let unseen = b.rotate(NOW, epoch(3), 0).unwrap();
    tell(&mut c, &[seen, unseen.clone()]);
    assert_eq!(c.current_epoch(), epoch(3));
    let removal = a.remove(NOW, b.me()).unwrap();
    tell(&mut c, &[removal]);
    let late = b.rotate(NOW, epoch(4), 0).unwrap();
    assert_eq!(tell(&mut c, std::slice::from_ref(&late)), [Received::Known]);
    tell(&mut a, &[late, unseen]);
    compare(&mut a, &mut c);
    for store in [&a, &c] {
        assert_eq!(store.rotations().iter().map(|one| one.epoch).collect::<Vec<_>>(), [epoch(2)]);
        assert_eq!(store.current_epoch(), epoch(2));
    }
    assert_eq!(a.state_hash(), c.state_hash());
    // What does not count leaves the disk, and a start does not bring it back.
    let mut rows = Rows::new();
    keep(&mut rows, &mut c);
    assert_eq!(rows.keys().filter(|(table, _)| *table == tables::ROTATIONS).count(), 1);
    keep(&mut rows, &mut a);
    assert_eq!(restored(2, keyring_with(&[2, 3, 4]), &rows).current_epoch(), epoch(2));
}

#[test]
fn a_removed_node_cannot_say_a_rotation_that_was_seen_otherwise_than_it_was() {
    let [mut a, mut b] = cluster(&[2, 3]);
    let seen = b.rotate(NOW, epoch(2), 0).unwrap();
    tell(&mut a, &[seen]);
    a.rotate(NOW, epoch(3), 0).unwrap();
    a.remove(NOW, b.me()).unwrap();
    let body = Body::Rotation { epoch: epoch(2), stamp: Hlc::from_millis(NOW.wall_ms + 5000), lapse_ms: u64::MAX };
    let forged = Envelope::seal(&keys(2), &a.cluster(), Sequence { boot: 1, number: 1 }, &body);
    assert_eq!(a.receive(NOW, &Arc::new(forged)), Received::Known);
    assert_eq!(a.current_epoch(), epoch(3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Writes, rotations, sealing anew and messages in any order: after all is compared, all hold the same under the last epoch.
    #[test]
    fn stores_agree_on_epochs_and_lose_no_text_in_whatever_order_things_happen(
        steps in prop::collection::vec((0usize..3, 0u8..4, 2u8..6), 1..24),
    ) {
        let mut stores: [Store; 3] = cluster(&[2, 3, 4, 5]);
        let mut waiting: Vec<Arc<Envelope>> = Vec::new();
        for (who, what, n) in steps {
            let store = &mut stores[who];
            match what {
                0 => waiting.extend(write(store, &format!("text {n} of {who}"))),
                1 => waiting.extend(store.rotate(NOW, epoch(n), 0)),
                2 => waiting.extend(store.reseal(300)),
                _ => drop(tell(store, &waiting.iter().rev().step_by(usize::from(n)).cloned().collect::<Vec<_>>())),
            }
        }
        let [a, b, c] = &mut stores;
        for _ in 0..2 {
            compare(a, b);
            compare(b, c);
            compare(c, a);
        }
        b.reseal(usize::MAX);
        compare(a, b);
        compare(b, c);
        let current: BTreeSet<EpochId> = [&*a, b, c].iter().map(|store| store.current_epoch()).collect();
        prop_assert_eq!(current.len(), 1);
        for store in [&*a, b, c] {
            prop_assert_eq!(store.state_hash(), a.state_hash());
            prop_assert!(store.sealed_under().keys().all(|epoch| current.contains(epoch)));
            prop_assert!(store.object(&secret()).is_none_or(|object| store.is_complete(object) && shown(store).is_some()));
        }
    }

    #[test]
    fn however_many_epochs_are_begun_the_latest_are_kept(count in 1usize..90) {
        let [mut a, mut b] = cluster(&[]);
        for n in 0..count {
            let id = EpochId([n as u8 + 2; 16]);
            let mut keyring = keyring::founding();
            keyring.insert(id, DataKey::new([3; 32])).unwrap();
            a.hold_keys(NOW, keyring);
            a.rotate(NOW, id, 0).unwrap();
        }
        compare(&mut a, &mut b);
        prop_assert_eq!(a.rotations().len(), count.min(MAX_EPOCHS));
        prop_assert_eq!((a.rotations(), a.state_hash()), (b.rotations(), b.state_hash()));
    }
}
