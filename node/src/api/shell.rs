//! One request, from its head to its answer: who asks, how long it may take, what happens when a handler fails, and the
//! line in the log. Where it leads is decided in `routes` and `admin`.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Limited};
use hyper::upgrade::OnUpgrade;
use skein_core::request::LOST_STATE;
use skein_gossip::NodeId;
use skein_gossip::once::Once;
use skein_kube::authorize::User;
use skein_kube::status::Status;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::access::credential::Credential;
use super::access::known::Cache;
use super::access::{self, Caller, authenticate, impersonate};
use super::answer::{self, Answer, too_many};
use super::audit::entry::HUNG_UP;
use super::audit::{Audit, Entry};
use super::backend::Backend;
use super::guests::Guest;
use super::hub::{Hub, random_tag};
use super::logs::{LOGS_LIMIT, LOGS_OF_USER_LIMIT};
use super::shares::{Share, Shares};
use super::streams::CLIENTS_LIMIT;
use super::watch::{WATCHES_LIMIT, WATCHES_OF_USER_LIMIT};
use super::{admin, health, routes};
use crate::metrics::Metrics;
use crate::pki::ServerIdentity;
use crate::pki::client::Shown;

/// The largest request body, in bytes: as much as Kubernetes takes.
pub const BODY_LIMIT: usize = 3 << 20;
/// How long a request may take until its answer's head. Watches and logs go on after that.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// The longest name of a user that is kept with what they write, in characters.
const USER_LIMIT: usize = 128;
/// The milliseconds between the Unix epoch and 2024, where stamps begin, and a stamp's bits below the millisecond.
const STAMP_EPOCH_MS: u64 = 1_704_067_200_000;
const STAMP_COUNTER_BITS: u32 = 6;

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// Over TLS: it must say who it is from.
    Network(SocketAddr),
    /// Over the socket, which only this node's administrator can open.
    #[default]
    Socket,
    /// Over what peers speak: somebody showed a token to become a client.
    Peer(NodeId),
}

/// What the API is made of. One for the daemon.
pub struct Shell {
    /// The node behind it.
    pub backend: Arc<dyn Backend>,
    /// The watch log.
    pub hub: Hub,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// The certificate, and what tokens are signed with.
    pub identity: Arc<ServerIdentity>,
    /// Who may do what.
    pub known: Cache,
    /// Where requests are written down, once the API is open.
    pub audit: OnceLock<Audit>,
    /// The cluster's name, for the kubeconfig.
    pub cluster: String,
    /// The URL that the kubeconfig names, such as `https://192.0.2.7:7443`.
    pub server_url: String,
    /// Room for watches.
    pub watches: Arc<Shares>,
    /// Room for logs that are read.
    pub logs: Arc<Shares>,
    /// Room for clients that have sessions with pods.
    pub sessions: Arc<Semaphore>,
    /// Their sessions, which go on when their connections are no HTTP any more.
    pub session_tasks: TaskTracker,
    /// What was refused to whom, so that the log says it once in a minute.
    pub said: Mutex<Once<(String, &'static str)>>,
    /// Cancelled when the daemon stops.
    pub stop: CancellationToken,
    started: Instant,
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shell").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// A request whose body has been read.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Where it came from.
    pub origin: Origin,
    /// Who sent it.
    pub caller: Caller,
    /// By what they showed it. An answer that goes on ends when that counts no more.
    pub credential: Arc<Credential>,
    /// Its connection, for who may go over to another protocol.
    pub upgrade: Option<OnUpgrade>,
}

impl Call {
    /// A header, if it is there once and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The path without slashes at its end (some clients send them).
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path().trim_end_matches('/')
    }

    /// Who asks, for blame: of somebody who acts as somebody else both.
    #[must_use]
    pub fn user(&self) -> String {
        let name = match &self.caller.by {
            None => self.caller.user.name.clone(),
            Some(by) => format!("{} (by {})", self.caller.user.name, by.name),
        };
        name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(USER_LIMIT).collect()
    }

    /// Waits until an answer that goes on has to end, whatever its client wants: when what the caller showed counts no more, or
    /// its place was given to another. The place is held until this is dropped.
    #[must_use]
    pub fn while_counts(&self, shell: &Arc<Shell>, share: Share) -> BoxFuture<'static, ()> {
        let over = self.credential.clone().over(shell.clone());
        async move {
            tokio::select! {
                () = over => {}
                () = share.out().cancelled() => {}
            }
        }
        .boxed()
    }
}

impl Shell {
    /// A shell around a node.
    #[must_use]
    pub fn new(
        backend: Arc<dyn Backend>,
        metrics: Arc<Metrics>,
        identity: Arc<ServerIdentity>,
        cluster: String,
        server_url: String,
    ) -> Self {
        let stamp = now_ms().saturating_sub(STAMP_EPOCH_MS) << STAMP_COUNTER_BITS;
        let hub = Hub::new(random_tag(), stamp, metrics.clone());
        let known = Cache::new(backend.changes());
        Shell {
            backend,
            hub,
            known,
            audit: OnceLock::new(),
            metrics,
            identity,
            cluster,
            server_url,
            watches: Shares::new(WATCHES_LIMIT, WATCHES_OF_USER_LIMIT),
            logs: Shares::new(LOGS_LIMIT, LOGS_OF_USER_LIMIT),
            sessions: Arc::new(Semaphore::new(CLIENTS_LIMIT)),
            session_tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            said: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// Counts what was refused to somebody, and logs it unless it was logged lately.
    pub fn refuse(&self, source: &dyn std::fmt::Display, reason: &'static str) {
        self.metrics.api_refusals.increment(reason);
        let now = skein_gossip::Instant(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX));
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).say(now, (source.to_string(), reason));
        if let Some(unsaid) = said {
            tracing::warn!(%source, reason, unsaid, "refused by the API");
        }
    }

