//! Five hosts, five engines, and what the cluster on them promises while they are cut apart, crash and come back.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skein_tests::cluster::Cluster;
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::load::{Account, patched_map, write_until};
use skein_tests::manifests::{apps, config_map, core, web};
use skein_tests::steps::Steps;
use skein_tests::wait::{eventually, settles};

const ALL: [usize; 5] = [1, 2, 3, 4, 5];
const NAMESPACE: &str = "shop";
/// A write is promised to be read elsewhere within this.
const SPREAD: Duration = Duration::from_secs(1);
/// How long anything may take that is promised to happen, but not here how fast.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a number of containers must stay the same to be believed.
const STEADY: Duration = Duration::from_secs(3);
/// Writes a second at every peer.
const RATE: u32 = 20;

/// One test's cluster, and what it must remember from one step for a later one.
struct Story {
    cluster: Cluster,
    written: Account,
    replicas: usize,
}

#[test]
fn five_hosts_outlive_what_happens_to_them() -> Outcome<()> {
    let mut steps = Steps::of("five hosts");
    let cluster = Cluster::form(Lab::with_engines(5)?, 5)?;
    cluster.namespace(NAMESPACE)?;
    let mut story = Story { cluster, written: Account::default(), replicas: 10 };
    let mut run = |name: &str, step: fn(&mut Story) -> Outcome<String>| {
        let shared = std::cell::RefCell::new(&mut story);
        steps.run(name, || step(&mut shared.borrow_mut()), || shared.borrow_mut().cluster.evidence());
    };
    run("a write at any peer is read at every other within 1 s", writes_are_read_everywhere);
    run("a Deployment of ten runs", a_deployment_runs);
    run("a daemon restarted under load touches no container", restarts_touch_no_container);
    run("with the leader cut off not one write fails at the survivors", the_leader_is_cut_off);
    run("the pods of a cut-off node run on the survivors", pods_run_on_the_survivors);
    run("after the heal exactly ten run", exactly_the_asked_for_run);
    run("two of five take writes and start pods", two_of_five_go_on);
    run("one of five takes writes and starts pods", one_of_five_goes_on);
    run("after the heal exactly the asked-for replicas run", exactly_the_asked_for_run);
    run("everything that was acknowledged is at every peer", nothing_acknowledged_is_lost);
    run("all peers hold the same, and one more edit changes the hash", all_peers_hold_the_same);
    run("deleted on one side and scaled on the other is gone on both", deleted_stays_deleted);
    run("a write acknowledged by a peer that dies at once survives", acknowledged_writes_survive);
    steps.end()
}

fn writes_are_read_everywhere(story: &mut Story) -> Outcome<String> {
    let cluster = &story.cluster;
    let mut worst = Duration::ZERO;
    for writer in ALL {
        let name = format!("from-{writer}");
        cluster.api(writer).create(&core(NAMESPACE, "configmaps"), &config_map(&name, "round", "0"))?;
        worst = worst.max(read_everywhere(cluster, &name, "0")?);
        for round in ["1", "2"] {
            let patch = json!({"data": {"round": round}});
            cluster.api(writer).patch(&core(NAMESPACE, &format!("configmaps/{name}")), &patch)?;
            worst = worst.max(read_everywhere(cluster, &name, round)?);
        }
    }
    Ok(format!("15 writes, the slowest read everywhere after {} ms", worst.as_millis()))
}

/// How long until all peers show the value, counted from now.
fn read_everywhere(cluster: &Cluster, name: &str, value: &str) -> Outcome<Duration> {
    let path = core(NAMESPACE, &format!("configmaps/{name}"));
    let look = |number: usize| {
        let found = cluster.api(number).get(&path)?["data"]["round"].clone();
        ensure(found == value, || format!("it is {found}"))
    };
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = ALL
            .map(|number| {
                scope.spawn(move || eventually(&format!("{name}={value} at h{number}"), SPREAD, || look(number)))
            })
            .into();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap().map(|_| ()))
    })?;
    Ok(begun.elapsed())
}

