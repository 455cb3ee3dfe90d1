//! What the API asks of a node, and what it is told.

use serde::{Deserialize, Serialize};
use skein_crdt_state::{Edit, EpochId, NameKey, ObjectKey, Operation, WriteId};
use skein_gossip::NodeId;

/// Names a request between the shell and the node; the shell draws it.
pub type RequestId = u64;

/// Where a write must be before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Durability {
    /// On this node's disk.
    Local,
    /// On this node's disk and on another live peer's, if one answers in time.
    #[default]
    One,
    /// On the disks of more than half of the members, if they answer in time.
    Majority,
}

/// A write. One that depends on what its author saw travels to the peer that decides it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteRequest {
    /// What to do.
    pub op: WriteOp,
    /// Where it must be before the reply.
    pub durability: Durability,
    /// Who asks.
    pub user: String,
    /// With which tool (Kubernetes' field manager).
    pub manager: String,
    /// How the tool writes.
    pub operation: Operation,
    /// Drawn by the client or the API: a retry with the same id is the same request.
    pub request_id: String,
}

/// What a write does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum WriteOp {
    /// Creates the next life of a name.
    Create {
        /// The name, within a live owner.
        name: NameKey,
        /// Its leaves.
        edits: Vec<Edit>,
    },
    /// Edits a live object.
    Edit {
        /// Which life.
        key: ObjectKey,
        /// Its leaves that change.
        edits: Vec<Edit>,
        /// Only if these are its heads still.
        if_heads: Option<Vec<WriteId>>,
    },
    /// Ends a life, and those of all that it owns.
    Delete {
        /// Which life.
        key: ObjectKey,
        /// Only if these are its heads still.
        if_heads: Option<Vec<WriteId>>,
    },
    /// Removes another node from the cluster for good.
    Remove {
        /// Which.
        node: NodeId,
    },
}

impl WriteOp {
    /// The name that it is about; of a removal there is none.
    #[must_use]
    pub fn name(&self) -> Option<NameKey> {
        match self {
            WriteOp::Create { name, .. } => Some(name.clone()),
            WriteOp::Edit { key, .. } | WriteOp::Delete { key, .. } => Some(key.name_key()),
            WriteOp::Remove { .. } => None,
        }
    }

    /// The heads that it depends on.
    #[must_use]
    pub fn if_heads(&self) -> Option<&[WriteId]> {
        match self {
            WriteOp::Edit { if_heads, .. } | WriteOp::Delete { if_heads, .. } => if_heads.as_deref(),
            WriteOp::Create { .. } | WriteOp::Remove { .. } => None,
        }
    }
}

/// A write that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteReply {
    /// The object; of a removal the object that stood for the node.
    pub key: ObjectKey,
    /// Its heads after the write; empty after a deletion.
    pub heads: Vec<WriteId>,
    /// What the client should know, such as that only one disk holds it yet.
    pub warnings: Vec<String>,
    /// Whether anything became different; a write of what is there already is no write.
    pub changed: bool,
}

/// What there is to say of a node that belongs to a cluster of which its disk knows nobody.
pub const LOST_STATE: &str = "the state of this node is lost: its disk holds nothing of the cluster that it belongs to. It has all again \
                              once another member reaches it; until then it decides nothing. If no other member is left, or this one \
                              was removed, begin anew with another --data-dir";

