//! Which kinds a cluster has and where they are served, as its discovery says. What is done with them lives in the verbs.

use serde_json::Value;

use crate::client::{Client, encode};
use crate::failure::Failure;

/// A kind that the cluster serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Where its group and version are served.
    base: String,
    /// Its plural.
    name: String,
    namespaced: bool,
}

impl Resource {
    /// Finds a kind by its name, plural, singular or short form, in the order of the cluster's groups.
    ///
    /// # Errors
    /// When nobody answers, or there is no such kind.
    pub(crate) async fn find(client: &Client, wanted: &str) -> Result<Self, Failure> {
        let mut bases = vec!["/api/v1".to_owned()];
        let groups = client.get("/apis").await?;
        for group in groups["groups"].as_array().into_iter().flatten() {
            bases.extend(group["preferredVersion"]["groupVersion"].as_str().map(|version| format!("/apis/{version}")));
        }
        let mut names = Vec::new();
        for base in bases {
            let listed = client.get(&base).await?;
            for resource in listed["resources"].as_array().into_iter().flatten().filter(|resource| is_whole(resource)) {
                let name = resource["name"].as_str().unwrap_or_default().to_owned();
                if is_called(resource, wanted) {
                    return Ok(Resource { base, name, namespaced: resource["namespaced"] == true });
                }
                names.push(name);
            }
        }
        Err(Failure::new(format!("the cluster has no kind \"{wanted}\"")).next(format!("it has: {}", names.join(", "))))
    }

    /// Where its objects are: those of one namespace, or all.
    pub(crate) fn path(&self, namespace: Option<&str>) -> String {
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{}/namespaces/{}/{}", self.base, encode(namespace), self.name),
            None => format!("{}/{}", self.base, self.name),
        }
    }
}

/// Whether it is objects, not a part of them such as `deployments/scale`.
fn is_whole(resource: &Value) -> bool {
    resource["name"].as_str().is_some_and(|name| !name.contains('/'))
}

/// Whether a resource has this name in any of its forms.
fn is_called(resource: &Value, wanted: &str) -> bool {
    let wanted = wanted.to_lowercase();
    let is = |name: &Value| name.as_str().is_some_and(|name| name.to_lowercase() == wanted);
    let short = resource["shortNames"].as_array();
    ["name", "singularName", "kind"].iter().any(|form| is(&resource[form]))
        || short.is_some_and(|short| short.iter().any(is))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_kind_is_known_by_all_its_names() {
        let deployments = json!({"name": "deployments", "singularName": "deployment", "kind": "Deployment", "shortNames": ["deploy"]});
        for name in ["deployments", "deployment", "Deployment", "deploy", "DEPLOY"] {
            assert!(is_called(&deployments, name), "{name}");
        }
        assert!(!is_called(&deployments, "dep"));
        assert!(is_whole(&deployments) && !is_whole(&json!({"name": "deployments/scale", "kind": "Scale"})));
    }

    #[test]
    fn what_has_no_namespace_is_served_outside_of_them() {
        let resource = |namespaced| Resource { base: "/api/v1".into(), name: "x".into(), namespaced };
        assert_eq!(resource(true).path(Some("shop")), "/api/v1/namespaces/shop/x");
        assert_eq!(resource(true).path(None), "/api/v1/x");
        assert_eq!(resource(false).path(Some("shop")), "/api/v1/x");
    }
}
