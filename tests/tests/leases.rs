//! Clients that rely on what they saw: of two writes that depend on one version one is taken, also at different peers at once, and
//! of candidates for a Lease one holds it, whatever is cut meanwhile.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skein_tests::api::Api;
use skein_tests::cluster::Cluster;
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::manifests::{config_map, core};
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

const ALL: [usize; 3] = [1, 2, 3];
/// How long one request may take: a decision that nobody can make is given up sooner.
const WITHIN: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(10);
/// How often two clients race for one version.
const RACES: usize = 60;
/// How long the candidates compete: whole, with the leader cut off, and whole again.
const PHASE: Duration = Duration::from_secs(6);
/// How long a candidate waits between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// A lock's path.
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

type Step = fn(&mut Cluster) -> Outcome<String>;

const STEPS: [(&str, Step); 4] = [
    ("a version that one peer gave out is good at another at once", seen_elsewhere),
    ("of two writes at two peers that depend on one version one is taken", raced),
    ("candidates at all peers hold a Lease one after another while the leader is cut off and comes back", competed),
    ("who is cut off from most of the others gets no Lease, and is told so", alone),
];

#[test]
fn what_depends_on_what_was_seen_is_taken_once() -> Outcome<()> {
    let mut steps = Steps::of("leases");
    let mut cluster = Cluster::form(Lab::build(0, 3)?, 3)?;
    let shared = std::cell::RefCell::new(&mut cluster);
    for (name, step) in STEPS {
        steps.run(name, || step(&mut shared.borrow_mut()), || shared.borrow_mut().evidence());
    }
    steps.end()
}

fn put(api: &Api, path: &str, object: &Value) -> Outcome<(u16, Value)> {
    send(api, "PUT", path, object)
}

fn send(api: &Api, method: &str, path: &str, object: &Value) -> Outcome<(u16, Value)> {
    let body = object.to_string();
    let answer = api.call((method, path), ("application/json", body.as_bytes()), WITHIN)?;
    Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null)))
}

fn seen_elsewhere(cluster: &mut Cluster) -> Outcome<String> {
    let path = core("default", "configmaps/passed");
    let mut object = cluster.api(1).create(&core("default", "configmaps"), &config_map("passed", "value", "0"))?;
    for number in 1..=RACES {
        // Each write goes to the next peer at once, with the version that the last one answered.
        object["data"]["value"] = json!(number.to_string());
        let (status, answer) = put(&cluster.api(1 + number % 3), &path, &object)?;
        ensure(status == 200, || format!("write {number} was answered {status}: {answer}"))?;
        object = answer;
    }
    let mut old = object.clone();
    old["data"]["value"] = json!("newer");
    let (status, _) = put(&cluster.api(2), &path, &old)?;
    ensure(status == 200, || format!("{status}"))?;
    for at in ALL {
        let (status, answer) = put(&cluster.api(at), &path, &object)?;
        ensure(status == 409, || format!("h{at} took a write of a version that is over: {status} {answer}"))?;
    }
    Ok(format!("{RACES} writes, each at another peer than the one before"))
}

fn raced(cluster: &mut Cluster) -> Outcome<String> {
    let path = core("default", "configmaps/raced");
    cluster.api(1).create(&core("default", "configmaps"), &config_map("raced", "value", "0"))?;
    eventually("the object at all peers", SOON, || {
        ALL.iter().try_for_each(|at| cluster.api(*at).get(&path).map(drop))
    })?;
    let mut refused = 0;
    for number in 0..RACES {
        let read = cluster.api(1 + number % 3).get(&path)?;
        let cluster = &*cluster;
        let taken: Vec<Outcome<(u16, Value)>> = std::thread::scope(|scope| {
            let writers: Vec<_> = ALL
                .map(|at| {
                    let (mut object, path) = (read.clone(), &path);
                    object["data"]["value"] = json!(format!("{number} by h{at}"));
                    scope.spawn(move || put(&cluster.api(at), path, &object))
                })
                .into_iter()
                .collect();
            let panicked = |_| Err(Failure::new("a writer panicked"));
            writers.into_iter().map(|writer| writer.join().unwrap_or_else(panicked)).collect()
        });
        let codes = taken.into_iter().map(|answer| Ok(answer?.0)).collect::<Outcome<Vec<u16>>>()?;
        let winners = codes.iter().filter(|code| **code == 200).count();
        ensure(winners == 1 && codes.iter().all(|code| matches!(code, 200 | 409)), || {
            format!("race {number} was answered {codes:?}")
        })?;
        refused += codes.len() - winners;
    }
    Ok(format!("{RACES} races of three, {refused} refused"))
}

/// What candidates were told: who took the Lease over as which holder in turn, and how often nobody could.
#[derive(Default)]
struct Record {
    turns: BTreeMap<u64, String>,
    renewals: usize,
    undecided: usize,
    last: Option<Instant>,
    longest_pause: Duration,
}

