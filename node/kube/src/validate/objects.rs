//! Services and ConfigMaps.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::status::Problem;

/// The most bytes that a ConfigMap may hold.
const MAX_CONFIG_BYTES: usize = 1024 * 1024;

pub(super) fn service(object: &Value, problems: &mut Vec<Problem>) {
    let spec = &object["spec"];
    let kind = spec["type"].as_str().unwrap_or("ClusterIP");
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    if kind == "ExternalName" {
        if spec["externalName"].as_str().is_none_or(str::is_empty) {
            problems.push(Problem::required("spec.externalName", ""));
        }
    } else if ports.is_empty() && spec["clusterIP"] != "None" {
        problems.push(Problem::required("spec.ports", ""));
    }
    let mut names = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{i}].name");
        match port["name"].as_str().filter(|name| !name.is_empty()) {
            None if ports.len() > 1 => problems.push(Problem::required(field, "")),
            Some(name) if !names.insert(name) => problems.push(Problem::duplicate(field, &port["name"])),
            _ => {}
        }
        if port["nodePort"].as_i64().is_some_and(|port| port != 0) && matches!(kind, "ClusterIP" | "ExternalName") {
            let why = format!("may not be used when `type` is '{kind}'");
            problems.push(Problem::forbidden(format!("spec.ports[{i}].nodePort"), &why));
        }
    }
}

pub(super) fn config_map(object: &Value, problems: &mut Vec<Problem>) {
    let entries = |field: &str| object[field].as_object().into_iter().flatten();
    let bytes = entries("data").chain(entries("binaryData")).map(|(_, value)| value.as_str().map_or(0, str::len));
    let bytes: usize = bytes.sum();
    if bytes > MAX_CONFIG_BYTES {
        problems.push(Problem::forbidden("data", &format!("Too long: may not be more than {MAX_CONFIG_BYTES} bytes")));
    }
    for (key, _) in entries("binaryData").filter(|(key, _)| object["data"].get(key.as_str()).is_some()) {
        let why = "duplicate of key present in data";
        problems.push(Problem::invalid(format!("binaryData[{key}]"), &key.as_str().into(), why));
    }
}

/// What was declared immutable stays, and stays immutable.
pub(super) fn config_map_change(old: &Map<String, Value>, new: &Map<String, Value>, problems: &mut Vec<Problem>) {
    if old.get("immutable") != Some(&true.into()) {
        return;
    }
    for field in ["immutable", "data", "binaryData"] {
        if old.get(field) != new.get(field) {
            problems.push(Problem::forbidden(field, "field is immutable when `immutable` is set"));
        }
    }
}
