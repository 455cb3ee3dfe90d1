//! What strangers are told, and when.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use skein_crdt_state::keyring::{DataKey, EpochId, Keyring};
use skein_crdt_state::memo::MemoLimits;
use skein_crdt_state::{ClusterId, Edit, Layout, Memo, Operation, Scalar, members};
use skein_gossip::{Instant, Keypair};

use super::*;
use crate::node::{Input, NodeConfig, TOKEN_KIND};
use crate::request::{Durability, WriteRequest};

const NONCE: [u8; 32] = [7; 32];
const WALL_MS: u64 = 1_790_000_000_000;
const TOKEN: [u8; 32] = [9; 32];

fn now(ms: u64) -> Now {
    Now { mono: Instant::ZERO + Duration::from_millis(ms), wall_ms: WALL_MS + ms }
}

fn keys(n: u16) -> Keypair {
    let mut secret = [1; 32];
    secret[..2].copy_from_slice(&n.to_be_bytes());
    Keypair::from_secret(secret)
}

fn cluster() -> ClusterId {
    members::cluster_id(&keys(0).node_id(), &NONCE)
}

fn config(n: u16) -> NodeConfig {
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
struct Host {
    node: Node,
    batches: Vec<u64>,
    answers: Vec<Result<Vec<Arc<Envelope>>, AdmissionError>>,
}

impl Host {
    fn start(n: u16, rows: Vec<(String, Vec<u8>, Vec<u8>)>) -> Self {
        let (node, damaged) = Node::start(config(n), now(0), rows).unwrap();
        assert_eq!(damaged, []);
        let mut host = Host { node, batches: Vec::new(), answers: Vec::new() };
        host.hear();
        host
    }

    /// A founder with a token for so many.
    fn founder(uses: i64, role: &str) -> Self {
        let mut host = Host::start(0, Vec::new());
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

    fn input(&mut self, input: Input) {
        self.node.handle(now(0), input);
        self.hear();
    }

    fn hear(&mut self) {
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Persist { batch, .. } => self.batches.push(batch),
                Effect::Admitted(_, answer) => self.answers.push(answer),
                _ => {}
            }
        }
    }

    fn write_down(&mut self) {
        while !self.batches.is_empty() {
            let batch = self.batches.remove(0);
            self.input(Input::Persisted(batch));
        }
    }

    /// There is a link, and what this one has to say arrives.
    fn speak_to(&mut self, peer: &mut Host) {
        self.node.handle(now(0), Input::LinkUp(peer.node.me()));
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Send { bytes, .. } => peer.node.handle(now(0), Input::Frame { from: self.node.me(), bytes }),
                Effect::Persist { batch, .. } => self.node.handle(now(0), Input::Persisted(batch)),
                _ => {}
            }
        }
    }

    fn ask(&mut self, of: u16, name: &str, token: [u8; 32]) {
        let request = AdmissionRequest { node: keys(of).node_id(), name: name.into(), token };
        self.input(Input::Admit(u64::from(of), request));
    }

    /// What one who asks is told once the disk is done.
    fn answer(&mut self, of: u16, name: &str, token: [u8; 32]) -> Result<Vec<Arc<Envelope>>, AdmissionError> {
        self.ask(of, name, token);
        self.write_down();
        self.answers.pop().unwrap()
    }
}

#[test]
fn nobody_is_told_that_it_was_admitted_before_that_is_on_disk() {
    let mut host = Host::founder(9, "member");
    host.ask(1, "n1", TOKEN);
    assert!(host.answers.is_empty() && !host.batches.is_empty());
    host.write_down();
    assert!(host.answers.pop().unwrap().is_ok());
}

