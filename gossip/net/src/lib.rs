//! How bytes reach peers: libp2p (TCP, Noise, Yamux), and the only crate that names it.
//!
//! A peer is named by its key. Between two members there is a *link*: frames on two lanes (control, which is small and
//! urgent, and bulk, which never delays it), and byte streams of their own for logs and the like. A peer that is no
//! member reaches admission and nothing else; who is a member is asked of the daemon each time. What the frames mean is
//! not known here.

mod addresses;
mod admission;
mod behaviour;
mod config;
mod credit;
mod driver;
mod event;
mod handle;
mod ids;
mod lanes;
mod limits;
mod mdns;
mod metrics;
mod refusal;
mod shared;
mod sniff;

#[cfg(test)]
mod tests;

pub use self::config::{NetConfig, NetError};
pub use self::credit::Stream;
pub use self::event::{Lane, NetEvent};
pub use self::handle::{AdmissionError, Net, NetHandle, OpenError};
pub use self::ids::{NotANode, node_id, peer_id};
pub use self::limits::*;
pub use self::metrics::NetMetrics;
pub use self::refusal::{OffenceCounts, Refusal, Refusals};
