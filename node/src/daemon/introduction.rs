//! How a node that a member does not take for one introduces itself. What it shows, and what the answer means, is the core's.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use skein_core::node::Input;
use skein_core::request::AdmissionError;
use skein_crdt_state::{ClusterId, Envelope};
use skein_gossip::NodeId;
use skein_net::NetHandle;
use tracing::{debug, warn};

use crate::core_handle::CoreHandle;
use crate::joining::wire::{self, Question};

/// Shows a peer at these addresses what makes this node a member, and gives the core the answer.
pub(super) async fn make(
    net: NetHandle,
    core: CoreHandle,
    cluster: ClusterId,
    (peer, addresses): (NodeId, Vec<SocketAddr>),
    said: Vec<Arc<Envelope>>,
) {
    let question = Bytes::from(Question::Introduce { cluster, said }.encode());
    let answer = match net.admission(peer, addresses, question).await {
        Ok(answer) => answer,
        Err(error) => return debug!(%peer, %error, "not introduced"),
    };
    match wire::read::<Result<Vec<Arc<Envelope>>, AdmissionError>>(&answer) {
        // Without a core nobody needs it.
        Some(Ok(said)) => drop(core.input(Input::Acquainted { peer, said }).await),
        Some(Err(error)) => debug!(%peer, %error, "not introduced"),
        None => {
            warn!(%peer, "a peer's answer to an introduction cannot be read; run the same version of skein on both machines");
        }
    }
}
