//! Patches: an object and a client's patch give a new object. JSON patch, JSON merge patch, and Kubernetes' strategic
//! merge patch, which lives in `strategic`. Whether the result is valid does not live here.

use json_patch::{Patch as JsonPatch, PatchOperation};
use serde_json::Value;

use crate::apply::FieldSet;
use crate::body;
use crate::resource::Resource;
use crate::schema::TypeSchema;
use crate::status::{Details, Status};

pub mod strategic;

/// The most operations of a JSON patch.
pub const MAX_OPERATIONS: usize = 10_000;
/// The most operations of a JSON patch that copy or move: each may double the object.
pub const MAX_COPIES: usize = 100;
/// The most steps of a JSON patch's path.
const MAX_POINTER_STEPS: usize = 64;
/// The most values and bytes of texts that an object may have after a JSON patch.
const MAX_OBJECT_WEIGHT: usize = 4 * 1024 * 1024;
/// The deepest that values may be nested after a JSON patch: no JSON body could be deeper, so that what is stored can
/// be read again.
const MAX_DEPTH: usize = 126;
/// The most elements of lists that a JSON patch may push aside in all: each operation on a list moves what is behind.
const MAX_PUSHED_ELEMENTS: usize = 20_000_000;

/// The types of patches that say how to change an object, by their content types.
pub const PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];
/// All that an object's patch may be: what is applied is none in this sense, see [`crate::apply`].
pub const ACCEPTED: &[&str] = &[PATCHES[0], PATCHES[1], PATCHES[2], crate::apply::CONTENT_TYPE];

/// A client's patch.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// RFC 6902.
    Json(JsonPatch),
    /// RFC 7396.
    Merge(Value),
    /// Kubernetes' own.
    Strategic(Value),
}

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// 415 for another type, 400 when it cannot be read, 413 when it is too long or too
    /// deep.
    pub fn read(content_type: Option<&str>, patch: &[u8]) -> Result<Self, Status> {
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json-patch+json" => read_json_patch(patch).map(Patch::Json),
            "application/merge-patch+json" => object(patch).map(Patch::Merge),
            "application/strategic-merge-patch+json" => object(patch).map(Patch::Strategic),
            crate::apply::CONTENT_TYPE => Err(Status::unsupported_patch_type(PATCHES)),
            _ => Err(Status::unsupported_patch_type(ACCEPTED)),
        }
    }

    /// The resourceVersion that the object must have for the patch to be applied: the one that the patch writes.
    #[must_use]
    pub fn resource_version(&self) -> Option<String> {
        self.metadata_text("resourceVersion")
    }

    /// The uid that the object must have for the patch to be applied.
    #[must_use]
    pub fn uid(&self) -> Option<String> {
        self.metadata_text("uid")
    }

    fn metadata_text(&self, field: &str) -> Option<String> {
        let value = match self {
            Patch::Merge(patch) | Patch::Strategic(patch) => patch["metadata"][field].as_str(),
            Patch::Json(patch) => patch.0.iter().rev().find_map(|operation| match operation {
                PatchOperation::Add(add) if add.path.as_str() == format!("/metadata/{field}") => add.value.as_str(),
                PatchOperation::Replace(replace) if replace.path.as_str() == format!("/metadata/{field}") => {
                    replace.value.as_str()
                }
                _ => None,
            }),
        };
        value.filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The fields that it names with what they shall be; none of a JSON patch, whose operations go by places in lists.
    #[must_use]
    pub fn named_fields(&self, resource: &Resource) -> FieldSet {
        match self {
            Patch::Merge(patch) | Patch::Strategic(patch) => FieldSet::of(resource, patch),
            Patch::Json(_) => FieldSet::default(),
        }
    }

    /// Applies it to an object of a resource.
    ///
    /// # Errors
    /// 422 when it does not fit the object, 400 when it makes no sense.
    pub fn apply(&self, resource: &Resource, to: &Value) -> Result<Value, Status> {
        self.apply_to(resource.schema, to)
    }

    /// Applies it to an object of a type.
    ///
    /// # Errors
    /// As [`Patch::apply`].
    pub fn apply_to(&self, of: &'static TypeSchema, to: &Value) -> Result<Value, Status> {
        match self {
            Patch::Json(patch) => apply_json_patch(patch, to),
            Patch::Merge(patch) => {
                let mut merged = to.clone();
                merge(&mut merged, patch);
                Ok(merged)
            }
            Patch::Strategic(patch) => {
                strategic::merge(of, to, patch).map_err(|error| Status::bad_request(error.to_string()))
            }
        }
    }
}

