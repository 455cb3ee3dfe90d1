//! Tests of validation: each rule with an object that breaks it.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::structure::{FieldValidation, normalise};
use crate::{defaults, resource};

mod stored;

fn ready(resource: &Resource, mut object: Value) -> Map<String, Value> {
    let fields = object.as_object_mut().unwrap();
    let findings = normalise(resource.schema, fields, FieldValidation::Strict);
    assert_eq!(findings.problems, []);
    defaults::fill(resource, fields);
    fields.clone()
}

/// Fields and messages of what is wrong.
fn wrong(resource: &Resource, object: Value) -> Vec<String> {
    create(resource, &ready(resource, object)).iter().map(|p| format!("{}: {}", p.field, p.message)).collect()
}

fn deployment() -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}},
        },
    })
}

#[test]
fn a_plain_deployment_is_valid() {
    assert_eq!(wrong(&resource::DEPLOYMENTS, deployment()), Vec::<String>::new());
}

#[test]
fn each_rule_of_a_deployment_is_checked() {
    breaks_deployment([
        ("/metadata/name", json!("Web!"), "metadata.name: Invalid value"),
        ("/metadata/labels", json!({"a b": "c"}), "metadata.labels: Invalid value"),
        ("/metadata/labels", json!({"a": "-"}), "metadata.labels: Invalid value"),
        (
            "/metadata/annotations",
            json!({"skein.dev/partition": "quorum"}),
            "metadata.annotations[skein.dev/partition]: Forbidden: skein does not support",
        ),
        (
            "/metadata/annotations",
            json!({"skein.dev/partition": "ful"}),
            "metadata.annotations[skein.dev/partition]: Unsupported value: \"ful\": supported values: \"alive\", \"full\"",
        ),
        ("/spec/replicas", json!(-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ("/spec/selector", json!({}), "spec.selector: Invalid value: {}: empty selector"),
        (
            "/spec/selector/matchLabels",
            json!({"app": "db"}),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match",
        ),
        (
            "/spec/selector/matchExpressions",
            json!([{"key": "app", "operator": "In"}]),
            "spec.selector.matchExpressions[0].values: Required value",
        ),
        (
            "/spec/strategy",
            json!({"type": "Rolling"}),
            "spec.strategy.type: Unsupported value: \"Rolling\": supported values: \"Recreate\", \"RollingUpdate\"",
        ),
        ("/spec/strategy", json!({"type": "Recreate", "rollingUpdate": {}}), "spec.strategy.rollingUpdate: Forbidden"),
        (
            "/spec/strategy",
            json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}),
            "may not be 0 when `maxSurge` is 0",
        ),
        (
            "/spec/strategy",
            json!({"rollingUpdate": {"maxSurge": "1"}}),
            "spec.strategy.rollingUpdate.maxSurge: Invalid value",
        ),
        (
            "/spec/progressDeadlineSeconds",
            json!(0),
            "spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds",
        ),
    ]);
}

#[test]
fn each_rule_of_a_template_is_checked() {
    breaks_deployment([
        (
            "/spec/template/spec/restartPolicy",
            json!("Never"),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        ("/spec/template/spec/containers", json!([]), "spec.template.spec.containers: Required value"),
        ("/spec/template/spec/containers/0/image", json!(""), "spec.template.spec.containers[0].image: Required value"),
        ("/spec/template/spec/containers/0/name", json!("Web"), "spec.template.spec.containers[0].name: Invalid value"),
        (
            "/spec/template/spec/containers/1",
            json!({"name": "web", "image": "b"}),
            "spec.template.spec.containers[1].name: Duplicate value: \"web\"",
        ),
        (
            "/spec/template/spec/ephemeralContainers",
            json!([{"name": "a"}]),
            "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template",
        ),
        ("/spec/template/spec/subdomain", json!("x"), "spec.template.spec.subdomain: Forbidden"),
        (
            "/spec/template/spec/activeDeadlineSeconds",
            json!(5),
            "activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
        ),
        ("/spec/template/spec/tolerations", json!([{"value": "a"}]), "operator must be Exists when `key` is empty"),
        (
            "/spec/template/spec/tolerations",
            json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 1}]),
            "effect must be 'NoExecute'",
        ),
        ("/spec/template/spec/nodeSelector", json!({"a": "b c"}), "spec.template.spec.nodeSelector: Invalid value"),
        (
            "/spec/template/spec/terminationGracePeriodSeconds",
            json!(-1),
            "spec.template.spec.terminationGracePeriodSeconds",
        ),
    ]);
}

