//! What the API of a peer takes: creates, gets, lists and changes that watchers hear of, a second, with 1, 16 and 64 clients;
//! a list of many pods; many open watches. Beside them the figures of the store alone, which has no API, no disk and no peer.
//!
//! What the store does alone lives in `store_alone`, what watchers hear in `watchers`.

use std::time::{Duration, Instant};

use serde_json::json;

use super::figures::{Figures, short, table};
use crate::cluster::Cluster;
use crate::failure::{Failure, Outcome, ensure};
use crate::http::Connection;
use crate::lab::Lab;
use crate::manifests::{apps, config_map, core, sleeper};
use crate::steps::say;
use crate::wait::eventually;

mod store_alone;
mod watchers;

const NAMESPACE: &str = "requests";
/// Where the objects are that are read and listed, so that what is created beside them makes lists no longer.
const READ_NAMESPACE: &str = "shelf";
/// How many clients ask at once.
const CLIENTS: [usize; 3] = [1, 16, 64];
/// How many peers there are.
const PEERS: usize = 3;
/// How many ConfigMaps a list holds.
const LISTED: usize = 1000;
/// How many pods the long list holds.
const PODS: usize = 10_000;
/// How often the long list is asked for.
const LONG_LISTS: usize = 20;
/// How many bytes an object's value has.
const VALUE_BYTES: usize = 512;
const WITHIN: Duration = Duration::from_secs(10);
/// How long 10 000 pods may take to be there.
const FILLED: Duration = Duration::from_secs(300);

