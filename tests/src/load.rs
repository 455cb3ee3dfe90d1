//! Writes at a fixed rate at several peers at once, each with a time-out and none tried twice, and the account of what
//! became of them. Open loop: the next write is due when it is due, whether the last one was answered or not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Api, MERGE_PATCH};
use crate::http::Connection;
use crate::manifests::{config_map, core};

/// What a patch may take.
pub const PATCH_WITHIN: Duration = Duration::from_secs(1);
/// What a creation may take.
pub const CREATE_WITHIN: Duration = Duration::from_secs(3);

/// What became of all writes.
#[derive(Default)]
pub struct Account {
    /// Every write that was not answered with success in time, in words.
    pub failed: Vec<String>,
    /// The ConfigMaps whose creation was acknowledged.
    pub created: Vec<String>,
    /// The last acknowledged value of each patched entry: (ConfigMap, entry) to value.
    pub patched: BTreeMap<(String, String), String>,
    /// How many acknowledgements carried a Warning.
    pub warned: usize,
    /// How long each successful write took.
    pub took: Vec<Duration>,
}

impl Account {
    /// The account in a line.
    pub fn line(&self) -> String {
        let mut took = self.took.clone();
        took.sort();
        let at = |share: usize| took.get((took.len() * share / 100).min(took.len().saturating_sub(1)));
        let ms = |share| at(share).map_or(0.0, |d| d.as_secs_f64() * 1e3);
        let (ok, failed, warned) = (took.len(), self.failed.len(), self.warned);
        let (median, late, worst) = (ms(50), ms(99), ms(100));
        format!(
            "{ok} writes taken ({warned} warned), {failed} failed; median {median:.0} ms, 99 % {late:.0} ms, worst {worst:.0} ms"
        )
    }
}

/// Writes `rate` times a second at each of `peers` until `stop`, patches and creations in turn, in `namespace`. Each peer
/// patches a ConfigMap of its own, `load-<peer>`, which must be there.
pub fn write_until(stop: &AtomicBool, peers: &[(usize, Api)], rate: u32, namespace: &str) -> Account {
    LOADS.fetch_add(1, Ordering::Relaxed);
    let account = Mutex::new(Account::default());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for (peer, api) in peers {
            let account = &account;
            scope.spawn(move || write_at(stop, (*peer, api), rate, namespace, begun, account));
        }
    });
    account.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The ConfigMap that a peer's patches go to.
pub fn patched_map(peer: usize) -> String {
    format!("load-{peer}")
}

/// How many loads this process has begun.
static LOADS: AtomicU64 = AtomicU64::new(0);

fn write_at(
    stop: &AtomicBool,
    (peer, api): (usize, &Api),
    rate: u32,
    namespace: &str,
    begun: Instant,
    account: &Mutex<Account>,
) {
    let idle: Mutex<Vec<Connection>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let due = begun + Duration::from_secs(1) * number / rate;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let write = Write::number(number, peer, namespace);
            let idle = &idle;
            scope.spawn(move || {
                let sent = begun.elapsed();
                let outcome = write.send(api, idle);
                let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
                write.enter(&mut account, outcome, sent);
            });
            number += 1;
        }
    });
}

struct Write {
    peer: usize,
    method: &'static str,
    path: String,
    content_type: &'static str,
    body: Value,
    within: Duration,
    entry: Option<(String, String, String)>,
    creates: Option<String>,
}

impl Write {
    fn number(number: u32, peer: usize, namespace: &str) -> Self {
        if number.is_multiple_of(2) {
            // An entry is written again only after the time-outs of its last write, so that the last one sent stands.
            let (map, key, value) = (patched_map(peer), format!("k{}", number % 128), format!("v{number}"));
            return Self {
                peer,
                method: "PATCH",
                path: core(namespace, &format!("configmaps/{map}")),
                content_type: MERGE_PATCH,
                body: json!({"data": {&key: &value}}),
                within: PATCH_WITHIN,
                entry: Some((map, key, value)),
                creates: None,
            };
        }
        // Each load on a cluster makes objects of its own.
        let name = format!("made-{}-{peer}-{number}", LOADS.load(Ordering::Relaxed));
        Self {
            peer,
            method: "POST",
            path: core(namespace, "configmaps"),
            content_type: "application/json",
            body: config_map(&name, "made-at", &format!("h{peer}")),
            within: CREATE_WITHIN,
            entry: None,
            creates: Some(name),
        }
    }

    /// Sends it once. Returns how long the answer took and whether it carried a Warning, or what went wrong.
    fn send(&self, api: &Api, idle: &Mutex<Vec<Connection>>) -> Result<(Duration, bool), String> {
        let begun = Instant::now();
        let open = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match open {
            Some(connection) => connection,
            None => api.connect(self.within).map_err(|e| format!("connecting: {e}"))?,
        };
        let body = self.body.to_string();
        let left = self.within.saturating_sub(begun.elapsed());
        let answer = api
            .call_on(&mut connection, (self.method, &self.path), (self.content_type, body.as_bytes()), left)
            .map_err(|e| e.to_string())?;
        if connection.is_reusable() {
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        if !(200..300).contains(&answer.status) {
            return Err(format!("{}: {}", answer.status, answer.text()));
        }
        Ok((begun.elapsed(), answer.header("warning").is_some()))
    }

    fn enter(self, account: &mut Account, outcome: Result<(Duration, bool), String>, sent: Duration) {
        match outcome {
            Ok((took, warned)) => {
                account.took.push(took);
                account.warned += usize::from(warned);
                account.created.extend(self.creates);
                if let Some((map, key, value)) = self.entry {
                    // Answers may overtake each other; the greatest number was sent last.
                    let number = |value: &str| value[1..].parse::<u32>().unwrap_or(0);
                    let last = account.patched.entry((map, key)).or_default();
                    if last.is_empty() || number(last) < number(&value) {
                        *last = value;
                    }
                }
            }
            Err(why) => {
                let at = sent.as_secs_f64();
                account.failed.push(format!("h{} {} {} sent at {at:.2} s: {why}", self.peer, self.method, self.path));
            }
        }
    }
}
