//! Both sides of admission on the wire: what a machine with a token asks, and what a member answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skein_core::node::{KnownToken, TokenRole};
use skein_core::request::{AdmissionError, AdmissionRequest, Durability, WriteError, WriteOp, WriteRequest};
use skein_crdt_state::{ClusterId, Edit, Envelope, Operation, Scalar};
use skein_gossip::NodeId;
use skein_gossip::once::Once;
use skein_net::NetHandle;
use tracing::{info, warn};

use super::clock::Clock;
use super::identity::AddressBook;
use super::keys::Keeper;
use super::token::JoinToken;
use super::tokens::id_of;
use crate::api::clients;
use crate::api::shell::Shell as ApiShell;
use crate::core_handle::{CoreHandle, Stopped};
use crate::joining::host::Host;
use crate::joining::wire::{self, Question};
use crate::metrics::Metrics;
use crate::pki::epochs::Epochs;

/// How often and how long the members of a token are asked before giving up: a member may just be restarting.
const ROUNDS: usize = 5;
const ROUND_PAUSE: Duration = Duration::from_secs(1);
/// What the transport says when a connection leads to another node than the one that was meant.
const WRONG_PEER: &str = "Unexpected peer ID";
/// What is answered to what is no question.
const UNREADABLE: &str = "the question cannot be read; run the same version of skein on both machines";
/// How often a client's use of a token is tried to be counted while others use it as well.
const CLIENT_TRIES: usize = 8;
/// The role that clients have if their token grants no other: they see all but Secrets.
const DEFAULT_GRANT: &str = "view";
/// The most peers that an answer names.
const MAX_PEERS: usize = 64;

/// What the member answers.
#[derive(Serialize, Deserialize)]
struct Answer {
    members: Vec<Arc<Envelope>>,
    secrets: Vec<u8>,
    peers: Vec<(NodeId, Vec<SocketAddr>)>,
}

/// What a machine has when it is let in.
pub(crate) struct Admitted {
    pub(crate) members: Vec<Arc<Envelope>>,
    pub(crate) epochs: Epochs,
    pub(crate) peers: AddressBook,
}

/// Why a machine did not get in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// A member said no.
    #[error("{0}")]
    Refused(#[from] AdmissionError),
    /// Nobody answered.
    #[error(
        "none of the token's {asked} member(s) can be reached ({why}); check that this machine is on the same network and that they run, or ask for a new token"
    )]
    Unreachable {
        /// How many were asked.
        asked: usize,
        /// What went wrong with the last.
        why: String,
    },
    /// Where the token's member should be is another node.
    #[error("at {} another node answers than the one that made the token: the token is for another cluster, or for one that was given up; ask for a token of the cluster that runs there now", .addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    AnotherNode {
        /// Where it was asked.
        addresses: Vec<SocketAddr>,
    },
    /// The code was not taken.
    #[error("{0}")]
    Code(String),
    /// No member was found that has invited anybody under that number.
    #[error("{0}")]
    NotFound(String),
    /// A member answered with something that this version does not read.
    #[error("the member's answer cannot be read; run the same version of skein on both machines")]
    Unreadable,
}

/// Asks the members that a token names, one after the other.
pub(crate) async fn join(net: &NetHandle, token: &JoinToken, name: &str) -> Result<Admitted, JoinError> {
    let question = Question::Admit { cluster: token.cluster, secret: token.secret, name: name.to_owned() };
    let (peer, answer) = ask(net, token, &question).await?;
    read_answer(&answer, token, peer)
}

/// Asks for a kubeconfig of a user with a token for clients.
pub(crate) async fn become_client(net: &NetHandle, token: &JoinToken, user: &str) -> Result<String, JoinError> {
    let question = Question::Client { cluster: token.cluster, secret: token.secret, user: user.to_owned() };
    let (_, answer) = ask(net, token, &question).await?;
    let answer: Result<String, AdmissionError> = wire::read(&answer).ok_or(JoinError::Unreadable)?;
    Ok(answer?)
}

