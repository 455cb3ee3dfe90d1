//! What the API needs of the node behind it, as one trait, so that every route can be tested without a cluster.
//!
//! How requests become these calls does not live here; the daemon implements [`Backend`] over its core, its network and
//! its runtime.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
pub use skein_core::node::TokenRole;
pub use skein_core::project::{ApiRef, ProjectedChange, Rendered};
use skein_core::request::{WriteError, WriteReply, WriteRequest};
use skein_crdt_state::{Edit, Kind, ObjectKey};
use skein_gossip::NodeId;
pub use skein_kube::apply::Authored;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast;

use crate::joining::Standing;
use crate::metrics::Metrics;
pub use crate::usage::{ContainerUsage, NodeUsage, Used};

/// The daemon is stopping and answers no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node is stopping; ask another peer")]
pub struct Stopped;

/// A verb of skein's own that failed; the text is for the person who asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AdminError(pub String);

/// A node that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// What it was called.
    pub name: String,
    /// Whether it had been removed before.
    pub again: bool,
    /// Whether it knows the keys that are in force: nobody has changed them since it was removed.
    pub knows_keys: bool,
    /// What whoever asked should know, such as that only one disk holds it yet.
    pub warnings: Vec<String>,
}

/// A rotation of the cluster's keys that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// What names the new set of keys.
    pub epoch: String,
    /// When what was issued before counts no more, in milliseconds since the Unix epoch.
    pub lapse_ms: u64,
    /// What whoever asked should know, such as that only one disk holds it yet.
    pub warnings: Vec<String>,
}

/// A peer as `skein peers` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its name.
    pub name: String,
    /// Its node id.
    pub id: String,
    /// The address that it is reached at; empty when none is known.
    pub address: String,
    /// `alive`, `down`, `left`, `removed`, `unvouched`, or `refused`: this node does not hear it for a while, since it broke
    /// rules of the protocol again and again.
    pub state: String,
    /// Whether it leads now.
    pub leader: bool,
    /// Its daemon's version; empty when it did not report one yet.
    pub version: String,
    /// `member` or `observer`.
    pub role: String,
}

/// What is asked of a token or an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenAsk {
    /// How often it may be used.
    pub uses: u32,
    /// How long it counts.
    pub ttl: Duration,
    /// What it is for.
    pub role: TokenRole,
    /// The role that a client is given; `None`: `view`.
    pub grant: Option<String>,
}

/// A token as `skein token list` shows it: nothing of its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its id.
    pub id: String,
    /// `member`, `observer` or `client`.
    pub role: String,
    /// How often it was used, as far as is known here.
    pub used: i64,
    /// How often it may be used.
    pub uses: i64,
    /// For how long it still counts, in seconds; less than 0: it is over since then.
    pub seconds_left: i64,
}

/// The leader as `skein leader` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaderInfo {
    /// Its name.
    pub name: String,
    /// Its node id.
    pub id: String,
    /// The term it leads in.
    pub term: u64,
    /// Whether more than half of the voters back it.
    pub quorate: bool,
    /// How long it still leads, in seconds.
    pub tenure_ends_in_seconds: f64,
}

/// Which lines of which container to read. Also travels to the peer that runs the pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogRequest {
    /// The pod's uid.
    pub uid: String,
    /// The container's name.
    pub container: String,
    /// Which start of it, from 0.
    pub attempt: u32,
    /// Go on until the container ends.
    pub follow: bool,
    /// Only so many lines from the end.
    pub tail_lines: Option<u64>,
    /// Only lines from then on, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Begin each line with its time.
    pub timestamps: bool,
}

/// An object with its stored fields and their authors.
pub type Known = (Arc<Rendered>, Authored);

/// What a log is read from: chunks of text as they come, until the container has ended or the reader goes away.
pub type LogStream = BoxStream<'static, std::io::Result<Bytes>>;

/// A byte stream to a peer.
pub type PeerStream = Pin<Box<dyn Duplex>>;

/// Both directions of a byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// Why a log cannot be had; the text is for the person who asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// There is no such container, or no such start of it.
    #[error("{0}")]
    NotFound(String),
    /// The node that has it cannot be reached, or its engine does not answer.
    #[error("{0}")]
    Unavailable(String),
}

/// Opens logs on this node.
pub trait LogSource: Send + Sync + 'static {
    /// Begins to read one container's log.
    fn open(&self, request: LogRequest) -> BoxFuture<'_, Result<LogStream, LogError>>;
}

/// Says what this node uses.
pub trait UsageSource: Send + Sync + 'static {
    /// What it and its containers use now. It may take a second or two.
    fn usage(&self) -> BoxFuture<'_, NodeUsage>;
}

