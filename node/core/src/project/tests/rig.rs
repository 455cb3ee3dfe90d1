//! Stores of a few nodes, filled by hand, and a projection over each: what the tests of the projection play with.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use skein_crdt_state::envelope::Envelope;
use skein_crdt_state::keyring::{DataKey, EpochId, Keyring};
use skein_crdt_state::memo::{Memo, MemoLimits};
use skein_crdt_state::store::{Identity, Store};
use skein_crdt_state::{Edit, Kind, Layout, ObjectKey, Scalar, WriteId, members};
use skein_gossip::{Keypair, NodeId, Now};

use crate::model::template::template_hash;
use crate::project::{ApiRef, ProjectedChange, Projection, Sources};
use crate::slot::{PLACEMENT_LEAF, Placement, SLOT_KIND, pod_name, pod_uid};
use crate::status::{ContainerPhase, ContainerStatus, NodeStatus, Phase, PodStatus};

const NONCE: [u8; 32] = [7; 32];
/// What clients trust the API by.
pub(super) const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// A few nodes that tell each other everything at once, unless they are told not to.
pub(super) struct Rig {
    pub(super) stores: Vec<Store>,
    pub(super) projections: Vec<Projection>,
    pub(super) alive: BTreeSet<NodeId>,
    pub(super) wall_ms: u64,
    /// Everything that was said.
    pub(super) said: Vec<Arc<Envelope>>,
    /// Whether what one says reaches the others.
    pub(super) apart: bool,
}

pub(super) fn keys(node: usize) -> Keypair {
    Keypair::from_secret([u8::try_from(node).unwrap() + 1; 32])
}

pub(super) fn id(node: usize) -> NodeId {
    keys(node).node_id()
}

pub(super) fn namespace() -> ObjectKey {
    ObjectKey::root(&Kind::new("Namespace"), "shop", 1)
}

pub(super) fn api(kind: &str, name: &str) -> ApiRef {
    ApiRef { kind: Kind::new(kind), namespace: "shop".into(), name: name.into() }
}

pub(super) fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": image}]},
    })
}

impl Rig {
    pub(super) fn new(nodes: usize) -> Self {
        let cluster = members::cluster_id(&id(0), &NONCE);
        let memo = Memo::new(MemoLimits::SIMULATOR);
        let keyring = || Keyring::new(EpochId([1; 16]), DataKey::new([1; 32]));
        let identity =
            |n| Identity { keys: keys(n), cluster, boot: 1, nonce: n as u64, layout_version: 1, keyring: keyring() };
        let mut rig = Rig {
            stores: (0..nodes).map(|n| Store::new(identity(n), memo.clone())).collect(),
            projections: (0..nodes).map(|_| Projection::default()).collect(),
            alive: (0..nodes).map(id).collect(),
            wall_ms: 1_750_000_000_000,
            said: Vec::new(),
            apart: false,
        };
        let now = rig.now();
        let founding = rig.stores[0].found(now, NONCE, "n0");
        rig.tell(0, founding);
        for n in 1..nodes {
            let admission = rig.stores[0].admit(now, id(n), &format!("n{n}"), [1; 32]);
            rig.tell(0, admission);
        }
        rig.edit(0, &namespace(), &[Edit::set("metadata.labels.team", Scalar::str("a"))]);
        rig
    }

    pub(super) fn now(&self) -> Now {
        Now { mono: skein_gossip::Instant::from_millis(self.wall_ms), wall_ms: self.wall_ms }
    }

    fn tell(&mut self, by: usize, envelope: Arc<Envelope>) {
        let now = self.now();
        if !self.apart {
            for (n, store) in self.stores.iter_mut().enumerate().filter(|(n, _)| *n != by) {
                let received = store.receive(now, &envelope);
                assert!(!format!("{received:?}").contains("Refused"), "{n}: {received:?}");
            }
        }
        self.said.push(envelope);
    }

    /// All that was said reaches all, in an order that `turn` picks.
    pub(super) fn meet(&mut self, turn: usize) {
        self.apart = false;
        let (now, mut said) = (self.now(), self.said.clone());
        let by = turn % said.len().max(1);
        said.rotate_left(by);
        // What came before what it was built on is taken the second time.
        for envelope in said.iter().chain(&said).chain(&said) {
            self.stores.iter_mut().for_each(|store| drop(store.receive(now, envelope)));
        }
    }

    pub(super) fn edit(&mut self, by: usize, key: &ObjectKey, edits: &[Edit]) {
        self.edit_as(by, key, edits, "test");
    }

    /// Edits as somebody, with some tool.
    pub(super) fn edit_as(&mut self, by: usize, key: &ObjectKey, edits: &[Edit], message: &str) {
        self.wall_ms += 1;
        let now = self.now();
        for envelope in self.stores[by].edit(now, key, edits, message).unwrap_or_default() {
            self.tell(by, envelope);
        }
    }

    /// Writes a whole object.
    pub(super) fn put(&mut self, key: &ObjectKey, json: &Value) {
        let kind = key.kind().clone();
        let patterns = ["spec.containers", "spec.template.spec.containers"];
        let layout = Layout::new(1, patterns.map(|pattern| (kind.clone(), pattern, &["name"][..])));
        let empty = std::collections::BTreeMap::new();
        let old = self.stores[0].object(key).map_or(&empty, |object| object.leaves());
        let leaves = layout.flatten(&kind, json, old).unwrap();
        let edits: Vec<Edit> = leaves.into_iter().map(|(path, value)| Edit { path, value: Some(value) }).collect();
        self.edit(0, key, &edits);
    }

