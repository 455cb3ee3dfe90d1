//! What clients see: one story for each thing that the projection must say, and the comparison of what was kept up to date
//! with what is rendered anew.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use skein_crdt_state::{Edit, Kind, Scalar, WriteId};

use super::*;
use crate::slot::Displaced;
use crate::status::{Claim, Event, Events, NodeStatus, Phase, PodStatus};
use rig::{CERTIFICATE, Rig, api, id, namespace, slot, template};

mod conflicts;
mod given;
mod rig;

fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn condition(value: &Value, kind: &str) -> Value {
    let conditions = at(value, "/status/conditions").as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or(Value::Null)
}

#[test]
fn a_slots_pod_is_made_from_template_placement_and_report() {
    let mut rig = Rig::new(2);
    rig.report_node(1);
    let set = rig.deployment("nginx:1", 1);
    let write = rig.place(0, &slot(&set, 0), Some(1));
    let name = rig.pod(&slot(&set, 0), &write);
    let pod = rig.see(&name).unwrap();
    assert_eq!(at(&pod, "/status/phase"), "Pending");
    assert_eq!(condition(&pod, "PodScheduled")["status"], "True");
    rig.report_pod(1, &slot(&set, 0), &write, true);
    let pod = rig.see(&name).unwrap();
    assert_eq!(at(&pod, "/spec/containers/0/image"), "nginx:1");
    assert_eq!(at(&pod, "/spec/nodeName"), "host-1");
    assert_eq!(at(&pod, "/status/hostIP"), "10.0.0.1");
    assert_eq!(at(&pod, "/metadata/labels/app"), "web");
    assert!(set.name().ends_with(at(&pod, "/metadata/labels/pod-template-hash").as_str().unwrap()));
    assert_eq!(at(&pod, "/metadata/ownerReferences/0/name"), set.name());
    assert_eq!(at(&pod, "/metadata/ownerReferences/0/kind"), "ReplicaSet");
    assert_eq!(at(&pod, "/status/containerStatuses/0/state/running/startedAt").as_str().unwrap().len(), 20);
    assert_eq!(condition(&pod, "Ready")["status"], "True");
    let place = rig.projections[0].where_is(&name).unwrap();
    assert_eq!((place.node, &place.slot, place.write), (id(1), &slot(&set, 0), write));
    assert_eq!(rig.projections[0].key_of(&name), Some(&slot(&set, 0)));
}

#[test]
fn a_pod_that_waits_says_why_as_the_leader_does() {
    let mut rig = Rig::new(1);
    let set = rig.deployment("i", 1);
    let write = rig.place(0, &slot(&set, 0), None);
    let name = rig.pod(&slot(&set, 0), &write);
    assert_eq!(condition(&rig.see(&name).unwrap(), "PodScheduled"), Value::Null);
    let said = vec![(slot(&set, 0).to_string(), "0/1 nodes are available: no cpu".to_owned())];
    rig.report(0, "scheduling", &postcard::to_stdvec(&said).unwrap());
    let pod = rig.see(&name).unwrap();
    assert_eq!(condition(&pod, "PodScheduled")["reason"], "Unschedulable");
    assert_eq!(condition(&pod, "PodScheduled")["message"], "0/1 nodes are available: no cpu");
    assert_eq!(rig.projections[0].where_is(&name), None);
    rig.report(0, "scheduling", &[]);
    assert_eq!(condition(&rig.see(&name).unwrap(), "PodScheduled"), Value::Null);
}

