//! What this node and its containers use now: the difference of two looks at what they have used so far.
//!
//! Nobody looks as long as nobody asks, so a cluster whose use nobody wants to know pays nothing for it. The last look is kept,
//! so that whoever asks again is answered at once, and for all the time since.

use std::collections::btree_map::Entry;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::runtime::RuntimeHandle;
use crate::runtime::usage::{Counter, Counters, of_machine};

/// The shortest time that is looked at. An answer is given again to who asks before so much has gone by.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest: what was used before says nothing about now.
const LONGEST: Duration = Duration::from_secs(60);
/// How long the engine may take for one look. Both together, and the time between, are less than a peer waits.
const LOOK_LIMIT: Duration = Duration::from_millis(1500);
/// The most containers that are told of.
const CONTAINERS_LIMIT: usize = 4096;

/// What something uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Used {
    /// Billionths of a core.
    pub cpu_nanocores: u64,
    /// Bytes.
    pub memory_bytes: u64,
}

/// What a node and its containers use. It travels to the peer that asks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeUsage {
    /// At the end of the time that was looked at, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How long that was, in milliseconds.
    pub window_ms: u64,
    /// The whole machine; nothing where that cannot be known.
    pub machine: Option<Used>,
    /// The containers that run.
    pub containers: Vec<ContainerUsage>,
}

/// What a container uses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerUsage {
    /// Its pod.
    pub uid: String,
    /// Its name in the pod.
    pub container: String,
    /// Which start of it.
    pub attempt: u32,
    /// What it uses.
    pub used: Used,
}

/// What is looked at.
pub trait Gauge: Send + Sync + 'static {
    /// What everything has used so far.
    fn look(&self) -> BoxFuture<'_, Look>;
}

/// What everything has used so far.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// The machine.
    pub machine: Option<Counter>,
    /// Its containers.
    pub containers: Counters,
}

impl Gauge for RuntimeHandle {
    fn look(&self) -> BoxFuture<'_, Look> {
        Box::pin(async move {
            let looked = timeout(LOOK_LIMIT, self.usage()).await;
            let looked = looked.unwrap_or_else(|_| Err("the engine did not answer in time".to_owned()));
            let containers = looked.unwrap_or_else(|why| {
                tracing::debug!("what containers use cannot be known: {why}");
                Counters::new()
            });
            Look { machine: of_machine(), containers }
        })
    }
}

/// Answers what is used.
pub struct Meter<G> {
    gauge: G,
    shortest: Duration,
    last: Mutex<Option<Kept>>,
}

struct Kept {
    at: Instant,
    look: Look,
    answer: NodeUsage,
}

impl<G: Gauge> Meter<G> {
    /// Looks at a gauge whenever somebody asks.
    pub fn new(gauge: G) -> Self {
        Meter { gauge, shortest: SHORTEST, last: Mutex::new(None) }
    }

    /// What is used now. Who asks while others are being answered gets their answer.
    pub async fn usage(&self) -> NodeUsage {
        let mut last = self.last.lock().await;
        if let Some(kept) = last.as_ref().filter(|kept| kept.at.elapsed() < self.shortest) {
            return kept.answer.clone();
        }
        let recent = last.take().filter(|kept| kept.at.elapsed() <= LONGEST);
        let mut before = recent.map_or_else(Look::default, |kept| kept.look);
        let mut now = self.gauge.look().await;
        if before.fill(&now) {
            sleep(self.shortest).await;
            now = self.gauge.look().await;
        }
        let answer = difference(&before, &now);
        *last = Some(Kept { at: Instant::now(), look: now, answer: answer.clone() });
        answer
    }
}

impl<G> std::fmt::Debug for Meter<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meter(..)")
    }
}

impl Look {
    /// Takes over what is new. Whether there was anything, which has to be looked at a second time.
    fn fill(&mut self, now: &Look) -> bool {
        let mut filled = false;
        if self.machine.is_none() && now.machine.is_some() {
            (self.machine, filled) = (now.machine, true);
        }
        for (id, counter) in &now.containers {
            if let Entry::Vacant(entry) = self.containers.entry(id.clone()) {
                entry.insert(*counter);
                filled = true;
            }
        }
        filled
    }
}

