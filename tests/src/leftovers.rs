//! Taking a lab away: its processes, mounts, namespaces, control groups and files, whether the test ended, panicked, was
//! interrupted, or was killed and another lab finds what it left. Only what lives in the lab's own namespaces, or was
//! started by something that does, is ever killed, by its pid.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::engine;
use crate::netns::{self, Netns};
use crate::steps::say;

/// What the directories of labs are called, before the pid.
const PREFIX: &str = "skein-lab-";
/// How often all processes are looked through before what still lives is given up on and reported.
const ROUNDS: u32 = 40;

static LABS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static WATCH_SIGNALS: Once = Once::new();

/// Makes the directory of a new lab and sees to it that it is taken away when this process is interrupted. First takes
/// away the labs of processes that no longer live.
///
/// # Errors
/// When the directory cannot be made.
pub fn make_directory() -> std::io::Result<PathBuf> {
    sweep_abandoned();
    WATCH_SIGNALS.call_once(watch_signals);
    let mut labs = lock();
    let mut number = 0;
    let directory = loop {
        let directory = std::env::temp_dir().join(format!("{PREFIX}{}-{number}", std::process::id()));
        if !directory.exists() && !labs.contains(&directory) {
            break directory;
        }
        number += 1;
    };
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("owner"), owner_line(std::process::id()).unwrap_or_default())?;
    labs.insert(directory.clone());
    Ok(directory)
}

/// The name of a namespace of the lab in `directory`.
pub fn namespace_name(directory: &Path, host: &str) -> String {
    format!("{}-{host}", name_of(directory))
}

/// Takes away everything that belongs to the lab in `directory`. Says on stderr what it could not take away.
pub fn remove(directory: &Path) {
    engine::stop_gently(directory);
    let namespaces = namespaces_of(directory);
    for _ in 0..ROUNDS {
        let living = processes_in(&namespaces);
        if living.is_empty() {
            break;
        }
        for pid in living {
            // It may have ended by itself meanwhile, which is as good.
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    for pid in processes_in(&namespaces) {
        say(&format!("lab: process {pid} outlived its lab"));
    }
    let groups = engine::control_groups(directory);
    unmount_below(directory);
    for namespace in namespaces {
        if let Err(failure) = netns::ip(&format!("netns delete {namespace}")) {
            say(&format!("lab: {failure}"));
        }
    }
    for group in groups {
        // The group is gone already when the engine ended its container in peace.
        let _ = std::fs::remove_dir(group);
    }
    if let Err(error) = std::fs::remove_dir_all(directory) {
        say(&format!("lab: cannot remove {}: {error}", directory.display()));
    }
    lock().remove(directory);
}

/// What is left of the lab in `directory`, each thing in a few words; empty when nothing is.
pub fn left_of(directory: &Path) -> Vec<String> {
    let mut left = Vec::new();
    if directory.exists() {
        left.push(format!("directory {}", directory.display()));
    }
    left.extend(namespaces_of(directory).into_iter().map(|name| format!("namespace {name}")));
    left.extend(mounts_below(directory).into_iter().map(|mount| format!("mount {}", mount.display())));
    let marker = directory.display().to_string();
    for (pid, _) in parents() {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&marker) && pid != Pid::this() {
            left.push(format!("process {pid}: {command}"));
        }
    }
    left
}

/// The processes that live in a namespace, and all that they started.
pub fn living_in(netns: &Netns) -> Vec<Pid> {
    processes_in(&[netns.name().to_owned()])
}

/// The pids that live in one of `namespaces`, and all that they started, however deep.
fn processes_in(namespaces: &[String]) -> Vec<Pid> {
    let inodes: BTreeSet<u64> = namespaces
        .iter()
        .filter_map(|name| std::fs::metadata(Path::new(netns::DIRECTORY).join(name)).ok())
        .map(|metadata| metadata.ino())
        .collect();
    let parents = parents();
    let mut found: BTreeSet<Pid> = parents
        .keys()
        .filter(|pid| std::fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|ns| inodes.contains(&ns.ino())))
        .copied()
        .collect();
    loop {
        let before = found.len();
        let children: Vec<Pid> =
            parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(pid, _)| *pid).collect();
        found.extend(children);
        if found.len() == before {
            break;
        }
    }
    found.remove(&Pid::this());
    found.into_iter().filter(|pid| !is_zombie(*pid)).collect()
}

/// Every process and its parent.
fn parents() -> BTreeMap<Pid, Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| Some((Pid::from_raw(pid), Pid::from_raw(stat(pid)?.get(1)?.parse().ok()?))))
        .collect()
}

fn is_zombie(pid: Pid) -> bool {
    stat(pid.as_raw()).is_none_or(|fields| fields.first().is_some_and(|state| state == "Z"))
}

/// The fields of `/proc/PID/stat` after the command, whose name may hold anything: state, parent ..
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// A process in one line: its pid and when it started, so that a pid used again is not taken for it.
fn owner_line(pid: u32) -> Option<String> {
    let fields = stat(i32::try_from(pid).ok()?)?;
    Some(format!("{pid} {}", fields.get(19)?))
}

fn sweep_abandoned() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let directory = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // A directory that has no owner yet is being made right now.
        let Ok(owner) = std::fs::read_to_string(directory.join("owner")) else { continue };
        let pid = owner.split(' ').next().and_then(|pid| pid.parse().ok());
        if pid.and_then(owner_line).is_none_or(|line| line != owner) {
            say(&format!("lab: taking away {}, whose test was killed", directory.display()));
            remove(&directory);
        }
    }
}

fn watch_signals() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(wait_for_signal());
        say("lab: interrupted; taking the labs away");
        let labs: Vec<PathBuf> = lock().iter().cloned().collect();
        labs.iter().for_each(|directory| remove(directory));
        std::process::exit(130);
    });
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

fn namespaces_of(directory: &Path) -> Vec<String> {
    let prefix = format!("{}-", name_of(directory));
    let entries = std::fs::read_dir(netns::DIRECTORY).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|n| n.starts_with(&prefix)).collect()
}

fn name_of(directory: &Path) -> String {
    directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(directory)).collect()
}

fn unmount_below(directory: &Path) {
    for point in mounts_below(directory).into_iter().rev() {
        if let Err(failure) = netns::run(std::process::Command::new("umount").arg("--lazy").arg(&point)) {
            say(&format!("lab: {failure}"));
        }
    }
}

fn lock() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    LABS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
