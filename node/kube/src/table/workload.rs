//! The cells of Deployments and ReplicaSets.

use serde_json::Value;

use super::{AGE, Cells, Column, NAME, count, joined, labels};

pub(super) const DEPLOYMENT: &[Column] = &[
    NAME,
    Column::text("Ready", |object, _| {
        format!("{}/{}", count(&object["status"]["readyReplicas"]), count(&object["spec"]["replicas"])).into()
    }),
    Column::number("Up-to-date", |object, _| count(&object["status"]["updatedReplicas"]).into()),
    Column::number("Available", |object, _| count(&object["status"]["availableReplicas"]).into()),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const REPLICA_SET: &[Column] = &[
    NAME,
    Column::number("Desired", |object, _| count(&object["spec"]["replicas"]).into()),
    Column::number("Current", |object, _| count(&object["status"]["replicas"]).into()),
    Column::number("Ready", |object, _| count(&object["status"]["readyReplicas"]).into()),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const CONTAINERS: Column = Column::text("Containers", |object, _| joined(containers(object), "name")).wide();
const IMAGES: Column = Column::text("Images", |object, _| joined(containers(object), "image")).wide();
const SELECTOR: Column = Column::text("Selector", selector).wide();

fn containers(object: &Value) -> &Value {
    &object["spec"]["template"]["spec"]["containers"]
}

fn selector(object: &Value, _: &Cells) -> Value {
    labels(&object["spec"]["selector"]["matchLabels"])
}
