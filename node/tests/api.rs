//! The API over real TLS on loopback, with a node in memory behind it.
#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

#[path = "api/access.rs"]
mod access;
#[path = "api/accounts.rs"]
mod accounts;
#[path = "api/apply.rs"]
mod apply;
#[path = "api/audit.rs"]
mod audit;
#[path = "api/client.rs"]
mod client;
#[path = "api/clients.rs"]
mod clients;
#[path = "api/escalation.rs"]
mod escalation;
#[path = "api/fake.rs"]
mod fake;
#[path = "api/host.rs"]
mod host;
#[path = "api/kubectl.rs"]
mod kubectl;
#[path = "api/lasting.rs"]
mod lasting;
#[path = "api/limits.rs"]
mod limits;
#[path = "api/matrix.rs"]
mod matrix;
#[path = "api/named.rs"]
mod named;
#[path = "api/parts.rs"]
mod parts;
#[path = "api/refusals.rs"]
mod refusals;
#[path = "api/rotation.rs"]
mod rotation;
#[path = "api/sessions.rs"]
mod sessions;
#[path = "api/shell.rs"]
mod shell;
#[path = "api/usage.rs"]
mod usage;
#[path = "api/verbs.rs"]
mod verbs;
#[path = "api/watches.rs"]
mod watches;
