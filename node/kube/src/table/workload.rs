//! The cells of Deployments, ReplicaSets, StatefulSets and DaemonSets.

use serde_json::Value;

use super::{AGE, Cells, Column, NAME, count, elements, joined, labels};

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

pub(super) const STATEFUL_SET: &[Column] = &[
    NAME,
    Column::text("Ready", |object, _| {
        format!("{}/{}", count(&object["status"]["readyReplicas"]), count(&object["spec"]["replicas"])).into()
    }),
    AGE,
    CONTAINERS,
    IMAGES,
];

pub(super) const DAEMON_SET: &[Column] = &[
    NAME,
    Column::number("Desired", |object, _| count(&object["status"]["desiredNumberScheduled"]).into()),
    Column::number("Current", |object, _| count(&object["status"]["currentNumberScheduled"]).into()),
    Column::number("Ready", |object, _| count(&object["status"]["numberReady"]).into()),
    Column::number("Up-to-date", |object, _| count(&object["status"]["updatedNumberScheduled"]).into()),
    Column::number("Available", |object, _| count(&object["status"]["numberAvailable"]).into()),
    Column::text("Node Selector", |object, _| labels(&object["spec"]["template"]["spec"]["nodeSelector"])),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const CONTROLLER_REVISION: &[Column] = &[
    NAME,
    Column::text("Controller", |object, _| {
        let owner = elements(&object["metadata"]["ownerReferences"]).find(|owner| owner["controller"] == true);
        owner.map_or_else(
            || "<none>".into(),
            |owner| {
                let (api, kind) = (owner["apiVersion"].as_str().unwrap_or_default(), owner["kind"].as_str());
                let group = api.split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
                let kind = kind.unwrap_or_default().to_lowercase();
                format!("{kind}{group}/{}", owner["name"].as_str().unwrap_or_default()).into()
            },
        )
    }),
    Column::number("Revision", |object, _| count(&object["revision"]).into()),
    AGE,
];

pub(super) const CONTAINERS: Column = Column::text("Containers", |object, _| joined(containers(object), "name")).wide();
pub(super) const IMAGES: Column = Column::text("Images", |object, _| joined(containers(object), "image")).wide();
pub(super) const SELECTOR: Column = Column::text("Selector", selector).wide();

fn containers(object: &Value) -> &Value {
    &object["spec"]["template"]["spec"]["containers"]
}

fn selector(object: &Value, _: &Cells) -> Value {
    labels(&object["spec"]["selector"]["matchLabels"])
}