#[test]
fn when_a_node_is_lost_its_pods_and_their_workloads_say_so_and_nothing_else_changes() {
    let mut rig = Rig::new(2);
    (0..2).for_each(|n| rig.report_node(n));
    let set = rig.deployment("i", 2);
    let writes = [0, 1].map(|n| rig.place(0, &slot(&set, n), Some(n as usize)));
    for (n, write) in writes.iter().enumerate() {
        rig.report_pod(n, &slot(&set, n as u32), write, true);
    }
    let web = rig.see(&api("Deployment.apps", "web")).unwrap();
    assert_eq!(at(&web, "/status/readyReplicas"), 2);
    rig.alive.remove(&id(1));
    let changed: Vec<String> = rig.refresh(0).iter().map(|c| format!("{}/{}", c.object.kind, c.object.name)).collect();
    let lost = rig.pod(&slot(&set, 1), &writes[1]);
    let expected = [
        "Deployment.apps/web".into(),
        "Node/host-1".into(),
        format!("Pod/{}", lost.name),
        format!("ReplicaSet.apps/{}", set.name()),
    ];
    assert_eq!(changed, expected);
    let pod = rig.see(&lost).unwrap();
    assert_eq!(
        (&condition(&pod, "Ready")["status"], &condition(&pod, "Ready")["reason"]),
        (&json!("False"), &json!("NodeLost"))
    );
    let node = rig.see(&ApiRef { kind: Kind::new("Node"), namespace: "".into(), name: "host-1".into() }).unwrap();
    assert_eq!(condition(&node, "Ready")["status"], "Unknown");
    let web = rig.see(&api("Deployment.apps", "web")).unwrap();
    assert_eq!((at(&web, "/status/readyReplicas"), at(&web, "/status/unavailableReplicas")), (&json!(1), &json!(1)));
    rig.alive.insert(id(1));
    assert_eq!(rig.refresh(0).len(), 4);
}

