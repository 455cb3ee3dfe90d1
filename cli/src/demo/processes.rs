//! The processes below the demo, found in /proc: containers of the `process` runtime by the shims that hold them, and
//! everything that the demo started by the `PATH` it was given. Only what is found like this is ever killed.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::args::SHIM_VERB;

/// A container of the `process` runtime: its shim, and the processes that the shim started and that still live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    shim: Pid,
    processes: Vec<Pid>,
}

impl Held {
    /// Whether it runs.
    pub(crate) fn runs(&self) -> bool {
        !self.processes.is_empty()
    }

    /// Kills it with its shim, as the loss of the machine would. The shim first, so that it reports nothing.
    pub(crate) fn kill(&self) {
        // What has ended meanwhile need not be killed.
        let _ = kill(self.shim, Signal::SIGKILL);
        for &process in &self.processes {
            let _ = killpg(process, Signal::SIGKILL);
            let _ = kill(process, Signal::SIGKILL);
        }
    }
}

/// The containers whose state is below a node's data directory.
pub(crate) fn held_below(data_dir: &Path) -> Vec<Held> {
    let mut children: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
    for pid in all() {
        if let Some((parent, true)) = parent_and_life(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let is_shim = |pid: &Pid| {
        let words = read(*pid, "cmdline");
        let mut words = words.split(|&byte| byte == 0).skip(1);
        let is_verb = words.next() == Some(SHIM_VERB.as_bytes());
        is_verb && words.next().is_some_and(|dir| Path::new(std::ffi::OsStr::from_bytes(dir)).starts_with(data_dir))
    };
    let shims = all().into_iter().filter(is_shim);
    shims.map(|shim| Held { shim, processes: children.remove(&shim).unwrap_or_default() }).collect()
}

/// Kills every living process whose `PATH` begins with this directory. The result is their number.
pub(crate) fn kill_started_with(path_begin: &Path) -> usize {
    let mut wanted = b"PATH=".to_vec();
    wanted.extend_from_slice(path_begin.as_os_str().as_bytes());
    wanted.push(b':');
    let is_ours = |pid: &Pid| {
        *pid != Pid::this()
            && parent_and_life(*pid).is_some_and(|(_, lives)| lives)
            && read(*pid, "environ").split(|&byte| byte == 0).any(|variable| variable.starts_with(&wanted))
    };
    let ours: Vec<Pid> = all().into_iter().filter(is_ours).collect();
    for pid in &ours {
        // It may have ended by itself just now.
        let _ = kill(*pid, Signal::SIGKILL);
    }
    ours.len()
}

fn all() -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))).collect()
}

/// What /proc says; nothing of a process that is gone or somebody else's.
fn read(pid: Pid, file: &str) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// Whose child it is, and whether it is more than a zombie.
fn parent_and_life(pid: Pid) -> Option<(Pid, bool)> {
    let stat = read(pid, "stat");
    let stat = String::from_utf8_lossy(&stat);
    // The program's name is in parentheses and may hold anything.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    let lives = !matches!(fields.next()?, "Z" | "X");
    Some((Pid::from_raw(fields.next()?.parse().ok()?), lives))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    #[test]
    fn only_what_has_the_path_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let with = |path: &str| Command::new("/bin/sleep").arg("60").env("PATH", path).spawn().unwrap();
        let mut ours = with(&format!("{}:/bin", dir.path().display()));
        let mut other = with(&format!("/bin:{}", dir.path().display()));
        while kill_started_with(dir.path()) == 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(ours.wait().unwrap().signal(), Some(9));
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(kill_started_with(dir.path()), 0);
    }

    #[test]
    fn a_container_is_found_by_its_shim_and_killed_with_it() {
        let dir = tempfile::tempdir().unwrap();
        // A shell that runs a script of that name has the words of a shim.
        std::fs::write(dir.path().join(SHIM_VERB), "/bin/sleep 60 & wait\n").unwrap();
        let mut shim = Command::new("/bin/sh");
        shim.arg(SHIM_VERB).arg(dir.path().join("n1/process/x")).current_dir(dir.path());
        let mut shim = shim.spawn().unwrap();
        let found = loop {
            match held_below(&dir.path().join("n1")).as_slice() {
                [held] if held.runs() => break held.clone(),
                _ => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        };
        assert_eq!(held_below(&dir.path().join("n")), [], "another node's");
        found.kill();
        assert_eq!(shim.wait().unwrap().signal(), Some(9));
        while parent_and_life(found.processes[0]).is_some_and(|(_, lives)| lives) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(held_below(dir.path()), []);
    }
}
