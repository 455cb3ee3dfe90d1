//! Two clients edit one Deployment on the two sides of a cut: after the heal edits of different fields both stand, and where
//! both set one field, people are told of the value that is not in force, by whom it was set, where and when.

use std::time::Duration;

use serde_json::{Value, json};
use skein_tests::cluster::Cluster;
use skein_tests::failure::{Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::manifests::{apps, core};
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

const ALL: [usize; 3] = [1, 2, 3];
/// How long news may take between hosts that hear each other.
const SOON: Duration = Duration::from_secs(10);
/// How long hosts that were apart may take to find each other again and to hear what they missed.
const AFTER_A_HEAL: Duration = Duration::from_secs(30);
/// How long a cut takes to be noticed.
const NOTICED: Duration = Duration::from_secs(4);

type Step = fn(&mut Cluster) -> Outcome<String>;

const STEPS: [(&str, Step); 4] = [
    ("both sides of a cut edit one Deployment", edited_apart),
    ("after the heal both edits stand, and one value of the field that both set", both_stand),
    ("an event, describe and skein why name the other value, its author, peer and time", told),
    ("setting the field again ends it", settled),
];

#[test]
fn what_was_set_on_both_sides_is_told() -> Outcome<()> {
    let mut steps = Steps::of("merge conflict");
    let mut cluster = Cluster::form(Lab::build(0, 3)?, 3)?;
    let shared = std::cell::RefCell::new(&mut cluster);
    for (name, step) in STEPS {
        steps.run(name, || step(&mut shared.borrow_mut()), || shared.borrow_mut().evidence());
    }
    steps.end()
}

/// Asks for no pods: what runs is not what this is about.
fn web() -> String {
    let labels = json!({"app": "web"});
    let container = json!({"name": "web", "image": "web:1", "command": ["sleep", "1000"]});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": labels}, "minReadySeconds": 1,
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    })
    .to_string()
}

fn deployment(cluster: &Cluster, at: usize) -> Outcome<Value> {
    cluster.api(at).get(&apps("default", "deployments/web"))
}

/// The events about conflicts, as a peer shows them.
fn events(cluster: &Cluster, at: usize) -> Outcome<Vec<Value>> {
    let all = cluster.api(at).get(&core("default", "events"))?;
    let items = all["items"].as_array().cloned().unwrap_or_default();
    Ok(items.into_iter().filter(|event| event["reason"] == "MergeConflict").collect())
}

fn edited_apart(cluster: &mut Cluster) -> Outcome<String> {
    cluster.kubectl_says(1, &["apply", "-f", "-"], &web())?;
    for at in ALL {
        eventually(&format!("the Deployment at h{at}"), SOON, || deployment(cluster, at).map(|_| ()))?;
    }
    cluster.lab().cut(3)?;
    std::thread::sleep(NOTICED);
    let patch = |at: usize, text: &str| cluster.kubectl_says(at, &["patch", "deployment", "web", "-p", text], "");
    patch(1, r#"{"spec": {"minReadySeconds": 5, "revisionHistoryLimit": 4}}"#)?;
    // The later one of the two, so that it is the one that stands.
    std::thread::sleep(Duration::from_millis(1500));
    patch(3, r#"{"spec": {"minReadySeconds": 8, "progressDeadlineSeconds": 99}}"#)?;
    for at in [1, 3] {
        let told = events(cluster, at)?;
        ensure(told.is_empty(), || format!("h{at} tells of a conflict that it cannot know of: {told:?}"))?;
    }
    Ok("minReadySeconds on both sides, another field on each".to_owned())
}

fn both_stand(cluster: &mut Cluster) -> Outcome<String> {
    cluster.lab().heal_all()?;
    let wanted = json!([8, 4, 99]);
    let mut took = Duration::ZERO;
    for at in ALL {
        let look = || {
            let spec = deployment(cluster, at)?["spec"].clone();
            let found = json!([spec["minReadySeconds"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]]);
            ensure(found == wanted, || format!("they are {found}"))
        };
        took = took.max(eventually(&format!("all three values at h{at}"), AFTER_A_HEAL, look)?.1);
    }
    Ok(format!("at every peer {:.1} s after the heal", took.as_secs_f64()))
}

fn told(cluster: &mut Cluster) -> Outcome<String> {
    let mut first = None;
    for at in ALL {
        let (found, _) = eventually(&format!("the event at h{at}"), SOON, || {
            let found = events(cluster, at)?;
            ensure(found.len() == 1, || format!("there are {}: {found:?}", found.len()))?;
            Ok(found)
        })?;
        let event = (found[0]["metadata"]["name"].clone(), found[0]["message"].clone());
        let same = first.get_or_insert_with(|| event.clone()) == &event;
        ensure(same, || format!("h{at} says {event:?}, h1 said {first:?}"))?;
    }
    let words =
        ["spec.minReadySeconds", "8 stands", "not in force: 5", "on h1 at 20", "on h3 at 20", "by ", "with kubectl"];
    let described = cluster.kubectl_says(2, &["describe", "deployment", "web"], "")?;
    let why = cluster.daemon(2).start().skein_says(&["why", "deployment/web"])?;
    for (what, text) in [("describe", &described), ("skein why", &why)] {
        for word in words {
            ensure(text.contains(word), || format!("{what} does not say \"{word}\":\n{text}"))?;
        }
    }
    ensure(described.contains("MergeConflict"), || described.clone())?;
    ensure(!why.contains("last-applied"), || why.clone())?;
    Ok(why.lines().last().unwrap_or_default().to_owned())
}

fn settled(cluster: &mut Cluster) -> Outcome<String> {
    let text = r#"{"spec": {"minReadySeconds": 6}}"#;
    cluster.kubectl_says(2, &["patch", "deployment", "web", "-p", text], "")?;
    for at in ALL {
        let look = || {
            let found = events(cluster, at)?;
            ensure(found.is_empty(), || format!("it is told still: {found:?}"))
        };
        eventually(&format!("no event at h{at}"), SOON, look)?;
    }
    let why = cluster.daemon(3).start().skein_says(&["why", "deployment/web"])?;
    ensure(why.contains("None of its fields was set apart"), || why.clone())?;
    Ok("no peer tells of it any more".to_owned())
}
