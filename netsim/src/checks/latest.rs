//! Of the values that users wrote to a field apart from each other, the one that stands is the one that was written last, by the
//! stamps that the nodes gave the writes when they were asked for. What a node makes again of a deleted life is no newer for that.

use skein_core::request::WriteOp;
use skein_crdt_state::{Edit, Hlc, Kind, LeafPath, NameKey, ObjectState, Scalar, Store};

use crate::world::World;

/// A value that stands though a later one was written apart from it. Only users' values in ConfigMaps are looked at: no two of
/// these are alike, so that a value tells the write.
pub(super) fn check(world: &World) -> Option<String> {
    let store = world.hosts.iter().find_map(|host| host.node.as_ref())?.store();
    let mut configs = store.objects().filter(|object| *object.key().kind() == Kind::new("ConfigMap"));
    configs.find_map(|object| object.leaves().keys().find_map(|path| beaten(world, store, object, path)))
}

fn beaten(world: &World, store: &Store, object: &ObjectState, path: &LeafPath) -> Option<String> {
    let key = object.key();
    let leaf = object.leaf(path).filter(|leaf| !leaf.others.is_empty())?;
    let asked = |value: &Scalar| asked_at(world, &key.name_key(), path, &store.in_place(key, value));
    let shown = asked(&leaf.value)?;
    let others = leaf.others.iter().filter_map(|other| Some((other, asked(&other.value)?)));
    let (other, later) = others.max_by_key(|(_, stamp)| *stamp).filter(|(_, stamp)| *stamp > shown)?;
    Some(format!("{key} {path}: {:?} of {shown:?} stands, not {:?} of {later:?}", leaf.value, other.value))
}

/// The stamp of the write that set a field to a value, in whichever life of the name, if whoever asked for it was answered.
fn asked_at(world: &World, name: &NameKey, path: &LeafPath, value: &Scalar) -> Option<Hlc> {
    let is_it = |edit: &Edit| edit.path == *path && edit.value.as_ref() == Some(value);
    let wrote = |op: &WriteOp| match op {
        WriteOp::Create { name: of, edits } => of == name && edits.iter().any(is_it),
        WriteOp::Edit { key, edits, .. } => key.name_key() == *name && edits.iter().any(is_it),
        WriteOp::Delete { .. } | WriteOp::Remove { .. } => false,
    };
    world.oracle.all().find(|(_, asked)| wrote(&asked.op))?.1.stamp
}
