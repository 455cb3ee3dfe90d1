//! The HTTP shell of the daemon: Kubernetes' REST over TLS and over a Unix socket, and skein's own verbs on the socket.
//!
//! What Kubernetes' API means (routes, patches, defaults, tables, messages) lives in `skein-kube`; what is true lives
//! behind [`backend::Backend`]. Here is how bytes become calls and answers.

pub mod access;
pub mod admin;
pub mod answer;
pub mod apply;
pub mod audit;
pub mod backend;
pub mod clients;
pub mod ephemeral;
mod guests;
pub mod health;
pub mod hub;
pub mod logs;
pub mod paths;
pub mod query;
pub mod read;
pub mod remote_logs;
pub mod remove;
pub mod routes;
pub mod scale;
pub mod server;
pub mod shares;
pub mod shell;
pub mod streams;
mod unread;
pub mod usage;
pub mod users;
pub mod watch;
pub mod write;
