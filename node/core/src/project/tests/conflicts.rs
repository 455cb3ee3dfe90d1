//! What clients are told when a field was set apart to different values.

use serde_json::{Value, json};
use skein_crdt_state::{Edit, Kind, ObjectKey, Scalar};

use super::rig::{Rig, namespace};
use crate::conflicts::is_contested;

const WEB: &str = "Deployment.apps";
const LAST_APPLIED: &str = r#"metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]"#;

fn replicas(count: i64) -> Edit {
    Edit::set("spec.replicas", Scalar::Int(count))
}

/// A Deployment that two nodes know, which do not hear each other.
fn apart() -> (Rig, ObjectKey) {
    let mut rig = Rig::new(2);
    rig.deployment("a:1", 3);
    rig.refresh(0);
    rig.apart = true;
    (rig, namespace().child(&Kind::new(WEB), "web", 1))
}

/// The events of this reason, as each node shows them.
fn shown(rig: &mut Rig) -> Vec<Vec<Value>> {
    let nodes = 0..rig.stores.len();
    let events = |n: usize| {
        rig.refresh(n);
        let kind = Kind::new("Event");
        let all = rig.projections[n].list(&kind, Some("shop"));
        all.map(|(_, event)| (*event.value).clone()).filter(|event| event["reason"] == "MergeConflict").collect()
    };
    nodes.map(events).collect()
}

#[test]
fn a_field_set_apart_is_told_with_the_other_value_its_author_peer_and_time() {
    let (mut rig, web) = apart();
    rig.edit_as(0, &web, &[replicas(5)], "kubectl-scale\talice");
    rig.edit_as(1, &web, &[replicas(8), Edit::set("spec.paused", Scalar::Bool(true))], "kubectl-edit\tbob");
    assert_eq!(shown(&mut rig), [Vec::<Value>::new(), Vec::new()]);
    rig.meet(3);
    let events = shown(&mut rig);
    assert_eq!(events[0], events[1], "all peers say the same");
    let [event] = events[0].as_slice() else { panic!("{events:?}") };
    let message = event["message"].as_str().unwrap();
    // 1_750_000_000 s and some ms after the epoch.
    assert_eq!(
        message,
        "spec.replicas was set apart to different values: 8 stands, set by bob with kubectl-edit on n1 at \
         2025-06-15T15:06:40Z; not in force: 5, set by alice with kubectl-scale on n0 at 2025-06-15T15:06:40Z. \
         Setting it again settles this."
    );
    let involved = &event["involvedObject"];
    assert_eq!(
        (&involved["kind"], &involved["apiVersion"], &involved["name"]),
        (&json!("Deployment"), &json!("apps/v1"), &json!("web"))
    );
    assert_eq!(involved["uid"], json!(web.uid(&rig.stores[0].cluster()).to_string()));
    assert_eq!(event["type"], "Warning");
    let json = rig.stores[0].object(&web).unwrap().to_json();
    assert_eq!(
        (&json["spec"]["replicas"], &json["spec"]["paused"]),
        (&json!(8), &json!(true)),
        "the other edit stands"
    );
}

#[test]
fn a_conflict_is_over_when_the_field_is_set_again() {
    let (mut rig, web) = apart();
    rig.edit(0, &web, &[replicas(5)]);
    rig.edit(1, &web, &[replicas(8)]);
    rig.meet(1);
    assert_eq!(shown(&mut rig)[0].len(), 1);
    // Another field leaves it as it is; the same value settles it as well as another.
    rig.edit(0, &web, &[Edit::set("spec.paused", Scalar::Bool(true))]);
    assert_eq!(shown(&mut rig)[0].len(), 1);
    rig.edit(1, &web, &[replicas(8)]);
    assert_eq!(shown(&mut rig), [Vec::<Value>::new(), Vec::new()]);
}

