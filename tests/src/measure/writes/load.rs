//! Clients that write as fast as they are answered: each on a connection of its own, over keys of its own in turn, which it
//! makes first and overwrites from then on.

use std::time::{Duration, Instant};

use super::Store;
use crate::failure::{Failure, Outcome};
use crate::process;

/// How many bytes a value has.
pub const VALUE_BYTES: usize = 2048;
/// How many keys each client writes.
const KEYS: usize = 50;

/// What the clients were answered.
#[derive(Debug, Default)]
pub struct Load {
    /// How long each acknowledgement took, in ms.
    pub took_ms: Vec<f64>,
    /// Writes that failed.
    pub failed: usize,
    /// For how long they wrote.
    pub lasted: Duration,
    /// Processor time of all members meanwhile.
    pub cpu: Duration,
}

/// Writes with so many clients for so long. `round` keeps keys apart from those of other rounds.
///
/// # Errors
/// When a client cannot connect, or its first write fails.
pub fn run<S: Store>(store: &S, clients: usize, lasts: Duration, round: usize) -> Outcome<Load> {
    let members = store.members();
    let cpu = || members.iter().map(|(_, pid)| process::cpu_time(*pid)).sum::<std::io::Result<Duration>>();
    let before = cpu()?;
    let begun = Instant::now();
    let loads: Vec<Outcome<Load>> = std::thread::scope(|scope| {
        let until = begun + lasts;
        let count = members.len();
        let threads: Vec<_> = (0..clients)
            .map(|client| {
                let keys = format!("k-{clients}-{round}-{client}");
                scope.spawn(move || client_load(store, client % count, &keys, until))
            })
            .collect();
        let panicked = |_| Err(Failure::new("a client panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let mut all = Load { lasted: begun.elapsed(), cpu: cpu()?.saturating_sub(before), ..Load::default() };
    for load in loads {
        let load = load?;
        all.took_ms.extend(load.took_ms);
        all.failed += load.failed;
    }
    Ok(all)
}

/// A value that does not compress to nothing and is another one for each number.
pub fn value(number: usize) -> String {
    let mut state = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let digits = (0..VALUE_BYTES).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap_or(0))
    });
    digits.collect()
}

fn client_load<S: Store>(store: &S, member: usize, keys: &str, until: Instant) -> Outcome<Load> {
    let mut connection = store.connect(member)?;
    let mut load = Load::default();
    for number in 0.. {
        let key = format!("{keys}-{}", number % KEYS);
        let value = value(number);
        let begun = Instant::now();
        if begun >= until {
            break;
        }
        match store.put(member, &mut connection, &key, &value, number < KEYS) {
            Ok(()) => load.took_ms.push(begun.elapsed().as_secs_f64() * 1e3),
            Err(failure) if number == 0 => return Err(failure),
            Err(_) => load.failed += 1,
        }
        if !connection.is_reusable() {
            connection = store.connect(member)?;
        }
    }
    Ok(load)
}
