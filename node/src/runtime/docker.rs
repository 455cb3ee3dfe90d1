//! Containers of a Docker engine, or of one that speaks its API from version 1.41 on, such as Podman's. Several nodes
//! may share one engine: only containers that carry the labels of this cluster and this node are listed or touched.
//!
//! A container that shares another one's network (`network_of`) can publish no ports: the one that holds the network
//! publishes those of the whole pod.

mod connection;
mod container;
mod hijack;
mod image;
mod logs;
mod session;
mod usage;
mod watch;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{ContainerInspectResponse, ContainerSummaryStateEnum, Mount, MountType};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, ListContainersOptions, RemoveContainerOptions,
    StartContainerOptions, StopContainerOptions,
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use skein_core::runtime::{
    ContainerInfo, ContainerRef, ContainerSpec, ContainerState, Exit, Login, ProbeAction, PullPolicy, RuntimeEvent,
};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::connection::Connection;
pub use self::connection::DockerHostError;
use self::container::Owner;
use super::engine::{Engine, ImageError, StartError};
use super::ledger::Ledger;
use super::logs::{LogError, LogOptions, LogStream};
use super::volumes::VolumeStore;
use super::{LABEL_CLUSTER, LABEL_NODE, RuntimeConfig, boot, probe, timestamp};

/// How many containers are inspected at once for a list.
const INSPECTIONS_LIMIT: usize = 8;
/// How many containers are removed at once.
const REMOVALS_LIMIT: usize = 8;
/// What the engine may take beyond the grace to stop a container.
const KILL_LIMIT: Duration = Duration::from_secs(15);
/// The most that is kept of what a probe's command says, in bytes.
const PROBE_OUTPUT_BYTES: usize = 4096;

/// An engine's images, and the containers of a whole cluster on it: for who sets up a cluster and takes it down again.
#[derive(Debug, Clone)]
pub struct DockerClient(Connection);

impl DockerClient {
    /// A client of the engine at `host`, at `$DOCKER_HOST`, or at Docker's default. Connects to nothing yet.
    pub fn new(host: Option<&str>) -> Result<DockerClient, DockerHostError> {
        Connection::new(host).map(DockerClient)
    }

    /// Whether an engine answers within `limit`; if not, why, in words for a person.
    pub async fn answers(&self, limit: Duration) -> Result<(), String> {
        match timeout(limit, self.0.connect()).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(format!("no Docker engine answered at {} within {} ms", self.0.address(), limit.as_millis())),
        }
    }

    /// Makes an image of a tar archive with its root directory. `changes` are instructions of a Dockerfile, such as
    /// `CMD ["/web"]`. An image of that name is replaced.
    pub async fn import_image(&self, image: &str, tar: impl Into<Bytes>, changes: Vec<String>) -> Result<(), String> {
        image::import(&self.0.docker().await?, image, tar.into(), changes).await
    }

    /// Removes an image. One that is gone is no failure, one that is in use is.
    pub async fn remove_image(&self, image: &str) -> Result<(), String> {
        image::remove(&self.0.docker().await?, image).await
    }

    /// All containers of a cluster, of all its nodes, running or not.
    pub async fn containers_of(&self, cluster: &str) -> Result<Vec<ListedContainer>, String> {
        let found = self.listed(&self.0.docker().await?, cluster).await?;
        Ok(found.into_iter().map(|(_, container)| container).collect())
    }

    /// Kills and removes all containers of a cluster, of all its nodes. The result is their number.
    pub async fn remove_containers_of(&self, cluster: &str) -> Result<usize, String> {
        self.remove_where(cluster, |_| true).await
    }

    /// Kills and removes all containers of one node of a cluster, as the loss of its machine would. The result is their
    /// number.
    pub async fn remove_containers_of_node(&self, cluster: &str, node: &str) -> Result<usize, String> {
        self.remove_where(cluster, |container| container.node == node).await
    }

    async fn remove_where(&self, cluster: &str, wanted: impl Fn(&ListedContainer) -> bool) -> Result<usize, String> {
        let docker = self.0.docker().await?;
        let found = self.listed(&docker, cluster).await?;
        let docker = &docker;
        let removals = found.into_iter().filter(|(_, container)| wanted(container));
        let removals = removals.map(|(id, _)| async move { remove(docker, &id).await });
        let removed: Vec<Result<(), String>> = stream::iter(removals).buffer_unordered(REMOVALS_LIMIT).collect().await;
        let count = removed.len();
        removed.into_iter().collect::<Result<(), String>>().map(|()| count)
    }

    /// The containers with their ids. What the filter lets through is looked at again: removing is final.
    async fn listed(&self, docker: &Docker, cluster: &str) -> Result<Vec<(String, ListedContainer)>, String> {
        let filters = [("label".to_owned(), vec![format!("{LABEL_CLUSTER}={cluster}")])].into();
        let options = ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
        let found = docker.list_containers(Some(options)).await.map_err(|error| words::of(&error))?;
        let listed = found.into_iter().filter_map(|summary| {
            let labels = summary.labels.unwrap_or_default();
            let node = labels.get(LABEL_NODE).cloned().unwrap_or_default();
            let is_running = summary.state == Some(ContainerSummaryStateEnum::RUNNING);
            let is_theirs = labels.get(LABEL_CLUSTER).is_some_and(|value| value == cluster);
            is_theirs.then_some((summary.id?, ListedContainer { node, is_running }))
        });
        Ok(listed.collect())
    }
}

