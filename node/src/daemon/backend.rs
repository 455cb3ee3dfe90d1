//! What the API needs of the node, answered by the daemon's core, network and runtime.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use skein_core::conflicts;
use skein_core::ephemeral::EPHEMERAL_FIELD;
use skein_core::node::Node;
use skein_core::request as core;
use skein_core::slot::SLOT_KIND;
use skein_core::status::NodeStatus;
use skein_crdt_state::members::{Ended, Member};
use skein_crdt_state::{ClusterId, Edit, Hlc, Kind, Leaf, ObjectKey, ObjectState, Operation, layout};
use skein_gossip::{NodeId, Now, Offence};
use skein_net::{NetHandle, NetMetrics, Refusal};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::identity::AddressBook;
use super::keys::Keeper;
use super::outbound::{Held, Outbound};
use super::token::MAX_TOKEN_PEERS;
use super::why::why;
use super::{DaemonConfig, DaemonError};
use crate::api;
use crate::api::backend::{
    AdminError, ApiRef, Authored, Backend, Known, LeaderInfo, LogError, LogRequest, LogSource, LogStream, NodeUsage,
    PeerInfo, PeerStream, ProjectedChange, Removal, Rendered, Rotated, Stopped, TokenAsk, TokenInfo, UsageSource,
};
use crate::api::streams::node_side::SessionServer;
use crate::core_handle::CoreHandle;
use crate::joining::Standing;
use crate::joining::host::Host;
use crate::metrics::Metrics;
use crate::pki::ServerIdentity;
use crate::runtime::{LogOptions, RuntimeHandle};
use crate::usage::Meter;

/// How much of a session with a pod of this node is under way in each direction.
const SESSION_PIPE_BYTES: usize = 16 << 10;

/// The daemon, as the API sees it.
pub(crate) struct Daemon {
    pub(crate) core: CoreHandle,
    pub(crate) net: NetHandle,
    pub(crate) runtime: RuntimeHandle,
    pub(crate) sessions: Arc<SessionServer>,
    pub(crate) meter: Meter<RuntimeHandle>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) me: NodeId,
    pub(crate) cluster: ClusterId,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) stop: CancellationToken,
    pub(crate) host: Arc<Host>,
    /// What is open to peers.
    pub(crate) outbound: Outbound,
    /// Whether it was seen to know its cluster, which it does not forget.
    pub(crate) has_state: AtomicBool,
}

impl LogSource for Daemon {
    fn open(&self, request: LogRequest) -> BoxFuture<'_, Result<LogStream, LogError>> {
        async move {
            let id = skein_core::runtime::ContainerRef {
                uid: request.uid.as_str().into(),
                container: request.container.as_str().into(),
                attempt: request.attempt,
            };
            let options = LogOptions {
                follow: request.follow,
                tail_lines: request.tail_lines,
                since_ms: request.since_ms,
                timestamps: request.timestamps,
                ..LogOptions::default()
            };
            let stream = self.runtime.logs(id, options).await;
            let stream = stream.map_err(|error| LogError::NotFound(error.to_string()))?;
            Ok(Box::pin(stream) as LogStream)
        }
        .boxed()
    }
}

impl UsageSource for Daemon {
    fn usage(&self) -> BoxFuture<'_, NodeUsage> {
        self.meter.usage().boxed()
    }
}

impl Backend for Daemon {
    fn me(&self) -> NodeId {
        self.me
    }

