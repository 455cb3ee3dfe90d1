//! A write that was acknowledged without a warning is on the disks of two members, or of the only one (promise P2,
//! INVARIANTS I11).

use skein_core::node::Node;
use skein_core::request::{WriteOp, WriteReply};
use skein_crdt_state::store::tables;
use skein_crdt_state::{Body, Envelope, NameKey, ObjectKey};

use crate::host::Host;
use crate::world::World;

/// Looks at the disks at the moment of an acknowledgement; what is missing.
pub(crate) fn check(world: &World, host: usize, op: &WriteOp, reply: &WriteReply) -> Option<String> {
    let node = world.hosts[host].node.as_ref()?;
    let wanted = node.store().members().active().len().min(2);
    let key = reply.key.to_string();
    let rows: Vec<(&'static str, Vec<u8>)> = match op {
        WriteOp::Delete { .. } => vec![(tables::DELETIONS, reply.key.name_key().to_string().into_bytes())],
        WriteOp::Remove { node } => {
            // Its statement's key is its name: the node, that it is a removal, and who says so.
            vec![(tables::MEMBERS, [&node.0[..], &[3], &world.hosts[host].keys.node_id().0].concat())]
        }
        // What somebody has deleted since is on no disk any more.
        _ if !node.store().is_live(&reply.key) => return None,
        _ => reply.heads.iter().map(|head| (tables::CHANGES, [key.as_bytes(), &[0], &head.0].concat())).collect(),
    };
    let copies = |(table, row): &(&'static str, Vec<u8>)| {
        // A disk that was lost since it had what is acknowledged now had it.
        let had = |host: &&Host| host.disk.row(table, row).is_some() || host.lost.contains(&(*table, row[..].into()));
        world.hosts.iter().filter(|host| had(host) || is_over(host, reply)).count()
    };
    let most = rows.iter().map(copies).max().unwrap_or(0);
    (most < wanted).then(|| format!("{key} was acknowledged by h{host} and is on {most} of {wanted} disks"))
}

/// A peer that knows that the object or an owner is over needs nothing more of it. One that went down since it said so knows by its disk.
fn is_over(host: &Host, reply: &WriteReply) -> bool {
    let is_over = |link: ObjectKey| {
        let store = host.node.as_ref().map(Node::store);
        store.is_some_and(|store| store.next_life(&link.name_key()).incarnation() > link.incarnation())
            || ended_on_disk(host, &link.name_key()).is_some_and(|ended| ended >= link.incarnation())
    };
    reply.key.lineage().any(is_over)
}

/// The highest life of a name that is over by what the host's disk holds.
fn ended_on_disk(host: &Host, name: &NameKey) -> Option<u32> {
    let row = host.disk.row(tables::DELETIONS, name.to_string().as_bytes())?;
    match Envelope::decode(row).and_then(|said| said.open_verified()) {
        Ok(Body::Deletion { incarnation, .. }) => Some(incarnation),
        _ => None,
    }
}
