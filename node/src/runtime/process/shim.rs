//! The process that holds one container's process: starts it, keeps its log, ends it on request, and writes down how it
//! ended. It outlives the daemon, and needs nothing of it.
//!
//! One thread, one `poll`; only published ports have threads of their own. No runtime: there is one shim for each container.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, OFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::super::timestamp;
use super::address;
use super::forward;
use super::log_writer::{LogWriter, Source};
use super::state::{Ended, Record, Started, StateDir, identify};

/// What a shim that is asked to end by a signal, not by the daemon, gives its container.
const SIGNAL_GRACE: Duration = Duration::from_secs(10);
/// How long output is still read after the container has ended, should somebody who escaped hold the pipe.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);
/// How often what the container left behind is killed, before the shim gives up on it.
const SWEEPS_LIMIT: u32 = 100;
/// A longer request is no request.
const REQUEST_BYTES: usize = 256;

/// Runs a container's shim on its state directory until the container has ended. Prints `started`, or `failed` and why,
/// to stdout. The result is the exit code of the shim itself: 0, unless the container could not be started.
pub fn shim_main(dir: &Path) -> i32 {
    let outcome = start(&StateDir::at(dir));
    let mut stdout = io::stdout();
    match outcome {
        Ok(mut shim) => {
            // Nobody reads it if the daemon died just now; the container runs all the same.
            let _ = stdout.write_all(b"started\n").and_then(|()| stdout.flush());
            shim.run();
            0
        }
        Err(message) => {
            let _ = stdout.write_all(format!("failed {message}\n").as_bytes()).and_then(|()| stdout.flush());
            1
        }
    }
}

/// A container that runs.
struct Shim {
    // Fields are dropped in this order: who sees the end of `alive` must find the lock free.
    _lock: Flock<File>,
    _alive: File,
    _address: Option<std::net::UdpSocket>,
    dir: StateDir,
    control: File,
    request: Vec<u8>,
    signals: SignalFd,
    child: Child,
    group: Pid,
    log: LogWriter,
    kill_at: Option<Instant>,
}

fn start(dir: &StateDir) -> Result<Shim, String> {
    let in_dir = |error: io::Error| format!("the container's state directory {}: {error}", dir.path().display());
    let lock = take_lock(dir).map_err(in_dir)?;
    let record = dir.record().map_err(in_dir)?;
    // It fails only for the leader of a group, which is a session of its own already.
    let _ = nix::unistd::setsid();
    // Without it, what daemonises escapes; the container runs all the same.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let control = fifo(&dir.control()).map_err(in_dir)?;
    let alive = fifo(&dir.alive()).map_err(in_dir)?;
    let log = LogWriter::open(&dir.log(), record.log_max_bytes).map_err(in_dir)?;
    let ip = record.ip.as_deref().and_then(|ip| ip.parse().ok());
    let address = ip.filter(|_| record.holds_address).and_then(address::claim);
    let ports = forward::bind(&record.spec.ports, ip)?;
    // The child inherits the signal mask, so it comes before the mask.
    let child = spawn(&record)?;
    let pid = i32::try_from(child.id()).map_err(|_| "the process has no usable pid".to_owned())?;
    let mut shim = Shim {
        _lock: lock,
        _alive: alive,
        _address: address,
        dir: dir.clone(),
        control,
        request: Vec::new(),
        signals: signals().map_err(|error| format!("signals cannot be received: {error}"))?,
        child,
        group: Pid::from_raw(pid),
        log,
        kill_at: None,
    };
    let (start_ticks, boot) = identify(pid).unwrap_or_default();
    let started = Started { pid, start_ticks, boot, started_at_ms: timestamp::now_ms() };
    if let Err(error) = dir.write_started(&started) {
        // A container that the daemon could not find again must not run.
        shim.sweep();
        return Err(in_dir(error));
    }
    forward::serve(ports);
    Ok(shim)
}

impl Shim {
    fn run(&mut self) {
        let ended = loop {
            if let Some(ended) = self.reap() {
                break ended;
            }
            self.wait(self.timeout());
            if self.kill_at.is_some_and(|at| at <= Instant::now()) {
                self.kill_group(Signal::SIGKILL);
                // Should the kernel take its time, or a new process have joined.
                self.kill_at = Some(Instant::now() + Duration::from_secs(1));
            }
        };
        self.sweep();
        self.drain();
        self.log.finish();
        // A full disk loses the code: the daemon then says that nobody saw it.
        let _ = self.dir.write_ended(&ended);
    }

    fn timeout(&self) -> PollTimeout {
        let Some(at) = self.kill_at else { return PollTimeout::NONE };
        let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    /// Waits for something to happen and handles it.
    fn wait(&mut self, timeout: PollTimeout) {
        let stdout = self.child.stdout.as_ref().map(|pipe| pipe.as_fd());
        let stderr = self.child.stderr.as_ref().map(|pipe| pipe.as_fd());
        let ready = readable([Some(self.signals.as_fd()), Some(self.control.as_fd()), stdout, stderr], timeout);
        if ready[0] {
            self.on_signal();
        }
        if ready[1] {
            self.on_request();
        }
        if ready[2] {
            self.on_output(Source::Stdout);
        }
        if ready[3] {
            self.on_output(Source::Stderr);
        }
    }

    fn on_signal(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            // A child's end is looked for anyway.
            if signal.ssi_signo != Signal::SIGCHLD as u32 {
                self.stop(SIGNAL_GRACE);
            }
        }
    }

