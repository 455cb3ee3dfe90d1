//! Services, ConfigMaps, Secrets and claims of volumes.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use crate::quantity::Quantity;
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
        problems.push(Problem::too_long("data", MAX_CONFIG_BYTES));
    }
    for (key, _) in entries("binaryData").filter(|(key, _)| object["data"].get(key.as_str()).is_some()) {
        let why = "duplicate of key present in data";
        problems.push(Problem::invalid(format!("binaryData[{key}]"), &key.as_str().into(), why));
    }
}

/// What a Secret of a type must hold: each key, or one of those of `kubernetes.io/basic-auth`.
const SECRET_KEYS: [(&str, &[&str]); 5] = [
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
    ("kubernetes.io/basic-auth", &[]),
];
/// The keys of a docker configuration, which must be JSON.
const DOCKER_KEYS: [&str; 2] = [".dockercfg", ".dockerconfigjson"];
const SERVICE_ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";

pub(super) fn secret(object: &Value, problems: &mut Vec<Problem>) {
    let data = object["data"].as_object();
    let decoded = |value: &Value| BASE64.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    let bytes: usize = data.into_iter().flatten().map(|(_, value)| decoded(value).len()).sum();
    if bytes > MAX_CONFIG_BYTES {
        problems.push(Problem::too_long("data", MAX_CONFIG_BYTES));
    }
    let kind = object["type"].as_str().unwrap_or_default();
    let keys = SECRET_KEYS.iter().find(|(of, _)| *of == kind).map_or(&[][..], |(_, keys)| *keys);
    for key in keys {
        let field = format!("data[{key}]");
        match data.and_then(|data| data.get(*key)) {
            None => problems.push(Problem::required(field, "")),
            Some(value) if DOCKER_KEYS.contains(key) && serde_json::from_slice::<Value>(&decoded(value)).is_err() => {
                problems.push(Problem::invalid(field, &"<secret contents redacted>".into(), "must be JSON"));
            }
            Some(_) => {}
        }
    }
    let has = |key: &str| data.is_some_and(|data| data.contains_key(key));
    if kind == "kubernetes.io/basic-auth" && !has("username") && !has("password") {
        problems.push(Problem::required("data[username]", ""));
        problems.push(Problem::required("data[password]", ""));
    }
    let account = &object["metadata"]["annotations"][SERVICE_ACCOUNT_ANNOTATION];
    if kind == "kubernetes.io/service-account-token" && account.as_str().is_none_or(str::is_empty) {
        problems.push(Problem::required(format!("metadata.annotations[{SERVICE_ACCOUNT_ANNOTATION}]"), ""));
    }
}

/// What was declared immutable stays, and stays immutable.
pub(super) fn declared_immutable(old: &Map<String, Value>, new: &Map<String, Value>, problems: &mut Vec<Problem>) {
    if old.get("immutable") != Some(&true.into()) {
        return;
    }
    // A Secret has no binaryData.
    for field in ["immutable", "data", "binaryData"] {
        if old.get(field) != new.get(field) {
            problems.push(Problem::forbidden(field, "field is immutable when `immutable` is set"));
        }
    }
}

/// A claim's spec, or that of a template of claims.
pub(super) fn claim(spec: &Value, path: &str, problems: &mut Vec<Problem>) {
    let modes: Vec<&str> = super::elements(&spec["accessModes"]).filter_map(Value::as_str).collect();
    if modes.is_empty() {
        problems.push(Problem::required(format!("{path}.accessModes"), "at least 1 access mode is required"));
    } else if modes.contains(&"ReadWriteOncePod") && modes.len() > 1 {
        let why = "may not use ReadWriteOncePod with other access modes";
        problems.push(Problem::forbidden(format!("{path}.accessModes"), why));
    }
    let field = format!("{path}.resources[storage]");
    let asked = &spec["resources"]["requests"]["storage"];
    match asked.as_str().map(str::parse::<Quantity>) {
        None => problems.push(Problem::required(field, "")),
        Some(Ok(amount)) if amount.nanos() <= 0 => {
            problems.push(Problem::invalid(field, asked, "must be greater than zero"));
        }
        Some(_) => {}
    }
}

/// What was claimed stays; only more of it may be asked for.
pub(super) fn claim_change(old: &Map<String, Value>, new: &Map<String, Value>, problems: &mut Vec<Problem>) {
    let fixed = |object: &Map<String, Value>| {
        let mut spec = object.get("spec").cloned().unwrap_or_default();
        if let Some(requests) = spec.pointer_mut("/resources/requests").and_then(Value::as_object_mut) {
            requests.remove("storage");
        }
        if let Some(fields) = spec.as_object_mut() {
            fields.remove("volumeAttributesClassName");
        }
        spec
    };
    if fixed(old) != fixed(new) {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound \
                   claims";
        problems.push(Problem::forbidden("spec", why));
    }
}
