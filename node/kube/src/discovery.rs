//! Discovery: what a client learns of the resources that are served, in the old form (a document for each group and
//! version) and in the aggregated one. All of it follows from [`crate::resource`].

use serde_json::{Value, json};

use crate::negotiate::AcceptEntry;
use crate::resource::{self, Resource, SubresourceInfo};

/// A document and its content type.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The content type.
    pub content_type: String,
    /// What it says.
    pub body: Value,
}

/// The version of Kubernetes whose API this resembles: what clients compare themselves with.
pub const KUBERNETES_MAJOR: &str = "1";
/// Its minor version.
pub const KUBERNETES_MINOR: &str = "32";

/// `/version`. `build` is skein's own version.
#[must_use]
pub fn version(build: &str) -> Value {
    json!({
        "major": KUBERNETES_MAJOR,
        "minor": KUBERNETES_MINOR,
        "gitVersion": format!("v{KUBERNETES_MAJOR}.{KUBERNETES_MINOR}.0+skein.{build}"),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `/api`.
#[must_use]
pub fn core(accept: &[AcceptEntry]) -> Document {
    aggregated(accept, true).unwrap_or_else(|| {
        plain(json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }))
    })
}

/// `/apis`.
#[must_use]
pub fn groups(accept: &[AcceptEntry]) -> Document {
    aggregated(accept, false).unwrap_or_else(|| {
        let groups: Vec<Value> = group_names().iter().map(|group| group_document(group)).collect();
        plain(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
    })
}

/// `/apis/GROUP`; `None`: no such group.
#[must_use]
pub fn group(group: &str) -> Option<Document> {
    group_names().contains(&group).then(|| {
        let mut body = group_document(group);
        body["kind"] = "APIGroup".into();
        body["apiVersion"] = "v1".into();
        plain(body)
    })
}

/// `/api/v1` and `/apis/GROUP/VERSION`; `None`: no such version.
#[must_use]
pub fn resources(group: &str, version: &str) -> Option<Document> {
    let rows: Vec<Value> = of(group, version).flat_map(legacy_rows).collect();
    (!rows.is_empty()).then(|| {
        plain(json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version(group, version),
            "resources": rows,
        }))
    })
}

fn plain(body: Value) -> Document {
    Document { content_type: "application/json".into(), body }
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The groups besides the core group, in the order of the table.
fn group_names() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for resource in resource::all().filter(|resource| !resource.group.is_empty()) {
        if !names.contains(&resource.group) {
            names.push(resource.group);
        }
    }
    names
}

fn versions(group: &str) -> Vec<&'static str> {
    let mut versions: Vec<&'static str> = Vec::new();
    for resource in resource::all().filter(|resource| resource.group == group) {
        if !versions.contains(&resource.version) {
            versions.push(resource.version);
        }
    }
    versions
}

fn of<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Resource> + 'a {
    resource::all().filter(move |resource| resource.group == group && resource.version == version)
}

fn group_document(group: &str) -> Value {
    let row = |version: &&'static str| json!({"groupVersion": group_version(group, version), "version": version});
    let versions = versions(group);
    json!({
        "name": group,
        "versions": versions.iter().map(row).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(row),
    })
}

fn legacy_rows(resource: &'static Resource) -> Vec<Value> {
    let mut row = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind_name,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        row["shortNames"] = json!(resource.short_names);
    }
    if resource.in_all {
        row["categories"] = json!(["all"]);
    }
    let part = |info: &SubresourceInfo| {
        let (group, version, kind) = info.kind;
        let mut row = json!({
            "name": format!("{}/{}", resource.plural, info.name),
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": if kind.is_empty() { resource.kind_name } else { kind },
            "verbs": info.verbs,
        });
        if !version.is_empty() {
            row["group"] = group.into();
            row["version"] = version.into();
        }
        row
    };
    std::iter::once(row).chain(resource.subresources.iter().map(part)).collect()
}

