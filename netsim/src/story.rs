//! A run as a person would want to see it: who led when, what was cut, what ran where, what users were told. Here is
//! what a story is made of; `recorder` watches a run, `page` makes it a page.

mod chart;
mod markup;
mod page;
mod recorder;
mod scale;

pub use page::{Run, page};
pub use recorder::Recorder;

/// A stretch of time, in virtual microseconds, and what held in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span<T> {
    /// Since when.
    pub from_us: u64,
    /// Until when; the end of the run if it held until then.
    pub to_us: u64,
    /// What held.
    pub what: T,
}

/// Why a node does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Idle {
    /// Its daemon does not run; what was said of it last before it ended.
    Down(String),
    /// The machine stands still.
    Paused,
}

/// Whom a node takes for the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follows {
    /// The leader's lane; its own if it leads.
    pub leader: usize,
    /// In which term.
    pub term: u64,
    /// Whether more than half of the voters back the leader, as far as this node knows.
    pub quorate: bool,
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// The pod's name.
    pub name: String,
    /// The key of its slot.
    pub slot: String,
    /// What it belongs to: namespace and name.
    pub workload: String,
    /// The image.
    pub image: String,
}

/// What was seen of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lane {
    /// The node's name.
    pub name: String,
    /// When it did nothing.
    pub idle: Vec<Span<Idle>>,
    /// Whom it followed, and when it led itself.
    pub follows: Vec<Span<Follows>>,
    /// What ran on it.
    pub pods: Vec<Span<Pod>>,
}

/// What a user was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// It is done.
    Done,
    /// It is done, with a warning.
    Warned,
    /// It is not done.
    Refused,
    /// Nothing.
    Nothing,
}

/// A user's write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// At which lane.
    pub lane: usize,
    /// When it was asked for.
    pub asked_us: u64,
    /// When it was answered; the end of the run if it was not.
    pub answered_us: u64,
    /// What was asked for.
    pub what: String,
    /// What the user was told.
    pub told: Told,
    /// The answer's text.
    pub answer: String,
}

/// Something else that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// When, in virtual microseconds.
    pub at_us: u64,
    /// On which lane, if on one.
    pub lane: Option<usize>,
    /// What.
    pub what: String,
}

/// What was seen of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Story {
    /// The nodes.
    pub lanes: Vec<Lane>,
    /// When the network had fallen apart: the side that each lane was on. No frame passed between two sides.
    pub partitions: Vec<Span<Vec<usize>>>,
    /// Directions in which nothing passed between two lanes of one side, from the first to the second.
    pub cuts: Vec<Span<(usize, usize)>>,
    /// What users wrote.
    pub writes: Vec<Write>,
    /// What else happened.
    pub moments: Vec<Moment>,
    /// When everything was mended; `None`: the run was over before.
    pub mended_us: Option<u64>,
    /// The end of the run.
    pub end_us: u64,
}
