//! The container runtimes as the daemon sees them: one handle that takes [`RuntimeAction`]s, sends [`RuntimeEvent`]s and
//! reads logs. Which engine carries an action out is decided here once, at the start; how it does so lives in
//! `docker` and `process`. What should run is decided elsewhere, by the agent in skein-core.

mod attached;
mod boot;
mod dial;
mod dispatch;
mod docker;
mod engine;
mod executable_image;
mod ledger;
mod logs;
mod probe;
mod process;
mod timestamp;
mod tokens;
pub mod usage;
mod volumes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skein_core::runtime::{ContainerRef, RuntimeAction, RuntimeEvent};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::attached::{Attached, Input, Output, Resizer, SessionError, Size, Wires};
pub use self::dispatch::ACTION_QUEUE_LIMIT;
pub use self::docker::{DockerClient, DockerHostError, ListedContainer};
pub use self::executable_image::image_from_executable;
pub use self::logs::{LogError, LogOptions, LogStream};
pub use self::process::shim::shim_main;
pub use self::tokens::TokenSigner;

use self::dispatch::ActionQueue;
use self::docker::DockerEngine;
use self::engine::Engine;
use self::ledger::Ledger;
use self::process::ProcessEngine;
use self::usage::Counters;
use self::volumes::VolumeStore;

/// The label that names the cluster a container belongs to.
pub const LABEL_CLUSTER: &str = "skein.dev/cluster";
/// The label that names the node a container belongs to. Containers with another value are never listed or touched.
pub const LABEL_NODE: &str = "skein.dev/node";

/// How long `Auto` waits for an engine.
const AUTO_LIMIT: Duration = Duration::from_secs(2);

/// Which runtime the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Docker, or what speaks its API.
    Docker,
    /// Host processes without isolation.
    Process,
    /// Docker where an engine answers within two seconds, otherwise host processes.
    Auto,
}

/// How to start the shim that holds a container's process in the `process` runtime: the program is run with `args`
/// and then the container's state directory, and must call [`shim_main`] with it.
#[derive(Debug, Clone)]
pub struct ShimCommand {
    /// The program.
    pub program: PathBuf,
    /// What comes before the state directory.
    pub args: Vec<String>,
}

/// What a runtime needs to know. Nothing of it changes while the daemon runs.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Which runtime.
    pub kind: RuntimeKind,
    /// The cluster's id, for the label.
    pub cluster: String,
    /// This node's id, for the label.
    pub node: String,
    /// The daemon's data directory; `process` keeps its containers' state below it.
    pub data_dir: PathBuf,
    /// Where the engine listens: `unix:///path`, a path, or `tcp://host:port`. `None`: `$DOCKER_HOST`, or Docker's default.
    pub docker_host: Option<String>,
    /// The shim.
    pub shim: ShimCommand,
    /// How many pods this node takes at most.
    pub max_pods: u32,
    /// When a log file of the `process` runtime is rotated, in bytes. Three files are kept.
    pub log_max_bytes: u64,
    /// Who signs the tokens that pods are given; `None`: nobody, and what needs one is not laid out.
    pub tokens: Option<Arc<dyn TokenSigner>>,
}

impl RuntimeConfig {
    /// The defaults: 110 pods, logs of 10 MB, and the running executable with the hidden verb `__shim` as the shim.
    pub fn new(kind: RuntimeKind, cluster: String, node: String, data_dir: PathBuf) -> RuntimeConfig {
        // The link leads to the running file even after an upgrade has replaced it on disk.
        let shim = ShimCommand { program: PathBuf::from("/proc/self/exe"), args: vec!["__shim".to_owned()] };
        RuntimeConfig {
            kind,
            cluster,
            node,
            data_dir,
            docker_host: None,
            shim,
            max_pods: 110,
            log_max_bytes: 10_000_000,
            tokens: None,
        }
    }
}

/// Why a runtime could not be started at all. An engine that is merely away is no error: it is reported as capacity
/// that is not ready, and looked for again.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine's address makes no sense.
    #[error(transparent)]
    DockerHost(#[from] DockerHostError),
    /// The state directory cannot be used.
    #[error("the runtime's state directory {path} cannot be used: {source}")]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The runtime, as the daemon holds it. Clones act on the same runtime.
#[derive(Clone)]
pub struct RuntimeHandle {
    queue: ActionQueue,
    backend: Backend,
    description: Arc<str>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Clone)]
enum Backend {
    Docker(Arc<DockerEngine>),
    Process(Arc<ProcessEngine>),
}

