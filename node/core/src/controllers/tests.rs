//! What the controllers promise, as stories on the real store.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod closing;
mod explained;
mod lost;
mod properties;
mod rollouts;
mod snapshots;
mod world;
