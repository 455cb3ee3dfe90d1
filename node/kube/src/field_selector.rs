//! Field selectors: objects by a few of their fields, each kind by its own.

use serde_json::Value;

use crate::resource::Resource;

/// The most conditions of one selector.
pub const MAX_CONDITIONS: usize = 64;

/// Conditions on fields that must all hold; none selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    field: &'static SelectableField,
    equal: bool,
    value: String,
}

/// A field that objects can be selected by.
#[derive(Debug, PartialEq, Eq)]
struct SelectableField {
    name: &'static str,
    /// Where it is in the object; of several the first that is there.
    pointers: &'static [&'static str],
    /// What it means when it is not there.
    absent: &'static str,
}

/// A selector that cannot be read or names a field that objects are not selected by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// It is no selector.
    #[error("invalid field selector {0:?}: expected conditions such as metadata.name=web, separated by commas")]
    Syntax(String),
    /// Objects of this kind are not selected by that field.
    #[error("\"{field}\" is not a known field selector: only {}", known.join(", "))]
    UnknownField {
        /// The field.
        field: String,
        /// Those that there are, each in quotes.
        known: Vec<String>,
    },
    /// There are too many conditions.
    #[error("a field selector may have {MAX_CONDITIONS} conditions at most")]
    TooMany,
}

impl FieldSelector {
    /// Reads `spec.nodeName=n1,status.phase!=Failed`.
    ///
    /// # Errors
    /// When it is no selector, or names a field that this resource is not selected by.
    pub fn parse(resource: &Resource, text: &str) -> Result<Self, FieldSelectorError> {
        let mut conditions = Vec::new();
        for part in split_unescaped(text, ',').into_iter().filter(|part| !part.trim().is_empty()) {
            if conditions.len() == MAX_CONDITIONS {
                return Err(FieldSelectorError::TooMany);
            }
            conditions.push(read_condition(resource, part)?);
        }
        Ok(FieldSelector { conditions })
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether an object fulfils it.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.conditions.iter().all(|condition| condition.field.equals(object, &condition.value) == condition.equal)
    }

    /// The one name that it selects, if it selects by name: lets a list look up instead of going through everything.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let by_name = self.conditions.iter().find(|c| c.equal && c.field.name == "metadata.name");
        by_name.map(|condition| condition.value.as_str())
    }
}

impl SelectableField {
    fn equals(&self, object: &Value, wanted: &str) -> bool {
        match self.pointers.iter().find_map(|pointer| object.pointer(pointer)) {
            None | Some(Value::Null) => wanted == self.absent,
            Some(Value::String(text)) => text == wanted,
            // Numbers and truth values are selected by their text.
            Some(other) => {
                let text = other.to_string();
                text == wanted
            }
        }
    }
}

fn read_condition(resource: &Resource, text: &str) -> Result<Condition, FieldSelectorError> {
    let wrong = || FieldSelectorError::Syntax(text.chars().take(128).collect());
    let (name, rest) = text.split_at(text.find(['=', '!']).ok_or_else(wrong)?);
    let (equal, value) = match (rest.strip_prefix("!="), rest.strip_prefix("=="), rest.strip_prefix('=')) {
        (Some(value), _, _) => (false, value),
        (_, Some(value), _) | (_, _, Some(value)) => (true, value),
        _ => return Err(wrong()),
    };
    let name = name.trim();
    let known = || COMMON.iter().chain(own_fields(resource.stored_kind));
    let field = known().find(|field| field.name == name).ok_or_else(|| FieldSelectorError::UnknownField {
        field: name.chars().take(128).collect(),
        known: known().map(|field| format!("\"{}\"", field.name)).collect(),
    })?;
    Ok(Condition { field, equal, value: unescape(value).ok_or_else(wrong)? })
}

fn split_unescaped(text: &str, at: char) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        if c == at && !escaped {
            parts.push(&text[start..i]);
            start = i + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        plain.push(if c == '\\' { rest.next().filter(|c| matches!(c, '\\' | ',' | '='))? } else { c });
    }
    Some(plain)
}

