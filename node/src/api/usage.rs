//! `metrics.k8s.io`: what nodes and pods use now. Each node is asked at the time of the request, as no node tells of its own
//! accord what it uses. Those that do not answer are left out, as Kubernetes' own server of metrics does. How they are asked
//! lives in `peers`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::Value;
use skein_gossip::NodeId;
use skein_kube::negotiate::{self, parse_accept};
use skein_kube::resource::{MEASURED, NODE_METRICS, NODES, PODS, Resource};
use skein_kube::status::Status;
use skein_kube::usage::{self, Taken, Usage};

use super::answer::{Answer, json_answer};
use super::backend::{ApiRef, NodeUsage, Rendered, Used};
use super::logs::id_of_node;
use super::read;
use super::routes::{Asked, Target};
use super::shell::Shell;

pub mod peers;

/// What nodes said, by their ids.
type Answers = BTreeMap<NodeId, NodeUsage>;

/// Answers a list: all that a selector selects and whose use is known.
///
/// # Errors
/// When the selector or the form cannot be had, or the daemon stops.
pub async fn list(
    shell: &Shell,
    asked: &Asked<'_>,
    resource: &'static Resource,
    namespace: Option<Arc<str>>,
) -> Result<Answer, Status> {
    plain(asked)?;
    let of = measured(resource);
    let objects = read::selected(shell, asked, of, namespace).await?;
    let items = metrics(shell, of, &objects).await?;
    Ok(json_answer(StatusCode::OK, &usage::list(resource, &items)))
}

/// Answers a get.
///
/// # Errors
/// When there is no such object, or what it uses is not known.
pub async fn get(shell: &Shell, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
    plain(asked)?;
    let of = measured(target.resource);
    let object = ApiRef { kind: of.kind(), ..target.object.clone() };
    let object = read::object(shell, &Target { resource: of, object }).await?;
    match metrics(shell, of, &[object]).await?.pop() {
        Some(found) => Ok(json_answer(StatusCode::OK, &found)),
        None if target.resource.namespaced => {
            let name = format!("{}/{}", target.object.namespace, target.name());
            Err(Status::not_found(target.resource, &name))
        }
        None => Err(Status::not_found(target.resource, target.name())),
    }
}

/// Whose use it is; of what is no use of anything, itself.
pub(super) fn measured(resource: &'static Resource) -> &'static Resource {
    match resource {
        _ if *resource == NODE_METRICS => &NODES,
        _ if MEASURED.contains(&resource) => &PODS,
        _ => resource,
    }
}

/// There is one form alone.
fn plain(asked: &Asked<'_>) -> Result<(), Status> {
    if asked.query.flag("watch")? {
        return Err(Status::method_not_allowed("watch"));
    }
    negotiate::form(&parse_accept(asked.accept)).map(drop).ok_or_else(Status::not_acceptable)
}

async fn metrics(shell: &Shell, of: &'static Resource, objects: &[Arc<Rendered>]) -> Result<Vec<Value>, Status> {
    if *of == NODES {
        let ids = objects.iter().filter_map(|node| id_of_node(&node.value)).collect();
        let answers = peers::ask(&*shell.backend, ids).await;
        return Ok(objects.iter().filter_map(|node| node_metrics(&node.value, &answers)).collect());
    }
    let nodes = nodes(shell).await?;
    let node_of = |pod: &Value| nodes.get(pod["spec"]["nodeName"].as_str()?).copied();
    let answers = peers::ask(&*shell.backend, objects.iter().filter_map(|pod| node_of(&pod.value)).collect()).await;
    let row = |pod: &Arc<Rendered>| pod_metrics(&pod.value, answers.get(&node_of(&pod.value)?)?);
    Ok(objects.iter().filter_map(row).collect())
}

/// All nodes by their names.
async fn nodes(shell: &Shell) -> Result<BTreeMap<String, NodeId>, Status> {
    let nodes = shell.backend.list(NODES.kind(), None).await?;
    let row = |node: &Arc<Rendered>| {
        let name = node.value["metadata"]["name"].as_str()?;
        Some((name.to_owned(), id_of_node(&node.value)?))
    };
    Ok(nodes.iter().filter_map(row).collect())
}

fn node_metrics(node: &Value, answers: &Answers) -> Option<Value> {
    let answer = answers.get(&id_of_node(node)?)?;
    Some(usage::of_node(node, taken(answer), amounts(answer.machine?)))
}

fn pod_metrics(pod: &Value, answer: &NodeUsage) -> Option<Value> {
    let uid = pod["metadata"]["uid"].as_str()?;
    // Of two starts of one container the later one counts, which comes last.
    let mut own: Vec<_> = answer.containers.iter().filter(|container| container.uid == uid).collect();
    own.sort_by_key(|container| container.attempt);
    let used = own.into_iter().map(|container| (container.container.as_str(), amounts(container.used))).collect();
    usage::of_pod(pod, taken(answer), &used)
}

fn taken(answer: &NodeUsage) -> Taken {
    Taken { at_ms: answer.at_ms, window_ms: answer.window_ms }
}

fn amounts(used: Used) -> Usage {
    Usage { cpu_nanocores: used.cpu_nanocores, memory_bytes: used.memory_bytes }
}

/// Nodes to be asked, each once.
type Nodes = BTreeSet<NodeId>;
