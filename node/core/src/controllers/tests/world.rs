//! A small cluster for tests: the real store, the real view, and agents that do what they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skein_crdt_state::keyring::{DataKey, EpochId, Keyring};
use skein_crdt_state::memo::MemoLimits;
use skein_crdt_state::{
    Body, Edit, Envelope, Identity, Kind, Layout, Memo, NameKey, ObjectKey, Sequence, Store, layout, members,
};
use skein_gossip::{Instant, Keypair, NodeId, Now};

use crate::controllers::{Notes, Plan, Step, reconcile};
use crate::runtime::Capacity;
use crate::status::{Claim, Event, NodeStatus, Phase, PodStatus};
use crate::view::{Availability, Component, PodView, View, ViewCache};

const NONCE: [u8; 32] = [7; 32];

/// One side: what one leader knows, and the nodes that it can reach.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) keys: Vec<Keypair>,
    pub(crate) now: Now,
    pub(crate) here: BTreeSet<NodeId>,
    pub(crate) contact: BTreeMap<NodeId, Instant>,
    pub(crate) log: Vec<Arc<Envelope>>,
    pub(crate) events: Vec<Event>,
    pub(crate) unschedulable: BTreeMap<String, String>,
    cache: ViewCache,
    notes: Notes,
    numbers: BTreeMap<(NodeId, u64), u64>,
    boot: u64,
}

pub(crate) fn keys(nodes: usize) -> Vec<Keypair> {
    let secret = |n: usize| {
        let mut secret = [1; 32];
        secret[..8].copy_from_slice(&(n as u64).to_le_bytes());
        secret
    };
    (0..nodes).map(|n| Keypair::from_secret(secret(n))).collect()
}

fn layout() -> Layout {
    let entries: [(Kind, &str, &[&str]); 2] = [
        (Kind::new("Deployment.apps"), "spec.template.spec.containers", &["name"]),
        (Kind::new("ReplicaSet.apps"), "spec.template.spec.containers", &["name"]),
    ];
    Layout::new(1, entries)
}

fn new_store(keys: &[Keypair], me: usize, boot: u64) -> Store {
    let cluster = members::cluster_id(&keys[0].node_id(), &NONCE);
    let keyring = Keyring::new(EpochId([1; 16]), DataKey::new([1; 32]));
    let identity = Identity { keys: keys[me].clone(), cluster, boot, nonce: boot, layout_version: 1, keyring };
    Store::new(identity, Memo::new(MemoLimits::DAEMON))
}

impl World {
    /// A cluster of nodes that are all here, each with four cores and 4 GiB.
    pub(crate) fn new(nodes: usize) -> Self {
        Self::with(&vec![(4000, 4 << 30); nodes])
    }

    /// A cluster of nodes with so many thousandths of a core and bytes of memory.
    pub(crate) fn with(nodes: &[(u64, u64)]) -> Self {
        let keys = keys(nodes.len());
        let store = new_store(&keys, 0, 1);
        let here = keys.iter().map(Keypair::node_id).collect();
        let mut world = World {
            store,
            now: Now { mono: Instant::from_millis(10_000), wall_ms: 1_700_000_000_000 },
            here,
            contact: BTreeMap::new(),
            log: Vec::new(),
            events: Vec::new(),
            unschedulable: BTreeMap::new(),
            cache: ViewCache::default(),
            notes: Notes::default(),
            numbers: BTreeMap::new(),
            boot: 1,
            keys,
        };
        let founded = world.store.found(world.now, NONCE, "n0");
        world.log.push(founded);
        for n in 1..nodes.len() {
            let id = world.keys[n].node_id();
            let admitted = world.store.admit(world.now, id, &format!("n{n}"), [0; 32]);
            world.log.push(admitted);
        }
        for (n, (cpu_millis, memory_bytes)) in nodes.iter().enumerate() {
            world.say_node(n, |capacity| (capacity.cpu_millis, capacity.memory_bytes) = (*cpu_millis, *memory_bytes));
        }
        world.create(&NameKey::root(&Kind::new("Namespace"), "default"), &json!({"spec": {}}));
        world.touch();
        world
    }

    /// The same cluster as another node knows it, from now on apart.
    pub(crate) fn fork(&self, me: usize) -> Self {
        let mut store = new_store(&self.keys, me, 200);
        for envelope in &self.log {
            store.receive(self.now, envelope);
        }
        World {
            store,
            keys: self.keys.clone(),
            now: self.now,
            here: self.here.clone(),
            contact: self.contact.clone(),
            log: self.log.clone(),
            events: Vec::new(),
            unschedulable: BTreeMap::new(),
            cache: ViewCache::default(),
            notes: Notes::default(),
            numbers: self.numbers.clone(),
            boot: self.boot,
        }
    }

    /// Learns all that the other side wrote and said.
    pub(crate) fn learn(&mut self, other: &World) {
        for envelope in &other.log {
            if !self.log.contains(envelope) {
                self.store.receive(self.now, envelope);
                self.log.push(envelope.clone());
            }
        }
    }

