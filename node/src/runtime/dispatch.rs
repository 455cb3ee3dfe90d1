//! Takes actions from the queue and has the engine carry them out: in order for each container, concurrently for
//! different ones, within limits, and with exactly one answer each. Knows nothing of any engine.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use skein_core::model::account::is_given;
use skein_core::runtime::{
    ContainerInfo, ContainerRef, ContainerSpec, ContainerState, ProbeAction, RuntimeAction, RuntimeEvent,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, ImageError, StartError};
use super::ledger::Ledger;
use super::volumes::VolumeStore;

/// How many actions may wait or be carried out at once. One more is refused by its own failure event.
pub const ACTION_QUEUE_LIMIT: usize = 4096;
/// How many containers are created and started at once: engines serialise that work anyway.
const STARTS_LIMIT: usize = 4;
/// How many images are pulled at once.
const PULLS_LIMIT: usize = 3;
/// How many containers are stopped or removed at once; stopping is mostly waiting.
const STOPS_LIMIT: usize = 64;
/// How many probes run at once.
const PROBES_LIMIT: usize = 64;
/// How many hooks run at once. They may take as long as a pod has to end, so probes do not wait for them; one more waits as
/// long as it may take, and fails then.
const HOOKS_LIMIT: usize = 64;
/// Time limits of actions.
const LIST_LIMIT: Duration = Duration::from_secs(20);
const PULL_LIMIT: Duration = Duration::from_secs(15 * 60);
const START_LIMIT: Duration = Duration::from_secs(60);
const REMOVE_LIMIT: Duration = Duration::from_secs(60);
const VOLUMES_LIMIT: Duration = Duration::from_secs(60);
/// What a stop may take beyond the grace, and a probe beyond its timeout.
const SLACK: Duration = Duration::from_secs(20);

/// What a pod with volumes is told where there is no isolation.
const NO_VOLUMES: &str = "this node runs host processes without isolation, which cannot mount volumes; run the pod on a \
    node with Docker";

/// The sending end of the queue.
#[derive(Clone)]
pub(super) struct ActionQueue {
    actions: mpsc::Sender<RuntimeAction>,
    refusals: mpsc::Sender<RuntimeEvent>,
}

impl ActionQueue {
    /// Queues an action, or has it answered by a refusal when the queue is full.
    pub(super) fn push(&self, action: RuntimeAction) {
        let refused = match self.actions.try_send(action) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Closed(_)) => return,
            Err(mpsc::error::TrySendError::Full(action)) => action,
        };
        let message = format!("{ACTION_QUEUE_LIMIT} actions wait for the runtime already; try again later");
        if self.refusals.try_send(failure(&refused, message)).is_err() {
            tracing::error!("the runtime is so far behind that it drops actions without an answer");
        }
    }
}

/// What runs the actions.
pub(super) struct Dispatcher<E> {
    actions: mpsc::Receiver<RuntimeAction>,
    refusals: mpsc::Receiver<RuntimeEvent>,
    stop: CancellationToken,
    work: Arc<Work<E>>,
    lanes: BTreeMap<Lane, VecDeque<RuntimeAction>>,
    tasks: JoinSet<()>,
    lane_of_task: HashMap<tokio::task::Id, Lane>,
    waiting: usize,
}

/// A queue and the task that empties it.
pub(super) fn dispatcher<E: Engine>(
    engine: Arc<E>,
    ledger: Arc<Ledger>,
    volumes: Option<Arc<VolumeStore>>,
    events: mpsc::Sender<RuntimeEvent>,
    stop: CancellationToken,
) -> (ActionQueue, Dispatcher<E>) {
    let (actions_in, actions) = mpsc::channel(ACTION_QUEUE_LIMIT);
    let (refusals_in, refusals) = mpsc::channel(ACTION_QUEUE_LIMIT);
    let work = Work {
        engine,
        ledger,
        volumes,
        events,
        starts: Semaphore::new(STARTS_LIMIT),
        pulls: Semaphore::new(PULLS_LIMIT),
        stops: Semaphore::new(STOPS_LIMIT),
        probes: Semaphore::new(PROBES_LIMIT),
        hooks: Semaphore::new(HOOKS_LIMIT),
    };
    let dispatcher = Dispatcher {
        actions,
        refusals,
        stop,
        work: Arc::new(work),
        lanes: BTreeMap::new(),
        tasks: JoinSet::new(),
        lane_of_task: HashMap::new(),
        waiting: 0,
    };
    (ActionQueue { actions: actions_in, refusals: refusals_in }, dispatcher)
}