#[test]
fn a_rollout_is_followed_as_kubectl_does() {
    let mut rig = Rig::new(1);
    rig.report_node(0);
    let set = rig.deployment("i", 1);
    let name = api("Deployment.apps", "web");
    let write = rig.place(0, &slot(&set, 0), Some(0));
    let web = rig.see(&name).unwrap();
    assert_eq!(at(&web, "/metadata/generation"), at(&web, "/status/observedGeneration"));
    assert_eq!((at(&web, "/status/updatedReplicas"), at(&web, "/status/availableReplicas")), (&json!(1), &Value::Null));
    assert_eq!(condition(&web, "Progressing")["reason"], "ReplicaSetUpdated");
    assert_eq!(condition(&web, "Available")["status"], "False");
    rig.report_pod(0, &slot(&set, 0), &write, true);
    let web = rig.see(&name).unwrap();
    assert_eq!(condition(&web, "Progressing")["reason"], "NewReplicaSetAvailable");
    assert_eq!(condition(&web, "Available")["status"], "True");
    assert_eq!(at(&web, "/metadata/annotations").get("deployment.kubernetes.io~1revision"), None);
    assert_eq!(web["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    // A new template: until the leader has made its ReplicaSet, the generation is not observed.
    let edit = Edit::set("spec.template.spec.containers[name=\"main\"].image", Scalar::str("j"));
    rig.edit(0, &namespace().child(&Kind::new("Deployment.apps"), "web", 1), &[edit]);
    let web = rig.see(&name).unwrap();
    assert!(at(&web, "/status/observedGeneration").as_u64() < at(&web, "/metadata/generation").as_u64());
    assert_eq!(at(&web, "/status/updatedReplicas"), &Value::Null);
    let new = rig.replica_set(&namespace().child(&Kind::new("Deployment.apps"), "web", 1), "j");
    let write = rig.place(0, &slot(&new, 0), Some(0));
    let web = rig.see(&name).unwrap();
    assert_eq!((at(&web, "/status/replicas"), at(&web, "/status/updatedReplicas")), (&json!(2), &json!(1)));
    rig.report_pod(0, &slot(&new, 0), &write, true);
    rig.delete(0, &slot(&set, 0));
    assert_eq!(condition(&rig.see(&name).unwrap(), "Progressing")["reason"], "NewReplicaSetAvailable");
}

#[test]
fn a_rollout_without_progress_is_given_up_when_its_deadline_has_passed() {
    let mut rig = Rig::new(1);
    let set = rig.deployment("i", 1);
    rig.place(0, &slot(&set, 0), None);
    assert_eq!(condition(&rig.see(&api("Deployment.apps", "web")).unwrap(), "Progressing")["status"], "True");
    let due = rig.projections[0].due_ms().unwrap();
    assert!((599_000..=600_000).contains(&(due - rig.wall_ms)), "{due}");
    rig.wall_ms = due;
    let changed = rig.refresh(0);
    assert_eq!(changed.len(), 1);
    assert_eq!(condition(&changed[0].new.as_ref().unwrap().value, "Progressing")["reason"], "ProgressDeadlineExceeded");
    assert_eq!(rig.projections[0].due_ms(), None);
}

#[test]
fn a_pod_is_available_once_it_has_been_ready_for_long_enough() {
    let mut rig = Rig::new(1);
    rig.report_node(0);
    let own = namespace().child(&Kind::new("ReplicaSet.apps"), "own", 1);
    rig.put(&own, &json!({"spec": {"replicas": 1, "minReadySeconds": 10, "template": template("i")}}));
    let write = rig.place(0, &slot(&own, 0), Some(0));
    rig.report_pod(0, &slot(&own, 0), &write, true);
    let set = rig.see(&api("ReplicaSet.apps", "own")).unwrap();
    assert_eq!((at(&set, "/status/readyReplicas"), at(&set, "/status/availableReplicas")), (&json!(1), &Value::Null));
    rig.wall_ms = rig.projections[0].due_ms().unwrap();
    let set = rig.see(&api("ReplicaSet.apps", "own")).unwrap();
    assert_eq!(at(&set, "/status/availableReplicas"), 1);
}

#[test]
fn a_pod_whose_slot_is_gone_is_shown_on_its_way_out_until_its_node_forgets_it() {
    let mut rig = Rig::new(2);
    rig.report_node(1);
    let set = rig.deployment("i", 1);
    let write = rig.place(0, &slot(&set, 0), Some(1));
    rig.report_pod(1, &slot(&set, 0), &write, true);
    let name = rig.pod(&slot(&set, 0), &write);
    assert_eq!(at(&rig.see(&name).unwrap(), "/metadata/deletionTimestamp"), &Value::Null);
    rig.delete(0, &slot(&set, 0));
    let pod = rig.see(&name).unwrap();
    assert!(at(&pod, "/metadata/deletionTimestamp").is_string());
    assert_eq!(at(&pod, "/spec/containers/0/image"), "i");
    assert_eq!(rig.projections[0].key_of(&name), None);
    assert!(rig.projections[0].where_is(&name).is_some(), "its logs can still be read");
    assert_eq!(at(&rig.see(&api("Deployment.apps", "web")).unwrap(), "/status/replicas"), &Value::Null);
    rig.delete(0, &namespace().child(&Kind::new("Deployment.apps"), "web", 1));
    assert_eq!(at(&rig.see(&name).unwrap(), "/spec/containers/0/name"), "main");
    rig.forget_pod(1, &slot(&set, 0), &write);
    assert_eq!(rig.see(&name), None);
    assert!(rig.projections[0].list(&Kind::new("Pod"), None).next().is_none());
}

#[test]
fn two_pods_of_one_slot_are_both_shown_while_both_run_and_one_counts() {
    let mut rig = Rig::new(2);
    (0..2).for_each(|n| rig.report_node(n));
    let set = rig.deployment("i", 1);
    let slot = slot(&set, 0);
    rig.apart = true;
    let writes = [rig.place(0, &slot, Some(0)), rig.place(1, &slot, Some(1))];
    rig.meet(0);
    rig.refresh(0);
    assert_eq!(rig.projections[0].list(&Kind::new("Pod"), Some("shop")).count(), 1);
    for (n, write) in writes.iter().enumerate() {
        rig.report_pod(n, &slot, write, true);
    }
    let web = rig.see(&api("Deployment.apps", "web")).unwrap();
    assert_eq!(at(&web, "/status/replicas"), 1);
    assert_eq!(rig.projections[0].list(&Kind::new("Pod"), Some("shop")).count(), 2);
}

#[test]
fn a_displaced_pod_that_claims_its_slot_stays_and_the_other_goes() {
    let mut rig = Rig::new(2);
    let set = rig.deployment("i", 1);
    let slot = slot(&set, 0);
    let first = rig.place(0, &slot, Some(1));
    let placement = crate::slot::Placement {
        node: Some(id(0)),
        displaces: Some(Displaced { node: id(1), write: first }),
        again: false,
    };
    let leaf = Scalar::Json(serde_json::to_string(&placement).unwrap().into());
    rig.edit(0, &slot, &[Edit::set("placement", leaf)]);
    let second = rig.stores[0].object(&slot).unwrap().leaf("placement").unwrap().write;
    rig.report_pod(1, &slot, &first, true);
    let name = rig.pod(&slot, &first);
    assert!(at(&rig.see(&name).unwrap(), "/metadata/deletionTimestamp").is_string());
    let claim = Claim { slot: slot.clone(), against: second, kept: first };
    let status = NodeStatus { name: "host-1".into(), claims: [claim].into(), ..NodeStatus::default() };
    rig.report(1, "node", &postcard::to_stdvec(&status).unwrap());
    assert_eq!(at(&rig.see(&name).unwrap(), "/metadata/deletionTimestamp"), &Value::Null);
    assert_eq!(rig.projections[0].key_of(&name), Some(&slot));
    let other = rig.pod(&slot, &second);
    assert_eq!(rig.see(&other), None, "it never started");
}

#[test]
fn of_two_replica_sets_with_one_name_the_lowest_key_is_shown() {
    let mut rig = Rig::new(1);
    let owned = rig.deployment("i", 1);
    let alone = namespace().child(&Kind::new("ReplicaSet.apps"), owned.name(), 1);
    rig.put(&alone, &json!({"spec": {"replicas": 3, "template": template("j")}}));
    rig.refresh(0);
    let name = api("ReplicaSet.apps", owned.name());
    assert_eq!(rig.projections[0].key_of(&name), Some(&owned));
    rig.delete(0, &owned);
    assert_eq!(at(&rig.see(&name).unwrap(), "/spec/replicas"), 3);
}

#[test]
fn a_pod_that_nothing_owns_keeps_its_name_and_its_own_metadata() {
    let mut rig = Rig::new(2);
    let solo = namespace().child(&Kind::new("Pod"), "solo", 1);
    rig.put(
        &solo,
        &json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "main", "image": "i"}]}}),
    );
    let name = api("Pod", "solo");
    assert_eq!(at(&rig.see(&name).unwrap(), "/status/phase"), "Pending");
    let write = rig.place(0, &solo, Some(1));
    rig.report_pod(1, &solo, &write, true);
    let pod = rig.see(&name).unwrap();
    assert_eq!((at(&pod, "/status/phase"), at(&pod, "/metadata/labels/a")), (&json!("Running"), &json!("b")));
    assert_eq!(pod["metadata"]["uid"], solo.uid(&rig.stores[0].cluster()).to_string());
    assert_eq!(pod.get("placement"), None);
    // The next life of the name is shown, though the node still speaks of the last.
    rig.delete(0, &solo);
    assert!(at(&rig.see(&name).unwrap(), "/metadata/deletionTimestamp").is_string());
    let next = namespace().child(&Kind::new("Pod"), "solo", 2);
    rig.put(&next, &json!({"spec": {"containers": [{"name": "main", "image": "j"}]}}));
    assert_eq!(at(&rig.see(&name).unwrap(), "/spec/containers/0/image"), "j");
}

