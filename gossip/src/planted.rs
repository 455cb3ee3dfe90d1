//! Deliberate mistakes, one at a time, so that the simulator and the judge of real clusters can show that they find them. Each
//! hook is a line or two where the rule lives that it breaks. Without the feature `planted-bugs` all of it is a constant `false`;
//! `skein` is never built with it, only `skein-planted` is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bug {
    /// A vote leaves before it is on disk.
    VoteBeforeDisk,
    /// Deletion numbers are not read back at a start.
    DeletionForgotten,
    /// A peer promises what is not on its disk yet.
    PromiseBeforeDisk,
    /// A restarted node numbers its words as the start before it did.
    TwoWriters,
    /// A new slot takes any number rather than the lowest that is free.
    SlotsByChance,
    /// News that a push lost is never looked for.
    NoAntiEntropy,
    /// Reports are ordered by the wall clock.
    WallClockOrder,
    /// A departure ends nothing.
    LeftStaysIn,
    /// A node that was removed may be admitted again.
    RemovedComesBack,
    /// Whom a removed node has admitted stays, whether or not its remover had seen it.
    UnseenAdmissionCounts,
    /// Who does not belong to the cluster any more keeps its vote.
    RemovedKeepsVote,
    /// Pods of lost nodes are replaced whatever their partition policy says.
    PolicyIgnored,
    /// Each plan makes a slot more than was asked for.
    FightingController,
    /// A write that no peer stores waits for ever.
    UnboundedQueue,
    /// A leader needs the votes of all members.
    ElectionNeedsAll,
    /// A write is acknowledged as soon as it is in memory. It gets to the disk some seconds later, and what peers say of their
    /// disks is not waited for.
    AckBeforeDisk,
    /// What a user deletes is told nobody, neither at once nor when peers compare what they have.
    DeletionNotSpread,
    /// A Deployment has a pod more than was asked for, and stays so.
    OneTooMany,
    /// Every peer decides what depends on what its author saw, and nobody minds what others have decided.
    LocksDecidedApart,
    /// A leader decides on Leases without asking what was decided before its term.
    LeaseWithoutRecall,
    /// Nobody seals anew what is under an epoch that is over.
    SealsStay,
    /// What is made again of a deleted life counts as written now.
    MadeAgainIsNew,
    /// A founder whose disk was lost founds its cluster again, and its vote alone is most of them.
    FoundsAgain,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 23] = [
        Bug::VoteBeforeDisk,
        Bug::DeletionForgotten,
        Bug::PromiseBeforeDisk,
        Bug::TwoWriters,
        Bug::SlotsByChance,
        Bug::NoAntiEntropy,
        Bug::WallClockOrder,
        Bug::LeftStaysIn,
        Bug::RemovedComesBack,
        Bug::UnseenAdmissionCounts,
        Bug::RemovedKeepsVote,
        Bug::PolicyIgnored,
        Bug::FightingController,
        Bug::UnboundedQueue,
        Bug::ElectionNeedsAll,
        Bug::AckBeforeDisk,
        Bug::DeletionNotSpread,
        Bug::OneTooMany,
        Bug::LocksDecidedApart,
        Bug::LeaseWithoutRecall,
        Bug::SealsStay,
        Bug::MadeAgainIsNew,
        Bug::FoundsAgain,
    ];
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(feature = "planted-bugs")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether this build can break rules at all.
pub const IS_COMPILED: bool = cfg!(feature = "planted-bugs");

/// From now on this thread's node breaks this rule, or none. A node says so whenever it is given something to do.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Nothing is broken in this build.
#[cfg(not(feature = "planted-bugs"))]
pub fn plant(_: Option<Bug>) {}

/// Whether this rule is broken now.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Nothing is broken in this build.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}
