//! Tools that apply and update one object, and what becomes of it and of its owners.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]
use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use skein_crdt_state::layout::{changes, unflatten};
use skein_crdt_state::{Edit, Hlc, Layout, Leaf, Message, WriteId};
use skein_gossip::NodeId;

use super::*;
use crate::resource::DEPLOYMENTS;

/// One Deployment as it is stored, and the tools that write it.
struct World {
    authored: Authored,
    layout: Layout,
    clock: u64,
}

impl World {
    fn new(manager: &str) -> Self {
        let mut world = World { authored: Authored::default(), layout: crate::schema::layout(), clock: 1 << 20 };
        let new = admission::check_new(&DEPLOYMENTS, web("a:1", 3), FieldValidation::Strict).unwrap().object;
        world.write(manager, Operation::Update, &json!({}), &new, Vec::new());
        world
    }

    fn live(&self) -> Value {
        let mut live = unflatten(self.authored.leaves.iter().map(|(path, leaf)| (path, &leaf.value)));
        live["metadata"]["name"] = "web".into();
        live["metadata"]["namespace"] = "shop".into();
        live
    }

    fn write(&mut self, manager: &str, operation: Operation, old: &Value, new: &Value, notes: Vec<Edit>) -> usize {
        let flat = |value: &Value| self.layout.flatten(&DEPLOYMENTS.kind(), value, &self.authored.leaves).unwrap();
        let edits: Vec<Edit> = changes(&flat(old), &flat(new)).into_iter().chain(notes).collect();
        self.clock += 1 << 16;
        let mut write = WriteId([0; 32]);
        write.0[..8].copy_from_slice(&self.clock.to_be_bytes());
        let message = Message { manager, user: "root", operation, decided: None };
        self.authored.messages.insert(write, message.to_string().into());
        for edit in &edits {
            match edit.value.clone() {
                None => drop(self.authored.leaves.remove(&edit.path)),
                Some(value) => {
                    let (stamp, author) = (Hlc(self.clock), NodeId([1; 32]));
                    let leaf = Leaf { value, stamp, author, write, counter: 1, others: Vec::new() };
                    self.authored.leaves.insert(edit.path.clone(), leaf);
                }
            }
        }
        edits.len()
    }

    fn update(&mut self, manager: &str, change: impl FnOnce(&mut Value)) {
        let mut new = self.live();
        change(&mut new);
        let new = admission::check_update(&DEPLOYMENTS, &self.live(), new, FieldValidation::Strict).unwrap().object;
        let old = admission::storable(&DEPLOYMENTS, &self.live());
        self.write(manager, Operation::Update, &old, &new, Vec::new());
    }

    /// How many leaves were written.
    fn apply(&mut self, manager: &str, object: &Value, force: bool) -> Result<usize, Status> {
        let force = if force { "true" } else { "false" };
        let options = ApplyOptions::of_query([("fieldManager", manager), ("force", force)])?;
        let applied = Applied::read(&DEPLOYMENTS, "shop", "web", object.to_string().as_bytes(), &options)?;
        let owners = owners::owners(&DEPLOYMENTS, &self.authored);
        let prepared = onto(&DEPLOYMENTS, &self.live(), &applied, &owners, &options)?;
        let notes = owners::note_applied(&DEPLOYMENTS, &self.authored, &owners, manager, &applied.fields)?;
        let old = admission::storable(&DEPLOYMENTS, &self.live());
        Ok(self.write(manager, Operation::Apply, &old, &prepared.object, notes))
    }

    /// Who owns a path, as `manager/operation`.
    fn owners_of(&self, path: &str) -> Vec<String> {
        let owners = owners::owners(&DEPLOYMENTS, &self.authored);
        let has = |owner: &&Owner| {
            let mut found = false;
            owner.fields.each(&mut |fields| found |= field_set::path_text(fields) == path);
            found
        };
        owners.iter().filter(has).map(|o| format!("{}/{}", o.manager, o.operation.as_str())).collect()
    }