fn a_deployment_runs(story: &mut Story) -> Outcome<String> {
    let begun = Instant::now();
    story.cluster.api(2).create(&apps(NAMESPACE, "deployments"), &web("web", story.replicas))?;
    for number in ALL {
        let map = config_map(&patched_map(number), "k", "v");
        story.cluster.api(number).create(&core(NAMESPACE, "configmaps"), &map)?;
    }
    let running = || story.cluster.exactly(story.replicas, &ALL, NAMESPACE, "web");
    eventually("ten containers", PATIENCE, running)?;
    let took = begun.elapsed();
    let available = || {
        let status = &story.cluster.api(4).get(&apps(NAMESPACE, "deployments/web"))?["status"];
        ensure(status["availableReplicas"] == story.replicas, || format!("the status is {status}"))
    };
    eventually("ten available replicas in the status", PATIENCE, available)?;
    Ok(format!("ten containers after {:.1} s", took.as_secs_f64()))
}

fn restarts_touch_no_container(story: &mut Story) -> Outcome<String> {
    let before = identities(&story.cluster)?;
    let stop = AtomicBool::new(false);
    let writers: Vec<_> = [3, 4, 5].map(|number| (number, story.cluster.api(number))).into();
    let cluster = &mut story.cluster;
    let (account, restarted) = std::thread::scope(|scope| {
        let load = scope.spawn(|| write_until(&stop, &writers, RATE, NAMESPACE));
        let restarted = restart_both_ways(cluster);
        stop.store(true, Ordering::Relaxed);
        (load.join().unwrap(), restarted)
    });
    restarted?;
    std::thread::sleep(STEADY);
    let after = identities(&story.cluster)?;
    ensure(before == after, || format!("before: {before:#?}\nafter: {after:#?}"))?;
    ensure(account.failed.is_empty(), || format!("{}\n{}", account.line(), account.failed.join("\n")))?;
    let line = account.line();
    remember(&mut story.written, account);
    Ok(format!("{} containers untouched; {line}", before.len()))
}

/// One daemon is asked to end, another one crashes.
fn restart_both_ways(cluster: &mut Cluster) -> Outcome<()> {
    cluster.daemon(1).stop()?;
    cluster.start_again(1)?;
    cluster.daemon(2).kill9();
    cluster.start_again(2)?;
    Ok(())
}

/// Every running container of the Deployment, and when it was started.
fn identities(cluster: &Cluster) -> Outcome<BTreeMap<String, String>> {
    let running = cluster.running(&ALL, NAMESPACE, "web")?;
    let started = running.into_iter().map(|(number, container)| {
        let inspected = cluster.lab().host(number).engine()?.inspect(&container.id)?;
        let state = &inspected["State"];
        Ok((container.id, format!("h{number}, pid {}, since {}", state["Pid"], state["StartedAt"])))
    });
    started.collect()
}

fn the_leader_is_cut_off(story: &mut Story) -> Outcome<String> {
    let (leader, _) = story.cluster.agreed_leader(&ALL, PATIENCE)?;
    let survivors = without(&[leader]);
    let cluster = &story.cluster;
    let writers: Vec<_> = survivors.iter().map(|number| (*number, cluster.api(*number))).collect();
    let stop = AtomicBool::new(false);
    let (account, cut) = std::thread::scope(|scope| {
        let load = scope.spawn(|| write_until(&stop, &writers, RATE, NAMESPACE));
        std::thread::sleep(Duration::from_secs(2));
        let cut = cluster.lab().cut(leader);
        std::thread::sleep(Duration::from_secs(10));
        stop.store(true, Ordering::Relaxed);
        (load.join().unwrap(), cut)
    });
    cut?;
    let line = account.line();
    let failed = account.failed.clone();
    remember(&mut story.written, account);
    ensure(failed.is_empty(), || format!("the cut came at 2 s; {line}\n{}", failed.join("\n")))?;
    Ok(line)
}

fn pods_run_on_the_survivors(story: &mut Story) -> Outcome<String> {
    let connected = connected(&story.cluster)?;
    let look = || story.cluster.exactly(story.replicas, &connected, NAMESPACE, "web");
    let (_, took) = eventually("all replicas on the survivors", PATIENCE, look)?;
    let (leader, _) = story.cluster.agreed_leader(&connected, PATIENCE)?;
    Ok(format!("h{leader} leads; the last replica was there {:.1} s after the step before", took.as_secs_f64()))
}

