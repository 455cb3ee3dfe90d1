//! Which epochs of the cluster's secrets were begun, when and by whom.
//!
//! The secrets themselves do not live here, nor the keys: see [`keyring`](crate::keyring).

use skein_gossip::NodeId;

use crate::Hlc;
use crate::keyring::EpochId;

/// An epoch that a member has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Which.
    pub epoch: EpochId,
    /// When.
    pub stamp: Hlc,
    /// Who.
    pub by: NodeId,
    /// What earlier epochs gave out counts until then, milliseconds since the Unix epoch by the wall clock.
    pub lapse_ms: u64,
}