/// One candidate, as client-go's leader election does it: renew what is mine, take over what is not, each only if nobody wrote.
fn candidate(api: &Api, name: &str, done: &AtomicBool, record: &Mutex<Record>) -> Outcome<()> {
    let path = format!("{LEASES}/lock");
    let mut turn = 0;
    while !done.load(Ordering::Relaxed) {
        turn += 1;
        std::thread::sleep(PAUSE);
        let answer = api.call(("GET", &path), ("", &[]), WITHIN)?;
        let read: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        let (method, at, mut lease) = match answer.status {
            200 => ("PUT", path.as_str(), read),
            404 => ("POST", LEASES, json!({"metadata": {"name": "lock"}, "spec": {"leaseTransitions": 0}})),
            other => return Err(Failure::new(format!("a read was answered {other}"))),
        };
        let mine = lease["spec"]["holderIdentity"] == name;
        if !mine && turn % 3 != 0 && method == "PUT" {
            continue;
        }
        let transitions = lease["spec"]["leaseTransitions"].as_u64().unwrap_or(0) + u64::from(!mine);
        lease["spec"]["holderIdentity"] = json!(name);
        lease["spec"]["leaseTransitions"] = json!(transitions);
        lease["spec"]["renewTime"] = json!(format!("2026-01-01T00:00:00.{:06}Z", turn % 1_000_000));
        let (status, answer) = send(api, method, at, &lease)?;
        let mut record = record.lock().map_err(|_| Failure::new("a candidate panicked"))?;
        match status {
            200 | 201 => {
                let now = Instant::now();
                let pause = record.last.map_or(Duration::ZERO, |last| now - last);
                record.longest_pause = record.longest_pause.max(pause);
                record.last = Some(now);
                record.renewals += usize::from(mine);
                if !mine && let Some(other) = record.turns.insert(transitions, name.to_owned()) {
                    return Err(Failure::new(format!("turn {transitions} was given to {other} and to {name}")));
                }
            }
            409 => {}
            503 | 504 => record.undecided += 1,
            other => return Err(Failure::new(format!("{method} was answered {other}: {answer}"))),
        }
    }
    Ok(())
}

fn competed(cluster: &mut Cluster) -> Outcome<String> {
    let (leader, _) = cluster.agreed_leader(&ALL, SOON)?;
    let (done, record) = (AtomicBool::new(false), Mutex::new(Record::default()));
    let whole = &*cluster;
    std::thread::scope(|scope| -> Outcome<()> {
        let candidates: Vec<_> = ALL
            .iter()
            .map(|at| {
                let (api, done, record) = (whole.api(*at), &done, &record);
                scope.spawn(move || candidate(&api, &format!("h{at}"), done, record))
            })
            .collect();
        let act = || {
            std::thread::sleep(PHASE);
            whole.lab().cut(leader)?;
            std::thread::sleep(PHASE);
            whole.lab().heal_all()?;
            std::thread::sleep(PHASE);
            Outcome::Ok(())
        };
        let acted = act();
        done.store(true, Ordering::Relaxed);
        let panicked = |_| Err(Failure::new("a candidate panicked"));
        candidates.into_iter().try_for_each(|candidate| candidate.join().unwrap_or_else(panicked))?;
        acted
    })?;
    let record = record.into_inner().map_err(|_| Failure::new("a candidate panicked"))?;
    let turns = record.turns.len();
    ensure(turns > 20, || format!("there were {turns} turns"))?;
    // Each turn was taken with knowledge of the one before, so none is missing but such as nobody was told of.
    let last = record.turns.keys().next_back().copied().unwrap_or(0);
    let path = format!("{LEASES}/lock");
    eventually("the last turn at all peers", SOON, || {
        ALL.iter().try_for_each(|at| {
            let stands = cluster.api(*at).get(&path)?["spec"]["leaseTransitions"].as_u64().unwrap_or(0);
            ensure(stands >= last, || format!("h{at} shows turn {stands} of {last}"))
        })
    })?;
    Ok(format!(
        "{turns} turns and {} renewals, {} times nobody could decide; the longest pause {:.1} s",
        record.renewals,
        record.undecided,
        record.longest_pause.as_secs_f64()
    ))
}

fn alone(cluster: &mut Cluster) -> Outcome<String> {
    let (leader, _) = cluster.agreed_leader(&ALL, SOON)?;
    cluster.lab().cut(leader)?;
    let path = format!("{LEASES}/lock");
    let begun = Instant::now();
    // It may believe for a moment that the others still back it; then what it decides is upheld by nobody.
    let mut answers = Vec::new();
    while begun.elapsed() < PHASE {
        let mut lease = cluster.api(leader).get(&path)?;
        // A write of what is there already would be none.
        lease["spec"]["holderIdentity"] = json!(format!("alone {}", answers.len()));
        let (status, answer) = put(&cluster.api(leader), &path, &lease)?;
        ensure(matches!(status, 503 | 504), || format!("h{leader} is alone and granted a Lease: {status} {answer}"))?;
        answers.push((status, answer["message"].as_str().unwrap_or_default().to_owned()));
    }
    let (status, message) = answers.pop().unwrap_or_default();
    ensure(status == 503 && message.contains("more than half of the voters"), || format!("{status}: {message}"))?;
    let others = ALL.into_iter().find(|at| *at != leader).unwrap_or(1);
    let mut lease = cluster.api(others).get(&path)?;
    lease["spec"]["holderIdentity"] = json!("together");
    let (status, answer) = put(&cluster.api(others), &path, &lease)?;
    ensure(status == 200, || format!("{status} {answer}"))?;
    cluster.lab().heal_all()?;
    eventually("the holder that the others chose, at all peers", Duration::from_secs(30), || {
        ALL.iter().try_for_each(|at| {
            let holder = cluster.api(*at).get(&path)?["spec"]["holderIdentity"].clone();
            ensure(holder == "together", || format!("h{at} says {holder}"))
        })
    })?;
    Ok(message)
}
