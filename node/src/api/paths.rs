//! Where a path leads: to a document, to a question about somebody's rights, to all objects of a resource or to one of them.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use skein_kube::discovery::{self, Document};
use skein_kube::negotiate::{AcceptEntry, parse_accept};
use skein_kube::openapi;
use skein_kube::resource::{self, Resource, Subresource};
use skein_kube::status::Status;

use super::query::decode_part;

/// Where a path leads.
#[derive(Debug, Clone, PartialEq)]
pub enum Route {
    /// A document that is the same for all who ask for it in the same form: its content type and its text.
    Document(String, Vec<u8>),
    /// A question that is posted and answered at once.
    Review {
        /// Which.
        resource: &'static Resource,
        /// The namespace that it is about, for those that are in one.
        namespace: Option<Arc<str>>,
    },
    /// All objects of a resource, in one namespace or in all.
    Collection {
        /// The resource.
        resource: &'static Resource,
        /// One namespace, or all.
        namespace: Option<Arc<str>>,
    },
    /// One object.
    Object {
        /// The resource.
        resource: &'static Resource,
        /// Its namespace; empty for a cluster-scoped one.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// A part of it.
        part: Option<Subresource>,
    },
}

/// Reads a path without slashes at its end. `accept` chooses among the forms of discovery.
///
/// # Errors
/// 404 when it leads nowhere.
pub fn parse(path: &str, accept: &str) -> Result<Route, Status> {
    let accept = parse_accept(accept);
    let parts = parts(path)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let route = match parts.as_slice() {
        ["openapi", "v2"] => Some(openapi_v2(&accept)),
        ["apis", "apiextensions.k8s.io", version @ ("v1" | "v1beta1"), "customresourcedefinitions"] => {
            Some(no_definitions(version))
        }
        ["api", "v1", rest @ ..] if !rest.is_empty() => in_version("", "v1", rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => in_version(group, version, rest),
        parts => document(parts, &accept)
            .map(|document| Route::Document(document.content_type, document.body.to_string().into_bytes())),
    };
    route.ok_or_else(Status::no_such_resource)
}

/// The parts of a path, decoded: names of roles have colons, which some clients encode.
///
/// # Errors
/// When one of them is not percent-encoded UTF-8.
pub fn parts(path: &str) -> Result<Vec<String>, Status> {
    path.split('/').skip(1).map(decode_part).collect()
}

fn document(parts: &[&str], accept: &[AcceptEntry]) -> Option<Document> {
    let plain = |body: Value| Document { content_type: "application/json".to_owned(), body };
    match parts {
        [] => Some(plain(roots())),
        ["version"] => Some(plain(discovery::version(env!("CARGO_PKG_VERSION")))),
        ["api"] => Some(discovery::core(accept)),
        ["apis"] => Some(discovery::groups(accept)),
        ["api", "v1"] => discovery::resources("", "v1"),
        ["apis", group] => discovery::group(group),
        ["apis", group, version] => discovery::resources(group, version),
        ["openapi", "v3"] => Some(plain(openapi::index())),
        ["openapi", "v3", "api", version] => openapi::document("", version).map(plain),
        ["openapi", "v3", "apis", group, version] => openapi::document(group, version).map(plain),
        _ => None,
    }
}

/// There are no kinds of users' own. Older kubectl asks for them before it says that a kind does not exist.
fn no_definitions(version: &str) -> Route {
    let list = json!({
        "kind": "CustomResourceDefinitionList",
        "apiVersion": format!("apiextensions.k8s.io/{version}"),
        "metadata": {"resourceVersion": "1"},
        "items": [],
    });
    Route::Document("application/json".to_owned(), list.to_string().into_bytes())
}

/// The document of all kinds, made once: for who asks for protobuf, as older kubectl does, and as JSON for all others.
fn openapi_v2(accept: &[AcceptEntry]) -> Route {
    static PROTOBUF: OnceLock<Vec<u8>> = OnceLock::new();
    static JSON: OnceLock<Vec<u8>> = OnceLock::new();
    if accept.iter().any(|entry| entry.media_type.ends_with("+protobuf")) {
        let text = PROTOBUF.get_or_init(openapi::v2_protobuf).clone();
        return Route::Document(openapi::V2_CONTENT_TYPE.to_owned(), text);
    }
    let text = JSON.get_or_init(|| openapi::v2().to_string().into_bytes()).clone();
    Route::Document("application/json".to_owned(), text)
}

/// What a person sees who asks for `/`.
fn roots() -> Value {
    json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]})
}

