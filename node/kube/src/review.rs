//! Reviews: questions that a client posts and that are answered at once. What somebody may do is asked of a [`Policy`]; whose a
//! token is, is found out by the API.

use serde_json::{Value, json};

use crate::authorize::{Action, Policy, Rule, User};
use crate::resource::Resource;
use crate::status::{Problem, Status};

/// Answers a review that `user` posted, in a namespace or in none (empty).
///
/// # Errors
/// 404 when it is none of the reviews that are answered here, 400 and 422 when it does not say what is asked.
pub fn answer(
    resource: &Resource,
    body: Value,
    namespace: &str,
    user: &User,
    policy: &Policy,
) -> Result<Value, Status> {
    let spec = &body["spec"];
    let status = match resource.kind_name {
        "SelfSubjectAccessReview" => access(resource, spec, user, policy)?,
        "SubjectAccessReview" => access(resource, spec, &subject(resource, spec)?, policy)?,
        "LocalSubjectAccessReview" => {
            let named = spec["resourceAttributes"]["namespace"].as_str().unwrap_or_default();
            if named != namespace {
                let message = format!("spec.resourceAttributes.namespace must match namespace: {namespace}");
                return Err(Status::bad_request(message));
            }
            access(resource, spec, &subject(resource, spec)?, policy)?
        }
        "SelfSubjectRulesReview" => {
            let namespace = spec["namespace"].as_str().filter(|namespace| !namespace.is_empty());
            let namespace = namespace.ok_or_else(|| Status::bad_request("no namespace on request"))?;
            rules(&policy.rules_of(user, namespace))
        }
        "SelfSubjectReview" => json!({"userInfo": info(user)}),
        _ => return Err(Status::no_such_resource()),
    };
    Ok(answered(resource, body, status))
}

/// A review with its answer.
#[must_use]
pub fn answered(resource: &Resource, mut body: Value, status: Value) -> Value {
    if !body.is_object() {
        body = json!({});
    }
    body["kind"] = resource.kind_name.into();
    body["apiVersion"] = resource.api_version().into();
    if !body["metadata"].is_object() {
        body["metadata"] = json!({});
    }
    body["metadata"]["creationTimestamp"] = Value::Null;
    body["status"] = status;
    body
}

/// Somebody as reviews describe them.
#[must_use]
pub fn info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    info
}

fn access(resource: &Resource, spec: &Value, user: &User, policy: &Policy) -> Result<Value, Status> {
    let action = asked_for(spec).ok_or_else(|| {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        wrong(resource, Problem::invalid("spec.resourceAttributes", &spec["resourceAttributes"], why))
    })?;
    Ok(match policy.allows(user, &action) {
        None => json!({"allowed": false}),
        Some("") => json!({"allowed": true}),
        Some(reason) => json!({"allowed": true, "reason": reason}),
    })
}

fn asked_for(spec: &Value) -> Option<Action<'_>> {
    let (of_resource, of_path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    match (of_resource.is_object(), of_path.is_object()) {
        (true, false) => Some(Action::Resource {
            verb: of_resource["verb"].as_str().unwrap_or_default(),
            group: of_resource["group"].as_str().unwrap_or_default(),
            resource: of_resource["resource"].as_str().unwrap_or_default(),
            subresource: of_resource["subresource"].as_str().unwrap_or_default(),
            namespace: of_resource["namespace"].as_str().unwrap_or_default(),
            name: of_resource["name"].as_str().unwrap_or_default(),
        }),
        (false, true) => Some(Action::Path {
            verb: of_path["verb"].as_str().unwrap_or_default(),
            path: of_path["path"].as_str().unwrap_or_default(),
        }),
        _ => None,
    }
}

/// Whom a review asks about: with the groups that it names and no others.
fn subject(resource: &Resource, spec: &Value) -> Result<User, Status> {
    let groups = spec["groups"].as_array().into_iter().flatten();
    let groups: Vec<String> = groups.filter_map(Value::as_str).map(str::to_owned).collect();
    let name = spec["user"].as_str().unwrap_or_default();
    if name.is_empty() && groups.is_empty() {
        let why = "at least one of user or group must be specified";
        return Err(wrong(resource, Problem::invalid("spec.user", &spec["user"], why)));
    }
    Ok(User { name: name.to_owned(), groups, ..User::default() })
}

fn wrong(resource: &Resource, problem: Problem) -> Status {
    Status::invalid(resource.group, resource.kind_name, "", &[problem])
}