/// A container of a cluster, as its engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedContainer {
    /// The id of the node that it belongs to.
    pub node: String,
    /// Whether it runs.
    pub is_running: bool,
}

/// The `docker` runtime.
#[derive(Debug)]
pub(super) struct DockerEngine {
    connection: Connection,
    owner: Owner,
    max_pods: u32,
    volumes: Arc<VolumeStore>,
    /// The engine's ids of our containers, to find them without a search. What it says is checked by the labels.
    ids: Mutex<BTreeMap<ContainerRef, String>>,
}

impl DockerEngine {
    pub(super) fn new(config: &RuntimeConfig, volumes: Arc<VolumeStore>) -> Result<DockerEngine, DockerHostError> {
        Ok(DockerEngine {
            connection: Connection::new(config.docker_host.as_deref())?,
            owner: Owner { cluster: config.cluster.clone(), node: config.node.clone(), boot: boot::id() },
            max_pods: config.max_pods,
            volumes,
            ids: Mutex::default(),
        })
    }

    /// Where the engine listens.
    pub(super) fn address(&self) -> String {
        self.connection.address().to_string()
    }

    pub(super) fn client(&self) -> DockerClient {
        DockerClient(self.connection.clone())
    }

    /// A container of ours, by its labels. Errors are words for a person.
    async fn find(&self, id: &ContainerRef) -> Result<Option<ContainerInspectResponse>, String> {
        let docker = self.connection.docker().await?;
        let known = self.ids().get(id).cloned();
        if let Some(known) = known
            && let Some(found) = self.inspect(&docker, &known).await?
            && self.is(&found, id)
        {
            return Ok(Some(found));
        }
        let filters = Some(self.owner.filter(Some(id)));
        let options = ListContainersOptions { all: true, filters, ..ListContainersOptions::default() };
        let listed = docker.list_containers(Some(options)).await.map_err(|error| words::of(&error))?;
        for summary in listed {
            let Some(engine_id) = summary.id else { continue };
            if let Some(found) = self.inspect(&docker, &engine_id).await?
                && self.is(&found, id)
            {
                self.ids().insert(id.clone(), engine_id);
                return Ok(Some(found));
            }
        }
        self.ids().remove(id);
        Ok(None)
    }

