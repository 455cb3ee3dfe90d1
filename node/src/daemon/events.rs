//! Carries what the network says to whom it concerns: the core, the doorkeeper, and those who serve streams.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use skein_core::node::Input;
use skein_gossip::{NodeId, Offence};
use skein_net::NetEvent;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::MAX_ADDRESSES;
use super::admission::Doorkeeper;
use super::identity::AddressBook;
use super::keys::{self, Keeper};
use crate::api::backend::UsageSource;
use crate::api::remote_logs::LogServer;
use crate::api::streams::node_side::SessionServer;
use crate::api::usage;
use crate::core_handle::CoreHandle;

/// Who serves the streams that peers open.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) logs: Arc<LogServer>,
    pub(super) sessions: Arc<SessionServer>,
    pub(super) usage: Arc<dyn UsageSource>,
    pub(super) keeper: Arc<Keeper>,
}

impl Streams {
    fn serve(self, peer: NodeId, stream: skein_net::Stream, header: Bytes) {
        tokio::spawn(async move {
            if keys::takes(&header) {
                self.keeper.serve(peer, &header, Box::pin(stream)).await;
            } else if SessionServer::takes(&header) {
                self.sessions.serve(Box::pin(stream)).await;
            } else if usage::peers::takes(&header) {
                usage::peers::serve(&*self.usage, Box::pin(stream)).await;
            } else {
                self.logs.serve(Box::pin(stream), &header).await;
            }
        });
    }
}

/// Carries what the network says to whom it concerns.
pub(super) async fn forward(
    mut events: mpsc::Receiver<NetEvent>,
    core: CoreHandle,
    door: Doorkeeper,
    streams: Streams,
    book: Arc<Mutex<AddressBook>>,
) {
    while let Some(event) = events.recv().await {
        let input = match event {
            NetEvent::LinkUp { peer, addr } => {
                debug!(%peer, %addr, "link up");
                Input::LinkUp(peer)
            }
            NetEvent::LinkDown { peer } => {
                debug!(%peer, "link down");
                Input::LinkDown(peer)
            }
            NetEvent::Unwelcome { peer } => Input::Unwelcome(peer),
            NetEvent::Frame { peer, bytes, .. } => Input::Frame { from: peer, bytes: Arc::from(&bytes[..]) },
            NetEvent::Stream { peer, header, stream } => {
                streams.clone().serve(peer, stream, header);
                continue;
            }
            NetEvent::Admission { peer, addr, request, reply } => {
                let door = door.clone();
                tokio::spawn(async move {
                    // The stranger may have gone away.
                    let _ = reply.send(door.answer(peer, addr, &request).await);
                });
                continue;
            }
            NetEvent::Found { peer, addr } => {
                let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                // Only members are looked for; where somebody else is does not matter here.
                if let Some(known) = book.get_mut(&peer).filter(|known| !known.contains(&addr)) {
                    known.insert(0, addr);
                    known.truncate(MAX_ADDRESSES);
                }
                continue;
            }
            NetEvent::Listening(addr) => {
                debug!(%addr, "listening");
                continue;
            }
            NetEvent::Refused { peer, offence, length } => {
                tokio::spawn(name_offender(core.clone(), peer, offence, length));
                continue;
            }
            // A node that belongs to a cluster looks for nobody else.
            NetEvent::Stranger { .. } => continue,
            // The network has logged and counted it.
            NetEvent::Violation { .. } => continue,
        };
        if core.input(input).await.is_err() {
            return;
        }
    }
}

/// Says who is not heard for a while, by its name. `skein peers` shows it as long as it lasts.
async fn name_offender(core: CoreHandle, peer: NodeId, offence: Offence, length: Duration) {
    let name = core.query(move |node, _| node.store().members().get(&peer).map(|member| member.name.clone())).await;
    let name = name.ok().flatten().unwrap_or_else(|| peer.short());
    let (reason, seconds) = (offence.name(), length.as_secs());
    warn!(%name, %peer, reason, seconds, "a member broke rules again and again: it is refused for a while");
}