/// Actions in the same lane are carried out one after the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    List,
    Image(String),
    Container(ContainerRef),
    Volumes(Arc<str>),
    /// A probe waits for nothing but itself: a slow stop must not keep a container from being seen as unready.
    Probe(ContainerRef, u64),
}

impl Lane {
    fn of(action: &RuntimeAction) -> Lane {
        match action {
            RuntimeAction::List => Lane::List,
            RuntimeAction::EnsureImage { image, .. } => Lane::Image(image.clone()),
            RuntimeAction::WriteVolumes { uid, .. } | RuntimeAction::RemoveVolumes { uid } => {
                Lane::Volumes(uid.clone())
            }
            RuntimeAction::Start(spec) => Lane::Container(spec.id.clone()),
            RuntimeAction::Stop { id, .. } | RuntimeAction::Remove { id } => Lane::Container(id.clone()),
            RuntimeAction::Probe { id, token, .. } => Lane::Probe(id.clone(), *token),
        }
    }
}

impl<E: Engine> Dispatcher<E> {
    /// Runs until asked to stop; then what is under way is abandoned where it stands, and adopted by the next start.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(done) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    let task = match done {
                        Ok((task, ())) => task,
                        Err(error) => error.id(),
                    };
                    self.finished(task);
                }
                Some(refusal) = self.refusals.recv() => {
                    let _ = self.work.events.send(refusal).await;
                }
                action = self.actions.recv(), if self.waiting < ACTION_QUEUE_LIMIT => match action {
                    Some(action) => self.enqueue(action),
                    None => return,
                },
            }
        }
    }

    fn enqueue(&mut self, action: RuntimeAction) {
        self.waiting += 1;
        let lane = Lane::of(&action);
        if let Some(queue) = self.lanes.get_mut(&lane) {
            queue.push_back(action);
        } else {
            self.lanes.insert(lane.clone(), VecDeque::new());
            self.spawn(lane, action);
        }
    }

    fn spawn(&mut self, lane: Lane, action: RuntimeAction) {
        let work = Arc::clone(&self.work);
        let task = self.tasks.spawn(async move { work.carry_out(action).await });
        self.lane_of_task.insert(task.id(), lane);
    }

    fn finished(&mut self, task: tokio::task::Id) {
        self.waiting = self.waiting.saturating_sub(1);
        let Some(lane) = self.lane_of_task.remove(&task) else { return };
        match self.lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some(next) => self.spawn(lane, next),
            None => {
                self.lanes.remove(&lane);
            }
        }
    }
}

/// What the tasks share.
struct Work<E> {
    engine: Arc<E>,
    ledger: Arc<Ledger>,
    /// `None`: the engine cannot show a container other files than the host's.
    volumes: Option<Arc<VolumeStore>>,
    events: mpsc::Sender<RuntimeEvent>,
    starts: Semaphore,
    pulls: Semaphore,
    stops: Semaphore,
    probes: Semaphore,
    hooks: Semaphore,
}

