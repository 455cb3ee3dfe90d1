//! What a frame says, for whoever watches what is sent, decides what gets lost or says something in a node's stead: the simulator
//! and hostile tests, and nobody else.

use std::sync::Arc;

use skein_crdt_state::exchange::Exchange;
use skein_crdt_state::{ClusterId, Envelope, EpochId, Keyring};
use skein_gossip::NodeId;

use super::Frame;
use super::decision::Ask;
use crate::election::Election;

/// What a frame says, as far as it matters to a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspected {
    /// It gives its receiver the author's vote in this term.
    Vote(u64),
    /// It pushes what somebody has said.
    News(Vec<Arc<Envelope>>),
    /// It gives what somebody has said to a peer that lacked it.
    Given(Vec<Arc<Envelope>>),
    /// Something else, or nothing that can be read.
    Other,
}

/// Looks into a frame.
#[must_use]
pub fn inspect(frame: &[u8]) -> Inspected {
    match postcard::from_bytes(frame) {
        Ok(Frame::Election(bytes)) => Election::vote_in(&bytes).map_or(Inspected::Other, Inspected::Vote),
        Ok(Frame::Push { envelopes, .. }) if !envelopes.is_empty() => Inspected::News(envelopes),
        Ok(Frame::Exchange(Exchange::Give { envelopes, .. })) => Inspected::Given(envelopes),
        _ => Inspected::Other,
    }
}

/// The frame by which a node pushes what somebody has said.
#[must_use]
pub fn push_frame(envelopes: Vec<Arc<Envelope>>) -> Vec<u8> {
    let frame = Frame::Push { envelopes, token: None, pass_to: Vec::new() };
    // Serialising into memory fails for no frame.
    postcard::to_stdvec(&frame).unwrap_or_default()
}

/// The frame by which an author asks for a decision on these bytes, which are a write if they can be read. `None`: the epoch's key is not
/// in the keyring.
#[must_use]
pub fn question_frame(
    keyring: &Keyring,
    epoch: EpochId,
    cluster: &ClusterId,
    author: &NodeId,
    token: u64,
    request: &[u8],
) -> Option<Vec<u8>> {
    let ask = Ask::sealed((keyring, epoch), (cluster, author), token, request, Vec::new())?;
    postcard::to_stdvec(&Frame::Decide(Box::new(ask))).ok()
}