    fn get(&self, object: ApiRef) -> BoxFuture<'_, Result<Option<Arc<Rendered>>, Stopped>> {
        self.ask(move |node, _| node.projection().get(&object).cloned()).boxed()
    }

    fn authored(&self, object: ApiRef) -> BoxFuture<'_, Result<Option<Known>, Stopped>> {
        async move {
            let found = self.ask(move |node, _| {
                let rendered = node.projection().get(&object)?.clone();
                let stored = rendered.key.as_ref().and_then(|key| node.store().object(key)).cloned();
                Some((rendered, stored))
            });
            // The stored object does not change any more, so what follows is no work of the core's.
            Ok(found.await?.map(|(rendered, stored)| (rendered, stored.as_ref().map(authored).unwrap_or_default())))
        }
        .boxed()
    }

    fn list(&self, kind: Kind, namespace: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<Arc<Rendered>>, Stopped>> {
        self.ask(move |node, _| {
            node.projection().list(&kind, namespace.as_deref()).map(|(_, rendered)| rendered.clone()).collect()
        })
        .boxed()
    }

    fn contested(&self, kind: Kind, below: &'static str) -> BoxFuture<'_, Result<Vec<ApiRef>, Stopped>> {
        self.ask(move |node, _| {
            let object = |rendered: &Rendered| node.store().object(rendered.key.as_ref()?);
            let is_contested = |rendered| object(rendered).is_some_and(|object| conflicts::is_contested(object, below));
            let all = node.projection().list(&kind, None);
            all.filter(|(_, rendered)| is_contested(rendered)).map(|(name, _)| name.clone()).collect()
        })
        .boxed()
    }

    fn edits(
        &self,
        key: Option<ObjectKey>,
        kind: Kind,
        old: Value,
        new: Value,
    ) -> BoxFuture<'_, Result<Result<Vec<Edit>, String>, Stopped>> {
        self.ask(move |node, _| edits(node, key.as_ref(), &kind, &old, &new)).boxed()
    }

    fn write(
        &self,
        request: core::WriteRequest,
    ) -> BoxFuture<'_, Result<Result<core::WriteReply, core::WriteError>, Stopped>> {
        async move { self.core.write(request).await.map_err(|_| Stopped) }.boxed()
    }

    fn changes(&self) -> broadcast::Receiver<Arc<Vec<ProjectedChange>>> {
        self.core.changes()
    }

    fn open_peer(&self, peer: NodeId, header: Bytes) -> BoxFuture<'_, Result<PeerStream, LogError>> {
        async move {
            if peer == self.me {
                return Ok(self.open_here(&header));
            }
            let unavailable = |why: String| LogError::Unavailable(format!("{}: {why}", peer.short()));
            let room = self.outbound.room(peer, &header).map_err(|crowded| unavailable(crowded.to_string()))?;
            let stream = self.net.open(peer, header).await.map_err(|error| unavailable(error.to_string()))?;
            Ok(Box::pin(Held::new(Box::pin(stream), room)) as PeerStream)
        }
        .boxed()
    }

    fn create_token(&self, ask: TokenAsk) -> BoxFuture<'_, Result<String, AdminError>> {
        async move { Ok(self.mint(&ask).await?.to_string()) }.boxed()
    }

    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenInfo>, AdminError>> {
        self.list_tokens().boxed()
    }

    fn revoke_token(&self, id: String) -> BoxFuture<'_, Result<String, AdminError>> {
        async move { self.revoke(&id).await }.boxed()
    }

    fn invite(&self, ask: TokenAsk) -> BoxFuture<'_, Result<String, AdminError>> {
        async move { self.open_invitation(&ask).await }.boxed()
    }

    fn invitation(&self, number: u8) -> BoxFuture<'_, Result<Option<Standing>, AdminError>> {
        std::future::ready(Ok(self.host.standing(number))).boxed()
    }

    fn peers(&self) -> BoxFuture<'_, Result<Vec<PeerInfo>, AdminError>> {
        let refused = self.net.refused();
        async move { self.ask(move |node, _| peers(node, &refused)).await.map_err(stopped) }.boxed()
    }

    fn leader(&self) -> BoxFuture<'_, Result<Option<LeaderInfo>, AdminError>> {
        async move { self.ask(|node, now| leader(node, now)).await.map_err(stopped) }.boxed()
    }

    fn leave(&self) -> BoxFuture<'_, Result<(), AdminError>> {
        async move {
            let left = self.core.leave().await.map_err(|_| stopped(Stopped))?;
            left.map_err(|error| AdminError(error.to_string()))?;
            let stop = self.stop.clone();
            // The answer goes out first.
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                stop.cancel();
            });
            Ok(())
        }
        .boxed()
    }

    fn remove(&self, peer: String) -> BoxFuture<'_, Result<Removal, AdminError>> {
        async move {
            let found = self.ask(move |node, _| member_called(node, &peer)).await.map_err(stopped)?;
            let Called { id, name, removed } = found.map_err(AdminError)?;
            if let Some(knows_keys) = removed {
                self.keeper.has_removed(id);
                return Ok(Removal { name, again: true, knows_keys, warnings: Vec::new() });
            }
            let request = core::WriteRequest {
                op: core::WriteOp::Remove { node: id },
                durability: core::Durability::One,
                user: "root".into(),
                manager: "skein-remove".into(),
                operation: Operation::Update,
                request_id: id.to_string(),
            };
            let written = self.core.write(request).await.map_err(|_| stopped(Stopped))?;
            let reply = written.map_err(|error| AdminError(error.to_string()))?;
            self.keeper.has_removed(id);
            Ok(Removal { name, again: false, knows_keys: true, warnings: reply.warnings })
        }
        .boxed()
    }

    fn rotate(&self, grace: Duration) -> BoxFuture<'_, Result<Rotated, AdminError>> {
        self.keeper.rotate(grace).boxed()
    }

    fn why(&self, namespace: String, object: String) -> BoxFuture<'_, Result<Vec<String>, AdminError>> {
        async move {
            let lines = self.ask(move |node, now| why(node, now, &namespace, &object)).await.map_err(stopped)?;
            lines.map_err(AdminError)
        }
        .boxed()
    }

    fn state_hash(&self) -> BoxFuture<'_, Result<String, AdminError>> {
        let hash = self.ask(|node, _| node.store().state_hash().iter().map(|byte| format!("{byte:02x}")).collect());
        async move { hash.await.map_err(stopped) }.boxed()
    }

    fn measure<'a>(&'a self, metrics: &'a Metrics) -> BoxFuture<'a, ()> {
        async move {
            let counted = self.ask(|node, _| {
                let leadership = node.leadership();
                let leads = leadership.leader == Some(node.me());
                let refuses = usize::from(!node.status().disk.is_empty());
                let counts = [node.projection().len(), node.alive().len(), node.pending_writes(), refuses];
                let votes = node.has_state() && !node.has_lost_vote() && node.voters().any(|voter| *voter == node.me());
                (counts, leads, leadership.term, leadership.quorate, votes)
            });
            // A daemon that stops shows what it knew last.
            if let Ok(([objects, alive, pending, refuses], leads, term, quorate, votes)) = counted.await {
                metrics.objects.set(objects as u64);
                metrics.peers_alive.set(alive as u64);
                metrics.writes_pending.set(pending as u64);
                metrics.disk_refuses.set(refuses as u64);
                metrics.is_leader.set(u64::from(leads));
                metrics.term.set(term);
                metrics.is_quorate.set(u64::from(quorate));
                metrics.votes.set(u64::from(votes));
            }
            measure_net(&self.net.metrics(), metrics);
        }
        .boxed()
    }

    fn has_state(&self) -> BoxFuture<'_, bool> {
        async move {
            if self.has_state.load(Ordering::Relaxed) {
                return true;
            }
            let known = self.ask(|node, _| node.has_state()).await.unwrap_or(false);
            self.has_state.fetch_or(known, Ordering::Relaxed);
            known
        }
        .boxed()
    }

    fn ready(&self) -> BoxFuture<'_, bool> {
        async move { self.has_state().await && self.ask(|_, _| ()).await.is_ok() }.boxed()
    }
}

