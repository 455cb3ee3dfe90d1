//! The task that owns the core: it gives it inputs and carries out its effects, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use skein_core::node::{Effect, Input, Lane, Node};
use skein_core::status::NodeStatus;
use skein_crdt_state::Rotation;
use skein_gossip::NodeId;
use skein_net::NetHandle;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use super::clock::Clock;
use super::identity::AddressBook;
use super::introduction;
use crate::core_handle::{CoreHandle, ToCore, Waiter};
use crate::disk::Disk;
use crate::pki::epochs::Turn;
use crate::runtime::RuntimeHandle;

/// The most frames that wait for the disk; beyond that the oldest are dropped, as a network may.
const MAX_HELD: usize = 10_000;
/// How many inputs are handled before the effects are carried out.
const INPUTS_AT_ONCE: usize = 64;

/// Who may connect; the network asks it for each connection.
pub(crate) type Access = Arc<RwLock<BTreeSet<NodeId>>>;

/// What the task needs besides the core.
pub(crate) struct Shell {
    pub(crate) clock: Clock,
    pub(crate) handle: CoreHandle,
    pub(crate) net: NetHandle,
    pub(crate) disk: Disk,
    pub(crate) runtime: RuntimeHandle,
    pub(crate) access: Access,
    pub(crate) book: Arc<Mutex<AddressBook>>,
    /// Takes the rotations that the core knows of.
    pub(crate) turns: watch::Sender<Option<Vec<Turn>>>,
}

