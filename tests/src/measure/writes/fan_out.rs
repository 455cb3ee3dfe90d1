//! How soon watchers hear of a write: a hundred of them, spread over the members, while one client writes ten times a second.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::Store;
use super::load::value;
use crate::failure::{Failure, Outcome};
use crate::measure::figures::{Figures, short, table as draw};

/// How many watch.
const WATCHERS: usize = 100;
/// How many writes they watch.
const WRITES: usize = 100;
/// How often there is one.
const EVERY: Duration = Duration::from_millis(100);
/// How long the last piece of a stream may let a watcher wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one watcher saw: the time for each write.
type Seen = BTreeMap<usize, Instant>;

/// A table: from sending a write until a watcher has it, and until the last one has.
///
/// # Errors
/// When a watch is refused or misses a write.
pub fn table<A: Store, B: Store>(one: &A, other: &B) -> Outcome<String> {
    let titles = ["100 watchers, ms", "a watcher, p50 / p99", "the last of them, p50 / p99"];
    Ok(draw(&titles, &[row(one)?, row(other)?]))
}

fn row<S: Store>(store: &S) -> Outcome<Vec<String>> {
    let count = store.members().len();
    let ready = Barrier::new(WATCHERS + 1);
    let (sent, seen) = std::thread::scope(|scope| {
        let watchers: Vec<_> = (0..WATCHERS)
            .map(|number| {
                let ready = &ready;
                scope.spawn(move || watch(store, number % count, ready))
            })
            .collect();
        ready.wait();
        let sent = write(store);
        let panicked = |_| Err(Failure::new("a watcher panicked"));
        let seen: Outcome<Vec<Seen>> = watchers.into_iter().map(|w| w.join().unwrap_or_else(panicked)).collect();
        (sent, seen)
    });
    let (sent, seen) = (sent?, seen?);
    let (mut each, mut last) = (Figures::default(), Figures::default());
    for (number, sent) in sent.iter().enumerate() {
        let took =
            |seen: &Seen| seen.get(&number).map_or(f64::INFINITY, |at| at.duration_since(*sent).as_secs_f64() * 1e3);
        let took: Figures = seen.iter().map(took).collect();
        last.add(took.greatest());
        each.extend(seen.iter().filter_map(|seen| Some(seen.get(&number)?.duration_since(*sent).as_secs_f64() * 1e3)));
    }
    let both = |figures: &Figures| format!("{} / {}", short(figures.median()), short(figures.at(99)));
    Ok(vec![S::NAME.to_owned(), both(&each), both(&last)])
}

fn key(number: usize) -> String {
    format!("fan-out-{number:04}")
}

fn write<S: Store>(store: &S) -> Outcome<Vec<Instant>> {
    let mut connection = store.connect(0)?;
    let begun = Instant::now();
    let mut sent = Vec::new();
    for number in 0..WRITES {
        let due = begun + EVERY * u32::try_from(number).unwrap_or(u32::MAX);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        sent.push(Instant::now());
        store.put(0, &mut connection, &key(number), &value(number), true)?;
    }
    Ok(sent)
}

/// Watches until the last write was seen.
fn watch<S: Store>(store: &S, member: usize, ready: &Barrier) -> Outcome<Seen> {
    let opened = store.connect(member).and_then(|mut connection| {
        store.watch(member, &mut connection)?;
        Ok(connection)
    });
    // Also when it failed: the others wait for everybody.
    ready.wait();
    let mut connection = opened?;
    let signs: Vec<String> = (0..WRITES).map(|number| store.sign_of(&key(number))).collect();
    let mut seen = Seen::new();
    while !seen.contains_key(&(WRITES - 1)) {
        let piece = connection.more(PATIENCE)?.ok_or_else(|| Failure::new("a watch ended"))?;
        let now = Instant::now();
        let text = String::from_utf8_lossy(&piece);
        // Writes come in their order, so only those not seen yet are looked for, the next ones first.
        let next = seen.last_key_value().map_or(0, |(number, _)| number + 1);
        for number in (next..WRITES).take_while(|number| text.contains(&signs[*number])) {
            seen.insert(number, now);
        }
    }
    Ok(seen)
}
