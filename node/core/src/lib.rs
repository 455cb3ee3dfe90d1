//! The brain of a node: everything it decides, without any IO.
//!
//! One door in, one door out: [`node`] takes inputs and returns effects. What talks to the outside does not live here.

pub mod agent;
pub mod conflicts;
pub mod controllers;
pub mod election;
pub mod ephemeral;
pub mod model;
pub mod node;
pub mod project;
pub mod request;
pub mod runtime;
pub mod scheduler;
pub mod slot;
pub mod status;
pub mod view;