/// Runs the core until it is told to stop or all handles are gone.
pub(crate) async fn run(mut node: Node, mut receiver: mpsc::Receiver<ToCore>, shell: Shell) {
    let mut held = Held::default();
    let mut inputs = Vec::with_capacity(INPUTS_AT_ONCE);
    loop {
        while let Some(effect) = node.poll_effect() {
            carry_out(&shell, &node, &mut held, effect);
        }
        let deadline = node.poll_timeout().map(|at| shell.clock.deadline(at));
        tokio::select! {
            biased;
            count = receiver.recv_many(&mut inputs, INPUTS_AT_ONCE) => {
                if count == 0 {
                    return;
                }
            }
            () = sleep_until(deadline) => {}
        }
        for input in inputs.drain(..) {
            match input {
                ToCore::Input(input) => {
                    if let Input::Persisted(batch) = *input {
                        held.release(&shell, batch);
                    }
                    node.handle(shell.clock.now(), *input);
                }
                ToCore::Query(ask) => ask(&mut node, shell.clock.now()),
                ToCore::Stop => return,
            }
        }
        let now = shell.clock.now();
        if node.poll_timeout().is_some_and(|at| at <= now.mono) {
            node.handle(now, Input::Timeout);
        }
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn carry_out(shell: &Shell, node: &Node, held: &mut Held, effect: Effect) {
    match effect {
        Effect::Send { to, lane, bytes, after } => {
            let bytes = Bytes::from_owner(bytes);
            match after {
                Some(batch) if batch > held.on_disk => held.hold(batch, to, lane, bytes),
                _ => shell.net.send(to, net_lane(lane), bytes),
            }
        }
        Effect::Persist { batch, records, again } => {
            debug!(batch, records = records.len(), "persist");
            shell.disk.persist(batch, records, again);
        }
        Effect::Act(action) => shell.runtime.act(action),
        Effect::Written(id, result) => {
            if let Some(Waiter::Write(waiter)) = shell.handle.answer(id) {
                // The client may have gone away; the write stands all the same.
                let _ = waiter.send(result);
            }
        }
        Effect::Introduce { to, said } => {
            let (net, core, cluster) = (shell.net.clone(), shell.handle.clone(), node.store().cluster());
            let addresses = addresses_of(shell, node, &to);
            tokio::spawn(introduction::make(net, core, cluster, (to, addresses), said));
        }
        Effect::Admitted(id, result) | Effect::Acquainted(id, result) => {
            if let Some(Waiter::Admit(waiter)) = shell.handle.answer(id) {
                let _ = waiter.send(result);
            }
        }
        Effect::Left(id, result) => {
            if let Some(Waiter::Leave(waiter)) = shell.handle.answer(id) {
                let _ = waiter.send(result);
            }
        }
        Effect::Rotated(id, result) => {
            if let Some(Waiter::Rotate(waiter)) = shell.handle.answer(id) {
                let _ = waiter.send(result);
            }
        }
        Effect::Rotations(rotations) => {
            let turn = |rotation: &Rotation| Turn { epoch: rotation.epoch, lapse_ms: rotation.lapse_ms };
            shell.turns.send_replace(Some(rotations.iter().map(turn).collect()));
        }
        Effect::Dial(peer) => shell.net.dial(peer, addresses_of(shell, node, &peer)),
        Effect::Members(members) => set_members(shell, &members),
        Effect::Changed(changes) => shell.handle.publish(changes),
        Effect::Leadership(leadership) => {
            let name = |id: &NodeId| node.store().members().get(id).map_or_else(|| id.short(), |m| m.name.clone());
            let leader = leadership.leader.as_ref().map(name);
            info!(
                leader,
                term = leadership.term,
                quorate = leadership.quorate,
                voters = leadership.voters.count,
                mine = leadership.mine,
                "leadership"
            );
        }
        Effect::Offence { peer, offence, what } => shell.net.offence(peer, offence, what),
        Effect::Notice(text) => warn!("{text}"),
    }
}

fn net_lane(lane: Lane) -> skein_net::Lane {
    match lane {
        Lane::Control => skein_net::Lane::Control,
        Lane::Bulk => skein_net::Lane::Bulk,
    }
}

/// Whoever is no member any more is cut off at once.
fn set_members(shell: &Shell, members: &BTreeSet<NodeId>) {
    let before = {
        let mut access = shell.access.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *access, members.clone())
    };
    for gone in before.difference(members) {
        shell.net.disconnect(*gone);
    }
    shell.net.access_changed();
}

/// Where a peer says it is, then where it was last seen.
fn addresses_of(shell: &Shell, node: &Node, peer: &NodeId) -> Vec<std::net::SocketAddr> {
    let report = node.store().report(peer, "node");
    let status = report.and_then(|report| postcard::from_bytes::<NodeStatus>(&report.body).ok());
    let said = status.into_iter().flat_map(|status| status.peer_addresses).filter_map(|text| text.parse().ok());
    let mut book = shell.book.lock().unwrap_or_else(PoisonError::into_inner);
    let known = book.entry(*peer).or_default();
    let mut addresses: Vec<std::net::SocketAddr> = said.collect();
    addresses.extend(known.iter().filter(|at| !addresses.contains(at)).copied().collect::<Vec<_>>());
    addresses.truncate(super::MAX_ADDRESSES);
    known.clone_from(&addresses);
    addresses
}

/// Frames that may not leave before what they promise is on disk.
#[derive(Default)]
struct Held {
    on_disk: u64,
    frames: BTreeMap<u64, Vec<(NodeId, Lane, Bytes)>>,
    count: usize,
}

impl Held {
    fn hold(&mut self, batch: u64, to: NodeId, lane: Lane, bytes: Bytes) {
        self.frames.entry(batch).or_default().push((to, lane, bytes));
        self.count += 1;
        while self.count > MAX_HELD {
            let Some((_, dropped)) = self.frames.pop_first() else { return };
            self.count -= dropped.len();
        }
    }

    fn release(&mut self, shell: &Shell, batch: u64) {
        self.on_disk = self.on_disk.max(batch);
        let later = self.frames.split_off(&(batch + 1));
        for (to, lane, bytes) in std::mem::replace(&mut self.frames, later).into_values().flatten() {
            self.count -= 1;
            shell.net.send(to, net_lane(lane), bytes);
        }
    }
}