#[test]
fn each_rule_of_volumes_is_checked() {
    breaks_deployment([
        ("/spec/template/spec/volumes", json!([{"emptyDir": {}}]), "volumes[0].name: Required value"),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "a"}, {"name": "a"}]),
            "volumes[1].name: Duplicate value: \"a\"",
        ),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "a", "emptyDir": {}, "configMap": {"name": "b"}}]),
            "volumes[0].configMap: Forbidden: may not specify more than 1 volume type",
        ),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "a", "persistentVolumeClaim": {"claimName": "b"}}]),
            "volumes[0].persistentVolumeClaim: Forbidden: skein does not support",
        ),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "a", "configMap": {}}]),
            "volumes[0].configMap.name: Required value",
        ),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "a", "secret": {"secretName": "s", "defaultMode": 512}}]),
            "volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
        ),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "a", "configMap": {"name": "c", "items": [{"key": "k", "path": "../x"}]}}]),
            "volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'",
        ),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "a", "hostPath": {"path": "/a/../b"}}]),
            "volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
        ),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "a", "hostPath": {"path": "/a", "type": "Dir"}}]),
            "volumes[0].hostPath.type: Unsupported value: \"Dir\"",
        ),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "a", "emptyDir": {"sizeLimit": "1Mi"}}]),
            "volumes[0].emptyDir.sizeLimit: Forbidden: skein does not support",
        ),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "a", "projected": {"sources": [{"downwardAPI": {"items": [{"path": "a"}]}}]}}]),
            "sources[0].downwardAPI.items[0]: Required value: one of fieldRef and resourceFieldRef is required",
        ),
    ]);
}

#[test]
fn each_rule_of_projected_tokens_is_checked() {
    let volume = |token: Value| json!([{"name": "a", "projected": {"sources": [{ "serviceAccountToken": token }]}}]);
    let at = "/spec/template/spec/volumes";
    breaks_deployment([
        (
            at,
            volume(json!({"path": "t", "expirationSeconds": 599})),
            "volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: \
             may not specify a duration less than 10 minutes",
        ),
        (
            at,
            volume(json!({"path": "t", "expirationSeconds": (1u64 << 32) + 1})),
            "may not specify a duration larger than 2^32 seconds",
        ),
        (at, volume(json!({"audience": "vault"})), "serviceAccountToken.path: Required value"),
        (at, volume(json!({"path": "../t"})), "serviceAccountToken.path: Invalid value: \"../t\""),
        (at, volume(json!({"path": "t", "audience": "x".repeat(513)})), "serviceAccountToken.audience: Too long"),
    ]);
    let mut object = deployment();
    let spec = json!({"containers": [{"name": "web", "image": "a:1"}], "volumes": volume(json!({"path": "t"}))});
    set(&mut object, "/spec/template/spec", spec);
    let filled = ready(&resource::DEPLOYMENTS, object);
    assert_eq!(create(&resource::DEPLOYMENTS, &filled), []);
    let sources = &filled["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"];
    assert_eq!(sources[0]["serviceAccountToken"], json!({"path": "t", "expirationSeconds": 3600}));
}

