//! Objects in another version of their resource than the one that they are stored in.

use serde_json::{Map, Value, json};

use crate::resource::Resource;

/// How the fields of a core Event are called in `events.k8s.io`.
const EVENT_FIELDS: [(&str, &str); 12] = [
    ("metadata", "metadata"),
    ("involvedObject", "regarding"),
    ("related", "related"),
    ("message", "note"),
    ("reason", "reason"),
    ("type", "type"),
    ("action", "action"),
    ("eventTime", "eventTime"),
    ("series", "series"),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
    ("source", "deprecatedSource"),
];
/// The same for fields that its authors want to see no more.
const DEPRECATED_EVENT_FIELDS: [(&str, &str); 3] = [
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// A stored object as a resource shows it. `None`: as it is stored.
#[must_use]
pub fn from_stored(resource: &Resource, object: &Value) -> Option<Value> {
    (resource.kind_name == "Event" && resource.group == "events.k8s.io").then(|| event(resource, object))
}

fn event(resource: &Resource, stored: &Value) -> Value {
    let mut shown = Map::new();
    shown.insert("kind".to_owned(), json!(resource.kind_name));
    shown.insert("apiVersion".to_owned(), json!(resource.api_version()));
    for (core, own) in EVENT_FIELDS.into_iter().chain(DEPRECATED_EVENT_FIELDS) {
        if let Some(value) = stored.get(core) {
            shown.insert(own.to_owned(), value.clone());
        }
    }
    // Old events have no controller that reports them, only a source.
    if shown.get("reportingController").is_none_or(|name| name.as_str().is_none_or(str::is_empty)) {
        shown.insert("reportingController".to_owned(), stored["source"]["component"].clone());
    }
    Value::Object(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource;

    #[test]
    fn an_event_is_shown_in_the_words_of_its_own_group() {
        let stored = json!({
            "kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"},
            "message": "hello", "reason": "Started", "count": 2, "source": {"component": "agent"},
        });
        let shown = from_stored(&resource::EVENTS_GROUP_EVENTS, &stored).unwrap_or_default();
        assert_eq!(
            shown,
            json!({
                "kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": "e"}, "regarding": {"kind": "Pod"},
                "note": "hello", "reason": "Started", "deprecatedCount": 2, "deprecatedSource": {"component": "agent"},
                "reportingController": "agent",
            })
        );
        assert_eq!(from_stored(&resource::EVENTS, &stored), None);
    }
}
