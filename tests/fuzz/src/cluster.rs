//! A small cluster in one process: valid frames, words and records to begin with, and nodes to give hostile ones to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use skein_core::node::{Effect, Input, Node, NodeConfig, TOKEN_KIND, founding_row};
use skein_core::request::{AdmissionRequest, Durability, WriteOp, WriteRequest};
use skein_crdt_state::keyring::{DataKey, EpochId, Keyring};
use skein_crdt_state::memo::MemoLimits;
use skein_crdt_state::{ClusterId, Edit, Envelope, Kind, Memo, NameKey, ObjectKey, Operation, Record, Scalar, members};
use skein_gossip::{Instant, Keypair, NodeId, Now};

/// How many nodes.
pub const NODES: usize = 3;
const NONCE: [u8; 32] = [7; 32];
const TOKEN: [u8; 32] = [9; 32];
/// What no record and no frame may hold: each node writes it into a Secret.
const CANARY: &str = "canary-in-a-coal-mine-";
const WALL_MS: u64 = 1_790_000_000_000;
/// The most effects that are carried out one after another; a cluster that is never quiet is a mistake.
const MAX_STEPS: usize = 200_000;

/// What a disk holds: (table, key) -> value.
pub type Rows = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// The cluster.
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// What their disks hold.
    pub disks: Vec<Rows>,
    /// All frames that went from one to another.
    pub frames: Vec<(usize, usize, Arc<[u8]>)>,
    /// What the last that was admitted was told.
    told: Vec<Arc<Envelope>>,
    now_ms: u64,
    next_request: u64,
}

/// A node's key. To make one costs more than most inputs do.
#[must_use]
pub fn keys(number: usize) -> Keypair {
    static MADE: [OnceLock<Keypair>; NODES] = [const { OnceLock::new() }; NODES];
    MADE[number % NODES].get_or_init(|| Keypair::from_secret([u8::try_from(number + 1).unwrap_or(1); 32])).clone()
}

/// The cluster's id.
#[must_use]
pub fn cluster_id() -> ClusterId {
    members::cluster_id(&keys(0).node_id(), &NONCE)
}

impl Cluster {
    /// Nodes that know each other, with some objects.
    #[must_use]
    pub fn formed() -> Self {
        let mut cluster = Cluster {
            nodes: Vec::new(),
            disks: Vec::new(),
            frames: Vec::new(),
            told: Vec::new(),
            now_ms: 10_000,
            next_request: 0,
        };
        let (table, key, value) = founding_row(cluster_id());
        cluster.boot(0, [((table, key), value)].into());
        let name = NameKey::root(&Kind::new(TOKEN_KIND), &"09".repeat(32));
        let edits = vec![Edit::set("spec.expiresMs", Scalar::Int(i64::MAX)), Edit::set("spec.uses", Scalar::Int(99))];
        cluster.write(0, WriteOp::Create { name, edits });
        for number in 1..NODES {
            cluster.next_request += 1;
            let request = AdmissionRequest { node: keys(number).node_id(), name: format!("n{number}"), token: TOKEN };
            let rows = cluster.admitted(cluster.next_request, request);
            cluster.boot(number, rows);
        }
        for (from, to) in pairs() {
            let peer = cluster.nodes[to].me();
            cluster.input(from, Input::LinkUp(peer));
        }
        cluster.pass(3_000);
        cluster.fill();
        cluster.pass(3_000);
        cluster
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { mono: Instant::ZERO + Duration::from_millis(self.now_ms), wall_ms: WALL_MS + self.now_ms }
    }

    /// Gives a node an input and lets everything follow that comes of it.
    pub fn input(&mut self, number: usize, input: Input) {
        let now = self.now();
        self.nodes[number].handle(now, input);
        self.settle(number);
    }

