//! What the agent asks of a container runtime, and what it hears back. The runtimes themselves (Docker, host processes,
//! the simulated one) live in their shells; here are only the words between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Names one container: the pod's uid, the container's name in the pod, and which start of it this is.
///
/// Shells turn it into labels and a container name; the agent finds its containers again by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerRef {
    /// The pod's uid, in the hyphenated form.
    pub uid: Arc<str>,
    /// The container's name within the pod.
    pub container: Arc<str>,
    /// How often this container was created before in this pod; a restart in place creates attempt + 1.
    pub attempt: u32,
}

/// A port that the container listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The port inside.
    pub container_port: u16,
    /// The port to publish on the host, if any.
    pub host_port: Option<u16>,
    /// The host's address to publish on, if not all.
    pub host_ip: Option<String>,
    /// `TCP` or `UDP`.
    pub protocol: String,
}

/// A volume of a pod, as the runtime lays it out on its node. It is kept until the pod is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Its name in the pod.
    pub name: String,
    /// What it is.
    pub kind: VolumeKind,
    /// The group that may read it, and write to it if it is a directory; what is the host's stays as it is.
    pub group: Option<u32>,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeKind {
    /// A directory that begins empty.
    Empty {
        /// Whether it is kept from disks.
        memory: bool,
    },
    /// A file or a directory of the host.
    Host {
        /// Where.
        path: String,
        /// What must be there or is made there, in Kubernetes' words; empty: nothing is looked at.
        kind: String,
    },
    /// Files. Asked for again with others, all of them change at once.
    Files {
        /// The files by their paths below the volume.
        files: BTreeMap<String, FileSpec>,
        /// Whether they are kept from disks.
        memory: bool,
    },
}

/// A file of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSpec {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
    /// What it holds instead, if it is a token: the runtime has it signed each time that it is asked for the volume.
    #[serde(default)]
    pub token: Option<TokenSpec>,
}

impl FileSpec {
    /// A file that holds these bytes.
    #[must_use]
    pub fn of(bytes: Vec<u8>, mode: u32) -> Self {
        FileSpec { bytes, mode, token: None }
    }
}

/// A token of a pod's account. It ends with the pod and with the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSpec {
    /// The namespace of both.
    pub namespace: String,
    /// The account's name.
    pub account: String,
    /// The account's uid.
    pub account_uid: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// Whom it may be shown to; empty: this cluster's API.
    pub audience: String,
    /// How long it is valid, in seconds.
    pub seconds: u64,
}

/// Where a container sees a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The volume's name in the pod.
    pub volume: String,
    /// Where it is on the node.
    pub place: Place,
    /// Where in the container.
    pub path: String,
    /// Which file or directory of the volume; empty: all of it. A directory that is not there is made.
    pub sub_path: String,
    /// Whether the container may not write there.
    pub read_only: bool,
}

/// Where a volume is on its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Among the pod's directories on disk.
    Disk,
    /// Among the pod's directories in memory.
    Memory,
    /// At this path of the host.
    Host(String),
}

/// Everything a runtime needs to create a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Which container.
    pub id: ContainerRef,
    /// The pod's namespace and name, for labels, host name and people.
    pub namespace: String,
    /// The pod's name; also the container's host name.
    pub pod: String,
    /// The key of the object the pod fills (a slot's or a pod's key as text), and the write that placed it: kept as
    /// labels so that a restarted agent knows what its containers are for even before it has read its state.
    pub slot: String,
    /// The placement's write, in hexadecimal; empty for a pod without an owner.
    pub write: String,
    /// The image reference.
    pub image: String,
    /// Kubernetes' `command` (Docker's entrypoint); empty: the image's own.
    pub command: Vec<String>,
    /// Kubernetes' `args` (Docker's command); empty: the image's own.
    pub args: Vec<String>,
    /// Environment, in order, fully expanded.
    pub env: Vec<(String, String)>,
    /// Working directory; empty: the image's own.
    pub working_dir: String,
    /// Ports.
    pub ports: Vec<Port>,
    /// CPU limit in thousandths of a core.
    pub cpu_limit_millis: Option<u64>,
    /// CPU request in thousandths of a core, for shares.
    pub cpu_request_millis: Option<u64>,
    /// Memory limit in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Share the network of this container of the same pod, which runs already.
    pub network_of: Option<ContainerRef>,
    /// See the processes of this container of the same pod, which runs already.
    #[serde(default)]
    pub pid_of: Option<ContainerRef>,
    /// Use the host's network.
    pub host_network: bool,
    /// Allocate a terminal / keep stdin open.
    pub tty: bool,
    /// Keep stdin open.
    pub stdin: bool,
    /// Close standard input when the first who attached to it goes.
    #[serde(default)]
    pub stdin_once: bool,
    /// What it calls itself; empty: by the pod's name.
    #[serde(default)]
    pub hostname: String,
    /// Names and addresses for its file `/etc/hosts`. One that shares a network shares that too.
    #[serde(default)]
    pub host_aliases: Vec<(String, String)>,
    /// The volumes that it sees.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// What it may do on its node.
    #[serde(default)]
    pub security: Security,
}