fn exactly_the_asked_for_run(story: &mut Story) -> Outcome<String> {
    story.cluster.lab().heal_all()?;
    let cluster = &story.cluster;
    let mut took = settles("the asked-for number of containers", PATIENCE, STEADY, || {
        cluster.exactly(story.replicas, &ALL, NAMESPACE, "web")
    })?;
    for (name, count) in [("late", 3), ("last", 2)] {
        if cluster.api(1).exists(&apps(NAMESPACE, &format!("deployments/{name}")))? {
            let look = || cluster.exactly(count, &ALL, NAMESPACE, name);
            took = took.max(settles(&format!("the containers of {name}"), PATIENCE, STEADY, look)?);
        }
    }
    Ok(format!("exactly {} run {:.1} s after the heal", story.replicas, took.as_secs_f64()))
}

fn two_of_five_go_on(story: &mut Story) -> Outcome<String> {
    let left = [4, 5];
    for number in [1, 2, 3] {
        story.cluster.lab().cut(number)?;
    }
    story.replicas = 12;
    let took = goes_on(story, &left, "late", 3)?;
    Ok(format!("all 15 run on two hosts after {:.1} s", took.as_secs_f64()))
}

fn one_of_five_goes_on(story: &mut Story) -> Outcome<String> {
    story.cluster.lab().cut(4)?;
    story.replicas = 11;
    let took = goes_on(story, &[5], "last", 2)?;
    Ok(format!("all 13 run on one host after {:.1} s", took.as_secs_f64()))
}

/// Every peer that is `left` takes writes at once, and the pods of an old and of a new Deployment run on them.
fn goes_on(story: &mut Story, left: &[usize], name: &str, count: usize) -> Outcome<Duration> {
    let begun = Instant::now();
    for number in left {
        let map = config_map(&format!("{name}-{number}"), "made-at", &format!("h{number}"));
        story.cluster.api(*number).create(&core(NAMESPACE, "configmaps"), &map)?;
        story.written.created.push(format!("{name}-{number}"));
    }
    let api = story.cluster.api(left[0]);
    // Fewer than half of the nodes are here, so the default policy would only keep one of each workload.
    let full = json!({"skein.dev/partition": "full"});
    let mut new = web(name, count);
    new["metadata"]["annotations"] = full.clone();
    api.create(&apps(NAMESPACE, "deployments"), &new)?;
    let scale = json!({"metadata": {"annotations": full}, "spec": {"replicas": story.replicas}});
    api.patch(&apps(NAMESPACE, "deployments/web"), &scale)?;
    eventually("the old Deployment's containers", PATIENCE, || {
        story.cluster.exactly(story.replicas, left, NAMESPACE, "web")
    })?;
    eventually("the new Deployment's containers", PATIENCE, || story.cluster.exactly(count, left, NAMESPACE, name))?;
    Ok(begun.elapsed())
}

