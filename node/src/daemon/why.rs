//! What `skein why` says of an object: of a pod why it is where it is, of everything what was set apart on two sides and who
//! wrote last. The reasons are the core's.

use std::sync::Arc;

use skein_core::conflicts;
use skein_core::node::Node;
use skein_core::project::{ApiRef, rfc3339};
use skein_crdt_state::{Message, ObjectKey, ObjectState};
use skein_gossip::{NodeId, Now};
use skein_kube::resource::{self, PODS, Resource};

/// Explains an object: a pod by its name, anything else as `KIND/NAME`.
///
/// # Errors
/// When there is no such kind or object.
pub(super) fn why(node: &mut Node, now: Now, namespace: &str, named: &str) -> Result<Vec<String>, String> {
    let (resource, name) = match named.split_once('/') {
        None => (&PODS, named),
        Some((kind, name)) => (called(kind).ok_or_else(|| format!("there is no kind \"{kind}\""))?, name),
    };
    let namespace = if resource.namespaced { namespace } else { "" };
    let object = ApiRef { kind: resource.kind(), namespace: namespace.into(), name: name.into() };
    let key = node.projection().get(&object).ok_or_else(|| missing(resource, namespace, name))?.key.clone();
    let key =
        key.ok_or_else(|| format!("the {} \"{name}\" is reported by a node and not stored", resource.singular))?;
    let mut said = Vec::new();
    if *resource == PODS {
        let view = node.view(now);
        said.extend(skein_core::controllers::explain(&view, &key));
    }
    let stored = |key: &ObjectKey| node.store().object(key).cloned();
    let disputes: Vec<String> = stored(&key).map(|object| disputes(node, &object)).unwrap_or_default();
    if *resource != PODS {
        said.extend(stored(&key).map(|object| last_write(node, resource, &object)));
        if disputes.is_empty() {
            said.push("None of its fields was set apart to different values.".to_owned());
        }
    }
    said.extend(disputes);
    let owners = key.owner().into_iter().flat_map(|owner| owner.lineage().collect::<Vec<_>>());
    for owner in owners.filter_map(|owner| stored(&owner)) {
        let kind = owner.key().kind().as_str().split('.').next().unwrap_or_default();
        let of = format!("{kind} {}", owner.key().name());
        said.extend(disputes_of(node, &owner).map(|sentence| format!("Of its {of}: {sentence}")));
    }
    Ok(said)
}

fn disputes(node: &Node, object: &ObjectState) -> Vec<String> {
    disputes_of(node, object).collect()
}

fn disputes_of<'a>(node: &'a Node, object: &ObjectState) -> impl Iterator<Item = String> + use<'a> {
    conflicts::of(node.store(), object)
        .into_iter()
        .map(move |conflict| conflict.sentence(|id| name_of(node, id), rfc3339))
}

/// Who wrote an object last.
fn last_write(node: &Node, resource: &Resource, object: &Arc<ObjectState>) -> String {
    let newest = object.changes().values().max_by_key(|change| (change.stamp, change.id));
    let Some(change) = newest else { return format!("Nothing is known of who wrote this {}.", resource.singular) };
    let Message { manager, user, .. } = Message::parse(&change.message);
    let by = if user.is_empty() { "somebody" } else { user };
    let (at, when) = (name_of(node, &change.envelope.author()), rfc3339(change.stamp.millis()));
    format!("It was written {} times, last by {by} with {manager} on {at} at {when}.", object.changes().len())
}

fn name_of(node: &Node, id: &NodeId) -> String {
    node.store().members().get(id).map_or_else(|| id.short(), |member| member.name.clone())
}

/// The resource that people call so: by its plural, singular, short name or kind.
fn called(text: &str) -> Option<&'static Resource> {
    let text = text.to_ascii_lowercase();
    let is_called = |resource: &&Resource| {
        resource.plural == text
            || resource.singular == text
            || resource.kind_name.to_ascii_lowercase() == text
            || resource.short_names.contains(&text.as_str())
            || resource.qualified() == text
    };
    resource::SERVED.iter().copied().find(is_called)
}

fn missing(resource: &Resource, namespace: &str, name: &str) -> String {
    let (singular, plural) = (resource.singular, resource.plural);
    if namespace.is_empty() {
        return format!("there is no {singular} \"{name}\"; list them with: kubectl get {plural}");
    }
    format!(
        "there is no {singular} \"{name}\" in namespace \"{namespace}\"; list them with: kubectl get {plural} -n {namespace}"
    )
}
