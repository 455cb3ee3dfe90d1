//! What watchers hear: how many changes a second, how long after they were asked for, and how many may watch at once.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{NAMESPACE, PEERS, WITHIN, line, object};
use crate::cluster::Cluster;
use crate::failure::{Failure, Outcome, ensure};
use crate::http::Connection;
use crate::manifests::core;
use crate::measure::figures::{Figures, short};
use crate::steps::say;

/// How many clients write while others watch.
const WRITERS: usize = 4;
/// How many watches are held open at one peer.
const MANY: usize = 1000;
/// How many writes those hear.
const HEARD: usize = 20;
/// How long a watch that hears nothing more is read on.
const PATIENCE: Duration = Duration::from_secs(2);
/// What every created object's name begins with, by which a watch tells what it hears.
const PREFIX: &str = "w-";

/// A row: so many watchers, each at one of the peers, while a few clients create as fast as they can.
pub(super) fn row(cluster: &Cluster, watchers: usize, lasts: Duration) -> Outcome<Vec<String>> {
    let ready = Barrier::new(watchers + 1);
    let done = AtomicBool::new(false);
    let begun = Instant::now();
    let heard: Vec<Outcome<BTreeMap<String, Instant>>>;
    let sent: Outcome<BTreeMap<String, Instant>>;
    (sent, heard) = std::thread::scope(|scope| {
        let (ready, done) = (&ready, &done);
        let threads: Vec<_> = (0..watchers)
            .map(|number| {
                scope.spawn(move || {
                    let connection = open(cluster, 1 + number % PEERS);
                    ready.wait();
                    listen(connection?, done)
                })
            })
            .collect();
        ready.wait();
        let sent = write(cluster, watchers, lasts);
        done.store(true, Ordering::Relaxed);
        let panicked = |_| Err(Failure::new("a watcher panicked"));
        (sent, threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect())
    });
    let (sent, mut took) = (sent?, Figures::default());
    for heard in heard {
        let heard = heard?;
        let missed = sent.keys().filter(|name| !heard.contains_key(*name)).count();
        ensure(missed == 0, || format!("a watch missed {missed} of {} changes", sent.len()))?;
        took.extend(
            sent.iter()
                .filter_map(|(name, sent)| Some(heard.get(name)?.saturating_duration_since(*sent).as_secs_f64() * 1e3)),
        );
    }
    say(&format!("   {watchers} watchers heard of {} creates each", sent.len()));
    Ok(line(watchers, "changes heard by watchers", &took, begun.elapsed()))
}

/// Many watches at one peer, and how soon all of them hear of a write at another.
pub(super) fn many(cluster: &Cluster) -> Outcome<String> {
    // A few threads read them all in turn: what is measured is the peer and not a thousand threads on this machine.
    let mut watches = (0..MANY).map(|_| open(cluster, 1)).collect::<Outcome<Vec<Connection>>>()?;
    let api = cluster.api(2);
    let mut took = Figures::default();
    for number in 0..HEARD {
        let begun = Instant::now();
        api.create(&core(NAMESPACE, "configmaps"), &object(&format!("{PREFIX}many-{number}")))?;
        for watch in &mut watches {
            let piece = watch.more(WITHIN)?;
            ensure(piece.is_some(), || "a watch ended".to_owned())?;
        }
        took.add(begun.elapsed().as_secs_f64() * 1e3);
    }
    let (median, worst) = (short(took.median()), short(took.greatest()));
    Ok(format!(
        "{MANY} watches open at one peer: all have heard of a write at another after {median} ms in the median of {HEARD}, {worst} ms at most.\n"
    ))
}

fn open(cluster: &Cluster, peer: usize) -> Outcome<Connection> {
    let api = cluster.api(peer);
    let mut connection = api.connect(WITHIN)?;
    let path = core(NAMESPACE, "configmaps");
    // A list of nothing says where all lists stand now.
    let list = api.get(&format!("{path}?fieldSelector=metadata.name%3Dnone"))?;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let answer = api.open_on(&mut connection, &format!("{path}?watch=1&resourceVersion={version}"), WITHIN)?;
    ensure(answer.status == 200, || format!("{}: {}", answer.status, answer.text()))?;
    Ok(connection)
}

/// Reads a watch until the writers are done and nothing more comes.
fn listen(mut watch: Connection, done: &AtomicBool) -> Outcome<BTreeMap<String, Instant>> {
    let (mut heard, mut rest) = (BTreeMap::new(), String::new());
    loop {
        match watch.more(PATIENCE) {
            Ok(Some(piece)) => {
                rest.push_str(&String::from_utf8_lossy(&piece));
                while let Some(end) = rest.find('\n') {
                    let event: String = rest.drain(..=end).collect();
                    if let Some(name) = name_in(&event) {
                        heard.insert(name, Instant::now());
                    }
                }
            }
            Ok(None) => return Err(Failure::new("a watch ended")),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut && done.load(Ordering::Relaxed) => {
                return Ok(heard);
            }
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whom an event is about, without reading all of it: a hundred watchers hear some thousands a second.
fn name_in(event: &str) -> Option<String> {
    let name = event.split_once(&format!("\"name\":\"{PREFIX}"))?.1.split_once('"')?.0;
    Some(format!("{PREFIX}{name}"))
}

fn write(cluster: &Cluster, watchers: usize, lasts: Duration) -> Outcome<BTreeMap<String, Instant>> {
    let until = Instant::now() + lasts;
    let sent: Vec<Outcome<BTreeMap<String, Instant>>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || writes(cluster, (watchers, writer), until))).collect();
        let panicked = |_| Err(Failure::new("a writer panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let mut all = BTreeMap::new();
    for sent in sent {
        all.extend(sent?);
    }
    Ok(all)
}

fn writes(cluster: &Cluster, (watchers, writer): (usize, usize), until: Instant) -> Outcome<BTreeMap<String, Instant>> {
    let api = cluster.api(1 + writer % PEERS);
    let mut connection = api.connect(WITHIN)?;
    let mut sent = BTreeMap::new();
    for number in 0.. {
        let begun = Instant::now();
        if begun >= until {
            break;
        }
        let name = format!("{PREFIX}{watchers}-{writer}-{number}");
        let (path, body) = (core(NAMESPACE, "configmaps"), object(&name).to_string());
        let answer = api.call_on(&mut connection, ("POST", &path), ("application/json", body.as_bytes()), WITHIN)?;
        ensure(answer.status == 201, || format!("{}: {}", answer.status, answer.text()))?;
        sent.insert(name, begun);
    }
    Ok(sent)
}
