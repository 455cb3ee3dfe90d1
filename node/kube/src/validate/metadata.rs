//! Names, annotations, owners: what every object's metadata must fulfil.

use serde_json::Value;

use crate::check;
use crate::resource::Resource;
use crate::status::Problem;

/// The annotation that says what happens to a workload's pods when nodes are lost.
pub(crate) const PARTITION_ANNOTATION: &str = "skein.dev/partition";
/// The most bytes that all annotations of an object may have together.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

pub(super) fn check(resource: &Resource, object: &Value, problems: &mut Vec<Problem>) {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        problems.push(Problem::required("metadata.name", "name or generateName is required"));
    } else if let Some(why) = name_fault(resource, name) {
        problems.push(Problem::invalid("metadata.name", &name.into(), &why));
    }
    annotations(metadata, "metadata", problems);
    let owners = || metadata["ownerReferences"].as_array().into_iter().flatten();
    if owners().filter(|owner| owner["controller"] == true).count() > 1 {
        let why = "Only one reference can have Controller set to true";
        problems.push(Problem::invalid("metadata.ownerReferences", &metadata["ownerReferences"], why));
    }
}

/// The annotations of an object or of a template, by their size.
pub(super) fn annotations(metadata: &Value, path: &str, problems: &mut Vec<Problem>) {
    let annotations = metadata["annotations"].as_object().into_iter().flatten();
    let bytes: usize = annotations.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > MAX_ANNOTATION_BYTES {
        problems.push(Problem::too_long(format!("{path}.annotations"), MAX_ANNOTATION_BYTES));
    }
}

/// The partition policy, where a workload or its template names one.
pub(super) fn partition_policy(metadata: &Value, path: &str, problems: &mut Vec<Problem>) {
    let policy = &metadata["annotations"][PARTITION_ANNOTATION];
    let field = format!("{path}.annotations[{PARTITION_ANNOTATION}]");
    match policy.as_str() {
        None | Some("alive" | "full") => {}
        Some(held @ ("quorum" | "hold")) => {
            let why = format!("skein does not support the partition policy {held} yet; use alive or full");
            problems.push(Problem::forbidden(field, &why));
        }
        Some(_) => problems.push(Problem::not_supported(field, policy, &["alive", "full"])),
    }
}

fn name_fault(resource: &Resource, name: &str) -> Option<String> {
    match resource.stored_kind {
        "Namespace" => check::dns_label(name),
        "Service" => check::service_name(name),
        kind if kind.ends_with(".rbac.authorization.k8s.io") => segment_fault(name),
        _ => check::dns_subdomain(name),
    }
}

/// Roles may be called by anything that can be a part of a path, but for what parts names from each other here.
fn segment_fault(name: &str) -> Option<String> {
    if matches!(name, "." | "..") {
        return Some(format!("may not be '{name}'"));
    }
    if let Some(part) = ['/', '%'].into_iter().find(|part| name.contains(*part)) {
        return Some(format!("may not contain '{part}'"));
    }
    let held = |b: u8| b.is_ascii_graphic() && b != b'@';
    (name.len() > 253 || !name.bytes().all(held))
        .then(|| "skein takes names of at most 253 printable ASCII characters without '@' and spaces".to_owned())
}
