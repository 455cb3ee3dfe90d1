//! What skein costs and how soon it acts, measured on the lab and beside what people would pick instead. Each measurement has
//! a verb of the `measure` tool; all of them print tables that can be put into a document as they are.
//!
//! Nothing here asserts: whether a figure is good enough is for the reader. What must hold is in `tests/tests`.

pub mod bars;
pub mod duel;
pub mod figures;
pub mod idle;
pub mod web;
pub mod writes;