    fn managed_fields(&self) -> Value {
        owners::managed_fields(&DEPLOYMENTS, &owners::owners(&DEPLOYMENTS, &self.authored))
    }
}

fn web(image: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "a", "image": image, "ports": [{"containerPort": 80}]}]}}}})
}

fn only(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

#[test]
fn what_others_own_is_a_conflict_unless_it_is_the_same_or_forced() {
    let mut world = World::new("kubectl-create");
    world.apply("kubectl", &web("a:1", 3), false).unwrap();
    assert_eq!(world.owners_of(".spec.replicas"), ["kubectl/Apply", "kubectl-create/Update"]);
    let error = world.apply("kubectl", &web("a:1", 5), false).unwrap_err();
    assert_eq!((error.code, error.reason), (409, "Conflict"));
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using apps/v1: .spec.replicas"
    );
    let causes = &error.details.as_ref().unwrap().causes;
    assert_eq!(causes[0].reason, "FieldManagerConflict");
    assert_eq!(causes[0].message, "conflict with \"kubectl-create\" using apps/v1");
    assert_eq!(causes[0].field, ".spec.replicas");
    let error = world.apply("other", &web("b:1", 5), false).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 4 conflicts: conflicts with \"kubectl\":\n- .spec.replicas\n\
         - .spec.template.spec.containers[name=\"a\"].image\nconflicts with \"kubectl-create\" using apps/v1:\n\
         - .spec.replicas\n- .spec.template.spec.containers[name=\"a\"].image"
    );
    world.apply("kubectl", &web("a:1", 5), true).unwrap();
    assert_eq!(world.owners_of(".spec.replicas"), ["kubectl/Apply"]);
    world.apply("kubectl", &web("a:1", 7), false).unwrap();
    assert_eq!(world.live()["spec"]["replicas"], 7);
}

#[test]
fn an_update_takes_a_field_from_those_who_applied_it() {
    let mut world = World::new("kubectl-create");
    world.apply("one", &only(json!({"replicas": 4})), true).unwrap();
    world.apply("two", &only(json!({"replicas": 4})), false).unwrap();
    assert_eq!(world.owners_of(".spec.replicas"), ["one/Apply", "two/Apply"]);
    world.update("kubectl", |new| new["spec"]["replicas"] = 9.into());
    assert_eq!(world.owners_of(".spec.replicas"), ["kubectl/Update"]);
    // It says again what is there: it owns it again, though nothing of the field is written.
    assert_eq!(world.apply("one", &only(json!({"replicas": 9})), false), Ok(1));
    assert_eq!(world.owners_of(".spec.replicas"), ["one/Apply", "kubectl/Update"]);
}

#[test]
fn a_field_that_is_left_out_goes_unless_others_own_it() {
    let mut world = World::new("kubectl-create");
    let with = |labels: Value, min: u32| {
        let mut object = only(json!({"minReadySeconds": min}));
        object["metadata"]["labels"] = labels;
        object
    };
    world.apply("one", &with(json!({"a": "1", "b": "2"}), 5), false).unwrap();
    world.apply("two", &with(json!({"b": "2"}), 5), false).unwrap();
    world.apply("one", &only(json!({})), false).unwrap();
    assert_eq!(world.live()["metadata"]["labels"], json!({"b": "2"}));
    assert_eq!(world.live()["spec"]["minReadySeconds"], 5);
    assert_eq!(world.owners_of(".metadata.labels.b"), ["two/Apply"]);
    world.apply("two", &only(json!({})), false).unwrap();
    assert_eq!(world.live()["metadata"].get("labels"), None);
    assert_eq!(world.live()["spec"].get("minReadySeconds"), None);
    // What others made is not touched by somebody who never had it.
    assert_eq!(world.live()["spec"]["replicas"], 3);
}

