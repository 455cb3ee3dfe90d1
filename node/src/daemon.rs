//! The daemon: starts the parts, connects them, and stops them in order. What they decide does not live here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use skein_core::node::{Input, Node, NodeConfig, StartError};
use skein_crdt_state::memo::MemoLimits;
use skein_crdt_state::{ClusterId, Memo};
use skein_gossip::{Keypair, NodeId, planted};
use skein_net::{NetConfig, NetError, NetEvent, NetHandle};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::api;
use crate::api::remote_logs::LogServer;
use crate::api::streams::node_side::SessionServer;
use crate::core_handle::CoreHandle;
use crate::disk::{self, Disk, DiskError, Rows, Written};
use crate::joining::host::Host;
use crate::metrics::Metrics;
use crate::pki::seal::{Opener, Seal, SealError};
use crate::pki::{PkiError, ServerIdentity};
use crate::runtime::{self, RuntimeConfig, RuntimeError, RuntimeHandle, RuntimeKind};
use crate::usage::Meter;

mod account_tokens;
pub mod addresses;
mod admission;
mod backend;
mod clock;
mod core_task;
mod enter;
mod events;
pub mod identity;
mod introduction;
mod keys;
mod open_files;
mod outbound;
mod sessions;
#[cfg(test)]
mod tests;
pub mod token;
mod tokens;
mod why;

use account_tokens::AccountTokens;
use admission::Doorkeeper;
pub use admission::JoinError;
pub(crate) use admission::become_client;
use clock::Clock;
use core_task::{Access, Shell};
use enter::{Entry, Place, enter};
use events::{Streams, forward};
use identity::{AddressBook, ClusterFile, IdentityError};
use keys::Keeper;
use outbound::Outbound;
use token::{JoinToken, ParseTokenError};

/// The most addresses that are remembered of one peer.
pub(crate) const MAX_ADDRESSES: usize = 16;
/// How long one leader stays at the front.
const TENURE: Duration = Duration::from_secs(600);
/// How often it is looked whether peers have moved, to remember it for the next start.
const REMEMBER_EVERY: Duration = Duration::from_secs(10);

/// What `skein up` and `skein join` ask for.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where peers connect to.
    pub listen: SocketAddr,
    /// Where clients connect to.
    pub api: SocketAddr,
    /// What peers are told to connect to, if that is not what is listened on.
    pub advertise: Vec<SocketAddr>,
    /// What runs containers.
    pub runtime: RuntimeKind,
    /// Where Docker's engine is, if not where it usually is.
    pub docker_host: Option<String>,
    /// The node's name; the machine's if there is none.
    pub name: Option<String>,
    /// The token to join with; without one a cluster is founded, or gone on with.
    pub join: Option<String>,
    /// Give up the cluster that the data directory belongs to, if it is another one.
    pub discard: bool,
    /// What opens the data directory; the key file beside it if nothing is said.
    pub opener: Option<Opener>,
    /// The daemon's version.
    pub version: String,
    /// Which rule it breaks, in builds with the feature `planted-bugs`; all others break none.
    pub planted: Option<planted::Bug>,
}

/// Why the daemon did not start, or stopped. The text is for whoever started it.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The data directory.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The token.
    #[error(transparent)]
    Token(#[from] ParseTokenError),
    /// Nobody let it in.
    #[error("this machine was not admitted: {0}")]
    Join(#[from] JoinError),
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The API.
    #[error(transparent)]
    Api(#[from] api::server::ListenError),
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The data directory is sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The container runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The state on disk does not fit.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It belongs to another cluster.
    #[error(
        "{dir} belongs to cluster {found}, and the token is for cluster {wanted}; use another --data-dir, or --discard to give the old cluster up"
    )]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// Its cluster.
        found: String,
        /// The token's.
        wanted: ClusterId,
    },
    /// The machine's own name cannot be used and none was given.
    #[error("this machine's name cannot be read; give the node one with --name")]
    Name,
    /// Something that the operating system refused.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// Runs until it is told to stop (SIGINT, SIGTERM) or has left its cluster.
