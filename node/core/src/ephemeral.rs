//! Containers that are added to a pod while it runs, as for debugging it: where they are kept and how they are read. What
//! starts them does not live here.
//!
//! They belong to one pod, and a slot outlives its pods. So they are kept in the pod's or slot's document by the uid of the pod:
//! whoever takes the slot next has none of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use skein_crdt_state::ObjectState;

use crate::model::pod::EphemeralContainer;

/// The field of the document that holds them: for each pod's uid, and there for each name, a container.
pub const EPHEMERAL_FIELD: &str = "ephemeral";

/// The containers that were added to pods, by their pods' uids.
pub type Added = BTreeMap<String, Arc<[EphemeralContainer]>>;

/// What a document holds once these are a pod's: a list as the pod's spec has it.
#[must_use]
pub fn stored(uid: &str, containers: &[Value]) -> Value {
    let by_name: Map<String, Value> = containers
        .iter()
        .filter_map(|container| {
            let mut fields = container.as_object()?.clone();
            let name = fields.remove("name")?.as_str()?.to_owned();
            Some((name, Value::Object(fields)))
        })
        .collect();
    json!({ EPHEMERAL_FIELD: { uid: by_name } })
}

/// Those of one pod, as its spec shows them. `document` is the pod's or slot's.
#[must_use]
pub fn shown(document: &Value, uid: &str) -> Vec<Value> {
    let of_pod = document.get(EPHEMERAL_FIELD).and_then(|all| all.get(uid)).and_then(Value::as_object);
    let container = |(name, fields): (&String, &Value)| {
        let mut container = fields.as_object().cloned().unwrap_or_default();
        container.insert("name".into(), name.as_str().into());
        Value::Object(container)
    };
    of_pod.into_iter().flatten().map(container).collect()
}

/// Whether a document holds any; most do not, and need not be looked into.
#[must_use]
pub fn has_any(object: &ObjectState) -> bool {
    object.leaves().keys().any(|path| path.starts_with(EPHEMERAL_FIELD))
}

/// All that a document holds. One that cannot be read is passed over: only a merge could have made it.
#[must_use]
pub fn added(document: &Value) -> Added {
    let pods = document.get(EPHEMERAL_FIELD).and_then(Value::as_object).into_iter().flatten();
    pods.map(|(uid, _)| (uid.clone(), shown(document, uid).iter().filter_map(EphemeralContainer::of).collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_kept_by_pod_and_read_back() {
        let list = [json!({"name": "debugger", "image": "bb:1", "targetContainerName": "web"}), json!({"name": "b"})];
        let document = stored("u-1", &list);
        assert_eq!(
            document,
            json!({"ephemeral": {"u-1": {
                "debugger": {"image": "bb:1", "targetContainerName": "web"}, "b": {},
            }}})
        );
        assert_eq!(shown(&document, "u-1"), [list[1].clone(), list[0].clone()]);
        assert_eq!(shown(&document, "u-2"), [] as [Value; 0]);
        let added = added(&document);
        let read: Vec<(&str, &str)> =
            added["u-1"].iter().map(|one| (one.container.name.as_str(), one.target.as_str())).collect();
        assert_eq!(read, [("b", ""), ("debugger", "web")]);
        let wrong = json!({"ephemeral": {"u": {"x": {"args": "no list"}, "y": 1}, "v": []}});
        assert_eq!(super::added(&wrong)["u"].len(), 1);
    }
}