/// Asks one member after the other until one answers.
async fn ask(net: &NetHandle, token: &JoinToken, question: &Question) -> Result<(NodeId, Bytes), JoinError> {
    let question = Bytes::from(question.encode());
    let mut why = "the token names none".to_owned();
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        for (peer, addresses) in &token.peers {
            match net.admission(*peer, addresses.clone(), question.clone()).await {
                Ok(answer) => return Ok((*peer, answer)),
                Err(error) if error.to_string().contains(WRONG_PEER) => {
                    return Err(JoinError::AnotherNode { addresses: addresses.clone() });
                }
                Err(error) => why = error.to_string(),
            }
        }
    }
    Err(JoinError::Unreachable { asked: token.peers.len(), why })
}

fn read_answer(bytes: &[u8], token: &JoinToken, peer: NodeId) -> Result<Admitted, JoinError> {
    let answer: Result<Answer, AdmissionError> = postcard::from_bytes(bytes).map_err(|_| JoinError::Unreadable)?;
    let answer = answer?;
    let epochs = Epochs::from_bytes(&answer.secrets, "the member's answer").map_err(|_| JoinError::Unreadable)?;
    let mut peers: AddressBook = answer.peers.into_iter().take(MAX_PEERS).collect();
    for (id, addresses) in &token.peers {
        peers.entry(*id).or_insert_with(|| addresses.clone());
    }
    info!(%peer, "admitted");
    Ok(Admitted { members: answer.members, epochs, peers })
}

/// How metrics name why a machine was not admitted.
fn reason(error: &AdmissionError) -> &'static str {
    match error {
        AdmissionError::UnknownToken => "unknown-token",
        AdmissionError::Expired(_) => "expired-token",
        AdmissionError::UsedUp(_) => "used-up-token",
        AdmissionError::ForeignToken(_) => "foreign-token",
        AdmissionError::Removed => "removed-node",
        AdmissionError::Name(_) => "name",
        AdmissionError::Role(_) => "role",
        AdmissionError::Unproved => "unproved",
        AdmissionError::Unavailable(text) if text == UNREADABLE => "unreadable",
        AdmissionError::Unavailable(_) => "unavailable",
    }
}

/// A member's side.
#[derive(Clone)]
pub(crate) struct Doorkeeper {
    pub(crate) cluster: ClusterId,
    pub(crate) core: CoreHandle,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) me: NodeId,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) book: Arc<Mutex<AddressBook>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) said: Arc<Mutex<Once<(IpAddr, &'static str)>>>,
    pub(crate) clock: Clock,
    pub(crate) host: Arc<Host>,
    pub(crate) api: Arc<OnceLock<Arc<ApiShell>>>,
}

impl Doorkeeper {
    /// Answers a stranger.
    pub(crate) async fn answer(&self, stranger: NodeId, from: SocketAddr, question: &[u8]) -> Bytes {
        match Question::decode(question) {
            Some(Question::Admit { cluster, secret, name }) => {
                self.tell(stranger, from, &self.decide(stranger, cluster, secret, name).await)
            }
            Some(Question::Client { cluster, secret, user }) => {
                self.tell(stranger, from, &self.client(stranger, cluster, secret, &user).await)
            }
            Some(Question::Introduce { cluster, said }) => {
                self.tell(stranger, from, &self.acquaint(stranger, cluster, said).await)
            }
            Some(Question::Find { number }) => encode(&self.host.find(number)),
            Some(Question::Begin { number, hello }) => encode(&self.host.begin(stranger, number, &hello)),
            Some(Question::Prove { session, proof }) => encode(&self.host.prove(stranger, session, &proof)),
            None => {
                let error = AdmissionError::Unavailable(UNREADABLE.into());
                self.tell(stranger, from, &Err::<Answer, _>(error))
            }
        }
    }

    /// The answer as it is sent; a refusal is counted.
    fn tell<T: Serialize>(&self, stranger: NodeId, from: SocketAddr, answer: &Result<T, AdmissionError>) -> Bytes {
        if let Err(error) = answer {
            self.refused(stranger, from, error);
        }
        encode(answer)
    }