/// Starts the runtime that `config` asks for. Everything it has to say goes to `events`; a receiver that does not keep
/// up slows the runtime down, a dropped one silences it.
pub async fn start(config: RuntimeConfig, events: mpsc::Sender<RuntimeEvent>) -> Result<RuntimeHandle, RuntimeError> {
    let (use_docker, why) = match config.kind {
        RuntimeKind::Docker => (true, String::new()),
        RuntimeKind::Process => (false, String::new()),
        RuntimeKind::Auto => match DockerClient::new(config.docker_host.as_deref())?.answers(AUTO_LIMIT).await {
            Ok(()) => (true, String::new()),
            Err(why) => (false, format!(", since {why}")),
        },
    };
    if use_docker {
        let volumes = Arc::new(VolumeStore::new(&config.data_dir, &config.node).signed_by(config.tokens.clone()));
        let engine = Arc::new(DockerEngine::new(&config, Arc::clone(&volumes))?);
        let description = format!("Docker at {}", engine.address());
        Ok(assemble(Arc::clone(&engine), Backend::Docker(engine), Some(volumes), description, events))
    } else {
        let engine = Arc::new(ProcessEngine::open(&config, events.clone())?);
        let description = format!("host processes without isolation{why}");
        Ok(assemble(Arc::clone(&engine), Backend::Process(engine), None, description, events))
    }
}

impl RuntimeHandle {
    /// Queues an action. Its answer is an event. When [`ACTION_QUEUE_LIMIT`] actions wait already, the action
    /// is not carried out and is answered at once by its failure event, which says so.
    pub fn act(&self, action: RuntimeAction) {
        self.queue.push(action);
    }

    /// Reads a container's log. With `follow` the stream goes on until the container has ended and all of its log has
    /// been read.
    pub async fn logs(&self, id: ContainerRef, options: LogOptions) -> Result<LogStream, LogError> {
        let id = logs::which_attempt(id, &options)?;
        match &self.backend {
            Backend::Docker(engine) => engine.logs(&id, options).await,
            Backend::Process(engine) => engine.logs(&id, options).await,
        }
    }

    /// Whether a container of this node runs.
    pub async fn check_running(&self, id: &ContainerRef) -> Result<(), SessionError> {
        match &self.backend {
            Backend::Docker(engine) => engine.running(id).await.map(drop),
            Backend::Process(engine) => engine.running(id).await.map(drop),
        }
    }

    /// Runs a command in a container.
    pub async fn exec(&self, id: &ContainerRef, command: Vec<String>, wires: Wires) -> Result<Attached, SessionError> {
        match &self.backend {
            Backend::Docker(engine) => engine.open_exec(id, command, wires).await,
            Backend::Process(engine) => engine.open_exec(id, &command, wires).await,
        }
    }

    /// Connects with a container's own process, as it goes on.
    pub async fn attach(&self, id: &ContainerRef, wires: Wires) -> Result<Attached, SessionError> {
        match &self.backend {
            Backend::Docker(engine) => engine.open_attach(id, wires).await,
            Backend::Process(engine) => engine.open_attach(id, wires).await,
        }
    }

    /// Connects to a TCP port of a container's pod, at the pod's address: what listens on loopback inside alone is not
    /// reached.
    pub async fn dial(&self, id: &ContainerRef, port: u16) -> Result<TcpStream, SessionError> {
        match &self.backend {
            Backend::Docker(engine) => engine.open_port(id, port).await,
            Backend::Process(engine) => engine.open_port(id, port).await,
        }
    }

    /// What the containers of this node that run have used so far.
    ///
    /// # Errors
    /// When the engine does not answer; the text is for a person.
    pub async fn usage(&self) -> Result<Counters, String> {
        match &self.backend {
            Backend::Docker(engine) => engine.usage().await,
            Backend::Process(engine) => engine.usage().await,
        }
    }

    /// `docker` or `process`.
    pub fn kind(&self) -> &'static str {
        match &self.backend {
            Backend::Docker(_) => "docker",
            Backend::Process(_) => "process",
        }
    }

    /// The engine's images, if it has any.
    pub fn docker(&self) -> Option<DockerClient> {
        match &self.backend {
            Backend::Docker(engine) => Some(engine.client()),
            Backend::Process(_) => None,
        }
    }

    /// Which runtime this is and where, as part of a sentence for a person.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Stops carrying out actions and watching. Touches no container: they go on, and the next daemon finds them.
    /// What is being carried out gets two seconds to end.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        // Whoever is still at it after that is left behind; the next start adopts what it has begun.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.tasks.wait()).await;
    }
}

fn assemble<E: Engine>(
    engine: Arc<E>,
    backend: Backend,
    volumes: Option<Arc<VolumeStore>>,
    description: String,
    events: mpsc::Sender<RuntimeEvent>,
) -> RuntimeHandle {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let ledger = Arc::new(Ledger::default());
    let (queue, dispatcher) =
        dispatch::dispatcher(Arc::clone(&engine), Arc::clone(&ledger), volumes, events.clone(), stop.clone());
    tasks.spawn(dispatcher.run());
    let watching = stop.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = watching.cancelled() => {}
            () = engine.watch(&ledger, &events) => {}
        }
    });
    RuntimeHandle { queue, backend, description: description.into(), stop, tasks }
}

/// Kubernetes' name for a processor architecture, from Linux's or Rust's.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i686" | "i386" => "386",
        other => other,
    }
}