#[test]
fn an_element_that_is_left_out_goes_with_its_defaults_and_others_stay() {
    let mut world = World::new("kubectl-create");
    let sidecar = |containers: Value| only(json!({"template": {"spec": {"containers": containers}}}));
    let probe = json!({"httpGet": {"path": "/", "port": 80}});
    world.apply("mesh", &sidecar(json!([{"name": "proxy", "image": "p:1", "livenessProbe": probe}])), false).unwrap();
    let names = |world: &World| -> Vec<String> {
        let containers = world.live()["spec"]["template"]["spec"]["containers"].as_array().unwrap().clone();
        containers.iter().map(|container| container["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&world), ["a", "proxy"]);
    world.apply("mesh", &sidecar(json!([{"name": "proxy", "image": "p:1"}])), false).unwrap();
    let proxy = world.live()["spec"]["template"]["spec"]["containers"][1].clone();
    assert_eq!((proxy.get("livenessProbe"), &proxy["image"]), (None, &json!("p:1")));
    // Somebody else's field within it keeps the element.
    world.update("debugger", |new| new["spec"]["template"]["spec"]["containers"][1]["image"] = "p:2".into());
    world.apply("mesh", &sidecar(json!([])), false).unwrap();
    assert_eq!(world.live()["spec"]["template"]["spec"]["containers"][1]["image"], "p:2");
    world.apply("mesh", &sidecar(json!([{"name": "proxy", "image": "p:3"}])), true).unwrap();
    world.apply("mesh", &sidecar(json!([])), false).unwrap();
    assert_eq!(names(&world), ["a"]);
}

#[test]
fn applying_the_same_again_writes_nothing() {
    let mut world = World::new("kubectl-create");
    assert!(world.apply("kubectl", &web("a:1", 3), false).unwrap() > 0);
    assert_eq!(world.apply("kubectl", &web("a:1", 3), false), Ok(0));
    assert!(world.apply("kubectl", &web("a:2", 3), true).unwrap() > 0);
    assert_eq!(world.apply("kubectl", &web("a:2", 3), false), Ok(0));
    // A change of one field writes that field, and no note.
    assert_eq!(world.apply("kubectl", &web("a:3", 3), false), Ok(1));
}

#[test]
fn managed_fields_read_as_kubernetes_writes_them() {
    let mut world = World::new("kubectl-create");
    world.apply("kubectl", &web("a:2", 3), true).unwrap();
    let fields = world.managed_fields();
    assert_eq!((&fields[0]["manager"], &fields[0]["operation"]), (&json!("kubectl"), &json!("Apply")));
    assert_eq!((&fields[0]["apiVersion"], &fields[0]["fieldsType"]), (&json!("apps/v1"), &json!("FieldsV1")));
    assert_eq!(
        fields[0]["fieldsV1"],
        json!({"f:spec": {
            "f:replicas": {},
            "f:selector": {"f:matchLabels": {"f:app": {}}},
            "f:template": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {
                ".": {}, "f:image": {}, "f:name": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}},
            }}}},
        }})
    );
    assert_eq!((&fields[1]["manager"], &fields[1]["operation"]), (&json!("kubectl-create"), &json!("Update")));
    let theirs = fields[1]["fieldsV1"].to_string();
    assert!(theirs.contains("f:progressDeadlineSeconds") && !theirs.contains("\"f:image\""), "{theirs}");
}

