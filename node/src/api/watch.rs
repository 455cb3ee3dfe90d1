//! One watch: the objects that are there if the client wants them, then what changes, as a stream of JSON lines that
//! lasts until the client goes away, its time is over or it is cut off. The log that feeds it lives in `hub`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, stream};
use serde_json::{Value, json};
use skein_crdt_state::Kind;
use skein_kube::status::Status;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::answer::{Answer, set_content_type, too_many};
use super::backend::Rendered;
use super::hub::{Entry, Refused, Start, Subscription};
use super::shares::Full;
use super::shell::{Call, Shell};
use crate::metrics::Metrics;

/// How many watches may be open at once. When all are, a further one takes the place of the oldest of who has most, or is
/// answered 429.
pub const WATCHES_LIMIT: usize = 1000;
/// How many of them one user may have that is no administrator; further ones are answered 429.
pub const WATCHES_OF_USER_LIMIT: usize = WATCHES_LIMIT / 4;
/// How long a watch goes on at least whose client does not say how long, and twice that at most. That differs from watch to
/// watch, so that not all clients come back at once.
const SHORTEST: Duration = Duration::from_secs(30 * 60);
/// The longest that a client may ask for.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// How often a client that wants bookmarks hears where it stands.
pub const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How many events go into one piece of the answer.
const BATCH_LIMIT: usize = 64;
/// The annotation on the bookmark that ends the initial events.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// Whether an object is one that the client asked for.
pub type Selects = Box<dyn Fn(&Value) -> bool + Send + Sync>;
/// Writes an object in the form that the client asked for (as it is, or as a Table of one row), with its
/// resourceVersion. The flag says whether it is the first of the watch.
pub type Shape = Box<dyn Fn(&Value, u64, bool, &mut Vec<u8>) + Send + Sync>;

/// What a client asked to watch.
pub struct WatchRequest {
    /// The kind.
    pub kind: Kind,
    /// One namespace, or all.
    pub namespace: Option<Arc<str>>,
    /// `apiVersion` and `kind` that a bookmark shows.
    pub type_meta: (String, String),
    /// Which objects.
    pub selects: Selects,
    /// In which form.
    pub shape: Shape,
    /// Where to begin.
    pub begin: Begin,
    /// Whether to send a bookmark when the initial events are over, and whether it says that they are.
    pub mark: Option<bool>,
    /// Whether to send bookmarks now and then.
    pub bookmarks: bool,
    /// How long it is to go on, if the client said so.
    pub timeout: Option<Duration>,
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With an ADDED for everything that is there.
    Present,
    /// With what comes.
    Now,
    /// After the change that the client saw with this resourceVersion.
    After(u64),
}

/// Starts a watch.
///
/// # Errors
/// When too many are open, or the daemon stops. A place that is not in the log (any more) is no error here: the answer
/// is a stream that says so, since that is what clients recover from.
pub async fn serve(shell: &Arc<Shell>, call: &Call, request: WatchRequest) -> Result<Answer, Status> {
    let share = shell.watches.take(call.caller.own()).map_err(|full| {
        let message = match full {
            Full::OfUser => "you have too many watches open at this peer; end some, or ask another peer",
            Full::InAll => "too many watches are open at this peer; try again, or ask another peer",
        };
        too_many(message, 5)
    })?;
    let start = match request.begin {
        Begin::After(version) => Start::After(version),
        Begin::Now | Begin::Present => Start::Now,
    };
    // First the log, then the list: what changes in between is told twice rather than not at all.
    let subscribed = shell.hub.subscribe(&request.kind, request.namespace.clone(), start, share.out().clone());
    let subscription = match subscribed {
        Ok(subscription) => subscription,
        Err(Refused::Expired) => return Ok(stream_answer(Body::from(error_event(&expired())))),
    };
    let mut initial = VecDeque::new();
    if request.begin == Begin::Present {
        let all = shell.backend.list(request.kind.clone(), request.namespace.clone()).await?;
        initial = all.into_iter().filter(|object| (request.selects)(&object.value)).collect();
    }
    let ends = call.while_counts(shell, share);
    let watch = Watch::new(shell.clone(), request, subscription, initial, ends);
    Ok(stream_answer(Body::from_stream(stream::unfold(watch, Watch::next))))
}

fn stream_answer(body: Body) -> Answer {
    let mut answer = Response::new(body);
    set_content_type(&mut answer, "application/json");
    answer
}

/// How long a watch goes on whose client does not say.
fn some_while() -> Duration {
    let mut drawn = [0; 2];
    // Without randomness all of them are as short.
    let _ = getrandom::fill(&mut drawn);
    SHORTEST + SHORTEST.mul_f64(f64::from(u16::from_le_bytes(drawn)) / f64::from(u16::MAX))
}

struct Watch {
    shell: Arc<Shell>,
    request: WatchRequest,
    subscription: Subscription,
    initial: VecDeque<Arc<Rendered>>,
    mark: Option<bool>,
    ends_at: Instant,
    /// Is over when the watch has to end whatever its client wants.
    ends: BoxFuture<'static, ()>,
    bookmark: Interval,
    first: bool,
    over: bool,
    _open: OpenWatch,
}

/// Counts an open watch.
struct OpenWatch(Arc<Metrics>);

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.watches.lower();
    }
}

/// What woke a watch that waits.
enum Woken {
    Entry(Arc<Entry>),
    CutOff,
    Bookmark,
    TimeOver,
}

