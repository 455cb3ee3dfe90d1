//! Connections with processes of the `process` runtime: a command that is run as the container would run it, the
//! container's own output, and its ports. There are no terminals, and a container's own process has no input.

use std::process::Stdio;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use skein_core::runtime::ContainerRef;
use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_util::io::ReaderStream;

use super::super::attached::{Attached, CHUNK_BYTES, Input, Output, SessionError, Wires};
use super::super::dial::dial;
use super::super::engine::Engine as _;
use super::super::logs::LogOptions;
use super::ProcessEngine;
use super::state::{Found, Record};

/// How often it is looked whether a command whose output is over has ended.
const OUTCOME_EVERY: Duration = Duration::from_millis(10);

impl ProcessEngine {
    /// What is known of a container that runs.
    pub(in super::super) async fn running(&self, id: &ContainerRef) -> Result<Box<Record>, SessionError> {
        match self.look(id).await {
            Ok(Found::Running(record, _)) => Ok(record),
            Ok(_) => Err(SessionError::not_running(id)),
            Err(error) => Err(SessionError::failed(error.to_string())),
        }
    }

    /// Runs a command with a container's environment and working directory.
    pub(in super::super) async fn open_exec(
        &self,
        id: &ContainerRef,
        command: &[String],
        wires: Wires,
    ) -> Result<Attached, SessionError> {
        let record = self.running(id).await?;
        if wires.tty {
            return Err(SessionError::failed(
                "the process runtime has no terminals: leave out the tty (-t), or run this node with Docker",
            ));
        }
        let mut running = spawn(command, &record, wires)?;
        let stdin = running.child.stdin.take().map(|stdin| Box::pin(stdin) as Input);
        let stdout = pieces(running.child.stdout.take(), Output::Stdout);
        let stderr = pieces(running.child.stderr.take(), Output::Stderr);
        let outcome = async move { running.ended().await }.boxed();
        Ok(Attached { stdin, output: stream::select(stdout, stderr).boxed(), resize: None, outcome })
    }

    /// Follows what a container says from now on.
    pub(in super::super) async fn open_attach(
        &self,
        id: &ContainerRef,
        wires: Wires,
    ) -> Result<Attached, SessionError> {
        self.running(id).await?;
        if wires.stdin {
            return Err(SessionError::failed(
                "the process runtime gives containers no standard input: attach without it (-i), or run this node with Docker",
            ));
        }
        let options = LogOptions { follow: true, tail_lines: Some(0), ..LogOptions::default() };
        let log = self.logs(id, options).await.map_err(|error| SessionError::failed(error.to_string()))?;
        // The log does not tell the two apart once it is read as text.
        let output = log.map(|piece| piece.map(Output::Stdout)).boxed();
        Ok(Attached { stdin: None, output, resize: None, outcome: futures::future::ready(Ok(0)).boxed() })
    }

    /// Connects to a port of the pod of a container.
    pub(in super::super) async fn open_port(&self, id: &ContainerRef, port: u16) -> Result<TcpStream, SessionError> {
        let record = self.running(id).await?;
        dial(record.ip.as_deref().unwrap_or("127.0.0.1"), port).await
    }
}

/// A command that runs, with all that it starts. Dropping it kills them.
struct Running {
    child: Child,
    /// Its group; `None` once it was killed, since the number may then be another's.
    group: Option<Pid>,
}

impl Running {
    /// Waits for its end and kills what it leaves behind: unlike a container's, nothing else would ever end it.
    async fn ended(&mut self) -> Result<i32, String> {
        let pid = self.group.ok_or("it was killed")?;
        // It is collected only after its group was killed: until then the group's number is nobody else's.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) = waitid(Id::Pid(pid), flags) {
            tokio::time::sleep(OUTCOME_EVERY).await;
        }
        self.kill();
        let status = self.child.wait().await.map_err(|error| error.to_string())?;
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        // As a shell tells it.
        status.code().or(signal.map(|number| 128 + number)).ok_or_else(|| "nobody saw how it ended".to_owned())
    }

    fn kill(&mut self) {
        if let Some(group) = self.group.take() {
            // It may have ended just now.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(words: &[String], record: &Record, wires: Wires) -> Result<Running, SessionError> {
    let (program, args) = words.split_first().ok_or_else(|| SessionError::failed("there is no command"))?;
    let workplace = if record.spec.working_dir.is_empty() { "/" } else { &record.spec.working_dir };
    let wire = |connected: bool| if connected { Stdio::piped() } else { Stdio::null() };
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(record.env.iter().map(|(name, value)| (name, value))).current_dir(workplace);
    command.stdin(wire(wires.stdin)).stdout(wire(wires.stdout)).stderr(wire(wires.stderr));
    command.process_group(0).kill_on_drop(true);
    let child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            SessionError::failed(format!("exec: \"{program}\": executable file not found in $PATH"))
        }
        _ => SessionError::failed(format!("exec: \"{program}\": {error}")),
    })?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    Ok(Running { child, group })
}

fn pieces<R: AsyncRead + Send + 'static>(
    pipe: Option<R>,
    output: fn(bytes::Bytes) -> Output,
) -> stream::BoxStream<'static, std::io::Result<Output>> {
    match pipe {
        Some(pipe) => ReaderStream::with_capacity(pipe, CHUNK_BYTES).map(move |piece| piece.map(output)).boxed(),
        None => stream::empty().boxed(),
    }
}