fn in_version(group: &str, version: &str, parts: &[&str]) -> Option<Route> {
    // A namespace's own parts, such as its status, are no resources in it.
    if let ["namespaces", namespace, plural, rest @ ..] = parts
        && let Some(resource) = resource::find(group, version, plural).filter(|resource| resource.namespaced)
    {
        return below(resource, Some((*namespace).into()), rest);
    }
    let [plural, rest @ ..] = parts else { return None };
    below(resource::find(group, version, plural)?, None, rest)
}

fn below(resource: &'static Resource, namespace: Option<Arc<str>>, parts: &[&str]) -> Option<Route> {
    if resource::REVIEWS.contains(&resource) {
        let fits = parts.is_empty() && resource.namespaced == namespace.is_some();
        return fits.then_some(Route::Review { resource, namespace });
    }
    let (name, part) = match parts {
        [] => return Some(Route::Collection { resource, namespace }),
        [name] => (*name, None),
        [name, part] => (*name, Some(resource.subresource(part)?.part)),
        _ => return None,
    };
    if name.is_empty() || name.contains('/') || resource.namespaced != namespace.is_some() {
        return None;
    }
    Some(Route::Object { resource, namespace: namespace.unwrap_or_default(), name: name.into(), part })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn resource(plural: &str) -> &'static Resource {
        resource::all().find(|resource| resource.plural == plural).unwrap()
    }

    #[test]
    fn paths_lead_to_collections_objects_and_their_parts() {
        let collection = |plural, namespace: Option<&str>| Route::Collection {
            resource: resource(plural),
            namespace: namespace.map(Arc::from),
        };
        let object = |plural, namespace: &str, name: &str, part| Route::Object {
            resource: resource(plural),
            namespace: namespace.into(),
            name: name.into(),
            part,
        };
        for (path, route) in [
            ("/api/v1/pods", collection("pods", None)),
            ("/api/v1/namespaces/shop/pods", collection("pods", Some("shop"))),
            ("/api/v1/namespaces", collection("namespaces", None)),
            ("/api/v1/namespaces/shop", object("namespaces", "", "shop", None)),
            ("/api/v1/namespaces/shop/status", object("namespaces", "", "shop", Some(Subresource::Status))),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Abasic+user",
                object("clusterroles", "", "system:basic+user", None),
            ),
            ("/api/v1/namespaces/shop/pods/web/log", object("pods", "shop", "web", Some(Subresource::Log))),
            (
                "/apis/apps/v1/namespaces/a/deployments/b/scale",
                object("deployments", "a", "b", Some(Subresource::Scale)),
            ),
        ] {
            assert_eq!(parse(path, ""), Ok(route), "{path}");
        }
    }

    #[test]
    fn what_is_not_served_leads_nowhere() {
        for path in [
            "/nowhere",
            "/api/v2",
            "/api/v1/pods/web",
            "/api/v1/namespaces/shop/nodes",
            "/api/v1/namespaces/shop/nodes/n",
            "/apis/apps/v1/namespaces/a/pods",
            "/api/v1/nodes/n/scale",
            "/api/v1/namespaces//pods/x/y/z",
            "/api/v1/widgets",
            "/api/v1/namespaces/shop/pods/",
            "/api/v1/namespaces/shop/pods/web/proxy",
            "/openapi/v3/apis/x/y",
            "/api/v1/namespaces/shop%2Fpods",
            "",
            "//",
        ] {
            let leads = parse(path, "");
            assert!(path.is_empty() || leads.as_ref().is_err_and(|status| status.code == 404), "{path}: {leads:?}");
        }
    }

    #[test]
    fn discovery_comes_in_the_form_that_a_client_names() {
        let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let Ok(Route::Document(content_type, _)) = parse("/apis", aggregated) else { panic!("no document") };
        assert_eq!(content_type, aggregated);
        let Ok(Route::Document(content_type, body)) = parse("/apis", "application/json") else { panic!("no document") };
        assert_eq!(content_type, "application/json");
        assert!(String::from_utf8(body).unwrap().contains("APIGroupList"));
        let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
        for (accept, wanted) in [(protobuf, openapi::V2_CONTENT_TYPE), ("", "application/json")] {
            let Ok(Route::Document(content_type, body)) = parse("/openapi/v2", accept) else { panic!("no document") };
            assert!(content_type == wanted && !body.is_empty(), "{accept}: {content_type}");
        }
    }
}
