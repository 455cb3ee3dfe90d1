//! What is on disk about one container of the `process` runtime, and whether its shim lives. Read and written by the
//! daemon and the shim, which may be of different versions: fields are only ever added, with defaults.
//!
//! What a container is given (its environment, its command) may hold the values of Secrets and is kept in memory alone, in
//! `whole`; the disk has the rest.
//!
//! A directory has `spec.json` (daemon), then `lock` (held by the shim as long as it lives), `control` and `alive` (fifos),
//! `log` and its rotated files, `started.json`, and at last `exit.json` (all shim).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skein_core::runtime::{ContainerInfo, ContainerRef, ContainerSpec, ContainerState, Exit};

use super::super::boot;
use super::whole;

/// What the daemon tells the shim.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) cluster: String,
    pub(crate) node: String,
    pub(crate) spec: ContainerSpec,
    /// The pod's address; `None` with the host's network.
    pub(crate) ip: Option<String>,
    /// Whether this container holds the pod's address for the others.
    pub(crate) holds_address: bool,
    /// The whole environment of the process.
    pub(crate) env: Vec<(String, String)>,
    /// When a log file is full, in bytes.
    pub(crate) log_max_bytes: u64,
}

/// What the shim says once the process runs. Pid, start time and boot together name one process for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) pid: i32,
    /// Clock ticks after boot, from `/proc/PID/stat`.
    pub(crate) start_ticks: u64,
    pub(crate) boot: String,
    pub(crate) started_at_ms: u64,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) finished_at_ms: u64,
    #[serde(default)]
    pub(crate) message: String,
}

/// What a state directory amounts to.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// Its shim lives, and says so or will in a moment.
    Starting,
    /// It runs.
    Running(Box<Record>, Started),
    /// It has ended.
    Ended(Box<Record>, Option<Started>, Ended),
    /// Nothing ever ran here, and no shim is at it.
    Unstarted,
    /// There is no such directory.
    Absent,
}

/// The directory of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateDir(PathBuf);

impl StateDir {
    /// The directory of a container below the runtime's. `None` for names that no Kubernetes object can have, which might
    /// lead elsewhere.
    pub(crate) fn of(root: &Path, id: &ContainerRef) -> Option<StateDir> {
        let plain = |name: &str| {
            let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !name.is_empty() && name.len() <= 100 && name.bytes().all(sound)
        };
        let sound = plain(&id.uid) && plain(&id.container);
        sound.then(|| StateDir(root.join(format!("{}_{}_{}", id.uid, id.container, id.attempt))))
    }