/// RFC 7396: maps are merged, null removes, everything else replaces.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    let Value::Object(fields) = into else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.as_str()).or_insert(Value::Null), change);
        }
    }
}

fn object(patch: &[u8]) -> Result<Value, Status> {
    let value = body::decode_json(patch)?;
    if value.is_object() {
        return Ok(value);
    }
    Err(Status::bad_request(format!("a merge patch must be an object, but it is {}", body::kind_of(&value))))
}

fn read_json_patch(patch: &[u8]) -> Result<JsonPatch, Status> {
    let read: JsonPatch = serde_json::from_slice(patch)
        .map_err(|error| Status::bad_request(format!("the body is no JSON patch: {error}")))?;
    if read.0.len() > MAX_OPERATIONS {
        let message =
            format!("a JSON patch may have at most {MAX_OPERATIONS} operations, this one has {}", read.0.len());
        return Err(too_large(message));
    }
    let copies = read.0.iter().filter(|operation| grows(operation)).count();
    let steps = read.0.iter().map(|operation| operation.path().as_str().matches('/').count()).max();
    if copies > MAX_COPIES || steps.unwrap_or(0) > MAX_POINTER_STEPS {
        let message = format!(
            "a JSON patch may copy or move at most {MAX_COPIES} times, and its paths may have at most \
             {MAX_POINTER_STEPS} steps"
        );
        return Err(too_large(message));
    }
    Ok(read)
}

fn apply_json_patch(patch: &JsonPatch, to: &Value) -> Result<Value, Status> {
    let mut patched = to.clone();
    let mut pushed = 0;
    for (index, operation) in patch.0.iter().enumerate() {
        pushed += pushed_aside(&patched, operation);
        if pushed > MAX_PUSHED_ELEMENTS {
            return Err(too_large("the JSON patch inserts or removes too often in lists that are too long"));
        }
        json_patch::patch(&mut patched, std::slice::from_ref(operation)).map_err(|error| {
            let number = index + 1;
            let (name, path, why) = (name(operation), operation.path(), error.kind);
            let message =
                format!("operation {number} of the JSON patch, {name} at \"{path}\", cannot be applied: {why}");
            Status::new(422, "Invalid", message).with(Details::default())
        })?;
        if grows(operation) || index + 1 == patch.0.len() {
            weight(&patched, 0)
                .filter(|weight| *weight <= MAX_OBJECT_WEIGHT)
                .ok_or_else(|| too_large("the JSON patch makes the object too large or too deep"))?;
        }
    }
    Ok(patched)
}

/// How many elements of lists an operation may move to make or close a gap.
fn pushed_aside(to: &Value, operation: &PatchOperation) -> usize {
    let list_of = |path: &str| {
        let (parent, last) = path.rsplit_once('/')?;
        let Value::Array(elements) = to.pointer(parent)? else { return None };
        Some(elements.len().saturating_sub(last.parse().unwrap_or(elements.len())))
    };
    let beside = |path: &str| list_of(path).unwrap_or(0);
    match operation {
        PatchOperation::Add(add) => beside(add.path.as_str()),
        PatchOperation::Remove(remove) => beside(remove.path.as_str()),
        PatchOperation::Copy(copy) => beside(copy.path.as_str()),
        PatchOperation::Move(moved) => beside(moved.from.as_str()) + beside(moved.path.as_str()),
        PatchOperation::Replace(_) | PatchOperation::Test(_) => 0,
    }
}

fn name(operation: &PatchOperation) -> &'static str {
    match operation {
        PatchOperation::Add(_) => "add",
        PatchOperation::Remove(_) => "remove",
        PatchOperation::Replace(_) => "replace",
        PatchOperation::Move(_) => "move",
        PatchOperation::Copy(_) => "copy",
        PatchOperation::Test(_) => "test",
    }
}

fn too_large(message: impl Into<String>) -> Status {
    Status::new(413, "RequestEntityTooLarge", message).with(Details::default())
}

fn grows(operation: &PatchOperation) -> bool {
    matches!(operation, PatchOperation::Copy(_) | PatchOperation::Move(_))
}

/// How much there is of a value; `None`: it is nested deeper than any JSON body could be.
fn weight(value: &Value, depth: usize) -> Option<usize> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut total = 1;
    match value {
        Value::String(text) => total += text.len(),
        Value::Array(elements) => {
            for element in elements {
                total += weight(element, depth + 1)?;
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                total += name.len() + weight(value, depth + 1)?;
            }
        }
        _ => {}
    }
    Some(total)
}