    async fn inspect(&self, docker: &Docker, name: &str) -> Result<Option<ContainerInspectResponse>, String> {
        match docker.inspect_container(name, None::<InspectContainerOptions>).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if words::is_missing(&error) => Ok(None),
            Err(error) => Err(words::of(&error)),
        }
    }

    fn is(&self, found: &ContainerInspectResponse, id: &ContainerRef) -> bool {
        let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
        self.owner.container(labels).as_ref() == Some(id)
    }

    /// The pod's address: its own, or that of the container whose network it shares.
    async fn address_of(&self, docker: &Docker, found: &ContainerInspectResponse) -> Option<String> {
        match container::address(found) {
            (ip, None) => ip,
            (_, Some(other)) => container::address(&self.inspect(docker, &other).await.ok()??).0,
        }
    }

    /// Where the pod of a container is reached from this host.
    async fn reachable_at(&self, found: &ContainerInspectResponse) -> Result<String, String> {
        let mode = found.host_config.as_ref().and_then(|config| config.network_mode.as_deref());
        if mode == Some("host") {
            return Ok("127.0.0.1".to_owned());
        }
        let docker = self.connection.docker().await?;
        self.address_of(&docker, found).await.ok_or_else(|| "the pod has no address".to_owned())
    }

    async fn info(&self, docker: &Docker, found: &ContainerInspectResponse) -> Option<ContainerInfo> {
        let ip = self.address_of(docker, found).await;
        let info = container::info(&self.owner, found, ip)?;
        if let Some(engine_id) = &found.id {
            self.ids().insert(info.id.clone(), engine_id.clone());
        }
        Some(info)
    }

    /// Creates it, or finds it created. The result is the engine's id.
    async fn create(&self, docker: &Docker, spec: &ContainerSpec) -> Result<String, StartError> {
        let name = container::name(spec);
        if let Some(id) = self.created(docker, &name, spec).await? {
            return Ok(id);
        }
        let network_of = self.shared(spec.network_of.as_ref()).await?;
        let mut body = container::create_body(&self.owner, spec, network_of.as_deref());
        if let (Some(other), Some(host)) = (self.shared(spec.pid_of.as_ref()).await?, body.host_config.as_mut()) {
            host.pid_mode = Some(format!("container:{other}"));
        }
        let security = &spec.security;
        if security.user.is_none() && (security.non_root || security.group.is_some()) {
            let of_image = image::user(docker, &spec.image).await.map_err(StartError::create)?;
            if security.non_root {
                container::check_non_root(spec, &of_image).map_err(StartError::configure)?;
            }
            // A group needs a user beside it, with Docker.
            body.user = security.group.map(|group| container::with_group(&of_image, group));
        }
        if let Some(host) = body.host_config.as_mut().filter(|_| !spec.mounts.is_empty()) {
            host.mounts = Some(self.mounts(spec).await?);
        }
        let options = CreateContainerOptions { name: Some(name.clone()), ..CreateContainerOptions::default() };
        match docker.create_container(Some(options), body).await {
            Ok(created) => Ok(created.id),
            Err(error) if words::is_conflict(&error) => {
                self.created(docker, &name, spec).await?.ok_or_else(|| StartError::create(words::of(&error)))
            }
            Err(error) if words::is_missing(&error) => {
                Err(StartError::create(format!("image \"{}\" is not on this node: {}", spec.image, words::of(&error))))
            }
            Err(error) => Err(StartError::create(words::of(&error))),
        }
    }

    /// The engine's id of a container of the same pod that another one shares something with.
    async fn shared(&self, other: Option<&ContainerRef>) -> Result<Option<String>, StartError> {
        let Some(other) = other else { return Ok(None) };
        let found = self.find(other).await.map_err(StartError::create)?;
        let gone = || StartError::create(format!("container \"{}\" of its pod is not there", other.container));
        found.and_then(|found| found.id).ok_or_else(gone).map(Some)
    }

    /// Where the mounts lead to. Lets the file system work without making others wait.
    async fn mounts(&self, spec: &ContainerSpec) -> Result<Vec<Mount>, StartError> {
        let (volumes, uid, mounts) = (Arc::clone(&self.volumes), Arc::clone(&spec.id.uid), spec.mounts.clone());
        let sources = spawn_blocking(move || -> Result<Vec<PathBuf>, String> {
            mounts.iter().map(|mount| volumes.source(&uid, mount)).collect()
        });
        let sources = sources.await.map_err(|error| StartError::create(error.to_string()))?;
        let mount = |(mount, source): (&skein_core::runtime::Mount, PathBuf)| {
            let source = source.into_os_string().into_string();
            Ok(Mount {
                typ: Some(MountType::BIND),
                source: Some(source.map_err(|_| StartError::create("a volume's path is no text"))?),
                target: Some(mount.path.clone()),
                read_only: Some(mount.read_only),
                ..Mount::default()
            })
        };
        spec.mounts.iter().zip(sources.map_err(StartError::create)?).map(mount).collect()
    }

    /// The engine's id of a container that exists under the name, if it is the one that is meant.
    async fn created(&self, docker: &Docker, name: &str, spec: &ContainerSpec) -> Result<Option<String>, StartError> {
        match self.inspect(docker, name).await.map_err(StartError::create)? {
            None => Ok(None),
            Some(found) if self.is(&found, &spec.id) => Ok(found.id),
            Some(_) => Err(StartError::create(format!("a container \"{name}\" exists and is not this node's"))),
        }
    }

    async fn run(&self, docker: &Docker, engine_id: &str) -> Result<ContainerInfo, StartError> {
        let vanished = || StartError::run("somebody removed it while it was started");
        let mut found = self.inspect(docker, engine_id).await.map_err(StartError::run)?.ok_or_else(vanished)?;
        if container::state(found.state.as_ref()) == ContainerState::Created {
            docker
                .start_container(engine_id, None::<StartContainerOptions>)
                .await
                .map_err(|error| StartError::run(words::of(&error)))?;
            found = self.inspect(docker, engine_id).await.map_err(StartError::run)?.ok_or_else(vanished)?;
        }
        self.info(docker, &found).await.ok_or_else(vanished)
    }

    async fn exec(&self, engine_id: &str, command: &[String]) -> Result<(), String> {
        let docker = self.connection.docker().await?;
        let said = |error: Error| format!("exec probe: {}", words::of(&error));
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let exec = docker.create_exec(engine_id, options).await.map_err(said)?;
        let mut output = Vec::new();
        if let StartExecResults::Attached { output: mut stream, .. } =
            docker.start_exec(&exec.id, None::<StartExecOptions>).await.map_err(said)?
        {
            while let Some(piece) = stream.next().await {
                let piece = piece.map_err(said)?.into_bytes();
                let room = PROBE_OUTPUT_BYTES.saturating_sub(output.len());
                output.extend_from_slice(&piece[..piece.len().min(room)]);
            }
        }
        let ended = docker.inspect_exec(&exec.id).await.map_err(said)?;
        probe::exec_result(ended.exit_code, &output)
    }

    fn ids(&self) -> std::sync::MutexGuard<'_, BTreeMap<ContainerRef, String>> {
        // Single insertions and removals cannot be left half done.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for DockerEngine {
    async fn list(&self) -> Result<Vec<ContainerInfo>, String> {
        let docker = self.connection.docker().await?;
        let filters = Some(self.owner.filter(None));
        let options = ListContainersOptions { all: true, filters, ..ListContainersOptions::default() };
        let listed = docker.list_containers(Some(options)).await.map_err(|error| words::of(&error))?;
        let docker = &docker;
        let ids = listed.into_iter().filter_map(|summary| summary.id);
        let inspected: Vec<Result<Option<ContainerInfo>, String>> = stream::iter(ids)
            .map(|engine_id| async move {
                // One that is removed meanwhile is none.
                let Some(found) = self.inspect(docker, &engine_id).await? else { return Ok(None) };
                Ok(self.info(docker, &found).await)
            })
            .buffer_unordered(INSPECTIONS_LIMIT)
            .collect()
            .await;
        let infos: Result<Vec<_>, String> = inspected.into_iter().filter_map(Result::transpose).collect();
        let mut infos = infos?;
        infos.sort_by(|one, other| one.id.cmp(&other.id));
        self.ids().retain(|id, _| infos.binary_search_by(|info| info.id.cmp(id)).is_ok());
        Ok(infos)
    }

    async fn ensure_image(&self, image: &str, policy: PullPolicy, logins: &[Login]) -> Result<(), ImageError> {
        let docker = self.connection.docker().await.map_err(|message| ImageError { message, permanent: false })?;
        image::ensure(&docker, image, policy, logins).await
    }

    async fn start(&self, spec: &ContainerSpec) -> Result<ContainerInfo, StartError> {
        let docker = self.connection.docker().await.map_err(StartError::create)?;
        let engine_id = self.create(&docker, spec).await?;
        let result = self.run(&docker, &engine_id).await;
        if result.is_err() {
            // Should it stay behind, the next start adopts it.
            let _ = remove(&docker, &engine_id).await;
        }
        result
    }

    async fn stop(&self, id: &ContainerRef, grace: Duration) -> Result<Exit, String> {
        let nobody_saw = |message: &str| Exit {
            message: message.to_owned(),
            finished_at_ms: timestamp::now_ms(),
            ..Exit::default()
        };
        let Some(found) = self.find(id).await? else { return Ok(nobody_saw("it was gone already")) };
        match container::state(found.state.as_ref()) {
            ContainerState::Exited(exit) => return Ok(exit),
            ContainerState::Created => return Ok(nobody_saw("it never ran")),
            ContainerState::Running => {}
        }
        let limit = grace.saturating_add(KILL_LIMIT);
        let docker = self.connection.docker().await?.with_timeout(limit);
        let seconds = i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        let options = StopContainerOptions { t: Some(seconds), ..StopContainerOptions::default() };
        match docker.stop_container(found.id.as_deref().unwrap_or_default(), Some(options)).await {
            Err(error) if !words::is_missing(&error) => return Err(words::of(&error)),
            _ => {}
        }
        match self.find(id).await? {
            None => Ok(nobody_saw("somebody removed it")),
            Some(found) => match container::state(found.state.as_ref()) {
                ContainerState::Exited(exit) => Ok(exit),
                _ => Err("the engine says that it stopped it, and that it runs".to_owned()),
            },
        }
    }

    async fn remove(&self, id: &ContainerRef) -> Result<(), String> {
        if let Some(found) = self.find(id).await? {
            let docker = self.connection.docker().await?;
            remove(&docker, found.id.as_deref().unwrap_or_default()).await?;
        }
        self.ids().remove(id);
        Ok(())
    }

    async fn probe(&self, id: &ContainerRef, action: &ProbeAction, limit: Duration) -> Result<(), String> {
        let late = || format!("the engine or the command did not answer within {} ms", limit.as_millis());
        let begun = tokio::time::Instant::now();
        let found = timeout(limit, self.find(id)).await.map_err(|_| late())??.ok_or("the container is gone")?;
        let left = limit.saturating_sub(begun.elapsed());
        let target = match action {
            // The engine goes on with a command that takes longer: it offers no way to end one.
            ProbeAction::Exec(command) => {
                let engine_id = found.id.as_deref().unwrap_or_default();
                return timeout(left, self.exec(engine_id, command)).await.map_err(|_| late())?;
            }
            ProbeAction::HttpGet { host: Some(host), .. } | ProbeAction::TcpSocket { host: Some(host), .. } => {
                host.clone()
            }
            _ => self.reachable_at(&found).await?,
        };
        match action {
            ProbeAction::HttpGet { port, path, https, headers, .. } => {
                probe::http_get(probe::HttpGet { host: &target, port: *port, path, https: *https, headers }, left).await
            }
            ProbeAction::TcpSocket { port, .. } => probe::tcp_connect(&target, *port, left).await,
            ProbeAction::Grpc { port, service } => probe::grpc(&target, *port, service, left).await,
            ProbeAction::Exec(_) => Ok(()),
        }
    }

    async fn logs(&self, id: &ContainerRef, options: LogOptions) -> Result<LogStream, LogError> {
        let docker = self.connection.docker().await.map_err(|message| LogError::engine(id, message))?;
        let found = self.find(id).await.map_err(|message| LogError::engine(id, message))?;
        let engine_id = found.and_then(|found| found.id).ok_or_else(|| LogError::not_found(id))?;
        let (sender, stream) = LogStream::channel();
        tokio::spawn(async move { logs::feed(&docker, &engine_id, &options, &sender).await });
        Ok(stream)
    }

    async fn watch(&self, ledger: &Ledger, events: &mpsc::Sender<RuntimeEvent>) {
        watch::watch(self, ledger, events).await;
    }
}

async fn remove(docker: &Docker, engine_id: &str) -> Result<(), String> {
    let options = RemoveContainerOptions { force: true, v: true, link: false };
    match docker.remove_container(engine_id, Some(options)).await {
        Err(error) if !words::is_missing(&error) => Err(words::of(&error)),
        _ => Ok(()),
    }
}