/// The aggregated form, if the client takes a version of it that is spoken here. A version that it did not name would
/// leave it believing that there are no resources at all.
fn aggregated(accept: &[AcceptEntry], core: bool) -> Option<Document> {
    let asked = accept.iter().find_map(|entry| {
        let fits = entry.parameter("g") == Some("apidiscovery.k8s.io")
            && entry.parameter("as") == Some("APIGroupDiscoveryList");
        entry.parameter("v").filter(|version| fits && matches!(*version, "v2" | "v2beta1")).map(str::to_owned)
    })?;
    let groups: Vec<&str> = if core { vec![""] } else { group_names() };
    let items: Vec<Value> = groups.into_iter().map(aggregated_group).collect();
    Some(Document {
        content_type: format!("application/json;g=apidiscovery.k8s.io;v={asked};as=APIGroupDiscoveryList"),
        body: json!({
            "kind": "APIGroupDiscoveryList",
            "apiVersion": format!("apidiscovery.k8s.io/{asked}"),
            "metadata": {},
            "items": items,
        }),
    })
}

fn aggregated_group(group: &str) -> Value {
    let versions: Vec<Value> = versions(group)
        .into_iter()
        .map(|version| {
            let resources: Vec<Value> = of(group, version).map(aggregated_row).collect();
            json!({"version": version, "freshness": "Current", "resources": resources})
        })
        .collect();
    json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
}

fn aggregated_row(resource: &'static Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let own = kind(resource.group, resource.version, resource.kind_name);
    let part = |info: &SubresourceInfo| {
        let (group, version, name) = info.kind;
        let answers = if version.is_empty() { own.clone() } else { kind(group, version, name) };
        json!({"subresource": info.name, "responseKind": answers, "verbs": info.verbs})
    };
    let mut row = json!({
        "resource": resource.plural,
        "responseKind": own,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        row["shortNames"] = json!(resource.short_names);
    }
    if resource.in_all {
        row["categories"] = json!(["all"]);
    }
    if !resource.subresources.is_empty() {
        row["subresources"] = resource.subresources.iter().map(part).collect();
    }
    row
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::negotiate::parse_accept;

    const KUBECTL_1_29: &str =
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

    #[test]
    fn a_client_gets_the_version_that_it_asks_for_and_no_other() {
        let document = groups(&parse_accept(KUBECTL_1_29));
        assert_eq!(document.body["apiVersion"], "apidiscovery.k8s.io/v2beta1");
        assert_eq!(document.content_type, KUBECTL_1_29.split(',').next().unwrap());
        let both = format!("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,{KUBECTL_1_29}");
        assert_eq!(core(&parse_accept(&both)).body["apiVersion"], "apidiscovery.k8s.io/v2");
        assert_eq!(groups(&parse_accept("application/json")).body["kind"], "APIGroupList");
        let unknown = "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json";
        assert_eq!(core(&parse_accept(unknown)).body["kind"], "APIVersions");
    }

    #[test]
    fn both_forms_name_the_same_resources() {
        let legacy = resources("apps", "v1").unwrap().body;
        let names: Vec<&str> =
            legacy["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"deployments") && names.contains(&"deployments/scale"), "{names:?}");
        let body = groups(&parse_accept(KUBECTL_1_29)).body;
        let apps = body["items"].as_array().unwrap().iter().find(|group| group["metadata"]["name"] == "apps").unwrap();
        let rows = apps["versions"][0]["resources"].as_array().unwrap();
        let deployments = rows.iter().find(|row| row["resource"] == "deployments").unwrap();
        assert_eq!(deployments["shortNames"][0], "deploy");
        assert_eq!(resources("apps", "v9"), None);
    }

    #[test]
    fn what_is_measured_comes_last_and_has_no_name_that_is_taken() {
        for (accept, name) in [("application/json", "/name"), (KUBECTL_1_29, "/metadata/name")] {
            let body = groups(&parse_accept(accept)).body;
            let list = body.get("groups").or_else(|| body.get("items")).unwrap().as_array().unwrap().clone();
            assert_eq!(list.last().unwrap().pointer(name).unwrap(), "metrics.k8s.io");
        }
        let rows = resources("metrics.k8s.io", "v1beta1").unwrap().body["resources"].clone();
        assert_eq!(
            (&rows[1]["name"], &rows[1]["singularName"], &rows[1]["kind"]),
            (&json!("pods"), &json!(""), &json!("PodMetrics"))
        );
        assert_eq!(rows[1]["verbs"], json!(["get", "list"]));
    }

    #[test]
    fn of_several_versions_the_one_that_is_stored_is_preferred() {
        for (name, preferred, other) in
            [("autoscaling", "v2", "v1"), ("batch", "v1", "v1beta1"), ("policy", "v1", "v1beta1")]
        {
            let body = group(name).unwrap().body;
            assert_eq!(body["preferredVersion"]["version"], preferred);
            assert_eq!(body["versions"][1]["version"], other);
        }
    }
}
