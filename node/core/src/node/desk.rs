//! A node and its disk, for tests: inputs go in, and what it answers is kept.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skein_crdt_state::keyring::{DataKey, EpochId, Keyring};
use skein_crdt_state::memo::MemoLimits;
use skein_crdt_state::{ClusterId, Edit, Envelope, Kind, Layout, Memo, NameKey, Operation, Scalar, members};
use skein_gossip::{Instant, Keypair, Now};

use super::admission::hex;
use super::{Effect, Input, Node, NodeConfig, TOKEN_KIND, founding_row};
use crate::request::{AdmissionError, AdmissionRequest, Durability, WriteOp, WriteRequest};

pub(super) const NONCE: [u8; 32] = [7; 32];
pub(super) const WALL_MS: u64 = 1_790_000_000_000;
pub(super) const TOKEN: [u8; 32] = [9; 32];

pub(super) fn now(ms: u64) -> Now {
    Now { mono: Instant::ZERO + Duration::from_millis(ms), wall_ms: WALL_MS + ms }
}

pub(super) fn keys(n: u16) -> Keypair {
    let mut secret = [1; 32];
    secret[..2].copy_from_slice(&n.to_be_bytes());
    Keypair::from_secret(secret)
}

pub(super) fn cluster() -> ClusterId {
    members::cluster_id(&keys(0).node_id(), &NONCE)
}

pub(super) fn config(n: u16) -> NodeConfig {
    NodeConfig {
        keys: keys(n),
        cluster: cluster(),
        found: (n == 0).then_some(NONCE),
        name: format!("n{n}"),
        address: "10.0.0.1".into(),
        peer_addresses: Vec::new(),
        api_address: String::new(),
        version: "test".into(),
        labels: BTreeMap::new(),
        seed: u64::from(n) + 1,
        layout: Layout::default(),
        built_in: Vec::new(),
        memo: Memo::new(MemoLimits::DAEMON),
        serves_api: false,
        ca_certificate: String::new(),
        keyring: Keyring::new(EpochId([1; 16]), DataKey::new([1; 32])),
        tenure: Duration::from_secs(600),
        planted: None,
    }
}

/// A node and its disk, which takes what it is given when the test says so.
pub(super) struct Host {
    pub(super) node: Node,
    pub(super) batches: Vec<u64>,
    pub(super) answers: Vec<Result<Vec<Arc<Envelope>>, AdmissionError>>,
}

impl Host {
    pub(super) fn start(n: u16, rows: Vec<(String, Vec<u8>, Vec<u8>)>) -> Self {
        let (node, damaged) = Node::start(config(n), now(0), rows).unwrap();
        assert_eq!(damaged, []);
        let mut host = Host { node, batches: Vec::new(), answers: Vec::new() };
        host.hear();
        host
    }

    /// A founder with a token for so many.
    pub(super) fn founder(uses: i64, role: &str) -> Self {
        let mut host = Host::start(0, vec![founding_row(cluster())]);
        let name = NameKey::root(&Kind::new(TOKEN_KIND), &hex(&TOKEN));
        let edits = vec![
            Edit::set("spec.expiresMs", Scalar::Int(i64::MAX)),
            Edit::set("spec.uses", Scalar::Int(uses)),
            Edit::set("spec.role", Scalar::str(role)),
        ];
        let request = WriteRequest {
            op: WriteOp::Create { name, edits },
            durability: Durability::Local,
            user: "root".into(),
            manager: "test".into(),
            operation: Operation::Update,
            request_id: String::new(),
        };
        host.input(Input::Write(1, Box::new(request)));
        host.write_down();
        host
    }

    pub(super) fn input(&mut self, input: Input) {
        self.node.handle(now(0), input);
        self.hear();
    }

    pub(super) fn hear(&mut self) {
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Persist { batch, .. } => self.batches.push(batch),
                Effect::Admitted(_, answer) => self.answers.push(answer),
                _ => {}
            }
        }
    }

    pub(super) fn write_down(&mut self) {
        while !self.batches.is_empty() {
            let batch = self.batches.remove(0);
            self.input(Input::Persisted(batch));
        }
    }

    /// There is a link, and what this one has to say arrives.
    pub(super) fn speak_to(&mut self, peer: &mut Host) {
        self.node.handle(now(0), Input::LinkUp(peer.node.me()));
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Send { bytes, .. } => peer.node.handle(now(0), Input::Frame { from: self.node.me(), bytes }),
                Effect::Persist { batch, .. } => self.node.handle(now(0), Input::Persisted(batch)),
                _ => {}
            }
        }
    }

    pub(super) fn ask(&mut self, of: u16, name: &str, token: [u8; 32]) {
        let request = AdmissionRequest { node: keys(of).node_id(), name: name.into(), token };
        self.input(Input::Admit(u64::from(of), request));
    }

    /// What one who asks is told once the disk is done.
    pub(super) fn answer(
        &mut self,
        of: u16,
        name: &str,
        token: [u8; 32],
    ) -> Result<Vec<Arc<Envelope>>, AdmissionError> {
        self.ask(of, name, token);
        self.write_down();
        self.answers.pop().unwrap()
    }
}