/// What kubectl does since it can: the fields of the old manager become the new one's.
#[test]
fn a_migration_from_client_side_apply_ends_without_a_conflict() {
    let mut world = World::new("kubectl-client-side-apply");
    world.apply("kubectl", &web("a:1", 3), false).unwrap();
    let mut entries = world.managed_fields();
    let mut mine = FieldSet::from_fields_v1(&entries[0]["fieldsV1"]).unwrap();
    mine.add(&FieldSet::from_fields_v1(&entries[1]["fieldsV1"]).unwrap());
    entries[0]["fieldsV1"] = mine.to_fields_v1();
    entries.as_array_mut().unwrap().truncate(1);
    let (edits, warning) = owners::rewrite(&DEPLOYMENTS, &world.authored, &entries).unwrap();
    assert_eq!(warning, None);
    world.write("kubectl", Operation::Update, &json!({}), &json!({}), edits);
    let now = world.managed_fields();
    assert_eq!((now.as_array().unwrap().len(), &now[0]["fieldsV1"]), (1, &entries[0]["fieldsV1"]));
    // What only the old manager had is the new one's to leave out, and what it had is no conflict.
    world.apply("kubectl", &web("b:1", 4), false).unwrap();
    assert_eq!(world.owners_of(".spec.replicas"), ["kubectl/Apply"]);
    // Who gave a field up and writes it again owns it again.
    world.update("kubectl-client-side-apply", |new| new["spec"]["replicas"] = 8.into());
    assert_eq!(world.owners_of(".spec.replicas"), ["kubectl-client-side-apply/Update"]);
    let same = world.managed_fields();
    assert_eq!(owners::rewrite(&DEPLOYMENTS, &world.authored, &same).unwrap(), (Vec::new(), None));
}

#[test]
fn an_older_kubectl_takes_over_what_it_applied_itself() {
    let mut world = World::new("kubectl-client-side-apply");
    let last = web("a:1", 3).to_string();
    world.update("kubectl-client-side-apply", |new| {
        new["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": last});
    });
    world.update("kubectl-scale", |new| new["spec"]["replicas"] = 6.into());
    let error = world.apply("kubectl", &web("a:2", 3), false).unwrap_err();
    assert!(error.message.ends_with("\"kubectl-scale\" using apps/v1: .spec.replicas"), "{}", error.message);
    world.apply("kubectl", &web("a:2", 6), false).unwrap();
    assert_eq!(world.apply("other", &web("a:9", 6), false).unwrap_err().code, 409);
}

#[test]
fn all_owners_can_be_taken_away_at_once() {
    let mut world = World::new("kubectl-create");
    world.apply("one", &only(json!({"paused": true})), false).unwrap();
    for (none, wanted) in [(json!([]), 2), (Value::Null, 2), (json!([{}]), 0)] {
        let (edits, _) = owners::rewrite(&DEPLOYMENTS, &world.authored, &none).unwrap();
        world.write("strip", Operation::Update, &json!({}), &json!({}), edits);
        assert_eq!(world.managed_fields().as_array().unwrap().len(), wanted, "{none}");
    }
    world.apply("two", &only(json!({"paused": false})), false).unwrap();
}

#[test]
fn what_two_partitions_apply_under_one_name_is_all_its_own_after_the_heal() {
    let mut world = World::new("kubectl-create");
    world.apply("one", &only(json!({"paused": true})), false).unwrap();
    let path = world.authored.leaves.keys().find(|path| path.starts_with("$applied")).unwrap().clone();
    let apart = world.authored.leaves[&path].clone();
    world.apply("one", &only(json!({"minReadySeconds": 4, "paused": true})), false).unwrap();
    let others = vec![skein_crdt_state::Contender {
        value: apart.value,
        stamp: apart.stamp,
        author: apart.author,
        write: apart.write,
        counter: apart.counter,
    }];
    let note = world.authored.leaves.get_mut(&path).unwrap();
    note.others = others;
    assert_eq!(world.owners_of(".spec.paused"), ["one/Apply"]);
    assert_eq!(world.owners_of(".spec.minReadySeconds"), ["one/Apply"]);
    world.apply("one", &only(json!({"minReadySeconds": 4})), false).unwrap();
    assert_eq!(world.live()["spec"].get("paused"), None);
}

