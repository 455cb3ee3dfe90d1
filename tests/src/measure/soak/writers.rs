//! Clients at every peer that write all the time to a bounded number of objects: fields of a map are set, small maps are made and
//! deleted again. They keep what they were told, to hold it against what is there in the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::api::{Api, MERGE_PATCH};
use crate::cluster::Cluster;
use crate::failure::{Outcome, ensure};
use crate::manifests::{config_map, core};
use crate::wait::eventually;

/// How often each peer is written to.
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// How long a write may take.
const WITHIN: Duration = Duration::from_secs(3);
/// How many fields each map has.
const FIELDS: usize = 40;
/// How many small maps each peer makes and deletes in turn.
const NAMES: usize = 10;
/// How long what was acknowledged may take to be everywhere, once all is healed.
const SPREAD: Duration = Duration::from_secs(30);

/// What the clients were told.
#[derive(Debug, Default)]
pub struct Account {
    taken: usize,
    warned: usize,
    failed: Vec<String>,
    worst: Duration,
    /// The last acknowledged value of each field: (map, field) to value.
    fields: BTreeMap<(String, String), String>,
    /// Whether a small map is there.
    maps: BTreeMap<String, bool>,
    namespace: String,
}

/// The map that clients at a peer set fields of.
pub fn map_of(host: usize) -> String {
    format!("soak-{host}")
}

/// Makes it.
///
/// # Errors
/// When it is refused.
pub fn make_map(cluster: &Cluster, host: usize, namespace: &str) -> Outcome<()> {
    let map = config_map(&map_of(host), "begun", "yes");
    cluster.api(host).create(&core(namespace, "configmaps"), &map).map(|_| ())
}

/// Sets fields of a host's map, one after the other, as fast as they are acknowledged.
///
/// # Errors
/// When one is refused.
pub(super) fn fill(api: &Api, host: usize, namespace: &str, writes: usize) -> Outcome<()> {
    let path = core(namespace, &format!("configmaps/{}", map_of(host)));
    (0..writes).try_for_each(|number| {
        api.patch(&path, &json!({"data": {format!("f{}", number % FIELDS): format!("w{number}")}})).map(|_| ())
    })
}

/// Writes at all peers until it is told to stop.
pub(super) fn writers(cluster: &Cluster, namespace: &str, stop: &AtomicBool) -> Account {
    let account = Mutex::new(Account { namespace: namespace.to_owned(), ..Account::default() });
    std::thread::scope(|scope| {
        for host in cluster.members() {
            let (api, account) = (cluster.api(host), &account);
            scope.spawn(move || write_at(&api, host, account, namespace, stop));
        }
    });
    account.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn write_at(api: &Api, host: usize, account: &Mutex<Account>, namespace: &str, stop: &AtomicBool) {
    let begun = Instant::now();
    let mut number = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let due = begun + WRITE_EVERY * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let write = Write::number(number as usize, host, namespace);
        let sent = Instant::now();
        let answer = api.call((write.method, &write.path), (write.content_type, write.body.as_bytes()), WITHIN);
        let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
        account.worst = account.worst.max(sent.elapsed());
        match answer {
            Ok(answer) if answer.status < 300 => {
                account.taken += 1;
                account.warned += usize::from(answer.header("warning").is_some());
                write.what.enter(&mut account);
            }
            Ok(answer) => account.failed.push(format!("h{host} {}: {}: {}", write.path, answer.status, answer.text())),
            Err(error) => account.failed.push(format!("h{host} {}: {error}", write.path)),
        }
        number += 1;
    }
}

struct Write {
    method: &'static str,
    path: String,
    content_type: &'static str,
    body: String,
    what: What,
}

/// What is so once it is acknowledged.
enum What {
    Set { map: String, field: String, value: String },
    Map { name: String, is_there: bool },
}

impl Write {
    /// Three of four writes set a field; the fourth makes a small map, and the next time deletes it.
    fn number(number: usize, host: usize, namespace: &str) -> Self {
        let json = "application/json";
        if number % 4 != 3 {
            let (map, field, value) = (map_of(host), format!("f{}", number % FIELDS), format!("v{number}"));
            let body = json!({"data": {&field: &value}}).to_string();
            let path = core(namespace, &format!("configmaps/{map}"));
            return Self {
                method: "PATCH",
                path,
                content_type: MERGE_PATCH,
                body,
                what: What::Set { map, field, value },
            };
        }
        let turn = number / 4;
        let (name, makes) = (format!("small-{host}-{}", turn / 2 % NAMES), turn.is_multiple_of(2));
        let what = What::Map { name: name.clone(), is_there: makes };
        if makes {
            let body = config_map(&name, "made", &number.to_string()).to_string();
            return Self { method: "POST", path: core(namespace, "configmaps"), content_type: json, body, what };
        }
        let path = core(namespace, &format!("configmaps/{name}"));
        Self { method: "DELETE", path, content_type: json, body: "{}".to_owned(), what }
    }
}

impl What {
    fn enter(self, account: &mut Account) {
        match self {
            What::Set { map, field, value } => drop(account.fields.insert((map, field), value)),
            What::Map { name, is_there } => drop(account.maps.insert(name, is_there)),
        }
    }
}

impl Account {
    /// The account in a line.
    pub fn line(&self) -> String {
        let (taken, warned, failed) = (self.taken, self.warned, self.failed.len());
        format!("{taken} writes taken ({warned} warned), {failed} failed; worst {:.2} s", self.worst.as_secs_f64())
    }

    /// Fails when a write did.
    ///
    /// # Errors
    /// The first few.
    pub fn none_failed(&self) -> Outcome<String> {
        let first: Vec<&str> = self.failed.iter().take(5).map(String::as_str).collect();
        ensure(self.failed.is_empty(), || format!("{} failed: {}", self.failed.len(), first.join("; ")))?;
        Ok(self.line())
    }

    /// Fails unless every peer holds what was acknowledged last.
    ///
    /// # Errors
    /// What is missing where.
    pub fn is_at_all(&self, cluster: &Cluster) -> Outcome<String> {
        for host in cluster.members() {
            eventually(&format!("all of it at h{host}"), SPREAD, || self.is_at(&cluster.api(host)))?;
        }
        Ok(format!("{} fields, {} small maps", self.fields.len(), self.maps.len()))
    }

    fn is_at(&self, api: &Api) -> Outcome<()> {
        let list = api.get(&core(&self.namespace, "configmaps"))?;
        let items = list["items"].as_array().into_iter().flatten();
        let named: BTreeMap<&str, _> =
            items.filter_map(|item| Some((item["metadata"]["name"].as_str()?, &item["data"]))).collect();
        for ((map, field), value) in &self.fields {
            let found = named.get(map.as_str()).and_then(|data| data[field.as_str()].as_str());
            ensure(found == Some(value), || format!("{map}.{field} is {found:?}, not {value:?}"))?;
        }
        for (name, is_there) in &self.maps {
            let found = named.contains_key(name.as_str());
            ensure(found == *is_there, || format!("{name}: there is {found}, should be {is_there}"))?;
        }
        Ok(())
    }
}
