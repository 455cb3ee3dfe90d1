//! The daemon: drives the pure parts with libp2p, disk, containers and HTTPS.
//!
//! What it decides does not live here: that is `skein-core`, and what Kubernetes' API means is `skein-kube`.

pub mod api;
pub mod core_handle;
pub mod daemon;
pub mod disk;
pub mod joining;
pub mod metrics;
pub mod pki;
pub mod runtime;
pub mod usage;