const fn field(name: &'static str, pointers: &'static [&'static str]) -> SelectableField {
    SelectableField { name, pointers, absent: "" }
}

static COMMON: [SelectableField; 2] =
    [field("metadata.name", &["/metadata/name"]), field("metadata.namespace", &["/metadata/namespace"])];

static POD_FIELDS: [SelectableField; 8] = [
    field("spec.nodeName", &["/spec/nodeName"]),
    field("spec.restartPolicy", &["/spec/restartPolicy"]),
    field("spec.schedulerName", &["/spec/schedulerName"]),
    field("spec.serviceAccountName", &["/spec/serviceAccountName"]),
    SelectableField { name: "spec.hostNetwork", pointers: &["/spec/hostNetwork"], absent: "false" },
    field("status.phase", &["/status/phase"]),
    field("status.podIP", &["/status/podIP"]),
    field("status.nominatedNodeName", &["/status/nominatedNodeName"]),
];

/// Both groups' names, each looked up in both groups' forms.
static EVENT_FIELDS: [SelectableField; 18] = [
    field("involvedObject.kind", &["/involvedObject/kind", "/regarding/kind"]),
    field("involvedObject.namespace", &["/involvedObject/namespace", "/regarding/namespace"]),
    field("involvedObject.name", &["/involvedObject/name", "/regarding/name"]),
    field("involvedObject.uid", &["/involvedObject/uid", "/regarding/uid"]),
    field("involvedObject.apiVersion", &["/involvedObject/apiVersion", "/regarding/apiVersion"]),
    field("involvedObject.resourceVersion", &["/involvedObject/resourceVersion", "/regarding/resourceVersion"]),
    field("involvedObject.fieldPath", &["/involvedObject/fieldPath", "/regarding/fieldPath"]),
    field("regarding.kind", &["/involvedObject/kind", "/regarding/kind"]),
    field("regarding.namespace", &["/involvedObject/namespace", "/regarding/namespace"]),
    field("regarding.name", &["/involvedObject/name", "/regarding/name"]),
    field("regarding.uid", &["/involvedObject/uid", "/regarding/uid"]),
    field("regarding.apiVersion", &["/involvedObject/apiVersion", "/regarding/apiVersion"]),
    field("reason", &["/reason"]),
    field("reportingComponent", &["/reportingComponent", "/reportingController"]),
    field("reportingController", &["/reportingComponent", "/reportingController"]),
    field("source", &["/source/component", "/deprecatedSource/component"]),
    field("type", &["/type"]),
    field("action", &["/action"]),
];

static NODE_FIELDS: [SelectableField; 1] =
    [SelectableField { name: "spec.unschedulable", pointers: &["/spec/unschedulable"], absent: "false" }];
static NAMESPACE_FIELDS: [SelectableField; 1] = [field("status.phase", &["/status/phase"])];
static REPLICA_SET_FIELDS: [SelectableField; 1] =
    [SelectableField { name: "status.replicas", pointers: &["/status/replicas"], absent: "0" }];
static SERVICE_FIELDS: [SelectableField; 2] =
    [field("spec.clusterIP", &["/spec/clusterIP"]), field("spec.type", &["/spec/type"])];
static JOB_FIELDS: [SelectableField; 1] =
    [SelectableField { name: "status.successful", pointers: &["/status/succeeded"], absent: "0" }];

fn own_fields(kind: &str) -> &'static [SelectableField] {
    match kind {
        "Pod" => &POD_FIELDS,
        "Event" => &EVENT_FIELDS,
        "Node" => &NODE_FIELDS,
        "Namespace" => &NAMESPACE_FIELDS,
        "ReplicaSet.apps" => &REPLICA_SET_FIELDS,
        "Service" => &SERVICE_FIELDS,
        "Job.batch" => &JOB_FIELDS,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resource;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_selectors_that_kubectl_sends_are_understood() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        let selects = |text: &str| FieldSelector::parse(&resource::PODS, text).unwrap().matches(&pod);
        assert!(selects("spec.nodeName=n1,status.phase!=Succeeded,status.phase!=Failed"));
        assert!(selects("metadata.name==p"));
        assert!(selects(""));
        assert!(!selects("spec.nodeName=n2"));
        assert!(selects("spec.hostNetwork=false,status.nominatedNodeName="));
        assert_eq!(FieldSelector::parse(&resource::PODS, "metadata.name=p").unwrap().name(), Some("p"));
    }

    #[test]
    fn events_of_both_groups_are_selected_by_what_they_are_about() {
        let core = json!({"involvedObject": {"name": "web", "uid": "1"}, "type": "Normal"});
        let own = json!({"regarding": {"name": "web", "uid": "1"}, "type": "Normal"});
        for (resource, event) in [(&resource::EVENTS, &core), (&resource::EVENTS_GROUP_EVENTS, &own)] {
            for text in ["involvedObject.name=web,involvedObject.uid=1", "regarding.name=web", "type!=Warning"] {
                assert!(FieldSelector::parse(resource, text).unwrap().matches(event), "{text}");
            }
        }
    }

    #[test]
    fn an_unknown_field_is_named_with_those_that_there_are() {
        let error = FieldSelector::parse(&resource::CONFIG_MAPS, "data.x=1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"data.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        assert!(FieldSelector::parse(&resource::PODS, "metadata.name").is_err());
    }

    #[test]
    fn a_value_may_hold_what_parts_conditions_when_it_is_escaped() {
        let map = json!({"metadata": {"name": "a,b=c"}});
        assert!(FieldSelector::parse(&resource::CONFIG_MAPS, "metadata.name=a\\,b\\=c").unwrap().matches(&map));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = FieldSelector::parse(&resource::PODS, &text);
        }
    }
}
