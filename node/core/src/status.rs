//! What a node reports of itself and of its pods: the bodies of its reports, which no other node writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skein_crdt_state::{ObjectKey, WriteId};

use crate::runtime::Capacity;

/// The section of a node's reports that describes the node itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node's name, unique if its users keep it so; shown by kubectl.
    pub name: String,
    /// The address that peers and users reach it at, without port.
    pub address: String,
    /// Where peers connect to it, as address and port; the first is the one it prefers.
    pub peer_addresses: Vec<String>,
    /// Where users reach its API, as address and port.
    pub api_address: String,
    /// The daemon's version.
    pub version: String,
    /// What its engine offers.
    pub capacity: Capacity,
    /// Labels the node gives itself (`kubernetes.io/hostname`, `kubernetes.io/os`, `kubernetes.io/arch`).
    pub labels: BTreeMap<String, String>,
    /// When the daemon started, milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Why its disk takes no writes; empty while it takes them.
    pub disk: String,
    /// The claims this node makes: values of slots that displaced a pod of this node's which was still ready.
    pub claims: BTreeSet<Claim>,
}

/// "This slot is mine still": made by a displaced node whose pod was ready when it learned of the value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Claim {
    /// The slot.
    pub slot: ObjectKey,
    /// The value that is contested; the claim counts only while that value is current.
    pub against: WriteId,
    /// The displaced value, whose pod goes on.
    pub kept: WriteId,
}

/// A pod's phase, as Kubernetes names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Phase {
    /// Not all containers have run yet.
    #[default]
    Pending,
    /// At least one container runs or is being restarted.
    Running,
    /// All containers ended well and stay so.
    Succeeded,
    /// All containers ended, one of them badly.
    Failed,
}

/// The section of a node's reports that describes one of its pods.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodStatus {
    /// The slot's or the pod's key as text.
    pub slot: String,
    /// The placement's write in hexadecimal.
    pub write: String,
    /// The phase.
    pub phase: Phase,
    /// Whether it is ready to serve.
    pub ready: bool,
    /// When readiness last changed, milliseconds since the Unix epoch.
    pub ready_changed_ms: u64,
    /// A reason for the pod as a whole (`Evicted`, `OutOfcpu`), empty when there is none.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// The pod's address, empty when it has none.
    pub ip: String,
    /// When the agent took it on, milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Whether it is being stopped, and since when (milliseconds since the Unix epoch; 0: it is not).
    pub stopping_since_ms: u64,
    /// Its containers, in the order of the spec.
    pub containers: Vec<ContainerStatus>,
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// What it does now.
    pub state: ContainerPhase,
    /// How it ended the last time, if it was restarted.
    pub last: Option<Terminated>,
    /// Whether its readiness probe succeeds (or it has none and runs).
    pub ready: bool,
    /// Whether it runs and its startup is over.
    pub started: bool,
    /// How often it was restarted.
    pub restart_count: u32,
    /// The image it runs.
    pub image: String,
    /// The engine's id of the image.
    pub image_id: String,
    /// The engine's own id of the container.
    pub runtime_id: String,
}

/// What a container does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerPhase {
    /// It does not run yet, or not again yet: `ContainerCreating`, `ImagePullBackOff`, `CrashLoopBackOff`.
    Waiting {
        /// Kubernetes' reason.
        reason: String,
        /// For a person.
        message: String,
    },
    /// It runs since, milliseconds since the Unix epoch.
    Running {
        /// Since when.
        started_at_ms: u64,
    },
    /// It ended and stays so.
    Terminated(Terminated),
}

impl Default for ContainerPhase {
    fn default() -> Self {
        ContainerPhase::Waiting { reason: "ContainerCreating".into(), message: String::new() }
    }
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Terminated {
    /// The exit code, 128 + n for signal n.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `ContainerStatusUnknown`.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub finished_at_ms: u64,
    /// The engine's own id of the container.
    pub runtime_id: String,
}

/// The most events a node keeps in its report; the oldest fall out.
pub const MAX_EVENTS: usize = 200;

/// The section of a node's reports that holds its Kubernetes events, as a bounded ring.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Events {
    /// The events, the oldest first, at most [`MAX_EVENTS`].
    pub ring: Vec<Event>,
}

/// One Kubernetes event. Equal ones are folded into one with a count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What it is about: kind (`Pod`, `Deployment.apps`), namespace, name, uid.
    pub kind: String,
    /// The namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The object's uid.
    pub uid: String,
    /// Whether it is a warning.
    pub warning: bool,
    /// CamelCase reason.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// Who says so: `scheduler`, `deployment-controller`, `agent`.
    pub source: String,
    /// First seen, milliseconds since the Unix epoch.
    pub first_ms: u64,
    /// Last seen, milliseconds since the Unix epoch.
    pub last_ms: u64,
    /// How often.
    pub count: u32,
}