fn difference(before: &Look, now: &Look) -> NodeUsage {
    let machine = before.machine.zip(now.machine);
    let pairs = now.containers.iter().filter_map(|(id, now)| Some((id, before.containers.get(id)?, now)));
    let containers = pairs.clone().take(CONTAINERS_LIMIT).map(|(id, before, now)| ContainerUsage {
        uid: id.uid.to_string(),
        container: id.container.to_string(),
        attempt: id.attempt,
        used: used(before, now),
    });
    let windows = machine.iter().map(|(before, now)| now.seen.duration_since(before.seen));
    let windows = windows.chain(pairs.clone().map(|(_, before, now)| now.seen.duration_since(before.seen)));
    NodeUsage {
        at_ms: crate::api::shell::now_ms(),
        window_ms: windows.max().map_or(0, |window| u64::try_from(window.as_millis()).unwrap_or(u64::MAX)),
        machine: machine.map(|(before, now)| used(&before, &now)),
        containers: containers.collect(),
    }
}

/// What was used between two looks. Processor time that seems to run backwards, as when a process ends whose time nobody takes
/// over, was none.
fn used(before: &Counter, now: &Counter) -> Used {
    let window = now.seen.duration_since(before.seen).as_nanos().max(1);
    let cores = u128::from(now.cpu_ns.saturating_sub(before.cpu_ns)) * 1_000_000_000 / window;
    Used { cpu_nanocores: u64::try_from(cores).unwrap_or(u64::MAX), memory_bytes: now.memory_bytes }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_core::runtime::ContainerRef;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A machine that uses half a core, and containers that use a quarter each: one from the first look on, another one from
    /// the second.
    struct Steady {
        begun: Instant,
        looks: AtomicU64,
    }

    fn id(uid: &str) -> ContainerRef {
        ContainerRef { uid: uid.into(), container: "web".into(), attempt: 1 }
    }

    impl Gauge for Steady {
        fn look(&self) -> BoxFuture<'_, Look> {
            Box::pin(async move {
                let look = self.looks.fetch_add(1, Ordering::SeqCst);
                let seen = Instant::now();
                let ns = u64::try_from((seen - self.begun).as_nanos()).unwrap();
                let counter = |part| Counter { seen, cpu_ns: ns / part, memory_bytes: 1 << 20 };
                let names = if look == 0 { &["a"][..] } else { &["a", "b"] };
                let containers = names.iter().map(|name| (id(name), counter(4))).collect();
                Look { machine: Some(counter(2)), containers }
            })
        }
    }

    fn meter() -> Meter<Steady> {
        let gauge = Steady { begun: Instant::now(), looks: AtomicU64::new(0) };
        Meter { shortest: Duration::from_millis(50), ..Meter::new(gauge) }
    }

    fn cores(used: Used) -> f64 {
        used.cpu_nanocores as f64 / 1e9
    }

    #[tokio::test]
    async fn who_asks_first_waits_for_two_looks_and_who_asks_at_once_gets_the_same() {
        let meter = meter();
        let first = meter.usage().await;
        assert!((cores(first.machine.unwrap()) - 0.5).abs() < 0.01, "{first:?}");
        assert!(first.window_ms >= 50 && first.at_ms > 0, "{first:?}");
        // What was there at one look alone is not told of.
        assert_eq!(first.containers.len(), 1);
        assert!((cores(first.containers[0].used) - 0.25).abs() < 0.01, "{first:?}");
        assert_eq!((meter.usage().await, meter.gauge.looks.load(Ordering::SeqCst)), (first, 2));
    }

    #[tokio::test]
    async fn who_asks_later_hears_of_all_the_time_since_and_of_new_containers_too() {
        let meter = meter();
        meter.usage().await;
        sleep(Duration::from_millis(200)).await;
        let second = meter.usage().await;
        assert!(second.window_ms >= 200, "{second:?}");
        let seen: Vec<(&str, bool)> =
            second.containers.iter().map(|c| (c.uid.as_str(), (cores(c.used) - 0.25).abs() < 0.01)).collect();
        assert_eq!(seen, [("a", true), ("b", true)]);
    }

    #[test]
    fn time_does_not_run_backwards() {
        let seen = Instant::now();
        let counter = |cpu_ns, seen| Counter { seen, cpu_ns, memory_bytes: 7 };
        let none = used(&counter(5, seen), &counter(3, seen + SHORTEST));
        assert_eq!(none, Used { cpu_nanocores: 0, memory_bytes: 7 });
        assert_eq!(used(&counter(0, seen), &counter(5, seen)).cpu_nanocores, 5_000_000_000);
    }
}
