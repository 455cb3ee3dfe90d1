//! Kubernetes events, from the rings in the nodes' reports.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skein_crdt_state::Kind;
use skein_gossip::NodeId;

use super::ApiRef;
use super::metadata::{api_names, time};
use crate::status::Event;

/// The kind of an event.
pub(super) const EVENT_KIND: &str = "Event";
/// Where events about objects without a namespace are shown.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

/// What an event is called: its object's name, and a hash of what it says, so that counting it up makes no new one.
pub(super) fn name(node: &NodeId, event: &Event) -> ApiRef {
    let mut hash = Sha256::new();
    hash.update(node.0);
    let said = [&event.kind, &event.namespace, &event.name, &event.uid, &event.reason, &event.message, &event.source];
    for text in said {
        hash.update(text.len().to_le_bytes());
        hash.update(text.as_bytes());
    }
    let suffix: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let namespace = if event.namespace.is_empty() { DEFAULT_NAMESPACE } else { &event.namespace };
    ApiRef { kind: Kind::new(EVENT_KIND), namespace: namespace.into(), name: format!("{}.{suffix}", event.name).into() }
}

/// The event.
pub(super) fn render(object: &ApiRef, host: &str, event: &Event) -> Value {
    let kind = Kind::new(&event.kind);
    let (api_version, kind) = api_names(&kind);
    let mut involved = json!({"apiVersion": api_version, "kind": kind, "name": event.name, "uid": event.uid});
    if let (false, Some(fields)) = (event.namespace.is_empty(), involved.as_object_mut()) {
        fields.insert("namespace".into(), event.namespace.as_str().into());
    }
    json!({
        "apiVersion": "v1",
        "kind": EVENT_KIND,
        "metadata": {
            "name": &*object.name,
            "namespace": &*object.namespace,
            "uid": uid(object),
            "creationTimestamp": time(event.first_ms),
        },
        "involvedObject": involved,
        "type": if event.warning { "Warning" } else { "Normal" },
        "reason": event.reason,
        "message": event.message,
        "source": {"component": event.source, "host": host},
        "reportingComponent": event.source,
        "reportingInstance": host,
        "firstTimestamp": time(event.first_ms),
        "lastTimestamp": time(event.last_ms),
        "eventTime": null,
        "count": event.count,
    })
}

fn uid(object: &ApiRef) -> String {
    let digest =
        Sha256::new().chain_update(&*object.namespace).chain_update([0]).chain_update(&*object.name).finalize();
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}
