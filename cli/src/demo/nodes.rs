//! The demo's nodes: each a process of this same executable with its own data directory, started and asked through the
//! command line that everybody uses.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::client::Client;
use crate::failure::Failure;

/// How long a daemon on this machine may take to answer a question.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How much of a log is read to show its end, in bytes.
const LOG_END_BYTES: usize = 64 << 10;

/// One node, running or not. Its daemon is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: String,
    /// Its id; empty until it is known.
    pub(crate) id: String,
    dir: PathBuf,
    log: PathBuf,
    executable: PathBuf,
    path: OsString,
    flags: Vec<OsString>,
    daemon: Option<Child>,
}

/// What all nodes have in common.
#[derive(Debug)]
pub(crate) struct Common<'a> {
    /// Where their directories are.
    pub(crate) base: &'a Path,
    /// The program.
    pub(crate) executable: &'a Path,
    /// Their `PATH`.
    pub(crate) path: OsString,
    /// The value of `--runtime`.
    pub(crate) runtime: &'a str,
}

impl Node {
    /// A node that does not run yet.
    pub(crate) fn new(name: &str, common: &Common<'_>, listen: SocketAddr, api: SocketAddr) -> Self {
        let dir = common.base.join(name);
        let mut flags: Vec<OsString> = vec!["--data-dir".into(), dir.clone().into()];
        let rest = [("--listen", listen.to_string()), ("--api", api.to_string()), ("--name", name.to_owned())];
        flags.extend(rest.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]));
        flags.extend(["--runtime".into(), common.runtime.into()]);
        Node {
            name: name.to_owned(),
            id: String::new(),
            log: common.base.join(format!("{name}.log")),
            executable: common.executable.to_owned(),
            path: common.path.clone(),
            dir,
            flags,
            daemon: None,
        }
    }

    /// Its data directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Asks its daemon.
    pub(crate) fn client(&self) -> Client {
        Client::of(&self.dir).within(ANSWER_LIMIT)
    }

    /// `skein up`.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub(crate) async fn up(&mut self) -> Result<(), Failure> {
        self.start(&["up"], "").await
    }

    /// `skein join`.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub(crate) async fn join(&mut self, token: &str) -> Result<(), Failure> {
        self.start(&["join", "-"], token).await
    }

    /// `skein token create`.
    ///
    /// # Errors
    /// What it says.
    pub(crate) async fn create_token(&self, uses: usize) -> Result<String, Failure> {
        let mut command = self.command();
        command.arg("--data-dir").arg(&self.dir).args(["token", "create", "--uses", &uses.to_string()]);
        let output = command.stdin(Stdio::null()).output().await.map_err(|error| self.unstarted(&error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(format!("`skein token create` at {} failed: {}", self.name, said.trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Fails if its daemon should run and does not.
    ///
    /// # Errors
    /// How it ended.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        match daemon.try_wait() {
            Ok(Some(status)) => Err(Failure::new(format!("the daemon of {} ended ({status})", self.name))),
            _ => Ok(()),
        }
    }

    /// Kills its daemon as a power cut would.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // One that has ended already is as dead as it should be.
            let _ = daemon.kill().await;
        }
    }

    /// The last lines of its log.
    pub(crate) fn log_end(&self, lines: usize) -> Vec<String> {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_END_BYTES)..]).into_owned();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|&line| line.to_owned()).collect()
    }

    async fn start(&mut self, verb: &[&str], input: &str) -> Result<(), Failure> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| Failure::new(format!("{}: {error}", self.log.display())))?;
        let mut command = self.command();
        command.args(verb).args(&self.flags).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        // Whoever interrupts the demo at the terminal means the demo: it ends its nodes itself.
        let mut daemon = command.process_group(0).spawn().map_err(|error| self.unstarted(&error))?;
        if let Some(mut stdin) = daemon.stdin.take() {
            // A daemon that does not read has ended, which is looked for.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    /// The program, with nothing of this environment that would be taken for a setting.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SKEIN_")) {
            command.env_remove(name);
        }
        command.env("PATH", &self.path).kill_on_drop(true);
        command
    }

    fn unstarted(&self, error: &io::Error) -> Failure {
        Failure::new(format!("{} cannot be run: {error}", self.executable.display()))
    }
}

/// Addresses of this machine alone with ports that nobody uses now.
///
/// # Errors
/// When there is no loopback.
pub(crate) fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, Failure> {
    // All are held until all are known, so that none is given twice.
    let held: io::Result<Vec<TcpListener>> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let addresses = held.and_then(|held| held.iter().map(TcpListener::local_addr).collect());
    addresses.map_err(|error| Failure::new(format!("no port of 127.0.0.1 can be listened on: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_address_is_given_twice() {
        let mut addresses = free_addresses(6).unwrap();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 6);
    }
}