impl Watch {
    fn new(
        shell: Arc<Shell>,
        request: WatchRequest,
        subscription: Subscription,
        initial: VecDeque<Arc<Rendered>>,
        ends: BoxFuture<'static, ()>,
    ) -> Self {
        shell.metrics.watches.raise();
        let mut bookmark = interval_at(Instant::now() + BOOKMARK_EVERY, BOOKMARK_EVERY);
        bookmark.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let open = OpenWatch(shell.metrics.clone());
        let ends_at = Instant::now() + request.timeout.map_or_else(some_while, |timeout| timeout.min(LONGEST));
        let mark = request.mark;
        let (first, over) = (true, false);
        Watch { shell, request, subscription, initial, mark, ends_at, ends, bookmark, first, over, _open: open }
    }

    /// The next piece of the stream, or its end.
    async fn next(mut self) -> Option<(Result<Bytes, std::convert::Infallible>, Self)> {
        loop {
            // Also of a watch that never waits.
            if self.over || (&mut self.ends).now_or_never().is_some() {
                return None;
            }
            let mut piece = Vec::new();
            if !self.ready_piece(&mut piece) {
                match self.wait().await {
                    Woken::Entry(entry) => {
                        self.write_entry(&entry, &mut piece);
                        self.drain(&mut piece);
                    }
                    Woken::Bookmark => self.write_bookmark_if_drained(&mut piece),
                    Woken::TimeOver => self.over = true,
                    Woken::CutOff => {
                        self.over = true;
                        // A daemon that stops only ends the stream: the place is gone with it, and the next peer says so.
                        if !self.shell.hub.is_closed() {
                            piece.extend(error_event(&expired()));
                        }
                    }
                }
            }
            if !piece.is_empty() {
                return Some((Ok(Bytes::from(piece)), self));
            }
        }
    }

    /// Writes what needs no waiting: initial objects, the mark after them, the backlog. `false`: there is none left.
    fn ready_piece(&mut self, piece: &mut Vec<u8>) -> bool {
        if !self.initial.is_empty() {
            for object in self.initial.drain(..self.initial.len().min(BATCH_LIMIT)).collect::<Vec<_>>() {
                let version = self.shell.hub.version_of(object.stamp);
                self.write_event("ADDED", &object.value, version, piece);
            }
            return true;
        }
        if let Some(initial_end) = self.mark.take() {
            self.write_bookmark(self.subscription.version, initial_end, piece);
            return true;
        }
        if self.subscription.backlog.is_empty() {
            return false;
        }
        for _ in 0..BATCH_LIMIT {
            let Some(entry) = self.subscription.backlog.pop_front() else { break };
            self.write_entry(&entry, piece);
        }
        true
    }

    async fn wait(&mut self) -> Woken {
        tokio::select! {
            entry = self.subscription.queue.recv() => entry.map_or(Woken::CutOff, Woken::Entry),
            _ = self.bookmark.tick(), if self.request.bookmarks => Woken::Bookmark,
            () = tokio::time::sleep_until(self.ends_at) => Woken::TimeOver,
            () = &mut self.ends => Woken::TimeOver,
        }
    }

    fn drain(&mut self, piece: &mut Vec<u8>) {
        for _ in 1..BATCH_LIMIT {
            let Ok(entry) = self.subscription.queue.try_recv() else { break };
            self.write_entry(&entry, piece);
        }
    }

    fn write_entry(&mut self, entry: &Entry, piece: &mut Vec<u8>) {
        let selected = |object: &'_ Option<Arc<Rendered>>| {
            object.as_ref().filter(|object| (self.request.selects)(&object.value)).cloned()
        };
        let (event, object) = match (selected(&entry.old), selected(&entry.new)) {
            (None, Some(new)) => ("ADDED", new),
            (Some(_), Some(new)) => ("MODIFIED", new),
            // Gone, or not selected any more: the client forgets it, at the place where that happened.
            (Some(old), None) => ("DELETED", old),
            (None, None) => return,
        };
        self.write_event(event, &object.value, entry.version, piece);
    }

    fn write_event(&mut self, event: &str, object: &Value, version: u64, piece: &mut Vec<u8>) {
        self.shell.metrics.watch_events.increment();
        piece.extend(format!("{{\"type\":\"{event}\",\"object\":").bytes());
        (self.request.shape)(object, version, self.first, piece);
        piece.extend(b"}\n");
        self.first = false;
    }

    /// Says where the watch stands, if all that happened up to there has been sent. The place is read before the queue
    /// is looked at: what came to that place is in the queue by then.
    fn write_bookmark_if_drained(&mut self, piece: &mut Vec<u8>) {
        let version = self.shell.hub.version();
        match self.subscription.queue.try_recv() {
            Ok(entry) => self.write_entry(&entry, piece),
            Err(TryRecvError::Empty) => self.write_bookmark(version, false, piece),
            // The next wait finds out.
            Err(TryRecvError::Disconnected) => {}
        }
    }

    fn write_bookmark(&self, version: u64, initial_end: bool, piece: &mut Vec<u8>) {
        let (api_version, kind) = &self.request.type_meta;
        let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({INITIAL_END: "true"});
        }
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
        piece.extend(json!({"type": "BOOKMARK", "object": object}).to_string().bytes());
        piece.push(b'\n');
    }
}

/// 410, as an object: the client has to list again.
#[must_use]
pub fn expired() -> Status {
    Status::expired("too old resource version: this peer's log does not hold it; list again")
}

fn error_event(status: &Status) -> Vec<u8> {
    let mut event = json!({"type": "ERROR", "object": status.to_value()}).to_string().into_bytes();
    event.push(b'\n');
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_whose_client_says_nothing_ends_after_half_an_hour_to_an_hour_and_not_with_all_others() {
        let drawn: Vec<Duration> = (0..100).map(|_| some_while()).collect();
        assert!(drawn.iter().all(|one| (SHORTEST..=2 * SHORTEST).contains(one)));
        assert!(drawn.iter().any(|one| *one != drawn[0]));
    }
}
