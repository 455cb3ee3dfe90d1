//! One `skein` daemon on one host, and the command line against it. Knows the fixed command line and nothing of what the
//! daemon does.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::built;
use crate::failure::{Failure, Outcome, ensure};
use crate::lab::{Host, output};
use crate::netns::Netns;
use crate::process::Process;
use crate::steps::say;
use crate::wait::eventually;

/// How long a daemon may take from its start until it answers on its socket, on a machine that five of them share.
const READY: Duration = Duration::from_secs(30);
/// How long a daemon may take to end when it is asked to.
const END: Duration = Duration::from_secs(15);

/// A daemon; killed when dropped, unless it was let go.
pub struct Daemon {
    process: Process,
    start: Start,
    stands: bool,
}

/// How to start a daemon: where, and with which flags.
#[derive(Clone)]
pub struct Start {
    netns: Netns,
    directory: PathBuf,
    flags: Vec<String>,
    log: PathBuf,
}

impl Start {
    /// A daemon named as its host, on the default ports, on the host's engine if it has one and on processes if not.
    pub fn on(host: &Host) -> Self {
        let directory = host.directory.join("skein");
        let mut flags = vec![
            format!("--data-dir={}", directory.display()),
            format!("--listen={}", host.peer_socket()),
            format!("--api={}", host.api_socket()),
            format!("--name={}", host.name),
        ];
        match host.engine() {
            Ok(engine) => flags.extend(["--runtime=docker".to_owned(), format!("--docker-host={}", engine.url())]),
            Err(_) => flags.push("--runtime=process".to_owned()),
        }
        Self { netns: host.netns.clone(), directory, flags, log: host.directory.join("skein.log") }
    }

    /// The same with another value for `flag`, or with the flag when it was not there.
    #[must_use]
    pub fn with(mut self, flag: &str, value: impl std::fmt::Display) -> Self {
        let name = format!("--{flag}=");
        self.flags.retain(|known| !known.starts_with(&name));
        self.flags.push(format!("{name}{value}"));
        self
    }

    /// The same with a data directory of its own, which also gets a log of its own.
    #[must_use]
    pub fn in_directory(self, directory: &Path) -> Self {
        let mut this = self.with("data-dir", directory.display());
        this.directory = directory.to_owned();
        this.log = directory.with_extension("log");
        this
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Founds a cluster, or goes on with the one in the data directory. Does not wait.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn up(&self) -> Outcome<Daemon> {
        self.spawn(&["up"])
    }

    /// Joins with a token. Does not wait.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn join(&self, token: &str) -> Outcome<Daemon> {
        self.spawn(&["join", token])
    }

    /// Runs a daemon that is expected to refuse to start, and returns what it said and its exit code.
    ///
    /// # Errors
    /// When it still runs after the time in which daemons get ready; it is killed then.
    pub fn refused(&self, verb: &[&str]) -> Outcome<(i32, String)> {
        let _ = std::fs::remove_file(&self.log);
        let mut daemon = self.spawn(verb)?;
        let look = || daemon.process.ended()?.ok_or_else(|| Failure::new("it still runs"));
        let (end, _) = eventually(&format!("the end of `skein {}`", verb.join(" ")), READY, look)?;
        Ok((end.code(), std::fs::read_to_string(&self.log).unwrap_or_default()))
    }

