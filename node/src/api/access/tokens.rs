//! Tokens of accounts: making one (TokenRequest), and saying whose one is (TokenReview).

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Value, json};
use skein_kube::resource::{PODS, Resource, SECRETS, TOKEN_REVIEWS};
use skein_kube::status::{Problem, Status};
use skein_kube::time::rfc3339;
use skein_kube::{body, review};

use super::super::answer::{Answer, json_answer};
use super::super::backend::{ApiRef, Rendered};
use super::super::read;
use super::super::routes::{Asked, Target};
use super::super::shell::{Shell, now_ms};
use super::authenticate::verify;
use crate::pki::token::{API_AUDIENCE, AccountClaims, Claims, Life, MAX_TTL_S};

/// How long a token is valid when nothing is said, and at least, in seconds: as a real server has it.
pub const DEFAULT_TTL_S: u64 = 3600;
const MIN_TTL_S: u64 = 600;
/// The longest that may be asked for; more than [`MAX_TTL_S`] is cut down to that.
const MAX_ASKED_S: u64 = 1 << 32;
/// The most audiences of one token, and the longest name of one in bytes.
const MAX_AUDIENCES: usize = 16;
const MAX_AUDIENCE_BYTES: usize = 512;
/// The kind of what answers.
const TOKEN_REQUEST: &str = "TokenRequest";

/// Answers a request for a token of an account.
///
/// # Errors
/// When there is no such account, or what the token is to be bound to is not there; when it asks for what cannot be.
pub async fn create(shell: &Arc<Shell>, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
    let mut request = body::decode(asked.content_type(), &asked.call.body)?;
    let (spec, problems) = (&request["spec"], problems_of(&request["spec"]));
    if !problems.is_empty() {
        return Err(Status::invalid("authentication.k8s.io", TOKEN_REQUEST, "", &problems));
    }
    let ttl_s = spec["expirationSeconds"].as_u64().unwrap_or(DEFAULT_TTL_S).min(MAX_TTL_S);
    let mut audiences = texts(&spec["audiences"]);
    if audiences.is_empty() {
        audiences.push(API_AUDIENCE.to_owned());
    }
    let account = read::object(shell, target).await?;
    let (pod, secret) = bound(shell, target, &spec["boundObjectRef"]).await?;
    let of = AccountClaims {
        namespace: target.object.namespace.to_string(),
        serviceaccount: life(&account, target.name()),
        pod,
        secret,
    };
    let now_s = now_ms() / 1000;
    let options = asked.write_options()?;
    let token = if options.dry_run { String::new() } else { sign(shell, of, audiences.clone(), now_s, ttl_s)? };
    request["kind"] = TOKEN_REQUEST.into();
    request["apiVersion"] = "authentication.k8s.io/v1".into();
    request["metadata"] = json!({
        "name": target.name(),
        "namespace": &*target.object.namespace,
        "creationTimestamp": rfc3339(now_s * 1000),
    });
    request["spec"]["audiences"] = audiences.into();
    request["spec"]["expirationSeconds"] = ttl_s.into();
    request["status"] = json!({"token": token, "expirationTimestamp": rfc3339((now_s + ttl_s) * 1000)});
    Ok(json_answer(StatusCode::CREATED, &request))
}

/// Answers a question whose a token is.
///
/// # Errors
/// When there is no token in it.
pub async fn review(shell: &Arc<Shell>, question: Value) -> Result<Value, Status> {
    let spec = &question["spec"];
    let token = spec["token"].as_str().filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Status::bad_request("token is required for TokenReview in authentication"))?;
    let mut audiences = texts(&spec["audiences"]);
    if audiences.is_empty() {
        audiences.push(API_AUDIENCE.to_owned());
    }
    let audiences: Vec<&str> = audiences.iter().map(String::as_str).collect();
    let status = match verify(shell, token, &audiences).await? {
        Ok(verified) => {
            json!({"authenticated": true, "user": review::info(&verified.user), "audiences": verified.audiences})
        }
        Err(why) => json!({"user": {}, "error": why}),
    };
    Ok(review::answered(&TOKEN_REVIEWS, question, status))
}

fn sign(
    shell: &Shell,
    account: AccountClaims,
    audiences: Vec<String>,
    now_s: u64,
    ttl_s: u64,
) -> Result<String, Status> {
    let name = format!("system:serviceaccount:{}:{}", account.namespace, account.serviceaccount.name);
    let mut claims = Claims::of_user(&name, Vec::new(), now_s, ttl_s);
    claims.aud = audiences;
    claims.account = Some(account);
    let failed = |error| Status::new(500, "InternalError", format!("no randomness from the operating system: {error}"));
    shell.identity.tokens().sign(claims).map_err(failed)
}

fn problems_of(spec: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let asked = &spec["expirationSeconds"];
    let is_number = asked.as_i64().is_some();
    if !asked.is_null() && (!is_number || asked.as_i64() < i64::try_from(MIN_TTL_S).ok()) {
        let why = "may not specify a duration less than 10 minutes";
        problems.push(Problem::invalid("spec.expirationSeconds", asked, why));
    } else if asked.as_u64().is_some_and(|seconds| seconds > MAX_ASKED_S) {
        let why = "may not specify a duration larger than 2^32 seconds";
        problems.push(Problem::invalid("spec.expirationSeconds", asked, why));
    }
    let audiences = texts(&spec["audiences"]);
    if audiences.len() > MAX_AUDIENCES {
        problems.push(Problem::too_many("spec.audiences", audiences.len(), MAX_AUDIENCES));
    }
    if audiences.iter().any(|audience| audience.len() > MAX_AUDIENCE_BYTES) {
        problems.push(Problem::too_long("spec.audiences", MAX_AUDIENCE_BYTES));
    }
    problems
}

/// What a token is to end with.
async fn bound(shell: &Shell, account: &Target, reference: &Value) -> Result<(Option<Life>, Option<Life>), Status> {
    if reference.is_null() || reference.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok((None, None));
    }
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let kind: &'static Resource = match (text("apiVersion"), text("kind")) {
        ("v1", "Pod") => &PODS,
        ("v1", "Secret") => &SECRETS,
        (version, kind) => {
            let message = format!("cannot bind token for object of type {version}, Kind={kind}");
            return Err(Status::bad_request(message));
        }
    };
    let namespace = account.object.namespace.clone();
    let object = ApiRef { kind: kind.kind(), namespace, name: text("name").into() };
    let target = Target { resource: kind, object };
    let found = read::object(shell, &target).await?;
    let life = life(&found, target.name());
    if !text("uid").is_empty() && text("uid") != life.uid {
        return Err(Status::uid_conflict(kind, target.name(), text("uid"), &life.uid));
    }
    if *kind == SECRETS {
        return Ok((None, Some(life)));
    }
    let runs_as = found.value["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty());
    if runs_as.unwrap_or("default") != account.name() {
        let message = format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            account.name()
        );
        return Err(Status::bad_request(message));
    }
    Ok((Some(life), None))
}

fn life(object: &Rendered, name: &str) -> Life {
    Life { name: name.to_owned(), uid: object.value["metadata"]["uid"].as_str().unwrap_or_default().to_owned() }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
