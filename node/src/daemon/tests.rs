//! A founder's daemon without a disk, a runtime and an API: what is behind the door that strangers and members knock at.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use skein_core::node::{Effect, Input, Node, NodeConfig, TOKEN_KIND, TokenRole, founding_row};
use skein_core::request::{AdmissionError, AdmissionRequest, Durability, WriteOp, WriteRequest};
use skein_crdt_state::memo::MemoLimits;
use skein_crdt_state::store::tables;
use skein_crdt_state::{
    Body, ClusterId, Edit, Envelope, Hlc, Layout, Memo, NameKey, Operation, Scalar, Sequence, members,
};
use skein_gossip::{Keypair, NodeId};
use skein_net::{NetConfig, NetEvent};
use tokio::sync::mpsc;

use super::admission::{self, Doorkeeper};
use super::backend::{Called, member_called};
use super::clock::Clock;
use super::core_task::Access;
use super::keys::Keeper;
use super::token::JoinToken;
use crate::core_handle::{CoreHandle, ToCore, Waiter};
use crate::joining::host::Host;
use crate::joining::wire::Question;
use crate::pki::epochs::Epochs;
use crate::pki::seal::{Opener, Seal};
use crate::pki::{ClusterSecrets, ServerIdentity};

const NONCE: [u8; 32] = [7; 32];
const FOUNDER: u8 = 1;

pub(super) fn keys(n: u8) -> Keypair {
    Keypair::from_secret([n; 32])
}

pub(super) fn id(n: u8) -> NodeId {
    keys(n).node_id()
}

fn cluster() -> ClusterId {
    members::cluster_id(&id(FOUNDER), &NONCE)
}

fn config(keys: Keypair, name: &str, epochs: &Epochs) -> NodeConfig {
    NodeConfig {
        found: (keys.node_id() == id(FOUNDER)).then_some(NONCE),
        keys,
        cluster: cluster(),
        name: name.into(),
        address: "127.0.0.1".into(),
        peer_addresses: Vec::new(),
        api_address: String::new(),
        version: "test".into(),
        labels: BTreeMap::new(),
        seed: 1,
        layout: Layout::default(),
        built_in: Vec::new(),
        memo: Memo::new(MemoLimits::DAEMON),
        serves_api: false,
        ca_certificate: String::new(),
        keyring: epochs.keyring(),
        tenure: Duration::from_secs(600),
        planted: None,
    }
}

/// A daemon that founded its cluster.
pub(super) struct World {
    pub(super) core: CoreHandle,
    pub(super) keeper: Arc<Keeper>,
    pub(super) door: Doorkeeper,
    events: Mutex<Option<mpsc::Receiver<NetEvent>>>,
    address: std::net::SocketAddr,
    place: tempfile::TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("node");
        std::fs::create_dir(&dir).unwrap();
        let seal = Seal::open(&dir, &Opener::beside(&dir).unwrap()).unwrap();
        let epochs = Epochs::founded(ClusterSecrets::found("home").unwrap());
        let clock = Clock::start();
        let (node, _) =
            Node::start(config(keys(FOUNDER), "n1", &epochs), clock.now(), vec![founding_row(cluster())]).unwrap();
        let (core, receiver) = CoreHandle::new();
        tokio::spawn(serve(node, receiver, core.clone(), clock));
        let net_config = NetConfig::new(keys(FOUNDER), vec!["127.0.0.1:0".parse().unwrap()]);
        let (net, mut events) = skein_net::Net::start(net_config, |_| false).await.unwrap();
        let address = loop {
            if let NetEvent::Listening(address) = events.recv().await.unwrap() {
                break address;
            }
        };
        let identity = Arc::new(ServerIdentity::new(epochs, [], []).unwrap());
        let (me, access) = (id(FOUNDER), Access::default());
        let keeper = Keeper::new(dir, seal, cluster(), me, identity, core.clone(), net, access);
        let keeper = Arc::new(keeper);
        let metrics = Arc::default();
        let (host, _) = Host::new(me, cluster(), Arc::clone(&metrics));
        let door = Doorkeeper {
            cluster: cluster(),
            core: core.clone(),
            keeper: keeper.clone(),
            me,
            addresses: vec![address],
            book: Arc::default(),
            metrics,
            said: Arc::default(),
            clock,
            host,
            api: Arc::new(OnceLock::new()),
        };
        let world = World { core, keeper, door, events: Mutex::new(Some(events)), address, place };
        world.mint(TokenRole::Member, 2000).await;
        world
    }

    pub(super) fn dir(&self) -> std::path::PathBuf {
        self.place.path().join("node")
    }

    /// The token of a role.
    pub(super) fn token(&self, role: TokenRole) -> JoinToken {
        let peers = vec![(id(FOUNDER), vec![self.address])];
        JoinToken { cluster: cluster(), secret: [role as u8; 16], role, peers }
    }

    pub(super) async fn mint(&self, role: TokenRole, uses: i64) {
        let hash: String = self.token(role).hash().iter().map(|byte| format!("{byte:02x}")).collect();
        let edits = vec![
            Edit::set("spec.expiresMs", Scalar::Int(i64::MAX)),
            Edit::set("spec.uses", Scalar::Int(uses)),
            Edit::set("spec.role", Scalar::str(role.as_str())),
        ];
        let request = WriteRequest {
            op: WriteOp::Create { name: NameKey::root(&skein_crdt_state::Kind::new(TOKEN_KIND), &hash), edits },
            durability: Durability::Local,
            user: "root".into(),
            manager: "test".into(),
            operation: Operation::Update,
            request_id: String::new(),
        };
        self.core.write(request).await.unwrap().unwrap();
    }

    pub(super) async fn admit(&self, of: u8, name: &str) -> Result<Vec<Arc<Envelope>>, AdmissionError> {
        let token = self.token(TokenRole::Member).hash();
        self.core.admit(AdmissionRequest { node: id(of), name: name.into(), token }).await.unwrap()
    }

    /// A removal as somebody signs it.
    pub(super) fn removal(&self, by: u8, of: u8) -> Envelope {
        let stamp = Hlc(u64::MAX / 2);
        let body = Body::Removal { node: id(of), stamp, seen: Vec::new() };
        Envelope::seal(&keys(by), &cluster(), Sequence { boot: 1, number: 1 }, &body)
    }
}

