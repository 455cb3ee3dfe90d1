//! Tests of admission: whole writes, as clients send them.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::resource;

const STRATEGIC: Option<&str> = Some("application/strategic-merge-patch+json");

fn web() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
                {"name": "web", "image": "web:1", "ports": [{"containerPort": 80}], "resources": {"requests": {"cpu": 0.5}}},
            ]}},
        },
    })
}

fn create(resource: &Resource, body: &Value) -> Result<Prepared, Status> {
    prepare_create(resource, "shop", body.to_string().as_bytes(), None, &WriteOptions::default(), "x2x4x")
}

/// An object as clients see it, from what was prepared.
fn seen(resource: &Resource, prepared: &Prepared) -> Value {
    let mut object = prepared.object.clone();
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind_name.into();
    for (field, value) in [
        ("name", prepared.name.as_str()),
        ("namespace", &prepared.namespace),
        ("uid", "6f1ed002-ab5f-5c29-8c4f-7a3d1f1a0d35"),
        ("resourceVersion", "12"),
        ("creationTimestamp", "2026-01-31T12:00:00Z"),
    ] {
        object["metadata"][field] = value.into();
    }
    object["metadata"]["generation"] = json!(1);
    object["metadata"]["managedFields"] = json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]);
    object["status"] = json!({"replicas": 3, "anything": ["goes"]});
    object
}

#[test]
fn what_is_stored_has_defaults_and_nothing_of_the_systems() {
    let mut body = web();
    body["status"] = json!({"replicas": 7});
    body["metadata"]["uid"] = json!("");
    body["metadata"]["creationTimestamp"] = Value::Null;
    body["metadata"]["managedFields"] = json!([]);
    body["metadata"]["selfLink"] = json!("/x");
    let made = create(&resource::DEPLOYMENTS, &body).unwrap();
    assert_eq!((made.name.as_str(), made.namespace.as_str(), made.uid), ("web", "shop", None));
    assert_eq!(made.object["metadata"], json!({"labels": {"app": "web"}}));
    assert_eq!(made.object.as_object().unwrap().keys().collect::<Vec<_>>(), ["metadata", "spec"]);
    let container = &made.object["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        (&container["resources"]["requests"]["cpu"], &container["imagePullPolicy"]),
        (&json!("500m"), &json!("IfNotPresent"))
    );
    let layout = crate::schema::layout();
    assert!(layout.flatten(&resource::DEPLOYMENTS.kind(), &made.object, &std::collections::BTreeMap::new()).is_ok());
}

#[test]
fn a_body_may_leave_out_what_the_url_says_and_may_not_contradict_it() {
    let bare = json!({"metadata": {"name": "m"}, "data": {}});
    assert!(create(&resource::CONFIG_MAPS, &bare).is_ok());
    for (field, value, wanted) in [
        ("/kind", json!("Secret"), "the kind in the data (Secret) does not match the expected kind (ConfigMap)"),
        ("/apiVersion", json!("v2"), "the API version in the data (v2) does not match the expected API version (v1)"),
        (
            "/metadata/namespace",
            json!("other"),
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        ("/metadata/resourceVersion", json!("5"), "resourceVersion should not be set on objects to be created"),
        ("/metadata", json!("x"), "metadata: expected an object, got the string \"x\""),
    ] {
        let mut body =
            json!({"kind": "", "apiVersion": "v1", "metadata": {"name": "m", "namespace": "", "resourceVersion": ""}});
        *body.pointer_mut(field).unwrap() = value;
        let error = create(&resource::CONFIG_MAPS, &body).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (400, wanted));
    }
}

#[test]
fn a_name_is_drawn_where_only_its_beginning_is_given() {
    let made = create(&resource::CONFIG_MAPS, &json!({"metadata": {"generateName": "job-"}})).unwrap();
    assert_eq!((made.name.as_str(), &made.object["metadata"]["generateName"]), ("job-x2x4x", &json!("job-")));
    let long = create(&resource::CONFIG_MAPS, &json!({"metadata": {"generateName": "a".repeat(200)}})).unwrap();
    assert_eq!(long.name.len(), 63);
    let error = create(&resource::CONFIG_MAPS, &json!({"metadata": {}})).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (422, "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required")
    );
}

#[test]
fn a_typo_is_refused_unless_the_client_says_otherwise() {
    let mut body = web();
    body["spec"]["replcas"] = json!(3);
    body["spec"]["template"]["spec"]["containers"][0]["imagee"] = json!("x");
    let error = create(&resource::DEPLOYMENTS, &body).unwrap_err();
    assert_eq!((error.code, error.reason), (400, "BadRequest"));
    assert_eq!(
        error.message,
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \
         \"spec.replcas\" (did you mean \"replicas\"?), unknown field \"spec.template.spec.containers[0].imagee\" (did you \
         mean \"image\"?)"
    );
    assert_eq!(error.to_value()["details"]["causes"][1]["field"], "spec.template.spec.containers[0].imagee");
    let options = WriteOptions::of_query([("fieldValidation", "Warn"), ("fieldManager", "x")]).unwrap();
    let made = prepare_create(&resource::DEPLOYMENTS, "shop", body.to_string().as_bytes(), None, &options, "").unwrap();
    assert_eq!(made.warnings.len(), 2);
    assert!(made.object["spec"].get("replcas").is_none());
    let options = WriteOptions::of_query([("fieldValidation", "Ignore"), ("dryRun", "All")]).unwrap();
    let made = prepare_create(&resource::DEPLOYMENTS, "shop", body.to_string().as_bytes(), None, &options, "").unwrap();
    assert!(made.warnings.is_empty() && made.dry_run);
    assert_eq!(WriteOptions::of_query([("dryRun", "Some")]).unwrap_err().code, 422);
}