#[test]
fn a_node_is_shown_from_its_report_alone_and_under_its_objects_name() {
    let mut rig = Rig::new(2);
    let node = |name: &str| ApiRef { kind: Kind::new("Node"), namespace: "".into(), name: name.into() };
    let mut status =
        NodeStatus { name: "host-1".into(), address: "10.0.0.1".into(), version: "v1".into(), ..NodeStatus::default() };
    (status.capacity.ready, status.capacity.cpu_millis, status.capacity.memory_bytes) = (true, 1500, 1 << 30);
    status.labels.insert("kubernetes.io/arch".into(), "amd64".into());
    rig.report(1, "node", &postcard::to_stdvec(&status).unwrap());
    let shown = rig.see(&node("host-1")).unwrap();
    assert_eq!(
        (at(&shown, "/status/capacity/cpu"), at(&shown, "/status/capacity/memory")),
        (&json!("1500m"), &json!("1048576Ki"))
    );
    assert_eq!(condition(&shown, "Ready")["status"], "True");
    let key = ObjectKey::root(&Kind::new("Node"), "front", 1);
    let provider = format!("skein://{}", id(1));
    rig.put(
        &key,
        &json!({"metadata": {"labels": {"disk": "ssd"}}, "spec": {"providerID": provider, "unschedulable": true}}),
    );
    assert_eq!(rig.see(&node("host-1")), None);
    let shown = rig.see(&node("front")).unwrap();
    assert_eq!(shown["metadata"]["labels"], json!({"disk": "ssd", "kubernetes.io/arch": "amd64"}));
    assert_eq!(
        (at(&shown, "/spec/unschedulable"), at(&shown, "/status/nodeInfo/kubeletVersion")),
        (&json!(true), &json!("v1"))
    );
    assert!(
        rig.see(&node("n0")).is_some(),
        "a member that has not reported yet is shown by the name it was admitted with"
    );
}

