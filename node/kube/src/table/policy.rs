//! The cells of autoscalers, budgets, quotas, classes, claims and roles.

use serde_json::Value;

use super::{AGE, Cells, Column, NAME, count, elements, text_or};

pub(super) const AUTOSCALER: &[Column] = &[
    NAME,
    Column::text("Reference", |object, _| {
        let target = &object["spec"]["scaleTargetRef"];
        let text = |field: &str| target[field].as_str().unwrap_or_default();
        format!("{}/{}", text("kind"), text("name")).into()
    }),
    Column::text("Targets", targets),
    Column::text("MinPods", |object, _| match object["spec"]["minReplicas"].as_i64() {
        Some(least) => least.to_string().into(),
        None => "<unset>".into(),
    }),
    Column::number("MaxPods", |object, _| count(&object["spec"]["maxReplicas"]).into()),
    Column::number("Replicas", |object, _| count(&object["status"]["currentReplicas"]).into()),
    AGE,
];

pub(super) const DISRUPTION_BUDGET: &[Column] = &[
    NAME,
    Column::text("Min Available", |object, _| limit(&object["spec"]["minAvailable"])),
    Column::text("Max Unavailable", |object, _| limit(&object["spec"]["maxUnavailable"])),
    Column::number("Allowed Disruptions", |object, _| count(&object["status"]["disruptionsAllowed"]).into()),
    AGE,
];

pub(super) const RESOURCE_QUOTA: &[Column] = &[
    NAME,
    Column::text("Request", |quota, _| hard(quota, false)),
    Column::text("Limit", |quota, _| hard(quota, true)),
    AGE,
];

pub(super) const LIMIT_RANGE: &[Column] = &[
    NAME,
    Column {
        name: "Created At",
        kind: "date",
        format: "",
        wide: false,
        cell: |object, _| object["metadata"]["creationTimestamp"].clone(),
    },
];

pub(super) const PRIORITY_CLASS: &[Column] = &[
    NAME,
    Column::number("Value", |class, _| count(&class["value"]).into()),
    Column { kind: "boolean", ..Column::text("Global-Default", |class, _| (class["globalDefault"] == true).into()) },
    AGE,
    Column::text("PreemptionPolicy", |class, _| text_or(&class["preemptionPolicy"], "")),
];

pub(super) const CLAIM: &[Column] = &[
    NAME,
    Column::text("Status", |claim, _| text_or(&claim["status"]["phase"], "")),
    Column::text("Volume", |claim, _| text_or(&claim["spec"]["volumeName"], "")),
    Column::text("Capacity", |claim, _| text_or(&claim["status"]["capacity"]["storage"], "")),
    Column::text("Access Modes", |claim, _| {
        let modes = elements(&claim["status"]["accessModes"]).map(|mode| match mode.as_str() {
            Some("ReadWriteOnce") => "RWO",
            Some("ReadOnlyMany") => "ROX",
            Some("ReadWriteMany") => "RWX",
            Some("ReadWriteOncePod") => "RWOP",
            _ => "",
        });
        modes.collect::<Vec<_>>().join(",").into()
    }),
    Column::text("StorageClass", |claim, _| text_or(&claim["spec"]["storageClassName"], "")),
    Column::text("VolumeAttributesClass", |claim, _| text_or(&claim["spec"]["volumeAttributesClassName"], "<unset>")),
    AGE,
    Column::text("VolumeMode", |claim, _| text_or(&claim["spec"]["volumeMode"], "<unset>")).wide(),
];

pub(super) const STORAGE_CLASS: &[Column] = &[
    NAME,
    Column::text("Provisioner", |class, _| text_or(&class["provisioner"], "")),
    Column::text("ReclaimPolicy", |class, _| text_or(&class["reclaimPolicy"], "Delete")),
    Column::text("VolumeBindingMode", |class, _| text_or(&class["volumeBindingMode"], "Immediate")),
    Column {
        kind: "boolean",
        ..Column::text("AllowVolumeExpansion", |class, _| (class["allowVolumeExpansion"] == true).into())
    },
    AGE,
];

