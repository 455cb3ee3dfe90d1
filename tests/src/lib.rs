//! The lab: hosts that are network namespaces, each with a Docker engine of its own, and real `skein` daemons on them.
//! Here live the means to build one, to cut it apart, to ask what runs in it, and to take it away without leftovers.
//! What is asserted about skein is in `tests/tests/*.rs`, one file for each theme.

pub mod api;
pub mod attacker;
pub mod browser;
pub mod built;
pub mod capture;
pub mod cluster;
pub mod containers;
pub mod daemon;
pub mod engine;
pub mod failure;
pub mod history;
pub mod http;
pub mod image;
pub mod knock;
pub mod lab;
pub mod leftovers;
pub mod load;
pub mod manifests;
pub mod measure;
pub mod netns;
pub mod process;
pub mod requirements;
pub mod standing;
pub mod steps;
pub mod trace;
pub mod wait;
