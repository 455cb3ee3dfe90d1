//! Who is here, who is gone, and what to tell whom: the vocabulary and the membership protocol, without any IO.
//!
//! This crate is at the bottom of the workspace, so the words that all the others share live here: [`NodeId`],
//! [`Now`], the timer table, the random source and the signatures. How bytes reach a peer does not: that is
//! `skein-net`.

pub mod bucket;
pub mod membership;
pub mod node_id;
pub mod offences;
pub mod once;
pub mod places;
pub mod planted;
pub mod random;
pub mod signing;
pub mod time;
pub mod timers;

pub use node_id::{NodeId, ParseNodeIdError};
pub use offences::Offence;
pub use random::Rng;
pub use signing::{Keypair, Signature};
pub use time::{Instant, Now};
pub use timers::Timers;
