//! Tables: what `kubectl get` shows, one row for each object, with the columns of Kubernetes' own printers.
//!
//! How the cells of each kind are made lives in the modules below.

use serde_json::{Value, json};

use crate::convert;
use crate::negotiate::TableVersion;
use crate::resource::Resource;
use crate::time;

mod batch;
mod cluster;
mod network;
mod pod;
mod policy;
mod workload;

/// How much of its object a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// The metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// From the query parameter `includeObject`; `None`: not one of its values.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(IncludeObject::Metadata),
            "None" => Some(IncludeObject::None),
            "Object" => Some(IncludeObject::Object),
            _ => None,
        }
    }
}

/// A column: its name, its type, its format, and whether it is shown only when the terminal is wide.
pub(crate) struct Column {
    name: &'static str,
    kind: &'static str,
    format: &'static str,
    wide: bool,
    cell: fn(&Value, &Cells) -> Value,
}

/// What cells are made with besides the object.
pub(crate) struct Cells {
    now_ms: u64,
}

impl Cells {
    pub(crate) fn age(&self, since: &Value) -> Value {
        time::age(since.as_str(), self.now_ms).into()
    }
}

impl Column {
    pub(crate) const fn text(name: &'static str, cell: fn(&Value, &Cells) -> Value) -> Self {
        Column { name, kind: "string", format: "", wide: false, cell }
    }

    pub(crate) const fn number(name: &'static str, cell: fn(&Value, &Cells) -> Value) -> Self {
        Column { name, kind: "integer", format: "", wide: false, cell }
    }

    pub(crate) const fn wide(mut self) -> Self {
        self.wide = true;
        self
    }
}

/// The name of an object; kubectl puts the kind before it.
pub(crate) const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    wide: false,
    cell: |object, _| object["metadata"]["name"].clone(),
};
/// How long an object has been there.
pub(crate) const AGE: Column = Column::text("Age", |object, cells| cells.age(&object["metadata"]["creationTimestamp"]));

/// Objects as a Table, one row each, in their order. `columns` is off for the events of a watch after the first.
/// `now_ms`: milliseconds since the Unix epoch, for ages.
#[must_use]
pub fn render(
    resource: &Resource,
    objects: &[&Value],
    include: IncludeObject,
    columns: bool,
    version: TableVersion,
    now_ms: u64,
) -> Value {
    let api_version = match version {
        TableVersion::V1 => "meta.k8s.io/v1",
        TableVersion::V1Beta1 => "meta.k8s.io/v1beta1",
    };
    let (shown, cells) = (columns_of(resource), Cells { now_ms });
    let row = |object: &&Value| {
        let values: Vec<Value> = shown.iter().map(|column| (column.cell)(object, &cells)).collect();
        let mut row = json!({ "cells": values });
        match include {
            IncludeObject::None => {}
            IncludeObject::Object => {
                row["object"] = convert::from_stored(resource, object).unwrap_or_else(|| (*object).clone());
            }
            IncludeObject::Metadata => {
                row["object"] = json!({
                    "kind": "PartialObjectMetadata",
                    "apiVersion": api_version,
                    "metadata": object["metadata"],
                });
            }
        }
        row
    };
    let mut table = json!({
        "kind": "Table",
        "apiVersion": api_version,
        "metadata": {},
        "rows": objects.iter().map(row).collect::<Vec<_>>(),
    });
    let definition = |column: &Column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": "",
            "priority": i32::from(column.wide),
        })
    };
    table["columnDefinitions"] = if columns { shown.iter().map(definition).collect() } else { Value::Null };
    table
}

fn columns_of(resource: &Resource) -> &'static [Column] {
    match resource.kind_name {
        "Pod" => pod::COLUMNS,
        "Node" => cluster::NODE,
        "Namespace" => cluster::NAMESPACE,
        "ConfigMap" => cluster::CONFIG_MAP,
        "Secret" => cluster::SECRET,
        "Service" => cluster::SERVICE,
        "Event" => cluster::EVENT,
        "Deployment" => workload::DEPLOYMENT,
        "ReplicaSet" => workload::REPLICA_SET,
        "StatefulSet" => workload::STATEFUL_SET,
        "DaemonSet" => workload::DAEMON_SET,
        "ControllerRevision" => workload::CONTROLLER_REVISION,
        "Job" => batch::JOB,
        "CronJob" => batch::CRON_JOB,
        "HorizontalPodAutoscaler" => policy::AUTOSCALER,
        "PodDisruptionBudget" => policy::DISRUPTION_BUDGET,
        "ResourceQuota" => policy::RESOURCE_QUOTA,
        "LimitRange" => policy::LIMIT_RANGE,
        "PriorityClass" => policy::PRIORITY_CLASS,
        "PersistentVolumeClaim" => policy::CLAIM,
        "StorageClass" => policy::STORAGE_CLASS,
        "Endpoints" => network::ENDPOINTS,
        "EndpointSlice" => network::ENDPOINT_SLICE,
        "ServiceAccount" => network::SERVICE_ACCOUNT,
        "Lease" => network::LEASE,
        "Ingress" => network::INGRESS,
        "IngressClass" => network::INGRESS_CLASS,
        "NetworkPolicy" => network::NETWORK_POLICY,
        "Role" | "ClusterRole" => policy::ROLE,
        "RoleBinding" | "ClusterRoleBinding" => policy::BINDING,
        _ => &[NAME, AGE],
    }
}

/// A text, or something in its place.
pub(crate) fn text_or(value: &Value, otherwise: &str) -> Value {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(otherwise).into()
}

/// A number, zero when it is missing.
pub(crate) fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// The elements of a list, none when it is missing.
pub(crate) fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A field of each element of a list, with commas.
pub(crate) fn joined(list: &Value, field: &str) -> Value {
    elements(list).filter_map(|element| element[field].as_str()).collect::<Vec<_>>().join(",").into()
}

/// A map of labels as kubectl shows it.
pub(crate) fn labels(map: &Value) -> Value {
    let pairs = map.as_object().into_iter().flatten();
    let text: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if text.is_empty() { "<none>".into() } else { text.join(",").into() }
}

#[cfg(test)]
mod tests;