    fn on_request(&mut self) {
        let mut chunk = [0; REQUEST_BYTES];
        let Ok(count) = self.control.read(&mut chunk) else { return };
        self.request.extend_from_slice(&chunk[..count]);
        while let Some(end) = self.request.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.request.drain(..=end).collect();
            let grace_ms = std::str::from_utf8(&line).ok().and_then(|line| line.trim_end().strip_prefix("stop "));
            if let Some(grace_ms) = grace_ms.and_then(|text| text.parse().ok()) {
                self.stop(Duration::from_millis(grace_ms));
            }
        }
        if self.request.len() >= REQUEST_BYTES {
            self.request.clear();
        }
    }

    /// Asks the container to end, and sets the time for the end without asking. A second request can only hasten it.
    fn stop(&mut self, grace: Duration) {
        if !grace.is_zero() {
            self.kill_group(Signal::SIGTERM);
        }
        // A grace beyond what the clock can tell is for ever, but for a century.
        let at = Instant::now().checked_add(grace.min(Duration::from_secs(3_000_000_000)));
        self.kill_at = match (self.kill_at, at) {
            (Some(known), Some(at)) => Some(known.min(at)),
            (known, at) => known.or(at),
        };
    }

    fn on_output(&mut self, source: Source) -> bool {
        let mut chunk = [0; 16 * 1024];
        let read = match source {
            Source::Stdout => self.child.stdout.as_mut().map(|pipe| pipe.read(&mut chunk)),
            Source::Stderr => self.child.stderr.as_mut().map(|pipe| pipe.read(&mut chunk)),
        };
        match read {
            Some(Ok(count)) if count > 0 => {
                self.log.append(source, &chunk[..count]);
                return true;
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => return true,
            _ => {}
        }
        match source {
            Source::Stdout => self.child.stdout = None,
            Source::Stderr => self.child.stderr = None,
        }
        false
    }

    /// Collects all children that have ended; the container's end, if it is among them.
    ///
    /// The container's own process is collected last of all: until then its pid, which names the group, is not reused.
    fn reap(&mut self) -> Option<Ended> {
        loop {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            match waitid(Id::All, flags) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) if pid == self.group => {
                    self.kill_group(Signal::SIGKILL);
                    let status = self.child.wait().ok();
                    let code = status.and_then(|status| status.code().or(status.signal().map(|number| 128 + number)));
                    return Some(Ended { code, finished_at_ms: timestamp::now_ms(), message: String::new() });
                }
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) => {
                    let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
                }
                Err(Errno::EINTR) => {}
                _ => return None,
            }
        }
    }

    fn kill_group(&self, signal: Signal) {
        // It may have ended just now.
        let _ = killpg(self.group, signal);
    }

    /// Ends whatever the container left behind: its group, and what left the group and came to this subreaper.
    fn sweep(&mut self) {
        self.kill_group(Signal::SIGKILL);
        for _ in 0..SWEEPS_LIMIT {
            for pid in children() {
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            }
            loop {
                match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::StillAlive) => break,
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(_) => return,
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Reads the rest of the output.
    fn drain(&mut self) {
        let until = Instant::now() + DRAIN_LIMIT;
        while self.child.stdout.is_some() || self.child.stderr.is_some() {
            let left = until.saturating_duration_since(Instant::now());
            let stdout = self.child.stdout.as_ref().map(|pipe| pipe.as_fd());
            let stderr = self.child.stderr.as_ref().map(|pipe| pipe.as_fd());
            let ready =
                readable([stdout, stderr, None, None], PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
            if !ready[0] && !ready[1] {
                return;
            }
            if ready[0] {
                self.on_output(Source::Stdout);
            }
            if ready[1] {
                self.on_output(Source::Stderr);
            }
        }
    }
}

/// Which of these can be read, or have come to their end.
fn readable(fds: [Option<BorrowedFd<'_>>; 4], timeout: PollTimeout) -> [bool; 4] {
    let mut polled: Vec<PollFd<'_>> = fds.iter().flatten().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    if poll(&mut polled, timeout).is_err() {
        return [false; 4];
    }
    let mut answers = polled.iter().map(|fd| fd.any().unwrap_or(false));
    fds.map(|fd| fd.is_some() && answers.next().unwrap_or(false))
}

/// Who looks whether the lock is held may hold it for a moment, so one failure says nothing.
fn take_lock(dir: &StateDir) -> io::Result<Flock<File>> {
    let mut tries = 0;
    loop {
        match dir.lock() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < 50 => tries += 1,
            other => return other,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Opened for both, so that it has no end as long as the shim lives.
fn fifo(path: &Path) -> io::Result<File> {
    nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
    OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

fn spawn(record: &Record) -> Result<Child, String> {
    let spec = &record.spec;
    let mut words = spec.command.iter().chain(&spec.args);
    let program = words.next().ok_or("there is no command")?;
    let mut command = Command::new(program);
    command.args(words).env_clear().envs(record.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let workplace = if spec.working_dir.is_empty() { "/" } else { &spec.working_dir };
    command.current_dir(workplace);
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if !Path::new(workplace).is_dir() => {
            format!("its working directory {workplace} does not exist on this machine")
        }
        io::ErrorKind::NotFound => format!("this machine has no program \"{program}\""),
        _ => format!("the program \"{program}\" cannot be run: {error}"),
    })
}

fn signals() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        mask.add(signal);
    }
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// The children of this process, of all its threads. Empty where the kernel does not tell.
fn children() -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .map(Pid::from_raw)
        .collect()
}
