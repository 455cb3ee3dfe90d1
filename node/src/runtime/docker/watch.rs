//! Watches the engine: tells what it has, when it goes and comes, and which containers ended. Its event stream is
//! prompt but may lose events, and the engine may be restarted, so a list from time to time makes sure.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerSummaryStateEnum;
use bollard::query_parameters::{EventsOptions, ListContainersOptions, ListImagesOptions};
use futures::StreamExt as _;
use skein_core::runtime::{Capacity, ContainerRef, ContainerState, Exit, RuntimeEvent};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::super::ledger::Ledger;
use super::super::{architecture, timestamp};
use super::{DockerEngine, container, words};

/// How often the list and the capacity are looked at.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// How long the engine may take for all of a refresh, before it counts as away.
const REFRESH_LIMIT: Duration = Duration::from_secs(20);
/// The pause before the engine is tried again: doubled each time from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// How many images are reported, the largest of them.
const IMAGES_LIMIT: usize = 200;

/// Watches for ever.
pub(super) async fn watch(engine: &DockerEngine, ledger: &Ledger, events: &mpsc::Sender<RuntimeEvent>) {
    let mut watcher = Watcher { engine, ledger, events, told: None };
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let message = match engine.connection.connect().await {
            Ok(docker) => watcher.follow(&docker).await,
            Err(message) => message,
        };
        watcher.tell_away(message).await;
        // One that answered for a while is tried again at once; one that is away, less and less often.
        pause = if begun.elapsed() > REFRESH_INTERVAL { FIRST_PAUSE } else { (pause * 2).min(LAST_PAUSE) };
        sleep(pause).await;
    }
}

struct Watcher<'a> {
    engine: &'a DockerEngine,
    ledger: &'a Ledger,
    events: &'a mpsc::Sender<RuntimeEvent>,
    /// The capacity that was told last.
    told: Option<Capacity>,
}

impl Watcher<'_> {
    /// Follows the engine until it goes away; says why.
    async fn follow(&mut self, docker: &Docker) -> String {
        let mut filters = self.engine.owner.filter(None);
        filters.insert("type".to_owned(), vec!["container".to_owned()]);
        filters.insert("event".to_owned(), vec!["die".to_owned(), "oom".to_owned(), "destroy".to_owned()]);
        // The stream begins when it is first read: from before, so that nothing falls between it and the first list.
        let since = Some((timestamp::now_ms() / 1000).saturating_sub(1).to_string());
        let options = EventsOptions { since, filters: Some(filters), ..EventsOptions::default() };
        let mut stream = docker.events(Some(options));
        let mut tick = interval(REFRESH_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let refresh = tokio::select! {
                event = stream.next() => match event {
                    Some(Ok(event)) => {
                        let attributes = event.actor.and_then(|actor| actor.attributes);
                        if let Some(id) = self.engine.owner.container(attributes.as_ref()) {
                            // What takes longer is looked at with the next list.
                            let _ = timeout(REFRESH_LIMIT, self.look_after(&id)).await;
                        }
                        continue;
                    }
                    Some(Err(error)) => return self.away(&words::of(&error)),
                    None => return self.away("it ended the connection"),
                },
                () = self.ledger.changed() => false,
                _ = tick.tick() => true,
            };
            let work = async {
                self.reconcile(docker).await?;
                if refresh { self.refresh(docker).await } else { Ok(()) }
            };
            match timeout(REFRESH_LIMIT, work).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return self.away(&words::of(&error)),
                Err(_) => return self.away("it did not answer in time"),
            }
        }
    }

    fn away(&self, why: &str) -> String {
        format!("no Docker engine answers at {}: {why}", self.engine.connection.address())
    }

    /// Tells the ends that no event told.
    async fn reconcile(&mut self, docker: &Docker) -> Result<(), bollard::errors::Error> {
        // Before the list: what is started after it may be missing there.
        let running = self.ledger.all_running();
        if running.is_empty() {
            return Ok(());
        }
        let filters = Some(self.engine.owner.filter(None));
        let options = ListContainersOptions { all: true, filters, ..ListContainersOptions::default() };
        let found: BTreeMap<ContainerRef, bool> = docker
            .list_containers(Some(options))
            .await?
            .into_iter()
            .filter_map(|summary| {
                let alive = matches!(
                    summary.state,
                    Some(
                        ContainerSummaryStateEnum::RUNNING
                            | ContainerSummaryStateEnum::PAUSED
                            | ContainerSummaryStateEnum::RESTARTING
                    )
                );
                Some((self.engine.owner.container(summary.labels.as_ref())?, alive))
            })
            .collect();
        for id in running {
            if found.get(&id) != Some(&true) {
                self.look_after(&id).await;
            }
        }
        Ok(())
    }

    /// Looks at one container, and tells its end if it has ended.
    async fn look_after(&mut self, id: &ContainerRef) {
        let exit = match self.engine.find(id).await {
            Ok(Some(found)) => match container::state(found.state.as_ref()) {
                ContainerState::Exited(exit) => exit,
                ContainerState::Created | ContainerState::Running => return,
            },
            Ok(None) => {
                let message = "somebody removed the container".to_owned();
                Exit { message, finished_at_ms: timestamp::now_ms(), ..Exit::default() }
            }
            // The engine went away; it is asked again when it is back.
            Err(_) => return,
        };
        if self.ledger.claim_exit(id) {
            let _ = self.events.send(RuntimeEvent::Exited { id: id.clone(), exit }).await;
        }
    }

    async fn refresh(&mut self, docker: &Docker) -> Result<(), bollard::errors::Error> {
        let info = docker.info().await?;
        let listed = docker.list_images(None::<ListImagesOptions>).await?;
        let mut images: Vec<(u64, String)> = listed
            .into_iter()
            .flat_map(|image| {
                let size = u64::try_from(image.size).unwrap_or(0);
                image.repo_tags.into_iter().filter(|tag| tag != "<none>:<none>").map(move |tag| (size, tag))
            })
            .collect();
        images.sort_by(|one, other| other.cmp(one));
        let positive = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        self.tell(Capacity {
            ready: true,
            message: String::new(),
            runtime_version: format!("docker://{}", info.server_version.unwrap_or_default()),
            cpu_millis: positive(info.ncpu) * 1000,
            memory_bytes: positive(info.mem_total),
            max_pods: self.engine.max_pods,
            images: images.into_iter().take(IMAGES_LIMIT).map(|(size, tag)| (tag, size)).collect(),
            os_image: info.operating_system.unwrap_or_default(),
            kernel_version: info.kernel_version.unwrap_or_default(),
            architecture: architecture(info.architecture.as_deref().unwrap_or_default()).to_owned(),
        })
        .await;
        Ok(())
    }

    /// What the engine had stays in the report: it is expected back.
    async fn tell_away(&mut self, message: String) {
        let known = self.told.clone().unwrap_or_else(|| Capacity {
            runtime_version: "docker://".to_owned(),
            max_pods: self.engine.max_pods,
            architecture: architecture(std::env::consts::ARCH).to_owned(),
            ..Capacity::default()
        });
        self.tell(Capacity { ready: false, message, ..known }).await;
    }

    async fn tell(&mut self, capacity: Capacity) {
        if self.told.as_ref() != Some(&capacity) {
            self.told = Some(capacity.clone());
            let _ = self.events.send(RuntimeEvent::Capacity(capacity)).await;
        }
    }
}