#[test]
fn what_nobody_meant_to_set_is_no_conflict() {
    let (mut rig, web) = apart();
    let note = |by: &str| Edit::set("$applied.kubectl", Scalar::Json(format!("{{\"by\":\"{by}\"}}").into()));
    for (n, text) in ["a", "b"].into_iter().enumerate() {
        rig.edit(n, &web, &[Edit::set(LAST_APPLIED, Scalar::str(text)), replicas(7), note(text)]);
        rig.edit_as(n, &web, &[Edit::set("spec.minReadySeconds", Scalar::Int(n as i64))], "controller\tsystem:leader");
        let order = r#"spec.template.spec.containers[name="b"]"#;
        rig.edit(n, &web, &[Edit::set(order, Scalar::Int(n as i64))]);
    }
    rig.meet(2);
    let object = rig.stores[0].object(&web).unwrap();
    assert!(object.leaves().values().filter(|leaf| !leaf.others.is_empty()).count() >= 4, "they are concurrent");
    assert_eq!(shown(&mut rig), [Vec::<Value>::new(), Vec::new()]);
}

#[test]
fn a_long_value_is_cut_and_a_secret_is_not_told() {
    let (mut rig, _) = apart();
    let map = namespace().child(&Kind::new("ConfigMap"), "c", 1);
    let secret = namespace().child(&Kind::new("Secret"), "s", 1);
    for (n, letter) in ["x", "y"].into_iter().enumerate() {
        rig.edit(n, &map, &[Edit::set("data.a", Scalar::str(&letter.repeat(5000)))]);
        rig.edit(n, &secret, &[Edit::set("data.a", Scalar::str(letter))]);
    }
    rig.meet(0);
    let events = shown(&mut rig).swap_remove(0);
    let message = |name: &str| {
        let event = events.iter().find(|event| event["involvedObject"]["name"] == name).unwrap();
        event["message"].as_str().unwrap().to_owned()
    };
    assert!(message("c").len() < 600, "{}", message("c").len());
    assert!(!message("s").contains("\"x\"") && message("s").contains("a value that is not shown"), "{}", message("s"));
}

#[test]
fn the_same_secret_set_apart_is_no_conflict_and_another_one_is() {
    let (mut rig, _) = apart();
    let secret = namespace().child(&Kind::new("Secret"), "s", 1);
    for (n, text) in ["one", "other"].into_iter().enumerate() {
        let kept = |field: &str, text: &str| Edit::set(field, Scalar::Aside(text.into()));
        rig.edit(n, &secret, &[kept("data.same", "password"), kept("data.other", text)]);
    }
    rig.meet(0);
    let object = rig.stores[0].object(&secret).unwrap();
    assert_eq!(object.leaf("data.same").unwrap().others.len(), 1, "it is mentioned by two names");
    let events = shown(&mut rig);
    assert_eq!(events[0], events[1]);
    let [event] = events[0].as_slice() else { panic!("{events:?}") };
    assert!(event["message"].as_str().unwrap().starts_with("data.other was set apart"), "{event}");
}

#[test]
fn a_role_that_was_set_apart_is_contested_until_it_is_set_again_and_the_same_one_never_is() {
    let (mut rig, _) = apart();
    let binding = |name: &str| namespace().child(&Kind::new("RoleBinding.rbac.authorization.k8s.io"), name, 1);
    let (same, other) = (binding("same"), binding("other"));
    let role = |name: &str| Edit::set("roleRef.name", Scalar::str(name));
    for (n, name) in ["view", "admin"].into_iter().enumerate() {
        let subject = Edit::set("subjects", Scalar::Json(format!("[{{\"name\":\"{n}\"}}]").into()));
        rig.edit(n, &same, &[role("view"), subject.clone()]);
        rig.edit(n, &other, &[role(name), subject]);
    }
    rig.meet(0);
    let is = |rig: &Rig, key: &ObjectKey| is_contested(rig.stores[1].object(key).unwrap(), "roleRef");
    assert!(!is(&rig, &same) && is(&rig, &other));
    rig.edit(1, &other, &[Edit::set("subjects", Scalar::Json("[]".into()))]);
    assert!(is(&rig, &other), "to write something else of it settles nothing");
    rig.edit(1, &other, &[role("admin")]);
    assert!(!is(&rig, &other));
}
