//! One store that knows a whole cluster, and stand-ins for all who would talk to it: users, agents, the failure detector.
//! Plans are carried out as a leader does it. Which plans are made does not live here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skein_core::controllers::{Notes, Plan, Step, reconcile};
use skein_core::model::{DEPLOYMENT_KIND, NAMESPACE_KIND, NODE_KIND};
use skein_core::slot::{self, PLACEMENT_LEAF};
use skein_core::status::{Phase, PodStatus};
use skein_core::view::{Component, LOST_AFTER, View, ViewCache};
use skein_crdt_state::keyring::{DataKey, EpochId, Keyring};
use skein_crdt_state::memo::MemoLimits;
use skein_crdt_state::{
    Body, Envelope, Hlc, Identity, Kind, Memo, NameKey, ObjectKey, Sequence, Store, WriteId, layout, members,
};
use skein_gossip::{Instant, Keypair, NodeId, Now};

use super::fleet;

/// How much virtual time passes from plan to plan.
pub(super) const ROUND: Duration = Duration::from_millis(20);
const NONCE: [u8; 32] = [7; 32];

/// A node as its stand-in knows it.
struct Peer {
    keys: Keypair,
    said: u64,
}

/// The cluster.
pub(super) struct Cluster {
    pub(super) store: Store,
    pub(super) now: Now,
    /// The nodes that are here, with their numbers.
    pub(super) here: BTreeMap<NodeId, usize>,
    /// All nodes' numbers.
    pub(super) numbers: BTreeMap<NodeId, usize>,
    /// The Deployments, by number.
    pub(super) deployments: Vec<ObjectKey>,
    last_contact: BTreeMap<NodeId, Instant>,
    peers: Vec<Peer>,
    cache: ViewCache,
    notes: Notes,
    /// Where each slot's pod runs, and the section that says so.
    pods: BTreeMap<ObjectKey, (NodeId, String)>,
    /// Pods that were placed or ended since their agents last said something.
    placed: Vec<(ObjectKey, NodeId, WriteId)>,
    ended: Vec<(NodeId, String)>,
}

impl Cluster {
    /// So many nodes, all here; each says what it has.
    pub(super) fn new(nodes: usize) -> Self {
        let keys: Vec<Keypair> = (0..nodes.max(1)).map(key).collect();
        let cluster = members::cluster_id(&keys[0].node_id(), &NONCE);
        let keyring = Keyring::new(EpochId([1; 16]), DataKey::new([1; 32]));
        let identity = Identity { keys: keys[0].clone(), cluster, boot: 1, nonce: 1, layout_version: 1, keyring };
        let numbers: BTreeMap<NodeId, usize> = keys.iter().enumerate().map(|(n, keys)| (keys.node_id(), n)).collect();
        let mut all = Cluster {
            store: Store::new(identity, Memo::new(MemoLimits::DAEMON)),
            now: Now { mono: Instant::from_millis(10_000), wall_ms: 1_700_000_000_000 },
            here: numbers.clone(),
            numbers,
            deployments: Vec::new(),
            last_contact: BTreeMap::new(),
            peers: keys.into_iter().map(|keys| Peer { keys, said: 0 }).collect(),
            cache: ViewCache::default(),
            notes: Notes::default(),
            pods: BTreeMap::new(),
            placed: Vec::new(),
            ended: Vec::new(),
        };
        all.store.found(all.now, NONCE, &fleet::name(0));
        for number in 1..all.peers.len() {
            let id = all.peers[number].keys.node_id();
            all.store.admit(all.now, id, &fleet::name(number), [0; 32]);
        }
        for number in 0..all.peers.len() {
            let status = fleet::node(number);
            all.say(number, "node", &postcard::to_stdvec(&status).unwrap_or_default());
        }
        all.write(&NameKey::root(&Kind::new(NAMESPACE_KIND), "default"), &json!({"spec": {}}));
        all.settle_store();
        all.pass(ROUND);
        all
    }

    /// How many pods are asked for.
    pub(super) fn asked_for(&self) -> usize {
        self.deployments.len() * fleet::REPLICAS
    }

    /// People label, taint and cordon nodes.
    pub(super) fn mark_nodes(&mut self) {
        for number in 0..self.peers.len() {
            let mut object = json!({"spec": {}, "metadata": {}});
            if fleet::has_disk(number) {
                object["metadata"]["labels"] = json!({fleet::DISK: "fast"});
            }
            if fleet::is_dedicated(number) {
                object["spec"]["taints"] = json!([{"key": fleet::DEDICATED, "effect": "NoSchedule"}]);
            }
            if fleet::is_cordoned(number) {
                object["spec"]["unschedulable"] = json!(true);
            }
            self.write(&NameKey::root(&Kind::new(NODE_KIND), &fleet::name(number)), &object);
        }
        self.settle_store();
    }

    /// People create Deployments of so many pods together.
    pub(super) fn deploy(&mut self, pods: usize) {
        for number in 0..pods.div_ceil(fleet::REPLICAS) {
            let key = self.write(&deployment_name(number), &fleet::deployment(number, 1));
            self.deployments.push(key);
        }
        self.settle_store();
    }

    /// Somebody changes a Deployment's image.
    pub(super) fn change_image(&mut self) {
        self.write(&deployment_name(0), &fleet::deployment(0, 2));
        self.settle_store();
    }

    /// Every tenth node falls silent, and the grace is over.
    pub(super) fn lose_a_tenth(&mut self) {
        let me = self.store.me();
        self.here.retain(|id, number| *id == me || *number % 10 != 2);
        self.pass(LOST_AFTER);
    }

