//! The door to the core: other tasks ask questions of it and give it inputs, one at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use skein_core::node::{Input, Node};
use skein_core::project::ProjectedChange;
use skein_core::request::{
    AdmissionError, AdmissionRequest, LeaveError, RequestId, RotateError, WriteError, WriteReply, WriteRequest,
};
use skein_crdt_state::{Envelope, EpochId};
use skein_gossip::{NodeId, Now};
use tokio::sync::{broadcast, mpsc, oneshot};

/// The most inputs and questions that wait for the core; whoever brings one more waits.
pub const MAX_WAITING: usize = 4096;
/// The most batches of changes that a slow listener may be behind; then it misses some and is told so.
const MAX_CHANGES_BEHIND: usize = 1024;

/// Something to run on the core's task.
type Question = Box<dyn FnOnce(&mut Node, Now) + Send>;

/// What the core's task receives.
pub(crate) enum ToCore {
    /// Something happened.
    Input(Box<Input>),
    /// Somebody wants to know something, or to have the core do something that is no input of a peer's.
    Query(Question),
    /// The daemon stops.
    Stop,
}

/// What waits for the answer to a request.
pub(crate) enum Waiter {
    Write(oneshot::Sender<Result<WriteReply, WriteError>>),
    Admit(oneshot::Sender<Result<Vec<Arc<Envelope>>, AdmissionError>>),
    Leave(oneshot::Sender<Result<(), LeaveError>>),
    Rotate(oneshot::Sender<Result<Vec<String>, RotateError>>),
}

/// The daemon is stopping and answers no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node is stopping; ask another peer")]
pub struct Stopped;

/// A handle on the core. Clones are cheap and reach the same core.
#[derive(Clone)]
pub struct CoreHandle {
    sender: mpsc::Sender<ToCore>,
    changes: broadcast::Sender<Arc<Vec<ProjectedChange>>>,
    waiters: Arc<Mutex<Waiters>>,
}

#[derive(Default)]
struct Waiters {
    next: RequestId,
    waiting: BTreeMap<RequestId, Waiter>,
}

impl CoreHandle {
    /// A handle, and what the core's task receives from.
    pub(crate) fn new() -> (Self, mpsc::Receiver<ToCore>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let (changes, _) = broadcast::channel(MAX_CHANGES_BEHIND);
        (CoreHandle { sender, changes, waiters: Arc::default() }, receiver)
    }

    /// Runs a function on the core's task and returns its result.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn query<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Node, Now) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, answered) = oneshot::channel();
        let ask = move |node: &mut Node, now: Now| {
            // Whoever asked may have gone away; then nobody needs the answer.
            let _ = answer.send(question(node, now));
        };
        self.sender.send(ToCore::Query(Box::new(ask))).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// Writes, and returns when the write is as safe as it asks to be.
    ///
    /// # Errors
    /// When it was not done, or the daemon is stopping (`None`): then it may or may not have been done.
    pub async fn write(&self, request: WriteRequest) -> Result<Result<WriteReply, WriteError>, Stopped> {
        let (waiter, answered) = oneshot::channel();
        let id = self.wait(Waiter::Write(waiter));
        self.input(Input::Write(id, Box::new(request))).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Asks to admit a stranger.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn admit(
        &self,
        request: AdmissionRequest,
    ) -> Result<Result<Vec<Arc<Envelope>>, AdmissionError>, Stopped> {
        let (waiter, answered) = oneshot::channel();
        let id = self.wait(Waiter::Admit(waiter));
        self.input(Input::Admit(id, request)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Shows the core what a stranger says makes it a member; why it is none any more, or nothing if it is one.
    ///
    /// # Errors
    /// When the daemon is stopping; inside, when it never was one.
    pub async fn acquaint(
        &self,
        stranger: NodeId,
        said: Vec<Arc<Envelope>>,
    ) -> Result<Result<Vec<Arc<Envelope>>, AdmissionError>, Stopped> {
        let (waiter, answered) = oneshot::channel();
        let id = self.wait(Waiter::Admit(waiter));
        self.input(Input::Introduced { id, stranger, said }).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Leaves the cluster; returns when peers know, or cannot be told.
    ///
    /// # Errors
    /// When the daemon is stopping; inside, when it does not leave since it may be the only one to hold something.
    pub async fn leave(&self) -> Result<Result<(), LeaveError>, Stopped> {
        let (waiter, answered) = oneshot::channel();
        let id = self.wait(Waiter::Leave(waiter));
        self.input(Input::Leave(id)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Has the cluster turn to an epoch whose key the core holds; returns the warnings when that is as safe as a write.
    ///
    /// # Errors
    /// When the daemon is stopping; inside, when it was not done.
    pub async fn rotate(&self, epoch: EpochId, lapse_ms: u64) -> Result<Result<Vec<String>, RotateError>, Stopped> {
        let (waiter, answered) = oneshot::channel();
        let id = self.wait(Waiter::Rotate(waiter));
        self.input(Input::Rotate(id, epoch, lapse_ms)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// What changes for clients from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Arc<Vec<ProjectedChange>>> {
        self.changes.subscribe()
    }

    /// Gives the core an input; waits while too many wait already.
    pub(crate) async fn input(&self, input: Input) -> Result<(), Stopped> {
        self.sender.send(ToCore::Input(Box::new(input))).await.map_err(|_| Stopped)
    }

    /// The same from a thread that is no task.
    pub(crate) fn input_blocking(&self, input: Input) {
        // Without a core nobody needs it.
        let _ = self.sender.blocking_send(ToCore::Input(Box::new(input)));
    }

    pub(crate) async fn stop(&self) {
        let _ = self.sender.send(ToCore::Stop).await;
    }

    pub(crate) fn publish(&self, changes: Vec<ProjectedChange>) {
        // Without a listener nobody needs them.
        let _ = self.changes.send(Arc::new(changes));
    }

    pub(crate) fn answer(&self, id: RequestId) -> Option<Waiter> {
        self.lock().waiting.remove(&id)
    }

    fn wait(&self, waiter: Waiter) -> RequestId {
        let mut waiters = self.lock();
        waiters.next += 1;
        let id = waiters.next;
        waiters.waiting.insert(id, waiter);
        id
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
