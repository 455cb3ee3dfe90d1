//! Tests of the kinds that are stored and that nothing acts on yet: a sound object of each, and what breaks it.

use serde_json::{Value, json};

use super::{ready, set, wrong};
use crate::resource::{self, Resource};
use crate::validate::update;

fn template(policy: &str) -> Value {
    json!({"metadata": {"labels": {"app": "a"}}, "spec": {"restartPolicy": policy, "containers": [{"name": "a", "image": "a:1"}]}})
}

fn workload() -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template("Always")}})
}

fn job() -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"completions": 1, "parallelism": 1, "template": template("Never")}})
}

fn cron_job() -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": template("Never")}}}})
}

fn autoscaler() -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "a"}}})
}

fn ingress() -> Value {
    let path =
        json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "a", "port": {"number": 80}}}});
    json!({"metadata": {"name": "a"}, "spec": {"rules": [{"host": "*.example.com", "http": {"paths": [path]}}]}})
}

fn claim() -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

fn slice() -> Value {
    json!({"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]})
}

fn role() -> Value {
    json!({"metadata": {"name": "a"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]})
}

fn binding() -> Value {
    json!({"metadata": {"name": "a"}, "roleRef": {"kind": "Role", "name": "a"}, "subjects": [{"kind": "User", "name": "ann"}]})
}

/// Each change to a sound object gives these problems, by the beginnings of their texts.
fn breaks<const N: usize>(resource: &Resource, sound: &Value, changes: [(&str, Value, &str); N]) {
    assert_eq!(wrong(resource, sound.clone()), Vec::<String>::new(), "{}", resource.plural);
    for (pointer, value, expected) in changes {
        let mut object = sound.clone();
        set(&mut object, pointer, value);
        let found = wrong(resource, object);
        assert!(found.iter().any(|text| text.starts_with(expected)), "{pointer}: {found:#?}");
    }
}

/// What a change of a sound object is refused with.
fn change(resource: &Resource, sound: &Value, pointer: &str, value: Value) -> Vec<String> {
    let mut object = sound.clone();
    set(&mut object, pointer, value);
    let problems = update(resource, &ready(resource, sound.clone()), &ready(resource, object));
    problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect()
}

#[test]
fn a_job_must_end_and_count_its_pods() {
    breaks(
        &resource::JOBS,
        &job(),
        [
            (
                "/spec/template",
                template("Always"),
                "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
            ),
            ("/spec/parallelism", json!(-1), "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"),
            ("/spec/maxFailedIndexes", json!(1), "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes"),
            ("/spec/manualSelector", json!(true), "spec.selector: Required value"),
            ("/spec/completionMode", json!("Some"), "spec.completionMode: Unsupported value: \"Some\""),
            (
                "/spec/podFailurePolicy",
                json!({"rules": [{"action": "FailJob"}]}),
                "spec.podFailurePolicy.rules[0]: Invalid",
            ),
        ],
    );
    let why = "field is immutable";
    let found = change(&resource::JOBS, &job(), "/spec/completions", json!(3));
    assert_eq!(found, [format!("spec.completions: Invalid value: 3: {why}")]);
    let found = change(&resource::JOBS, &job(), "/spec/template/spec/containers/0/image", json!("a:2"));
    assert!(
        found.len() == 1 && found[0].starts_with("spec.template: Invalid value") && found[0].ends_with(why),
        "{found:?}"
    );
    assert_eq!(change(&resource::JOBS, &job(), "/spec/parallelism", json!(3)), Vec::<String>::new());
}

#[test]
fn a_cron_job_has_a_schedule() {
    breaks(
        &resource::CRON_JOBS,
        &cron_job(),
        [
            ("/spec/schedule", json!("often"), "spec.schedule: Invalid value: \"often\": expected exactly 5 fields"),
            ("/spec/schedule", json!(""), "spec.schedule: Required value"),
            ("/spec/timeZone", json!("Local"), "spec.timeZone: Invalid value"),
            ("/spec/concurrencyPolicy", json!("Maybe"), "spec.concurrencyPolicy: Unsupported value: \"Maybe\""),
            ("/metadata/name", json!("a".repeat(53)), "metadata.name: Invalid value"),
            (
                "/spec/jobTemplate/spec/selector",
                json!({"matchLabels": {"app": "a"}}),
                "spec.jobTemplate.spec.selector: Invalid value",
            ),
        ],
    );
    // What it makes Jobs from may change, other than that of a Job.
    let found = change(&resource::CRON_JOBS, &cron_job(), "/spec/jobTemplate/spec/completions", json!(2));
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(wrong(&resource::CRON_JOBS_V1BETA1, cron_job()), Vec::<String>::new());
}

#[test]
fn sets_keep_what_their_pods_are_called_by() {
    let sets = &resource::STATEFUL_SETS;
    let claims = json!([{"metadata": {"name": "data"}, "spec": claim()["spec"]}]);
    breaks(
        sets,
        &workload(),
        [
            ("/spec/podManagementPolicy", json!("Any"), "spec.podManagementPolicy: Unsupported value: \"Any\""),
            (
                "/spec/volumeClaimTemplates",
                json!([{"spec": {}}]),
                "spec.volumeClaimTemplates[0].spec.accessModes: Required",
            ),
            ("/spec/selector/matchLabels", json!({"app": "b"}), "spec.template.metadata.labels: Invalid value"),
        ],
    );
    assert_eq!(change(sets, &workload(), "/spec/replicas", json!(3)), Vec::<String>::new());
    let found = change(sets, &workload(), "/spec/volumeClaimTemplates", claims);
    assert!(found[0].starts_with("spec: Forbidden: updates to statefulset spec for fields other than"), "{found:?}");
    breaks(
        &resource::DAEMON_SETS,
        &workload(),
        [
            (
                "/spec/updateStrategy",
                json!({"rollingUpdate": {"maxUnavailable": 0}}),
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0 when maxSurge is 0",
            ),
            (
                "/spec/template/spec/restartPolicy",
                json!("Never"),
                "spec.template.spec.restartPolicy: Unsupported value",
            ),
        ],
    );
}

#[test]
fn an_autoscaler_has_bounds_and_metrics() {
    let both = [&resource::HORIZONTAL_POD_AUTOSCALERS, &resource::HORIZONTAL_POD_AUTOSCALERS_V1];
    for resource in both {
        breaks(
            resource,
            &autoscaler(),
            [
                (
                    "/spec/minReplicas",
                    json!(0),
                    "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                ),
                (
                    "/spec/minReplicas",
                    json!(9),
                    "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `min",
                ),
                ("/spec/maxReplicas", json!(-1), "spec.maxReplicas: Invalid value: -1: must be greater than 0"),
                ("/spec/scaleTargetRef/kind", json!(""), "spec.scaleTargetRef.kind: Required value"),
            ],
        );
    }
    breaks(
        both[0],
        &autoscaler(),
        [
            ("/spec/metrics", json!([{"type": "Pods"}]), "spec.metrics[0].pods: Required value: must populate"),
            (
                "/spec/metrics",
                json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]),
                "spec.metrics[0].resource.target.averageUtilization: Required value",
            ),
        ],
    );
}

#[test]
fn limits_must_be_consistent() {
    let budget = json!({"metadata": {"name": "a"}, "spec": {"minAvailable": "50%"}});
    breaks(
        &resource::POD_DISRUPTION_BUDGETS,
        &budget,
        [
            ("/spec/maxUnavailable", json!(1), "spec: Invalid value"),
            (
                "/spec/minAvailable",
                json!("150%"),
                "spec.minAvailable: Invalid value: \"150%\": must not be greater than 100%",
            ),
        ],
    );
    let range = json!({"metadata": {"name": "a"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}});
    let found = "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1";
    breaks(&resource::LIMIT_RANGES, &range, [("/spec/limits/0/min", json!({"cpu": "2"}), found)]);
    let quota = json!({"metadata": {"name": "a"}, "spec": {"hard": {"pods": "3", "count/deployments.apps": "1"}}});
    breaks(
        &resource::RESOURCE_QUOTAS,
        &quota,
        [("/spec/scopes", json!(["BestEffort", "NotBestEffort"]), "spec.scopes: Invalid value")],
    );
    breaks(
        &resource::PERSISTENT_VOLUME_CLAIMS,
        &claim(),
        [
            ("/spec/accessModes", json!([]), "spec.accessModes: Required value: at least 1 access mode is required"),
            ("/spec/resources", json!({}), "spec.resources[storage]: Required value"),
        ],
    );
    let found = change(&resource::PERSISTENT_VOLUME_CLAIMS, &claim(), "/spec/storageClassName", json!("fast"));
    assert!(found[0].starts_with("spec: Forbidden: spec is immutable after creation"), "{found:?}");
    let more = change(&resource::PERSISTENT_VOLUME_CLAIMS, &claim(), "/spec/resources/requests/storage", json!("2Gi"));
    assert_eq!(more, Vec::<String>::new());
    let class = json!({"metadata": {"name": "a"}, "provisioner": "x"});
    let found = change(&resource::STORAGE_CLASSES, &class, "/reclaimPolicy", json!("Retain"));
    assert_eq!(found, ["reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden."]);
    let priority = json!({"metadata": {"name": "a"}, "value": 5});
    breaks(&resource::PRIORITY_CLASSES, &priority, [("/value", json!(1_000_000_001), "value: Invalid value")]);
    let found = change(&resource::PRIORITY_CLASSES, &priority, "/value", json!(6));
    assert_eq!(found, ["value: Forbidden: may not be changed in an update."]);
}

#[test]
fn endpoints_lead_somewhere() {
    let endpoints =
        json!({"metadata": {"name": "a"}, "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]});
    breaks(
        &resource::ENDPOINTS,
        &endpoints,
        [
            (
                "/subsets/0/addresses",
                json!([]),
                "subsets[0]: Required value: must specify `addresses` or `notReadyAddr",
            ),
            (
                "/subsets/0/addresses/0/ip",
                json!("127.0.0.1"),
                "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\"",
            ),
            ("/subsets/0/ports", json!([{"port": 1}, {"port": 2}]), "subsets[0].ports[0].name: Required value"),
        ],
    );
    let many: Vec<Value> = (0..1001).map(|_| json!({"addresses": ["10.0.0.1"]})).collect();
    breaks(
        &resource::ENDPOINT_SLICES,
        &slice(),
        [
            (
                "/endpoints/0/addresses",
                json!(["a"]),
                "endpoints[0].addresses[0]: Invalid value: \"a\": must be a valid IPv4",
            ),
            ("/endpoints", json!(many), "endpoints: Too many: 1001: must have at most 1000 items"),
            ("/ports", json!([{"port": 1}, {"port": 2}]), "ports[1].name: Duplicate value: \"\""),
        ],
    );
    let found = change(&resource::ENDPOINT_SLICES, &slice(), "/addressType", json!("FQDN"));
    assert!(found.iter().any(|text| text == "addressType: Invalid value: \"FQDN\": field is immutable"), "{found:?}");
    let lease = json!({"metadata": {"name": "a"}, "spec": {"leaseDurationSeconds": 5, "renewTime": "2026-01-31T12:00:00.123456Z"}});
    breaks(
        &resource::LEASES,
        &lease,
        [("/spec/leaseDurationSeconds", json!(0), "spec.leaseDurationSeconds: Invalid value: 0")],
    );
}

#[test]
fn an_ingress_leads_to_services() {
    let path = "/spec/rules/0/http/paths/0";
    breaks(
        &resource::INGRESSES,
        &ingress(),
        [
            (
                "/spec/rules",
                json!([]),
                "spec: Invalid value: {\"rules\":[]}: either `defaultBackend` or `rules` must be",
            ),
            (
                "/spec/rules/0/host",
                json!("10.0.0.1"),
                "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name",
            ),
            (
                &format!("{path}/path"),
                json!("x"),
                "spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absol",
            ),
            (&format!("{path}/pathType"), json!(""), "spec.rules[0].http.paths[0].pathType: Required value"),
            (
                &format!("{path}/backend"),
                json!({"service": {"name": "a"}}),
                "spec.rules[0].http.paths[0].backend.service.port",
            ),
        ],
    );
    let policy = json!({"metadata": {"name": "a"}, "spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 80}]}]}});
    breaks(
        &resource::NETWORK_POLICIES,
        &policy,
        [
            ("/spec/ingress/0/from/0", json!({}), "spec.ingress[0].from[0]: Required value: must specify a peer"),
            (
                "/spec/ingress/0/from/0/ipBlock/cidr",
                json!("10.0.0.0/33"),
                "spec.ingress[0].from[0].ipBlock.cidr: Invalid",
            ),
            (
                "/spec/ingress/0/ports/0/endPort",
                json!(5),
                "spec.ingress[0].ports[0].endPort: Invalid value: 5: must be gr",
            ),
        ],
    );
}

#[test]
fn roles_say_what_and_bindings_say_who() {
    breaks(
        &resource::ROLES,
        &role(),
        [
            ("/rules/0/verbs", json!([]), "rules[0].verbs: Required value: verbs must contain at least one value"),
            ("/rules/0/resources", json!([]), "rules[0].resources: Required value: resource rules must supply"),
            ("/rules/0/nonResourceURLs", json!(["/"]), "rules[0].nonResourceURLs: Invalid value"),
            ("/metadata/name", json!("a@b"), "metadata.name: Invalid value: \"a@b\": skein takes names"),
        ],
    );
    breaks(
        &resource::ROLE_BINDINGS,
        &binding(),
        [
            ("/roleRef/kind", json!("User"), "roleRef.kind: Unsupported value: \"User\": supported values"),
            ("/subjects/0/kind", json!("ServiceAccount"), "subjects[0].namespace: Required value"),
        ],
    );
    let found = change(&resource::ROLE_BINDINGS, &binding(), "/roleRef/name", json!("b"));
    assert!(found[0].starts_with("roleRef: Invalid value") && found[0].ends_with("cannot change roleRef"), "{found:?}");
}
