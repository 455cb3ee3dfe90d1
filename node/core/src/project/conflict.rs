//! Events about fields that were set apart to different values. They are made from the object itself and not kept, so that
//! each is shown once, the same at all peers, and for as long as the conflict lasts.

use sha2::{Digest, Sha256};
use skein_crdt_state::{Kind, ObjectKey, ObjectState};

use super::event::{DEFAULT_NAMESPACE, EVENT_KIND, render};
use super::metadata::rfc3339;
use super::{ApiRef, Made, Sources};
use crate::conflicts::{self, Conflict};
use crate::slot::SLOT_KIND;
use crate::status::Event;

/// Kubernetes' reason for such an event.
const REASON: &str = "MergeConflict";
/// Who says so.
const SOURCE: &str = "merge";

/// The events about an object's conflicts.
pub(super) fn events(sources: &Sources<'_>, key: &ObjectKey) -> Vec<Made> {
    // Slots are looked at most often, and their values are nobody's conflict.
    if key.kind().as_str() == SLOT_KIND {
        return Vec::new();
    }
    let live = sources.store.object(key).filter(|_| sources.store.is_live(key));
    let Some(object) = live else { return Vec::new() };
    conflicts::of(sources.store, object).iter().map(|conflict| event(sources, object, conflict)).collect()
}

fn event(sources: &Sources<'_>, object: &ObjectState, conflict: &Conflict) -> Made {
    let (key, members) = (object.key(), sources.store.members());
    let name = |node: &_| members.get(node).map_or_else(|| node.short(), |member| member.name.clone());
    let since_ms = conflict.since().millis();
    let event = Event {
        kind: key.kind().to_string(),
        namespace: key.namespace().unwrap_or_default().to_owned(),
        name: key.name().to_owned(),
        uid: key.uid(&sources.store.cluster()).to_string(),
        warning: true,
        reason: REASON.into(),
        message: conflict.sentence(name, rfc3339),
        source: SOURCE.into(),
        first_ms: since_ms,
        last_ms: since_ms,
        count: 1,
    };
    let reference = named(&event, conflict);
    let value = render(&reference, "", &event);
    let newest_ms = object.newest().millis();
    Made { object: reference, value, key: None, heads: Vec::new(), newest_ms, over: false, at: None }
}

/// What the event is called: its object's name, and a hash of the values that are in conflict.
fn named(event: &Event, conflict: &Conflict) -> ApiRef {
    let mut hash = Sha256::new();
    for text in [event.kind.as_str(), &event.uid, &conflict.path] {
        hash.update(text.len().to_le_bytes());
        hash.update(text.as_bytes());
    }
    for setting in std::iter::once(&conflict.kept).chain(&conflict.lost) {
        hash.update(setting.write.0);
    }
    let suffix: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let namespace = if event.namespace.is_empty() { DEFAULT_NAMESPACE } else { &event.namespace };
    ApiRef { kind: Kind::new(EVENT_KIND), namespace: namespace.into(), name: format!("{}.{suffix}", event.name).into() }
}