    /// Counts a refusal, and says it unless the same was said of that address lately.
    fn refused(&self, stranger: NodeId, from: SocketAddr, error: &AdmissionError) {
        let reason = reason(error);
        self.metrics.admissions_refused.increment(reason);
        // By its address: a stranger has as many names as it likes.
        let key = (from.ip().to_canonical(), reason);
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).say(self.clock.now().mono, key);
        if let Some(unsaid) = said {
            warn!(%stranger, %from, reason, %error, unsaid, "a machine was not admitted");
        }
    }

    /// The hash of a token, if it is for this cluster.
    fn token_hash(&self, cluster: ClusterId, secret: [u8; 16]) -> Result<[u8; 32], AdmissionError> {
        if cluster != self.cluster {
            return Err(AdmissionError::ForeignToken(cluster.to_string()));
        }
        Ok(JoinToken { cluster, secret, role: TokenRole::default(), peers: Vec::new() }.hash())
    }

    async fn decide(
        &self,
        stranger: NodeId,
        cluster: ClusterId,
        secret: [u8; 16],
        name: String,
    ) -> Result<Answer, AdmissionError> {
        let token = self.token_hash(cluster, secret)?;
        let request = AdmissionRequest { node: stranger, name: name.clone(), token };
        let members = self.core.admit(request).await.map_err(stopping)??;
        info!(%stranger, %name, "admitted a node");
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner).clone();
        book.insert(self.me, self.addresses.clone());
        Ok(Answer {
            members,
            secrets: self.keeper.epochs().to_short_bytes(),
            peers: book.into_iter().take(MAX_PEERS).collect(),
        })
    }

    /// Looks at what a stranger shows that says it is a member.
    async fn acquaint(
        &self,
        stranger: NodeId,
        cluster: ClusterId,
        said: Vec<Arc<Envelope>>,
    ) -> Result<Vec<Arc<Envelope>>, AdmissionError> {
        if cluster != self.cluster {
            return Err(AdmissionError::Unproved);
        }
        let answer = self.core.acquaint(stranger, said).await.map_err(stopping)??;
        info!(%stranger, is_member = answer.is_empty(), "a node introduced itself");
        Ok(answer)
    }

    /// Lets somebody in who runs no node: uses the token, and makes a kubeconfig.
    async fn client(
        &self,
        stranger: NodeId,
        cluster: ClusterId,
        secret: [u8; 16],
        user: &str,
    ) -> Result<String, AdmissionError> {
        let hash = self.token_hash(cluster, secret)?;
        // Whoever shows no token that counts learns nothing of who is here.
        self.client_token(hash).await?;
        let failed = |why: String| AdmissionError::Unavailable(why);
        let api = self.api.get().ok_or_else(|| failed("this member is just starting; try again".into()))?;
        clients::check(api, user).await.map_err(|status| AdmissionError::Name(status.message))?;
        let grant = self.use_client_token(hash).await?;
        let token = id_of(&hash);
        let guest = clients::Guest { node: stranger, token: &token, user };
        let made = clients::admit(api, guest, &grant).await.map_err(|status| failed(status.message))?;
        info!(%stranger, user, role = %grant, "let a client in");
        Ok(made)
    }

    /// A token for clients that counts now.
    async fn client_token(&self, hash: [u8; 32]) -> Result<KnownToken, AdmissionError> {
        self.core.query(move |node, now| node.client_token(now, &hash)).await.map_err(stopping)?
    }

    /// Counts one use of a token for clients, which is decided by one peer for all; the role that it grants.
    async fn use_client_token(&self, hash: [u8; 32]) -> Result<String, AdmissionError> {
        for _ in 0..CLIENT_TRIES {
            let token = self.client_token(hash).await?;
            let request = WriteRequest {
                op: WriteOp::Edit {
                    key: token.key,
                    edits: vec![Edit::set("spec.clients", Scalar::Int(token.spec.clients.saturating_add(1)))],
                    if_heads: Some(token.heads),
                },
                durability: Durability::One,
                user: "root".into(),
                manager: "skein-token".into(),
                operation: Operation::Update,
                request_id: String::new(),
            };
            match self.core.write(request).await.map_err(stopping)? {
                Ok(_) => return Ok(token.spec.grant.unwrap_or_else(|| DEFAULT_GRANT.to_owned())),
                // Somebody else has used it meanwhile: there may be no use left.
                Err(WriteError::Conflict(_)) => {}
                Err(error) => return Err(AdmissionError::Unavailable(error.to_string())),
            }
        }
        Err(AdmissionError::Unavailable("many clients use the same token now; try again".into()))
    }
}

/// What is answered by a daemon that stops.
fn stopping(_: Stopped) -> AdmissionError {
    AdmissionError::Unavailable("this member is stopping; ask another".into())
}

fn encode(answer: &impl Serialize) -> Bytes {
    postcard::to_stdvec(answer).unwrap_or_default().into()
}