/// Measures each for so long. Returns tables.
///
/// # Errors
/// When no cluster forms, or a request is refused.
pub fn run(lasts: Duration) -> Outcome<String> {
    let cluster = Cluster::form(Lab::build(0, PEERS)?, PEERS)?;
    cluster.namespace(NAMESPACE)?;
    cluster.namespace(READ_NAMESPACE)?;
    fill(&cluster)?;
    let mut rows = Vec::new();
    for verb in [Verb::Create, Verb::Get, Verb::List] {
        for clients in CLIENTS {
            rows.push(row(&cluster, verb, clients, lasts)?);
        }
    }
    for clients in CLIENTS {
        rows.push(watchers::row(&cluster, clients, lasts)?);
    }
    let mut text = table(&["clients", "what", "a second", "ms, p50 / p99"], &rows);
    text.push_str(&format!("\n{}", store_alone::table()?));
    text.push_str(&format!("\n{}", watchers::many(&cluster)?));
    text.push_str(&format!("\n{}", long_list(&cluster)?));
    Ok(text)
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
enum Verb {
    Create,
    Get,
    List,
}

impl Verb {
    fn title(self) -> String {
        match self {
            Verb::Create => "creates, on two disks each".to_owned(),
            Verb::Get => "gets".to_owned(),
            Verb::List => format!("lists of {LISTED} objects"),
        }
    }
}

fn fill(cluster: &Cluster) -> Outcome<()> {
    let api = cluster.api(1);
    let mut connection = api.connect(WITHIN)?;
    for number in 0..LISTED {
        let body = object(&shelved(number)).to_string();
        let path = core(READ_NAMESPACE, "configmaps");
        let answer = api.call_on(&mut connection, ("POST", &path), ("application/json", body.as_bytes()), WITHIN)?;
        ensure(answer.status == 201, || format!("{}: {}", answer.status, answer.text()))?;
    }
    for peer in cluster.members() {
        let path = core(READ_NAMESPACE, &format!("configmaps/{}", shelved(LISTED - 1)));
        eventually("the last object", WITHIN, || cluster.api(peer).get(&path).map(drop))?;
    }
    Ok(())
}

fn shelved(number: usize) -> String {
    format!("c-{number:04}")
}

fn object(name: &str) -> serde_json::Value {
    config_map(name, "value", &"x".repeat(VALUE_BYTES))
}

fn row(cluster: &Cluster, verb: Verb, clients: usize, lasts: Duration) -> Outcome<Vec<String>> {
    let begun = Instant::now();
    let until = begun + lasts;
    let took: Vec<Outcome<Figures>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|client| scope.spawn(move || one_client(cluster, verb, (clients, client), until)))
            .collect();
        let panicked = |_| Err(Failure::new("a client panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let lasted = begun.elapsed();
    let mut all = Figures::default();
    for figures in took {
        all.extend(figures?.iter());
    }
    say(&format!(
        "   {clients} clients, {}: {} a second",
        verb.title(),
        short(all.count() as f64 / lasted.as_secs_f64())
    ));
    Ok(line(clients, &verb.title(), &all, lasted))
}

fn line(clients: usize, what: &str, took: &Figures, lasted: Duration) -> Vec<String> {
    let times = format!("{} / {}", short(took.median()), short(took.at(99)));
    vec![clients.to_string(), what.to_owned(), short(took.count() as f64 / lasted.as_secs_f64()), times]
}

fn one_client(cluster: &Cluster, verb: Verb, (clients, client): (usize, usize), until: Instant) -> Outcome<Figures> {
    let peer = 1 + client % PEERS;
    let mut connection = cluster.api(peer).connect(WITHIN)?;
    let mut took = Vec::new();
    for number in 0.. {
        let begun = Instant::now();
        if begun >= until {
            break;
        }
        ask(cluster, peer, &mut connection, verb, &format!("n-{clients}-{client}-{number}"))?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took.into_iter().collect())
}

fn ask(cluster: &Cluster, peer: usize, connection: &mut Connection, verb: Verb, name: &str) -> Outcome<()> {
    let (method, path, body) = match verb {
        Verb::Create => ("POST", core(NAMESPACE, "configmaps"), object(name).to_string()),
        Verb::Get => {
            let number = name.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % LISTED;
            ("GET", core(READ_NAMESPACE, &format!("configmaps/{}", shelved(number))), String::new())
        }
        Verb::List => ("GET", core(READ_NAMESPACE, "configmaps"), String::new()),
    };
    let content_type = if body.is_empty() { "" } else { "application/json" };
    let answer = cluster.api(peer).call_on(connection, (method, &path), (content_type, body.as_bytes()), WITHIN)?;
    ensure(answer.status < 300, || format!("{method} {path}: {}: {}", answer.status, answer.text()))
}

/// How long a list of very many pods takes. No node takes them, so that nothing but the API is measured.
fn long_list(cluster: &Cluster) -> Outcome<String> {
    let mut deployment = sleeper("many", PODS);
    deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({"none": "such"});
    cluster.api(1).create(&apps(NAMESPACE, "deployments"), &deployment)?;
    let path = core(NAMESPACE, "pods");
    let count = |peer: usize| -> Outcome<usize> {
        let list = cluster.api(peer).get(&path)?;
        Ok(list["items"].as_array().map_or(0, Vec::len))
    };
    eventually("10 000 pods", FILLED, || {
        let there = count(2)?;
        ensure(there == PODS, || format!("{there} of {PODS} pods are there"))
    })?;
    let api = cluster.api(2);
    let mut connection = api.connect(WITHIN)?;
    let (mut took, mut bytes) = (Figures::default(), 0);
    for _ in 0..LONG_LISTS {
        let begun = Instant::now();
        let answer = api.call_on(&mut connection, ("GET", &path), ("", &[]), WITHIN)?;
        ensure(answer.status == 200, || format!("{}: {}", answer.status, answer.text()))?;
        took.add(begun.elapsed().as_secs_f64() * 1e3);
        bytes = answer.body.len();
    }
    let megabytes = short(bytes as f64 / 1e6);
    let (median, worst) = (short(took.median()), short(took.greatest()));
    Ok(format!(
        "A list of {PODS} pods, {megabytes} MB: {median} ms in the median of {LONG_LISTS}, {worst} ms at most.\n"
    ))
}