impl Daemon {
    /// What a peer would open: sessions with this node's own pods go the same way as all others.
    fn open_here(&self, header: &[u8]) -> PeerStream {
        let (ours, theirs) = tokio::io::duplex(SESSION_PIPE_BYTES);
        if SessionServer::takes(header) {
            let sessions = self.sessions.clone();
            tokio::spawn(async move { sessions.serve(Box::pin(theirs)).await });
        }
        Box::pin(ours)
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Node, Now) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.core.query(question).await.map_err(|_| Stopped)
    }
}

/// Starts the API over this daemon.
pub(crate) async fn start_api(
    config: &DaemonConfig,
    identity: Arc<ServerIdentity>,
    daemon: Arc<Daemon>,
    metrics: Arc<Metrics>,
    opened: &OnceLock<Arc<api::shell::Shell>>,
) -> Result<api::server::Server, DaemonError> {
    let cluster = daemon.cluster.to_string();
    let url = super::addresses::reachable(config.api).first().map(|at| format!("https://{at}")).unwrap_or_default();
    let shell = Arc::new(api::shell::Shell::new(daemon, metrics, identity, cluster, url));
    // Clients that come with a token are given what the API gives.
    let _ = opened.set(shell.clone());
    Ok(api::server::listen(shell, config.api, &config.data_dir).await?)
}

