//! The controllers: pure functions from what is to what must be written, level-triggered and idempotent.
//!
//! [`reconcile`] is run by the leader of a component. What it writes merges whatever another leader writes; nothing here
//! is needed for correctness of a single pod, that is the agents' word.

use skein_crdt_state::{Edit, NameKey, ObjectKey};
use skein_gossip::Instant;

use crate::status::Event;
use crate::view::{LOST_AFTER, View};

mod announced;
mod deployment;
mod draft;
mod explain;
mod garbage;
mod handover;
mod quiet;
mod refill;
mod replica_set;

use announced::Announced;
use draft::Draft;
pub use explain::explain;
pub use handover::{HANDOVER_PATIENCE, may_stop};
use quiet::Quiet;

/// The most objects that one plan writes; the rest comes with the next, at once.
pub const MAX_WRITES: usize = 500;
/// How long the messages about pods that cannot be placed may be in one plan, in bytes: they go into one report. Pods
/// beyond that wait silently until these have found a node.
pub const MAX_UNSCHEDULABLE_BYTES: usize = 48 * 1024;

/// What must be written, in this order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The steps. They need not all succeed: the next plan starts from what is there then.
    pub items: Vec<Step>,
    /// When to look again although nothing changes.
    pub next: Option<Instant>,
    /// Whether there is more to write than a plan may hold: the rest comes with the next, at once.
    pub is_cut: bool,
}

/// What the leader keeps from plan to plan. A node that starts to lead has nothing.
#[derive(Debug, Default)]
pub struct Notes {
    announced: Announced,
    quiet: Quiet,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Create an object, in the next life of its name. Steps that follow may create what it owns, in that life.
    Create {
        /// The name.
        name: NameKey,
        /// All fields.
        edits: Vec<Edit>,
    },
    /// Edit an object.
    Edit {
        /// Which.
        key: ObjectKey,
        /// The fields to set or unset.
        edits: Vec<Edit>,
    },
    /// End an object's life.
    Delete {
        /// Which.
        key: ObjectKey,
    },
    /// Something worth a Kubernetes event.
    Event(Event),
    /// A pod that cannot be placed. Each plan names all of them: one that is not named any more can be placed or is gone.
    Unschedulable {
        /// The slot's or ownerless pod's key.
        slot: ObjectKey,
        /// Why, for each node.
        message: String,
    },
}

/// What must be written so that what is becomes what is wanted.
///
/// `notes` are what this leader said already, which changes which events a plan has, and what need not be looked at again,
/// which changes nothing. Carrying a plan out and reconciling again ends, while nothing else changes, with a plan that
/// [writes nothing](Plan::writes_nothing).
#[must_use]
pub fn reconcile(view: &View, notes: &mut Notes) -> Plan {
    let mut draft = Draft::new(view);
    notes.quiet.begin(view);
    garbage::collect(&mut draft);
    garbage::node_objects(&mut draft);
    deployment::reconcile(&mut draft, notes);
    replica_set::reconcile(&mut draft, notes);
    garbage::solo_pods(&mut draft);
    let announced = &mut notes.announced;
    announced.nodes(&mut draft);
    for node in view.nodes.values().filter(|node| !node.lost && node.id != view.me) {
        draft.look_again(node.last_contact + LOST_AFTER);
    }
    let mut plan = draft.finish();
    announced.unschedulable(view, &mut plan);
    announced.sweep(view);
    plan
}

#[cfg(test)]
mod tests;

impl Plan {
    /// Whether carrying it out changes no object.
    #[must_use]
    pub fn writes_nothing(&self) -> bool {
        !self.items.iter().any(|step| matches!(step, Step::Create { .. } | Step::Edit { .. } | Step::Delete { .. }))
    }

    /// Looks again at `at` or before.
    pub(crate) fn look_again(&mut self, at: Instant) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}