#[test]
fn each_rule_of_mounts_and_init_containers_is_checked() {
    let init = |more: Value| {
        let mut container = json!({"name": "init", "image": "a:1"});
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([container])
    };
    let probe = json!({"livenessProbe": {"exec": {"command": ["a"]}}});
    breaks_deployment([
        (
            "/spec/template/spec/containers/0/volumeMounts",
            json!([{"name": "a", "mountPath": "/a"}]),
            "containers[0].volumeMounts[0].name: Not found: \"a\"",
        ),
        (
            "/spec/template/spec/containers/0/volumeMounts",
            json!([{"name": "a", "mountPath": "/a", "subPath": "/b"}]),
            "volumeMounts[0].subPath: Invalid value: \"/b\": must be a relative path",
        ),
        (
            "/spec/template/spec/initContainers",
            json!([{"name": "web", "image": "a:1"}]),
            "spec.template.spec.initContainers[0].name: Duplicate value: \"web\"",
        ),
        (
            "/spec/template/spec/initContainers",
            init(probe),
            "initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ),
        (
            "/spec/template/spec/initContainers",
            init(json!({"restartPolicy": "Always"})),
            "initContainers[0].restartPolicy: Forbidden: skein does not support",
        ),
    ]);
}

#[test]
fn a_pod_with_volumes_and_sources_is_valid_and_has_the_defaults_of_a_real_server() {
    let mut object = deployment();
    set(
        &mut object,
        "/spec/template/spec",
        json!({
            "initContainers": [{"name": "init", "image": "a:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "containers": [{
                "name": "web", "image": "a:1",
                "envFrom": [{"configMapRef": {"name": "c"}}, {"prefix": "S_", "secretRef": {"name": "s", "optional": true}}],
                "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "c", "mountPath": "/c", "readOnly": true}],
            }],
            "volumes": [
                {"name": "v"}, {"name": "c", "configMap": {"name": "c"}}, {"name": "h", "hostPath": {"path": "/h"}},
                {"name": "p", "projected": {"sources": [{"secret": {"name": "s"}},
                    {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}},
            ],
        }),
    );
    let filled = ready(&resource::DEPLOYMENTS, object);
    assert_eq!(create(&resource::DEPLOYMENTS, &filled), []);
    let spec = &filled["spec"]["template"]["spec"];
    assert_eq!(
        spec["volumes"],
        json!([
            {"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c", "defaultMode": 420}},
            {"name": "h", "hostPath": {"path": "/h", "type": ""}},
            {"name": "p", "projected": {"defaultMode": 420, "sources": [{"secret": {"name": "s"}},
                {"downwardAPI": {"items": [
                    {"path": "l", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels"}}]}}]}},
        ])
    );
    assert_eq!(spec["initContainers"][0]["imagePullPolicy"], "IfNotPresent");
    let layout = crate::schema::layout();
    let object = Value::Object(filled);
    let leaves = layout.flatten(&skein_crdt_state::Kind::new("Deployment.apps"), &object, &Default::default()).unwrap();
    let stored = skein_crdt_state::layout::unflatten(leaves.iter());
    assert_eq!(stored["spec"]["template"]["spec"], object["spec"]["template"]["spec"], "nothing is lost in storing it");
}

fn breaks_deployment<const N: usize>(cases: [(&str, Value, &str); N]) {
    for (pointer, value, wanted) in cases {
        let mut object = deployment();
        set(&mut object, pointer, value);
        let found = wrong(&resource::DEPLOYMENTS, object);
        assert!(found.iter().any(|line| line.contains(wanted)), "{pointer}: {wanted} not in {found:?}");
    }
}

#[test]
fn each_rule_of_ports_and_environment_is_checked() {
    breaks_container([
        ("ports", json!([{"containerPort": 0}]), "ports[0].containerPort: Required value"),
        (
            "ports",
            json!([{"containerPort": 70000}]),
            "ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            "ports",
            json!([{"containerPort": 80}, {"containerPort": 80}]),
            "ports[1]: Duplicate value: {\"containerPort\":80,\"protocol\":\"TCP\"}",
        ),
        (
            "ports",
            json!([{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]),
            "ports[1].name: Duplicate value",
        ),
        (
            "ports",
            json!([{"containerPort": 80, "hostPort": 1}, {"containerPort": 81, "hostPort": 1}]),
            "ports[1].hostPort: Duplicate value",
        ),
        ("ports", json!([{"containerPort": 80, "protocol": "tcp"}]), "ports[0].protocol: Unsupported value"),
        ("ports", json!([{"containerPort": 80, "hostIP": "here"}]), "ports[0].hostIP: Invalid value"),
        ("env", json!([{"name": "A"}, {"name": "A"}]), "env[1].name: Duplicate value: \"A\""),
        ("env", json!([{"value": "A"}]), "env[0].name: Required value"),
        (
            "env",
            json!([{"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
            "may not be specified when `value` is not empty",
        ),
        ("env", json!([{"name": "A", "valueFrom": {}}]), "must specify one of"),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]),
            "env[0].valueFrom.fieldRef.fieldPath: Invalid value",
        ),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"fileKeyRef": {"path": "a", "key": "b"}}}]),
            "env[0].valueFrom.fileKeyRef: Forbidden: skein does not support",
        ),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a"}}}]),
            "env[0].valueFrom.secretKeyRef.key: Required value",
        ),
        ("envFrom", json!([{}]), "envFrom[0]: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"),
        ("envFrom", json!([{"configMapRef": {}}]), "envFrom[0].configMapRef.name: Required value"),
        ("envFrom", json!([{"prefix": "a=", "secretRef": {"name": "s"}}]), "envFrom[0].prefix: Invalid value"),
    ]);
}

#[test]
fn each_rule_of_resources_and_probes_is_checked() {
    breaks_container([
        (
            "resources",
            json!({"limits": {"nvidia.com/gpu": 1}}),
            "resources.limits[nvidia.com/gpu]: Forbidden: skein does not support the resource nvidia.com/gpu yet",
        ),
        (
            "resources",
            json!({"limits": {"cpu": 1}, "requests": {"cpu": "1001m"}}),
            "resources.requests: Invalid value: \"1001m\": must be less than or equal to cpu limit of 1",
        ),
        ("resources", json!({"requests": {"memory": "-1"}}), "must be greater than or equal to 0"),
        ("readinessProbe", json!({}), "readinessProbe: Required value: must specify a handler type"),
        (
            "readinessProbe",
            json!({"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}),
            "readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
        ),
        ("readinessProbe", json!({"exec": {}}), "readinessProbe.exec.command: Required value"),
        ("readinessProbe", json!({"httpGet": {"port": 0}}), "readinessProbe.httpGet.port: Required value"),
        ("readinessProbe", json!({"tcpSocket": {"port": "HTTP"}}), "readinessProbe.tcpSocket.port: Invalid value"),
        (
            "readinessProbe",
            json!({"tcpSocket": {"port": 1}, "periodSeconds": -1}),
            "readinessProbe.periodSeconds: Invalid value: -1: must be greater than 0",
        ),
        ("imagePullPolicy", json!("Sometimes"), "imagePullPolicy: Unsupported value"),
        (
            "lifecycle",
            json!({"preStop": {"sleep": {"seconds": 31}}}),
            "lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
        ),
        ("lifecycle", json!({"preStop": {}}), "lifecycle.preStop: Required value: must specify a handler type"),
        (
            "lifecycle",
            json!({"postStart": {"exec": {"command": ["a"]}, "sleep": {"seconds": 1}}}),
            "lifecycle.postStart.sleep: Forbidden: may not specify more than 1 handler type",
        ),
        ("lifecycle", json!({"stopSignal": "SIGINT"}), "lifecycle.stopSignal: Forbidden: skein does not support"),
        (
            "readinessProbe",
            json!({"exec": {"command": ["a"]}, "terminationGracePeriodSeconds": 5}),
            "readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes",
        ),
        (
            "livenessProbe",
            json!({"exec": {"command": ["a"]}, "successThreshold": 2}),
            "livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.gpu"}}}]),
            "env[0].valueFrom.resourceFieldRef.resource: Unsupported value",
        ),
        (
            "securityContext",
            json!({"privileged": true, "allowPrivilegeEscalation": false}),
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ),
        ("securityContext", json!({"runAsUser": -1}), "securityContext.runAsUser: Invalid value: -1: must be greater"),
        ("securityContext", json!({"procMount": "Unmasked"}), "securityContext.procMount: Forbidden"),
        (
            "securityContext",
            json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "a"}}),
            "securityContext.seccompProfile.type: Unsupported value: \"Localhost\"",
        ),
        ("image", json!(" a"), "whitespace"),
    ]);
}