#[test]
fn an_event_that_is_counted_up_keeps_its_name() {
    let mut rig = Rig::new(1);
    let mut event = Event {
        kind: "Pod".into(),
        namespace: "shop".into(),
        name: "web-1".into(),
        uid: "u".into(),
        warning: true,
        reason: "BackOff".into(),
        message: "m".into(),
        source: "agent".into(),
        first_ms: rig.wall_ms,
        last_ms: rig.wall_ms,
        count: 1,
    };
    rig.report(0, "events", &postcard::to_stdvec(&Events { ring: vec![event.clone()] }).unwrap());
    let first = rig.refresh(0).into_iter().find(|c| c.object.kind.as_str() == "Event").unwrap();
    (event.count, event.last_ms) = (2, rig.wall_ms + 50);
    rig.report(0, "events", &postcard::to_stdvec(&Events { ring: vec![event] }).unwrap());
    let changes = rig.refresh(0);
    assert_eq!((changes.len(), &changes[0].object), (1, &first.object));
    let value = &changes[0].new.as_ref().unwrap().value;
    assert_eq!(
        (&value["count"], &value["type"], &value["involvedObject"]["kind"]),
        (&json!(2), &json!("Warning"), &json!("Pod"))
    );
}

#[test]
fn other_kinds_are_shown_as_they_are_stored() {
    let mut rig = Rig::new(1);
    let config = namespace().child(&Kind::new("ConfigMap"), "c", 1);
    rig.put(&config, &json!({"data": {"a": "b"}}));
    let shown = rig.see(&api("ConfigMap", "c")).unwrap();
    assert_eq!(
        (&shown["apiVersion"], &shown["data"], shown["metadata"].get("generation")),
        (&json!("v1"), &json!({"a": "b"}), None)
    );
    let shop = rig.see(&ApiRef { kind: Kind::new("Namespace"), namespace: "".into(), name: "shop".into() }).unwrap();
    assert_eq!((&shop["status"]["phase"], shop["metadata"].get("namespace")), (&json!("Active"), None));
    rig.delete(0, &namespace());
    assert_eq!(rig.see(&api("ConfigMap", "c")), None);
}

#[test]
fn a_workload_without_a_controller_says_so() {
    let mut rig = Rig::new(1);
    for (kind, nothing) in [
        ("StatefulSet.apps", "nothing is run"),
        ("DaemonSet.apps", "nothing is run"),
        ("Job.batch", "nothing is run"),
        ("CronJob.batch", "nothing is run"),
        ("HorizontalPodAutoscaler.autoscaling", "nothing is scaled"),
    ] {
        rig.put(&namespace().child(&Kind::new(kind), "w", 1), &json!({"spec": {"a": "b"}}));
        let shown = rig.see(&api(kind, "w")).unwrap();
        let condition = &shown["status"]["conditions"][0];
        assert_eq!(
            (&condition["type"], &condition["status"], &condition["reason"]),
            (&json!("Supported"), &json!("False"), &json!("NotImplemented"))
        );
        let name = kind.split('.').next().unwrap();
        let message = format!("skein stores this {name} but has no controller for it yet; {nothing}");
        assert_eq!((&condition["message"], &shown["kind"]), (&json!(message), &json!(name)));
        assert_eq!((&shown["spec"]["a"], &shown["metadata"]["generation"]), (&json!("b"), &json!(1)));
    }
}

