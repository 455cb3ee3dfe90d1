//! One network namespace: making it, running a program in it, opening a connection from inside it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::failure::{Failure, Outcome};

/// Where iproute2 keeps the namespaces that have a name.
pub const DIRECTORY: &str = "/run/netns";

/// A network namespace with a name. It stays when this is dropped: `leftovers` takes a lab's namespaces away together.
#[derive(Clone, Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes the namespace, with its loopback up.
    ///
    /// # Errors
    /// When iproute2 refuses, mostly for want of root.
    pub fn create(name: impl Into<String>) -> Outcome<Self> {
        let this = Self { name: name.into() };
        ip(&format!("netns add {}", this.name))?;
        ip(&format!("-n {} link set lo up", this.name))?;
        Ok(this)
    }

    /// The namespace that somebody made already.
    pub fn existing(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(&self.name)
    }

    /// A command that will run `program` in the namespace and nowhere else changed: `ip netns exec` would remount /sys
    /// and hide the cgroups from an engine. The process that it starts is the program itself, with that pid.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs `work` on a thread of its own inside the namespace. Sockets that it opens stay in the namespace, wherever
    /// they are used later.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let file = std::fs::File::open(self.path())?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&file, CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
        })
    }

    /// Opens a TCP connection from inside the namespace.
    ///
    /// # Errors
    /// Whatever connecting says, or `TimedOut`.
    pub fn connect(&self, to: SocketAddr, within: Duration) -> io::Result<TcpStream> {
        self.inside(|| TcpStream::connect_timeout(&to, within))?
    }

    /// The number that the kernel gives the namespace: equal to the inode of `/proc/PID/ns/net` for all that live in it.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(std::fs::metadata(self.path())?.ino())
    }

    /// Loads `rules` into the packet filter of the namespace.
    ///
    /// # Errors
    /// What nft says about the rules.
    pub fn filter(&self, rules: &str) -> Outcome<()> {
        run(self.command("nft").arg(rules))
    }
}

/// Runs iproute2 with `arguments`, none of which holds a blank.
///
/// # Errors
/// What it says on stderr.
pub fn ip(arguments: &str) -> Outcome<()> {
    run(Command::new("ip").args(arguments.split(' ')))
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started or does not exit with 0: the command and its stderr.
pub fn run(command: &mut Command) -> Outcome<()> {
    let output = command.output().map_err(|e| Failure::new(format!("{command:?}: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{command:?}: {}: {}", output.status, said.trim())))
}
