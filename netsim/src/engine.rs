//! A container runtime in virtual time: pulls are slow, starts fail, containers end, and survive the daemon but not the
//! power.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use skein_core::runtime::{
    Capacity, ContainerInfo, ContainerRef, ContainerSpec, ContainerState, Exit, RuntimeAction, RuntimeEvent,
};
use skein_gossip::Rng;

use crate::knobs::Faults;

/// One host's engine.
#[derive(Debug, Default)]
pub struct Engine {
    containers: BTreeMap<ContainerRef, Container>,
    images: BTreeSet<String>,
    started: u64,
}

/// A container with what it was made from.
#[derive(Debug, Clone)]
struct Container {
    info: ContainerInfo,
    cpu_millis: u64,
}

/// What an engine offers in every run.
const CPU_MILLIS: u64 = 5000;
const MEMORY_BYTES: u64 = 8 << 30;
const MAX_PODS: u32 = 110;

impl Engine {
    /// What it says of itself.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        Capacity {
            ready: true,
            runtime_version: "netsim://1".into(),
            cpu_millis: CPU_MILLIS,
            memory_bytes: MEMORY_BYTES,
            max_pods: MAX_PODS,
            os_image: "netsim".into(),
            kernel_version: "0".into(),
            architecture: "amd64".into(),
            ..Capacity::default()
        }
    }

    /// How long an action takes, in microseconds.
    pub fn duration_us(rng: &mut Rng, pull_ms: u64, action: &RuntimeAction) -> u64 {
        match action {
            RuntimeAction::List => rng.random_range(1_000..20_000),
            RuntimeAction::EnsureImage { .. } => rng.random_range(1_000..=pull_ms.max(2) * 1_000),
            RuntimeAction::Start(_) => rng.random_range(50_000..800_000),
            RuntimeAction::Stop { .. } => rng.random_range(5_000..500_000),
            RuntimeAction::Remove { .. } => rng.random_range(1_000..50_000),
            RuntimeAction::Probe { .. } => rng.random_range(1_000..30_000),
            RuntimeAction::WriteVolumes { .. } | RuntimeAction::RemoveVolumes { .. } => rng.random_range(1_000..20_000),
        }
    }

    /// Carries out an action at the end of its time.
    pub fn perform(&mut self, rng: &mut Rng, wall_ms: u64, faults: &Faults, action: RuntimeAction) -> RuntimeEvent {
        match action {
            RuntimeAction::List => {
                RuntimeEvent::Listed(self.containers.values().map(|container| container.info.clone()).collect())
            }
            RuntimeAction::EnsureImage { image, .. } => {
                if rng.random_range(0..1000) < faults.pull_failure_permille {
                    let message = "the registry does not answer".to_owned();
                    return RuntimeEvent::ImageFailed { image, message, permanent: false };
                }
                self.images.insert(image.clone());
                RuntimeEvent::ImageReady { image }
            }
            RuntimeAction::WriteVolumes { uid, .. } => RuntimeEvent::VolumesWritten { uid },
            RuntimeAction::RemoveVolumes { uid } => RuntimeEvent::VolumesRemoved { uid },
            RuntimeAction::Start(spec) => {
                if rng.random_range(0..1000) < faults.start_failure_permille {
                    let (reason, message) = ("RunContainerError".to_owned(), "the simulator says no".to_owned());
                    return RuntimeEvent::StartFailed { id: spec.id, reason, message };
                }
                self.started += 1;
                let info = self.start(wall_ms, &spec);
                match &info.state {
                    ContainerState::Exited(exit) => RuntimeEvent::Exited { id: info.id, exit: exit.clone() },
                    _ => RuntimeEvent::Started(info),
                }
            }
            RuntimeAction::Stop { id, .. } => {
                let exit = self.end(wall_ms, &id, Some(143)).unwrap_or_default();
                RuntimeEvent::Exited { id, exit }
            }
            RuntimeAction::Remove { id } => {
                self.containers.remove(&id);
                RuntimeEvent::Removed { id }
            }
            RuntimeAction::Probe { id, token, .. } => {
                let runs = self.is_running(&id);
                let result = if runs { Ok(()) } else { Err("the container does not run".to_owned()) };
                RuntimeEvent::Probed { id, token, result }
            }
        }
    }

    /// A container ends by itself; `None`: it did not run.
    pub fn end(&mut self, wall_ms: u64, id: &ContainerRef, code: Option<i32>) -> Option<Exit> {
        let container = self.containers.get_mut(id)?;
        if let ContainerState::Exited(exit) = &container.info.state {
            return Some(exit.clone());
        }
        let exit = Exit { code, oom_killed: false, finished_at_ms: wall_ms, message: String::new() };
        container.info.state = ContainerState::Exited(exit.clone());
        container.info.ip = None;
        Some(exit)
    }

    /// The power is gone: all containers have ended, and nobody saw how.
    pub fn power_loss(&mut self, wall_ms: u64) {
        let ids: Vec<ContainerRef> = self.containers.keys().cloned().collect();
        for id in ids {
            self.end(wall_ms, &id, Some(137));
        }
    }

    /// A container is removed behind the daemon's back; `None`: it was not there.
    pub fn vanish(&mut self, wall_ms: u64, id: &ContainerRef) -> Option<Exit> {
        self.containers.remove(id)?;
        Some(Exit { code: None, oom_killed: false, finished_at_ms: wall_ms, message: "it is gone".into() })
    }

    /// A container runs that nobody asked for, with this node's labels: what an earlier daemon left behind.
    pub fn orphan(&mut self, like: &ContainerInfo, uid: &str) {
        let mut info = like.clone();
        info.id.uid = uid.into();
        info.runtime_id = format!("netsim://{uid}");
        self.containers.insert(info.id.clone(), Container { info, cpu_millis: 0 });
    }

    /// What runs beyond what is offered, if anything does, these pods aside.
    #[must_use]
    pub fn overload(&self, aside: &BTreeSet<&str>) -> Option<String> {
        let is_counted = |info: &ContainerInfo| info.state == ContainerState::Running && !aside.contains(&*info.id.uid);
        let running = self.containers.values().filter(|container| is_counted(&container.info));
        let (mut cpu_millis, mut pods) = (0, BTreeSet::new());
        for container in running {
            cpu_millis += container.cpu_millis;
            pods.insert(container.info.id.uid.clone());
        }
        let too_many = pods.len() > MAX_PODS as usize;
        (cpu_millis > CPU_MILLIS || too_many)
            .then(|| format!("runs {} pods that ask for {cpu_millis}m of its {CPU_MILLIS}m processor time", pods.len()))
    }

    /// How many containers it was made to start so far.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started
    }

    /// The containers that run.
    pub fn running(&self) -> impl Iterator<Item = &ContainerInfo> {
        self.containers.values().map(|container| &container.info).filter(|info| info.state == ContainerState::Running)
    }

    fn is_running(&self, id: &ContainerRef) -> bool {
        self.containers.get(id).is_some_and(|container| container.info.state == ContainerState::Running)
    }

    /// One that an earlier daemon made is taken as it is, also if it has ended since: no attempt runs twice.
    fn start(&mut self, wall_ms: u64, spec: &ContainerSpec) -> ContainerInfo {
        if let Some(container) = self.containers.get(&spec.id) {
            return container.info.clone();
        }
        let info = ContainerInfo {
            id: spec.id.clone(),
            namespace: spec.namespace.clone(),
            pod: spec.pod.clone(),
            slot: spec.slot.clone(),
            write: spec.write.clone(),
            state: ContainerState::Running,
            runtime_id: format!("netsim://{}", spec.id.uid),
            image: spec.image.clone(),
            image_id: format!("id-of-{}", spec.image),
            ip: Some("10.0.0.1".into()),
            started_at_ms: wall_ms,
            before_boot: false,
        };
        let cpu_millis = spec.cpu_request_millis.unwrap_or(0);
        self.containers.insert(spec.id.clone(), Container { info: info.clone(), cpu_millis });
        info
    }
}
