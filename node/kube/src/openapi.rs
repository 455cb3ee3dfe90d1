//! OpenAPI: what a client may read about fields, generated from the schema.
//!
//! Version 3 is served whole; it says of each resource that the server validates fields, so that kubectl leaves it to the
//! server. Version 2 is an empty document: the cheapest thing that makes older clients go on.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::resource::{self, Resource};
use crate::schema::{Check, Field, Merge, Support, Ty, TypeSchema};

/// The content type of version 2, which only exists as protobuf. (Clients ask for it with an `@` before `v1.0`, but fail
/// to read an answer that says so.)
pub const V2_CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `/openapi/v3`: where the document of each group and version is. The address holds a hash, for clients' caches.
#[must_use]
pub fn index() -> Value {
    let mut paths = Map::new();
    for (group, version) in group_versions() {
        let name = path_name(group, version);
        let text = document(group, version).unwrap_or_default().to_string();
        let hash: String = Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02X}")).collect();
        paths.insert(name.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{name}?hash={hash}")}));
    }
    json!({ "paths": paths })
}

/// `/openapi/v3/api/v1` and `/openapi/v3/apis/GROUP/VERSION`; `None`: no such group.
#[must_use]
pub fn document(group: &str, version: &str) -> Option<Value> {
    let resources: Vec<&'static Resource> =
        resource::all().filter(|resource| resource.group == group && resource.version == version).collect();
    if resources.is_empty() {
        return None;
    }
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for resource in resources {
        add_type(&mut schemas, resource.schema);
        if let Some(schema) = schemas.get_mut(resource.schema.name) {
            let mut kinds = schema["x-kubernetes-group-version-kind"].as_array().cloned().unwrap_or_default();
            kinds.push(gvk(resource));
            schema["x-kubernetes-group-version-kind"] = kinds.into();
        }
        add_paths(&mut paths, resource);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "skein", "version": "v1"},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

fn group_versions() -> BTreeSet<(&'static str, &'static str)> {
    resource::all().map(|resource| (resource.group, resource.version)).collect()
}

fn path_name(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn gvk(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind_name})
}

fn reference(schema: &TypeSchema) -> Value {
    json!({"$ref": format!("#/components/schemas/{}", schema.name)})
}

fn add_paths(paths: &mut Map<String, Value>, resource: &'static Resource) {
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("/{}{scope}/{}", path_name(resource.group, resource.version), resource.plural);
    let answer = json!({"200": {
        "description": "OK",
        "content": {"application/json": {"schema": reference(resource.schema)}},
    }});
    let operation = |action: &str, parameters: &[&str]| {
        let parameter =
            |name: &&str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
        json!({
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk(resource),
            "parameters": parameters.iter().map(parameter).collect::<Vec<_>>(),
            "responses": answer,
        })
    };
    let write = ["dryRun", "fieldManager", "fieldValidation"];
    let mut of_collection = Map::new();
    let mut of_object = Map::new();
    for verb in resource.verbs {
        match *verb {
            "list" => {
                of_collection
                    .insert("get".into(), operation("list", &["fieldSelector", "labelSelector", "limit", "watch"]));
            }
            "create" => drop(of_collection.insert("post".into(), operation("post", &write))),
            "get" => drop(of_object.insert("get".into(), operation("get", &[]))),
            "update" => drop(of_object.insert("put".into(), operation("put", &write))),
            "patch" => {
                let patch = ["dryRun", "fieldManager", "fieldValidation", "force"];
                of_object.insert("patch".into(), operation("patch", &patch));
            }
            "delete" => drop(of_object.insert("delete".into(), operation("delete", &["dryRun"]))),
            _ => {}
        }
    }
    paths.insert(format!("{collection}/{{name}}"), of_object.into());
    paths.insert(collection, of_collection.into());
}

fn add_type(schemas: &mut Map<String, Value>, schema: &'static TypeSchema) {
    if schemas.contains_key(schema.name) {
        return;
    }
    // A type may hold itself; the empty entry ends the circle.
    schemas.insert(schema.name.to_owned(), json!({}));
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in schema.fields {
        if field.required {
            required.push(Value::from(field.name));
        }
        properties.insert(field.name.to_owned(), property(schemas, field));
    }
    let mut body = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        body["required"] = required.into();
    }
    schemas.insert(schema.name.to_owned(), body);
}

fn property(schemas: &mut Map<String, Value>, field: &'static Field) -> Value {
    let mut value = of_type(schemas, &field.ty);
    if let Some(default) = field.default.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        value["default"] = default;
    }
    if let Check::OneOf(values) = field.check {
        value["enum"] = json!(values);
    }
    if matches!(field.ty, Ty::List(_)) {
        value["x-kubernetes-list-type"] = match (field.keys, field.merge) {
            ([], Merge::Set) => "set".into(),
            ([], _) => "atomic".into(),
            (keys, _) => {
                value["x-kubernetes-list-map-keys"] = json!(keys);
                "map".into()
            }
        };
        match field.merge {
            Merge::By(key) => {
                value["x-kubernetes-patch-strategy"] = "merge".into();
                value["x-kubernetes-patch-merge-key"] = key.into();
            }
            Merge::Set => value["x-kubernetes-patch-strategy"] = "merge".into(),
            Merge::Replace => {}
        }
    }
    value["description"] = match field.support {
        Support::Full => "",
        Support::NotYet => "Known to Kubernetes and not honoured by skein yet: refused unless it is empty.",
        Support::System => "Set by the system; what a client sends is dropped.",
    }
    .into();
    value
}

fn of_type(schemas: &mut Map<String, Value>, ty: &'static Ty) -> Value {
    match ty {
        Ty::Str => json!({"type": "string"}),
        Ty::Bool => json!({"type": "boolean"}),
        Ty::Int32 => json!({"type": "integer", "format": "int32"}),
        Ty::Int64 => json!({"type": "integer", "format": "int64"}),
        Ty::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Ty::IntOrString => json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        Ty::Time | Ty::MicroTime => json!({"type": "string", "format": "date-time"}),
        Ty::Bytes => json!({"type": "string", "format": "byte"}),
        Ty::Any => json!({"x-kubernetes-preserve-unknown-fields": true, "type": "object"}),
        Ty::Object(schema) => {
            add_type(schemas, schema);
            json!({"allOf": [reference(schema)]})
        }
        Ty::List(of) => json!({"type": "array", "items": of_type(schemas, of)}),
        Ty::Map(of) => json!({"type": "object", "additionalProperties": of_type(schemas, of)}),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_server_says_that_it_validates() {
        let apps = document("apps", "v1").unwrap();
        let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        let names: Vec<&str> =
            patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"fieldValidation") && names.contains(&"dryRun"));
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_document_is_in_the_index() {
        let index = index();
        for (group, version) in group_versions() {
            let name = path_name(group, version);
            assert!(index["paths"][&name]["serverRelativeURL"].as_str().unwrap().contains("hash="), "{name}");
            let document = document(group, version).unwrap();
            let schemas = document["components"]["schemas"].as_object().unwrap();
            for reference in document.to_string().split("#/components/schemas/").skip(1) {
                let name = reference.split('"').next().unwrap();
                assert!(schemas.contains_key(name), "{name}");
            }
        }
        assert_eq!(document("apps", "v9"), None);
    }

    #[test]
    fn lists_name_their_keys() {
        let core = document("", "v1").unwrap();
        let containers = &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-type"], "map");
    }
}
