//! One node, whole: inputs enter through [`Node::handle`], effects leave through [`Node::poll_effect`].
//!
//! What the parts decide does not live here: each is a machine of its own, and `route.rs` carries what one says to the
//! others. The same code runs in the daemon and in the simulator.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skein_crdt_state::exchange::Exchange;
use skein_crdt_state::keyring::{EpochId, Keyring};
use skein_crdt_state::rotations::Rotation;
use skein_crdt_state::store::Damaged;
use skein_crdt_state::{ClusterId, Envelope, Layout, Memo, NameKey, Record, Store, WriteId};
use skein_gossip::membership::Membership;
use skein_gossip::{Instant, Keypair, NodeId, Now, Offence, Rng, Timers, planted, random};

use crate::agent::Agent;
use crate::controllers::Notes;
use crate::election::{Election, Leadership, SetVersion};
use crate::project::{ProjectedChange, Projection};
use crate::request::{
    AdmissionError, AdmissionRequest, LeaveError, RequestId, RotateError, WriteError, WriteReply, WriteRequest,
};
use crate::runtime::{RuntimeAction, RuntimeEvent};
use crate::slot::Claims;
use crate::status::{Events, NodeStatus};
use crate::view::ViewCache;

mod admission;
mod catch_up;
mod credentials;
mod decision;
mod departure;
#[cfg(test)]
mod desk;
mod disk;
mod durability;
mod handover;
mod inspect;
mod introduction;
mod keys;
mod lead;
mod meta;
mod own;
mod pods;
mod reach;
mod rebirth;
mod route;
mod spread;
mod start;
mod token;

pub use credentials::{MAX_CREDENTIALS_BYTES, MAX_INTRODUCTION, MAX_REMOVALS_BYTES, credentials, removals};
pub use durability::MAX_PENDING_WRITES;
pub use inspect::{Inspected, inspect, push_frame, question_frame};
pub use meta::{founding_record, founding_row, is_founding_row, read_vote};
pub use start::StartError;
pub use token::{KnownToken, TOKEN_KIND, TokenRole, TokenSpec};

/// The largest control frame, in bytes; what is longer goes by the bulk lane.
pub const MAX_CONTROL_BYTES: usize = 16 * 1024;

/// Which of a connection's lanes a frame takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Small and urgent: probes, votes, acknowledgements, single writes.
    Control,
    /// Catching up.
    Bulk,
}

/// What a node is told once.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Its key.
    pub keys: Keypair,
    /// Its cluster.
    pub cluster: ClusterId,
    /// What the id of that cluster was made of, on its founder. It founds it if its disk holds [`founding_record`] and nothing else
    /// of how it stands, or a vote that counts and nobody who belongs to the cluster.
    pub found: Option<[u8; 32]>,
    /// What it is called.
    pub name: String,
    /// Where peers and users reach it, without port.
    pub address: String,
    /// Where peers connect to it, with ports.
    pub peer_addresses: Vec<String>,
    /// Where users reach its API, with port.
    pub api_address: String,
    /// The daemon's version.
    pub version: String,
    /// Labels that it gives itself.
    pub labels: BTreeMap<String, String>,
    /// Seeds all its random choices.
    pub seed: u64,
    /// How objects become leaves.
    pub layout: Layout,
    /// Objects in no namespace that every cluster has without anybody writing them, as clients see them.
    pub built_in: Vec<serde_json::Value>,
    /// Where merges are remembered.
    pub memo: Memo,
    /// Whether to keep the API's objects rendered.
    pub serves_api: bool,
    /// What clients trust the API by, as PEM: each namespace has it in a ConfigMap. Empty: there is none.
    pub ca_certificate: String,
    /// The keys that values are sealed with, as far as they are here.
    pub keyring: Keyring,
    /// How long one leader stays at the front.
    pub tenure: Duration,
    /// Which rule it breaks, in builds that can; the daemon's cannot.
    pub planted: Option<planted::Bug>,
}

