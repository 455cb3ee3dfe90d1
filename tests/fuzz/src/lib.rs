//! Hostile bytes: inputs that are mutated from valid ones, for every decoder and parser that meets bytes from outside.
//!
//! What must hold of each is that it returns: no panic, no endless work. It runs in one process on a stable compiler. Instead of
//! the branches of the code it follows the answers: an input whose answer is of a kind that was not seen before is kept and
//! mutated further. What is right of the answers is the unit and property tests' matter.

pub mod cluster;
pub mod corpus;
pub mod mutate;
pub mod run;
pub mod target;
pub mod totals;
