//! skein's verbs about users: a kubeconfig for somebody with a role, and the end of all that was issued to somebody. What it
//! takes of Kubernetes' API is asked of that, in the name of whoever asked for it.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::{Value, json};
use skein_kube::authorize::account_of;
use skein_kube::resource::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS};
use skein_kube::status::Status;
use skein_kube::time::rfc3339;

use super::access::authenticate::{ADMIN, ROOT};
use super::access::known::REVOKED;
use super::answer::{Answer, json_answer, text_answer};
use super::backend::ApiRef;
use super::routes;
use super::shell::{Call, Shell, now_ms};
use crate::pki::token::{Claims, MAX_TTL_S};
use crate::pki::{Credential, client, kubeconfig};

/// How long credentials are valid when nothing is said, in seconds: thirty days.
const DEFAULT_TTL_S: u64 = 30 * 24 * 3600;
/// The longest name of a user or a group, in characters, and the most groups.
const MAX_NAME_CHARS: usize = 128;
const MAX_GROUPS: usize = 32;
/// What names of the system begin with.
const RESERVED: &str = "system:";
const RBAC: &str = "rbac.authorization.k8s.io";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UserRequest {
    user: String,
    groups: Vec<String>,
    /// Empty: none is bound.
    role: String,
    /// Empty: the whole cluster.
    namespace: String,
    ttl_seconds: u64,
    certificate: bool,
}

impl UserRequest {
    /// A user with a role in the whole cluster.
    pub(super) fn with_role(user: &str, role: &str) -> Self {
        UserRequest { user: user.to_owned(), role: role.to_owned(), ..UserRequest::default() }
    }
}

impl Default for UserRequest {
    fn default() -> Self {
        let text = String::new;
        UserRequest {
            user: text(),
            groups: Vec::new(),
            role: text(),
            namespace: text(),
            ttl_seconds: DEFAULT_TTL_S,
            certificate: false,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeRequest {
    user: String,
}

/// Answers a request for a user's kubeconfig: binds the role, if one is named, and issues what the user shows.
///
/// # Errors
/// When a name cannot be, there is no such role, or the binding could not be written.
pub async fn create(shell: &Arc<Shell>, call: &Call) -> Result<Answer, Status> {
    let request: UserRequest = serde_json::from_slice(&call.body)
        .map_err(|error| Status::bad_request(format!("a user needs {{\"user\": NAME}}: {error}")))?;
    check_new_user(&request.user)?;
    for group in &request.groups {
        check_name("group", group)?;
    }
    if request.groups.len() > MAX_GROUPS {
        return Err(Status::bad_request(format!("more than {MAX_GROUPS} groups")));
    }
    if request.certificate && request.groups.len() > 1 {
        return Err(Status::bad_request("a certificate is made for one group at most; a token holds more"));
    }
    if !(1..=MAX_TTL_S).contains(&request.ttl_seconds) {
        let message = format!("expires: {} s is not between 1 s and {MAX_TTL_S} s (a year)", request.ttl_seconds);
        return Err(Status::bad_request(message));
    }
    if !request.role.is_empty() {
        bind(shell, call, &request).await?;
    }
    Ok(text_answer(StatusCode::CREATED, issue(shell, &request).await?))
}

/// Answers a request to let nothing count any more that was issued to a user.
///
/// # Errors
/// When that could not be written.
pub async fn revoke(shell: &Arc<Shell>, call: &Call) -> Result<Answer, Status> {
    let request: RevokeRequest = serde_json::from_slice(&call.body)
        .map_err(|error| Status::bad_request(format!("a revocation needs {{\"user\": NAME}}: {error}")))?;
    check_name("user", &request.user)?;
    let (namespace, name) = REVOKED;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    // A key of a ConfigMap may hold less than a name, which therefore stands in the value.
    let mut key = String::new();
    for byte in request.user.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => key.push(char::from(byte)),
            other => key.push_str(&format!("_{other:02x}")),
        }
    }
    let at = rfc3339(now_ms());
    let data = json!({"data": {key: format!("{at} {}", request.user)}});
    let patched = ask(shell, call, Method::PATCH, &format!("{path}/{name}"), &data).await;
    if patched.as_ref().is_err_and(|status| status.code == 404) {
        let mut map = data;
        map["metadata"] = json!({"name": name});
        ask(shell, call, Method::POST, &path, &map).await?;
    } else {
        patched?;
    }
    Ok(json_answer(StatusCode::OK, &json!({"user": request.user, "revoked": at})))
}

pub(super) async fn issue(shell: &Shell, request: &UserRequest) -> Result<String, Status> {
    let (secrets, mut now_s) = (shell.identity.secrets(), now_ms() / 1000);
    // What is made in the second of a revocation cannot be told from what was made before it.
    if shell.known.now(&*shell.backend).await?.is_revoked(&request.user, now_s) {
        now_s += 1;
    }
    let authorities = shell.identity.authorities(now_ms());
    let failed = |error: String| Status::new(500, "InternalError", error);
    let write = |credential: &Credential<'_>| {
        let user = (request.user.as_str(), credential);
        kubeconfig(&shell.cluster, &shell.server_url, &authorities, user, &request.namespace)
    };
    if request.certificate {
        let group = request.groups.first().map(String::as_str);
        let issued = client::issue(&secrets, &request.user, group, now_s, request.ttl_seconds);
        return Ok(write(&Credential::Certificate(&issued.map_err(|error| failed(error.to_string()))?)));
    }
    let claims = Claims::of_user(&request.user, request.groups.clone(), now_s, request.ttl_seconds);
    let token = shell.identity.tokens().sign(claims);
    let token = token.map_err(|error| failed(format!("no randomness from the operating system: {error}")))?;
    Ok(write(&Credential::Token(&token)))
}

