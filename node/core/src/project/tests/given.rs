//! What is shown though nobody wrote it: what every namespace has, and what every cluster has.

use super::*;

#[test]
fn every_namespace_has_the_certificate_that_clients_trust() {
    let mut rig = Rig::new(1);
    let root = api("ConfigMap", "kube-root-ca.crt");
    let shown = rig.see(&root).unwrap();
    assert_eq!(shown["data"], json!({"ca.crt": CERTIFICATE}));
    assert_eq!((&shown["kind"], &shown["metadata"]["namespace"]), (&json!("ConfigMap"), &json!("shop")));
    assert_ne!(shown["metadata"]["uid"], rig.see(&api("ServiceAccount", "default")).unwrap()["metadata"]["uid"]);
    rig.delete(0, &namespace());
    assert_eq!(rig.see(&root), None);
}

#[test]
fn what_every_cluster_has_is_shown_until_somebody_writes_it() {
    let mut rig = Rig::new(1);
    let role = |verbs: &str| json!({"apiVersion": "rbac/v1", "kind": "Role", "metadata": {"name": "system:view"}, "rules": [{"verbs": [verbs]}]});
    rig.projections[0] = Projection::with_built_in(vec![role("get")]);
    let api = ApiRef { kind: Kind::new("Role.rbac"), namespace: "".into(), name: "system:view".into() };
    assert_eq!(rig.see(&api), None, "there is no system namespace yet");
    let system = ObjectKey::root(&Kind::new("Namespace"), "kube-system", 1);
    rig.put(&system, &json!({"spec": {}}));
    let built_in = rig.see(&api).unwrap();
    assert_eq!((&built_in["rules"], &built_in["kind"]), (&role("get")["rules"], &json!("Role")));
    assert!(built_in["metadata"]["creationTimestamp"].is_string() && built_in["metadata"]["uid"].is_string());
    let stored = ObjectKey::root(&api.kind, "system:view", 1);
    rig.put(&stored, &json!({"rules": [{"verbs": ["list"]}]}));
    let written = rig.see(&api).unwrap();
    assert_eq!(written["rules"], role("list")["rules"]);
    assert_ne!(written["metadata"]["uid"], built_in["metadata"]["uid"]);
    rig.delete(0, &stored);
    assert_eq!(rig.see(&api), Some(built_in));
}