#[test]
fn a_node_whose_disk_refuses_admits_nobody_and_a_refused_admission_is_told() {
    let mut host = Host::founder(9, "member");
    host.ask(1, "n1", TOKEN);
    let batch = host.batches.remove(0);
    host.input(Input::PersistFailed(batch, "full".into()));
    assert!(matches!(host.answers.pop(), Some(Err(AdmissionError::Unavailable(text))) if text.contains("full")));
    host.ask(2, "n2", TOKEN);
    assert!(matches!(host.answers.pop(), Some(Err(AdmissionError::Unavailable(text))) if text.contains("full")));
    assert!(!host.node.store().members().is_known(&keys(2).node_id()), "nothing was said");
}

#[test]
fn an_admission_waits_for_a_peer_that_answers_and_not_for_long_for_one_that_does_not() {
    let mut host = Host::founder(9, "member");
    let statements = host.answer(1, "n1", TOKEN).unwrap();
    let rows = statements.iter().map(|said| ("members".to_owned(), said.digest().to_vec(), said.encode()));
    let mut peer = Host::start(1, rows.collect());
    peer.write_down();
    for _ in 0..20 {
        host.speak_to(&mut peer);
        peer.speak_to(&mut host);
    }
    assert!(host.node.alive().contains(&peer.node.me()), "they hear each other");
    host.ask(2, "n2", TOKEN);
    host.write_down();
    assert!(host.answers.is_empty(), "the peer has not said that its disk has it");
    host.node.handle(now(600), Input::Timeout);
    host.hear();
    assert!(host.answers.pop().unwrap().is_ok());
}

#[test]
fn who_shows_no_token_that_counts_learns_nothing_of_who_is_here() {
    let mut host = Host::founder(1, "member");
    host.answer(1, "n1", TOKEN).unwrap();
    let node = keys(1).node_id();
    let remove = WriteRequest { op: WriteOp::Remove { node }, ..statement_write(WriteOp::Remove { node }) };
    host.answer(2, "n2", TOKEN).expect_err("it is used up");
    // The founder's name, no name that a node can have, and a name that nobody has.
    for name in ["n0", "No Name", "free"] {
        assert_eq!(host.answer(2, name, [8; 32]), Err(AdmissionError::UnknownToken), "{name}");
        assert_eq!(host.answer(2, name, TOKEN), Err(AdmissionError::UsedUp(1)), "{name}");
    }
    host.input(Input::Write(77, Box::new(remove)));
    assert_eq!(host.answer(1, "n1", [8; 32]), Err(AdmissionError::UnknownToken), "also who was removed");
}

#[test]
fn an_observer_says_that_it_is_one_to_those_alone_who_show_a_token() {
    let mut host = Host::founder(9, "observer");
    let statements = host.answer(1, "n1", TOKEN).unwrap();
    let rows = statements.iter().map(|said| ("members".to_owned(), said.digest().to_vec(), said.encode()));
    let mut observer = Host::start(1, rows.collect());
    assert_eq!(observer.answer(2, "n2", [8; 32]), Err(AdmissionError::UnknownToken));
    assert_eq!(observer.node.client_token(now(0), &[8; 32]), Err(AdmissionError::UnknownToken));
}

#[test]
fn the_thousandth_that_is_admitted_starts_as_a_member_that_knows_all_the_others() {
    let mut host = Host::founder(1000, "member");
    let name = |of: u16| format!("{of:063}");
    (1..1000).for_each(|of| drop(host.answer(of, &name(of), TOKEN).unwrap()));
    let statements = host.answer(1000, &name(1000), TOKEN).unwrap();
    let bytes = postcard::to_stdvec(&statements).unwrap();
    assert!((64 << 10..1 << 20).contains(&bytes.len()), "{}", bytes.len());
    let statements: Vec<Arc<Envelope>> = postcard::from_bytes(&bytes).unwrap();
    let rows = statements.iter().map(|said| ("members".to_owned(), said.digest().to_vec(), said.encode()));
    let newcomer = Host::start(1000, rows.collect());
    let members = newcomer.node.store().members();
    assert!(members.is_active(&newcomer.node.me()));
    assert_eq!(members.active().len(), 1001);
}
