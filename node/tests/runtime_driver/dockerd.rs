//! A Docker engine of a test's own, in a network namespace of its own that leads nowhere. Both go with the value, also
//! when the test fails.
#![allow(unreachable_pub)]

use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The engine.
pub struct Dockerd {
    dir: PathBuf,
    namespace: String,
    process: Option<Child>,
}

impl Dockerd {
    /// Starts one and waits until it answers.
    pub fn start() -> Dockerd {
        assert!(nix::unistd::geteuid().is_root(), "these tests start Docker engines of their own, so they need root");
        for program in ["dockerd", "docker", "nsenter", "ip"] {
            let found = Command::new("which").arg(program).stdout(Stdio::null()).status().unwrap().success();
            assert!(found, "{program} is missing: apt-get install docker.io iproute2 util-linux busybox-static");
        }
        let namespace = format!("skt{}x{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::Builder::new().prefix("skein-dockerd-").tempdir().unwrap().keep();
        let mut engine = Dockerd { dir, namespace, process: None };
        run("ip", &["netns", "add", &engine.namespace]);
        run("ip", &["-n", &engine.namespace, "link", "set", "lo", "up"]);
        engine.go();
        engine
    }

    /// Where it listens.
    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.join("docker.sock").display())
    }

    /// A directory that goes with the engine.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Moves this thread, and the tasks of its runtime, to the engine's network, where the addresses of pods are.
    pub fn enter_network(&self) {
        let namespace = File::open(Path::new("/run/netns").join(&self.namespace)).unwrap();
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Runs Docker's own client; its output without the last newline.
    pub fn docker(&self, args: &[&str]) -> String {
        run("docker", &[&["-H", &self.host()], args].concat())
    }

    /// Ends the engine, and with it its containers.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let _ = kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM);
        let until = Instant::now() + Duration::from_secs(15);
        while process.try_wait().unwrap().is_none() {
            if Instant::now() > until {
                let _ = process.kill();
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Starts the engine (again) and waits until it answers.
    pub fn go(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let at = |name: &str| self.dir.join(name).display().to_string();
        let process = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .args(["dockerd", "--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["-H", &self.host(), "--iptables=false", "--ip6tables=false", "--shutdown-timeout", "1"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        let until = Instant::now() + Duration::from_secs(30);
        while !self.answers() {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            if ended.is_some() || Instant::now() > until {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(10).collect();
                panic!("dockerd does not answer; it said last, newest first:\n{}", last.join("\n"));
            }
            sleep(Duration::from_millis(50));
        }
    }

    fn answers(&self) -> bool {
        let is_socket = fs::metadata(self.dir.join("docker.sock")).is_ok_and(|meta| meta.file_type().is_socket());
        let ping = || Command::new("docker").args(["-H", &self.host(), "version"]).output().unwrap().status.success();
        is_socket && ping()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if self.process.is_some() {
            // Containers that do not listen would only hold up the engine's end.
            let _ = Command::new("sh")
                .arg("-c")
                .arg(format!("docker -H {0} ps -aq | xargs -r docker -H {0} rm -f", self.host()))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
        self.stop();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let prefix = format!("{}/", self.dir.display());
        for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| path.starts_with(&prefix)) {
            let _ = Command::new("umount").args(["-l", mount]).status();
        }
        let _ = fs::remove_dir_all(&self.dir);
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", args.join(" "));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
