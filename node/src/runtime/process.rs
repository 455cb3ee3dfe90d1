//! Containers as plain processes of this machine, for where there is no Docker. There is no isolation: files, users and
//! network are the host's, images are ignored, CPU and memory limits are not enforced. A pod has an address of 127/8 of its
//! own in `$POD_IP` and should listen there; published TCP ports are passed on to it. With the host's network neither
//! is the case. Containers have neither terminal nor stdin; what is run beside them by `exec` has stdin.
//!
//! Each process is held by a shim that outlives the daemon; all that is known of it is in its state directory.

pub(super) mod address;
mod forward;
mod log_reader;
mod log_writer;
mod session;
pub(super) mod shim;
mod state;
mod whole;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use skein_core::model::account::{MOUNT_PATH, is_given};
use skein_core::runtime::{
    Capacity, ContainerInfo, ContainerRef, ContainerSpec, Exit, Login, ProbeAction, PullPolicy, RuntimeEvent, Security,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use self::log_reader::LogReader;
use self::state::{Found, Record, StateDir};
use super::engine::{Engine, ImageError, StartError};
use super::ledger::Ledger;
use super::logs::{LineFilter, LogError, LogOptions, LogStream};
use super::usage::{Counters, Processes};
use super::{RuntimeConfig, RuntimeError, ShimCommand, probe, timestamp};

/// What the daemon may have been told in its environment that opens its data directory or lets somebody in.
const SECRET_VARIABLES: [&str; 2] = ["SKEIN_PASSPHRASE", "SKEIN_TOKEN"];
/// How long a shim may take to start its process.
const SHIM_LIMIT: Duration = Duration::from_secs(10);
/// How long after the grace a container may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How often a log that is followed is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
/// How often a container is looked at although nothing was heard of it.
const RECHECK_INTERVAL: Duration = Duration::from_secs(2);
/// The most that is kept of what a probe's command says, in bytes.
const PROBE_OUTPUT_BYTES: u64 = 4096;

/// The `process` runtime.
#[derive(Debug)]
pub(super) struct ProcessEngine {
    root: PathBuf,
    cluster: String,
    node: String,
    shim: ShimCommand,
    max_pods: u32,
    log_max_bytes: u64,
    events: mpsc::Sender<RuntimeEvent>,
}

impl ProcessEngine {
    /// Opens the state below the data directory. Directories in which nothing ever ran are removed.
    pub(super) fn open(config: &RuntimeConfig, events: mpsc::Sender<RuntimeEvent>) -> Result<Self, RuntimeError> {
        let root = config.data_dir.join("process");
        let unusable = |source| RuntimeError::StateDirectory { path: root.clone(), source };
        fs::create_dir_all(&root).map_err(unusable)?;
        for dir in StateDir::all(&root).map_err(unusable)? {
            if matches!(dir.look(), Ok(Found::Unstarted)) {
                // What cannot be removed now is removed by the start of the same container.
                let _ = dir.remove();
            }
        }
        Ok(ProcessEngine {
            root,
            cluster: config.cluster.clone(),
            node: config.node.clone(),
            shim: config.shim.clone(),
            max_pods: config.max_pods,
            log_max_bytes: config.log_max_bytes,
            events,
        })
    }

    fn dir(&self, id: &ContainerRef) -> Option<StateDir> {
        StateDir::of(&self.root, id)
    }

    /// What is there under this id and is ours. A shim that is about to say that it started is waited for.
    async fn look(&self, id: &ContainerRef) -> io::Result<Found> {
        let Some(dir) = self.dir(id) else { return Ok(Found::Absent) };
        let found = settled(&dir).await?;
        if let Found::Running(record, _) | Found::Ended(record, ..) = &found
            && !self.is_ours(record)
        {
            let words = format!("{} belongs to node {}, not to this one", dir.path().display(), record.node);
            return Err(io::Error::other(words));
        }
        Ok(found)
    }

    fn is_ours(&self, record: &Record) -> bool {
        record.cluster == self.cluster && record.node == self.node
    }

    async fn record_for(&self, spec: &ContainerSpec) -> Result<Record, StartError> {
        let mut holds_address = false;
        let ip = if spec.host_network {
            None
        } else if let Some(other) = &spec.network_of {
            match self.look(other).await {
                Ok(Found::Running(record, _)) => record.ip,
                _ => {
                    return Err(StartError::create(format!(
                        "container \"{}\" of its pod does not run",
                        other.container
                    )));
                }
            }
        } else {
            holds_address = true;
            Some(self.address(&spec.id).to_string())
        };
        let mut env = vec![
            ("PATH".to_owned(), std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned())),
            ("HOSTNAME".to_owned(), if spec.hostname.is_empty() { &spec.pod } else { &spec.hostname }.clone()),
        ];
        env.extend(ip.clone().map(|ip| ("POD_IP".to_owned(), ip)));
        // A later one counts, so the pod's own words come last.
        env.extend(spec.env.iter().cloned());
        let (cluster, node) = (self.cluster.clone(), self.node.clone());
        let log_max_bytes = self.log_max_bytes;
        Ok(Record { cluster, node, spec: spec.clone(), ip, holds_address, env, log_max_bytes })
    }

    /// A pod keeps its address while any of its containers is there.
    fn address(&self, id: &ContainerRef) -> std::net::Ipv4Addr {
        let own = |dir: &StateDir| dir.record().ok().filter(|record| record.spec.id.uid == id.uid)?.ip?.parse().ok();
        let known = StateDir::all(&self.root).unwrap_or_default().iter().find_map(own);
        known.unwrap_or_else(|| address::choose(&id.uid))
    }

    /// Starts the shim and hears whether it could start the process.
    async fn run_shim(&self, dir: &StateDir) -> Result<(), StartError> {
        let shim = &self.shim;
        let mut command = tokio::process::Command::new(&shim.program);
        command.args(&shim.args).arg(dir.path()).current_dir("/").arg0("skein");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        // The shim outlives the daemon, and /proc shows what it was started with.
        for name in SECRET_VARIABLES {
            command.env_remove(name);
        }
        let mut child = command
            .spawn()
            .map_err(|error| StartError::run(format!("the shim {} cannot be run: {error}", shim.program.display())))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let mut said = BufReader::new(stdout.take(4096));
            // Silence is judged below, whatever the reason.
            let _ = timeout(SHIM_LIMIT, said.read_line(&mut line)).await;
        }
        // Somebody has to collect the shim when it ends before the daemon does.
        tokio::spawn(async move { child.wait().await });
        match line.trim_end().split_once(' ') {
            None if line == "started\n" => Ok(()),
            Some(("failed", message)) => Err(StartError::run(message)),
            _ => Err(StartError::run(format!("its shim did not start it within {} s", SHIM_LIMIT.as_secs()))),
        }
    }

    async fn create_and_start(&self, dir: &StateDir, spec: &ContainerSpec) -> Result<ContainerInfo, StartError> {
        if spec.command.is_empty() && spec.args.is_empty() {
            return Err(StartError::create(
                "the process runtime ignores the image, so the container needs a command: give it one, or run this node with Docker",
            ));
        }
        if let Some(what) = beyond(spec) {
            let why = format!("the process runtime has no isolation and cannot {what}; run this node with Docker");
            return Err(StartError::create(why));
        }
        let record = self.record_for(spec).await?;
        dir.create(&record)
            .map_err(|error| StartError::create(format!("its directory {}: {error}", dir.path().display())))?;
        if spec.id.attempt == 0 {
            let message =
                format!("The process runtime ignores the image \"{}\" and runs the command on the host", spec.image);
            let notice = RuntimeEvent::Notice { id: spec.id.clone(), reason: "ImageIgnored".to_owned(), message };
            let _ = self.events.send(notice).await;
        }
        self.run_shim(dir).await?;
        match dir.look() {
            Ok(Found::Running(record, started)) => Ok(state::info(&record, Some(&started), None)),
            Ok(Found::Ended(record, started, ended)) => Ok(state::info(&record, started.as_ref(), Some(&ended))),
            Ok(_) => Err(StartError::run("its state directory vanished while it started")),
            Err(error) => Err(StartError::run(error.to_string())),
        }
    }

    /// Where network probes go.
    async fn probe_target(&self, id: &ContainerRef) -> Result<(String, Box<Record>), String> {
        match self.look(id).await {
            Ok(Found::Running(record, _)) => Ok((record.ip.clone().unwrap_or_else(|| "127.0.0.1".to_owned()), record)),
            Ok(_) => Err("the container does not run".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Engine for ProcessEngine {
    async fn list(&self) -> Result<Vec<ContainerInfo>, String> {
        let dirs = StateDir::all(&self.root).map_err(|error| format!("{}: {error}", self.root.display()))?;
        let mut infos = Vec::new();
        for dir in dirs {
            match settled(&dir).await {
                Ok(Found::Running(record, started)) if self.is_ours(&record) => {
                    infos.push(state::info(&record, Some(&started), None));
                }
                Ok(Found::Ended(record, started, ended)) if self.is_ours(&record) => {
                    infos.push(state::info(&record, started.as_ref(), Some(&ended)));
                }
                Ok(_) => {}
                Err(error) => tracing::warn!("left out of the list: {}: {error}", dir.path().display()),
            }
        }
        Ok(infos)
    }

    async fn ensure_image(&self, _image: &str, _policy: PullPolicy, _logins: &[Login]) -> Result<(), ImageError> {
        Ok(())
    }

    async fn start(&self, spec: &ContainerSpec) -> Result<ContainerInfo, StartError> {
        let unsound = || StartError::create("its uid or name is not one that Kubernetes would allow");
        let dir = self.dir(&spec.id).ok_or_else(unsound)?;
        match self.look(&spec.id).await.map_err(|error| StartError::create(error.to_string()))? {
            Found::Running(record, started) => return Ok(state::info(&record, Some(&started), None)),
            Found::Ended(record, started, ended) => return Ok(state::info(&record, started.as_ref(), Some(&ended))),
            Found::Starting => return Err(StartError::run("its shim is there and does not start it")),
            Found::Absent => {}
            Found::Unstarted => dir.remove().map_err(|error| StartError::create(error.to_string()))?,
        }
        let result = self.create_and_start(&dir, spec).await;
        if result.is_err() {
            // A leftover is no container: it is never listed, and the next start removes it.
            let _ = dir.remove();
        }
        result
    }

    async fn stop(&self, id: &ContainerRef, grace: Duration) -> Result<Exit, String> {
        let gone =
            Exit { message: "it was gone already".to_owned(), finished_at_ms: timestamp::now_ms(), ..Exit::default() };
        let Some(dir) = self.dir(id) else { return Ok(gone) };
        match self.look(id).await.map_err(|error| error.to_string())? {
            Found::Absent | Found::Unstarted => return Ok(gone),
            Found::Ended(_, _, ended) => return Ok(state::exit(&ended)),
            Found::Starting => return Err("it has not started yet".to_owned()),
            Found::Running(..) => {}
        }
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        // A shim that ended meanwhile cannot be asked; the next look tells.
        let asked = dir.ask_to_stop(grace_ms);
        let _ = timeout(grace.saturating_add(KILL_LIMIT), until_free(&dir)).await;
        match (self.look(id).await.map_err(|error| error.to_string())?, asked) {
            (Found::Ended(_, _, ended), _) => Ok(state::exit(&ended)),
            (Found::Absent, _) => Ok(gone),
            (_, Err(error)) => Err(format!("its shim cannot be asked to stop it: {error}")),
            _ => Err(format!("it still runs {} s after it was killed", KILL_LIMIT.as_secs())),
        }
    }

    async fn remove(&self, id: &ContainerRef) -> Result<(), String> {
        let Some(dir) = self.dir(id) else { return Ok(()) };
        if matches!(self.look(id).await, Ok(Found::Running(..))) {
            self.stop(id, Duration::ZERO).await?;
        }
        let path = dir.path().display().to_string();
        match spawn_blocking(move || dir.remove()).await {
            Ok(removed) => removed.map_err(|error| format!("{path}: {error}")),
            Err(error) => Err(format!("{path}: {error}")),
        }
    }

    async fn probe(&self, id: &ContainerRef, action: &ProbeAction, limit: Duration) -> Result<(), String> {
        let (own, record) = self.probe_target(id).await?;
        match action {
            ProbeAction::Exec(command) => exec(command, &record, limit).await,
            ProbeAction::HttpGet { host, port, path, https, headers } => {
                let host = host.as_deref().unwrap_or(&own);
                probe::http_get(probe::HttpGet { host, port: *port, path, https: *https, headers }, limit).await
            }
            ProbeAction::TcpSocket { host, port } => {
                probe::tcp_connect(host.as_deref().unwrap_or(&own), *port, limit).await
            }
            ProbeAction::Grpc { port, service } => probe::grpc(&own, *port, service, limit).await,
        }
    }

    async fn logs(&self, id: &ContainerRef, options: LogOptions) -> Result<LogStream, LogError> {
        let dir = self.dir(id).ok_or_else(|| LogError::not_found(id))?;
        match self.look(id).await {
            Ok(Found::Running(..) | Found::Ended(..)) => {}
            Ok(_) => return Err(LogError::not_found(id)),
            Err(error) => return Err(LogError::engine(id, error.to_string())),
        }
        let (path, tail) = (dir.log(), options.tail_lines);
        let reader = match spawn_blocking(move || LogReader::open(&path, tail)).await {
            Ok(Ok(reader)) => reader,
            Ok(Err(error)) => return Err(LogError::engine(id, error.to_string())),
            Err(error) => return Err(LogError::engine(id, error.to_string())),
        };
        let (sender, stream) = LogStream::channel();
        tokio::spawn(async move {
            if let Err(error) = pump(reader, &dir, &options, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(stream)
    }

    async fn watch(&self, ledger: &Ledger, events: &mpsc::Sender<RuntimeEvent>) {
        let _ = events.send(RuntimeEvent::Capacity(capacity(self.max_pods))).await;
        let mut watched = BTreeSet::new();
        let mut watchers: JoinSet<ContainerRef> = JoinSet::new();
        loop {
            for id in ledger.all_running() {
                let Some(dir) = self.dir(&id) else { continue };
                if watched.insert(id.clone()) {
                    watchers.spawn(async move {
                        until_free(&dir).await;
                        id
                    });
                }
            }
            tokio::select! {
                () = ledger.changed() => {}
                Some(Ok(id)) = watchers.join_next() => {
                    watched.remove(&id);
                    self.tell_exit(&id, ledger, events).await;
                }
            }
        }
    }
}

impl ProcessEngine {
    /// What our containers that run have used so far.
    pub(super) async fn usage(&self) -> Result<Counters, String> {
        let dirs = StateDir::all(&self.root).map_err(|error| format!("{}: {error}", self.root.display()))?;
        let running = |dir: StateDir| match dir.look() {
            Ok(Found::Running(record, started)) => Some((record, started.pid)),
            _ => None,
        };
        let running: Vec<_> = dirs.into_iter().filter_map(running).filter(|(record, _)| self.is_ours(record)).collect();
        let counted = spawn_blocking(move || {
            let processes = Processes::now();
            running.into_iter().map(|(record, pid)| (record.spec.id.clone(), processes.used_by(pid))).collect()
        });
        counted.await.map_err(|error| error.to_string())
    }

    async fn tell_exit(&self, id: &ContainerRef, ledger: &Ledger, events: &mpsc::Sender<RuntimeEvent>) {
        let exit = match self.look(id).await {
            Ok(Found::Ended(_, _, ended)) => state::exit(&ended),
            Ok(Found::Running(..) | Found::Starting) => return,
            Ok(Found::Absent | Found::Unstarted) => {
                let message = "its state directory is gone".to_owned();
                Exit { message, finished_at_ms: timestamp::now_ms(), ..Exit::default() }
            }
            Err(error) => Exit { message: error.to_string(), finished_at_ms: timestamp::now_ms(), ..Exit::default() },
        };
        if ledger.claim_exit(id) {
            let _ = events.send(RuntimeEvent::Exited { id: id.clone(), exit }).await;
        }
    }
}

/// What a container asks for that host processes cannot be given.
fn beyond(spec: &ContainerSpec) -> Option<&'static str> {
    let see_and_nothing_else =
        Security { host_pid: spec.security.host_pid, host_ipc: spec.security.host_ipc, ..Security::default() };
    match spec {
        // A token that a pod did not ask for it does without.
        spec if spec.mounts.iter().any(|mount| !is_given(&mount.volume) || mount.path != MOUNT_PATH) => {
            Some("mount volumes")
        }
        spec if !spec.host_aliases.is_empty() => Some("honour hostAliases"),
        // That they see the host's processes is no wish but a fact.
        spec if spec.security != see_and_nothing_else => Some("honour a securityContext"),
        _ => None,
    }
}

/// What is there, once a shim that has just begun is done with it.
async fn settled(dir: &StateDir) -> io::Result<Found> {
    for _ in 0..SHIM_LIMIT.as_millis() / 20 {
        match dir.look()? {
            Found::Starting => sleep(Duration::from_millis(20)).await,
            found => return Ok(found),
        }
    }
    Ok(Found::Starting)
}

/// Waits until no shim holds the directory any more.
async fn until_free(dir: &StateDir) {
    loop {
        let alive = tokio::net::unix::pipe::OpenOptions::new().open_receiver(dir.alive());
        if !dir.is_held() {
            return;
        }
        // The fifo has an end when the shim has. Where that cannot be seen, the lock is looked at again.
        match alive {
            Ok(mut alive) => drop(timeout(RECHECK_INTERVAL, alive.read(&mut [0; 16])).await),
            Err(_) => sleep(FOLLOW_INTERVAL).await,
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// Reads a log into a stream until its end.
async fn pump(
    mut reader: LogReader,
    dir: &StateDir,
    options: &LogOptions,
    sender: &mpsc::Sender<io::Result<bytes::Bytes>>,
) -> io::Result<()> {
    let mut filter = LineFilter::new(options);
    loop {
        // Asked before reading: what was written until then is read now.
        let last = !options.follow || !dir.is_held();
        loop {
            let more;
            let mut out = Vec::new();
            (reader, filter, out, more) = spawn_blocking(move || {
                let more = reader.read(&mut filter, &mut out);
                (reader, filter, out, more)
            })
            .await
            .map_err(io::Error::other)?;
            if !out.is_empty() && sender.send(Ok(out.into())).await.is_err() {
                return Ok(());
            }
            if filter.is_full() {
                return Ok(());
            }
            if !more? {
                break;
            }
        }
        if last {
            return Ok(());
        }
        tokio::select! {
            () = sleep(FOLLOW_INTERVAL) => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

/// Runs a probe's command as the container would, and kills it with all it started when the time is over.
async fn exec(command: &[String], record: &Record, limit: Duration) -> Result<(), String> {
    let (program, args) = command.split_first().ok_or("the exec probe has no command")?;
    let workplace = if record.spec.working_dir.is_empty() { "/" } else { &record.spec.working_dir };
    let mut command = tokio::process::Command::new(program);
    command.args(args).env_clear().envs(record.env.iter().map(|(name, value)| (name, value))).current_dir(workplace);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("exec probe: \"{program}\" cannot be run: {error}"))?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(nix::unistd::Pid::from_raw);
    let run = async {
        let mut output = Vec::new();
        if let Some(mut stdout) = child.stdout.take() {
            // What is beyond the limit is thrown away, so that the command does not wait for a reader.
            let _ = (&mut stdout).take(PROBE_OUTPUT_BYTES).read_to_end(&mut output).await;
            let _ = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
        }
        (child.wait().await, output)
    };
    match timeout(limit, run).await {
        Ok((Ok(status), output)) => probe::exec_result(status.code().map(i64::from), &output),
        Ok((Err(error), _)) => Err(format!("exec probe: {error}")),
        Err(_) => {
            if let Some(group) = group {
                let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            }
            Err(format!("exec probe: the command did not end within {} ms", limit.as_millis()))
        }
    }
}

fn capacity(max_pods: u32) -> Capacity {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Capacity {
        ready: true,
        message: String::new(),
        runtime_version: concat!("process://", env!("CARGO_PKG_VERSION")).to_owned(),
        cpu_millis: cores as u64 * 1000,
        memory_bytes: memory_bytes(Path::new("/proc/meminfo")).unwrap_or(0),
        max_pods,
        images: std::collections::BTreeMap::new(),
        os_image: os_image(Path::new("/etc/os-release")).unwrap_or_else(|| "Linux".to_owned()),
        kernel_version: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        architecture: super::architecture(std::env::consts::ARCH).to_owned(),
    }
}

fn memory_bytes(meminfo: &Path) -> Option<u64> {
    let text = fs::read_to_string(meminfo).ok()?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?;
    kilobytes.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn os_image(release: &Path) -> Option<String> {
    let text = fs::read_to_string(release).ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_what_it_has() {
        let capacity = capacity(7);
        assert!(capacity.ready && capacity.cpu_millis >= 1000 && capacity.memory_bytes > 1 << 20, "{capacity:?}");
        assert!(!capacity.kernel_version.is_empty() && !capacity.architecture.is_empty());
    }
}
