//! A founder whose state is gone founds nothing again: it shows, takes and grants nothing until another member reaches it, and then it
//! has all again.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde_json::{Value, json};
use skein_tests::api::Api;
use skein_tests::cluster::Cluster;
use skein_tests::failure::{Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::manifests::{config_map, core};
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const WITHIN: Duration = Duration::from_secs(10);
/// How long hosts that were apart may take to find each other again.
const AFTER_A_HEAL: Duration = Duration::from_secs(45);

/// How long the voters may take for their last step, to equal weights, which nobody sees from outside: a step takes a heartbeat.
const LAST_STEP: Duration = Duration::from_secs(3);

type Step = fn(&mut Cluster) -> Outcome<String>;

const STEPS: [(&str, Step); 2] = [
    ("alone and without its state, the founder shows, takes and grants nothing", alone),
    ("with another member it has all again, and its vote", together),
];

#[test]
fn a_founder_whose_state_is_lost_founds_nothing_again() -> Outcome<()> {
    let mut steps = Steps::of("lost disk");
    let cluster = RefCell::new(Cluster::form(Lab::build(0, 3)?, 3)?);
    for (name, step) in STEPS {
        steps.run(name, || step(&mut cluster.borrow_mut()), || cluster.borrow_mut().evidence());
    }
    steps.end()
}

fn call(api: &Api, method: &str, path: &str, body: &Value) -> Outcome<(u16, String)> {
    let answer = api.call((method, path), ("application/json", body.to_string().as_bytes()), WITHIN)?;
    Ok((answer.status, answer.text()))
}

/// Waits until a member is one of the voters, and its vote counts.
fn votes(cluster: &Cluster, at: usize) -> Outcome<Duration> {
    let look = || ensure(cluster.metric(at, "skein_votes")? > 0.5, || format!("the vote of h{at} does not count"));
    Ok(eventually(&format!("the vote of h{at} to count"), AFTER_A_HEAL, look)?.1)
}

fn alone(cluster: &mut Cluster) -> Outcome<String> {
    // Of two voters one alone could not go on without the other.
    (1..=3).try_for_each(|at| votes(cluster, at).map(drop))?;
    std::thread::sleep(LAST_STEP);
    cluster.api(2).create(&core("default", "configmaps"), &config_map("kept", "k", "v"))?;
    let lease = json!({"metadata": {"name": "lock"}, "spec": {"holderIdentity": "together"}});
    cluster.api(2).create(LEASES, &lease)?;
    cluster.lab().partition(&[1], &[2, 3])?;
    let start = cluster.daemon(1).start().clone();
    cluster.daemon(1).kill9();
    std::fs::remove_file(start.directory().join("state.redb"))?;
    cluster.daemon(1).start_again(&start)?;
    let lost = |said: &str| ensure(said.contains("the state of this node is lost"), || format!("it says: {said}"));
    let says = || lost(&String::from_utf8_lossy(&start.skein(&["peers"])?.stderr));
    let (_, took) = eventually("h1 to say that its state is lost", WITHIN, says)?;
    let (ready, text) = call(&cluster.api(1), "GET", "/readyz", &Value::Null)?;
    ensure(ready == 503, || format!("/readyz: {ready} {text}"))?;
    let name = json!({"metadata": {"name": "alone"}});
    let asked = [("GET", core("default", "configmaps"), &Value::Null), ("POST", LEASES.to_owned(), &lease)];
    for (method, path, body) in asked.into_iter().chain([("POST", "/api/v1/namespaces".to_owned(), &name)]) {
        let (status, said) = call(&cluster.api(1), method, &path, body)?;
        ensure(status == 503, || format!("{method} {path}: {status} {said}"))?;
        lost(&said)?;
    }
    Ok(format!("{} ms", took.as_millis()))
}

fn together(cluster: &mut Cluster) -> Outcome<String> {
    cluster.lab().heal_all()?;
    let showed_less = Cell::new(false);
    let has_all = || {
        let (status, list) = call(&cluster.api(1), "GET", &core("default", "configmaps"), &Value::Null)?;
        ensure(status == 200, || format!("configmaps: {status} {list}"))?;
        showed_less.set(showed_less.get() || !list.contains("\"kept\""));
        let holder = cluster.api(1).get(&format!("{LEASES}/lock"))?["spec"]["holderIdentity"].clone();
        ensure(holder == "together", || format!("h1 shows the holder {holder}"))?;
        cluster.api(1).get(&core("default", "configmaps/kept")).map(drop)
    };
    let (_, took) = eventually("h1 to have all again", AFTER_A_HEAL, has_all)?;
    ensure(!showed_less.get(), || "it answered with a list before it had all".to_owned())?;
    // The voters go on without it first, and then take it in again: without a third it could not be.
    let counts = votes(cluster, 1)?;
    std::thread::sleep(LAST_STEP);
    // Of three voters two decide: without the third, h1 must be one of them.
    cluster.daemon(3).kill9();
    let path = format!("{LEASES}/lock");
    let decided = || {
        let mut lease = cluster.api(2).get(&path)?;
        lease["spec"]["holderIdentity"] = json!("h1 votes");
        let (status, said) = call(&cluster.api(2), "PUT", &path, &lease)?;
        ensure(status == 200, || format!("{status} {said}"))
    };
    let (_, voted) = eventually("a decision with the vote of h1", AFTER_A_HEAL, decided)?;
    let [took, counts, voted] = [took, counts, voted].map(|took| took.as_secs_f64());
    Ok(format!("{took:.1} s, {counts:.1} s to its vote, and {voted:.1} s to a decision without h3"))
}
