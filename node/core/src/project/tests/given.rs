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

/// The name of the volume with a token that a pod shows.
fn token_volume(pod: &Value) -> Option<String> {
    let volumes = at(pod, "/spec/volumes").as_array().cloned().unwrap_or_default();
    let names = volumes.iter().filter_map(|volume| volume["name"].as_str());
    names.into_iter().find(|name| name.starts_with("kube-api-access-")).map(str::to_owned)
}

#[test]
fn pods_show_what_they_get_by_their_account_and_nothing_of_it_is_stored() {
    let mut rig = Rig::new(2);
    let set = rig.deployment("i", 2);
    let writes = [0, 1].map(|n| rig.place(0, &slot(&set, n), Some(1)));
    let names = [0, 1].map(|n| rig.pod(&slot(&set, n), &writes[n as usize]));
    let bare = namespace().child(&Kind::new("Pod"), "bare", 1);
    rig.put(&bare, &json!({"spec": {"containers": [{"name": "main", "image": "i"}]}}));
    let shown = rig.see(&names[0]).unwrap();
    let volume = token_volume(&shown).unwrap();
    let mount = at(&shown, "/spec/containers/0/volumeMounts/0");
    assert_eq!((&mount["name"], &mount["readOnly"]), (&json!(volume), &json!(true)));
    assert_eq!(at(&shown, "/spec/serviceAccountName"), "default");
    assert_eq!(token_volume(&rig.see(&names[1]).unwrap()).as_ref(), Some(&volume));
    let of_bare = token_volume(&rig.see(&api("Pod", "bare")).unwrap()).unwrap();
    assert_ne!(of_bare, volume);
    rig.refresh(1);
    assert_eq!(rig.projections[1].get(&names[0]), rig.projections[0].get(&names[0]), "all peers name it alike");
    for stored in [&bare, &set] {
        let json = rig.stores[0].object(stored).unwrap().to_json();
        assert!(!json.to_string().contains("kube-api-access"), "{json}");
    }
}

#[test]
fn pods_follow_what_their_account_says_of_them() {
    let mut rig = Rig::new(1);
    let bare = namespace().child(&Kind::new("Pod"), "bare", 1);
    rig.put(&bare, &json!({"spec": {"serviceAccountName": "robot", "containers": [{"name": "main", "image": "i"}]}}));
    let name = api("Pod", "bare");
    assert!(token_volume(&rig.see(&name).unwrap()).is_some());
    let robot = namespace().child(&Kind::new("ServiceAccount"), "robot", 1);
    rig.put(&robot, &json!({"automountServiceAccountToken": false, "imagePullSecrets": [{"name": "mine"}]}));
    let shown = rig.see(&name).unwrap();
    assert_eq!((token_volume(&shown), at(&shown, "/spec/imagePullSecrets/0/name")), (None, &json!("mine")));
    assert_eq!(rig.rebuilt(0).get(&name).map(|pod| &pod.value), Some(&std::sync::Arc::new(shown)));
    rig.delete(0, &robot);
    let shown = rig.see(&name).unwrap();
    assert!(token_volume(&shown).is_some() && at(&shown, "/spec/imagePullSecrets").is_null());
}