/// Binds a role to a user, in a namespace or in the cluster. One that is bound to them already stays: then it is `false`.
pub(super) async fn bind(shell: &Arc<Shell>, call: &Call, request: &UserRequest) -> Result<bool, Status> {
    let (role, namespace) = (request.role.as_str(), request.namespace.as_str());
    let known = shell.known.now(&*shell.backend).await?;
    let has = |kind: &&str| known.policy.referred(&json!({"kind": kind, "name": role}), namespace).is_some();
    // A role of the namespace's own is meant before one of the cluster that has its name.
    let kinds = if namespace.is_empty() { &["ClusterRole"][..] } else { &["Role", "ClusterRole"] };
    let kind = kinds.iter().find(|kind| has(kind)).ok_or_else(|| Status::not_found(&CLUSTER_ROLES, role))?;
    let path = match namespace {
        "" => format!("/apis/{RBAC}/v1/clusterrolebindings"),
        within => format!("/apis/{RBAC}/v1/namespaces/{within}/rolebindings"),
    };
    let name = binding_name(&request.user, role);
    let wanted = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": request.user}],
    });
    match ask(shell, call, Method::POST, &path, &wanted).await {
        Err(status) if status.reason == "AlreadyExists" => {
            is_bound(shell, &wanted, namespace, status).await.map(|()| false)
        }
        other => other.map(|_| true),
    }
}

/// Takes a role in the whole cluster from a user that was bound to it here.
pub(super) async fn unbind(shell: &Arc<Shell>, call: &Call, request: &UserRequest) -> Result<(), Status> {
    let name = binding_name(&request.user, &request.role);
    let path = format!("/apis/{RBAC}/v1/clusterrolebindings/{name}");
    ask(shell, call, Method::DELETE, &path, &json!({})).await.map(drop)
}

/// What the binding of a role to a user is called.
pub(super) fn binding_name(user: &str, role: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, '/' | '%') { c } else { '-' };
    format!("skein:{user}:{role}").chars().map(plain).collect()
}

/// Whether the binding that has the name already is the one that is wanted.
async fn is_bound(shell: &Shell, wanted: &Value, namespace: &str, taken: Status) -> Result<(), Status> {
    let resource = if namespace.is_empty() { &CLUSTER_ROLE_BINDINGS } else { &ROLE_BINDINGS };
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default().into();
    let object = ApiRef { kind: resource.kind(), namespace: namespace.into(), name };
    let found = shell.backend.get(object).await?;
    let same = |field: &str| found.as_ref().is_some_and(|found| found.value[field] == wanted[field]);
    if same("roleRef") && same("subjects") { Ok(()) } else { Err(taken) }
}

/// Asks Kubernetes' API for something in the name of whoever sent a request.
async fn ask(shell: &Arc<Shell>, call: &Call, method: Method, path: &str, body: &Value) -> Result<Answer, Status> {
    let uri: Uri = path.parse().map_err(|_| Status::bad_request(format!("{path:?} cannot be in a path")))?;
    let patch = method == Method::PATCH;
    let content_type = if patch { "application/merge-patch+json" } else { "application/json" };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("skein"));
    let (origin, caller, credential) = (call.origin, call.caller.clone(), call.credential.clone());
    let body = body.to_string().into();
    routes::serve(shell, Call { method, uri, headers, body, origin, caller, credential, upgrade: None }).await
}

/// Whether somebody new may be called that: also not as the administrator is, and whoever asks on the node itself. What they do
/// would stand in the audit log as done by these.
pub(super) fn check_new_user(name: &str) -> Result<(), Status> {
    check_name("user", name)?;
    if [ADMIN, ROOT].contains(&name) {
        return Err(Status::bad_request(format!("the user {name:?} cannot be: the administrator is called that")));
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<(), Status> {
    let wrong = |why: &str| Err(Status::bad_request(format!("the {what} {name:?} cannot be: {why}")));
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS {
        return wrong(&format!("a name has 1 to {MAX_NAME_CHARS} characters"));
    }
    if name.chars().any(char::is_control) || name.trim() != name {
        return wrong("it has control characters, or blanks around it");
    }
    if name.starts_with(RESERVED) || account_of(name).is_some() {
        return wrong("names that begin with system: are Kubernetes' own");
    }
    Ok(())
}
