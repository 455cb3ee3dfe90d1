//! Taking a lab away: its processes, mounts, namespaces, control groups and files, whether the test ended, panicked, was
//! interrupted, or was killed and another lab finds what it left. Only what lives in the lab's own namespaces, or was
//! started by something that does, is ever killed, by its pid.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::engine;
use crate::failure::{Failure, Outcome, ensure};
use crate::netns::{self, Netns};
use crate::process::{self, is_zombie};
use crate::steps::say;

/// What the directories of labs are called, before the pid.
const PREFIX: &str = "skein-lab-";
/// The file that makes a directory a lab's: no other is ever removed.
const CLAIM: &str = "this-is-a-lab";
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
    std::fs::write(directory.join("owner"), process::line_of(Pid::this()).unwrap_or_default())?;
    labs.insert(directory.clone());
    Ok(directory)
}

/// Makes `directory` that of a lab which is to outlive this process, once [`release`] says so. Until then it is taken away
/// when this process is interrupted.
///
/// # Errors
/// When something is there already, which is left alone, or the directory cannot be made.
pub fn claim(directory: &Path) -> Outcome<()> {
    WATCH_SIGNALS.call_once(watch_signals);
    let left = left_of(directory);
    ensure(left.is_empty(), || format!("there is something already: {}", left.join("; ")))?;
    std::fs::create_dir_all(directory).map_err(|e| Failure::new(format!("{}: {e}", directory.display())))?;
    std::fs::write(directory.join(CLAIM), "")?;
    lock().insert(directory.to_owned());
    Ok(())
}

/// Whether [`claim`] made `directory` a lab's.
pub fn is_claimed(directory: &Path) -> bool {
    directory.join(CLAIM).exists()
}

/// From now on the lab in `directory` stays when this process ends.
pub fn release(directory: &Path) {
    lock().remove(directory);
}

/// The name of a namespace of the lab in `directory`.
pub fn namespace_name(directory: &Path, host: &str) -> String {
    format!("{}-{host}", name_of(directory))
}

/// Takes away everything that belongs to the lab in `directory`. Says on stderr what it could not take away.
pub fn remove(directory: &Path) {
    engine::stop_gently(directory);
    let namespaces = namespaces_of(directory);
    for pid in kill_all_in(&namespaces) {
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
    // A person's own program may name the directory itself; what runs in the lab names a file in it or is in a namespace.
    let marker = format!("{}/", directory.display());
    for (pid, _) in process::parents() {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&marker) && pid != Pid::this() {
            left.push(format!("process {pid}: {command}"));
        }
    }
    left
}

/// Kills all that lives in a namespace and all that it started, as a power cut would. Returns what outlived it.
pub fn kill_all(netns: &Netns) -> Vec<Pid> {
    kill_all_in(&[netns.name().to_owned()])
}

fn kill_all_in(namespaces: &[String]) -> Vec<Pid> {
    for _ in 0..ROUNDS {
        let living = processes_in(namespaces);
        if living.is_empty() {
            break;
        }
        for pid in living {
            // It may have ended by itself meanwhile, which is as good.
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    processes_in(namespaces)
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
    let parents = process::parents();
    let living = parents
        .keys()
        .filter(|pid| std::fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|ns| inodes.contains(&ns.ino())))
        .copied()
        .collect();
    let mut found = process::with_descendants(living, &parents);
    found.remove(&Pid::this());
    found.into_iter().filter(|pid| !is_zombie(*pid)).collect()
}

fn sweep_abandoned() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let directory = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // A directory that has no owner yet is being made right now.
        let Ok(owner) = std::fs::read_to_string(directory.join("owner")) else { continue };
        let pid = owner.split(' ').next().and_then(|pid| pid.parse().ok()).map(Pid::from_raw);
        if !pid.is_some_and(|pid| process::is_line_of(&owner, pid)) {
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

/// The namespaces of the lab in `directory`. What comes after its name is looked at too: one lab's name may be the
/// beginning of another's.
pub fn namespaces_of(directory: &Path) -> Vec<String> {
    let prefix = format!("{}-", name_of(directory));
    let is_host = |rest: &str| rest.strip_prefix('h').is_some_and(|number| number.parse::<u8>().is_ok());
    let is_own = |name: &String| name.strip_prefix(&prefix).is_some_and(|rest| rest == "lan" || is_host(rest));
    let entries = std::fs::read_dir(netns::DIRECTORY).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(is_own).collect()
}

/// What a lab is called in the names of its namespaces: its directory's name, with the whole path in front when it is not
/// where labs usually are, so that no two directories share one.
fn name_of(directory: &Path) -> String {
    let inside = directory.strip_prefix(std::env::temp_dir()).unwrap_or(directory);
    inside.display().to_string().trim_matches('/').replace('/', ".")
}

fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(directory)).collect()
}

/// Takes away the mounts below `directory`, as a machine's restart would.
pub fn unmount_below(directory: &Path) {
    for point in mounts_below(directory).into_iter().rev() {
        if let Err(failure) = netns::run(std::process::Command::new("umount").arg("--lazy").arg(&point)) {
            say(&format!("lab: {failure}"));
        }
    }
}

fn lock() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    LABS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
