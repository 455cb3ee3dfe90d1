//! What skein costs and how soon it acts, measured on the lab and beside what people would pick instead. Each measurement has
//! a verb of the `measure` tool; all of them print tables that can be put into a document as they are.
//!
//! Figures are not asserted: whether one is good enough is for the reader. The soak alone decides, about promises and leaks.

pub mod bars;
pub mod duel;
pub mod figures;
pub mod idle;
pub mod requests;
pub mod soak;
pub mod web;
pub mod writes;
