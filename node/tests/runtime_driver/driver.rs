//! Drives a runtime as the agent would, for the tests of both.
// Each test binary uses some of it.
#![allow(dead_code, unreachable_pub)]

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt as _;
use skein_core::runtime::{
    Capacity, ContainerInfo, ContainerRef, ContainerSpec, Exit, ProbeAction, RuntimeAction, RuntimeEvent, Security,
};
use skein_node::runtime::{LogOptions, RuntimeConfig, RuntimeHandle, start};
use tokio::sync::mpsc;

/// A runtime on a data directory, and what it says.
pub struct Runtime {
    data_dir: PathBuf,
    pub handle: RuntimeHandle,
    pub events: mpsc::Receiver<RuntimeEvent>,
}

/// A test that fails leaves no process behind either.
impl Drop for Runtime {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let Ok(entries) = std::fs::read_dir(self.data_dir.join("process")) else { return };
        for entry in entries.flatten() {
            let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
            let control =
                std::fs::OpenOptions::new().write(true).custom_flags(flags).open(entry.path().join("control"));
            if let Ok(mut control) = control {
                let _ = control.write_all(b"stop 0\n");
            }
        }
    }
}

impl Runtime {
    /// Starts the runtime and waits for its first word on capacity.
    pub async fn start(config: RuntimeConfig) -> Runtime {
        let (sender, events) = mpsc::channel(100);
        let data_dir = config.data_dir.clone();
        let mut runtime = Runtime { data_dir, handle: start(config, sender).await.unwrap(), events };
        assert!(runtime.capacity().await.ready);
        runtime
    }

    /// The next word on capacity.
    pub async fn capacity(&mut self) -> Capacity {
        match self.event(|event| matches!(event, RuntimeEvent::Capacity(_))).await {
            RuntimeEvent::Capacity(capacity) => capacity,
            other => panic!("{other:?}"),
        }
    }

    /// The next event that is asked for; others before it are passed over.
    pub async fn event(&mut self, wanted: impl Fn(&RuntimeEvent) -> bool) -> RuntimeEvent {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the runtime is there");
                if wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), search).await.expect("an event within 20 s")
    }

    /// Starts a container that must start.
    pub async fn run(&mut self, spec: ContainerSpec) -> ContainerInfo {
        self.handle.act(RuntimeAction::Start(Box::new(spec)));
        let answer =
            self.event(|event| matches!(event, RuntimeEvent::Started(_) | RuntimeEvent::StartFailed { .. })).await;
        match answer {
            RuntimeEvent::Started(info) => info,
            other => panic!("{other:?}"),
        }
    }

    /// Starts a container that must not; reason and message.
    pub async fn run_in_vain(&mut self, spec: ContainerSpec) -> (String, String) {
        self.handle.act(RuntimeAction::Start(Box::new(spec)));
        let answer =
            self.event(|event| matches!(event, RuntimeEvent::Started(_) | RuntimeEvent::StartFailed { .. })).await;
        match answer {
            RuntimeEvent::StartFailed { reason, message, .. } => (reason, message),
            other => panic!("{other:?}"),
        }
    }

    /// The next end of a container.
    pub async fn exit(&mut self) -> (ContainerRef, Exit) {
        match self.event(|event| matches!(event, RuntimeEvent::Exited { .. } | RuntimeEvent::StopFailed { .. })).await {
            RuntimeEvent::Exited { id, exit } => (id, exit),
            other => panic!("{other:?}"),
        }
    }

    /// All containers.
    pub async fn list(&mut self) -> Vec<ContainerInfo> {
        self.handle.act(RuntimeAction::List);
        match self.event(|event| matches!(event, RuntimeEvent::Listed(_) | RuntimeEvent::ListFailed { .. })).await {
            RuntimeEvent::Listed(infos) => infos,
            other => panic!("{other:?}"),
        }
    }

    /// Probes once.
    pub async fn probe(&mut self, id: &ContainerRef, action: ProbeAction, timeout_ms: u64) -> Result<(), String> {
        let timeout = Duration::from_millis(timeout_ms);
        self.handle.act(RuntimeAction::Probe { id: id.clone(), token: 9, action, timeout, is_hook: false });
        match self.event(|event| matches!(event, RuntimeEvent::Probed { .. })).await {
            RuntimeEvent::Probed { token: 9, result, .. } => result,
            other => panic!("{other:?}"),
        }
    }

    /// Removes all containers.
    pub async fn clean_up(mut self) {
        for info in self.list().await {
            self.handle.act(RuntimeAction::Remove { id: info.id });
            let gone = self
                .event(|event| matches!(event, RuntimeEvent::Removed { .. } | RuntimeEvent::RemoveFailed { .. }))
                .await;
            assert!(matches!(gone, RuntimeEvent::Removed { .. }), "{gone:?}");
        }
        assert_eq!(self.list().await, []);
        self.handle.shutdown().await;
    }
}

/// The first attempt of container `main` of a pod.
pub fn id(uid: &str) -> ContainerRef {
    ContainerRef { uid: uid.into(), container: "main".into(), attempt: 0 }
}

/// A container that runs a script.
pub fn shell(uid: &str, script: &str) -> ContainerSpec {
    ContainerSpec {
        id: id(uid),
        namespace: "shop".to_owned(),
        pod: format!("pod-{uid}"),
        slot: "Namespace:shop@1/Pod:p@1".to_owned(),
        write: "abcd".to_owned(),
        image: "busybox:1".to_owned(),
        command: vec!["sh".to_owned(), "-c".to_owned()],
        args: vec![script.to_owned()],
        env: vec![("GREETING".to_owned(), "hello world".to_owned())],
        working_dir: String::new(),
        ports: Vec::new(),
        cpu_limit_millis: None,
        cpu_request_millis: None,
        memory_limit_bytes: None,
        network_of: None,
        pid_of: None,
        host_network: false,
        tty: false,
        stdin: false,
        stdin_once: false,
        hostname: String::new(),
        host_aliases: Vec::new(),
        mounts: Vec::new(),
        security: Security::default(),
    }
}

/// Reads a log to its end.
pub async fn read(runtime: &Runtime, id: &ContainerRef, options: LogOptions) -> String {
    let mut stream = runtime.handle.logs(id.clone(), options).await.unwrap();
    let all = async {
        let mut all = Vec::new();
        while let Some(chunk) = stream.next().await {
            all.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(all).unwrap()
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("the log has an end")
}