    /// Lets time pass, a tenth of a second at once.
    pub fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now_ms += 100;
            for number in 0..self.nodes.len() {
                self.input(number, Input::Timeout);
            }
        }
    }

    /// What a node's disk holds, as a start reads it.
    #[must_use]
    pub fn rows(&self, number: usize) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        self.disks[number].iter().map(|((table, key), value)| (table.clone(), key.clone(), value.clone())).collect()
    }

    fn boot(&mut self, number: usize, rows: Rows) {
        let listed = rows.iter().map(|((table, key), value)| (table.clone(), key.clone(), value.clone())).collect();
        // A sound disk is read.
        if let Ok((node, _)) = Node::start(config(number), self.now(), listed) {
            self.nodes.push(node);
            self.disks.push(rows);
            self.settle(number);
        }
    }

    /// The disk of a node that was just admitted.
    fn admitted(&mut self, id: u64, request: AdmissionRequest) -> Rows {
        self.input(0, Input::Admit(id, request));
        // A peer that has no link yet cannot say that it has the admission.
        self.pass(1_000);
        let key = |said: &Envelope| ("members".to_owned(), said.digest().to_vec());
        std::mem::take(&mut self.told).iter().map(|said| (key(said), said.encode())).collect()
    }

    fn write(&mut self, number: usize, op: WriteOp) {
        self.next_request += 1;
        let request = WriteRequest {
            op,
            durability: Durability::One,
            user: "user".into(),
            manager: "fuzz".into(),
            operation: Operation::Update,
            request_id: self.next_request.to_string(),
        };
        self.input(number, Input::Write(self.next_request, Box::new(request)));
    }

    fn fill(&mut self) {
        let namespace = NameKey::root(&Kind::new("Namespace"), "default").life(1);
        for number in 0..NODES {
            let name = namespace.name_of_child(&Kind::new("ConfigMap"), &format!("c{number}"));
            let edits =
                vec![Edit::set("data.a", Scalar::str("x")), Edit::set("data.b", Scalar::Aside("secret".into()))];
            self.write(number, WriteOp::Create { name: name.clone(), edits });
            let key = name.life(1);
            let heads = self.nodes[number].store().object(&key).map(|object| object.heads().to_vec());
            let edits = vec![Edit::set("data.a", Scalar::str("y"))];
            self.write(number, WriteOp::Edit { key: key.clone(), edits, if_heads: heads });
            let lock = namespace.name_of_child(&Kind::new("Lease.coordination.k8s.io"), "lock");
            self.write(
                number,
                WriteOp::Create { name: lock, edits: vec![Edit::set("spec.holderIdentity", Scalar::str("me"))] },
            );
            self.write(number, WriteOp::Delete { key, if_heads: None });
        }
        self.keep_a_secret(&namespace);
        self.input(2, Input::Rotate(1 << 40, EpochId([2; 16]), 0));
        let web = namespace.name_of_child(&Kind::new("Deployment.apps"), "web");
        let template = r#"spec.template.spec.containers[name="main"]"#;
        let edits = vec![
            Edit::set("spec.replicas", Scalar::Int(3)),
            Edit::set(&format!("{template}.image"), Scalar::str("image:1")),
            Edit::set(&format!("{template}.name"), Scalar::str("main")),
        ];
        self.write(1, WriteOp::Create { name: web, edits });
    }

    /// Creates a Secret as `kubectl apply` does, and edits it at every node by what each has seen.
    fn keep_a_secret(&mut self, namespace: &ObjectKey) {
        let layout = skein_kube::schema::layout();
        let name = namespace.name_of_child(&Kind::new("Secret"), "login");
        for number in 0..NODES {
            let text = format!("{CANARY}{number}");
            let last = serde_json::json!({"data": {"password": text}, "kind": "Secret"}).to_string();
            let object = serde_json::json!({
                "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": last}},
                "data": {"password": text},
            });
            let leaves = layout.flatten(&Kind::new("Secret"), &object, &BTreeMap::new()).unwrap_or_default();
            let edits = leaves.into_iter().map(|(path, value)| Edit { path, value: Some(value) }).collect();
            let key = name.life(1);
            let heads = self.nodes[number].store().object(&key).map(|object| object.heads().to_vec());
            let op = match heads {
                Some(heads) => WriteOp::Edit { key, edits, if_heads: Some(heads) },
                None => WriteOp::Create { name: name.clone(), edits },
            };
            self.write(number, op);
        }
    }

    fn settle(&mut self, number: usize) {
        let mut queue: VecDeque<(usize, Input)> = VecDeque::new();
        let mut open = vec![number];
        for _ in 0..MAX_STEPS {
            while let Some(number) = open.pop() {
                while let Some(effect) = self.nodes[number].poll_effect() {
                    self.effect(number, effect, &mut queue);
                }
            }
            let Some((to, input)) = queue.pop_front() else { return };
            let now = self.now();
            if let Some(node) = self.nodes.get_mut(to) {
                node.handle(now, input);
                open.push(to);
            }
        }
    }

    fn effect(&mut self, number: usize, effect: Effect, queue: &mut VecDeque<(usize, Input)>) {
        match effect {
            Effect::Send { to, bytes, .. } => {
                let Some(to) = (0..NODES).find(|number| keys(*number).node_id() == to) else { return };
                self.frames.push((number, to, bytes.clone()));
                queue.push_back((to, Input::Frame { from: keys(number).node_id(), bytes }));
            }
            Effect::Persist { batch, records, .. } => {
                self.persist(number, &records);
                queue.push_back((number, Input::Persisted(batch)));
            }
            Effect::Admitted(_, Ok(statements)) => self.told = statements,
            _ => {}
        }
    }

    fn persist(&mut self, number: usize, records: &[Record]) {
        while self.disks.len() <= number {
            self.disks.push(Rows::new());
        }
        for record in records {
            let key = (record.table.to_owned(), record.key.to_vec());
            match &record.value {
                Some(value) => drop(self.disks[number].insert(key, value.to_vec())),
                None => drop(self.disks[number].remove(&key)),
            }
        }
    }
}

