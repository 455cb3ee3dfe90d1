//! Candidates: clients that use a Lease as a lock, as Kubernetes' leader election does. Each reads it at some peer, renews what it
//! holds, and takes it over from others now and then, only if nobody wrote since it read.

use rand::RngExt;
use skein_core::request::WriteOp;
use skein_crdt_state::{Edit, Kind, NameKey, Scalar};

use super::{MS, any_peer, current, write};
use crate::world::{Event, World};

/// The kind that is a lock.
pub const LOCK_KIND: &str = "Lease.coordination.k8s.io";
/// How many clients want it.
const CANDIDATES: u64 = 4;
const HOLDER: &str = "spec.holderIdentity";
const RENEWED: &str = "spec.renewTime";

/// One candidate acts at a random peer, and the next will later.
pub fn compete(world: &mut World) {
    if !world.busy {
        return;
    }
    let every = world.knobs.candidate_every_ms;
    let delay = world.chance.candidates.random_range(every / 2..=every * 3 / 2);
    world.after(delay * MS, Event::Candidate);
    let candidate = format!("c{}", world.chance.candidates.random_range(0..CANDIDATES));
    let takes_over = world.chance.candidates.random_bool(0.3);
    let Some(peer) = any_peer(world) else { return };
    let namespace = NameKey::root(&Kind::new("Namespace"), "default");
    let Some(namespace) = current(world, peer, &namespace) else { return };
    let name = namespace.name_of_child(&Kind::new(LOCK_KIND), "lock");
    let renewed = Edit::set(RENEWED, Scalar::Int(i64::try_from(world.now_us).unwrap_or(0)));
    let takes = || vec![Edit::set(HOLDER, Scalar::str(&candidate)), renewed.clone()];
    let Some(key) = current(world, peer, &name) else {
        write(world, peer, WriteOp::Create { name, edits: takes() });
        return;
    };
    let Some(object) = world.hosts[peer].node.as_ref().and_then(|node| node.store().object(&key)).cloned() else {
        return;
    };
    let is_mine = object.get(HOLDER).and_then(Scalar::as_str) == Some(&*candidate);
    if is_mine || takes_over {
        let edits = if is_mine { vec![renewed] } else { takes() };
        write(world, peer, WriteOp::Edit { key, edits, if_heads: Some(object.heads().to_vec()) });
    }
}
