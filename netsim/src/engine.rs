//! A container runtime in virtual time: pulls are slow, starts fail, containers end, and survive the daemon but not the
//! power.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use skein_core::runtime::{
    Capacity, ContainerInfo, ContainerRef, ContainerSpec, ContainerState, Exit, RuntimeAction, RuntimeEvent,
};
use skein_gossip::Rng;

/// One host's engine.
#[derive(Debug, Default)]
pub struct Engine {
    containers: BTreeMap<ContainerRef, Container>,
    images: BTreeSet<String>,
}

/// A container with what it was made from.
#[derive(Debug, Clone)]
struct Container {
    info: ContainerInfo,
}

/// What an engine offers in every run.
const CPU_MILLIS: u64 = 4000;
const MEMORY_BYTES: u64 = 4 << 30;

impl Engine {
    /// What it says of itself.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        Capacity {
            ready: true,
            runtime_version: "netsim://1".into(),
            cpu_millis: CPU_MILLIS,
            memory_bytes: MEMORY_BYTES,
            max_pods: 110,
            os_image: "netsim".into(),
            kernel_version: "0".into(),
            architecture: "amd64".into(),
            ..Capacity::default()
        }
    }

    /// How long an action takes, in microseconds.
    pub fn duration_us(rng: &mut Rng, action: &RuntimeAction) -> u64 {
        match action {
            RuntimeAction::List => rng.random_range(1_000..20_000),
            RuntimeAction::EnsureImage { .. } => rng.random_range(1_000..200_000),
            RuntimeAction::Start(_) => rng.random_range(50_000..800_000),
            RuntimeAction::Stop { .. } => rng.random_range(5_000..500_000),
            RuntimeAction::Remove { .. } => rng.random_range(1_000..50_000),
            RuntimeAction::Probe { .. } => rng.random_range(1_000..30_000),
        }
    }

    /// Carries out an action at the end of its time.
    pub fn perform(
        &mut self,
        rng: &mut Rng,
        wall_ms: u64,
        failure_permille: u32,
        action: RuntimeAction,
    ) -> RuntimeEvent {
        match action {
            RuntimeAction::List => {
                RuntimeEvent::Listed(self.containers.values().map(|container| container.info.clone()).collect())
            }
            RuntimeAction::EnsureImage { image, .. } => {
                self.images.insert(image.clone());
                RuntimeEvent::ImageReady { image }
            }
            RuntimeAction::Start(spec) => {
                if rng.random_range(0..1000) < failure_permille {
                    let (reason, message) = ("RunContainerError".to_owned(), "the simulator says no".to_owned());
                    return RuntimeEvent::StartFailed { id: spec.id, reason, message };
                }
                RuntimeEvent::Started(self.start(wall_ms, &spec))
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

    /// The containers that run.
    pub fn running(&self) -> impl Iterator<Item = &ContainerInfo> {
        self.containers.values().map(|container| &container.info).filter(|info| info.state == ContainerState::Running)
    }

    fn is_running(&self, id: &ContainerRef) -> bool {
        self.containers.get(id).is_some_and(|container| container.info.state == ContainerState::Running)
    }

    fn start(&mut self, wall_ms: u64, spec: &ContainerSpec) -> ContainerInfo {
        let known = self.containers.get(&spec.id).filter(|container| container.info.state == ContainerState::Running);
        if let Some(container) = known {
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
        };
        self.containers.insert(spec.id.clone(), Container { info: info.clone() });
        info
    }
}
