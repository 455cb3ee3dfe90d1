//! What the store does by itself, in this process and in one thread: no API before it, no disk and no peer behind it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use skein_crdt_state::keyring::{DataKey, EpochId, Keyring};
use skein_crdt_state::memo::MemoLimits;
use skein_crdt_state::store::new_cluster;
use skein_crdt_state::{Edit, Identity, Kind, Memo, ObjectKey, Received, Scalar, Store};
use skein_gossip::{Keypair, Now};

use super::{LISTED, VALUE_BYTES};
use crate::failure::{Failure, Outcome, ensure};
use crate::measure::figures::{short, table as draw};

/// For how long each is done.
const LASTS: Duration = Duration::from_secs(2);
const NONCE: [u8; 32] = [7; 32];

/// A table of what it does in a second.
///
/// # Errors
/// When it refuses a write, which would be a mistake.
pub(super) fn table() -> Outcome<String> {
    let (mut store, mut peer) = (store(1), store(2));
    let founded = store.found(now(), NONCE, "a");
    let admitted = store.admit(now(), peer.me(), "b", [0; 32]);
    peer.receive(now(), &founded);
    peer.receive(now(), &admitted);
    let value = "x".repeat(VALUE_BYTES);
    let edits = [Edit::set("data.value", Scalar::str(&value))];
    let mut said = Vec::new();
    let creates = a_second(|number| {
        let envelopes = store.edit(now(), &key(number), &edits, "measure\tmeasure");
        said.extend(envelopes.map_err(|error| Failure::new(error.to_string()))?);
        store.drain_records();
        store.drain_changes();
        Ok(())
    })?;
    let mut all = said.iter();
    let mut taken = 0u64;
    let begun = Instant::now();
    for envelope in all.by_ref() {
        ensure(peer.receive(now(), envelope) == Received::Applied, || "a peer refused a write".to_owned())?;
        peer.drain_records();
        peer.drain_changes();
        taken += 1;
    }
    let receives = taken as f64 / begun.elapsed().as_secs_f64();
    let read = |number: usize| -> Outcome<()> {
        let object = store.object(&key(number)).ok_or_else(|| Failure::new("an object is gone"))?;
        black_box(store.json_of(object).to_string());
        Ok(())
    };
    let gets = a_second(|number| read(number % LISTED))?;
    let lists = a_second(|_| (0..LISTED).try_for_each(read))?;
    let rows = [
        ("creates, signed", creates),
        ("creates of a peer, checked and taken in", receives),
        ("gets, as JSON", gets),
        (&*format!("lists of {LISTED} objects, as JSON"), lists),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(what, rate)| vec![what.to_owned(), short(rate)]).collect();
    Ok(draw(&["the store alone, one thread", "a second"], &rows))
}

fn a_second(mut work: impl FnMut(usize) -> Outcome<()>) -> Outcome<f64> {
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < LASTS || number < LISTED {
        work(number)?;
        number += 1;
    }
    Ok(number as f64 / begun.elapsed().as_secs_f64())
}

fn key(number: usize) -> ObjectKey {
    ObjectKey::root(&Kind::new("ConfigMap"), &format!("c-{number}"), 1)
}

fn store(secret: u8) -> Store {
    let founder = Keypair::from_secret([1; 32]);
    let keys = Keypair::from_secret([secret; 32]);
    let cluster = new_cluster(&founder, &NONCE);
    Store::new(
        Identity {
            keys,
            cluster,
            boot: 1,
            nonce: secret.into(),
            layout_version: 1,
            keyring: Keyring::new(EpochId([1; 16]), DataKey::new([1; 32])),
        },
        Memo::new(MemoLimits::DAEMON),
    )
}

fn now() -> Now {
    Now { mono: skein_gossip::Instant(0), wall_ms: 1_700_000_000_000 }
}
