//! `GET pods/NAME/log`: finds the container and the node that has it, and passes its log on. How a log crosses peers
//! lives in `remote_logs`.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::Value;
use skein_crdt_state::Kind;
use skein_gossip::NodeId;
use skein_kube::status::Status;
use skein_kube::time::parse_rfc3339;

use super::answer::{Answer, set_content_type, too_many};
use super::backend::{ApiRef, LogError, LogRequest, LogStream, Rendered};
use super::query::Query;
use super::remote_logs;
use super::shares::Full;
use super::shell::{Call, Shell, now_ms};
use super::unread::{UNREAD_LIMIT, log_while_read};

/// How many logs may be read through this peer at once, those that are followed among them. When all are, a further one takes the
/// place of the oldest of who has most, or is answered 429.
pub const LOGS_LIMIT: usize = 256;
/// How many of them one user may read that is no administrator; further ones are answered 429.
pub const LOGS_OF_USER_LIMIT: usize = LOGS_LIMIT / 4;
/// What a Node object's `spec.providerID` begins with; the node's id follows.
const PROVIDER_PREFIX: &str = "skein://";
/// The annotation that names the container which is meant when a client names none.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Answers a log request for a pod.
///
/// # Errors
/// When the container does not exist, has not started, or its node cannot be reached.
pub async fn serve(shell: &Arc<Shell>, call: &Call, pod: &Rendered, query: &Query) -> Result<Answer, Status> {
    let request = log_request(&pod.value, query)?;
    let limit = query.number("limitBytes")?;
    if limit == Some(0) {
        return Err(Status::new(422, "Invalid", "limitBytes: must be greater than 0"));
    }
    let share = shell.logs.take(call.caller.own()).map_err(|full| {
        let message = match full {
            Full::OfUser => "you read too many logs through this peer; end some, or ask another peer",
            Full::InAll => "too many logs are read through this peer; try again, or ask another peer",
        };
        too_many(message, 1)
    })?;
    let node = pod.value["spec"]["nodeName"].as_str().unwrap_or_default();
    let node = node_id(shell, node, &pod.value).await?;
    let opened = if node == shell.backend.me() {
        shell.backend.open(request).await
    } else {
        remote_logs::open(&*shell.backend, node, request).await
    };
    let log = opened.map_err(|error| match error {
        LogError::NotFound(message) => Status::new(404, "NotFound", message),
        LogError::Unavailable(message) => Status::unavailable(message, 0),
    })?;
    let log = log_while_read(limited(log, limit), UNREAD_LIMIT, shell.metrics.clone());
    let log = log.take_until(shell.stop.clone().cancelled_owned()).take_until(call.while_counts(shell, share));
    let mut answer = Response::new(Body::from_stream(log));
    *answer.status_mut() = StatusCode::OK;
    set_content_type(&mut answer, "text/plain");
    Ok(answer)
}

fn log_request(pod: &Value, query: &Query) -> Result<LogRequest, Status> {
    let container = container(pod, query)?;
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"].into_iter();
    let mut status = lists.filter_map(|list| pod["status"][list].as_array()).flatten();
    let status = status.find(|status| status["name"] == container.as_str());
    let restarts = status.and_then(|status| status["restartCount"].as_u64()).unwrap_or(0);
    let mut attempt = u32::try_from(restarts).unwrap_or(u32::MAX);
    if query.flag("previous")? {
        let missing = || format!("previous terminated container \"{container}\" in pod \"{name}\" not found");
        attempt = attempt.checked_sub(1).ok_or_else(|| Status::bad_request(missing()))?;
    } else if let Some(reason) = not_started(status) {
        let message = format!("container \"{container}\" in pod \"{name}\" is waiting to start: {reason}");
        return Err(Status::bad_request(message));
    }
    Ok(LogRequest {
        uid: pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
        attempt,
        follow: query.flag("follow")?,
        tail_lines: query.number("tailLines")?,
        since_ms: since_ms(query)?,
        timestamps: query.flag("timestamps")?,
        container,
    })
}

/// Why a container has no log yet; one that waits for its next start has the log of the one before.
fn not_started(status: Option<&Value>) -> Option<&str> {
    let Some(status) = status else { return Some("ContainerCreating") };
    let waiting = status["state"]["waiting"].as_object()?;
    if status["lastState"]["terminated"].is_object() {
        return None;
    }
    Some(waiting.get("reason").and_then(Value::as_str).unwrap_or("ContainerCreating"))
}

/// Which container of a pod a query means.
pub(super) fn container(pod: &Value, query: &Query) -> Result<String, Status> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let names = |list: &str| -> Vec<&str> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter_map(|container| container["name"].as_str()).collect()
    };
    let (containers, init) = (names("containers"), [names("initContainers"), names("ephemeralContainers")].concat());
    let annotated = pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str();
    let asked = query.get("container").filter(|name| !name.is_empty());
    match (asked.or(annotated.filter(|name| containers.contains(name))), containers.as_slice()) {
        (Some(asked), _) if containers.contains(&asked) || init.contains(&asked) => Ok(asked.to_owned()),
        (Some(asked), _) => Err(Status::bad_request(format!(
            "container {asked} is not valid for pod {name}; it has: {}",
            [containers, init].concat().join(", ")
        ))),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => Err(Status::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]{}",
            containers.join(" "),
            if init.is_empty() {
                String::new()
            } else {
                format!(" or one of the init containers: [{}]", init.join(" "))
            }
        ))),
    }
}