/// A core whose disk takes all at once.
async fn serve(mut node: Node, mut receiver: mpsc::Receiver<ToCore>, handle: CoreHandle, clock: Clock) {
    loop {
        while let Some(effect) = node.poll_effect() {
            match effect {
                Effect::Persist { batch, .. } => node.handle(clock.now(), Input::Persisted(batch)),
                Effect::Admitted(id, result) => {
                    if let Some(Waiter::Admit(waiter)) = handle.answer(id) {
                        let _ = waiter.send(result);
                    }
                }
                Effect::Written(id, result) => {
                    if let Some(Waiter::Write(waiter)) = handle.answer(id) {
                        let _ = waiter.send(result);
                    }
                }
                Effect::Rotated(id, result) => {
                    if let Some(Waiter::Rotate(waiter)) = handle.answer(id) {
                        let _ = waiter.send(result);
                    }
                }
                _ => {}
            }
        }
        match receiver.recv().await {
            Some(ToCore::Input(input)) => node.handle(clock.now(), *input),
            Some(ToCore::Query(ask)) => ask(&mut node, clock.now()),
            Some(ToCore::Stop) | None => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_after_a_thousand_others_is_let_in_over_the_wire_and_knows_them() {
    let world = World::new().await;
    for number in 0..1000u16 {
        let mut secret = [9; 32];
        secret[..2].copy_from_slice(&number.to_be_bytes());
        let node = Keypair::from_secret(secret).node_id();
        let token = world.token(TokenRole::Member);
        let question = Question::Admit { cluster: cluster(), secret: token.secret, name: format!("{number:063}") };
        let answer = world.door.answer(node, world.address, &question.encode()).await;
        assert!(answer.len() <= skein_net::MAX_ADMISSION_REPLY, "{}", answer.len());
    }
    let (door, mut events) = (world.door.clone(), world.events.lock().unwrap().take().unwrap());
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let NetEvent::Admission { peer, addr, request, reply } = event {
                let _ = reply.send(door.answer(peer, addr, &request).await);
            }
        }
    });
    let (net, _events) = skein_net::Net::start(NetConfig::new(keys(2), Vec::new()), |_| false).await.unwrap();
    let admitted = admission::join(&net, &world.token(TokenRole::Member), "n2").await.unwrap();
    let row = |said: &Arc<Envelope>| (tables::MEMBERS.to_owned(), said.digest().to_vec(), said.encode());
    let rows = admitted.members.iter().map(row).collect();
    let (node, damaged) = Node::start(config(keys(2), "n2", &admitted.epochs), Clock::start().now(), rows).unwrap();
    assert_eq!(damaged, []);
    assert!(node.store().members().is_active(&id(2)));
    assert_eq!(node.store().members().active().len(), 1002);
}

#[tokio::test]
async fn a_node_that_was_removed_is_known_by_its_name_and_so_is_whether_it_knows_the_keys() {
    let world = World::new().await;
    for of in [2, 3] {
        world.admit(of, &format!("n{of}")).await.unwrap();
    }
    let called = async |text: &'static str| world.core.query(move |node, _| member_called(node, text)).await.unwrap();
    let name = || "n2".to_owned();
    assert_eq!(called("n2").await, Ok(Called { id: id(2), name: name(), removed: None }));
    let request = WriteRequest {
        op: WriteOp::Remove { node: id(2) },
        durability: Durability::Local,
        user: "root".into(),
        manager: "test".into(),
        operation: Operation::Update,
        request_id: String::new(),
    };
    world.core.write(request).await.unwrap().unwrap();
    assert_eq!(called("n2").await, Ok(Called { id: id(2), name: name(), removed: Some(true) }));
    world.keeper.rotate(Duration::ZERO).await.unwrap();
    assert_eq!(called("n2").await, Ok(Called { id: id(2), name: name(), removed: Some(false) }));
    // A new node of the name is meant before the one that is out.
    world.admit(4, "n2").await.unwrap();
    assert_eq!(called("n2").await, Ok(Called { id: id(4), name: name(), removed: None }));
    assert!(called("n9").await.is_err());
}

#[tokio::test]
async fn whoever_wants_to_be_a_client_is_asked_for_the_token_before_anything_else() {
    let world = World::new().await;
    let ask = async |secret: [u8; 16]| {
        let question = Question::Client { cluster: cluster(), secret, user: "alice".into() };
        let answer = world.door.answer(id(9), world.address, &question.encode()).await;
        postcard::from_bytes::<Result<String, AdmissionError>>(&answer).unwrap().unwrap_err()
    };
    assert_eq!(ask([8; 16]).await, AdmissionError::UnknownToken);
    world.mint(TokenRole::Client, 1).await;
    let error = ask(world.token(TokenRole::Client).secret).await;
    assert!(matches!(&error, AdmissionError::Unavailable(why) if why.contains("starting")), "{error}");
}