///
/// # Errors
/// When it cannot start. What it wrote until then is what the next start goes on with.
pub async fn run(config: DaemonConfig) -> Result<(), DaemonError> {
    open_files::raise();
    identity::create_directory(&config.data_dir)?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    let opener = config.opener.clone().map_or_else(|| Opener::beside(&config.data_dir), Ok)?;
    let seal = Seal::open(&config.data_dir, &opener)?;
    let keys = identity::keypair(&config.data_dir, &seal)?;
    let token = config.join.as_deref().map(str::parse::<JoinToken>).transpose()?;
    let known = known_cluster(&config, token.as_ref())?;
    let (database, mut rows) = disk::open(&config.data_dir)?;
    let access = Access::default();
    let (net, events) = start_net(&config, &keys, &access).await?;
    let place = Place { dir: &config.data_dir, seal: &seal, database: &database };
    let entry = tokio::select! {
        entry = enter(&config, place, &mut rows, known, token, &keys, &net) => entry?,
        () = stop.cancelled() => return Ok(()),
    };
    assemble(config, keys, seal, entry, database, rows, access, net, events, stop).await
}

/// The cluster that the data directory belongs to, if it goes on with that one.
fn known_cluster(config: &DaemonConfig, token: Option<&JoinToken>) -> Result<Option<ClusterFile>, DaemonError> {
    let dir = &config.data_dir;
    let Some(file) = ClusterFile::load(dir)? else { return Ok(None) };
    let Some(token) = token else { return Ok(Some(file)) };
    if !config.discard {
        // A token of its own cluster says nothing new: it goes on.
        if token.cluster.to_string() == file.cluster {
            return Ok(Some(file));
        }
        return Err(DaemonError::OtherCluster { dir: dir.clone(), found: file.cluster, wanted: token.cluster });
    }
    warn!(cluster = %file.cluster, "giving up the cluster that this data directory belonged to");
    identity::discard(dir)?;
    Ok(None)
}

async fn start_net(
    config: &DaemonConfig,
    keys: &Keypair,
    access: &Access,
) -> Result<(NetHandle, mpsc::Receiver<NetEvent>), DaemonError> {
    let allowed = access.clone();
    let net_config = NetConfig {
        mdns: !config.listen.ip().is_loopback(),
        advertise: config.advertise.clone(),
        ..NetConfig::new(keys.clone(), vec![config.listen])
    };
    let is_member = move |peer: &_| allowed.read().unwrap_or_else(PoisonError::into_inner).contains(peer);
    Ok(skein_net::Net::start(net_config, is_member).await?)
}