/// A write that was not done. The state is as it was, but for [`WriteError::Disk`] and [`WriteError::Uncertain`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum WriteError {
    /// The name is taken by a live object.
    #[error("{0} exists already")]
    AlreadyExists(ObjectKey),
    /// There is no such live object.
    #[error("{0} does not exist")]
    NotFound(ObjectKey),
    /// Somebody wrote in between.
    #[error("{0} was changed since it was read; read it again and repeat the change")]
    Conflict(ObjectKey),
    /// The owner, such as the namespace, does not exist.
    #[error("{0} does not exist; create it first")]
    OwnerGone(ObjectKey),
    /// The object is too large or its name cannot be stored.
    #[error("{0}")]
    Refused(String),
    /// This node's disk did not take it. It may survive on a peer.
    #[error("this node's disk does not take writes: {0}")]
    Disk(String),
    /// Too many writes wait already.
    #[error("too many writes wait for their acknowledgement; try again")]
    Busy,
    /// The node left the cluster, or was removed from it.
    #[error("this node does not belong to the cluster any more")]
    Left,
    /// It was not decided in time, and may still come to stand.
    #[error(
        "{0}: whether it was written is not known, since the peers that decide it changed meanwhile; read it again"
    )]
    Uncertain(String),
    /// No peer could be asked that decides it.
    #[error("{0}")]
    Undecided(String),
    /// There is no such member to remove.
    #[error("{0} was never a member of this cluster; see skein peers")]
    NoSuchMember(NodeId),
    /// This node's disk was lost, and it has not heard of its cluster since: nobody would take what it writes.
    #[error("{LOST_STATE}")]
    Lost,
}

/// Why a node did not leave. It goes on as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaveError {
    /// What it holds may be on its disk alone.
    #[error(
        "no other node has said that its disk holds everything that this one holds; what only this disk has would be lost. Connect this node to others whose disks take writes (kubectl describe nodes shows no DiskPressure there) and try again, or stop it and give its data directory up"
    )]
    Alone,
    /// It was asked to already, and is at it.
    #[error(
        "this node makes ready to leave already, since it was asked before; see skein peers on another node in a few seconds"
    )]
    Underway,
    /// Its disk was lost, and it has not heard of its cluster since.
    #[error(
        "the state of this node is lost, so it can tell nobody that it leaves; connect it to another member and try again, or say skein remove there"
    )]
    Lost,
}

/// Why an epoch was not begun. The one before holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotateError {
    /// Its key is not here.
    #[error("the secrets of epoch {0} are not on this node")]
    NoKey(EpochId),
    /// It was begun before, and another after it: what was given up does not come back.
    #[error("epoch {0} was in force already and is over; make new secrets")]
    Over(EpochId),
    /// This node's disk did not take it.
    #[error("this node's disk does not take writes: {0}")]
    Disk(String),
    /// Too many writes wait already.
    #[error("too many writes wait for their acknowledgement; try again")]
    Busy,
    /// The node left the cluster, or was removed from it.
    #[error("this node does not belong to the cluster any more")]
    Left,
}

/// A stranger that shows a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionRequest {
    /// Who, as the connection has proved it.
    pub node: NodeId,
    /// What it wants to be called.
    pub name: String,
    /// The hash of the token's secret.
    pub token: [u8; 32],
}

/// Why a stranger was not admitted. The message is for the person who tries to join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AdmissionError {
    /// No such token here.
    #[error(
        "the token is not known to this cluster: it was revoked, or minted a moment ago at a peer that cannot be reached from here; ask for a new one (skein token create)"
    )]
    UnknownToken,
    /// It is for another cluster.
    #[error("the token is for another cluster ({0}); ask for one of this cluster (skein token create)")]
    ForeignToken(String),
    /// Its time is over.
    #[error("the token expired {0} ago; ask for a new one (skein token create)")]
    Expired(String),
    /// It was used as often as it may be.
    #[error("the token was used up: it admits {0} node(s); ask for a new one (skein token create --uses N)")]
    UsedUp(i64),
    /// The name is not one a node can have, or another node has it.
    #[error("{0}")]
    Name(String),
    /// It is not for that.
    #[error("{0}")]
    Role(String),
    /// It was removed.
    #[error(
        "this node was removed from the cluster, and its key stays out for ever; join with a new one, from another --data-dir"
    )]
    Removed,
    /// This node cannot admit now.
    #[error("{0}")]
    Unavailable(String),
    /// Of what it shows, nothing makes it a member.
    #[error(
        "this node does not belong to the cluster, and what it shows does not make it a member; ask to be let in with a token"
    )]
    Unproved,
}