    /// Runs the command line against this data directory, to its end.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn skein(&self, arguments: &[&str]) -> Outcome<Output> {
        let mut command = self.netns.command(binary()?);
        output(command.arg("--data-dir").arg(&self.directory).args(arguments).stdin(Stdio::null()))
    }

    /// As [`Start::skein`], for a command that must succeed; returns its stdout without the last newline.
    ///
    /// # Errors
    /// When it exits with anything but 0: what it said.
    pub fn skein_says(&self, arguments: &[&str]) -> Outcome<String> {
        let output = self.skein(arguments)?;
        let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        ensure(output.status.success(), || {
            let error = String::from_utf8_lossy(&output.stderr);
            format!("skein {}: {}: {} {}", arguments.join(" "), output.status, said, error.trim())
        })?;
        Ok(said)
    }

    /// Begins the command line against this data directory; what it says is read as it comes.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn begin(&self, arguments: &[&str]) -> Outcome<Child> {
        let mut command = self.netns.command(binary()?);
        command.arg("--data-dir").arg(&self.directory).args(arguments);
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    fn spawn(&self, verb: &[&str]) -> Outcome<Daemon> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = self.netns.command(binary()?);
        command.args(verb).args(&self.flags).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // An interrupt at the terminal is for whoever holds the lab.
        command.process_group(0);
        let process = command.env("HOME", self.directory.parent().unwrap_or(&self.directory)).spawn()?;
        let process = Process::of(process);
        process.note(&self.log.with_extension("process"))?;
        Ok(Daemon { process, start: self.clone(), stands: false })
    }

    /// The daemon that an earlier program started like this and let go, running or not; `None` when there was none.
    pub fn find(&self) -> Option<Daemon> {
        let process = Process::noted(&self.log.with_extension("process"))?;
        Some(Daemon { process, start: self.clone(), stands: true })
    }
}

impl Daemon {
    /// How it was started.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Waits until it answers the command line and knows a leader.
    ///
    /// # Errors
    /// When it ended, or does not answer in time: the end of its log.
    pub fn wait_ready(&mut self) -> Outcome<Duration> {
        let begun = Instant::now();
        let reason = loop {
            // Asked first, so that an answer of somebody else's daemon is never taken for this one's.
            if let Some(end) = self.process.ended()? {
                break format!("it ended with {end}");
            }
            match self.start.skein_says(&["leader"]) {
                Ok(_) => return Ok(begun.elapsed()),
                Err(failure) if begun.elapsed() >= READY => break format!("it does not answer: {failure}"),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        Err(Failure::new(format!("{}: {reason}; the end of its log:\n{}", self.start.log.display(), self.log_end(15))))
    }

    /// Whether its process still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Ends it as a crash would.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(&mut self) -> Outcome<()> {
        self.process.signal(Signal::SIGTERM);
        let look = || self.process.ended()?.ok_or_else(|| Failure::new("it still runs"));
        eventually("the daemon's end", END, look).map(|_| ())
    }

    /// Starts it again, as it was started the first time or with what has changed since. Does not wait.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn start_again(&mut self, start: &Start) -> Outcome<()> {
        let stands = self.stands;
        *self = start.up()?;
        self.stands = stands;
        Ok(())
    }

    /// From now on it stays when this is dropped.
    pub fn let_go(&mut self) {
        self.stands = true;
    }

    /// Its last `lines` of log.
    pub fn log_end(&self, lines: usize) -> String {
        log_end(&self.start.log, lines)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.stands {
            self.kill9();
        }
    }
}

/// The last `count` lines of a file.
pub fn log_end(path: &Path, count: usize) -> String {
    let log = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// Makes `path` the `skein` under test, whatever the environment says.
///
/// # Errors
/// When it is no file.
pub fn use_binary(path: &Path) -> Outcome<()> {
    ensure(path.is_file(), || format!("{} is no file; name a skein that is built", path.display()))?;
    let path = std::fs::canonicalize(path)?;
    // Whoever was first has said it already.
    let _ = BINARY.set(Ok(path));
    Ok(())
}

/// The `skein` under test: what `SKEIN_BIN` names, or else the one in the target directory that this test was built into,
/// built anew if need be. Says once which one it is.
///
/// # Errors
/// When it cannot be built.
pub fn binary() -> Outcome<&'static Path> {
    let found = BINARY.get_or_init(|| {
        let found = built::program("SKEIN_BIN", "skein-cli", "skein").map_err(|failure| failure.to_string())?;
        say(&format!("   the skein under test is {}", found.display()));
        Ok(found)
    });
    found.as_deref().map_err(|text| Failure::new(text.clone()))
}