impl<E: Engine> Work<E> {
    async fn carry_out(&self, action: RuntimeAction) {
        match action {
            RuntimeAction::List => self.list().await,
            RuntimeAction::EnsureImage { image, policy, logins } => {
                let _permit = self.pulls.acquire().await;
                let answer = timeout(PULL_LIMIT, self.engine.ensure_image(&image, policy, &logins)).await;
                self.send(match answer {
                    Ok(Ok(())) => RuntimeEvent::ImageReady { image },
                    Ok(Err(ImageError { message, permanent })) => {
                        RuntimeEvent::ImageFailed { image, message, permanent }
                    }
                    Err(_) => {
                        let message = format!("pulling took longer than {} minutes", PULL_LIMIT.as_secs() / 60);
                        RuntimeEvent::ImageFailed { image, message, permanent: false }
                    }
                })
                .await;
            }
            RuntimeAction::WriteVolumes { uid, volumes } => {
                let pod = uid.clone();
                // What pods get without asking they do without where nothing can be mounted.
                let is_missed = self.volumes.is_some() || volumes.iter().any(|volume| !is_given(&volume.name));
                let written = match is_missed {
                    true => self.with_volumes(move |store| store.write(&pod, &volumes)).await,
                    false => Ok(()),
                };
                self.send(match written {
                    Ok(()) => RuntimeEvent::VolumesWritten { uid },
                    Err(message) => RuntimeEvent::VolumesFailed { uid, message },
                })
                .await;
            }
            RuntimeAction::RemoveVolumes { uid } => {
                let pod = uid.clone();
                // Where none can be made there are none to remove.
                let removed = match self.volumes {
                    Some(_) => self.with_volumes(move |store| store.remove(&pod)).await,
                    None => Ok(()),
                };
                self.send(match removed {
                    Ok(()) => RuntimeEvent::VolumesRemoved { uid },
                    Err(message) => RuntimeEvent::VolumesNotRemoved { uid, message },
                })
                .await;
            }
            RuntimeAction::Start(spec) => {
                let _permit = self.starts.acquire().await;
                self.start(&spec).await;
            }
            RuntimeAction::Stop { id, grace } => {
                let _permit = self.stops.acquire().await;
                self.stop(id, grace).await;
            }
            RuntimeAction::Remove { id } => {
                let _permit = self.stops.acquire().await;
                self.remove(id).await;
            }
            RuntimeAction::Probe { id, token, action, timeout: limit, is_hook } => {
                let result = match is_hook {
                    true => self.run_hook(&id, &action, limit).await,
                    false => {
                        let _permit = self.probes.acquire().await;
                        self.probe(&id, &action, limit).await
                    }
                };
                self.send(RuntimeEvent::Probed { id, token, result }).await;
            }
        }
    }

    async fn probe(&self, id: &ContainerRef, action: &ProbeAction, limit: Duration) -> Result<(), String> {
        let answer = timeout(limit.saturating_add(SLACK), self.engine.probe(id, action, limit)).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {} ms", limit.as_millis())))
    }

    /// One that cannot begin in its time is not run any more: nobody waits for it.
    async fn run_hook(&self, id: &ContainerRef, action: &ProbeAction, limit: Duration) -> Result<(), String> {
        let begun = Instant::now();
        let Ok(_permit) = timeout(limit, self.hooks.acquire()).await else {
            return Err(format!("{HOOKS_LIMIT} other hooks ran all the time that it had"));
        };
        self.probe(id, action, limit.saturating_sub(begun.elapsed())).await
    }

    /// Lets the file system work without making others wait.
    async fn with_volumes(
        &self,
        work: impl FnOnce(&VolumeStore) -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let store = self.volumes.clone().ok_or(NO_VOLUMES)?;
        match timeout(VOLUMES_LIMIT, spawn_blocking(move || work(&store))).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the disk did not answer within {} s", VOLUMES_LIMIT.as_secs())),
        }
    }

    async fn sweep(&self, infos: &[ContainerInfo]) {
        if self.volumes.is_none() {
            return;
        }
        let uids: BTreeSet<Arc<str>> = infos.iter().map(|info| info.id.uid.clone()).collect();
        let swept = self.with_volumes(move |store| {
            store.sweep(&uids.iter().map(|uid| &**uid).collect());
            Ok(())
        });
        if let Err(why) = swept.await {
            tracing::warn!("volumes of pods that are gone may be left: {why}");
        }
    }

    async fn list(&self) {
        match timeout(LIST_LIMIT, self.engine.list()).await {
            Ok(Ok(infos)) => {
                // Before the agent can ask for any.
                self.sweep(&infos).await;
                let told = infos.clone();
                self.send(RuntimeEvent::Listed(infos)).await;
                self.ledger.listed(&told);
            }
            Ok(Err(message)) => self.send(RuntimeEvent::ListFailed { message }).await,
            Err(_) => {
                let message = format!("the engine did not list its containers within {} s", LIST_LIMIT.as_secs());
                self.send(RuntimeEvent::ListFailed { message }).await;
            }
        }
    }

    async fn start(&self, spec: &ContainerSpec) {
        self.ledger.busy(&spec.id);
        let answer = match timeout(START_LIMIT, self.engine.start(spec)).await {
            Ok(answer) => answer,
            Err(_) => {
                // Nothing may be left of a start that failed; should this fail too, the next start adopts it.
                let _ = timeout(REMOVE_LIMIT, self.engine.remove(&spec.id)).await;
                Err(StartError::run(format!("the engine did not start it within {} s", START_LIMIT.as_secs())))
            }
        };
        match answer {
            Ok(info) => self.started(info).await,
            Err(StartError { reason, message }) => {
                self.ledger.forget(&spec.id);
                let id = spec.id.clone();
                self.send(RuntimeEvent::StartFailed { id, reason: reason.to_owned(), message }).await;
            }
        }
    }

    async fn started(&self, info: ContainerInfo) {
        let (id, state) = (info.id.clone(), info.state.clone());
        self.send(RuntimeEvent::Started(info)).await;
        match state {
            ContainerState::Exited(exit) => {
                self.ledger.ended(&id);
                self.send(RuntimeEvent::Exited { id, exit }).await;
            }
            ContainerState::Created | ContainerState::Running => self.ledger.running(&id),
        }
    }

    async fn stop(&self, id: ContainerRef, grace: Duration) {
        self.ledger.busy(&id);
        let answer = timeout(grace.saturating_add(SLACK), self.engine.stop(&id, grace)).await;
        match answer.unwrap_or_else(|_| Err("the engine did not stop it in time".to_owned())) {
            Ok(exit) => {
                self.ledger.ended(&id);
                self.send(RuntimeEvent::Exited { id, exit }).await;
            }
            Err(message) => {
                self.send(RuntimeEvent::StopFailed { id: id.clone(), message }).await;
                self.ledger.running(&id);
            }
        }
    }

    async fn remove(&self, id: ContainerRef) {
        let answer = timeout(REMOVE_LIMIT, self.engine.remove(&id)).await;
        match answer.unwrap_or_else(|_| Err("the engine did not remove it in time".to_owned())) {
            Ok(()) => {
                self.ledger.forget(&id);
                self.send(RuntimeEvent::Removed { id }).await;
            }
            Err(message) => self.send(RuntimeEvent::RemoveFailed { id, message }).await,
        }
    }

    async fn send(&self, event: RuntimeEvent) {
        // Nobody listens any more only when the daemon ends.
        let _ = self.events.send(event).await;
    }
}