/// What a container may do on its node. The default is what the engine gives to one that asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Security {
    /// Run as this user; `None`: the image's.
    pub user: Option<u32>,
    /// Run as this group; `None`: the user's.
    pub group: Option<u32>,
    /// Refuse to start it as the superuser.
    pub non_root: bool,
    /// More groups.
    pub groups: Vec<u32>,
    /// All powers.
    pub privileged: bool,
    /// Powers beyond the usual, without `CAP_`.
    pub add_capabilities: Vec<String>,
    /// Powers to take away.
    pub drop_capabilities: Vec<String>,
    /// Whether the image's files cannot be written.
    pub read_only_root: bool,
    /// Whether no program may gain powers by being run.
    pub no_new_privileges: bool,
    /// Whether it may make all calls of the kernel.
    pub seccomp_unconfined: bool,
    /// Whether it sees the host's processes.
    pub host_pid: bool,
    /// Whether it shares the host's memory segments and queues.
    pub host_ipc: bool,
}

/// A login at a registry. What it shows of itself holds no secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Login {
    /// Where.
    pub server: String,
    /// Who.
    pub username: String,
    /// The password.
    pub password: String,
    /// What some registries take in its place; empty: there is none.
    pub identity_token: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({} at {})", self.username, self.server)
    }
}

/// When to pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Ask the registry each time.
    Always,
    /// Only if the engine does not have it.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// How to look whether a container is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeAction {
    /// Run a command inside; exit code 0 is success.
    Exec(Vec<String>),
    /// HTTP GET; 200 to 399 is success.
    HttpGet {
        /// Host to ask; `None`: the pod's own address.
        host: Option<String>,
        /// The port.
        port: u16,
        /// The path with its query.
        path: String,
        /// Whether to speak TLS (the certificate is not checked, as in Kubernetes).
        https: bool,
        /// Headers to send.
        headers: Vec<(String, String)>,
    },
    /// Open a TCP connection.
    TcpSocket {
        /// Host to dial; `None`: the pod's own address.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// Ask the pod by gRPC's health protocol; the answer `SERVING` is success.
    Grpc {
        /// The port.
        port: u16,
        /// The service to ask about; empty: the server as a whole.
        service: String,
    },
}

/// What the agent asks of the runtime. Every action is answered by exactly one [`RuntimeEvent`] that names it, success or
/// not; the runtime puts a time limit of its own on each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RuntimeAction {
    /// List this node's own containers (labels cluster and node). Answered by `Listed` or `ListFailed`.
    List,
    /// Make sure that an image is there. Answered by `ImageReady` or `ImageFailed`.
    EnsureImage {
        /// The reference.
        image: String,
        /// When to pull.
        policy: PullPolicy,
        /// With which logins to try, one after the other; none: without any.
        #[serde(default)]
        logins: Vec<Login>,
    },
    /// Lay out a pod's volumes, or write those anew whose files are others now. Answered by `VolumesWritten` or
    /// `VolumesFailed`. A node has one such action and no removal under way for a pod at a time.
    WriteVolumes {
        /// The pod.
        uid: Arc<str>,
        /// All of its volumes.
        volumes: Arc<[VolumeSpec]>,
    },
    /// Remove a pod's volumes with all that is in them, other than what is the host's. Its containers are gone. Answered
    /// by `VolumesRemoved`, also when there were none, or by `VolumesNotRemoved`.
    RemoveVolumes {
        /// The pod.
        uid: Arc<str>,
    },
    /// Create and start. Answered by `Started` or `StartFailed`. Creating a [`ContainerRef`] that exists adopts it.
    Start(Box<ContainerSpec>),
    /// Ask to end, and kill after the grace. Answered by `Exited` (or `StopFailed`); stopping what is gone answers `Exited` with code `None`.
    Stop {
        /// Which container.
        id: ContainerRef,
        /// How long to wait before killing it.
        grace: Duration,
    },
    /// Remove a container that has ended, with its logs. Answered by `Removed` also when it was gone already, or by `RemoveFailed`.
    Remove {
        /// Which container.
        id: ContainerRef,
    },
    /// Run a probe once. Answered by `Probed`.
    Probe {
        /// Which container.
        id: ContainerRef,
        /// Names this probe in the answer.
        token: u64,
        /// What to do.
        action: ProbeAction,
        /// Give up after this long.
        timeout: Duration,
        /// Whether it is a hook, which may take long: looks at other containers do not wait for it.
        #[serde(default)]
        is_hook: bool,
    },
}

