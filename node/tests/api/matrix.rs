//! Every verb on every kind that is served, by users with different roles: what reviews say that they may do is what they are
//! answered.

use serde_json::{Value, json};
use skein_kube::authorize::{Action, Rule};
use skein_kube::resource::{self, Resource, SubresourceInfo};

use crate::client::World;

/// One request, and what it asks for.
struct Try {
    verb: &'static str,
    method: &'static str,
    resource: &'static Resource,
    part: &'static str,
    namespace: &'static str,
    name: &'static str,
    query: &'static str,
}

impl Try {
    fn path(&self) -> String {
        let Resource { group, version, plural, .. } = self.resource;
        let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let within = if self.resource.namespaced && !self.namespace.is_empty() {
            format!("/namespaces/{}", self.namespace)
        } else {
            String::new()
        };
        let name = if self.name.is_empty() { String::new() } else { format!("/{}", self.name) };
        let part = if self.part.is_empty() { String::new() } else { format!("/{}", self.part) };
        format!("{root}{within}/{plural}{name}{part}{}", self.query)
    }

    fn namespace(&self) -> &'static str {
        match self.resource.plural {
            "namespaces" => self.name,
            _ if self.resource.namespaced => self.namespace,
            _ => "",
        }
    }

    fn action(&self) -> Action<'static> {
        Action::Resource {
            verb: self.verb,
            group: self.resource.group,
            resource: self.resource.plural,
            subresource: self.part,
            namespace: self.namespace(),
            name: self.name,
        }
    }
}

fn tries() -> Vec<Try> {
    let mut all = Vec::new();
    for resource in resource::all() {
        for &namespace in if resource.namespaced { &["shop", "default"][..] } else { &[""] } {
            let plain = |verb, method, name, query| Try { verb, method, resource, part: "", namespace, name, query };
            for verb in resource.verbs {
                all.push(match *verb {
                    "get" => plain("get", "GET", "none", ""),
                    "list" => plain("list", "GET", "", ""),
                    "watch" => plain("watch", "GET", "", "?watch=1&timeoutSeconds=1"),
                    "create" => plain("create", "POST", "", ""),
                    "update" => plain("update", "PUT", "none", ""),
                    "patch" => plain("patch", "PATCH", "none", ""),
                    "delete" => plain("delete", "DELETE", "none", ""),
                    "deletecollection" => plain("deletecollection", "DELETE", "", "?labelSelector=no=such"),
                    other => panic!("no request is known for {other}"),
                });
            }
            let parts = resource
                .subresources
                .iter()
                .flat_map(|info: &'static SubresourceInfo| info.verbs.iter().map(move |verb| (info.name, *verb)));
            for (part, verb) in parts {
                let method = match verb {
                    "get" => "GET",
                    "create" => "POST",
                    "update" => "PUT",
                    "patch" => "PATCH",
                    other => panic!("no request is known for {other}"),
                };
                all.push(Try { verb, method, resource, part, namespace, name: "none", query: "" });
            }
        }
        if resource.namespaced && resource.allows("list") {
            all.push(Try { verb: "list", method: "GET", resource, part: "", namespace: "", name: "", query: "" });
        }
    }
    all
}

#[tokio::test]
async fn what_reviews_say_is_what_requests_are_answered() {
    let world = World::new().await;
    world.fake.put("Namespace", "", "shop", &json!({}));
    world.bind("viewer", "view", "");
    world.bind("editor", "edit", "shop");
    world.bind("owner", "admin", "shop");
    world.bind("boss", "cluster-admin", "");
    let tries = tries();
    assert!(tries.len() > 400, "{}", tries.len());
    let mut counts = Vec::new();
    for user in ["nobody", "viewer", "editor", "owner", "boss"] {
        let ask = |method: &str, path: &str| world.socket(method, path).header("impersonate-user", user);
        let review = async |kind: &str, spec: Value| {
            let path = format!("/apis/authorization.k8s.io/v1/{kind}");
            ask("POST", &path).json(&json!({"spec": spec})).send().await.json()["status"].clone()
        };
        let mut allowed_count = 0;
        for one in &tries {
            let Action::Resource { verb, group, resource, subresource, namespace, name } = one.action() else {
                continue;
            };
            let attributes = json!({
                "verb": verb, "group": group, "resource": resource, "subresource": subresource,
                "namespace": namespace, "name": name,
            });
            let said = review("selfsubjectaccessreviews", json!({"resourceAttributes": attributes})).await;
            let said = said["allowed"].as_bool().unwrap();
            // A namespace that is asked about in none gives the rules of the cluster alone.
            let within = if namespace.is_empty() { "no-such" } else { namespace };
            let rules = review("selfsubjectrulesreviews", json!({"namespace": within})).await;
            let rules = rules["resourceRules"].as_array().unwrap().iter().map(Rule::of);
            let listed = rules.into_iter().any(|rule| rule.allows(&one.action()));
            let request = ask(one.method, &one.path());
            let request = match one.method {
                "PATCH" => request.patch("merge-patch+json", &json!({})),
                "POST" | "PUT" => request.json(&json!({})),
                _ => request,
            };
            let code = request.open().await.status().as_u16();
            assert_eq!(said, listed, "{user} {verb} {}", one.path());
            assert_eq!(said, code != 403, "{user} {} {}: {code}", one.method, one.path());
            allowed_count += usize::from(said);
        }
        counts.push(allowed_count);
    }
    // Who has more of a role may do more: the test would notice if all were refused, or nothing.
    assert!(counts[0] < counts[1] && counts[2] < counts[3] && counts[3] < counts[4], "{counts:?}");
    assert_eq!(counts[4], tries.len());
}
