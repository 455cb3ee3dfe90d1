//! The users: at random peers they create, scale, edit, roll out, delete and create again.

use rand::RngExt;
use serde_json::{Value, json};
use skein_core::node::Input;
use skein_core::request::{Durability, RequestId, WriteOp, WriteRequest};
use skein_crdt_state::{Edit, Kind, NameKey, ObjectKey, Scalar, layout};

use crate::world::{Event, World};

const MS: u64 = 1000;
const NAMESPACES: [&str; 2] = ["default", "shop"];
const DEPLOYMENTS: [&str; 3] = ["web", "api", "db"];
/// The most replicas that a user asks for: all fit on one host.
const MAX_REPLICAS: i64 = 6;

/// What users did so far.
#[derive(Debug, Default)]
pub struct Workload {
    next: RequestId,
}

impl Workload {
    /// One user does something at a random peer that runs, and the next will later.
    pub fn act(world: &mut World) {
        if !world.busy {
            return;
        }
        let every = world.knobs.user_every_ms;
        let delay = world.chance.users.random_range(every / 2..every * 3 / 2);
        world.after(delay * MS, Event::User);
        let up: Vec<usize> = world.up().into_iter().filter(|n| world.hosts[*n].answers()).collect();
        if up.is_empty() {
            return;
        }
        let peer = up[world.chance.users.random_range(0..up.len())];
        let namespace = NAMESPACES[world.chance.users.random_range(0..NAMESPACES.len())];
        let name = DEPLOYMENTS[world.chance.users.random_range(0..DEPLOYMENTS.len())];
        if let Some(op) = choose(world, peer, namespace, name) {
            write(world, peer, op);
        }
    }
}

/// Sends a write to a peer.
pub fn write(world: &mut World, peer: usize, op: WriteOp) {
    world.workload.next += 1;
    let id = world.workload.next;
    world.trace.line(world.now_us, format_args!("h{peer} request {id}: {}", describe(&op)));
    world.oracle.asked(id, peer, op.clone());
    let request = WriteRequest {
        op,
        durability: Durability::One,
        user: "user".into(),
        manager: "netsim".into(),
        request_id: id.to_string(),
    };
    world.input(peer, Input::Write(id, Box::new(request)));
}

fn describe(op: &WriteOp) -> String {
    match op {
        WriteOp::Create { name, .. } => format!("create {name}"),
        WriteOp::Edit { key, edits, .. } => format!("edit {key} {edits:?}"),
        WriteOp::Delete { key, .. } => format!("delete {key}"),
    }
}

fn choose(world: &mut World, peer: usize, namespace: &str, name: &str) -> Option<WriteOp> {
    let owner = NameKey::root(&Kind::new("Namespace"), namespace);
    let Some(owner) = current(world, peer, &owner) else {
        return Some(WriteOp::Create { name: owner, edits: vec![Edit::set("spec.phase", Scalar::str("wanted"))] });
    };
    let deployment = owner.name_of_child(&Kind::new("Deployment.apps"), name);
    let config = owner.name_of_child(&Kind::new("ConfigMap"), name);
    match world.chance.users.random_range(0..100) {
        0..3 => Some(WriteOp::Delete { key: owner, if_heads: None }).filter(|_| namespace != "default"),
        3..20 => Some(edit_config(world, peer, config)),
        20..26 => current(world, peer, &deployment).map(|key| WriteOp::Delete { key, if_heads: None }),
        _ => Some(match current(world, peer, &deployment) {
            None => create_deployment(world, deployment),
            Some(key) => edit_deployment(world, key),
        }),
    }
}

fn current(world: &World, peer: usize, name: &NameKey) -> Option<ObjectKey> {
    world.hosts[peer].node.as_ref()?.store().current_life(name)
}

fn edit_config(world: &mut World, peer: usize, name: NameKey) -> WriteOp {
    let path = format!("data.k{}", world.chance.users.random_range(0..4));
    let edits = vec![Edit::set(&path, Scalar::Int(world.chance.users.random_range(0..1_000_000)))];
    match current(world, peer, &name) {
        Some(key) => WriteOp::Edit { key, edits, if_heads: None },
        None => WriteOp::Create { name, edits },
    }
}

fn create_deployment(world: &mut World, name: NameKey) -> WriteOp {
    let replicas = world.chance.users.random_range(1..=MAX_REPLICAS);
    let manifest = manifest(name.name(), replicas, world.chance.users.random_range(0..5));
    let leaves = crate::world::layout()
        .flatten(&Kind::new("Deployment.apps"), &manifest, &std::collections::BTreeMap::new())
        .unwrap_or_default();
    WriteOp::Create { name, edits: layout::diff(&std::collections::BTreeMap::new(), &leaves) }
}

fn edit_deployment(world: &mut World, key: ObjectKey) -> WriteOp {
    let edit = if world.chance.users.random_bool(0.6) {
        Edit::set("spec.replicas", Scalar::Int(world.chance.users.random_range(0..=MAX_REPLICAS)))
    } else {
        let image = format!("image:{}", world.chance.users.random_range(0..5));
        Edit::set(r#"spec.template.spec.containers[name="main"].image"#, Scalar::str(&image))
    };
    WriteOp::Edit { key, edits: vec![edit], if_heads: None }
}

fn manifest(name: &str, replicas: i64, version: u32) -> Value {
    json!({
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [{
                        "name": "main",
                        "image": format!("image:{version}"),
                        "resources": {"requests": {"cpu": format!("{}m", 50 + 50 * version), "memory": "32Mi"}},
                    }],
                    "terminationGracePeriodSeconds": 2,
                },
            },
        },
    })
}
