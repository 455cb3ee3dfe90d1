//! Programs that a person runs on a host of a lab that stands: a command, a shell, a look at its logs. They take the place of
//! the tool's own process, so that terminals, signals and exit codes are theirs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::{Runtime, Standing};
use crate::cluster::kubeconfig_path;
use crate::failure::{Failure, Outcome};

/// Which log of a host is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// The daemon's.
    Daemon,
    /// The engine's.
    Engine,
}

impl Standing {
    /// Becomes `command`, run on a host.
    ///
    /// # Errors
    /// When there is no such host or the program cannot be run.
    pub fn exec(&self, number: usize, command: &[OsString]) -> Outcome<()> {
        let host = self.host(number)?;
        let (program, arguments) = command.split_first().ok_or_else(|| {
            Failure::new(format!("there is no command; as in {}", self.command("exec 1 -- kubectl get nodes")))
        })?;
        let mut on_host = host.netns.command(program);
        on_host.args(arguments).env("KUBECONFIG", kubeconfig_path(self.cluster.lab(), number));
        on_host.env("SKEIN_DATA_DIR", host.directory.join("skein")).env("SKEIN_LAB_HOST", &host.name);
        if let Ok(engine) = host.engine() {
            on_host.env("DOCKER_HOST", engine.url());
        }
        // `skein` on a host is the one that runs there.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = self.record.skein.parent().map(ToOwned::to_owned);
        let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)))?;
        become_program(on_host.env("PATH", path))
    }

    /// Becomes a shell on a host.
    ///
    /// # Errors
    /// As [`Standing::exec`].
    pub fn shell(&self, number: usize) -> Outcome<()> {
        let prompt = format!("PS1=h{number}# ");
        let words = ["env", prompt.as_str(), "sh", "-i"];
        self.exec(number, &words.map(OsString::from))
    }

    /// Becomes a look at a host's log: its last `lines`, and what comes after them if `follow`.
    ///
    /// # Errors
    /// When there is no such host or no such log.
    pub fn logs(&self, number: usize, log: Log, lines: u32, follow: bool) -> Outcome<()> {
        let host = self.host(number)?;
        let file = match (log, self.record.runtime) {
            (Log::Daemon, _) => host.directory.join("skein.log"),
            (Log::Engine, Runtime::Docker) => host.directory.join("engine.log"),
            (Log::Engine, Runtime::Process) => {
                return Err(Failure::new("this lab has no engines; its containers are plain processes"));
            }
        };
        let mut tail = Command::new("tail");
        tail.args(["-n", &lines.to_string()]).args(follow.then_some("-F")).arg(file);
        become_program(&mut tail)
    }
}

fn become_program(command: &mut Command) -> Outcome<()> {
    let error = command.exec();
    Err(Failure::new(format!("{}: {error}", command.get_program().to_string_lossy())))
}