fn rules(all: &[Rule]) -> Value {
    let of = |paths: bool| all.iter().filter(move |rule| rule.is_about_paths() == paths).map(Rule::to_value);
    json!({
        "resourceRules": of(false).collect::<Vec<_>>(),
        "nonResourceRules": of(true).collect::<Vec<_>>(),
        "incomplete": false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::authorize::{MASTERS, Objects};
    use crate::resource;

    fn policy() -> Policy {
        let binding = json!({
            "metadata": {"namespace": "shop", "name": "v"},
            "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": "alice"}],
        });
        Policy::new(Objects { role_bindings: &[&binding], ..Objects::default() })
    }

    fn ask(plural: &str, spec: Value, user: &User) -> Result<Value, Status> {
        let review = resource::all().find(|row| row.plural == plural).unwrap();
        let mut body = json!({});
        body["spec"] = spec;
        answer(review, body, "shop", user, &policy())
    }

    fn pods(verb: &str, namespace: &str) -> Value {
        json!({"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": namespace}})
    }

    #[test]
    fn each_learns_what_they_may_do() {
        let (alice, admin) = (User::new("alice", []), User::new("admin", [MASTERS.to_owned()]));
        let reviews = "selfsubjectaccessreviews";
        let allowed = ask(reviews, pods("get", "shop"), &alice).unwrap();
        assert_eq!(allowed["spec"]["resourceAttributes"]["resource"], "pods");
        assert_eq!(allowed["apiVersion"], "authorization.k8s.io/v1");
        let reason = "RBAC: allowed by RoleBinding \"v/shop\" of ClusterRole \"view\" to User \"alice\"";
        assert_eq!(allowed["status"], json!({"allowed": true, "reason": reason}));
        assert_eq!(ask(reviews, pods("delete", "shop"), &alice).unwrap()["status"], json!({"allowed": false}));
        assert_eq!(ask(reviews, pods("delete", ""), &admin).unwrap()["status"], json!({"allowed": true}));
        let path = json!({"nonResourceAttributes": {"verb": "get", "path": "/metrics"}});
        assert_eq!(ask(reviews, path, &alice).unwrap()["status"]["allowed"], false);
        let both = json!({"nonResourceAttributes": {}, "resourceAttributes": {}});
        for wrong in [json!({}), both] {
            assert_eq!(ask(reviews, wrong, &alice).unwrap_err().code, 422);
        }
    }

    #[test]
    fn others_are_asked_about_with_the_groups_that_are_named() {
        let admin = User::new("admin", [MASTERS.to_owned()]);
        let about = |user: &str, groups: &[&str]| {
            let mut spec = pods("get", "shop");
            spec["user"] = user.into();
            spec["groups"] = groups.into();
            spec
        };
        for reviews in ["subjectaccessreviews", "localsubjectaccessreviews"] {
            assert_eq!(ask(reviews, about("alice", &[]), &admin).unwrap()["status"]["allowed"], true);
            assert_eq!(ask(reviews, about("bob", &[]), &admin).unwrap()["status"]["allowed"], false);
            assert_eq!(ask(reviews, about("", &[MASTERS]), &admin).unwrap()["status"]["allowed"], true);
            assert_eq!(ask(reviews, about("", &[]), &admin).unwrap_err().code, 422);
        }
        let mut elsewhere = about("alice", &[]);
        elsewhere["resourceAttributes"]["namespace"] = "yard".into();
        assert_eq!(ask("localsubjectaccessreviews", elsewhere, &admin).unwrap_err().code, 400);
    }

    #[test]
    fn the_rules_of_a_namespace_are_listed_with_those_of_the_cluster() {
        let alice = User::new("alice", []);
        let listed = ask("selfsubjectrulesreviews", json!({"namespace": "shop"}), &alice).unwrap();
        let resources = listed["status"]["resourceRules"].to_string();
        assert!(resources.contains("pods/log") && resources.contains("selfsubjectreviews"), "{resources}");
        assert!(listed["status"]["nonResourceRules"].to_string().contains("/openapi/*"));
        let listed = ask("selfsubjectrulesreviews", json!({"namespace": "yard"}), &alice).unwrap();
        assert!(!listed["status"]["resourceRules"].to_string().contains("pods"));
        assert_eq!(ask("selfsubjectrulesreviews", json!({}), &alice).unwrap_err().code, 400);
        let who = ask("selfsubjectreviews", json!({}), &alice).unwrap();
        let info = json!({"username": "alice", "groups": ["system:authenticated"]});
        assert_eq!(who["status"]["userInfo"], info);
        assert_eq!(ask("pods", json!({}), &alice).unwrap_err().code, 404);
    }
}
