//! The users: at random peers they apply, scale, edit single fields, roll out, delete and create again. What they write is
//! made in `manifests`.

use rand::RngExt;
use rand::seq::IndexedRandom;
use skein_core::node::Input;
use skein_core::request::{Durability, RequestId, WriteOp, WriteRequest};
use skein_crdt_state::{Edit, Kind, NameKey, ObjectKey, Operation, Scalar};

use crate::world::{Event, World};

mod candidates;
mod manifests;

pub use candidates::{LOCK_KIND, compete};
pub use manifests::{deployment, manifest};

const MS: u64 = 1000;
const NAMESPACES: [&str; 2] = ["default", "shop"];
const DEPLOYMENTS: [&str; 3] = ["web", "api", "db"];
/// The most replicas that a user asks for: all fit on few hosts.
const MAX_REPLICAS: i64 = 6;
/// A field that users edit at several peers at once.
const CONTESTED_LEAF: &str = "metadata.labels.team";

/// What users did so far.
#[derive(Debug, Default)]
pub struct Workload {
    next: RequestId,
}

impl Workload {
    /// One user does something at a random peer that answers, and the next will later.
    pub fn act(world: &mut World) {
        if !world.busy {
            return;
        }
        let every = world.knobs.user_every_ms;
        let delay = world.chance.users.random_range(every / 2..=every * 3 / 2);
        world.after(delay * MS, Event::User);
        let Some(peer) = any_peer(world) else { return };
        let namespace = any(world, &NAMESPACES);
        let name = any(world, &DEPLOYMENTS);
        if let Some(op) = choose(world, peer, namespace, name) {
            write(world, peer, op);
        }
    }
}

/// Sends a write to a peer; under which request.
pub fn write(world: &mut World, peer: usize, op: WriteOp) -> RequestId {
    world.workload.next += 1;
    let id = world.workload.next;
    world.trace.line(world.now_us, format_args!("h{peer} request {id}: {}", describe(&op)));
    world.oracle.asked(id, peer, op.clone(), world.now_us);
    let request = WriteRequest {
        op,
        durability: Durability::One,
        user: "user".into(),
        manager: "netsim".into(),
        operation: Operation::Update,
        request_id: id.to_string(),
    };
    world.input(peer, Input::Write(id, Box::new(request)));
    id
}

fn describe(op: &WriteOp) -> String {
    match op {
        WriteOp::Create { name, .. } => format!("create {name}"),
        WriteOp::Edit { key, edits, if_heads } => {
            let lock = if if_heads.is_some() { " if unchanged" } else { "" };
            format!("edit {key}{lock} {edits:?}")
        }
        WriteOp::Delete { key, .. } => format!("delete {key}"),
        WriteOp::Remove { node } => format!("remove {node}"),
    }
}

fn choose(world: &mut World, peer: usize, namespace: &str, name: &str) -> Option<WriteOp> {
    let owner = NameKey::root(&Kind::new("Namespace"), namespace);
    let Some(owner) = current(world, peer, &owner) else {
        return Some(WriteOp::Create { name: owner, edits: vec![Edit::set("spec.phase", Scalar::str("wanted"))] });
    };
    let deployment = owner.name_of_child(&Kind::new("Deployment.apps"), name);
    let known = current(world, peer, &deployment);
    match world.chance.users.random_range(0..100) {
        0..3 => Some(WriteOp::Delete { key: owner, if_heads: None }).filter(|_| namespace != "default"),
        3..18 => {
            let config = owner.name_of_child(&Kind::new("ConfigMap"), name);
            Some(edit_config(world, peer, config))
        }
        18..23 => {
            let pod = owner.name_of_child(&Kind::new("Pod"), &format!("solo-{name}"));
            Some(match current(world, peer, &pod) {
                Some(key) => WriteOp::Delete { key, if_heads: None },
                None => manifests::pod(world, pod),
            })
        }
        23..30 => known.map(|key| WriteOp::Delete { key, if_heads: None }),
        30..38 => contest(world, peer, known?),
        38..55 => Some(manifests::apply(world, peer, deployment)),
        _ => Some(match known {
            None => manifests::apply(world, peer, deployment),
            Some(key) => edit_deployment(world, key),
        }),
    }
}

/// The life of a name that a peer shows.
#[must_use]
pub fn current(world: &World, peer: usize, name: &NameKey) -> Option<ObjectKey> {
    world.hosts[peer].node.as_ref()?.store().current_life(name)
}

/// Two users edit the same field at two peers at the same time; what the second does.
fn contest(world: &mut World, peer: usize, key: ObjectKey) -> Option<WriteOp> {
    let value = |world: &World| Scalar::Int(i64::try_from(world.workload.next).unwrap_or(0) + 1);
    if let Some(other) =
        any_peer(world).filter(|other| *other != peer && current(world, *other, &key.name_key()).as_ref() == Some(&key))
    {
        let edits = vec![Edit::set(CONTESTED_LEAF, value(world))];
        write(world, other, WriteOp::Edit { key: key.clone(), edits, if_heads: None });
    }
    let edits = vec![Edit::set(CONTESTED_LEAF, value(world))];
    Some(WriteOp::Edit { key, edits, if_heads: None })
}

/// Sets a value that nobody else ever sets, sometimes only if nobody wrote since the user read; or deletes what there is.
fn edit_config(world: &mut World, peer: usize, name: NameKey) -> WriteOp {
    let path = format!("data.k{}", world.chance.users.random_range(0..4));
    let value = world.workload.next + 1;
    // Drawn from the number itself: a seed that keeps nothing aside keeps all it draws. So it is with deletions below.
    let drawn = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let is_aside = drawn % 1000 < world.knobs.aside_permille;
    let value = match is_aside {
        true => Scalar::Aside(format!("text {value}").into()),
        false => Scalar::Int(i64::try_from(value).unwrap_or(0)),
    };
    let edits = vec![Edit::set(&path, value)];
    let Some(key) = current(world, peer, &name) else { return WriteOp::Create { name, edits } };
    if drawn / 1000 % 1000 < world.knobs.config_deletes_permille {
        return WriteOp::Delete { key, if_heads: None };
    }
    let read_at = any_peer(world).unwrap_or(peer);
    let heads = world.hosts[read_at].node.as_ref().and_then(|node| Some(node.store().object(&key)?.heads().to_vec()));
    let if_heads = heads.filter(|_| world.chance.users.random_bool(0.3));
    WriteOp::Edit { key, edits, if_heads }
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

fn any_peer(world: &mut World) -> Option<usize> {
    let up: Vec<usize> = world.up().into_iter().filter(|peer| world.hosts[*peer].answers()).collect();
    up.choose(&mut world.chance.users).copied()
}

fn any<'a>(world: &mut World, names: &[&'a str]) -> &'a str {
    names[world.chance.users.random_range(0..names.len())]
}