    /// Time passes; those who are here stay in touch.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall_ms += u64::try_from(time.as_millis()).unwrap_or(0);
        let now = self.now.mono;
        self.last_contact.extend(self.here.keys().map(|id| (*id, now)));
    }

    /// What the leader has seen and said is forgotten, as by one who has just begun to lead.
    pub(super) fn forget(&mut self) {
        self.cache = ViewCache::default();
        self.notes = Notes::default();
    }

    /// Who is here.
    pub(super) fn component(&self) -> Component {
        Component {
            me: self.store.me(),
            alive: self.here.keys().copied().collect(),
            last_contact: self.last_contact.clone(),
            seen_24h: self.store.members().active().clone(),
            quorate: true,
        }
    }

    /// What the leader sees.
    pub(super) fn view(&mut self, component: &Component) -> View {
        View::build(&self.store, component, self.now, &mut self.cache)
    }

    /// What the leader wants written.
    pub(super) fn plan(&mut self, view: &View) -> Plan {
        reconcile(view, &mut self.notes)
    }

    /// Writes what a plan asks for; how many pods it placed.
    pub(super) fn carry_out(&mut self, plan: Plan) -> usize {
        let (message, before) = ("controller\tsystem:leader", self.placed.len());
        for step in plan.items {
            let (key, edits) = match step {
                Step::Create { name, edits } if self.store.current_life(&name).is_none() => {
                    (self.store.next_life(&name), edits)
                }
                Step::Edit { key, edits } => (key, edits),
                Step::Delete { key } => {
                    self.store.delete(self.now, &key);
                    self.ended.extend(self.pods.remove(&key));
                    continue;
                }
                Step::Create { .. } | Step::Event(_) | Step::Unschedulable { .. } => continue,
            };
            // A refusal shows as a slot that stays empty.
            let _ = self.store.edit(self.now, &key, &edits, message);
            if edits.iter().any(|edit| &*edit.path == PLACEMENT_LEAF) {
                let values = self.store.object(&key).map(|object| slot::values(object)).unwrap_or_default();
                let wanted = slot::winner(&values, &[]);
                self.placed.extend(wanted.map(|wanted| (key, wanted.node, wanted.write)));
            }
        }
        self.settle_store();
        self.placed.len() - before
    }

    /// The agents that are here say that what was placed is ready, and that what ended is gone; whether there was anything
    /// to say.
    pub(super) fn run_pods(&mut self) -> bool {
        let (placed, mut ended) = (std::mem::take(&mut self.placed), std::mem::take(&mut self.ended));
        let cluster = self.store.cluster();
        let news = !placed.is_empty() || !ended.is_empty();
        for (key, node, write) in placed {
            let status = PodStatus {
                slot: key.to_string(),
                write: write.to_string(),
                phase: Phase::Running,
                ready: true,
                ready_changed_ms: self.now.wall_ms,
                ..PodStatus::default()
            };
            let section = format!("pod/{}", slot::pod_uid(&cluster, &key, &write));
            if let Some(number) = self.here.get(&node).copied() {
                self.say(number, &section, &postcard::to_stdvec(&status).unwrap_or_default());
            }
            ended.extend(self.pods.insert(key, (node, section)));
        }
        for (node, section) in ended {
            if let Some(number) = self.here.get(&node).copied() {
                self.say(number, &section, &[]);
            }
        }
        self.settle_store();
        news
    }

    fn say(&mut self, number: usize, section: &str, body: &[u8]) {
        let peer = &mut self.peers[number];
        if peer.keys.node_id() == self.store.me() {
            let _ = self.store.set_report(self.now, section, body);
            return;
        }
        peer.said += 1;
        let sequence = Sequence { boot: 1, number: peer.said };
        let body =
            Body::Report { section: section.into(), stamp: Hlc::from_millis(self.now.wall_ms), body: body.into() };
        let envelope = Arc::new(Envelope::seal(&peer.keys, &self.store.cluster(), sequence, &body));
        self.store.receive(self.now, &envelope);
    }

    /// Makes an object what its user wants; what others have added stays.
    fn write(&mut self, name: &NameKey, object: &Value) -> ObjectKey {
        let key = self.store.next_life(name);
        let before = self.store.object(&key).map(|object| object.leaves().clone()).unwrap_or_default();
        let after = crate::world::layout().flatten(name.kind(), object, &before).unwrap_or_default();
        let mut edits = layout::diff(&before, &after);
        edits.retain(|edit| edit.value.is_some());
        let _ = self.store.edit(self.now, &key, &edits, "kubectl\tuser");
        key
    }

    /// What a daemon does with what the store hands out: there is no disk here, and nobody to tell.
    fn settle_store(&mut self) {
        self.store.drain_records();
        let changes = self.store.drain_changes();
        self.cache.note(&changes);
    }

    /// The nodes that are lost.
    pub(super) fn lost(&self) -> BTreeSet<NodeId> {
        self.numbers.keys().filter(|id| !self.here.contains_key(id)).copied().collect()
    }
}

fn key(number: usize) -> Keypair {
    let mut secret = [1; 32];
    secret[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Keypair::from_secret(secret)
}

fn deployment_name(number: usize) -> NameKey {
    let namespace = ObjectKey::root(&Kind::new(NAMESPACE_KIND), "default", 1);
    namespace.name_of_child(&Kind::new(DEPLOYMENT_KIND), &format!("app-{number}"))
}