#[cfg(test)]
mod clients;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resource;
    use proptest::prelude::*;
    use serde_json::json;

    const JSON: Option<&str> = Some("application/json-patch+json");
    const MERGE: Option<&str> = Some("application/merge-patch+json");

    fn apply(kind: Option<&str>, to: &Value, patch: &Value) -> Result<Value, Status> {
        Patch::read(kind, patch.to_string().as_bytes())?.apply(&resource::CONFIG_MAPS, to)
    }

    /// The test cases of RFC 7396, appendix A.
    #[test]
    fn a_merge_patch_does_what_its_rfc_says() {
        for (to, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(apply(MERGE, &to, &patch).unwrap(), result, "{to} {patch}");
        }
        assert_eq!(apply(MERGE, &json!({}), &json!(["c"])).unwrap_err().code, 400);
    }

    #[test]
    fn a_json_patch_is_applied_or_says_where_it_does_not_fit() {
        let map = json!({"metadata": {"name": "a"}, "data": {"x": "1", "a/b": "2"}});
        let patch = json!([
            {"op": "test", "path": "/data/x", "value": "1"},
            {"op": "replace", "path": "/data/a~1b", "value": "3"},
            {"op": "move", "from": "/data/x", "path": "/data/y"},
            {"op": "add", "path": "/metadata/labels", "value": {"l": "m"}},
        ]);
        let patched = apply(JSON, &map, &patch).unwrap();
        assert_eq!(patched, json!({"metadata": {"name": "a", "labels": {"l": "m"}}, "data": {"y": "1", "a/b": "3"}}));
        let error = apply(JSON, &map, &json!([{"op": "remove", "path": "/nothing/here"}])).unwrap_err();
        assert_eq!((error.code, error.reason), (422, "Invalid"));
        assert!(
            error.message.starts_with(r#"operation 1 of the JSON patch, remove at "/nothing/here", "#),
            "{}",
            error.message
        );
        assert_eq!(apply(JSON, &map, &json!({"op": "add"})).unwrap_err().code, 400);
    }

    #[test]
    fn a_patch_that_would_blow_an_object_up_is_refused() {
        let map = json!({"data": {"a": "x".repeat(1000)}});
        let doubling = |n: usize| {
            (0..n).map(|i| json!({"op": "copy", "from": "/data", "path": format!("/data/c{i}")})).collect::<Value>()
        };
        assert!(apply(JSON, &map, &doubling(3)).is_ok());
        assert_eq!(apply(JSON, &map, &doubling(40)).unwrap_err().code, 413);
        assert_eq!(apply(JSON, &map, &doubling(101)).unwrap_err().code, 413);
        let deep = json!([{"op": "add", "path": "/a".repeat(65), "value": 1}]);
        assert_eq!(apply(JSON, &map, &deep).unwrap_err().code, 413);
    }

    #[test]
    fn a_version_in_a_patch_is_a_condition() {
        let version = |kind: &str, patch: Value| {
            Patch::read(Some(kind), patch.to_string().as_bytes()).unwrap().resource_version()
        };
        let metadata = json!({"metadata": {"resourceVersion": "7"}});
        assert_eq!(version("application/merge-patch+json", metadata.clone()).as_deref(), Some("7"));
        assert_eq!(version("application/strategic-merge-patch+json; charset=utf-8", metadata).as_deref(), Some("7"));
        let replace = json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "8"}]);
        assert_eq!(version("application/json-patch+json", replace).as_deref(), Some("8"));
        assert_eq!(version("application/json-patch+json", json!([])), None);
    }

    #[test]
    fn other_types_are_refused_with_those_that_there_are() {
        for kind in [Some("application/apply-patch+yaml"), Some("application/json"), None] {
            let error = Patch::read(kind, b"{}").unwrap_err();
            assert_eq!((error.code, error.reason), (415, "UnsupportedMediaType"));
            assert!(error.message.contains("application/strategic-merge-patch+json"));
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i8>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_merge_patch_applied_twice_changes_nothing_more(to in any_json(), patch in any_json()) {
            let mut once = to;
            merge(&mut once, &patch);
            let mut twice = once.clone();
            merge(&mut twice, &patch);
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn any_bytes_are_a_patch_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100), to in any_json()) {
            for kind in ACCEPTED {
                if let Ok(patch) = Patch::read(Some(kind), &bytes) {
                    let _ = patch.apply(&resource::PODS, &to);
                }
            }
        }
    }
}