    pub(super) fn delete(&mut self, by: usize, key: &ObjectKey) {
        self.wall_ms += 1;
        let now = self.now();
        if let Some(envelope) = self.stores[by].delete(now, key) {
            self.tell(by, envelope);
        }
    }

    pub(super) fn report(&mut self, by: usize, section: &str, body: &[u8]) {
        self.wall_ms += 1;
        let now = self.now();
        if let Some(envelope) = self.stores[by].set_report(now, section, body).unwrap() {
            self.tell(by, envelope);
        }
    }

    pub(super) fn report_node(&mut self, n: usize) {
        let status = NodeStatus { name: format!("host-{n}"), address: format!("10.0.0.{n}"), ..NodeStatus::default() };
        self.report(n, "node", &postcard::to_stdvec(&status).unwrap());
    }

    /// The Deployment `web` with a ReplicaSet of its template; the ReplicaSet's key.
    pub(super) fn deployment(&mut self, image: &str, replicas: u32) -> ObjectKey {
        let web = namespace().child(&Kind::new("Deployment.apps"), "web", 1);
        let spec =
            json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(image)});
        self.put(&web, &json!({"spec": spec}));
        self.replica_set(&web, image)
    }

    pub(super) fn replica_set(&mut self, owner: &ObjectKey, image: &str) -> ObjectKey {
        // Reading the Deployment back gives the template as the leader sees it.
        let json = self.stores[0].object(owner).unwrap().to_json();
        let hash = template_hash(json.pointer("/spec/template").unwrap());
        let set = owner.child(&Kind::new("ReplicaSet.apps"), &format!("web-{hash}"), 1);
        let metadata = json!({
            "labels": {"app": "web", "pod-template-hash": hash},
            "annotations": {"deployment.kubernetes.io/revision": "1"},
        });
        self.put(&set, &json!({"metadata": metadata, "spec": {"template": template(image)}}));
        set
    }

    /// Places a pod into a slot; its write.
    pub(super) fn place(&mut self, by: usize, slot: &ObjectKey, node: Option<usize>) -> WriteId {
        let placement = Placement { node: node.map(id), displaces: None, again: false };
        let text = serde_json::to_string(&placement).unwrap();
        self.edit(by, slot, &[Edit::set(PLACEMENT_LEAF, Scalar::Json(text.into()))]);
        self.stores[by].object(slot).unwrap().leaf(PLACEMENT_LEAF).unwrap().write
    }

    /// Node `n` says of a pod that it runs and whether it is ready.
    pub(super) fn report_pod(&mut self, n: usize, slot: &ObjectKey, write: &WriteId, ready: bool) {
        let state = ContainerPhase::Running { started_at_ms: self.wall_ms };
        let container = ContainerStatus {
            name: "main".into(),
            state,
            ready,
            started: true,
            image: "i".into(),
            ..ContainerStatus::default()
        };
        let status = PodStatus {
            slot: slot.to_string(),
            write: write.to_string(),
            phase: Phase::Running,
            ready,
            ready_changed_ms: self.wall_ms,
            ip: "10.1.0.9".into(),
            started_at_ms: self.wall_ms,
            containers: vec![container],
            ..PodStatus::default()
        };
        self.report_status(n, slot, write, &status);
    }

    pub(super) fn report_status(&mut self, n: usize, slot: &ObjectKey, write: &WriteId, status: &PodStatus) {
        let uid = pod_uid(&self.stores[0].cluster(), slot, write);
        self.report(n, &format!("pod/{uid}"), &postcard::to_stdvec(status).unwrap());
    }

    pub(super) fn forget_pod(&mut self, n: usize, slot: &ObjectKey, write: &WriteId) {
        let uid = pod_uid(&self.stores[0].cluster(), slot, write);
        self.report(n, &format!("pod/{uid}"), &[]);
    }

    pub(super) fn pod(&self, slot: &ObjectKey, write: &WriteId) -> ApiRef {
        api("Pod", &pod_name(&self.stores[0].cluster(), slot, write))
    }

    /// What became different at one node.
    pub(super) fn refresh(&mut self, n: usize) -> Vec<ProjectedChange> {
        let changes = self.stores[n].drain_changes();
        let (store, wall_ms) = (&self.stores[n], self.wall_ms);
        let sources = Sources { store, alive: &self.alive, wall_ms, ca_certificate: CERTIFICATE };
        self.projections[n].refresh(&sources, &changes)
    }

    /// An object as node 0 shows it, with all that happened.
    pub(super) fn see(&mut self, object: &ApiRef) -> Option<Value> {
        self.refresh(0);
        self.projections[0].get(object).map(|rendered| (*rendered.value).clone())
    }

    pub(super) fn rebuilt(&self, n: usize) -> Projection {
        let mut projection = Projection::default();
        let (store, wall_ms) = (&self.stores[n], self.wall_ms);
        projection.rebuild(&Sources { store, alive: &self.alive, wall_ms, ca_certificate: CERTIFICATE });
        projection
    }
}

pub(super) fn slot(set: &ObjectKey, n: u32) -> ObjectKey {
    set.child(&Kind::new(SLOT_KIND), &n.to_string(), 1)
}
