//! skein's own verbs below `/skein/v1/`: what the command line asks of its daemon. Those that give out secrets or end the
//! node's membership exist on the Unix socket alone.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use skein_core::request::LOST_STATE;
use skein_kube::resource::CLUSTER_ROLES;
use skein_kube::status::Status;

use super::answer::{Answer, json_answer, text_answer};
use super::backend::{AdminError, TokenAsk, TokenRole};
use super::query::Query;
use super::shell::{Call, Origin, Shell, now_ms};
use super::{access, users};

/// How often a join token may be used when nothing is said, and at most.
const DEFAULT_USES: u32 = 1;
const MAX_USES: u32 = 10_000;
/// How long a join token is valid when nothing is said, and at most, in seconds.
const DEFAULT_TTL_SECONDS: u64 = 3600;
const MAX_TTL_SECONDS: u64 = 365 * 24 * 3600;
/// How long what was issued before a rotation counts when nothing is said, and at most, in seconds.
const DEFAULT_GRACE_SECONDS: u64 = 24 * 3600;
const MAX_GRACE_SECONDS: u64 = 365 * 24 * 3600;

/// The most that may come with one code.
const MAX_INVITED: u32 = 64;
/// How long an invitation counts at most, in seconds: whoever is invited is there.
const MAX_INVITATION_SECONDS: u64 = 24 * 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TokenRequest {
    uses: u32,
    ttl_seconds: u64,
    role: TokenRole,
    grant: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeTokenRequest {
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveRequest {
    peer: String,
    /// How long what was issued before counts still.
    #[serde(default)]
    grace_seconds: u64,
    /// Whether the keys stay as they are, which the removed node knows.
    #[serde(default)]
    keep_keys: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateRequest {
    #[serde(default = "default_grace")]
    grace_seconds: u64,
}

fn default_grace() -> u64 {
    DEFAULT_GRACE_SECONDS
}

impl Default for TokenRequest {
    fn default() -> Self {
        TokenRequest { uses: DEFAULT_USES, ttl_seconds: DEFAULT_TTL_SECONDS, role: TokenRole::default(), grant: None }
    }
}

/// Answers a request below `/skein/`.
///
/// # Errors
/// When there is no such verb, it is not for the network, or it failed.
pub async fn serve(shell: &Arc<Shell>, call: &Call) -> Result<Answer, Status> {
    let verb = call.path().strip_prefix("/skein/v1/").ok_or_else(Status::no_such_resource)?;
    let private = matches!(
        verb,
        "tokens" | "revoke-token" | "invitations" | "kubeconfig" | "leave" | "remove" | "rotate" | "users" | "revoke"
    );
    if private && call.origin != Origin::Socket {
        let message = format!("{verb} is answered on the node's own socket only (run skein on the node itself)");
        return Err(Status::new(403, "Forbidden", message));
    }
    let posted = matches!(verb, "revoke-token" | "leave" | "remove" | "rotate" | "users" | "revoke");
    let both = matches!(verb, "tokens" | "invitations") && call.method == Method::GET;
    let made = matches!(verb, "tokens" | "invitations") && !both;
    let expected = if posted || made { Method::POST } else { Method::GET };
    let known = private || matches!(verb, "peers" | "leader" | "why" | "state-hash");
    if !known {
        return Err(Status::no_such_resource());
    }
    let action = access::path_action(&call.method, call.path());
    access::permit(shell, &call.caller.user, &action).await?;
    if call.method != expected {
        return Err(Status::new(405, "MethodNotAllowed", format!("{verb} takes {expected}, not {}", call.method)));
    }
    // Leaving has an answer of its own, and the administrator's kubeconfig comes from a file.
    if !matches!(verb, "leave" | "kubeconfig") && !shell.backend.has_state().await {
        return Err(Status::unavailable(LOST_STATE, 5));
    }
    match verb {
        "tokens" if both => Ok(json_answer(StatusCode::OK, &json!({"tokens": shell.backend.tokens().await?}))),
        "tokens" => {
            let ask = token_ask(shell, call, MAX_USES, MAX_TTL_SECONDS).await?;
            Ok(json_answer(StatusCode::CREATED, &json!({"token": shell.backend.create_token(ask).await?})))
        }
        "revoke-token" => revoke_token(shell, call).await,
        "invitations" if both => standing(shell, call).await,
        "invitations" => {
            let ask = token_ask(shell, call, MAX_INVITED, MAX_INVITATION_SECONDS).await?;
            Ok(json_answer(StatusCode::CREATED, &json!({"code": shell.backend.invite(ask).await?})))
        }
        "kubeconfig" => {
            let (secrets, authorities) = (shell.identity.secrets(), shell.identity.authorities(now_ms()));
            let text = secrets.kubeconfig(&shell.cluster, &shell.server_url, &authorities);
            Ok(text_answer(StatusCode::OK, text))
        }
        "leave" => {
            shell.backend.leave().await?;
            Ok(json_answer(StatusCode::OK, &json!({})))
        }
        "remove" => remove(shell, call).await,
        "rotate" => rotate(shell, call).await,
        "users" => users::create(shell, call).await,
        "revoke" => users::revoke(shell, call).await,
        "peers" => Ok(json_answer(StatusCode::OK, &json!({"peers": shell.backend.peers().await?}))),
        "leader" => match shell.backend.leader().await? {
            Some(leader) => Ok(json_answer(StatusCode::OK, &leader)),
            None => Err(Status::unavailable("no leader is known now: an election is going on", 1)),
        },
        "why" => why(shell, call).await,
        _ => Ok(json_answer(StatusCode::OK, &json!({"hash": shell.backend.state_hash().await?}))),
    }
}

/// What is asked of a token, or of an invitation, within these limits.
async fn token_ask(shell: &Arc<Shell>, call: &Call, max_uses: u32, max_seconds: u64) -> Result<TokenAsk, Status> {
    let body: &[u8] = if call.body.is_empty() { b"{}" } else { &call.body };
    let request: TokenRequest = serde_json::from_slice(body).map_err(|error| {
        let form = r#"{"uses": N, "ttl_seconds": N, "role": "member", "observer" or "client"}"#;
        Status::bad_request(format!("a token needs {form}: {error}"))
    })?;
    if !(1..=max_uses).contains(&request.uses) {
        return Err(Status::bad_request(format!("uses: {} is not between 1 and {max_uses}", request.uses)));
    }
    if !(1..=max_seconds).contains(&request.ttl_seconds) {
        let longer =
            if max_seconds < MAX_TTL_SECONDS { "; for longer make a token: skein token create --ttl 2d" } else { "" };
        let message = format!("ttl: {} s is not between 1 s and {max_seconds} s{longer}", request.ttl_seconds);
        return Err(Status::bad_request(message));
    }
    if let Some(grant) = &request.grant {
        if request.role != TokenRole::Client {
            let message = format!("grant: only clients are given a role, not {}s", request.role.as_str());
            return Err(Status::bad_request(message));
        }
        let known = shell.known.now(&*shell.backend).await?;
        let role = json!({"kind": "ClusterRole", "name": grant});
        known.policy.referred(&role, "").ok_or_else(|| Status::not_found(&CLUSTER_ROLES, grant))?;
    }
    let TokenRequest { uses, ttl_seconds, role, grant } = request;
    Ok(TokenAsk { uses, ttl: Duration::from_secs(ttl_seconds), role, grant })
}

async fn revoke_token(shell: &Arc<Shell>, call: &Call) -> Result<Answer, Status> {
    let request: RevokeTokenRequest = serde_json::from_slice(&call.body)
        .map_err(|_| Status::bad_request("a revocation needs {\"id\": ID}, as skein token list shows it"))?;
    let id = shell.backend.revoke_token(request.id).await?;
    Ok(json_answer(StatusCode::OK, &json!({"id": id})))
}

async fn standing(shell: &Arc<Shell>, call: &Call) -> Result<Answer, Status> {
    let query = Query::parse(call.uri.query())?;
    let number = query.get("number").and_then(|number| number.parse().ok());
    let number = number.ok_or_else(|| Status::bad_request("number: an invitation's number is needed (?number=42)"))?;
    Ok(json_answer(StatusCode::OK, &json!({"invitation": shell.backend.invitation(number).await?})))
}

async fn remove(shell: &Arc<Shell>, call: &Call) -> Result<Answer, Status> {
    let request: RemoveRequest = serde_json::from_slice(&call.body)
        .map_err(|error| Status::bad_request(format!("a removal needs {{\"peer\": NAME or ID}}: {error}")))?;
    let grace = grace(request.grace_seconds)?;
    let shell = shell.clone();
    // Whoever hangs up ends the request. What is begun here does not end with it: between a removal and its rotation the removed
    // node knows the keys that are in force.
    let both = tokio::spawn(async move { remove_and_rotate(&shell, request, grace).await });
    both.await.unwrap_or_else(|error| Err(Status::new(500, "InternalError", error.to_string())))
}

/// Removes a node and changes the keys that it knew. Of one that was removed already, by a request that was cut short, the keys are
/// changed if nobody has done it.
async fn remove_and_rotate(shell: &Shell, request: RemoveRequest, grace: Duration) -> Result<Answer, Status> {
    let mut removed = shell.backend.remove(request.peer).await?;
    if removed.again && (request.keep_keys || !removed.knows_keys) {
        let since = if removed.knows_keys { "" } else { ", and the keys were changed since" };
        return Err(AdminError(format!("{} was removed already{since}", removed.name)).into());
    }
    let rotated = if request.keep_keys { None } else { Some(shell.backend.rotate(grace).await) };
    let rotated = rotated.transpose().unwrap_or_else(|error| {
        // The node is removed; that it knows the keys still must not go under.
        removed
            .warnings
            .push(format!("the removed node still knows the cluster's keys: {error}; run skein rotate --grace 0s"));
        None
    });
    let mut answer = serde_json::to_value(&removed).unwrap_or_default();
    answer["rotated"] = json!(rotated);
    Ok(json_answer(StatusCode::OK, &answer))
}

async fn rotate(shell: &Arc<Shell>, call: &Call) -> Result<Answer, Status> {
    let body: &[u8] = if call.body.is_empty() { b"{}" } else { &call.body };
    let request: RotateRequest = serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("a rotation needs {{\"grace_seconds\": N}}: {error}")))?;
    let rotated = shell.backend.rotate(grace(request.grace_seconds)?).await?;
    Ok(json_answer(StatusCode::CREATED, &rotated))
}

fn grace(seconds: u64) -> Result<Duration, Status> {
    if seconds > MAX_GRACE_SECONDS {
        let message = format!("grace: {seconds} s is not between 0 s and {MAX_GRACE_SECONDS} s (a year)");
        return Err(Status::bad_request(message));
    }
    Ok(Duration::from_secs(seconds))
}

async fn why(shell: &Arc<Shell>, call: &Call) -> Result<Answer, Status> {
    let query = Query::parse(call.uri.query())?;
    let object = query.get("object").or_else(|| query.get("pod")).filter(|object| !object.is_empty());
    let needs = "why needs the name of a pod, or KIND/NAME (?object=NAME&namespace=NAME)";
    let object = object.ok_or_else(|| Status::bad_request(needs))?;
    let namespace = query.get("namespace").unwrap_or("default");
    let lines = shell.backend.why(namespace.to_owned(), object.to_owned()).await?;
    Ok(json_answer(StatusCode::OK, &json!({"lines": lines})))
}

impl From<AdminError> for Status {
    fn from(error: AdminError) -> Self {
        Status::new(422, "Invalid", error.to_string())
    }
}
