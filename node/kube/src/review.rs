//! Reviews: questions that a client posts about itself and that are answered at once. Everybody who is let in is the
//! administrator, so the answers are the same for all.

use serde_json::{Value, json};

use crate::resource::Resource;

/// The groups that the administrator is in.
pub const ADMIN_GROUPS: [&str; 2] = ["system:masters", "system:authenticated"];

/// Answers a review that `user` posted; `None`: not one of the reviews.
#[must_use]
pub fn answer(resource: &Resource, mut body: Value, user: &str) -> Option<Value> {
    let status = match resource.kind_name {
        "SelfSubjectAccessReview" => json!({"allowed": true, "reason": "the administrator may do everything"}),
        "SelfSubjectRulesReview" => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        }),
        "SelfSubjectReview" => json!({"userInfo": {"username": user, "groups": ADMIN_GROUPS}}),
        _ => return None,
    };
    if !body.is_object() {
        body = json!({});
    }
    body["kind"] = resource.kind_name.into();
    body["apiVersion"] = resource.api_version().into();
    if !body.get("metadata").is_some_and(Value::is_object) {
        body["metadata"] = json!({});
    }
    body["metadata"]["creationTimestamp"] = Value::Null;
    body["status"] = status;
    Some(body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resource;

    #[test]
    fn the_administrator_may_do_what_it_asks_about() {
        let reviews = resource::find("authorization.k8s.io", "v1", "selfsubjectaccessreviews").unwrap();
        let asked = json!({"spec": {"resourceAttributes": {"verb": "create", "resource": "pods"}}});
        let answer = answer(reviews, asked, "admin").unwrap();
        assert_eq!(answer["status"]["allowed"], true);
        assert_eq!(answer["spec"]["resourceAttributes"]["resource"], "pods");
        assert_eq!(answer["apiVersion"], "authorization.k8s.io/v1");
    }

    #[test]
    fn what_is_no_review_is_not_answered() {
        assert_eq!(answer(resource::find("", "v1", "pods").unwrap(), json!(null), "admin"), None);
    }
}