fn since_ms(query: &Query) -> Result<Option<u64>, Status> {
    if let Some(time) = query.get("sinceTime").filter(|time| !time.is_empty()) {
        let wrong = || Status::bad_request(format!("sinceTime: \"{time}\" is not a time such as 2026-01-31T12:00:00Z"));
        return parse_rfc3339(time).map(Some).ok_or_else(wrong);
    }
    let Some(seconds) = query.number("sinceSeconds")? else { return Ok(None) };
    Ok(Some(now_ms().saturating_sub(seconds.saturating_mul(1000))))
}

/// A node's id by the name that its pods show.
pub(super) async fn node_id(shell: &Shell, node: &str, pod: &Value) -> Result<NodeId, Status> {
    if node.is_empty() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let object = ApiRef { kind: Kind::new("Node"), namespace: "".into(), name: node.into() };
    let rendered = shell.backend.get(object).await?;
    let id = rendered.as_ref().and_then(|node| id_of_node(&node.value));
    id.ok_or_else(|| Status::unavailable(format!("node {node} is not known (any more), and what ran there with it"), 0))
}

/// The id that a Node object tells.
pub(super) fn id_of_node(node: &Value) -> Option<NodeId> {
    node["spec"]["providerID"].as_str()?.strip_prefix(PROVIDER_PREFIX)?.parse().ok()
}

/// The first so many bytes.
fn limited(log: LogStream, limit: Option<u64>) -> LogStream {
    let Some(limit) = limit else { return log };
    let cut = stream::unfold((log, limit), |(mut log, left)| async move {
        if left == 0 {
            return None;
        }
        let chunk = log.next().await?;
        let chunk: Result<Bytes, _> = chunk.map(|bytes| {
            let keep = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            bytes.slice(..keep)
        });
        let used = chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Some((chunk, (log, left - used)))
    });
    cut.boxed()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn pod(restarts: u64, state: &Value, last: &Value) -> Value {
        json!({
            "metadata": {"name": "web-1", "uid": "u"},
            "spec": {"containers": [{"name": "web"}]},
            "status": {"containerStatuses": [{"name": "web", "restartCount": restarts, "state": state, "lastState": last}]},
        })
    }

    fn ask(pod: &Value, query: &str) -> Result<LogRequest, String> {
        log_request(pod, &Query::parse(Some(query)).unwrap()).map_err(|failure| failure.message)
    }

    #[test]
    fn the_attempt_follows_from_the_restarts() {
        let running = pod(2, &json!({"running": {}}), &json!({"terminated": {}}));
        assert_eq!(ask(&running, "").unwrap().attempt, 2);
        assert_eq!(ask(&running, "previous=true&tailLines=3").unwrap().attempt, 1);
        let fresh = pod(0, &json!({"running": {}}), &json!({}));
        assert!(ask(&fresh, "previous=true").unwrap_err().contains("not found"));
    }

    #[test]
    fn a_container_that_waits_for_its_first_start_has_no_log_and_says_so() {
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff"}});
        let message = ask(&pod(0, &waiting, &json!({})), "").unwrap_err();
        assert_eq!(message, "container \"web\" in pod \"web-1\" is waiting to start: ImagePullBackOff");
        assert!(ask(&pod(1, &waiting, &json!({"terminated": {}})), "").is_ok());
    }

    #[test]
    fn of_several_containers_one_must_be_named() {
        let mut pod = pod(0, &json!({"running": {}}), &json!({}));
        pod["spec"]["containers"] = json!([{"name": "web"}, {"name": "log"}]);
        assert!(ask(&pod, "").unwrap_err().contains("[web log]"));
        assert!(ask(&pod, "container=db").unwrap_err().contains("db is not valid"));
        assert_eq!(ask(&pod, "container=web").unwrap().container, "web");
        pod["spec"]["initContainers"] = json!([{"name": "init"}]);
        pod["status"]["initContainerStatuses"] =
            json!([{"name": "init", "restartCount": 3, "state": {"terminated": {}}}]);
        assert!(ask(&pod, "").unwrap_err().ends_with("[web log] or one of the init containers: [init]"));
        assert_eq!(ask(&pod, "container=init").unwrap().attempt, 3);
        pod["metadata"]["annotations"] = json!({DEFAULT_CONTAINER: "web"});
        assert_eq!(ask(&pod, "").unwrap().container, "web");
    }

    #[tokio::test]
    async fn a_limit_cuts_within_a_chunk() {
        let log = stream::iter([Ok("abc".into()), Ok("def".into()), Ok("ghi".into())]).boxed();
        let chunks: Vec<Bytes> = limited(log, Some(5)).map(Result::unwrap).collect().await;
        assert_eq!(chunks.concat(), b"abcde");
    }
}