#[test]
fn yaml_is_taken_too() {
    let yaml = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata:\n  a: |\n    b\n";
    let made =
        prepare_create(&resource::CONFIG_MAPS, "shop", yaml, Some("application/yaml"), &WriteOptions::default(), "");
    assert_eq!(made.unwrap().object["data"]["a"], "b\n");
}

#[test]
fn what_nodes_report_is_not_created() {
    for resource in [&resource::EVENTS, &resource::NODES] {
        let error = create(resource, &json!({"metadata": {"name": "a"}})).unwrap_err();
        assert_eq!((error.code, error.reason), (405, "MethodNotAllowed"));
    }
}

#[test]
fn an_object_put_back_as_it_was_read_changes_nothing() {
    let made = create(&resource::DEPLOYMENTS, &web()).unwrap();
    let old = seen(&resource::DEPLOYMENTS, &made);
    let again =
        prepare_update(&resource::DEPLOYMENTS, &old, old.to_string().as_bytes(), None, &WriteOptions::default())
            .unwrap();
    assert_eq!(again.object, storable(&resource::DEPLOYMENTS, &old));
    assert_eq!(again.object, made.object);
    assert_eq!(again.resource_version.as_deref(), Some("12"));
}

#[test]
fn applying_a_second_manifest_sends_a_strategic_patch() {
    let old = seen(&resource::DEPLOYMENTS, &create(&resource::DEPLOYMENTS, &web()).unwrap());
    let patch = json!({
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}\n"}},
        "spec": {"replicas": 5, "template": {"spec": {"$setElementOrder/containers": [{"name": "web"}], "containers": [
            {"name": "web", "$setElementOrder/ports": [{"containerPort": 80}], "image": "web:2"}]}}},
    });
    let bytes = patch.to_string();
    let made =
        prepare_patch(&resource::DEPLOYMENTS, &old, bytes.as_bytes(), STRATEGIC, &WriteOptions::default()).unwrap();
    assert_eq!((&made.object["spec"]["replicas"], made.resource_version), (&json!(5), None));
    let containers = made.object["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(
        (containers.len(), &containers[0]["image"], &containers[0]["ports"][0]["protocol"]),
        (1, &json!("web:2"), &json!("TCP"))
    );
    let typo = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "imagee": "x"}]}}}}).to_string();
    let error =
        prepare_patch(&resource::DEPLOYMENTS, &old, typo.as_bytes(), STRATEGIC, &WriteOptions::default()).unwrap_err();
    assert!(error.message.contains("spec.template.spec.containers[0].imagee"), "{}", error.message);
}

#[test]
fn a_replacement_is_of_the_object_that_is_there() {
    let old = seen(&resource::DEPLOYMENTS, &create(&resource::DEPLOYMENTS, &web()).unwrap());
    let put = |field: &str, value: &str| {
        let mut new = web();
        new["metadata"][field] = value.into();
        prepare_update(&resource::DEPLOYMENTS, &old, new.to_string().as_bytes(), None, &WriteOptions::default())
    };
    assert_eq!(
        put("name", "other").unwrap_err().message,
        "the name of the object (other) does not match the name on the URL (web)"
    );
    assert_eq!(put("namespace", "other").unwrap_err().code, 400);
    assert_eq!(put("uid", "another").unwrap_err().reason, "Conflict");
    assert_eq!(put("name", "").unwrap().name, "web");
}

#[test]
fn the_selector_stays_what_it_was() {
    let old = seen(&resource::DEPLOYMENTS, &create(&resource::DEPLOYMENTS, &web()).unwrap());
    let mut new = web();
    new["spec"]["selector"]["matchLabels"]["app"] = json!("db");
    new["spec"]["template"]["metadata"]["labels"]["app"] = json!("db");
    let error =
        prepare_update(&resource::DEPLOYMENTS, &old, new.to_string().as_bytes(), None, &WriteOptions::default())
            .unwrap_err();
    assert_eq!(error.code, 422);
    assert_eq!(error.details.unwrap().causes[0].field, "spec.selector");
}