/// What happens to a node.
#[derive(Debug)]
pub enum Input {
    /// A connection to a member stands.
    LinkUp(NodeId),
    /// The last connection to a member is gone.
    LinkDown(NodeId),
    /// A frame of a member's.
    Frame {
        /// Who sent it, as the connection has proved.
        from: NodeId,
        /// What it holds.
        bytes: Arc<[u8]>,
    },
    /// The API wants something written.
    Write(RequestId, Box<WriteRequest>),
    /// A stranger wants in.
    Admit(RequestId, AdmissionRequest),
    /// A peer refuses a connection of this node's: it does not take it for a member.
    Unwelcome(NodeId),
    /// A stranger shows what makes it a member.
    Introduced {
        /// Takes the answer.
        id: RequestId,
        /// Who, as the connection has proved.
        stranger: NodeId,
        /// What it shows.
        said: Vec<Arc<Envelope>>,
    },
    /// What a peer answers to whom this node introduced itself: why it is no member.
    Acquainted {
        /// The peer, as the connection has proved.
        peer: NodeId,
        /// What it says.
        said: Vec<Arc<Envelope>>,
    },
    /// The user wants this node to leave the cluster for good.
    Leave(RequestId),
    /// The shell holds these keys now, and clients trust the API by this authority, as PEM.
    Keys {
        /// The keys.
        keyring: Keyring,
        /// See [`NodeConfig::ca_certificate`].
        ca_certificate: String,
    },
    /// The user wants the cluster's secrets to be those of this epoch from now on, whose key is in the keyring. What earlier
    /// epochs gave out counts until then, milliseconds since the Unix epoch.
    Rotate(RequestId, EpochId, u64),
    /// The container runtime says something.
    Runtime(RuntimeEvent),
    /// What signs the tokens of accounts is another one now: all that this node's pods have are signed anew.
    SignAnew,
    /// All records up to this batch are on disk.
    Persisted(u64),
    /// The disk refused this batch, and refuses all that follow until one asks again.
    PersistFailed(u64, String),
    /// The deadline has come.
    Timeout,
}

/// What a node asks for.
#[derive(Debug)]
pub enum Effect {
    /// Send a frame. It may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// How.
        lane: Lane,
        /// The frame.
        bytes: Arc<[u8]>,
        /// The batch that must be on disk before it leaves, since it promises what is in there.
        after: Option<u64>,
    },
    /// Write records, all or none, and make them durable; then [`Input::Persisted`]. Batches come in rising order. After a
    /// refusal ([`Input::PersistFailed`]) the disk must refuse whatever comes, until a batch asks again: that one holds all
    /// that was refused.
    Persist {
        /// Names the batch.
        batch: u64,
        /// What to write.
        records: Arc<[Record]>,
        /// Whether it asks a disk that has refused.
        again: bool,
    },
    /// Ask the container runtime for something.
    Act(RuntimeAction),
    /// A write was done or not.
    Written(RequestId, Result<WriteReply, WriteError>),
    /// A stranger was admitted or not: the statements by which it can prove it.
    Admitted(RequestId, Result<Vec<Arc<Envelope>>, AdmissionError>),
    /// Show a peer what makes this node a member, by the way that is open to strangers; then [`Input::Acquainted`]. It may be lost.
    Introduce {
        /// Whom.
        to: NodeId,
        /// What makes it one.
        said: Vec<Arc<Envelope>>,
    },
    /// The answer to a stranger that has shown what makes it a member: why it is none, or nothing if it is one. Or it never was.
    Acquainted(RequestId, Result<Vec<Arc<Envelope>>, AdmissionError>),
    /// This node has left, as far as it can tell its peers, and may stop; or it has not and goes on as before.
    Left(RequestId, Result<(), LeaveError>),
    /// An epoch has begun: it is on this disk and on another's, unless the warnings say otherwise. Or it has not.
    Rotated(RequestId, Result<Vec<String>, RotateError>),
    /// The epochs that were begun, in their order: at the start, and when they change. The founding one is not among them.
    Rotations(Vec<Rotation>),
    /// Connect to a member, wherever it is thought to be.
    Dial(NodeId),
    /// Who may connect, from now on.
    Members(BTreeSet<NodeId>),
    /// What a client would read became different.
    Changed(Vec<ProjectedChange>),
    /// Who leads became different.
    Leadership(Leadership),
    /// A peer sent what no honest peer sends: drop its connections, count it, log it once.
    Offence {
        /// Who.
        peer: NodeId,
        /// Of what kind.
        offence: Offence,
        /// What it sent.
        what: String,
    },
    /// Something an operator should know; logged once.
    Notice(String),
}

