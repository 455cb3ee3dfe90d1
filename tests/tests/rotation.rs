//! The keys that members hold in common are changed by one command while pods run, clients watch and clients write at
//! every peer: nothing fails while the grace lasts, and after it what was issued before opens nothing anywhere.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use skein_tests::api::{Api, Credentials};
use skein_tests::cluster::Cluster;
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::load::{patched_map, write_until};
use skein_tests::manifests::{apps, config_map, core, web};
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

const ALL: [usize; 5] = [1, 2, 3, 4, 5];
const NAMESPACE: &str = "shop";
/// What may be promised to happen, but not here how fast.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long members that hear each other may take to take new keys over.
const SOON: Duration = Duration::from_secs(10);
/// How long calls go on after a rotation.
const AFTER: Duration = Duration::from_secs(5);
/// The grace of the second rotation.
const SHORT_GRACE: Duration = Duration::from_secs(5);
/// Writes a second at every peer.
const RATE: u32 = 5;
const PASSWORD: &str = "correct horse battery staple";

/// The cluster, and all credentials that there were, the founder's first.
struct Story {
    cluster: Cluster,
    credentials: Vec<(&'static str, Credentials)>,
}

#[test]
fn keys_change_under_load_and_what_was_issued_before_ends() -> Outcome<()> {
    let mut steps = Steps::of("rotation");
    let cluster = Cluster::form(Lab::with_engines(5)?, 5)?;
    cluster.namespace(NAMESPACE)?;
    let credentials = vec![("the first administrator's token", cluster.credentials().clone())];
    let mut story = Story { cluster, credentials };
    let mut run = |name: &str, step: fn(&mut Story) -> Outcome<String>| {
        let shared = std::cell::RefCell::new(&mut story);
        steps.run(name, || step(&mut shared.borrow_mut()), || shared.borrow_mut().cluster.evidence());
    };
    run("pods run and a Secret is there", prepare);
    run("with a grace no call fails, no watch ends and no container restarts", rotate_under_load);
    run("a new kubeconfig works at every host", new_kubeconfig_works);
    run("with the grace nothing of before is refused", all_count);
    run("after the lapse what was issued before is refused everywhere", lapsed_is_refused);
    run("Secrets are read at every host, also by a member that restarts", secrets_are_read);
    steps.end()
}

fn prepare(story: &mut Story) -> Outcome<String> {
    let cluster = &story.cluster;
    cluster.api(1).create(&apps(NAMESPACE, "deployments"), &web("web", 5))?;
    for number in ALL {
        let map = config_map(&patched_map(number), "k", "v");
        cluster.api(number).create(&core(NAMESPACE, "configmaps"), &map)?;
    }
    let secret = json!({"metadata": {"name": "db"}, "stringData": {"password": PASSWORD}});
    cluster.api(2).create(&core(NAMESPACE, "secrets"), &secret)?;
    eventually("five containers", PATIENCE, || cluster.exactly(5, &ALL, NAMESPACE, "web"))?;
    let flags = ["kubeconfig", "--user", "alice", "--role", "view", "--namespace", NAMESPACE];
    let alice = story.cluster.daemon(2).start().skein_says(&flags)?;
    story.credentials.push(("a user's token of before", of_kubeconfig(&alice)?));
    Ok("five containers run".to_owned())
}

fn rotate_under_load(story: &mut Story) -> Outcome<String> {
    let before = identities(&story.cluster)?;
    let stop = AtomicBool::new(false);
    let writers: Vec<_> = ALL.map(|number| (number, story.cluster.api(number))).into();
    let watchers = writers.clone();
    let start = story.cluster.daemon(3).start().clone();
    let (said, account, watched) = std::thread::scope(|scope| {
        let load = scope.spawn(|| write_until(&stop, &writers, RATE, NAMESPACE));
        let stop = &stop;
        let watches: Vec<_> =
            watchers.iter().map(|(number, api)| scope.spawn(move || watch(stop, *number, api))).collect();
        std::thread::sleep(AFTER);
        let said = start.skein_says(&["rotate", "--grace", "1h"]);
        std::thread::sleep(2 * AFTER);
        stop.store(true, Ordering::Relaxed);
        let watched: Vec<_> = watches.into_iter().map(|watch| watch.join().expect("a watch")).collect();
        (said, load.join().expect("the load"), watched)
    });
    let said = said?;
    ensure(said.contains("skein kubeconfig"), || format!("what is next is not said: {said}"))?;
    ensure(account.failed.is_empty(), || format!("{}\n{}", account.line(), account.failed.join("\n")))?;
    let events: Vec<usize> = watched.into_iter().collect::<Outcome<_>>()?;
    let after = identities(&story.cluster)?;
    ensure(before == after, || format!("before: {before:#?}\nafter: {after:#?}"))?;
    Ok(format!("{}; watches saw {events:?} events", account.line()))
}

/// Watches ConfigMaps until it is told to stop; how many events came. An end of the watch before that is a failure.
fn watch(stop: &AtomicBool, number: usize, api: &Api) -> Outcome<usize> {
    let mut connection = api.connect(SOON)?;
    let path = format!("{}?watch=true", core(NAMESPACE, "configmaps"));
    let answer = api.open_on(&mut connection, &path, SOON)?;
    ensure(answer.status == 200, || format!("h{number}: the watch is answered {}", answer.status))?;
    let mut events = 0;
    while !stop.load(Ordering::Relaxed) {
        let chunk = match connection.more(SOON) {
            Ok(chunk) => chunk,
            // Nobody writes any more.
            Err(_) if stop.load(Ordering::Relaxed) => break,
            Err(error) => return Err(Failure::new(format!("h{number}: the watch: {error}"))),
        };
        let chunk = chunk.ok_or_else(|| Failure::new(format!("h{number}: the watch ended")))?;
        events += chunk.iter().filter(|byte| **byte == b'\n').count();
    }
    ensure(events > 0, || format!("h{number}: the watch saw nothing"))?;
    Ok(events)
}

fn new_kubeconfig_works(story: &mut Story) -> Outcome<String> {
    let text = story.cluster.daemon(4).start().skein_says(&["kubeconfig"])?;
    story.credentials.push(("the administrator's token of the first rotation", of_kubeconfig(&text)?));
    let newest = last(story)?;
    for number in ALL {
        eventually(&format!("the new kubeconfig at h{number}"), SOON, || answers(story, number, &newest, 200))?;
    }
    Ok(String::new())
}

fn all_count(story: &mut Story) -> Outcome<String> {
    for (what, credentials) in &story.credentials {
        for number in ALL {
            answers(story, number, credentials, 200).map_err(|error| Failure::new(format!("{what}: {error}")))?;
        }
    }
    Ok(format!("{} credentials at {} hosts", story.credentials.len(), ALL.len()))
}

fn lapsed_is_refused(story: &mut Story) -> Outcome<String> {
    let grace = format!("{}s", SHORT_GRACE.as_secs());
    let old =
        Api::new(&story.cluster.lab().host(1).netns, story.cluster.lab().host(1).api_socket(), &story.credentials[0].1);
    let mut watch = old.connect(SOON)?;
    let watched = old.open_on(&mut watch, &format!("{}?watch=true", core(NAMESPACE, "configmaps")), SOON)?.status;
    ensure(watched == 200, || format!("a watch is answered {watched}"))?;
    story.cluster.daemon(5).start().skein_says(&["rotate", "--grace", &grace])?;
    let text = story.cluster.daemon(5).start().skein_says(&["kubeconfig"])?;
    let newest = of_kubeconfig(&text)?;
    for number in ALL {
        eventually(&format!("the newest kubeconfig at h{number}"), SOON, || answers(story, number, &newest, 200))?;
    }
    // An open connection of before is judged at each request.
    let mut open = old.connect(SOON)?;
    let ask = |open: &mut _| old.call_on(open, ("GET", &core(NAMESPACE, "configmaps")), ("", &[]), SOON);
    let first = ask(&mut open)?.status;
    for (what, credentials) in &story.credentials {
        for number in ALL {
            let refused = || answers(story, number, credentials, 401);
            eventually(&format!("{what} is refused at h{number}"), SHORT_GRACE + SOON, refused)?;
        }
    }
    let then = ask(&mut open)?.status;
    ensure(then == 401, || format!("the open connection was answered {first} and then {then}"))?;
    // What the watch saw comes before its end.
    while watch.more(SOON)?.is_some() {}
    story.credentials = vec![("the newest", newest)];
    Ok(format!("the connection that was open was answered {first}, and {then} after the lapse; the watch ended"))
}

fn secrets_are_read(story: &mut Story) -> Outcome<String> {
    story.cluster.daemon(2).stop()?;
    story.cluster.start_again(2)?;
    let newest = last(story)?;
    for number in ALL {
        let host = story.cluster.lab().host(number);
        let api = Api::new(&host.netns, host.api_socket(), &newest);
        let look = || {
            let value = api.get(&core(NAMESPACE, "secrets/db"))?["data"]["password"].clone();
            // base64 of PASSWORD.
            ensure(value == "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==", || format!("it is {value}"))
        };
        eventually(&format!("the Secret at h{number}"), SOON, look)?;
    }
    Ok(String::new())
}

fn last(story: &Story) -> Outcome<Credentials> {
    let last = story.credentials.last().ok_or_else(|| Failure::new("there are no credentials"))?;
    Ok(last.1.clone())
}

fn of_kubeconfig(text: &str) -> Outcome<Credentials> {
    let value: Value = serde_yaml_ng::from_str(text)?;
    Credentials::from_kubeconfig(&value)
}

fn answers(story: &Story, number: usize, credentials: &Credentials, wanted: u16) -> Outcome<()> {
    let host = story.cluster.lab().host(number);
    let api = Api::new(&host.netns, host.api_socket(), credentials);
    let answer = api.call(("GET", &core(NAMESPACE, "configmaps")), ("", &[]), SOON)?;
    ensure(answer.status == wanted, || format!("h{number} answers {}: {}", answer.status, answer.text()))
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
