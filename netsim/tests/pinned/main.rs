//! Pinned stories: what others have paid for, told step by step, and what this simulator has found.
#![allow(clippy::unwrap_used)]

mod apart;
mod comings_and_goings;
mod damage;
mod lost_disks;
mod removals;
mod restarts;
mod rotations;
mod seeds;