/// What peers say to each other.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// For the failure detector.
    Membership(Vec<u8>),
    /// For the election.
    Election(Vec<u8>),
    /// For anti-entropy.
    Exchange(Exchange),
    /// News, sent at once.
    Push {
        /// What was said.
        envelopes: Vec<Arc<Envelope>>,
        /// Asks to be told under this token when all of it is on the receiver's disk.
        token: Option<u64>,
        /// Peers to pass it on to.
        pass_to: Vec<spread::ShortId>,
    },
    /// "What you pushed under this token is on my disk."
    Stored {
        /// The token.
        token: u64,
    },
    /// "Decide this write."
    Decide(Box<decision::Ask>),
    /// "So", and what the other may lack of the object.
    Decided {
        /// Which question.
        token: u64,
        /// What became of it.
        verdict: decision::Verdict,
        /// Changes of the object, and the deletion of its earlier lives.
        news: Vec<Arc<Envelope>>,
    },
    /// "I decided this: uphold it."
    Uphold(Box<decision::Uphold>),
    /// "It is on my disk, and I know of no decision that was made without it."
    Upheld {
        /// Which decision.
        token: u64,
    },
    /// "I know of another decision, or of a later term."
    Overtaken {
        /// Which decision.
        token: u64,
    },
    /// "I lead in this term: what do you know of this name?"
    Recall {
        /// Names the question.
        token: u64,
        /// The term.
        term: u64,
        /// The name.
        name: NameKey,
        /// What the leader has of its present life.
        heads: Vec<WriteId>,
    },
    /// "This, and I take part in no earlier term."
    Recalled {
        /// Which question.
        token: u64,
        /// What the leader lacks.
        known: Vec<Arc<Envelope>>,
    },
    /// "I lead, and am about to change these voters. Do you know of Leases what I know, and nothing else?"
    Compare {
        /// The set.
        at: SetVersion,
        /// A hash of what the leader knows.
        known: [u8; 32],
    },
    /// "I do, it is on my disk, and I take part in no earlier term."
    Alike {
        /// The set.
        at: SetVersion,
        /// Whether this disk has damaged nothing of it that has not come again.
        whole: bool,
    },
    /// "How are you and your pods now?"
    AskReports,
    /// "So": all reports of the sender's own, in one frame or several.
    Reports {
        /// What it says.
        envelopes: Vec<Arc<Envelope>>,
        /// Whether that is all.
        last: bool,
    },
}

impl Frame {
    /// Whether it may hold what this node has said: its words are ordered by the number of its start.
    fn holds_words(&self) -> bool {
        match self {
            Frame::Push { .. }
            | Frame::Exchange(_)
            | Frame::Decided { .. }
            | Frame::Uphold(_)
            | Frame::Recalled { .. }
            | Frame::Reports { .. } => true,
            Frame::Membership(_)
            | Frame::Election(_)
            | Frame::Stored { .. }
            | Frame::Decide(_)
            | Frame::Upheld { .. }
            | Frame::Overtaken { .. }
            | Frame::Recall { .. }
            | Frame::Compare { .. }
            | Frame::Alike { .. }
            | Frame::AskReports => false,
        }
    }
}

/// What a node waits for besides what its parts wait for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wait {
    /// To compare notes with a random peer.
    Exchange,
    /// To let the controllers look again.
    Reconcile,
    /// To ask a disk that refused whether it takes something again.
    Disk,
    /// To give up on a second disk for a write, or to ask again who must uphold it.
    Durable(u64),
    /// To ask the decider of a write again.
    Decision(u64),
    /// To ask voters again what they know of a name.
    Recall(u64),
    /// To look at those who came.
    Aliveness,
    /// To look at those who were admitted.
    Members,
    /// To push what this node has said of itself.
    Reports,
    /// To render what time alone makes different.
    Project,
    /// To start what the disk says though no peer could be asked.
    CatchUp,
    /// To make again what was created apart from its deleter.
    Rebirth,
    /// To stop a pod though nothing else of its workload serves.
    Handover,
    /// To seal anew what is under an earlier epoch.
    Reseal,
    /// To leave though the voters have not gone on without this node.
    Depart,
}

/// Who this node can hear and who counts.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// To whom a connection stands.
    pub(crate) linked: BTreeSet<NodeId>,
    /// Whom the failure detector sees alive, this node included.
    pub(crate) alive: BTreeSet<NodeId>,
    /// When a node was last seen alive, by the wall clock in milliseconds.
    pub(crate) seen_ms: BTreeMap<NodeId, u64>,
    /// When a frame last came from a node.
    pub(crate) heard: BTreeMap<NodeId, Instant>,
}