    /// Answers one request that came over a connection, with the certificate of its client if it showed one. Never fails:
    /// what goes wrong is the answer.
    pub async fn answer(
        self: &Arc<Self>,
        origin: Origin,
        certificate: Option<&Shown>,
        request: Request<Body>,
    ) -> Answer {
        let mut line = Line::begin(self.clone(), origin, &request);
        // The path only: a query may hold what is nobody's business, headers hold the token.
        let span = tracing::debug_span!("api", method = %request.method(), path = request.uri().path());
        let handled = self.limited(origin, certificate, request, &mut line).instrument(span.clone()).await;
        let answer = handled.unwrap_or_else(|status| answer::failure(&status));
        if answer.status().is_server_error() {
            self.metrics.api_errors.increment();
        }
        let took = line.end(answer.status().as_u16());
        span.in_scope(|| tracing::debug!(status = answer.status().as_u16(), ms = took.as_millis(), "answered"));
        answer
    }

    async fn limited(
        self: &Arc<Self>,
        origin: Origin,
        certificate: Option<&Shown>,
        request: Request<Body>,
        line: &mut Line,
    ) -> Result<Answer, Status> {
        let work = AssertUnwindSafe(self.admitted(origin, certificate, request, line)).catch_unwind();
        match tokio::time::timeout(REQUEST_LIMIT, work).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                // The panic's own message went to the log by the panic hook.
                self.metrics.api_panics.increment();
                Err(Status::internal("the request hit a defect in skein; the daemon's log says where"))
            }
            Err(_) => {
                let message = format!("the request was not answered within {} s", REQUEST_LIMIT.as_secs());
                Err(Status::timeout(message, 1))
            }
        }
    }

    async fn admitted(
        self: &Arc<Self>,
        origin: Origin,
        certificate: Option<&Shown>,
        request: Request<Body>,
        line: &mut Line,
    ) -> Result<Answer, Status> {
        if let Some(answer) = health::answer(self, request.uri()).await {
            line.entry().was_about_health();
            return Ok(answer);
        }
        let (user, credential) = self.user(origin, certificate, request.headers()).await?;
        // Before it is asked whom they may act as: who is refused that is known all the same.
        line.entry().is_from(&Caller::of(user.clone()));
        if let Some(guest) = request.extensions().get::<Arc<Guest>>() {
            let crowded = |_| too_many("too many connections are open to this peer; try again, or ask another peer", 5);
            guest.is_known_now(&user).map_err(crowded)?;
        }
        let caller = impersonate::caller(self, user, request.headers()).await?;
        line.entry().is_from(&caller);
        let (mut head, body) = request.into_parts();
        let upgrade = head.extensions.remove::<OnUpgrade>();
        let body = match Limited::new(body, BODY_LIMIT).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(Status::too_large(BODY_LIMIT));
            }
            Err(error) => return Err(Status::bad_request(format!("the request's body could not be read: {error}"))),
        };
        let (method, uri, headers, credential) = (head.method, head.uri, head.headers, Arc::new(credential));
        let call = Call { method, uri, headers, body, origin, caller, credential, upgrade };
        if call.path() == "/metrics" {
            access::permit(self, &call.caller.user, &access::path_action(&call.method, call.path())).await?;
            self.backend.measure(&self.metrics).await;
            let text = self.metrics.render();
            return Ok(super::answer::bytes_answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text));
        }
        if call.path().starts_with("/skein/") {
            return admin::serve(self, &call).await;
        }
        if !self.backend.has_state().await {
            return Err(Status::unavailable(LOST_STATE, 5));
        }
        routes::serve(self, call).await
    }

    /// Who sends a request, and by what they show it.
    async fn user(
        &self,
        origin: Origin,
        certificate: Option<&Shown>,
        headers: &HeaderMap,
    ) -> Result<(User, Credential), Status> {
        let Origin::Network(from) = origin else {
            return Ok((authenticate::master(authenticate::ROOT), Credential::Socket));
        };
        let known = authenticate::caller(self, certificate, headers).await;
        if known.as_ref().is_err_and(|status| status.code == 401) {
            self.metrics.api_unauthorized.increment();
            self.refuse(&from.ip(), "unauthorized");
        }
        known
    }
}

/// A request's line in the audit log. It is written when the request is answered; or when nobody waits for the answer any
/// more, since what was asked for may have been done by then.
struct Line {
    shell: Arc<Shell>,
    started: Instant,
    entry: Entry,
    is_written: bool,
}

impl Line {
    fn begin(shell: Arc<Shell>, origin: Origin, request: &Request<Body>) -> Self {
        Line { shell, started: Instant::now(), entry: Entry::begin(origin, request), is_written: false }
    }

    fn entry(&mut self) -> &mut Entry {
        &mut self.entry
    }

    /// Says what the answer is; how long it took.
    fn end(mut self, code: u16) -> Duration {
        self.write(code)
    }

    fn write(&mut self, code: u16) -> Duration {
        let took = self.started.elapsed();
        self.is_written = true;
        self.shell.metrics.api_requests.increment();
        self.shell.metrics.api_duration.observe(took);
        if let Some(audit) = self.shell.audit.get() {
            audit.write(std::mem::take(&mut self.entry).end(code, took));
        }
        took
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.is_written {
            self.write(HUNG_UP);
        }
    }
}

/// The wall clock, in milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