/// The answer to an action that is not carried out.
fn failure(action: &RuntimeAction, message: String) -> RuntimeEvent {
    match action {
        RuntimeAction::List => RuntimeEvent::ListFailed { message },
        RuntimeAction::EnsureImage { image, .. } => {
            RuntimeEvent::ImageFailed { image: image.clone(), message, permanent: false }
        }
        RuntimeAction::WriteVolumes { uid, .. } => RuntimeEvent::VolumesFailed { uid: uid.clone(), message },
        RuntimeAction::RemoveVolumes { uid } => RuntimeEvent::VolumesNotRemoved { uid: uid.clone(), message },
        RuntimeAction::Start(spec) => {
            RuntimeEvent::StartFailed { id: spec.id.clone(), reason: "CreateContainerError".to_owned(), message }
        }
        RuntimeAction::Stop { id, .. } => RuntimeEvent::StopFailed { id: id.clone(), message },
        RuntimeAction::Remove { id } => RuntimeEvent::RemoveFailed { id: id.clone(), message },
        RuntimeAction::Probe { id, token, .. } => {
            RuntimeEvent::Probed { id: id.clone(), token: *token, result: Err(message) }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::runtime::logs::{LogError, LogOptions, LogStream};
    use skein_core::runtime::{Exit, Login, PullPolicy};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// An engine whose stops take as long as their grace.
    #[derive(Default)]
    struct Slow {
        done: Mutex<Vec<String>>,
        pulling: AtomicUsize,
        most_pulling: AtomicUsize,
    }

    impl Engine for Slow {
        async fn list(&self) -> Result<Vec<ContainerInfo>, String> {
            Ok(Vec::new())
        }

        async fn ensure_image(&self, _: &str, _: PullPolicy, _: &[Login]) -> Result<(), ImageError> {
            let pulling = self.pulling.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_pulling.fetch_max(pulling, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.pulling.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }

        async fn start(&self, _spec: &ContainerSpec) -> Result<ContainerInfo, StartError> {
            Err(StartError::run("no"))
        }

        async fn stop(&self, id: &ContainerRef, grace: Duration) -> Result<Exit, String> {
            tokio::time::sleep(grace).await;
            self.done.lock().unwrap().push(format!("stop {}", id.uid));
            Ok(Exit::default())
        }

        async fn remove(&self, id: &ContainerRef) -> Result<(), String> {
            self.done.lock().unwrap().push(format!("remove {}", id.uid));
            Ok(())
        }

        async fn probe(&self, _id: &ContainerRef, action: &ProbeAction, _limit: Duration) -> Result<(), String> {
            match action {
                ProbeAction::Exec(_) => std::future::pending().await,
                _ => Ok(()),
            }
        }

        async fn logs(&self, id: &ContainerRef, _options: LogOptions) -> Result<LogStream, LogError> {
            Err(LogError::not_found(id))
        }

        async fn watch(&self, _ledger: &Ledger, _events: &mpsc::Sender<RuntimeEvent>) {}
    }

    fn id(uid: &str) -> ContainerRef {
        ContainerRef { uid: uid.into(), container: "c".into(), attempt: 0 }
    }

    fn set_up() -> (Arc<Slow>, ActionQueue, Dispatcher<Slow>, mpsc::Receiver<RuntimeEvent>) {
        let engine = Arc::new(Slow::default());
        let (sender, events) = mpsc::channel(2 * ACTION_QUEUE_LIMIT);
        let (queue, dispatcher) =
            dispatcher(Arc::clone(&engine), Arc::default(), None, sender, CancellationToken::new());
        (engine, queue, dispatcher, events)
    }

    #[tokio::test]
    async fn one_container_s_actions_are_in_order_and_another_s_do_not_wait() {
        let (engine, queue, dispatcher, mut events) = set_up();
        tokio::spawn(dispatcher.run());
        queue.push(RuntimeAction::Stop { id: id("a"), grace: Duration::from_millis(100) });
        queue.push(RuntimeAction::Remove { id: id("a") });
        queue.push(RuntimeAction::Remove { id: id("b") });
        for _ in 0..3 {
            events.recv().await.unwrap();
        }
        assert_eq!(*engine.done.lock().unwrap(), ["remove b", "stop a", "remove a"]);
    }

    #[tokio::test]
    async fn images_are_pulled_a_few_at_a_time() {
        let (engine, queue, dispatcher, mut events) = set_up();
        tokio::spawn(dispatcher.run());
        for number in 0..10 {
            let action = RuntimeAction::EnsureImage {
                image: format!("i{number}"),
                policy: PullPolicy::Always,
                logins: Vec::new(),
            };
            queue.push(action);
        }
        for _ in 0..10 {
            assert!(matches!(events.recv().await.unwrap(), RuntimeEvent::ImageReady { .. }));
        }
        assert_eq!(engine.most_pulling.load(Ordering::SeqCst), PULLS_LIMIT);
    }

    #[tokio::test]
    async fn probes_do_not_wait_for_hooks_and_a_hook_that_cannot_begin_in_its_time_fails() {
        let (_engine, queue, dispatcher, mut events) = set_up();
        tokio::spawn(dispatcher.run());
        let hook = |token, timeout| {
            let action = ProbeAction::Exec(vec!["sleep".to_owned()]);
            RuntimeAction::Probe { id: id("a"), token, action, timeout, is_hook: true }
        };
        (0..64).for_each(|token| queue.push(hook(token, Duration::from_secs(600))));
        assert_eq!(HOOKS_LIMIT, 64);
        let action = ProbeAction::TcpSocket { host: None, port: 80 };
        let limit = Duration::from_secs(1);
        queue.push(RuntimeAction::Probe { id: id("b"), token: 1000, action, timeout: limit, is_hook: false });
        let seen = RuntimeEvent::Probed { id: id("b"), token: 1000, result: Ok(()) };
        assert_eq!(timeout(limit, events.recv()).await.unwrap(), Some(seen));
        queue.push(hook(2000, Duration::from_millis(10)));
        match timeout(limit, events.recv()).await.unwrap().unwrap() {
            RuntimeEvent::Probed { token: 2000, result: Err(why), .. } => assert!(why.contains("64 other hooks")),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_action_beyond_the_limit_is_refused_by_its_own_event() {
        let (_engine, queue, dispatcher, mut events) = set_up();
        for _ in 0..ACTION_QUEUE_LIMIT {
            queue.push(RuntimeAction::List);
        }
        queue.push(RuntimeAction::Remove { id: id("late") });
        tokio::spawn(dispatcher.run());
        let (mut listed, mut refused) = (0, 0);
        for _ in 0..=ACTION_QUEUE_LIMIT {
            match events.recv().await.unwrap() {
                RuntimeEvent::Listed(_) => listed += 1,
                RuntimeEvent::RemoveFailed { id, message } if *id.uid == *"late" && message.contains("later") => {
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((listed, refused), (ACTION_QUEUE_LIMIT, 1));
    }
}