fn nothing_acknowledged_is_lost(story: &mut Story) -> Outcome<String> {
    let written = &story.written;
    for number in ALL {
        let maps = story.cluster.api(number).get(&core(NAMESPACE, "configmaps"))?;
        let maps: BTreeMap<&str, &Value> = maps["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| (m["metadata"]["name"].as_str().unwrap(), &m["data"]))
            .collect();
        let lost: Vec<&str> = written.created.iter().map(String::as_str).filter(|n| !maps.contains_key(n)).collect();
        ensure(lost.is_empty(), || format!("h{number} has lost {}: {}", lost.len(), lost.join(", ")))?;
        for ((map, key), value) in &written.patched {
            let found = &maps[map.as_str()][key];
            // A later write whose answer was lost may stand all the same.
            ensure(count_of(found.as_str()) >= count_of(Some(value)), || {
                format!("h{number}: {map}.{key} is {found}, but {value} was acknowledged last")
            })?;
        }
    }
    Ok(format!("{} objects and {} fields at each of five peers", written.created.len(), written.patched.len()))
}

/// The number in a value of the load, which counts its writes: `v17`.
fn count_of(value: Option<&str>) -> Option<u64> {
    value?.strip_prefix('v')?.parse().ok()
}

fn all_peers_hold_the_same(story: &mut Story) -> Outcome<String> {
    let cluster = &story.cluster;
    let (hash, _) = eventually("one hash at all peers", PATIENCE, || one_hash(cluster))?;
    let resources = listed_resources(cluster)?;
    eventually("equal lists at all peers", PATIENCE, || {
        resources.iter().try_for_each(|resource| the_same_everywhere(cluster, resource))
    })?;
    let path = core(NAMESPACE, "configmaps/from-1");
    cluster.api(3).patch(&path, &json!({"data": {"one": "more"}}))?;
    let (changed, _) = eventually("one hash at all peers after one more edit", PATIENCE, || one_hash(cluster))?;
    ensure(changed != hash, || format!("the hash is still {hash}"))?;
    Ok(format!("{} kinds compared; {hash}, then {changed}", resources.len()))
}

fn one_hash(cluster: &Cluster) -> Outcome<String> {
    let hashes = ALL.iter().map(|number| cluster.state_hash(*number)).collect::<Outcome<Vec<_>>>()?;
    ensure(hashes.iter().all(|hash| *hash == hashes[0]), || format!("the hashes are {hashes:?}"))?;
    Ok(hashes[0].clone())
}

/// The paths of everything that can be listed, as the API itself says.
fn listed_resources(cluster: &Cluster) -> Outcome<Vec<String>> {
    let api = cluster.api(1);
    let groups = api.get("/apis")?;
    let groups = groups["groups"].as_array().into_iter().flatten();
    let versions = groups.filter_map(|group| Some(format!("/apis/{}", group["versions"][0]["groupVersion"].as_str()?)));
    let mut paths = Vec::new();
    for base in std::iter::once("/api/v1".to_owned()).chain(versions) {
        let resources = api.get(&base)?;
        let resources = resources["resources"].as_array().into_iter().flatten();
        let lists = |r: &&Value| r["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|verb| verb == "list"));
        paths.extend(resources.filter(lists).map(|r| format!("{base}/{}", r["name"].as_str().unwrap())));
    }
    ensure(paths.len() >= 8, || format!("only {paths:?} can be listed"))?;
    Ok(paths)
}

fn the_same_everywhere(cluster: &Cluster, path: &str) -> Outcome<()> {
    let first = comparable(cluster.api(1).get(path)?);
    for number in &ALL[1..] {
        let other = comparable(cluster.api(*number).get(path)?);
        ensure(first == other, || format!("{path} differs: {}", first_difference(&first, &other, *number)))?;
    }
    Ok(())
}

/// A list without what names the peer that served it: a version's last 16 bits are the peer's tag, and a list's version is
/// a place in the peer's own log. Of what is measured only whose figures they are: each peer measures when it is asked.
fn comparable(mut list: Value) -> Value {
    list["metadata"] = Value::Null;
    for item in list["items"].as_array_mut().into_iter().flatten() {
        if item["kind"].as_str().is_some_and(|kind| kind.ends_with("Metrics")) {
            *item = json!({"namespace": item["metadata"]["namespace"], "name": item["metadata"]["name"]});
            continue;
        }
        let version = item["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
        item["metadata"]["resourceVersion"] = json!(version.map(|number| number >> 22));
    }
    list
}

fn first_difference(one: &Value, other: &Value, number: usize) -> String {
    let items = |list: &Value| list["items"].as_array().cloned().unwrap_or_default();
    let (one, other) = (items(one), items(other));
    let pair = one.iter().zip(&other).find(|(a, b)| a != b);
    match pair {
        Some((a, b)) => format!("at h1 {a}\nat h{number} {b}"),
        None => format!("h1 lists {} of them, h{number} {}", one.len(), other.len()),
    }
}

fn deleted_stays_deleted(story: &mut Story) -> Outcome<String> {
    let cluster = &story.cluster;
    let path = apps(NAMESPACE, "deployments/doomed");
    cluster.api(1).create(&apps(NAMESPACE, "deployments"), &web("doomed", 4))?;
    eventually("its containers", PATIENCE, || cluster.exactly(4, &ALL, NAMESPACE, "doomed"))?;
    let at_all = || ALL.iter().try_for_each(|n| ensure(cluster.api(*n).exists(&path)?, || format!("not at h{n}")));
    eventually("the Deployment at all peers", PATIENCE, at_all)?;
    cluster.lab().partition(&[1, 2], &[3, 4, 5])?;
    std::thread::sleep(Duration::from_secs(5));
    cluster.api(1).delete(&path)?;
    cluster.api(3).patch(&path, &json!({"spec": {"replicas": 6}}))?;
    eventually("six on the larger side", PATIENCE, || cluster.exactly(6, &[3, 4, 5], NAMESPACE, "doomed"))?;
    eventually("none on the smaller side", PATIENCE, || cluster.exactly(0, &[1, 2], NAMESPACE, "doomed"))?;
    cluster.lab().heal_all()?;
    let took =
        settles("no container of it anywhere", PATIENCE, STEADY, || cluster.exactly(0, &ALL, NAMESPACE, "doomed"))?;
    for number in ALL {
        let api = cluster.api(number);
        ensure(!api.exists(&path)?, || format!("h{number} still has the Deployment"))?;
        for collection in [apps(NAMESPACE, "replicasets"), core(NAMESPACE, "pods")] {
            let list = api.get(&collection)?;
            let names: Vec<&str> =
                list["items"].as_array().unwrap().iter().filter_map(|i| i["metadata"]["name"].as_str()).collect();
            let left = names.iter().any(|name| name.starts_with("doomed"));
            ensure(!left, || format!("h{number} still has something of it: {names:?}"))?;
        }
    }
    Ok(format!("gone everywhere {:.1} s after the heal", took.as_secs_f64()))
}

fn acknowledged_writes_survive(story: &mut Story) -> Outcome<String> {
    let (leader, _) = story.cluster.agreed_leader(&ALL, PATIENCE)?;
    let other = without(&[leader])[0];
    for (round, victim) in [leader, other].into_iter().enumerate() {
        let name = format!("survivor-{round}");
        dies_after_acknowledging(&mut story.cluster, victim, &name)?;
        story.cluster.start_again(victim)?;
        story.cluster.lab().heal_all()?;
        let path = core(NAMESPACE, &format!("configmaps/{name}"));
        let look = || ensure(story.cluster.api(victim).exists(&path)?, || "it is not there".to_owned());
        eventually("the write at its author again", PATIENCE, look)?;
    }
    Ok(format!("at h{leader}, which led, and at h{other}"))
}

fn dies_after_acknowledging(cluster: &mut Cluster, victim: usize, name: &str) -> Outcome<()> {
    let body = config_map(name, "k", "v").to_string();
    let path = core(NAMESPACE, "configmaps");
    let answer = cluster.api(victim).call(("POST", &path), ("application/json", body.as_bytes()), PATIENCE)?;
    // The cable first would leave the daemon a moment to spread it further; so the daemon goes first.
    cluster.daemon(victim).kill9();
    cluster.lab().cut(victim)?;
    ensure(answer.status == 201, || format!("{}: {}", answer.status, answer.text()))?;
    ensure(answer.header("warning").is_none(), || format!("it warned: {:?}", answer.header("warning")))?;
    let path = core(NAMESPACE, &format!("configmaps/{name}"));
    for number in without(&[victim]) {
        let look = || ensure(cluster.api(number).exists(&path)?, || "it is not there".to_owned());
        eventually(&format!("{name}, acknowledged by h{victim}, at h{number}"), PATIENCE, look)?;
    }
    Ok(())
}

fn without(gone: &[usize]) -> Vec<usize> {
    ALL.into_iter().filter(|number| !gone.contains(number)).collect()
}

/// The hosts whose cable is in, as their own network says.
fn connected(cluster: &Cluster) -> Outcome<Vec<usize>> {
    let all = ALL.into_iter().map(|number| Ok((number, cluster.lab().is_connected(number)?)));
    let all = all.collect::<Outcome<Vec<_>>>()?;
    let connected: Vec<usize> = all.into_iter().filter(|(_, is)| *is).map(|(number, _)| number).collect();
    if connected.is_empty() { Err(Failure::new("every host is cut off")) } else { Ok(connected) }
}

/// Adds what a load wrote to what the test holds the cluster to in the end.
fn remember(all: &mut Account, account: Account) {
    all.created.extend(account.created);
    all.patched.extend(account.patched);
}