/// What a node is told once.
#[must_use]
pub fn config(number: usize) -> NodeConfig {
    NodeConfig {
        keys: keys(number),
        cluster: cluster_id(),
        found: (number == 0).then_some(NONCE),
        name: format!("n{number}"),
        address: format!("10.0.0.{number}"),
        peer_addresses: vec![format!("10.0.0.{number}:7311")],
        api_address: format!("10.0.0.{number}:7443"),
        version: "fuzz".into(),
        labels: BTreeMap::new(),
        seed: number as u64 + 1,
        layout: skein_kube::schema::layout(),
        memo: Memo::new(MemoLimits::DAEMON),
        serves_api: true,
        built_in: Vec::new(),
        ca_certificate: String::new(),
        keyring: keyring(),
        tenure: Duration::from_secs(600),
        planted: None,
    }
}

/// The keys that every node holds.
#[must_use]
pub fn keyring() -> Keyring {
    let mut keyring = Keyring::new(EpochId([1; 16]), DataKey::new([1; 32]));
    // Two are fewer than a keyring holds.
    let _ = keyring.insert(EpochId([2; 16]), DataKey::new([2; 32]));
    keyring
}

/// A node's id.
#[must_use]
pub fn id(number: usize) -> NodeId {
    keys(number).node_id()
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to))).filter(|(from, to)| from != to)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_cluster_forms_agrees_and_says_enough_to_begin_with() {
        let cluster = Cluster::formed();
        assert_eq!(cluster.nodes.len(), NODES);
        let hashes: Vec<_> = cluster.nodes.iter().map(|node| node.store().state_hash()).collect();
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "they do not agree");
        assert!(cluster.nodes.iter().all(|node| node.alive().len() == NODES && node.leadership().quorate));
        assert!(cluster.frames.len() > 200 && cluster.disks.iter().all(|disk| disk.len() > 10));
        assert!(cluster.nodes.iter().all(|node| node.store().current_epoch() == EpochId([2; 16])));
    }

    #[test]
    fn a_secret_stands_in_clear_in_no_record_and_in_no_frame() {
        let cluster = Cluster::formed();
        let key = NameKey::root(&Kind::new("Namespace"), "default").life(1);
        let key = key.name_of_child(&Kind::new("Secret"), "login").life(1);
        let last = format!("{CANARY}{}", NODES - 1);
        for node in &cluster.nodes {
            let object = node.store().object(&key).unwrap();
            assert_eq!(node.store().json_of(object)["data"]["password"], last.as_str());
        }
        let holds = |bytes: &[u8]| bytes.windows(CANARY.len()).any(|found| found == CANARY.as_bytes());
        let row = cluster.disks.iter().flatten().find(|((_, key), value)| holds(key) || holds(value));
        assert_eq!(row.map(|((table, _), _)| table), None);
        let frame = cluster.frames.iter().find(|(_, _, bytes)| holds(bytes));
        assert_eq!(frame.map(|(_, _, bytes)| bytes.first()), None);
    }
}
