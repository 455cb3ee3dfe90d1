#![allow(clippy::unwrap_used)]
use super::*;
use crate::Kind;
use crate::blob::MAX_BLOB_BYTES;
use crate::exchange::Exchange;
use crate::store::desk::{NOW, pair, store};
use skein_gossip::Now;

/// What a disk holds: by table and key.
type Rows = BTreeMap<(&'static str, Arc<[u8]>), Arc<[u8]>>;

const PATH: &str = "data.password";

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

/// Lets two stores exchange until neither has anything more to say.
fn compare(a: &mut Store, b: &mut Store) {
    let mut messages = vec![(false, b.exchange_root())];
    for _ in 0..100 {
        let Some((to_b, message)) = messages.pop() else { return };
        let replies = if to_b { b.exchange(NOW, message) } else { a.exchange(NOW, message) }.replies;
        messages.extend(replies.into_iter().map(|reply| (!to_b, reply)));
    }
    panic!("they do not come to an end");
}

fn rows(store: &mut Store) -> Rows {
    let mut rows = BTreeMap::new();
    for record in store.drain_records() {
        match record.value {
            Some(value) => drop(rows.insert((record.table, record.key), value)),
            None => drop(rows.remove(&(record.table, record.key))),
        }
    }
    rows
}

fn restored(boot: u64, rows: &Rows) -> Store {
    let mut again = store(1, boot);
    let found = again
        .restore(NOW, rows.iter().map(|((table, key), value)| ((*table).to_owned(), key.to_vec(), value.to_vec())));
    assert_eq!(found, []);
    again
}

#[test]
fn a_secret_is_in_no_change_and_gone_from_disk_once_it_was_replaced() {
    let mut a = store(1, 1);
    a.found(NOW, [5; 32], "a");
    let said = write(&mut a, "hunter2");
    assert_eq!((said.len(), shown(&a).as_deref()), (2, Some("hunter2")));
    let change = said.last().unwrap().encode();
    assert!(!change.windows(7).any(|bytes| bytes == b"hunter2"));
    write(&mut a, "correct horse");
    let rows = rows(&mut a);
    let holds = |text: &[u8]| rows.values().any(|value| value.windows(text.len()).any(|bytes| bytes == text));
    assert!(!holds(b"correct horse") && !holds(b"hunter2"));
    assert_eq!(rows.keys().filter(|(table, _)| *table == tables::BLOBS).count(), 1);
    assert_eq!(shown(&restored(2, &rows)).as_deref(), Some("correct horse"));
}

#[test]
fn writing_what_is_there_changes_nothing() {
    let mut a = store(1, 1);
    a.found(NOW, [5; 32], "a");
    write(&mut a, "same");
    assert!(write(&mut a, "same").is_empty());
}

#[test]
fn a_text_may_come_before_and_after_the_change_that_mentions_it() {
    for text_first in [true, false] {
        let (mut a, mut b) = pair(NOW);
        let mut said = write(&mut a, "s");
        if !text_first {
            said.reverse();
        }
        for one in &said {
            b.receive(NOW, one);
        }
        assert_eq!(shown(&b).as_deref(), Some("s"));
        assert!(b.includes(&said) && a.state_hash() == b.state_hash());
    }
}

#[test]
fn what_is_stored_without_its_text_is_not_promised_and_is_found_by_comparing() {
    let (mut a, mut b) = pair(NOW);
    let said = write(&mut a, "s");
    b.receive(NOW, said.last().unwrap());
    assert!(!b.includes(&said) && !b.is_complete(b.object(&secret()).unwrap()));
    assert_ne!(a.state_hash(), b.state_hash());
    compare(&mut a, &mut b);
    assert_eq!((shown(&b).as_deref(), a.state_hash()), (Some("s"), b.state_hash()));
}

#[test]
fn who_was_away_gets_the_last_text_and_none_before() {
    let (mut a, mut b) = pair(NOW);
    for n in 0..5 {
        write(&mut a, &format!("text {n}"));
    }
    compare(&mut a, &mut b);
    assert_eq!((shown(&b).as_deref(), a.state_hash()), (Some("text 4"), b.state_hash()));
    let rows = rows(&mut b);
    assert_eq!(rows.keys().filter(|(table, _)| *table == tables::BLOBS).count(), 1);
}

#[test]
fn of_two_texts_written_apart_both_are_kept_until_somebody_settles_it() {
    let (mut a, mut b) = pair(NOW);
    write(&mut a, "first");
    compare(&mut a, &mut b);
    write(&mut a, "of a");
    write(&mut b, "of b");
    compare(&mut a, &mut b);
    compare(&mut b, &mut a);
    assert_eq!((shown(&a), a.state_hash()), (shown(&b), b.state_hash()));
    let leaf = a.object(&secret()).unwrap().leaf(PATH).unwrap().clone();
    let text = |value: &Scalar| match a.in_place(&secret(), value) {
        Scalar::Aside(text) => text.to_string(),
        other => panic!("{other:?}"),
    };
    let mut texts: Vec<String> =
        std::iter::once(&leaf.value).chain(leaf.others.iter().map(|other| &other.value)).map(text).collect();
    texts.sort();
    assert_eq!(texts, ["of a", "of b"]);
    write(&mut a, "settled");
    compare(&mut a, &mut b);
    assert_eq!((shown(&b).as_deref(), a.state_hash()), (Some("settled"), b.state_hash()));
}

#[test]
fn what_an_object_kept_goes_with_it() {
    let (mut a, mut b) = pair(NOW);
    let said = write(&mut a, "s");
    said.iter().for_each(|one| drop(b.receive(NOW, one)));
    a.delete(NOW, &secret());
    compare(&mut a, &mut b);
    assert_eq!(a.state_hash(), b.state_hash());
    for store in [&mut a, &mut b] {
        assert!(!rows(store).keys().any(|(table, _)| *table == tables::BLOBS));
    }
    // It comes late: the object is over.
    assert_eq!(b.receive(NOW, &said[0]), Received::Over);
    assert_eq!(a.state_hash(), b.state_hash());
}

#[test]
fn a_creation_that_a_deleter_had_not_seen_is_made_again_with_its_text() {
    let (mut a, mut b) = pair(NOW);
    write(&mut a, "of a");
    b.edit(NOW, &secret(), &[Edit::set("type", Scalar::str("Opaque"))], "t").unwrap();
    write(&mut b, "of b, written later than its type");
    let deletion = a.delete(NOW, &secret()).unwrap();
    b.receive(NOW, &deletion);
    let unseen = b.drain_unseen().pop().unwrap();
    let again = secret().name_key().life(2);
    b.make_again(NOW, &again, &unseen, "again").unwrap();
    let object = b.object(&again).unwrap().clone();
    assert_eq!(b.json_of(&object)["data"]["password"], "of b, written later than its type");
    compare(&mut a, &mut b);
    assert_eq!(a.state_hash(), b.state_hash());
    assert_eq!(a.json_of(&object)["data"]["password"], "of b, written later than its type");
}

#[test]
fn long_values_leave_the_change_small() {
    let mut a = store(1, 1);
    a.found(NOW, [5; 32], "a");
    let long = "x".repeat(900_000);
    let key = ObjectKey::root(&Kind::new("ConfigMap"), "c", 1);
    let said = a.edit(NOW, &key, &[Edit::set("data.page", Scalar::str(&long))], "t").unwrap();
    assert!(said.last().unwrap().size() < 2000);
    let object = a.object(&key).unwrap().clone();
    assert_eq!(a.json_of(&object)["data"]["page"].as_str().map(str::len), Some(900_000));
    let too_long = "x".repeat(MAX_BLOB_BYTES + 1);
    assert!(a.edit(NOW, &key, &[Edit::set("data.page", Scalar::str(&too_long))], "t").is_err());
    assert_eq!(a.json_of(&object)["data"]["page"].as_str().map(str::len), Some(900_000));
}

#[test]
fn a_row_that_nobody_mentions_goes_at_the_next_start() {
    let mut a = store(1, 1);
    a.found(NOW, [5; 32], "a");
    write(&mut a, "old");
    let mut all = rows(&mut a);
    let old =
        all.iter().find(|((table, _), _)| *table == tables::BLOBS).map(|(key, value)| (key.clone(), value.clone()));
    write(&mut a, "new");
    all.extend(rows(&mut a));
    let (key, value) = old.unwrap();
    all.insert(key.clone(), value);
    let mut again = restored(2, &all);
    assert_eq!(shown(&again).as_deref(), Some("new"));
    let gone = again.drain_records();
    assert!(gone.iter().any(|record| record.table == tables::BLOBS && record.key == key.1 && record.value.is_none()));
}

#[test]
fn an_exchange_asks_for_no_text_that_nothing_here_mentions() {
    let (mut a, mut b) = pair(NOW);
    write(&mut a, "s");
    let buckets = b.exchange(NOW, a.exchange_root()).replies;
    let items = buckets.into_iter().flat_map(|message| a.exchange(NOW, message).replies).collect::<Vec<_>>();
    let wants = items.into_iter().flat_map(|message| b.exchange(NOW, message).replies).collect::<Vec<_>>();
    let asked = wants.iter().filter_map(|message| {
        if let Exchange::Want { objects, items, .. } = message { Some((objects, items)) } else { None }
    });
    let asked: Vec<_> = asked.collect();
    assert!(matches!(&asked[..], [(objects, items)] if objects.len() == 1 && items.is_empty()), "{asked:?}");
}

#[test]
fn confirming_a_value_says_its_text_too_and_nobody_brings_back_a_text_that_is_gone() {
    let (mut a, mut b) = pair(NOW);
    let first = write(&mut a, "first");
    let mention = a.object(&secret()).unwrap().get(PATH).unwrap().clone();
    first.iter().for_each(|one| drop(b.receive(NOW, one)));
    // The same mention again, as who confirms one of two disputed values writes it.
    a.edit(NOW, &secret(), &[Edit::unset(PATH)], "t").unwrap();
    assert!(a.edit(NOW, &secret(), &[Edit::set(PATH, mention.clone())], "t").unwrap().is_empty());
    write(&mut b, "of b");
    let gone = b.edit(NOW, &secret(), &[Edit::set(PATH, mention)], "t").unwrap();
    assert!(gone.is_empty() && shown(&b).as_deref() == Some("of b"));
    let held = b.object(&secret()).unwrap().get(PATH).unwrap().clone();
    let said = b.edit(NOW, &secret(), &[Edit::set("data.copy", held)], "t").unwrap();
    assert_eq!(said.len(), 2, "the text is said with the change");
}

#[test]
fn a_text_of_a_value_that_lost_keeps_nobody_waiting() {
    let (mut a, mut b) = pair(NOW);
    let both = write(&mut a, "first");
    both.iter().for_each(|one| drop(b.receive(NOW, one)));
    let apart = write(&mut a, "of a");
    let later = Now { wall_ms: NOW.wall_ms + 1000, ..NOW };
    b.edit(later, &secret(), &[Edit::set(PATH, Scalar::Aside("of b".into()))], "t").unwrap();
    // The change comes, its text does not.
    b.receive(later, apart.last().unwrap());
    let object = b.object(&secret()).unwrap().clone();
    assert_eq!((object.blobs().len(), object.leaf(PATH).unwrap().others.len()), (2, 1));
    assert!(b.is_complete(&object) && shown(&b).as_deref() == Some("of b"));
}

/// Tells a store of a change without the text that it mentions, which is left.
fn without_text(to: &mut Store, said: Vec<Arc<Envelope>>) -> Arc<Envelope> {
    let [text, change] = <[Arc<Envelope>; 2]>::try_from(said).unwrap();
    assert_eq!(to.receive(NOW, &change), Received::Applied);
    text
}

#[test]
fn a_text_that_comes_after_the_end_of_what_nobody_had_seen_is_waited_for() {
    for is_told_of_a_later_life_first in [false, true] {
        let (mut a, mut b) = pair(NOW);
        let mut c = store(3, 1);
        for said in [a.found(NOW, [5; 32], "a"), a.admit(NOW, b.me(), "b", [0; 32]), a.admit(NOW, c.me(), "c", [1; 32])]
        {
            c.receive(NOW, &said);
        }
        write(&mut a, "of a");
        let text = without_text(&mut c, write(&mut b, "of b"));
        let deletion = a.delete(NOW, &secret()).unwrap();
        if is_told_of_a_later_life_first {
            let next = secret().name_key().life(2);
            let said = a.edit(NOW, &next, &[Edit::set("data.x", Scalar::Int(1))], "t").unwrap();
            said.iter().for_each(|one| drop(c.receive(NOW, one)));
        }
        let (early, late) = if is_told_of_a_later_life_first { (Some(&text), None) } else { (None, Some(&text)) };
        early.into_iter().for_each(|text| drop(c.receive(NOW, text)));
        c.receive(NOW, &deletion);
        let mut unseen = c.drain_unseen().pop().unwrap();
        assert_eq!(c.complete(&mut unseen), is_told_of_a_later_life_first);
        late.into_iter().for_each(|text| assert_eq!(c.receive(NOW, text), Received::Known));
        assert!(c.complete(&mut unseen));
        assert!(unseen.edits().contains(&Edit::set(PATH, Scalar::Aside("of b".into()))));
        c.forget_unseen(&secret());
        c.receive(NOW, &text);
        assert!(c.awaited.is_empty());
    }
}

#[test]
fn a_text_whose_change_was_damaged_is_kept_until_a_peer_gives_the_change_again() {
    let (mut a, mut b) = pair(NOW);
    let said = write(&mut a, "s");
    without_text(&mut b, said);
    let mut all = rows(&mut a);
    let is_hurt = |(table, key): &(&str, Arc<[u8]>)| *table == tables::CHANGES && key.starts_with(b"Secret");
    let hurt: Vec<_> = all.keys().filter(|row| is_hurt(row)).cloned().collect();
    assert_eq!(hurt.len(), 1, "{:?}", all.keys());
    let value: Vec<u8> = all[&hurt[0]].iter().rev().copied().collect();
    all.insert(hurt[0].clone(), value.into());
    // The second start finds the change set aside by the first.
    for boot in 2..4 {
        let mut again = store(1, boot);
        let found =
            again.restore(NOW, all.iter().map(|((t, key), value)| ((*t).to_owned(), key.to_vec(), value.to_vec())));
        let aside = found.iter().flat_map(crate::store::restore::Damaged::set_aside);
        for record in aside.chain(again.drain_records()) {
            match record.value {
                Some(value) => drop(all.insert((record.table, record.key), value)),
                None => drop(all.remove(&(record.table, record.key))),
            }
        }
        assert!(all.keys().any(|(table, _)| *table == tables::BLOBS), "start {boot}");
        if boot == 3 {
            // It takes the change first, and then has something to give.
            compare(&mut again, &mut b);
            compare(&mut again, &mut b);
            assert_eq!((shown(&again).as_deref(), shown(&b).as_deref()), (Some("s"), Some("s")));
            again.delete(NOW, &secret());
            assert!(again.drain_records().iter().any(|record| record.table == tables::BLOBS && record.value.is_none()));
        }
    }
}