fn breaks_container<const N: usize>(cases: [(&str, Value, &str); N]) {
    for (field, value, wanted) in cases {
        let mut container = json!({"name": "a", "image": "a"});
        container[field] = value;
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}});
        let found = wrong(&resource::PODS, pod);
        assert!(found.iter().any(|line| line.contains(wanted)), "{field}: {wanted} not in {found:?}");
    }
}

#[test]
fn what_says_nothing_is_no_reason_to_refuse() {
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {"volumes": [], "securityContext": {}, "hostPID": false, "hostname": "", "serviceAccountName": "default",
            "containers": [{"name": "a", "image": "a", "volumeMounts": [], "securityContext": {}, "lifecycle": {}}]},
    });
    assert_eq!(wrong(&resource::PODS, pod), Vec::<String>::new());
}

#[test]
fn all_that_is_wrong_is_found_at_once() {
    let recorded = json!({"metadata": {"name": "BAD_NAME"}, "spec": {"containers": [{"name": "a"}]}});
    let found = wrong(&resource::PODS, recorded);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], "spec.containers[0].image: Required value");
    assert!(
        found[1].starts_with("metadata.name: Invalid value: \"BAD_NAME\": a lowercase RFC 1123 subdomain must consist")
    );
}

#[test]
fn services_and_config_maps_have_rules_of_their_own() {
    let service = |spec: Value| wrong(&resource::SERVICES, json!({"metadata": {"name": "s"}, "spec": spec})).join(", ");
    assert_eq!(service(json!({"ports": [{"port": 80}], "selector": {"app": "web"}})), "");
    assert!(service(json!({})).contains("spec.ports: Required value"));
    assert_eq!(service(json!({"clusterIP": "None"})), "");
    assert!(service(json!({"type": "ExternalName"})).contains("spec.externalName: Required value"));
    assert!(service(json!({"ports": [{"port": 80}, {"port": 81}]})).contains("spec.ports[0].name: Required value"));
    assert!(service(json!({"ports": [{"port": 80, "nodePort": 30000}]})).contains("spec.ports[0].nodePort: Forbidden"));
    assert!(!wrong(&resource::SERVICES, json!({"metadata": {"name": "1"}, "spec": {"clusterIP": "None"}})).is_empty());
    let map = |fields: Value| {
        let mut object = json!({"metadata": {"name": "m"}});
        object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        wrong(&resource::CONFIG_MAPS, object).join(", ")
    };
    assert_eq!(map(json!({"data": {"a.b_C-1": ""}})), "");
    assert!(map(json!({"data": {"a/b": ""}})).contains("data[a/b]: Invalid value"));
    assert!(map(json!({"data": {"a": ""}, "binaryData": {"a": ""}})).contains("binaryData[a]: Invalid value"));
    assert!(
        map(json!({"data": {"a": "x".repeat(1_100_000)}}))
            .contains("data: Too long: may not be more than 1048576 bytes")
    );
}