#[expect(clippy::too_many_arguments, reason = "it is the one place where all parts meet")]
async fn assemble(
    config: DaemonConfig,
    keys: Keypair,
    seal: Seal,
    entry: Entry,
    database: redb::Database,
    rows: Rows,
    access: Access,
    net: NetHandle,
    events: mpsc::Receiver<NetEvent>,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let me = keys.node_id();
    let clock = Clock::start();
    let peer_addresses = peer_addresses(&config);
    let node_config = node_config(&config, &keys, &entry, &peer_addresses)?;
    let (node, damaged) = Node::start(node_config, clock.now(), rows)?;
    let metrics = Arc::new(Metrics::default());
    metrics.damaged_records.set(damaged.len() as u64);
    for record in damaged {
        error!(table = %record.table, key = %record.key, reason = %record.reason, "a record on disk is damaged; it is set aside and taken from the peers again");
    }
    let (handle, receiver) = CoreHandle::new();
    let disk = start_disk(database, &handle)?;
    let keeper = keeper(&config, &entry, seal, me, &handle, &net, &access)?;
    let (runtime, runtime_task) = start_runtime(&config, &entry, &keys, keeper.identity(), &handle).await?;
    let (turns, told) = watch::channel(None);
    let book = Arc::new(Mutex::new(entry.book));
    let shell = Shell {
        clock,
        handle: handle.clone(),
        net: net.clone(),
        disk,
        runtime: runtime.clone(),
        access,
        book: book.clone(),
        turns,
    };
    let core_task = tokio::spawn(core_task::run(node, receiver, shell));
    let keys_task = tokio::spawn(keeper.clone().run(told));
    let sessions = Arc::new(SessionServer::new(Arc::new(runtime.clone()), stop.clone()));
    let (host, guessed) = Host::new(me, entry.cluster, metrics.clone());
    let revoke_task = tokio::spawn(revoke_guessed(guessed, handle.clone()));
    let daemon = Arc::new(backend::Daemon {
        core: handle.clone(),
        net: net.clone(),
        runtime: runtime.clone(),
        sessions: sessions.clone(),
        meter: Meter::new(runtime.clone()),
        keeper: keeper.clone(),
        me,
        cluster: entry.cluster,
        addresses: peer_addresses.clone(),
        stop: stop.clone(),
        host: host.clone(),
        outbound: Outbound::default(),
        has_state: AtomicBool::default(),
    });
    let opened = Arc::new(OnceLock::new());
    let door = Doorkeeper {
        cluster: entry.cluster,
        core: handle.clone(),
        keeper: keeper.clone(),
        me,
        addresses: peer_addresses.clone(),
        book: book.clone(),
        metrics: metrics.clone(),
        said: Arc::default(),
        clock,
        host,
        api: opened.clone(),
    };
    let logs = Arc::new(LogServer::new(daemon.clone()));
    let events_task = tokio::spawn(forward(
        events,
        handle.clone(),
        door,
        Streams { logs, sessions, usage: daemon.clone(), keeper: keeper.clone() },
        book.clone(),
    ));
    let remember_task = tokio::spawn(remember(config.data_dir.clone(), handle.clone(), book));
    let api = backend::start_api(&config, keeper.identity(), daemon, metrics, &opened).await;
    if let Ok(api) = &api {
        info!(peers = %config.listen, api = %api.address(), runtime = runtime.description(), name = %entry.file.name, "skein is up");
        stop.cancelled().await;
        info!("stopping; containers keep running");
    }
    let result = match api {
        Ok(api) => {
            api.shutdown().await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    remember_task.abort();
    keys_task.abort();
    revoke_task.abort();
    events_task.abort();
    handle.stop().await;
    // The core's task drops the disk, which writes what is on its way first.
    let _ = core_task.await;
    runtime.shutdown().await;
    runtime_task.abort();
    net.shutdown().await;
    result
}

fn peer_addresses(config: &DaemonConfig) -> Vec<SocketAddr> {
    let mut all =
        if config.advertise.is_empty() { addresses::reachable(config.listen) } else { config.advertise.clone() };
    all.truncate(MAX_ADDRESSES);
    all
}

fn node_config(
    config: &DaemonConfig,
    keys: &Keypair,
    entry: &Entry,
    peer_addresses: &[SocketAddr],
) -> Result<NodeConfig, DaemonError> {
    let seed = u64::from_be_bytes(identity::random_bytes(&config.data_dir)?);
    let api = addresses::reachable(config.api);
    let name = entry.file.name.clone();
    let labels = [
        ("kubernetes.io/hostname", name.as_str()),
        ("kubernetes.io/os", std::env::consts::OS),
        ("kubernetes.io/arch", kubernetes_arch()),
    ];
    Ok(NodeConfig {
        keys: keys.clone(),
        cluster: entry.cluster,
        found: entry.file.founding_nonce(),
        address: peer_addresses.first().map(|address| address.ip().to_string()).unwrap_or_default(),
        peer_addresses: peer_addresses.iter().map(ToString::to_string).collect(),
        api_address: api.first().map(ToString::to_string).unwrap_or_default(),
        version: config.version.clone(),
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        seed,
        layout: skein_kube::schema::layout(),
        built_in: skein_kube::authorize::built_in::all(),
        memo: Memo::new(MemoLimits::DAEMON),
        serves_api: true,
        ca_certificate: entry.epochs.authorities(api::shell::now_ms()),
        keyring: entry.epochs.keyring(),
        tenure: TENURE,
        planted: config.planted,
        name,
    })
}

fn start_disk(database: redb::Database, handle: &CoreHandle) -> Result<Disk, DaemonError> {
    let written = handle.clone();
    Ok(Disk::start(database, move |done| {
        written.input_blocking(match done {
            Written::Until(batch) => Input::Persisted(batch),
            Written::Failed(batch, reason) => Input::PersistFailed(batch, reason),
        });
    })?)
}

async fn start_runtime(
    config: &DaemonConfig,
    entry: &Entry,
    keys: &Keypair,
    identity: Arc<ServerIdentity>,
    handle: &CoreHandle,
) -> Result<(RuntimeHandle, JoinHandle<()>), DaemonError> {
    let (sender, mut events) = mpsc::channel(1024);
    let mut runtime_config = RuntimeConfig::new(
        config.runtime,
        entry.cluster.to_string(),
        keys.node_id().to_string(),
        config.data_dir.clone(),
    );
    runtime_config.docker_host.clone_from(&config.docker_host);
    runtime_config.tokens = Some(Arc::new(AccountTokens::new(identity)));
    let runtime = runtime::start(runtime_config, sender).await?;
    let handle = handle.clone();
    let task = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if handle.input(Input::Runtime(event)).await.is_err() {
                return;
            }
        }
    });
    Ok((runtime, task))
}