#[test]
fn a_scale_says_and_sets_the_replicas() {
    let mut object = seen(&resource::DEPLOYMENTS, &create(&resource::DEPLOYMENTS, &web()).unwrap());
    let scale = scale_of(&resource::DEPLOYMENTS, &object).unwrap();
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({"replicas": 3}), &json!({"replicas": 3, "selector": "app=web"}))
    );
    assert_eq!(scale["metadata"]["resourceVersion"], "12");
    let patch = Patch::read(Some("application/merge-patch+json"), br#"{"spec":{"replicas":5}}"#).unwrap();
    let patched = patch.apply_to(&crate::schema::workload::SCALE, &scale).unwrap();
    object = with_scale(&resource::DEPLOYMENTS, &object, patched).unwrap();
    assert_eq!(object["spec"]["replicas"], 5);
    for wrong in
        [json!({"spec": {"replicas": -1}}), json!({"spec": {"replicas": "5"}}), json!({"spec": {"replica": 5}})]
    {
        assert_eq!(with_scale(&resource::DEPLOYMENTS, &object, wrong).unwrap_err().code, 422);
    }
    assert_eq!(scale_of(&resource::CONFIG_MAPS, &object).unwrap_err().code, 404);
}

#[test]
fn deletions_are_read_from_body_and_query() {
    let body = br#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Orphan","gracePeriodSeconds":0,"preconditions":{"uid":"u"}}"#;
    let options = delete_options(body, Some("application/json"), [("gracePeriodSeconds", "5")]).unwrap();
    assert_eq!((options.propagation, options.grace_period_seconds), (Propagation::Orphan, Some(0)));
    assert_eq!(options.uid.as_deref(), Some("u"));
    let options =
        delete_options(b"", None, [("propagationPolicy", "Foreground"), ("dryRun", "All"), ("x", "y")]).unwrap();
    assert!(options.dry_run && options.propagation == Propagation::Foreground);
    assert_eq!(delete_options(b"", None, []).unwrap(), DeleteOptions::default());
    assert_eq!(delete_options(br#"{"propagationPolicy":"Sideways"}"#, None, []).unwrap_err().code, 422);
    assert_eq!(delete_options(br#"{"gracePeriodSeconds":"now"}"#, None, []).unwrap_err().code, 400);
    assert_eq!(delete_options(b"[]", None, []).unwrap_err().code, 400);
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "metadata",
        "name",
        "labels",
        "spec",
        "template",
        "containers",
        "image",
        "ports",
        "containerPort",
        "env",
        "replicas",
        "selector",
        "matchLabels",
        "strategy",
        "rollingUpdate",
        "maxSurge",
        "resources",
        "limits",
        "cpu",
        "tolerations",
        "data",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z0-9%]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 64, 5, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            4 => prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_object_is_stored_or_refused(body in any_json()) {
        for resource in resource::SERVED {
            if let Ok(made) = create(resource, &body) {
                let old = seen(resource, &made);
                prop_assert_eq!(storable(resource, &old), made.object);
            }
        }
    }

    #[test]
    fn any_change_of_a_deployment_is_stored_in_a_form_that_stays_or_refused(patch in any_json()) {
        let old = seen(&resource::DEPLOYMENTS, &create(&resource::DEPLOYMENTS, &web()).unwrap());
        for kind in ["application/merge-patch+json", "application/strategic-merge-patch+json"] {
            let bytes = patch.to_string();
            if let Ok(made) = prepare_patch(&resource::DEPLOYMENTS, &old, bytes.as_bytes(), Some(kind), &WriteOptions::default()) {
                let again = seen(&resource::DEPLOYMENTS, &made);
                prop_assert_eq!(storable(&resource::DEPLOYMENTS, &again), made.object);
            }
        }
    }
}

#[test]
fn an_autoscaler_of_the_first_version_is_stored_in_the_second() {
    let v1 = &resource::HORIZONTAL_POD_AUTOSCALERS_V1;
    let body =
        br#"{"metadata":{"name":"a"},"spec":{"maxReplicas":3,"scaleTargetRef":{"kind":"Deployment","name":"a"}}}"#;
    let made = prepare_create(v1, "shop", body, None, &WriteOptions::default(), "").unwrap();
    let percent = "/spec/metrics/0/resource/target/averageUtilization";
    assert_eq!(made.object.pointer(percent), Some(&json!(80)));
    assert!(made.warnings[0].contains("nothing is scaled"), "{:?}", made.warnings);
    let mut stored = made.object;
    stored["metadata"] = json!({"name": "a", "namespace": "shop"});
    stored["apiVersion"] = json!("autoscaling/v2");
    let patch = br#"{"spec":{"targetCPUUtilizationPercentage":50}}"#;
    for kind in ["application/merge-patch+json", "application/strategic-merge-patch+json"] {
        let changed = prepare_patch(v1, &stored, patch, Some(kind), &WriteOptions::default()).unwrap();
        assert_eq!(changed.object.pointer(percent), Some(&json!(50)));
        assert_eq!(changed.object["spec"].get("targetCPUUtilizationPercentage"), None);
    }
    // What is stored is compared with what is to be stored, whichever version was asked for.
    let same =
        prepare_patch(v1, &stored, b"{}", Some("application/merge-patch+json"), &WriteOptions::default()).unwrap();
    assert_eq!(same.object, storable(v1, &stored));
}