/// The node.
pub struct Node {
    config: NodeConfig,
    me: NodeId,
    rng: Rng,
    timers: Timers<Wait>,
    store: Store,
    membership: Membership,
    election: Election,
    agent: Agent,
    projection: Projection,
    view_cache: ViewCache,
    notes: Notes,
    peers: Peers,
    claims: Claims,
    claims_by_node: BTreeMap<NodeId, BTreeSet<crate::status::Claim>>,
    status: NodeStatus,
    events: Events,
    events_unsaid: bool,
    retiring: Option<RequestId>,
    said_unschedulable: BTreeMap<String, String>,
    durable: durability::Pending,
    decisions: decision::Decisions,
    pods: pods::PodIndex,
    catch_up: catch_up::CatchUp,
    handovers: handover::Handovers,
    rebirths: rebirth::Rebirths,
    reach: reach::Reach,
    leaving: Option<RequestId>,
    departure_told: u32,
    inheritance: departure::Inheritance,
    /// The members of whom another one was seen to know, since this start.
    known_elsewhere: BTreeSet<NodeId>,
    left: bool,
    outbox: disk::Outbox,
    election_batches: BTreeMap<u64, u64>,
    effects: VecDeque<Effect>,
    reconcile_wanted: bool,
    /// The members that the parts of this node know of.
    known_members: BTreeSet<NodeId>,
    reports: spread::UnpushedReports,
    /// How many exchanges new links have opened since the last that the clock did.
    link_exchanges: u32,
    introductions: introduction::Introductions,
}

impl Node {
    /// A node from its settings and from what its disk holds: (table, key, value). Says also what on the disk could not be
    /// used; that was set aside, and peers will give it again.
    ///
    /// # Errors
    /// When the disk belongs to another cluster or was written by a version that this one does not read.
    pub fn start(
        config: NodeConfig,
        now: Now,
        records: Vec<(String, Vec<u8>, Vec<u8>)>,
    ) -> Result<(Self, Vec<Damaged>), StartError> {
        planted::plant(config.planted);
        start::start(config, now, records)
    }

    /// Handles one input. Total: it neither blocks nor panics, whatever a peer sent.
    pub fn handle(&mut self, now: Now, input: Input) {
        planted::plant(self.config.planted);
        self.route(now, input);
        self.settle(now);
    }

    /// The next thing that this node asks for.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to give it [`Input::Timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.timers.next(), self.membership.poll_timeout(), self.election.poll_timeout(), self.agent.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Everything it knows.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The API's objects, rendered; empty unless it serves the API.
    #[must_use]
    pub fn projection(&self) -> &Projection {
        &self.projection
    }

    /// How objects become leaves.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.config.layout
    }

    /// Who leads, as far as it knows.
    #[must_use]
    pub fn leadership(&self) -> &Leadership {
        self.election.leadership()
    }

    /// The peer whose disk held all that this node held when it left.
    #[must_use]
    pub fn heir(&self) -> Option<NodeId> {
        self.inheritance.heir()
    }

    /// The pods that run here for slots that the state does not know, by uid.
    pub fn strays(&self) -> impl Iterator<Item = &Arc<str>> {
        self.agent.strays()
    }

    /// Whether its disk has lost the record of its votes: then it votes no more until a quorate leader has let it go and taken it in again.
    #[must_use]
    pub fn has_lost_vote(&self) -> bool {
        self.election.record().unseated
    }

    /// Who votes on which leader is quorate, as far as it knows.
    pub fn voters(&self) -> impl Iterator<Item = &NodeId> {
        self.election.record().voters.weights.keys()
    }

    /// Whom it sees alive, itself included.
    #[must_use]
    pub fn alive(&self) -> &BTreeSet<NodeId> {
        &self.peers.alive
    }

    /// To whom a connection stands.
    #[must_use]
    pub fn linked(&self) -> &BTreeSet<NodeId> {
        &self.peers.linked
    }

    /// What it says of itself.
    #[must_use]
    pub fn status(&self) -> &NodeStatus {
        &self.status
    }

    /// How many writes wait for a second disk.
    #[must_use]
    pub fn pending_writes(&self) -> usize {
        self.durable.len()
    }
}

/// A generator for one of a node's parts: each has its own, so that one drawing more does not shift the others.
pub(crate) fn rng_for(seed: u64, part: u64) -> Rng {
    random::from_seed(seed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
