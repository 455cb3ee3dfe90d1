//! The paths of a resource as OpenAPI's: which verbs it has, with which parameters.

use serde_json::{Map, Value, json};

use super::types::reference;
use super::{Dialect, gvk, path_name};
use crate::resource::Resource;

const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
const LIST: &[&str] = &["fieldSelector", "labelSelector", "limit", "resourceVersion", "watch"];
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Adds the paths of a resource's objects.
pub(super) fn add(paths: &mut Map<String, Value>, resource: &'static Resource, dialect: Dialect) {
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("/{}{scope}/{}", path_name(resource.group, resource.version), resource.plural);
    let (mut of_collection, mut of_object) = (Map::new(), Map::new());
    for verb in resource.verbs {
        let (path, method, action, parameters) = match *verb {
            "list" => (&mut of_collection, "get", "list", LIST),
            "create" => (&mut of_collection, "post", "post", WRITE),
            "get" => (&mut of_object, "get", "get", &[][..]),
            "update" => (&mut of_object, "put", "put", WRITE),
            "patch" => (&mut of_object, "patch", "patch", PATCH),
            "delete" => (&mut of_object, "delete", "delete", &["dryRun"][..]),
            "deletecollection" => (&mut of_collection, "delete", "deletecollection", LIST),
            _ => continue,
        };
        path.insert(method.to_owned(), operation(resource, action, parameters, dialect));
    }
    let in_path: &[&str] = if resource.namespaced { &["namespace"] } else { &[] };
    for (path, mut item, in_path) in [
        (format!("{collection}/{{name}}"), of_object, [&["name"], in_path].concat()),
        (collection, of_collection, in_path.to_vec()),
    ] {
        if item.is_empty() {
            continue;
        }
        if !in_path.is_empty() {
            let parameters = in_path.iter().map(|name| parameter(name, "path", dialect));
            item.insert("parameters".to_owned(), parameters.collect());
        }
        paths.insert(path, item.into());
    }
}

fn operation(resource: &'static Resource, action: &str, parameters: &[&str], dialect: Dialect) -> Value {
    let schema = reference(resource.schema, dialect);
    let mut all: Vec<Value> = parameters.iter().map(|name| parameter(name, "query", dialect)).collect();
    let takes_object = matches!(action, "post" | "put");
    let mut operation = json!({"x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk(resource)});
    match dialect {
        Dialect::V2 => {
            operation["responses"] = json!({"200": {"description": "OK", "schema": schema}});
            operation["produces"] = json!(["application/json"]);
            if action == "patch" {
                operation["consumes"] = json!(PATCHES);
            }
            if takes_object || action == "patch" {
                let schema = if takes_object { schema } else { json!({"type": "object"}) };
                all.push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
            }
        }
        Dialect::V3 => {
            let content = json!({"application/json": {"schema": schema}});
            operation["responses"] = json!({"200": {"description": "OK", "content": content}});
            if takes_object {
                operation["requestBody"] = json!({"required": true, "content": content});
            }
        }
    }
    operation["parameters"] = all.into();
    operation
}

fn parameter(name: &str, place: &str, dialect: Dialect) -> Value {
    let mut parameter = json!({"name": name, "in": place});
    match dialect {
        Dialect::V2 => {
            parameter["type"] = "string".into();
            parameter["uniqueItems"] = true.into();
        }
        Dialect::V3 => parameter["schema"] = json!({"type": "string", "uniqueItems": true}),
    }
    if place == "path" {
        parameter["required"] = true.into();
    }
    parameter
}