    pub(crate) fn id(&self, n: usize) -> NodeId {
        self.keys[n].node_id()
    }

    /// A node says what it has.
    pub(crate) fn say_node(&mut self, n: usize, change: impl FnOnce(&mut Capacity)) {
        let mut capacity =
            Capacity { ready: true, max_pods: 110, cpu_millis: 4000, memory_bytes: 4 << 30, ..Capacity::default() };
        change(&mut capacity);
        let labels = [("kubernetes.io/hostname".to_owned(), format!("n{n}"))].into();
        let status = NodeStatus { name: format!("n{n}"), capacity, labels, ..NodeStatus::default() };
        self.say(n, "node", &postcard::to_stdvec(&status).unwrap());
    }

    /// A node claims slots.
    pub(crate) fn claim(&mut self, n: usize, claim: Claim) {
        let capacity =
            Capacity { ready: true, max_pods: 110, cpu_millis: 4000, memory_bytes: 4 << 30, ..Capacity::default() };
        let status = NodeStatus { name: format!("n{n}"), capacity, claims: [claim].into(), ..NodeStatus::default() };
        self.say(n, "node", &postcard::to_stdvec(&status).unwrap());
    }

    fn say(&mut self, n: usize, section: &str, body: &[u8]) {
        if self.id(n) == self.store.me() {
            let envelope = self.store.set_report(self.now, section, body).unwrap();
            self.log.extend(envelope);
            return;
        }
        let boot = 100 + self.boot;
        let number = self.numbers.entry((self.id(n), boot)).or_default();
        *number += 1;
        let sequence = Sequence { boot, number: *number };
        let stamp = skein_crdt_state::Hlc::from_millis(self.now.wall_ms);
        let body = Body::Report { section: section.into(), stamp, body: body.into() };
        let envelope = Arc::new(Envelope::seal(&self.keys[n], &self.store.cluster(), sequence, &body));
        self.store.receive(self.now, &envelope);
        self.log.push(envelope);
    }

    pub(crate) fn namespace() -> ObjectKey {
        ObjectKey::root(&Kind::new("Namespace"), "default", 1)
    }

    /// Makes an object.
    pub(crate) fn create(&mut self, name: &NameKey, object: &Value) -> ObjectKey {
        let leaves = layout().flatten(name.kind(), object, &BTreeMap::new()).unwrap();
        let key = self.store.next_life(name);
        self.edit(&key, &layout::diff(&BTreeMap::new(), &leaves));
        key
    }

    /// Makes an object in the default namespace.
    pub(crate) fn create_in(&mut self, kind: &str, name: &str, object: &Value) -> ObjectKey {
        self.create(&Self::namespace().name_of_child(&Kind::new(kind), name), object)
    }

    /// Makes an object what it should be.
    pub(crate) fn apply(&mut self, key: &ObjectKey, object: &Value) {
        let old = self.store.object(key).unwrap().leaves().clone();
        let new = layout().flatten(key.kind(), object, &old).unwrap();
        self.edit(key, &layout::diff(&old, &new));
    }

    pub(crate) fn edit(&mut self, key: &ObjectKey, edits: &[Edit]) {
        let envelope = self.store.edit(self.now, key, edits, "test").unwrap();
        self.log.extend(envelope);
    }

    pub(crate) fn delete(&mut self, key: &ObjectKey) {
        let envelope = self.store.delete(self.now, key);
        self.log.extend(envelope);
    }