    /// All directories below the runtime's.
    pub(crate) fn all(root: &Path) -> io::Result<Vec<StateDir>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            // What begins with a dot is being removed.
            if !entry.file_name().as_encoded_bytes().starts_with(b".") && entry.file_type()?.is_dir() {
                found.push(StateDir(entry.path()));
            }
        }
        Ok(found)
    }

    /// The directory that a shim was given.
    pub(crate) fn at(path: &Path) -> StateDir {
        StateDir(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    pub(crate) fn alive(&self) -> PathBuf {
        self.0.join("alive")
    }

    /// Makes the directory with its record, which is on the disk without what may hold values of Secrets.
    pub(crate) fn create(&self, record: &Record) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(&self.0)?;
        File::create(self.0.join("lock"))?;
        whole::write(&self.0, record)?;
        let mut told = record.clone();
        told.env.clear();
        told.spec.env.clear();
        told.spec.command.clear();
        told.spec.args.clear();
        self.write("spec.json", &told)
    }

    /// Removes it at once for all who look for it, and then its files.
    pub(crate) fn remove(&self) -> io::Result<()> {
        whole::remove(&self.0)?;
        let mut name = std::ffi::OsString::from(".removed-");
        name.push(self.0.file_name().unwrap_or_default());
        let aside = self.0.with_file_name(name);
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match fs::rename(&self.0, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        fs::remove_dir_all(&aside)
    }

    /// What the container was started with; after a restart of the machine without its environment and its command,
    /// which nothing needs any more then.
    pub(crate) fn record(&self) -> io::Result<Record> {
        let told: Record = self.read("spec.json")?;
        // One that another node left in a place of the same name says nothing of this one.
        let whole =
            whole::read(&self.0).filter(|whole: &Record| whole.spec.id == told.spec.id && whole.node == told.node);
        Ok(whole.unwrap_or(told))
    }

    pub(crate) fn write_started(&self, started: &Started) -> io::Result<()> {
        self.write("started.json", started)
    }

    pub(crate) fn write_ended(&self, ended: &Ended) -> io::Result<()> {
        self.write("exit.json", ended)
    }

    /// Takes the lock that says that a shim lives.
    pub(crate) fn lock(&self) -> io::Result<Flock<File>> {
        let file = OpenOptions::new().write(true).open(self.0.join("lock"))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error.into())
    }

    /// Whether the shim lives. The kernel drops the lock with the process, and a recycled pid cannot fake it.
    pub(crate) fn is_held(&self) -> bool {
        let Ok(file) = File::open(self.0.join("lock")) else { return false };
        matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
    }

    /// Looks what is there.
    pub(crate) fn look(&self) -> io::Result<Found> {
        if !self.0.exists() {
            return Ok(Found::Absent);
        }
        // The lock is looked at before the files: when it was free, they do not change any more.
        let held = self.is_held();
        let record = match self.record() {
            Ok(record) => Box::new(record),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !held => return Ok(Found::Unstarted),
            Err(error) => return Err(error),
        };
        let started: Option<Started> = optional(self.read("started.json"))?;
        if let Some(ended) = optional(self.read("exit.json"))? {
            return Ok(Found::Ended(record, started, ended));
        }
        Ok(match (started, held) {
            (Some(started), true) => Found::Running(record, started),
            (None, true) => Found::Starting,
            (None, false) => Found::Unstarted,
            (Some(started), false) => {
                let ended = self.abandoned(&started)?;
                Found::Ended(record, Some(started), ended)
            }
        })
    }

    /// Asks the shim to end the container.
    pub(crate) fn ask_to_stop(&self, grace_ms: u64) -> io::Result<()> {
        // Without O_NONBLOCK this would wait for a shim that is gone.
        let flags = OFlag::O_NONBLOCK.bits();
        let mut control = OpenOptions::new().write(true).custom_flags(flags).open(self.control())?;
        control.write_all(format!("stop {grace_ms}\n").as_bytes())
    }

    /// The shim is gone without a word: killed, or the machine was restarted. What it held must not go on unseen.
    fn abandoned(&self, started: &Started) -> io::Result<Ended> {
        if identify(started.pid).is_some_and(|(ticks, boot)| ticks == started.start_ticks && boot == started.boot) {
            let group = nix::unistd::Pid::from_raw(started.pid);
            // It may end between the two lines, which is as good.
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        }
        let message = "the process that held it is gone, so nobody saw how it ended".to_owned();
        let ended = Ended { code: None, finished_at_ms: super::super::timestamp::now_ms(), message };
        self.write_ended(&ended)?;
        Ok(ended)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<T> {
        let bytes = fs::read(self.0.join(name))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged: {error}", self.0.join(name).display()))
        })
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let bytes = serde_json::to_vec(value).map_err(io::Error::other)?;
        // A pid in the name, since daemon and shim may write the same file.
        let aside = self.0.join(format!(".{name}.{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(&bytes)?;
        fs::rename(&aside, self.0.join(name))
    }
}

/// What the agent is told about a container.
pub(crate) fn info(record: &Record, started: Option<&Started>, ended: Option<&Ended>) -> ContainerInfo {
    let spec = &record.spec;
    let state = match ended {
        Some(ended) => ContainerState::Exited(exit(ended)),
        None => ContainerState::Running,
    };
    ContainerInfo {
        id: spec.id.clone(),
        namespace: spec.namespace.clone(),
        pod: spec.pod.clone(),
        slot: spec.slot.clone(),
        write: spec.write.clone(),
        state,
        runtime_id: format!("process://{}", started.map_or(0, |started| started.pid)),
        image: spec.image.clone(),
        image_id: String::new(),
        ip: record.ip.clone(),
        started_at_ms: started.map_or(0, |started| started.started_at_ms),
        before_boot: ended.is_some() && started.is_some_and(|started| boot::is_before(&started.boot, &boot::id())),
    }
}

/// The end of a container in the agent's words.
pub(crate) fn exit(ended: &Ended) -> Exit {
    Exit { code: ended.code, oom_killed: false, finished_at_ms: ended.finished_at_ms, message: ended.message.clone() }
}

/// The start time of a living process, and the boot it belongs to.
pub(crate) fn identify(pid: i32) -> Option<(u64, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name is in parentheses and may hold anything; state is field 3, the start time field 22.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let ticks = fields.nth(18)?.parse().ok()?;
    let boot = boot::id();
    (!boot.is_empty()).then_some((ticks, boot))
}

fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_core::runtime::Security;

    #[test]
    fn a_name_cannot_lead_out_of_the_directory() {
        let id = |uid: &str| ContainerRef { uid: uid.into(), container: "web".into(), attempt: 0 };
        assert!(StateDir::of(Path::new("/x"), &id("../../etc")).is_none());
        assert!(StateDir::of(Path::new("/x"), &id("")).is_none());
        assert_eq!(StateDir::of(Path::new("/x"), &id("ab-1")).unwrap().path(), Path::new("/x/ab-1_web_0"));
    }

    #[test]
    fn what_may_hold_a_secret_is_in_memory_and_not_on_the_disk() {
        let root = tempfile::tempdir().unwrap();
        let id = ContainerRef { uid: "ab-1".into(), container: "web".into(), attempt: 0 };
        let dir = StateDir::of(root.path(), &id).unwrap();
        let mut spec = spec(id);
        spec.env = vec![("PASSWORD".to_owned(), "canary".to_owned())];
        spec.args = vec!["--password=canary".to_owned()];
        let record = Record {
            cluster: "c".into(),
            node: "n".into(),
            env: spec.env.clone(),
            spec,
            ip: None,
            holds_address: false,
            log_max_bytes: 1,
        };
        dir.create(&record).unwrap();
        let read = dir.record().unwrap();
        assert_eq!((&read.env, &read.spec), (&record.env, &record.spec), "shim and daemon are told all");
        for entry in fs::read_dir(dir.path()).unwrap().flatten() {
            let bytes = fs::read(entry.path()).unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"canary"), "{}", entry.path().display());
        }
        let whole = whole::place(dir.path());
        assert!(fs::read_to_string(&whole).unwrap().contains("canary") && whole.starts_with("/dev/shm"));
        // As after a restart of the machine.
        fs::remove_file(&whole).unwrap();
        let read = dir.record().unwrap();
        assert!(read.env.is_empty() && read.spec.id == record.spec.id && read.spec.image == record.spec.image);
        dir.remove().unwrap();
        assert!(!whole.parent().unwrap().exists(), "nothing is left in memory");
    }

    fn spec(id: ContainerRef) -> ContainerSpec {
        ContainerSpec {
            id,
            namespace: "default".into(),
            pod: "web".into(),
            slot: String::new(),
            write: String::new(),
            image: "i".into(),
            command: vec!["true".into()],
            args: Vec::new(),
            env: Vec::new(),
            working_dir: String::new(),
            ports: Vec::new(),
            cpu_limit_millis: None,
            cpu_request_millis: None,
            memory_limit_bytes: None,
            network_of: None,
            pid_of: None,
            host_network: true,
            tty: false,
            stdin: false,
            stdin_once: false,
            hostname: String::new(),
            host_aliases: Vec::new(),
            mounts: Vec::new(),
            security: Security::default(),
        }
    }

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_pid() {
        let own = i32::try_from(std::process::id()).unwrap();
        let (ticks, boot) = identify(own).unwrap();
        assert!(ticks > 0 && boot.len() == 36, "{ticks} {boot}");
        assert_eq!(identify(own), Some((ticks, boot)));
        assert_eq!(identify(i32::MAX), None);
    }

    #[test]
    fn a_lock_is_seen_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path());
        File::create(dir.path().join("lock")).unwrap();
        assert!(!state.is_held());
        let lock = state.lock().unwrap();
        assert!(state.is_held());
        drop(lock);
        assert!(!state.is_held());
    }
}