/// The node, as the API sees it. Calls may wait, but never for another node, but for [`Backend::write`] (at most as long
/// as its durability says) and [`Backend::open_peer`].
pub trait Backend: LogSource + UsageSource {
    /// This node.
    fn me(&self) -> NodeId;

    /// One object now. A read after a write's reply at this node sees the write.
    fn get(&self, object: ApiRef) -> BoxFuture<'_, Result<Option<Arc<Rendered>>, Stopped>>;

    /// One object now, with its stored fields and their authors; nothing of them for one that is not stored.
    fn authored(&self, object: ApiRef) -> BoxFuture<'_, Result<Option<Known>, Stopped>>;

    /// All objects of a kind, in one namespace or in all, in the order of namespace and name.
    fn list(&self, kind: Kind, namespace: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<Arc<Rendered>>, Stopped>>;

    /// Those of a kind of which a field below this path was set to different values apart, and nobody has settled it.
    fn contested(&self, kind: Kind, below: &'static str) -> BoxFuture<'_, Result<Vec<ApiRef>, Stopped>>;

    /// The leaves' edits that lead from one form of a stored object to another. Both are what clients may set: neither
    /// has status or metadata that the system keeps. A key that is not stored yet has no leaves; the text of an error is
    /// for the client.
    fn edits(
        &self,
        key: Option<ObjectKey>,
        kind: Kind,
        old: Value,
        new: Value,
    ) -> BoxFuture<'_, Result<Result<Vec<Edit>, String>, Stopped>>;

    /// Writes, and answers when the write is as safe as it asks to be.
    fn write(&self, request: WriteRequest) -> BoxFuture<'_, Result<Result<WriteReply, WriteError>, Stopped>>;

    /// What changes for clients from now on. A read that comes after a change was sent sees it.
    fn changes(&self) -> broadcast::Receiver<Arc<Vec<ProjectedChange>>>;

    /// A byte stream of its own to a peer, which reads `header` first. For a session with a pod the peer may be this node
    /// itself.
    fn open_peer(&self, peer: NodeId, header: Bytes) -> BoxFuture<'_, Result<PeerStream, LogError>>;

    /// A join token.
    fn create_token(&self, ask: TokenAsk) -> BoxFuture<'_, Result<String, AdminError>>;

    /// All tokens, those that are over included.
    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenInfo>, AdminError>>;

    /// Lets a token let nobody in any more, by its id or the beginning of it; its whole id.
    fn revoke_token(&self, id: String) -> BoxFuture<'_, Result<String, AdminError>>;

    /// Invites somebody with a code: the code, which this node alone knows.
    fn invite(&self, ask: TokenAsk) -> BoxFuture<'_, Result<String, AdminError>>;

    /// How an invitation of this node's stands, by its number; nothing of one that is forgotten.
    fn invitation(&self, number: u8) -> BoxFuture<'_, Result<Option<Standing>, AdminError>>;

    /// All members, those that left included.
    fn peers(&self) -> BoxFuture<'_, Result<Vec<PeerInfo>, AdminError>>;

    /// The leader that this node follows, if there is one now.
    fn leader(&self) -> BoxFuture<'_, Result<Option<LeaderInfo>, AdminError>>;

    /// Leaves the cluster; the daemon stops after the answer.
    fn leave(&self) -> BoxFuture<'_, Result<(), AdminError>>;

    /// Removes a member for good, by its name or its id. One that was removed already stays so.
    fn remove(&self, peer: String) -> BoxFuture<'_, Result<Removal, AdminError>>;

    /// Makes new keys for the cluster: its authority, its tokens' key, the administrator's token, the key of its data. What
    /// was issued before counts for as long as the grace.
    fn rotate(&self, grace: Duration) -> BoxFuture<'_, Result<Rotated, AdminError>>;

    /// Why an object is as it is, line by line: a pod by its name, anything else as `KIND/NAME`.
    fn why(&self, namespace: String, object: String) -> BoxFuture<'_, Result<Vec<String>, AdminError>>;

    /// The hash of everything that is replicated, in hexadecimal.
    fn state_hash(&self) -> BoxFuture<'_, Result<String, AdminError>>;

    /// Brings the numbers up to date that are counted behind the API: who is alive, who leads, what the network did.
    fn measure<'a>(&'a self, metrics: &'a Metrics) -> BoxFuture<'a, ()>;

    /// Whether this node knows its cluster: not one whose disk was lost, before it has heard of it again. What it would show is empty,
    /// which a client would take for everything being deleted.
    fn has_state(&self) -> BoxFuture<'_, bool>;

    /// Whether this node takes requests: its state is loaded and its core runs.
    fn ready(&self) -> BoxFuture<'_, bool>;
}