    /// Time passes; those who are here stay in touch.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall_ms += u64::try_from(time.as_millis()).unwrap();
        self.touch();
    }

    fn touch(&mut self) {
        for id in &self.here {
            self.contact.insert(*id, self.now.mono);
        }
    }

    /// Some nodes are cut off.
    pub(crate) fn lose(&mut self, nodes: &[usize]) {
        for n in nodes {
            let id = self.id(*n);
            self.here.remove(&id);
        }
    }

    /// Some nodes are back.
    pub(crate) fn find(&mut self, nodes: &[usize]) {
        for n in nodes {
            let id = self.id(*n);
            self.here.insert(id);
        }
        self.touch();
    }

    pub(crate) fn component(&self) -> Component {
        Component {
            me: self.store.me(),
            alive: self.here.clone(),
            last_contact: self.contact.clone(),
            seen_24h: self.store.members().active().clone(),
            quorate: true,
        }
    }

    /// What the leader sees. It is the same whether all is looked at or only what became different.
    pub(crate) fn view(&mut self) -> View {
        let changes = self.store.drain_changes();
        self.cache.note(&changes);
        let component = self.component();
        let mut distrustful = self.cache.clone();
        distrustful.distrust();
        let anew = View::build(&self.store, &component, self.now, &mut distrustful);
        let view = View::build(&self.store, &component, self.now, &mut self.cache);
        assert!(view == anew, "looking at what became different shows something else:\n{view:#?}\nand not\n{anew:#?}");
        view
    }

    /// What a leader sees that has never looked before: it has its own times for when something was first seen.
    pub(crate) fn first_view(&self) -> View {
        View::build(&self.store, &self.component(), self.now, &mut ViewCache::default())
    }

    /// The plan that the leader makes now, not carried out. It is the same whether the leader knows what need not be looked
    /// at or not.
    pub(crate) fn plan(&mut self) -> Plan {
        let view = self.view();
        let mut anew = reconcile(&view, &mut Notes::default());
        let plan = reconcile(&view, &mut self.notes);
        anew.items.retain(|step| !matches!(step, Step::Event(_)));
        let said = plan.items.iter().filter(|step| !matches!(step, Step::Event(_)));
        // What a plan that was cut off repeats, only who said it before can.
        assert!(
            plan.is_cut || said.eq(&anew.items),
            "not looking at what is quiet changes a plan:\n{plan:#?}\n{anew:#?}"
        );
        assert_eq!((plan.next, plan.is_cut), (anew.next, anew.is_cut));
        plan
    }

    /// Makes a plan and carries it out.
    pub(crate) fn round(&mut self) -> Plan {
        let plan = self.plan();
        self.unschedulable.clear();
        for step in &plan.items {
            match step {
                Step::Create { name, edits } => {
                    assert!(self.store.current_life(name).is_none(), "{name} is there already");
                    let key = self.store.next_life(name);
                    self.edit(&key, edits);
                }
                Step::Edit { key, edits } => self.edit(key, edits),
                Step::Delete { key } => self.delete(key),
                Step::Event(event) => self.events.push(event.clone()),
                Step::Unschedulable { slot, message } => {
                    self.unschedulable.insert(slot.to_string(), message.clone());
                }
            }
        }
        plan
    }

    /// Plans until nothing is written any more; how many plans wrote something.
    pub(crate) fn settle(&mut self) -> usize {
        (0..100).find(|_| self.round().writes_nothing()).expect("the plans come to an end")
    }

    /// Pods that are placed on nodes that are here, by uid, with what they fill.
    pub(crate) fn pods(&mut self) -> Vec<(ObjectKey, PodView)> {
        let view = self.view();
        let slots = view.slots().filter_map(|(_, slot)| Some((slot.key.clone(), slot.pod.clone()?)));
        slots.filter(|(_, pod)| self.here.contains(&pod.node)).collect()
    }

    /// The agents here run what they should; `ready` says which of the pods get ready now.
    pub(crate) fn run_pods(&mut self, mut ready: impl FnMut(&ObjectKey) -> bool) {
        for (slot, pod) in self.pods() {
            let is_ready = pod.status.as_ref().is_some_and(|status| status.ready) || ready(&slot);
            self.say_pod(&slot, &pod, Phase::Running, is_ready);
        }
    }

    /// The agents here run what they should, and all of it is ready.
    pub(crate) fn run_all(&mut self) {
        self.run_pods(|_| true);
    }

    /// A pod's node says how it is.
    pub(crate) fn say_pod(&mut self, slot: &ObjectKey, pod: &PodView, phase: Phase, ready: bool) {
        let n = self.keys.iter().position(|keys| keys.node_id() == pod.node).unwrap();
        let same = pod.status.as_ref().is_some_and(|status| (status.phase, status.ready) == (phase, ready));
        if same {
            return;
        }
        let status = PodStatus {
            slot: slot.to_string(),
            write: pod.write.to_string(),
            phase,
            ready,
            ready_changed_ms: self.now.wall_ms,
            ..PodStatus::default()
        };
        self.say(n, &format!("pod/{}", pod.uid), &postcard::to_stdvec(&status).unwrap());
    }

    /// A node says nothing more of a pod.
    pub(crate) fn retract_pod(&mut self, pod: &PodView) {
        let n = self.keys.iter().position(|keys| keys.node_id() == pod.node).unwrap();
        self.say(n, &format!("pod/{}", pod.uid), &[]);
    }

    /// Rounds in which everything that is started gets ready, until nothing changes any more.
    pub(crate) fn settle_running(&mut self) {
        for _ in 0..200 {
            let quiet = self.round().writes_nothing();
            self.run_all();
            if quiet && self.plan().writes_nothing() {
                return;
            }
            self.pass(Duration::from_millis(20));
        }
        panic!("it does not settle");
    }

    /// Live slots and available pods of all workloads.
    pub(crate) fn counts(&mut self) -> (usize, usize) {
        let view = self.view();
        let slots = view.slots().count();
        let available = view.slots().filter(|(set, slot)| {
            view.availability(slot.pod.as_ref(), set.spec.min_ready_seconds) == Availability::Yes
        });
        (slots, available.count())
    }

    /// How many pods each node runs.
    pub(crate) fn spread(&mut self) -> Vec<usize> {
        let pods = self.pods();
        self.keys.iter().map(|keys| pods.iter().filter(|(_, pod)| pod.node == keys.node_id()).count()).collect()
    }
}

/// A Deployment as people write it.
pub(crate) fn deployment(replicas: u32, image: &str, more: Value) -> Value {
    let mut object = json!({
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    });
    merge(&mut object, more);
    object
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
