//! OpenAPI: what a client may read about fields, generated from the schema.
//!
//! Version 3 says of each resource that the server validates fields, so that kubectl leaves it to the server. Version 2 is
//! for older clients; it exists as JSON and as the protobuf that they ask for, which `document` writes. Types and paths
//! live in the modules below.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::resource::{self, Resource};

mod document;
mod operations;
mod types;

/// The content type of version 2 as protobuf. (Clients ask for it with an `@` before `v1.0`, but fail to read an answer that
/// says so.)
pub const V2_CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The two versions of OpenAPI, which write the same in different words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

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
    let resources = resource::all().filter(|resource| resource.group == group && resource.version == version);
    let (schemas, paths) = described(resources, Dialect::V3);
    (!paths.is_empty()).then(|| {
        json!({
            "openapi": "3.0.0",
            "info": {"title": "skein", "version": "v1"},
            "paths": paths,
            "components": {"schemas": schemas},
        })
    })
}

/// `/openapi/v2` as JSON: everything in one document.
#[must_use]
pub fn v2() -> Value {
    let (definitions, paths) = described(resource::all(), Dialect::V2);
    json!({
        "swagger": "2.0",
        "info": {"title": "skein", "version": "v1"},
        "paths": paths,
        "definitions": definitions,
    })
}

/// The same as protobuf, in the form of gnostic's `openapi.v2.Document`.
#[must_use]
pub fn v2_protobuf() -> Vec<u8> {
    document::encode(&v2())
}

/// The types and the paths of some resources.
fn described(
    resources: impl Iterator<Item = &'static Resource>,
    dialect: Dialect,
) -> (Map<String, Value>, Map<String, Value>) {
    let (mut schemas, mut paths) = (Map::new(), Map::new());
    for resource in resources {
        types::add(&mut schemas, resource.schema, dialect);
        if let Some(schema) = schemas.get_mut(resource.schema.name) {
            let mut kinds = schema["x-kubernetes-group-version-kind"].as_array().cloned().unwrap_or_default();
            kinds.push(gvk(resource));
            schema["x-kubernetes-group-version-kind"] = kinds.into();
        }
        operations::add(&mut paths, resource, dialect);
    }
    (schemas, paths)
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
    fn the_second_version_describes_every_kind_that_can_be_written() {
        let document = v2();
        let definitions = document["definitions"].as_object().unwrap();
        for reference in document.to_string().split("#/definitions/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(definitions.contains_key(name), "{name}");
        }
        for resource in resource::SERVED {
            let definition = &definitions[resource.schema.name];
            assert!(definition["x-kubernetes-group-version-kind"].as_array().unwrap().contains(&gvk(resource)));
            assert_eq!(definition["properties"]["apiVersion"]["type"], "string", "{}", resource.plural);
            let patches = document["paths"].as_object().unwrap().values().filter_map(|path| path.get("patch"));
            let own = patches.filter(|patch| patch["x-kubernetes-group-version-kind"] == gvk(resource));
            let takes = |name: &str| {
                own.clone().any(|patch| patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == name))
            };
            assert_eq!(takes("dryRun"), resource.allows("patch"), "{}", resource.plural);
        }
    }

    #[test]
    fn lists_name_their_keys() {
        let core = document("", "v1").unwrap();
        let containers = &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-type"], "map");
    }
}
