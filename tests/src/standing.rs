//! A lab that stands after the program which built it has ended: brought up, found again by the next command, taken down.
//! What is done to it lives in `faults`, what is seen of it in `status`, `watch` and `timeline`, programs run on its hosts in
//! `inside`. How hosts, engines and daemons work is not known here: see `lab` and `cluster`.

pub mod faults;
pub mod inside;
pub mod status;
pub mod timeline;
pub mod watch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::timeline::Timeline;
use crate::cluster::Cluster;
use crate::daemon;
use crate::failure::{Failure, Outcome, ensure};
use crate::lab::{Host, Lab};
use crate::leftovers;

/// Where a lab stands when nothing else is said.
pub const DIRECTORY: &str = "/tmp/skein-lab";
/// The file in a lab's directory that says what it is. A directory without it was never finished.
const RECORD: &str = "lab.json";

/// What runs the containers on the hosts of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// An engine on each host.
    Docker,
    /// Plain processes.
    Process,
}

/// What is written down of a lab that stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    runtime: Runtime,
    skein: PathBuf,
    /// The hosts that were switched off.
    off: BTreeSet<usize>,
}

/// A lab that stands.
pub struct Standing {
    directory: PathBuf,
    record: Record,
    cluster: Cluster,
}

impl Standing {
    /// Brings up `count` hosts with a daemon each, all members of one cluster, and lets them go. Nothing is left of them when
    /// that fails or is interrupted.
    ///
    /// # Errors
    /// When the directory is in use, something is missing on the machine, or the cluster does not form.
    pub fn up(directory: &Path, count: usize, runtime: Runtime) -> Outcome<Self> {
        let directory = std::path::absolute(directory)?;
        ensure(count > 0, || "a lab without hosts is none; say how many: lab up 3".to_owned())?;
        ensure(!directory.join(RECORD).exists(), || {
            format!(
                "a lab stands in {} already; take it down first: {}",
                directory.display(),
                command(&directory, "down")
            )
        })?;
        // Built before there is anything to take away again.
        let skein = daemon::binary()?.to_owned();
        let (engines, bare) = if runtime == Runtime::Docker { (count, 0) } else { (0, count) };
        let lab = Lab::build_in(&directory, engines, bare).map_err(|failure| {
            let down = command(&directory, "down");
            Failure::new(format!("{failure}\nIf something is left of an earlier lab: {down}"))
        })?;
        let cluster = Cluster::form(lab, count)?;
        let mut this = Self { record: Record { runtime, skein, off: BTreeSet::new() }, directory, cluster };
        this.write_record()?;
        let what = format!("up: {count} hosts, {}", this.runtime_in_words());
        this.timeline().did(&what)?;
        watch::start(&this)?;
        this.cluster.let_go();
        Ok(this)
    }

    /// The lab that stands in `directory`.
    ///
    /// # Errors
    /// When there is none, or it is broken: what to do.
    pub fn open(directory: &Path) -> Outcome<Self> {
        let directory = std::path::absolute(directory)?;
        let written = std::fs::read(directory.join(RECORD)).map_err(|_| {
            let up = command(&directory, "up 3");
            Failure::new(format!("no lab stands in {}; bring one up: {up}", directory.display()))
        })?;
        let broken = |failure: Failure| {
            let down = command(&directory, "down");
            failure.while_doing(format!("the lab in {} is broken; take it away: {down}", directory.display()))
        };
        let record: Record = serde_json::from_slice(&written).map_err(|e| broken(e.into()))?;
        // A skein that was removed since is missed only by who starts one.
        let _ = daemon::use_binary(&record.skein);
        let cluster = Lab::find(&directory).and_then(Cluster::find).map_err(broken)?;
        Ok(Self { directory, record, cluster })
    }

    /// Takes away all that is, or is left, of a lab in `directory`, whatever became of the program that built it. Returns
    /// whether there was anything.
    ///
    /// # Errors
    /// When the directory is no lab's, which is left alone then, or something could not be taken away.
    pub fn down(directory: &Path) -> Outcome<bool> {
        let directory = std::path::absolute(directory)?;
        ensure(!directory.exists() || leftovers::is_claimed(&directory), || {
            format!(
                "{} is not a lab's directory, and was not touched; name the right one with --dir",
                directory.display()
            )
        })?;
        if leftovers::left_of(&directory).is_empty() {
            return Ok(false);
        }
        leftovers::remove(&directory);
        let left = leftovers::left_of(&directory);
        ensure(left.is_empty(), || format!("this could not be taken away: {}; try once more", left.join("; ")))?;
        Ok(true)
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The cluster on it.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What was done to it and seen of it.
    pub fn timeline(&self) -> Timeline {
        Timeline::of(&self.directory)
    }

    /// What a person types to do `verb` to it.
    pub fn command(&self, verb: &str) -> String {
        command(&self.directory, verb)
    }

    /// The host with that number.
    ///
    /// # Errors
    /// When there is none: which there are.
    pub fn host(&self, number: usize) -> Outcome<&Host> {
        let hosts = self.cluster.lab().hosts();
        let found = hosts.iter().find(|host| host.number == number);
        found.ok_or_else(|| Failure::new(format!("there is no host {number}; the lab has 1 to {}", hosts.len())))
    }

    /// What a person wants to know of a lab that has just come up.
    pub fn how_to_use(&self) -> String {
        let kubeconfig = crate::cluster::kubeconfig_path(self.cluster.lab(), 1);
        let lines = [
            (self.command("status"), "who runs, who leads, what is cut"),
            (self.command("exec 1 -- kubectl get nodes"), "any program on a host; KUBECONFIG is set there"),
            (self.command("shell 2"), "a shell on a host"),
            (self.command("cut 3"), "pull a cable, and so on: lab cut --help"),
            (self.command("timeline"), "what was done, and what the peers saw"),
            (self.command("down"), "take all of it away"),
        ];
        let width = lines.iter().map(|(typed, _)| typed.len()).max().unwrap_or(0);
        let mut text = format!(
            "The lab stands in {}: {} hosts, {}.\nThe skein on them is {}.\n\
             Their network is theirs alone: a program reaches it from one of the hosts.\nKUBECONFIG={}\n",
            self.directory.display(),
            self.cluster.lab().hosts().len(),
            self.runtime_in_words(),
            self.record.skein.display(),
            kubeconfig.display()
        );
        for (typed, what) in lines {
            text.push_str(&format!("  {typed:width$}  {what}\n"));
        }
        text
    }

    fn runtime_in_words(&self) -> &'static str {
        match self.record.runtime {
            Runtime::Docker => "a Docker engine each",
            Runtime::Process => "containers as plain processes",
        }
    }

    /// Written beside and moved, so that a command that is killed leaves the old one.
    fn write_record(&self) -> Outcome<()> {
        let (file, beside) = (self.directory.join(RECORD), self.directory.join("lab.json.new"));
        std::fs::write(&beside, serde_json::to_vec(&self.record)?)?;
        Ok(std::fs::rename(beside, file)?)
    }
}

fn command(directory: &Path, verb: &str) -> String {
    if directory == Path::new(DIRECTORY) {
        return format!("lab {verb}");
    }
    format!("lab --dir {} {verb}", directory.display())
}