/// What keeps the common secrets, and the certificate that is made of them.
fn keeper(
    config: &DaemonConfig,
    entry: &Entry,
    seal: Seal,
    me: NodeId,
    core: &CoreHandle,
    net: &NetHandle,
    access: &Access,
) -> Result<Arc<Keeper>, DaemonError> {
    let names = [entry.file.name.clone(), "kubernetes".to_owned(), "kubernetes.default".to_owned()];
    let own = addresses::reachable(config.api).into_iter().map(|address| address.ip());
    let identity = Arc::new(ServerIdentity::new(entry.epochs.clone(), names, own)?);
    let (dir, core, net, access) = (config.data_dir.clone(), core.clone(), net.clone(), access.clone());
    Ok(Arc::new(Keeper::new(dir, seal, entry.cluster, me, identity, core, net, access)))
}

/// Writes down where peers are whenever that has changed.
async fn remember(dir: PathBuf, core: CoreHandle, book: Arc<Mutex<AddressBook>>) {
    let mut written = AddressBook::new();
    loop {
        let said = core.query(|node, _| backend::reported_addresses(node)).await;
        let Ok(said) = said else { return };
        let now = {
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            book.extend(said);
            book.clone()
        };
        if now != written {
            match identity::store_addresses(&dir, &now) {
                Ok(()) => written = now,
                Err(error) => warn!(%error, "where the peers are could not be written down"),
            }
        }
        tokio::time::sleep(REMEMBER_EVERY).await;
    }
}

/// Revokes the tokens of invitations that wrong codes have ended.
async fn revoke_guessed(mut guessed: mpsc::Receiver<JoinToken>, core: CoreHandle) {
    while let Some(token) = guessed.recv().await {
        if let Err(error) = tokens::revoke_guessed(&core, &token).await {
            warn!(token = %token.id(), %error, "the token of an invitation that is over could not be revoked; revoke it by its id");
        }
    }
}

fn stop_on_signals(stop: CancellationToken) -> Result<(), DaemonError> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

fn machine_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    let name = name.split('.').next()?.to_ascii_lowercase();
    (!name.is_empty()).then_some(name)
}

fn kubernetes_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Whether a path can be a data directory: for messages before anything is started.
#[must_use]
pub fn belongs_to_a_cluster(dir: &Path) -> bool {
    ClusterFile::load(dir).is_ok_and(|file| file.is_some())
}