/// Where members say they are.
pub(crate) fn reported_addresses(node: &Node) -> AddressBook {
    let mut book = AddressBook::new();
    for member in node.store().members().iter().filter(|member| member.is_active() && member.id != node.me()) {
        let Some(status) = status_of(node, &member.id) else { continue };
        let addresses = status.peer_addresses.iter().filter_map(|text| text.parse().ok());
        book.insert(member.id, addresses.take(super::MAX_ADDRESSES).collect());
    }
    book
}

fn status_of(node: &Node, id: &NodeId) -> Option<NodeStatus> {
    postcard::from_bytes(&node.store().report(id, "node")?.body).ok()
}

/// This node first, then others that are alive and let people in.
pub(super) fn token_peers(node: &Node, me: NodeId, own: Vec<SocketAddr>) -> Vec<(NodeId, Vec<SocketAddr>)> {
    let others = reported_addresses(node)
        .into_iter()
        .filter(|(id, _)| node.alive().contains(id) && !node.store().members().is_observer(id));
    std::iter::once((me, own)).chain(others).take(MAX_TOKEN_PEERS).collect()
}

fn edits(node: &Node, key: Option<&ObjectKey>, kind: &Kind, old: &Value, new: &Value) -> Result<Vec<Edit>, String> {
    let empty = BTreeMap::new();
    let leaves = key.and_then(|key| node.store().object(key)).map_or(&empty, |object| object.leaves());
    let flat = |value: &Value| node.layout().flatten(kind, value, leaves).map_err(|error| error.to_string());
    let (before, after) = (flat(old)?, flat(new)?);
    // What the client did not change stays as it is, also where it is more than the client was shown.
    let changed = layout::changes(&before, &after);
    Ok(changed)
}

/// An object's fields with their authors. Of a slot only what its pod shows of it.
fn authored(object: &Arc<ObjectState>) -> Authored {
    let is_slot = object.key().kind().as_str() == SLOT_KIND;
    let of_pod = |path: &str| ["metadata", EPHEMERAL_FIELD].iter().any(|part| path.starts_with(part));
    let shown = |path: &str| !is_slot || of_pod(path) || path.starts_with(layout::NOTE_PREFIX);
    let leaves: BTreeMap<_, _> = object
        .leaves()
        .iter()
        .filter(|(path, _)| shown(path))
        .map(|(path, leaf)| (path.clone(), leaf.clone()))
        .collect();
    let message = |leaf: &Leaf| Some((leaf.write, object.changes().get(&leaf.write)?.message.as_str().into()));
    let messages = leaves.values().filter_map(message).collect();
    Authored { leaves, messages }
}

fn measure_net(net: &NetMetrics, metrics: &Metrics) {
    metrics.links.set(net.links);
    metrics.frames_sent.set_total(net.control_frames_sent + net.bulk_frames_sent);
    metrics.frames_received.set_total(net.control_frames_received + net.bulk_frames_received);
    metrics.bytes_sent.set_total(net.control_bytes_sent + net.bulk_bytes_sent);
    metrics.bytes_received.set_total(net.control_bytes_received + net.bulk_bytes_received);
    metrics.frames_dropped.set_total(net.frames_dropped);
    metrics.frames_oversized.set_total(net.oversized);
    metrics.violations.set_total(net.violations);
    metrics.connections_refused.set_total(net.refused);
    metrics.dials_failed.set_total(net.dials_failed);
    metrics.peers_paused.set_total(net.paused);
    metrics.offenders.set(net.offenders);
    metrics.peer_refusals.set_totals(Refusal::ALL.iter().map(|it| it.name()).zip(net.refusals));
    metrics.offences.set_totals(Offence::ALL.iter().map(|it| it.name()).zip(net.offences));
}