#[test]
fn a_job_selects_its_pods_by_its_uid() {
    let mut rig = Rig::new(1);
    let job = |name: &str| namespace().child(&Kind::new("Job.batch"), name, 1);
    rig.put(&job("a"), &json!({"spec": {"template": {"metadata": {"labels": {"app": "a"}}}}}));
    let shown = rig.see(&api("Job.batch", "a")).unwrap();
    let uid = &shown["metadata"]["uid"];
    assert_eq!(shown["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
    let labels = &shown["spec"]["template"]["metadata"]["labels"];
    assert_eq!((&labels["app"], &labels["job-name"], &labels["controller-uid"]), (&json!("a"), &json!("a"), uid));
    let own = json!({"matchLabels": {"app": "b"}});
    rig.put(&job("b"), &json!({"spec": {"manualSelector": true, "selector": own}}));
    assert_eq!(rig.see(&api("Job.batch", "b")).unwrap()["spec"]["selector"], own);
}

#[test]
fn every_namespace_has_an_account_until_somebody_writes_one() {
    let mut rig = Rig::new(1);
    let derived = rig.see(&api("ServiceAccount", "default")).unwrap();
    assert_eq!((&derived["apiVersion"], &derived["metadata"]["namespace"]), (&json!("v1"), &json!("shop")));
    let account = namespace().child(&Kind::new("ServiceAccount"), "default", 1);
    rig.put(&account, &json!({"metadata": {"labels": {"a": "b"}}}));
    let written = rig.see(&api("ServiceAccount", "default")).unwrap();
    assert_eq!(written["metadata"]["labels"], json!({"a": "b"}));
    assert_ne!(written["metadata"]["uid"], derived["metadata"]["uid"]);
    rig.delete(0, &account);
    assert_eq!(rig.see(&api("ServiceAccount", "default")), Some(derived));
    rig.delete(0, &namespace());
    assert_eq!(rig.see(&api("ServiceAccount", "default")), None);
}

#[test]
fn a_stamp_differs_whenever_the_value_does() {
    let mut rig = Rig::new(2);
    (0..2).for_each(|n| rig.report_node(n));
    let set = rig.deployment("i", 1);
    let write = rig.place(0, &slot(&set, 0), Some(1));
    rig.report_pod(1, &slot(&set, 0), &write, true);
    rig.refresh(0);
    for turn in 0..200 {
        if turn % 2 == 0 {
            rig.alive.remove(&id(1))
        } else {
            rig.alive.insert(id(1))
        };
        for change in rig.refresh(0) {
            let (old, new) = (change.old.unwrap(), change.new.unwrap());
            assert!(old.stamp != new.stamp && new.stamp < 1 << 47, "{}", change.object.name);
        }
    }
}

#[test]
fn a_report_of_one_pod_among_many_costs_little() {
    let mut rig = Rig::new(1);
    rig.report_node(0);
    let set = rig.deployment("i", 2000);
    let writes: Vec<WriteId> = (0..2000).map(|n| rig.place(0, &slot(&set, n), Some(0))).collect();
    rig.refresh(0);
    let mut took = std::time::Duration::ZERO;
    for (n, write) in writes.iter().enumerate().take(50) {
        rig.report_pod(0, &slot(&set, u32::try_from(n).unwrap()), write, true);
        #[expect(clippy::disallowed_methods, reason = "this test measures")]
        let start = std::time::Instant::now();
        assert_eq!(rig.refresh(0).len(), 3);
        took += start.elapsed();
    }
    // Measured at well under a millisecond each; to render everything takes a thousand times as long.
    assert!(took.as_millis() < 50 * 10, "{took:?}");
}

#[derive(Debug, Clone)]
enum Step {
    Place { by: usize, slot: u32, node: Option<usize> },
    Report { node: usize, slot: u32, ready: bool },
    Forget { node: usize, slot: u32 },
    Stop { node: usize, slot: u32 },
    Delete { by: usize, slot: u32 },
    Image(bool),
    Alive(usize),
    Solo(usize),
    Say(usize, u32),
    Apart(bool),
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (n, s) = (0usize..3, 0u32..3);
    let step = prop_oneof![
        4 => (n.clone(), s.clone(), proptest::option::of(n.clone())).prop_map(|(by, slot, node)| Step::Place { by, slot, node }),
        4 => (n.clone(), s.clone(), any::<bool>()).prop_map(|(node, slot, ready)| Step::Report { node, slot, ready }),
        1 => (n.clone(), s.clone()).prop_map(|(node, slot)| Step::Forget { node, slot }),
        1 => (n.clone(), s.clone()).prop_map(|(node, slot)| Step::Stop { node, slot }),
        1 => (n.clone(), s.clone()).prop_map(|(by, slot)| Step::Delete { by, slot }),
        1 => any::<bool>().prop_map(Step::Image),
        1 => n.clone().prop_map(Step::Alive),
        1 => n.clone().prop_map(Step::Solo),
        1 => (n, s).prop_map(|(n, s)| Step::Say(n, s)),
        1 => any::<bool>().prop_map(Step::Apart),
        1 => Just(Step::Wait),
    ];
    proptest::collection::vec(step, 1..30)
}

fn play(rig: &mut Rig, web: &ObjectKey, set: &ObjectKey, step: &Step) {
    let current = |rig: &Rig, by: usize, n: u32| {
        let name = set.name_of_child(&Kind::new(crate::slot::SLOT_KIND), &n.to_string());
        rig.stores[by].next_life(&name)
    };
    let write_at = |rig: &Rig, by: usize, key: &ObjectKey| {
        rig.stores[by].object(key).and_then(|o| o.leaf("placement")).map(|leaf| leaf.write)
    };
    match *step {
        Step::Place { by, slot, node } => {
            let key = current(rig, by, slot);
            rig.place(by, &key, node);
        }
        Step::Report { node, slot, ready } => {
            let key = current(rig, node, slot);
            if let Some(write) = write_at(rig, node, &key) {
                rig.report_pod(node, &key, &write, ready);
            }
        }
        Step::Forget { node, slot } => {
            let key = current(rig, node, slot);
            if let Some(write) = write_at(rig, node, &key) {
                rig.forget_pod(node, &key, &write);
            }
        }
        Step::Stop { node, slot } => {
            let key = current(rig, node, slot);
            if let Some(write) = write_at(rig, node, &key) {
                let (slot, stopping_since_ms) = (key.to_string(), rig.wall_ms);
                let status = PodStatus {
                    slot,
                    write: write.to_string(),
                    phase: Phase::Running,
                    stopping_since_ms,
                    ..PodStatus::default()
                };
                rig.report_status(node, &key, &write, &status);
            }
        }
        Step::Delete { by, slot } => {
            let key = current(rig, by, slot);
            rig.delete(by, &key);
        }
        Step::Image(other) => {
            let image = Scalar::str(if other { "other" } else { "i" });
            rig.edit(0, web, &[Edit::set("spec.template.spec.containers[name=\"main\"].image", image)]);
        }
        Step::Alive(node) => {
            if !rig.alive.remove(&id(node)) {
                rig.alive.insert(id(node));
            }
        }
        Step::Solo(node) => {
            let name = namespace().name_of_child(&Kind::new("Pod"), "solo");
            let key = rig.stores[node].next_life(&name);
            rig.place(node, &key, Some(node));
        }
        Step::Say(node, n) => {
            let said = vec![(current(rig, node, n).to_string(), format!("no room, says {node}"))];
            rig.report(node, "scheduling", &postcard::to_stdvec(&said).unwrap());
        }
        Step::Apart(apart) => {
            rig.apart = apart;
            if !apart {
                rig.meet(1);
            }
        }
        Step::Wait => rig.wall_ms += 700_000,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_kept_up_to_date_is_what_is_rendered_anew_at_any_peer(steps in steps(), turn in 0usize..1000) {
        let mut rig = Rig::new(3);
        (0..3).for_each(|n| rig.report_node(n));
        let set = rig.deployment("i", 2);
        let web = set.owner().unwrap();
        for step in steps {
            play(&mut rig, &web, &set, &step);
            (0..3).for_each(|n| drop(rig.refresh(n)));
        }
        rig.meet(turn);
        rig.wall_ms += 1;
        (0..3).for_each(|n| drop(rig.refresh(n)));
        let shown = |projection: &Projection| {
            let each = projection.shown.iter().map(|(object, offers)| (object, &offers[0].rendered));
            each.map(|(o, r)| (o.clone(), (*r.value).clone(), r.key.clone(), r.heads.clone(), r.stamp >> 6)).collect::<Vec<_>>()
        };
        let anew = shown(&rig.rebuilt(0));
        for n in 0..3 {
            prop_assert_eq!(&shown(&rig.projections[n]), &anew);
        }
    }
}
