//! Volumes and where containers mount them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{list, text};
use crate::status::Problem;

/// What a volume can be, in the order in which they are looked for.
const KINDS: [&str; 6] = ["emptyDir", "hostPath", "secret", "configMap", "downwardAPI", "projected"];
const PROJECTIONS: [&str; 4] = ["secret", "downwardAPI", "configMap", "serviceAccountToken"];
/// How long a token may be valid, in seconds.
const MIN_TOKEN_SECONDS: i64 = 600;
const MAX_TOKEN_SECONDS: i64 = 1 << 32;
/// The longest name of whom a token may be shown to, in bytes.
const MAX_AUDIENCE_BYTES: usize = 512;

/// Checks a pod's volumes. Returns their names.
pub(super) fn volumes<'a>(spec: &'a Value, path: &str, problems: &mut Vec<Problem>) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (i, volume) in list(&spec["volumes"]).enumerate() {
        let here = format!("{path}.volumes[{i}]");
        names.extend(text(&volume["name"]));
        one_kind(volume, &KINDS, &here, "volume", problems);
        let host_path = volume["hostPath"]["path"].as_str().unwrap_or_default();
        if leads_up(host_path) {
            let why = "must not contain '..'";
            problems.push(Problem::invalid(format!("{here}.hostPath.path"), &host_path.into(), why));
        } else if !host_path.is_empty() && !host_path.starts_with('/') {
            let why = "must be an absolute path";
            problems.push(Problem::invalid(format!("{here}.hostPath.path"), &host_path.into(), why));
        }
        downward_files(&volume["downwardAPI"], &format!("{here}.downwardAPI"), problems);
        for (j, source) in list(&volume["projected"]["sources"]).enumerate() {
            let here = format!("{here}.projected.sources[{j}]");
            one_kind(source, &PROJECTIONS, &here, "projection", problems);
            downward_files(&source["downwardAPI"], &format!("{here}.downwardAPI"), problems);
            token(&source["serviceAccountToken"], &format!("{here}.serviceAccountToken"), problems);
        }
    }
    names
}

fn token(source: &Value, path: &str, problems: &mut Vec<Problem>) {
    let seconds = &source["expirationSeconds"];
    if seconds.as_i64().is_some_and(|seconds| seconds < MIN_TOKEN_SECONDS) {
        let why = "may not specify a duration less than 10 minutes";
        problems.push(Problem::invalid(format!("{path}.expirationSeconds"), seconds, why));
    } else if seconds.as_i64().is_some_and(|seconds| seconds > MAX_TOKEN_SECONDS) {
        let why = "may not specify a duration larger than 2^32 seconds";
        problems.push(Problem::invalid(format!("{path}.expirationSeconds"), seconds, why));
    }
    if text(&source["audience"]).is_some_and(|audience| audience.len() > MAX_AUDIENCE_BYTES) {
        problems.push(Problem::too_long(format!("{path}.audience"), MAX_AUDIENCE_BYTES));
    }
}

/// Checks what a container mounts.
pub(super) fn mounts(container: &Value, volumes: &BTreeSet<&str>, path: &str, problems: &mut Vec<Problem>) {
    for (i, mount) in list(&container["volumeMounts"]).enumerate() {
        let here = format!("{path}.volumeMounts[{i}]");
        if text(&mount["name"]).is_some_and(|name| !volumes.contains(name)) {
            problems.push(Problem::not_found(format!("{here}.name"), &mount["name"]));
        }
        let target = mount["mountPath"].as_str().unwrap_or_default();
        if target.contains(':') {
            let why = "must not contain ':'";
            problems.push(Problem::invalid(format!("{here}.mountPath"), &target.into(), why));
        }
    }
}

fn one_kind(value: &Value, kinds: &[&str], path: &str, what: &str, problems: &mut Vec<Problem>) {
    let mut found = kinds.iter().filter(|kind| value.get(**kind).is_some_and(|of| !of.is_null()));
    let others = value.as_object().into_iter().flatten();
    // What is refused by name needs no second complaint.
    let refused = others
        .into_iter()
        .any(|(field, of)| field != "name" && !kinds.contains(&field.as_str()) && !crate::validate::is_empty(of));
    if found.next().is_none() && !refused {
        problems.push(Problem::required(path, &format!("must specify a {what} type")));
    }
    for kind in found {
        let why = format!("may not specify more than 1 {what} type");
        problems.push(Problem::forbidden(format!("{path}.{kind}"), &why));
    }
}

fn downward_files(source: &Value, path: &str, problems: &mut Vec<Problem>) {
    for (i, file) in list(&source["items"]).enumerate() {
        let here = format!("{path}.items[{i}]");
        match (file["fieldRef"].is_object(), file["resourceFieldRef"].is_object()) {
            (true, true) => {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                problems.push(Problem::invalid(here, &"resource".into(), why));
            }
            (false, false) => {
                problems.push(Problem::required(here, "one of fieldRef and resourceFieldRef is required"));
            }
            (true, false) => field(&file["fieldRef"]["fieldPath"], &format!("{here}.fieldRef.fieldPath"), problems),
            (false, true) => {
                if text(&file["resourceFieldRef"]["containerName"]).is_none() {
                    problems.push(Problem::required(format!("{here}.resourceFieldRef.containerName"), ""));
                }
            }
        }
    }
}

/// A file cannot hold what is known only once the pod runs.
fn field(path: &Value, here: &str, problems: &mut Vec<Problem>) {
    const METADATA: &[&str] =
        &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
    let Some(name) = text(path) else { return };
    if !METADATA.contains(&name)
        && !name.starts_with("metadata.labels['")
        && !name.starts_with("metadata.annotations['")
    {
        problems.push(Problem::not_supported(here, path, METADATA));
    }
}

fn leads_up(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}
