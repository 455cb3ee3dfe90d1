//! One process of the lab, whether this program started it or finds it running, and what /proc says about processes. What
//! a process is for is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a killed process may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// A process, running or ended. Stays as it is when this is dropped.
pub struct Process {
    line: String,
    pid: Pid,
    child: Option<Child>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy)]
pub struct End(Option<ExitStatus>);

impl Process {
    /// The process that was started just now.
    pub fn of(child: Child) -> Self {
        // Linux keeps pids far below 2^31.
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        Self { line: line_of(pid).unwrap_or_default(), pid, child: Some(child) }
    }

    /// The process that [`Process::note`] wrote into `file`, which may have ended since. `None` when none was noted.
    pub fn noted(file: &Path) -> Option<Self> {
        let line = std::fs::read_to_string(file).ok()?;
        let pid = Pid::from_raw(line.split(' ').next()?.parse().ok()?);
        Some(Self { line, pid, child: None })
    }

    /// Writes down which process it is, so that another program finds it again.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note(&self, file: &Path) -> io::Result<()> {
        std::fs::write(file, &self.line)
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn ended(&mut self) -> io::Result<Option<End>> {
        if let Some(child) = &mut self.child {
            return Ok(child.try_wait()?.map(|status| End(Some(status))));
        }
        let runs = is_line_of(&self.line, self.pid) && !is_zombie(self.pid);
        Ok((!runs).then_some(End(None)))
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.ended(), Ok(None))
    }

    /// Ends it as a crash would, and waits until it is gone.
    pub fn kill9(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        let begun = Instant::now();
        while self.is_running() && begun.elapsed() < GONE {
            self.signal(Signal::SIGKILL);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            // It may have ended just now, which is as good.
            let _ = kill(self.pid, signal);
        }
    }
}

impl End {
    /// Its exit code; -1 when a signal ended it or nobody saw it.
    pub fn code(self) -> i32 {
        self.0.and_then(|status| status.code()).unwrap_or(-1)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => status.fmt(f),
            None => f.write_str("an exit code that nobody saw"),
        }
    }
}

/// A process in one line: its pid and when it started, so that a pid used again is not taken for it. `None` when there is
/// no such process.
pub fn line_of(pid: Pid) -> Option<String> {
    let fields = stat(pid)?;
    Some(format!("{pid} {}", fields.get(19)?))
}

/// Whether the process that `line` was made of still has that pid.
pub fn is_line_of(line: &str, pid: Pid) -> bool {
    line_of(pid).is_some_and(|now| now == line)
}

/// How much processor time a process and its threads have taken so far.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(pid: Pid) -> io::Result<Duration> {
    let fields = stat(pid).ok_or_else(|| gone(pid))?;
    let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    // Linux counts in hundredths of a second on all of its architectures.
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
}

/// How much of a process is in memory, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn resident_bytes(pid: Pid) -> io::Result<u64> {
    number_in(&format!("/proc/{pid}/status"), "VmRSS:").map(|kib| kib * 1024)
}

/// How many bytes a process has caused to be written to disks so far.
///
/// # Errors
/// When there is no such process.
pub fn written_bytes(pid: Pid) -> io::Result<u64> {
    number_in(&format!("/proc/{pid}/io"), "write_bytes:")
}

fn number_in(path: &str, name: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(path)?;
    let number = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("{path} has no {name}")))
}

fn gone(pid: Pid) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no process {pid}"))
}

/// Every process and its parent.
pub fn parents() -> BTreeMap<Pid, Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| Some((Pid::from_raw(pid), Pid::from_raw(stat(Pid::from_raw(pid))?.get(1)?.parse().ok()?))))
        .collect()
}

/// The processes in `found` and all that they started, however deep.
pub fn with_descendants(mut found: BTreeSet<Pid>, parents: &BTreeMap<Pid, Pid>) -> BTreeSet<Pid> {
    loop {
        let before = found.len();
        let children = parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(pid, _)| *pid);
        found.extend(children.collect::<Vec<_>>());
        if found.len() == before {
            return found;
        }
    }
}

/// Whether it has ended and waits to be collected, or is gone.
pub fn is_zombie(pid: Pid) -> bool {
    stat(pid).is_none_or(|fields| fields.first().is_some_and(|state| state == "Z"))
}

/// Whether it leads a process group of its own.
pub fn leads_group(pid: Pid) -> bool {
    stat(pid).is_some_and(|fields| fields.get(2).is_some_and(|group| *group == pid.to_string()))
}

/// The fields of `/proc/PID/stat` after the command, whose name may hold anything: state, parent, group ..
fn stat(pid: Pid) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use super::*;

    #[test]
    fn a_noted_process_is_found_again_and_a_pid_used_again_is_not() {
        let directory = std::env::temp_dir().join(format!("skein-process-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("noted");
        let mut own = Process::of(Command::new("sleep").arg("60").spawn().unwrap());
        own.note(&file).unwrap();
        let mut found = Process::noted(&file).unwrap();
        assert!(found.is_running() && found.pid() == own.pid());
        own.kill9();
        assert!(!own.is_running() && !found.is_running());
        std::fs::write(&file, format!("{} 1", std::process::id())).unwrap();
        let mut other = Process::noted(&file).unwrap();
        assert!(!other.is_running());
        // Must not end this very process.
        other.kill9();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