#[test]
fn secrets_have_rules_of_their_own() {
    let secret = |fields: Value| {
        let mut object = json!({"metadata": {"name": "s"}});
        object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        wrong(&resource::SECRETS, object).join(", ")
    };
    assert_eq!(secret(json!({"data": {"a": "AA=="}, "stringData": {"b": "text"}})), "");
    assert!(secret(json!({"data": {"a/b": "AA=="}})).contains("data[a/b]: Invalid value"));
    assert!(
        secret(json!({"stringData": {"a": "x".repeat(1_100_000)}}))
            .contains("data: Too long: may not be more than 1048576 bytes")
    );
    let tls = secret(json!({"type": "kubernetes.io/tls", "stringData": {"tls.crt": "c"}}));
    assert!(tls.contains("data[tls.key]: Required value") && !tls.contains("tls.crt"), "{tls}");
    let docker = |text: &str| {
        secret(json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": text}}))
    };
    assert_eq!(docker("{}"), "");
    let wrong = docker("hunter2");
    assert!(wrong.contains("must be JSON") && !wrong.contains("hunter2"), "{wrong}");
    assert!(secret(json!({"type": "kubernetes.io/basic-auth"})).contains("data[username]: Required value"));
}

#[test]
fn what_may_not_change_may_not_change() {
    let changed = |resource: &Resource, old: Value, new: Value| {
        let found = update(resource, &ready(resource, old), &ready(resource, new));
        found.iter().map(|p| format!("{}: {}", p.field, p.message)).collect::<Vec<_>>().join(", ")
    };
    let mut other = deployment();
    other["spec"]["replicas"] = json!(5);
    assert_eq!(changed(&resource::DEPLOYMENTS, deployment(), other.clone()), "");
    other["spec"]["selector"]["matchLabels"] = json!({"tier": "a"});
    other["spec"]["template"]["metadata"]["labels"] = json!({"tier": "a"});
    let found = changed(&resource::DEPLOYMENTS, deployment(), other);
    assert!(found.starts_with("spec.selector: Invalid value: ") && found.ends_with(": field is immutable"), "{found}");
    let pod = |image: &str| json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": image}]}});
    assert_eq!(changed(&resource::PODS, pod("a"), pod("a")), "");
    assert!(
        changed(&resource::PODS, pod("a:1"), pod("a:2")).starts_with("spec: Forbidden: a pod's spec cannot be changed")
    );
    let map =
        |value: &str, immutable: bool| json!({"metadata": {"name": "m"}, "immutable": immutable, "data": {"a": value}});
    assert_eq!(changed(&resource::CONFIG_MAPS, map("1", false), map("2", true)), "");
    assert!(
        changed(&resource::CONFIG_MAPS, map("1", true), map("2", true)).contains("data: Forbidden: field is immutable")
    );
    assert!(changed(&resource::CONFIG_MAPS, map("1", true), map("1", false)).contains("immutable: Forbidden"));
    let secret = |kind: &str| json!({"metadata": {"name": "s"}, "type": kind});
    assert!(changed(&resource::SECRETS, secret("a"), secret("b")).contains("type: Invalid value"));
}

/// Sets a value, making the way to it.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for step in pointer.split('/').skip(1) {
        at = match step.parse::<usize>() {
            Ok(index) => {
                let list = at.as_array_mut().unwrap();
                if index == list.len() {
                    list.push(Value::Null);
                }
                &mut list[index]
            }
            Err(_) => &mut at[step],
        };
    }
    *at = value;
}

#[test]
fn what_the_agent_honours_is_valid() {
    let container = json!({
        "name": "a", "image": "a", "command": ["a"], "args": ["b"], "workingDir": "/", "tty": true, "stdin": true,
        "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"}],
        "env": [
            {"name": "A", "value": "b"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": 1, "memory": "1Gi"}},
        "livenessProbe": {"tcpSocket": {"port": "http"}},
        "readinessProbe": {"httpGet": {"port": 80, "httpHeaders": [{"name": "X-A", "value": "b"}]}, "successThreshold": 2},
        "startupProbe": {"exec": {"command": ["true"]}, "failureThreshold": 30},
    });
    let spec = json!({
        "containers": [container], "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 0,
        "nodeSelector": {"kubernetes.io/hostname": "n1"}, "nodeName": "n1", "serviceAccountName": "default",
        "tolerations": [{"operator": "Exists"}, {"key": "a", "effect": "NoExecute", "tolerationSeconds": 5}],
    });
    let annotations = json!({"skein.dev/partition": "full", "Any.Thing/AT_all": "x"});
    let pod = json!({"metadata": {"name": "p", "annotations": annotations}, "spec": spec});
    assert_eq!(wrong(&resource::PODS, pod), Vec::<String>::new());
}
