//! A whole cluster in one thread and in virtual time: the very code of the daemon's pure parts, with links, disks, clocks
//! and a container runtime that fail as the seed says.
//!
//! A seed is a bug report: the same seed gives the same run, byte for byte. What the nodes decide does not live here; what
//! they promise is checked in [`checks`], one file for each promise.

pub mod checks;
pub mod clock;
pub mod detect;
pub mod diff;
pub mod disk;
pub mod engine;
pub mod faults;
pub mod host;
pub mod knobs;
pub mod link;
pub mod minimise;
pub mod oracle;
pub mod overrides;
pub mod plan;
pub mod removals;
pub mod run;
pub mod scale;
pub mod script;
pub mod story;
pub mod trace;
pub mod workload;
pub mod world;

pub use knobs::Knobs;
pub use run::{Observer, Outcome, Violation, run, run_watched};
pub use script::Script;
