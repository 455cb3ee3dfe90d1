//! Both sides of admission on the wire: what a machine with a token asks, and what a member answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skein_core::request::{AdmissionError, AdmissionRequest};
use skein_crdt_state::{ClusterId, Envelope};
use skein_gossip::NodeId;
use skein_gossip::once::Once;
use skein_net::NetHandle;
use tracing::{info, warn};

use super::clock::Clock;
use super::identity::AddressBook;
use super::keys::Keeper;
use super::token::JoinToken;
use crate::core_handle::CoreHandle;
use crate::metrics::Metrics;
use crate::pki::epochs::Epochs;

/// How often and how long the members of a token are asked before giving up: a member may just be restarting.
const ROUNDS: usize = 5;
const ROUND_PAUSE: Duration = Duration::from_secs(1);
/// What the transport says when a connection leads to another node than the one that was meant.
const WRONG_PEER: &str = "Unexpected peer ID";
/// What is answered to what is no question.
const UNREADABLE: &str = "the question cannot be read; run the same version of skein on both machines";
/// The most peers that an answer names.
const MAX_PEERS: usize = 64;

/// What a machine with a token says to a member.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    cluster: ClusterId,
    secret: [u8; 16],
    name: String,
}

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
    /// A member answered with something that this version does not read.
    #[error("the member's answer cannot be read; run the same version of skein on both machines")]
    Unreadable,
}

/// Asks the members that a token names, one after the other.
pub(crate) async fn join(net: &NetHandle, token: &JoinToken, name: &str) -> Result<Admitted, JoinError> {
    let question = Question { cluster: token.cluster, secret: token.secret, name: name.to_owned() };
    let question = Bytes::from(postcard::to_stdvec(&question).map_err(|_| JoinError::Unreadable)?);
    let mut why = "the token names none".to_owned();
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        for (peer, addresses) in &token.peers {
            match net.admission(*peer, addresses.clone(), question.clone()).await {
                Ok(answer) => return read_answer(&answer, token, *peer),
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
        AdmissionError::Unavailable(text) if text == UNREADABLE => "unreadable",
        _ => "unavailable",
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
}

impl Doorkeeper {
    /// Answers a stranger.
    pub(crate) async fn answer(&self, stranger: NodeId, from: SocketAddr, question: &[u8]) -> Bytes {
        let answer = self.decide(stranger, question).await;
        if let Err(error) = &answer {
            let reason = reason(error);
            self.metrics.admissions_refused.increment(reason);
            // By its address: a stranger has as many names as it likes.
            let key = (from.ip().to_canonical(), reason);
            let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).say(self.clock.now().mono, key);
            if let Some(unsaid) = said {
                warn!(%stranger, %from, reason, %error, unsaid, "a machine was not admitted");
            }
        }
        postcard::to_stdvec(&answer).unwrap_or_default().into()
    }

    async fn decide(&self, stranger: NodeId, question: &[u8]) -> Result<Answer, AdmissionError> {
        let question: Question =
            postcard::from_bytes(question).map_err(|_| AdmissionError::Unavailable(UNREADABLE.into()))?;
        if question.cluster != self.cluster {
            return Err(AdmissionError::ForeignToken(question.cluster.to_string()));
        }
        let token = JoinToken { cluster: question.cluster, secret: question.secret, peers: Vec::new() };
        let request = AdmissionRequest { node: stranger, name: question.name.clone(), token: token.hash() };
        let stopping = |_| AdmissionError::Unavailable("this member is stopping; ask another".into());
        let members = self.core.admit(request).await.map_err(stopping)??;
        info!(%stranger, name = %question.name, "admitted a node");
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner).clone();
        book.insert(self.me, self.addresses.clone());
        Ok(Answer {
            members,
            secrets: self.keeper.epochs().to_short_bytes(),
            peers: book.into_iter().take(MAX_PEERS).collect(),
        })
    }
}
