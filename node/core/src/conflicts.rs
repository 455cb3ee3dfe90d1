//! Fields that were set apart to different values: one stands, and people are told of the other, by whom it was set, where
//! and when. It follows from the object alone, so that all nodes say the same, and is over when the field is set again.

use skein_crdt_state::layout::NOTE_PREFIX;
use skein_crdt_state::path::{self, Step};
use skein_crdt_state::{Hlc, LeafPath, Message, ObjectState, Scalar, Store, WriteId};
use skein_gossip::NodeId;

use crate::slot::SLOT_KIND;

/// The most conflicts of one object that are told.
pub const MAX_CONFLICTS: usize = 32;
/// The most values of one field that are told besides the one that stands.
const MAX_LOST: usize = 4;
/// The longest piece of a value that is told, in characters.
const MAX_VALUE_CHARS: usize = 100;
/// Annotations that tools leave for themselves, which nobody means to set.
const FOR_TOOLS: [&str; 3] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubectl.kubernetes.io/restartedAt",
    "deployment.kubernetes.io/revision",
];
/// What users of the system itself are called by: what controllers write they write again.
const SYSTEM: &str = "system:";
/// The kind whose values are told to nobody.
const SECRET: &str = "Secret";

/// A field that was set apart to different values.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// Which field.
    pub path: LeafPath,
    /// What stands.
    pub kept: Setting,
    /// What does not, the latest first; at least one.
    pub lost: Vec<Setting>,
}

/// A value that somebody set.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The value, as people are told it.
    pub value: String,
    /// Who asked for it; empty when that is not known.
    pub user: String,
    /// With which tool.
    pub manager: String,
    /// At which node.
    pub node: NodeId,
    /// When.
    pub stamp: Hlc,
    /// The change.
    pub write: WriteId,
}

impl Conflict {
    /// When the conflict became one at the earliest: when the last of its values was set.
    #[must_use]
    pub fn since(&self) -> Hlc {
        self.lost.iter().map(|lost| lost.stamp).fold(self.kept.stamp, Hlc::max)
    }

    /// In a sentence. `name` is what a node is called, `time` how a moment is written.
    pub fn sentence(&self, name: impl Fn(&NodeId) -> String, time: impl Fn(u64) -> String) -> String {
        let set = |setting: &Setting| {
            let (node, at) = (name(&setting.node), time(setting.stamp.millis()));
            let by = if setting.user.is_empty() { String::new() } else { format!(" by {}", setting.user) };
            let with = if setting.manager.is_empty() { String::new() } else { format!(" with {}", setting.manager) };
            format!("set{by}{with} on {node} at {at}")
        };
        let lost: Vec<String> = self.lost.iter().map(|lost| format!("{}, {}", lost.value, set(lost))).collect();
        format!(
            "{} was set apart to different values: {} stands, {}; not in force: {}. Setting it again settles this.",
            self.path,
            self.kept.value,
            set(&self.kept),
            lost.join("; ")
        )
    }
}

/// The conflicts in an object of a store, by path. Texts that are kept aside are compared as far as they are here: the same one
/// set twice is no conflict, though it is mentioned by two names.
#[must_use]
pub fn of(store: &Store, object: &ObjectState) -> Vec<Conflict> {
    let kind = object.key().kind().as_str();
    if kind == SLOT_KIND {
        return Vec::new();
    }
    let disputed = object.leaves().iter().filter(|(_, leaf)| !leaf.others.is_empty());
    let found = disputed.filter(|(path, _)| is_meant(path)).filter_map(|(path, leaf)| {
        let setting = |value: &Scalar, stamp, node, write| {
            let message = object.changes().get(&write).map_or("", |change| change.message.as_str());
            let Message { manager, user, .. } = Message::parse(message);
            let value = if kind == SECRET { "a value that is not shown".to_owned() } else { told(value) };
            Setting { value, user: user.to_owned(), manager: manager.to_owned(), node, stamp, write }
        };
        let kept = setting(&leaf.value, leaf.stamp, leaf.author, leaf.write);
        let in_place = |value: &Scalar| store.in_place(object.key(), value);
        let mut said = vec![in_place(&leaf.value)];
        let mut lost = Vec::new();
        for other in &leaf.others {
            let value = in_place(&other.value);
            if !said.contains(&value) {
                said.push(value);
                lost.push(setting(&other.value, other.stamp, other.author, other.write));
            }
        }
        lost.truncate(MAX_LOST);
        let is_by_system = |setting: &Setting| setting.user.starts_with(SYSTEM);
        // A binding whose role was set apart gives nothing, whoever set it.
        let is_of_system = is_by_system(&kept) && lost.iter().all(is_by_system) && !path.starts_with("roleRef");
        let is_untold = lost.is_empty() || is_of_system;
        (!is_untold).then(|| Conflict { path: path.clone(), kept, lost })
    });
    found.take(MAX_CONFLICTS).collect()
}

/// Whether different values of a leaf below this path were set apart, and nobody has settled it.
#[must_use]
pub fn is_contested(object: &ObjectState, below: &str) -> bool {
    let mut leaves = object.leaves().iter().filter(|(path, _)| path.starts_with(below));
    leaves.any(|(_, leaf)| leaf.others.iter().any(|other| other.value != leaf.value))
}

/// Whether a leaf is something that people set: neither a note, nor the place of an element in its list, nor what tools leave.
fn is_meant(leaf: &str) -> bool {
    if leaf.starts_with(NOTE_PREFIX) {
        return false;
    }
    match path::parse(leaf).as_deref() {
        Some([.., Step::Field(field)]) => !FOR_TOOLS.contains(&field.as_str()),
        _ => false,
    }
}

fn told(value: &Scalar) -> String {
    let text = format!("{value:?}");
    if text.chars().count() <= MAX_VALUE_CHARS {
        return text;
    }
    text.chars().take(MAX_VALUE_CHARS).chain("...".chars()).collect()
}