fn peers(node: &Node, refused: &[NodeId]) -> Vec<PeerInfo> {
    let leader = node.leadership().leader;
    let info = |member: &Member| {
        let status = status_of(node, &member.id).unwrap_or_default();
        // Whoever asks a node that is out is told what can be done about it.
        let remedy = match &member.ended {
            Some(Ended::Removed { .. }) => "; it runs nothing: skein join TOKEN --data-dir ANOTHER",
            Some(_) => "; it runs nothing: skein join TOKEN --discard",
            None => "",
        };
        let remedy = if member.id == node.me() { remedy } else { "" };
        let state = match (&member.ended, node.alive().contains(&member.id)) {
            (Some(Ended::Left(_)), _) => "left",
            (Some(Ended::Removed { .. }), _) => "removed",
            (Some(Ended::Unvouched), _) => "unvouched",
            (None, _) if refused.contains(&member.id) => "refused",
            (None, true) => "alive",
            (None, false) => "down",
        };
        PeerInfo {
            name: member.name.clone(),
            id: member.id.to_string(),
            address: status.peer_addresses.first().cloned().unwrap_or_default(),
            state: format!("{state}{remedy}"),
            leader: leader == Some(member.id),
            version: status.version,
            role: member.role.as_str().to_owned(),
        }
    };
    let mut peers: Vec<PeerInfo> = node.store().members().iter().map(info).collect();
    peers.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    peers
}

/// A node that somebody names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Called {
    pub(super) id: NodeId,
    pub(super) name: String,
    /// If it was removed, whether it knows the keys that are in force.
    pub(super) removed: Option<bool>,
}

/// The member that somebody names, by its name or its id. Of those that are no members any more a removed one may be meant.
pub(super) fn member_called(node: &Node, text: &str) -> Result<Called, String> {
    let members = node.store().members();
    let by_id = text.parse().ok().and_then(|id: NodeId| members.get(&id));
    let named = |member: &&Member| member.name == text;
    let active = members.iter().filter(named).filter(|member| member.is_active());
    let mut found: Vec<&Member> = by_id.into_iter().chain(active).collect();
    if found.is_empty() {
        found.extend(members.iter().filter(named).filter(|member| member.is_removed()));
    }
    match found[..] {
        [] => Err(format!("no member of this cluster is called \"{text}\"; skein peers lists them, each with its id")),
        [member] => {
            let removed = match member.ended {
                Some(Ended::Removed { stamp, .. }) => Some(stamp),
                _ => None,
            };
            // A rotation of its own takes nothing from it.
            let changed_since = |at: Hlc| {
                let rotations = node.store().rotations();
                rotations.iter().any(|rotation| rotation.by != member.id && rotation.stamp > at)
            };
            let removed = removed.map(|at| !changed_since(at));
            Ok(Called { id: member.id, name: member.name.clone(), removed })
        }
        _ => Err(format!("several nodes are called \"{text}\"; say which by its id, see skein peers")),
    }
}

fn leader(node: &Node, now: Now) -> Option<LeaderInfo> {
    let leadership = node.leadership();
    let id = leadership.leader?;
    let name = node.store().members().get(&id).map_or_else(|| id.short(), |member| member.name.clone());
    let ends = leadership.tenure_ends.map_or(Duration::ZERO, |at| at.since(now.mono));
    Some(LeaderInfo {
        name,
        id: id.to_string(),
        term: leadership.term,
        quorate: leadership.quorate,
        tenure_ends_in_seconds: ends.as_secs_f64(),
    })
}

pub(super) fn stopped(stopped: Stopped) -> AdminError {
    AdminError(stopped.to_string())
}