#[test]
fn whoever_names_a_disputed_field_with_the_value_that_stands_confirms_it() {
    let mut world = World::new("kubectl-create");
    let leaf = world.authored.leaves.get_mut("spec.replicas").unwrap();
    let Leaf { value, stamp, author, write, counter, .. } = leaf.clone();
    leaf.others = vec![skein_crdt_state::Contender { value, stamp, author, write, counter }];
    let confirmed = |patch: Value| {
        let named = FieldSet::of(&DEPLOYMENTS, &patch);
        let edits = owners::confirmations(&DEPLOYMENTS, &world.authored, &named);
        edits.iter().map(|edit| edit.path.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(confirmed(json!({"spec": {"replicas": 3}})), ["spec.replicas"]);
    assert_eq!(confirmed(json!({"spec": {"paused": true}})), [""; 0]);
}

#[test]
fn what_is_no_apply_is_refused_as_kubernetes_refuses_it() {
    let error = ApplyOptions::of_query([("force", "true")]).unwrap_err();
    assert_eq!((error.code, error.reason), (422, "Invalid"));
    assert_eq!(
        error.message,
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    let error = only_for_apply([("force", "true")]).unwrap_err();
    assert!(error.message.ends_with("force: Forbidden: may not be specified for non-apply patch"), "{}", error.message);
    let mut world = World::new("kubectl-create");
    let mut with_managed = web("a:1", 3);
    with_managed["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    let twice = json!([{"name": "a", "image": "x"}, {"name": "a", "image": "y"}]);
    for (wrong, wanted) in [
        (with_managed, "metadata.managedFields must be nil"),
        (json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}}), "does not match"),
        (json!({"apiVersion": "apps/v1", "metadata": {"name": "web"}}), "'kind' is missing"),
        (only(json!({"replcas": 3})), "unknown field \"spec.replcas\""),
        (only(json!({"template": {"spec": {"containers": twice}}})), "duplicate entries for key [name=\"a\"]"),
    ] {
        let error = world.apply("me", &wrong, false).unwrap_err();
        assert_eq!(error.code, 400, "{}", error.message);
        assert!(error.message.contains(wanted), "{}", error.message);
    }
    let yaml = b"apiVersion: apps/v1\nkind: Deployment\nspec:\n  replicas: 3\n";
    let options = ApplyOptions::of_query([("fieldManager", "me")]).unwrap();
    let applied = Applied::read(&DEPLOYMENTS, "shop", "web", yaml, &options).unwrap();
    assert_eq!(applied.fields.to_fields_v1(), json!({"f:spec": {"f:replicas": {}}}));
}

fn any_spec() -> impl Strategy<Value = Value> {
    let env = prop::collection::btree_map("[A-C]", "[x-z]", 0..3);
    let containers = prop::collection::btree_map("[b-d]", env, 0..3);
    let labels = prop::collection::btree_map("[a-c]", "[x-z]", 0..3);
    (containers, labels, prop::option::of(0u8..3)).prop_map(|(containers, labels, min)| {
        let containers: Vec<Value> = containers
            .into_iter()
            .map(|(name, env): (String, BTreeMap<String, String>)| {
                let env: Vec<Value> =
                    env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                json!({"name": name, "image": "x", "env": env})
            })
            .collect();
        let mut object = only(json!({"template": {"spec": {"containers": containers}}}));
        object["metadata"]["labels"] = json!(labels);
        if let Some(min) = min {
            object["spec"]["minReadySeconds"] = (min + 1).into();
        }
        object
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One tool alone: whatever it applied before, the object is what it would be had it applied its last word alone.
    #[test]
    fn the_last_word_of_one_tool_is_what_counts(words in prop::collection::vec(any_spec(), 1..5)) {
        let mut world = World::new("kubectl-create");
        for word in &words {
            world.apply("one", word, true).unwrap();
        }
        let mut fresh = World::new("kubectl-create");
        fresh.apply("one", words.last().unwrap(), true).unwrap();
        prop_assert_eq!(world.live(), fresh.live());
        prop_assert_eq!(world.apply("one", words.last().unwrap(), false).unwrap(), 0);
    }

    /// Of two tools each keeps what it wants, and what both let go is gone.
    #[test]
    fn two_tools_keep_what_each_wants(words in prop::collection::vec((any::<bool>(), any_spec()), 1..8)) {
        let mut world = World::new("kubectl-create");
        let mut last = [only(json!({})), only(json!({}))];
        for (which, word) in &words {
            world.apply(if *which { "one" } else { "two" }, word, true).unwrap();
            last[usize::from(*which)] = word.clone();
            let live = world.live();
            let options = ApplyOptions::of_query([("fieldManager", "me")]).unwrap();
            let applied = Applied::read(&DEPLOYMENTS, "shop", "web", word.to_string().as_bytes(), &options).unwrap();
            let mut differs = 0;
            merge::differences(DEPLOYMENTS.schema, &live, &applied.object, &mut |_| differs += 1);
            prop_assert_eq!(differs, 0, "{} {}", live, word);
        }
        for name in ["one", "two"] {
            world.apply(name, &only(json!({})), true).unwrap();
        }
        prop_assert_eq!(world.live(), World::new("kubectl-create").live());
    }

    #[test]
    fn any_bytes_are_applied_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let options = ApplyOptions::of_query([("fieldManager", "me")]).unwrap();
        let _ = Applied::read(&DEPLOYMENTS, "shop", "web", &bytes, &options);
    }
}

#[test]
fn a_version_that_an_object_is_not_stored_in_is_applied_onto_what_it_shows() {
    let v1 = &crate::resource::HORIZONTAL_POD_AUTOSCALERS_V1;
    let options = ApplyOptions::of_query([("fieldManager", "me")]).unwrap();
    let read = |percent: u32| {
        let body = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "maxReplicas": 3, "targetCPUUtilizationPercentage": percent}});
        Applied::read(v1, "shop", "a", body.to_string().as_bytes(), &options).unwrap()
    };
    let mut live = read(50).alone(v1, "shop", "a", &options).unwrap().object;
    live["metadata"] = json!({"name": "a", "namespace": "shop"});
    let memory = json!({"type": "Resource", "resource": {
        "name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
    live["spec"]["metrics"].as_array_mut().unwrap().push(memory.clone());
    let again = onto(v1, &live, &read(70), &[], &options).unwrap();
    assert_eq!(again.object["spec"]["metrics"], json!([crate::convert::processor_metric(70), memory]));
}

#[test]
fn one_tool_too_many_takes_the_place_of_one_that_owns_nothing_or_is_refused() {
    let mut world = World::new("kubectl-create");
    let sets = |fields: &[(usize, &str)]| {
        let annotations: serde_json::Map<String, Value> =
            fields.iter().map(|(n, value)| (format!("a{n}"), (*value).into())).collect();
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "annotations": annotations}})
    };
    let limit = owners::MAX_APPLIERS;
    for n in 0..limit {
        world.apply(&format!("tool-{n}"), &sets(&[(n, "x")]), false).unwrap();
    }
    let refused = world.apply("late", &sets(&[(limit, "x")]), false).unwrap_err();
    assert_eq!(refused.code, 422);
    assert!(refused.message.contains("no more than 64 managers"), "{}", refused.message);
    world.apply("tool-1", &sets(&[(1, "z")]), false).unwrap();
    world.apply("tool-1", &sets(&[(0, "y"), (1, "z")]), true).unwrap();
    world.apply("late", &sets(&[(limit, "x")]), false).unwrap();
    let notes = world.authored.leaves.keys().filter(|path| path.starts_with("$applied")).count();
    assert_eq!(
        (notes, world.owners_of(&format!(".metadata.annotations.a{limit}"))),
        (limit, vec!["late/Apply".to_owned()])
    );
    let mut entries = world.managed_fields();
    let mut more = entries[0].clone();
    more["manager"] = json!("one-more");
    entries.as_array_mut().unwrap().push(more);
    assert_eq!(owners::rewrite(&DEPLOYMENTS, &world.authored, &entries).unwrap_err().code, 422);
}