/// When a role was made, as Kubernetes shows it.
pub(super) const ROLE: &[Column] = &[
    NAME,
    Column {
        name: "Created At",
        kind: "date",
        format: "",
        wide: false,
        cell: |object, _| object["metadata"]["creationTimestamp"].clone(),
    },
];

pub(super) const BINDING: &[Column] = &[
    NAME,
    Column::text("Role", |binding, _| {
        let text = |field: &str| binding["roleRef"][field].as_str().unwrap_or_default();
        format!("{}/{}", text("kind"), text("name")).into()
    }),
    AGE,
    Column::text("Users", |binding, _| subjects(binding, "User")).wide(),
    Column::text("Groups", |binding, _| subjects(binding, "Group")).wide(),
    Column::text("ServiceAccounts", |binding, _| subjects(binding, "ServiceAccount")).wide(),
];

/// What is measured, which is unknown while nothing measures, and what it should be.
fn targets(object: &Value, _: &Cells) -> Value {
    let spec = &object["spec"];
    let target = |metric: &Value| {
        let (kind, source) = match metric["type"].as_str() {
            Some("Resource") => (metric["resource"]["name"].as_str(), &metric["resource"]),
            Some("ContainerResource") => (metric["containerResource"]["name"].as_str(), &metric["containerResource"]),
            Some("Pods") => (None, &metric["pods"]),
            Some("Object") => (None, &metric["object"]),
            _ => (None, &metric["external"]),
        };
        let target = &source["target"];
        let wanted = match (&target["averageUtilization"], &target["averageValue"], &target["value"]) {
            (Value::Number(percent), _, _) => format!("{percent}%"),
            (_, Value::String(amount), _) if kind.is_none() => format!("{amount} (avg)"),
            (_, Value::String(amount), _) | (_, _, Value::String(amount)) => amount.clone(),
            _ => "<auto>".to_owned(),
        };
        let name = kind.map(|kind| format!("{kind}: ")).unwrap_or_default();
        format!("{name}<unknown>/{wanted}")
    };
    let shown: Vec<String> = match spec["targetCPUUtilizationPercentage"].as_i64() {
        Some(percent) => vec![format!("cpu: <unknown>/{percent}%")],
        None => elements(&spec["metrics"]).map(target).collect(),
    };
    match shown.as_slice() {
        [] => "<none>".into(),
        [first, second, rest @ ..] if !rest.is_empty() => format!("{first}, {second} + {} more...", rest.len()).into(),
        all => all.join(", ").into(),
    }
}

fn limit(value: &Value) -> Value {
    match value {
        Value::Null => "N/A".into(),
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    }
}

/// What a quota allows, of requests and counts or of limits. How much is used nothing counts yet.
fn hard(quota: &Value, limits: bool) -> Value {
    let hard = quota["spec"]["hard"].as_object().into_iter().flatten();
    let of_kind = hard.filter(|(resource, _)| resource.starts_with("limits.") == limits);
    let pairs =
        of_kind.map(|(resource, amount)| format!("{resource}: <unknown>/{}", amount.as_str().unwrap_or_default()));
    pairs.collect::<Vec<_>>().join(", ").into()
}

fn subjects(binding: &Value, kind: &str) -> Value {
    let of_kind = elements(&binding["subjects"]).filter(|subject| subject["kind"] == kind);
    let named = of_kind.map(|subject| {
        let name = subject["name"].as_str().unwrap_or_default();
        match subject["namespace"].as_str().filter(|namespace| !namespace.is_empty()) {
            Some(namespace) if kind == "ServiceAccount" => format!("{namespace}/{name}"),
            _ => name.to_owned(),
        }
    });
    named.collect::<Vec<_>>().join(", ").into()
}