/// What a container does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Created, not started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, 128 + n for signal n; `None`: nobody saw it.
    pub code: Option<i32>,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// When, milliseconds since the Unix epoch.
    pub finished_at_ms: u64,
    /// What the engine says, if anything.
    pub message: String,
}

/// One container as the runtime sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerInfo {
    /// Which container.
    pub id: ContainerRef,
    /// Pod's namespace, from the label.
    pub namespace: String,
    /// Pod's name, from the label.
    pub pod: String,
    /// The key of what the pod fills, from the label.
    pub slot: String,
    /// The placement's write, from the label.
    pub write: String,
    /// What it does.
    pub state: ContainerState,
    /// The engine's own id, such as `docker://3f2a...` or `process://1234`.
    pub runtime_id: String,
    /// The image it was created from.
    pub image: String,
    /// The engine's id of the image.
    pub image_id: String,
    /// The pod's address, when it runs.
    pub ip: Option<String>,
    /// When it started, milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Whether it was made before the machine was last started, and so does not run: what it left in memory is gone.
    #[serde(default)]
    pub before_boot: bool,
}

/// What the agent hears from the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeEvent {
    /// All of this node's own containers, running or not.
    Listed(Vec<ContainerInfo>),
    /// The engine did not answer a `List`.
    ListFailed {
        /// Why, in words for a person.
        message: String,
    },
    /// The engine came up, went down, or says what it has: total resources and images with their sizes.
    Capacity(Capacity),
    /// An image is there.
    ImageReady {
        /// The reference.
        image: String,
    },
    /// An image cannot be had.
    ImageFailed {
        /// The reference.
        image: String,
        /// Why, in words for a person.
        message: String,
        /// Whether it was `Never` or an invalid name, which a retry will not mend.
        permanent: bool,
    },
    /// A pod's volumes are there.
    VolumesWritten {
        /// The pod.
        uid: Arc<str>,
    },
    /// They cannot be laid out.
    VolumesFailed {
        /// The pod.
        uid: Arc<str>,
        /// Why, in words for a person.
        message: String,
    },
    /// Nothing is left of a pod's volumes.
    VolumesRemoved {
        /// The pod.
        uid: Arc<str>,
    },
    /// Something is left; try again.
    VolumesNotRemoved {
        /// The pod.
        uid: Arc<str>,
        /// Why, in words for a person.
        message: String,
    },
    /// It runs.
    Started(ContainerInfo),
    /// It could not be created or started; nothing is left of it.
    StartFailed {
        /// Which container.
        id: ContainerRef,
        /// Kubernetes' reason: `CreateContainerError`, `RunContainerError`, `InvalidImageName`.
        reason: String,
        /// Why, in words for a person.
        message: String,
    },
    /// It ended, by itself or because it was asked to.
    Exited {
        /// Which container.
        id: ContainerRef,
        /// How.
        exit: Exit,
    },
    /// It could not be stopped; try again.
    StopFailed {
        /// Which container.
        id: ContainerRef,
        /// Why.
        message: String,
    },
    /// It is gone.
    Removed {
        /// Which container.
        id: ContainerRef,
    },
    /// It could not be removed; try again.
    RemoveFailed {
        /// Which container.
        id: ContainerRef,
        /// Why.
        message: String,
    },
    /// A probe ended.
    Probed {
        /// Which container.
        id: ContainerRef,
        /// The probe's token.
        token: u64,
        /// Success, or why not.
        result: Result<(), String>,
    },
    /// A runtime has something to say to a person about a pod (the process runtime: that the image is ignored).
    Notice {
        /// Which container.
        id: ContainerRef,
        /// Kubernetes event reason, CamelCase.
        reason: String,
        /// For a person.
        message: String,
    },
}

/// What a node's engine offers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capacity {
    /// Whether the engine answers.
    pub ready: bool,
    /// Why not, when it does not.
    pub message: String,
    /// `docker://20.10.24` or `process://0.1.0`.
    pub runtime_version: String,
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
    /// How many pods at most.
    pub max_pods: u32,
    /// Images by reference, with their size in bytes; at most 200.
    pub images: BTreeMap<String, u64>,
    /// Operating system, kernel, architecture: what `kubectl get nodes -o wide` shows.
    pub os_image: String,
    /// Kernel release.
    pub kernel_version: String,
    /// Kubernetes' name for the architecture: `amd64`, `arm64`.
    pub architecture: String,
}
