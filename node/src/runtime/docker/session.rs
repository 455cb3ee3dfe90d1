//! Connections with processes in containers of an engine: a command that is run beside the container's own, the container's
//! own, and its ports.
//!
//! The engine's API has no way to end a command that was started in a container. When whoever asked goes away, its
//! input ends and nobody reads its output any more, which ends most commands; the rest end with the container. Kubernetes
//! does no better.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::Docker;
use bollard::exec::{CreateExecOptions, ResizeExecOptions};
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::ResizeContainerTTYOptions;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use skein_core::runtime::{ContainerRef, ContainerState};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::super::attached::{Attached, Input, Resizer, SessionError, Size, Wires};
use super::super::dial::dial;
use super::hijack::{hijack, output};
use super::{DockerEngine, container, words};

/// How often and how many times it is asked how a command ended whose output is over: the engine learns it a moment later.
const OUTCOME_EVERY: Duration = Duration::from_millis(50);
const OUTCOME_TRIES: u32 = 100;

impl DockerEngine {
    /// A container of ours that runs, and the engine's id of it.
    pub(in super::super) async fn running(
        &self,
        id: &ContainerRef,
    ) -> Result<(ContainerInspectResponse, String), SessionError> {
        let found = self.find(id).await.map_err(SessionError::Failed)?;
        let running = found.filter(|found| container::state(found.state.as_ref()) == ContainerState::Running);
        let found = running.ok_or_else(|| SessionError::not_running(id))?;
        let engine_id = found.id.clone().ok_or_else(|| SessionError::not_running(id))?;
        Ok((found, engine_id))
    }

    /// Runs a command in a container.
    pub(in super::super) async fn open_exec(
        &self,
        id: &ContainerRef,
        command: Vec<String>,
        wires: Wires,
    ) -> Result<Attached, SessionError> {
        let (_, engine_id) = self.running(id).await?;
        let docker = self.connection.docker().await.map_err(SessionError::Failed)?;
        let failed = |error: bollard::errors::Error| SessionError::failed(words::of(&error));
        let options = CreateExecOptions {
            cmd: Some(command),
            tty: Some(wires.tty),
            attach_stdin: Some(wires.stdin),
            attach_stdout: Some(wires.stdout),
            attach_stderr: Some(wires.stderr && !wires.tty),
            ..CreateExecOptions::default()
        };
        let exec = docker.create_exec(&engine_id, options).await.map_err(failed)?.id;
        let path = path(&docker, &format!("exec/{exec}/start"));
        let how = json!({"Detach": false, "Tty": wires.tty});
        let connection = hijack(self.connection.address(), &path, &how).await.map_err(SessionError::Failed)?;
        let resize = wires.tty.then(|| {
            resizer(&docker, &exec, |docker, exec, size| {
                async move {
                    let options = ResizeExecOptions { height: size.height, width: size.width };
                    // A command that has just ended has no terminal any more.
                    let _ = docker.resize_exec(&exec, options).await;
                }
                .boxed()
            })
        });
        let outcome = async move { exit_code(&docker, &exec).await }.boxed();
        Ok(attached(wires.stdin, wires.tty, connection, resize, outcome))
    }

    /// Connects with a container's own process.
    pub(in super::super) async fn open_attach(
        &self,
        id: &ContainerRef,
        wires: Wires,
    ) -> Result<Attached, SessionError> {
        let (found, engine_id) = self.running(id).await?;
        let docker = self.connection.docker().await.map_err(SessionError::Failed)?;
        // Whether there is a terminal was decided when the container was made.
        let tty = found.config.as_ref().and_then(|config| config.tty).unwrap_or(false);
        let ends_once = found.config.as_ref().and_then(|config| config.stdin_once).unwrap_or(false);
        let query = format!("stream=1&stdin={}&stdout={}&stderr={}", wires.stdin, wires.stdout, wires.stderr && !tty);
        let path = path(&docker, &format!("containers/{engine_id}/attach?{query}"));
        let connection = hijack(self.connection.address(), &path, &json!({})).await.map_err(SessionError::Failed)?;
        let resize = tty.then(|| {
            resizer(&docker, &engine_id, |docker, engine_id, size| {
                async move {
                    let options = ResizeContainerTTYOptions { h: size.height.into(), w: size.width.into() };
                    let _ = docker.resize_container_tty(&engine_id, options).await;
                }
                .boxed()
            })
        });
        // What the container's end means is the pod's status, not this connection's.
        let outcome = futures::future::ready(Ok(0)).boxed();
        let mut attached = attached(wires.stdin, tty, connection, resize, outcome);
        if !ends_once {
            attached.stdin = attached.stdin.map(|stdin| Box::pin(StaysOpen(stdin)) as Input);
        }
        Ok(attached)
    }

    /// Connects to a port of the pod of a container.
    pub(in super::super) async fn open_port(&self, id: &ContainerRef, port: u16) -> Result<TcpStream, SessionError> {
        let (found, _) = self.running(id).await?;
        let address = self.reachable_at(&found).await.map_err(SessionError::Failed)?;
        dial(&address, port).await
    }
}

/// The input of a container that reads from whoever comes next, too. Were its end told to the engine, that would end the whole
/// attachment, with output that is still to come.
struct StaysOpen(Input);

impl AsyncWrite for StaysOpen {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }
}

/// A path of the engine's API, in the version that both sides speak.
fn path(docker: &Docker, rest: &str) -> String {
    let version = docker.client_version();
    format!("/v{}.{}/{rest}", version.major_version, version.minor_version)
}

fn attached(
    stdin: bool,
    tty: bool,
    connection: TokioIo<Upgraded>,
    resize: Option<Resizer>,
    outcome: BoxFuture<'static, Result<i32, String>>,
) -> Attached {
    let (read, write) = tokio::io::split(connection);
    let stdin = stdin.then(|| Box::pin(write) as Input);
    Attached { stdin, output: output(read, tty), resize, outcome }
}

fn resizer(
    docker: &Docker,
    id: &str,
    tell: impl Fn(Docker, String, Size) -> BoxFuture<'static, ()> + Send + Sync + 'static,
) -> Resizer {
    let (docker, id) = (docker.clone(), id.to_owned());
    Box::new(move |size| tell(docker.clone(), id.clone(), size))
}

async fn exit_code(docker: &Docker, exec: &str) -> Result<i32, String> {
    for _ in 0..OUTCOME_TRIES {
        let ended = docker.inspect_exec(exec).await.map_err(|error| words::of(&error))?;
        if ended.running != Some(true)
            && let Some(code) = ended.exit_code
        {
            return i32::try_from(code).map_err(|_| format!("the engine says that it ended with {code}"));
        }
        tokio::time::sleep(OUTCOME_EVERY).await;
    }
    Err("its output has ended, and the engine says that it still runs".to_owned())
}
