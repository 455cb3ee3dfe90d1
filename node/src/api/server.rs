//! Listening: TLS on the API address and the Unix socket in the data directory, with their limits, until the daemon
//! stops. What a request means does not live here.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::audit::Audit;
use super::guests::{Guest, Guests};
use super::shell::{Origin, Shell};
use super::unread::{Impatient, UNREAD_LIMIT};
use crate::pki::ServerIdentity;
use crate::pki::client::{Shown, Subject};

/// The Unix socket's name in the data directory.
pub const SOCKET_FILE: &str = "skein.sock";
/// Where the socket is made. The path of a socket must be short: this one is no longer than that of the socket itself.
const MAKING_DIRECTORY: &str = ".making";
/// How many connections may be open at once, TLS (of clients who have shown who they are) and socket each; over TLS a further one
/// takes the place of another, on the socket it is closed at once.
pub const CONNECTIONS_LIMIT: usize = 2000;
/// How many requests one HTTP/2 connection may have open at once. A client's watches share one connection.
const STREAMS_LIMIT: u32 = 500;
/// The most headers of a request, and their size in bytes.
const HEADERS_LIMIT: usize = 100;
const HEADER_BYTES_LIMIT: usize = 64 << 10;
/// How long a client may take for its handshake, and for a request's head.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// How often an idle HTTP/2 connection is probed, and how long the answer may take.
const PROBE_EVERY: Duration = Duration::from_secs(30);
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// How long open requests may go on after the daemon was told to stop.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;
/// How often the server certificate is made anew.
const RENEW_EVERY: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often changes of objects are looked through for roles while nobody asks for any.
const SETTLE_EVERY: Duration = Duration::from_secs(5);
/// How long to wait after the system refused to accept a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The API could not be opened. Nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be used.
    #[error("the API address {address} cannot be used: {source}; is another daemon running? --api says which to use")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("the socket {path} cannot be made: {source}", path = path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Requests cannot be written down.
    #[error("the audit log in {dir} cannot be written: {source}", dir = dir.display())]
    Audit {
        /// The data directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another daemon uses this data directory.
    #[error("a daemon answers on {path} already; stop it first, or use another --data-dir", path = path.display())]
    Running {
        /// The socket.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The API while it listens.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    socket: PathBuf,
    stop: CancellationToken,
    tasks: TaskTracker,
    shell: Arc<Shell>,
}

/// Opens the API on a TLS address (port 0: any) and on the socket in `data_dir`.
///
/// # Errors
/// When either cannot be opened; then neither is.
pub async fn listen(shell: Arc<Shell>, api: SocketAddr, data_dir: &Path) -> Result<Server, ListenError> {
    let tls = Arc::new(Tls::of(shell.identity.clone())?);
    let refused = |source| ListenError::Address { address: api, source };
    let tcp = bind_tcp(api).map_err(refused)?;
    let address = tcp.local_addr().map_err(refused)?;
    let socket = data_dir.join(SOCKET_FILE);
    let unix = bind_socket(&socket).await?;
    let audit = Audit::start(data_dir, shell.metrics.clone());
    let audit = audit.map_err(|source| ListenError::Audit { dir: data_dir.to_owned(), source })?;
    // A shell that listens already goes on with the log that it has.
    let _ = shell.audit.set(audit);
    let (stop, tasks) = (shell.stop.clone(), TaskTracker::new());
    tasks.spawn(accept_tls(tcp, tls, shell.clone(), tasks.clone()));
    tasks.spawn(accept_unix(unix, shell.clone(), tasks.clone()));
    tasks.spawn(feed(shell.clone()));
    tasks.close();
    Ok(Server { address, socket, stop, tasks, shell })
}

impl Server {
    /// Where TLS is spoken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the watches and sessions, lets other requests end for a moment, closes everything and removes the socket.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.shell.hub.close();
        self.shell.session_tasks.close();
        let all = async { tokio::join!(self.tasks.wait(), self.shell.session_tasks.wait()) };
        if tokio::time::timeout(STOP_LIMIT, all).await.is_err() {
            tracing::warn!("API requests were cut off: they did not end in {} s", STOP_LIMIT.as_secs());
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// How TLS is spoken: as the sets of secrets say that are known when a connection is opened.
struct Tls {
    identity: Arc<ServerIdentity>,
    made: Mutex<(u64, TlsAcceptor)>,
}

impl Tls {
    fn of(identity: Arc<ServerIdentity>) -> Result<Self, rustls::Error> {
        let generation = identity.generation();
        let acceptor = TlsAcceptor::from(Arc::new(identity.tls()?));
        Ok(Tls { identity, made: Mutex::new((generation, acceptor)) })
    }

    fn acceptor(&self) -> TlsAcceptor {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.identity.generation();
        if made.0 != generation {
            match self.identity.tls() {
                Ok(config) => *made = (generation, TlsAcceptor::from(Arc::new(config))),
                Err(error) => tracing::error!(%error, "TLS cannot be set up anew and goes on as it was"),
            }
        }
        made.1.clone()
    }

    /// Whom a connection's certificate is of, and which set stands behind it.
    fn shown(&self, stream: &tokio_rustls::server::TlsStream<TcpStream>) -> Option<Arc<Shown>> {
        let certificate = stream.get_ref().1.peer_certificates()?.first()?;
        let epoch = self.identity.signer_of(certificate)?;
        Some(Arc::new(Shown { subject: Subject::of(certificate)?, epoch }))
    }
}

/// Accepted connections inherit keep-alive: a client that vanished does not hold its watch for ever.
fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A socket that only its owner may open. One that a dead daemon left behind is replaced.
async fn bind_socket(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |source| ListenError::Socket { path: path.to_owned(), source };
    if UnixStream::connect(path).await.is_ok() {
        return Err(ListenError::Running { path: path.to_owned() });
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let beside = path.with_file_name(MAKING_DIRECTORY);
    let _ = std::fs::remove_dir_all(&beside);
    let made = bind_privately(&beside, path).map_err(failed);
    let _ = std::fs::remove_dir(&beside);
    made
}

/// Made in a directory that nobody else may enter, and moved when it is private itself: at no moment may others open it, wherever
/// the data directory is and whatever the system gives to new files.
fn bind_privately(beside: &Path, path: &Path) -> io::Result<UnixListener> {
    std::fs::DirBuilder::new().mode(0o700).create(beside)?;
    let socket = beside.join("s");
    let listener = UnixListener::bind(&socket)?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&socket, path)?;
    Ok(listener)
}

/// What runs beside the requests: the watch log and the certificate's renewal.
async fn feed(shell: Arc<Shell>) {
    let changes = shell.backend.changes();
    let mut renew = tokio::time::interval_at(tokio::time::Instant::now() + RENEW_EVERY, RENEW_EVERY);
    let mut settle = tokio::time::interval(SETTLE_EVERY);
    let log = shell.hub.run(changes);
    tokio::pin!(log);
    loop {
        tokio::select! {
            () = shell.stop.cancelled() => return,
            () = &mut log => return,
            _ = settle.tick() => shell.known.settle(),
            _ = renew.tick() => if let Err(error) = shell.identity.renew() {
                tracing::warn!(%error, "the server certificate could not be renewed");
            },
        }
    }
}

async fn accept_tls(listener: TcpListener, tls: Arc<Tls>, shell: Arc<Shell>, tasks: TaskTracker) {
    let guests = Guests::new();
    loop {
        let accepted = tokio::select! {
            () = shell.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let address = from.ip().to_canonical();
        let guest = guests.enter(address);
        let (shell, tls) = (shell.clone(), tls.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = serve_tls(stream, from, &tls, &guest, &shell) => {}
                reason = guest.must_go() => {
                    shell.metrics.api_connections_refused.increment();
                    shell.refuse(&address, reason);
                }
            }
        });
    }
}

async fn serve_tls(stream: TcpStream, from: SocketAddr, tls: &Tls, guest: &Arc<Guest>, shell: &Arc<Shell>) {
    match handshake(stream, &tls.acceptor(), shell).await {
        Ok(stream) => {
            let shown = tls.shown(&stream);
            serve_connection(stream, Origin::Network(from), shown, Some(guest.clone()), shell.clone()).await;
        }
        Err(error) => {
            shell.metrics.api_connections_refused.increment();
            shell.refuse(&from.ip().to_canonical(), "tls-handshake");
            tracing::debug!(%from, %error, "a TLS handshake failed");
        }
    }
}

async fn handshake(
    stream: TcpStream,
    tls: &TlsAcceptor,
    shell: &Shell,
) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    let arrived_at = stream.local_addr()?.ip();
    if let Err(error) = shell.identity.cover(arrived_at) {
        tracing::warn!(%error, %arrived_at, "the server certificate could not be made for this address");
    }
    stream.set_nodelay(true)?;
    match tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn accept_unix(listener: UnixListener, shell: Arc<Shell>, tasks: TaskTracker) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_LIMIT));
    loop {
        let accepted = tokio::select! {
            () = shell.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match (accepted, room.clone().try_acquire_owned()) {
            (Ok((stream, _)), Ok(permit)) => {
                let shell = shell.clone();
                tasks.spawn(async move {
                    let _permit = permit;
                    serve_connection(stream, Origin::Socket, None, None, shell).await;
                });
            }
            (Ok(_), Err(_)) => shell.metrics.api_connections_refused.increment(),
            (Err(error), _) => {
                tracing::warn!(%error, "a connection on the socket could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// An answer's body, and what is held until all of it is sent.
struct Holding<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> HttpBody for Holding<T> {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

async fn serve_connection<S>(
    stream: S,
    origin: Origin,
    certificate: Option<Arc<Shown>>,
    guest: Option<Arc<Guest>>,
    shell: Arc<Shell>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _open = shell.metrics.api_connections.hold();
    let stream = Impatient::new(stream, UNREAD_LIMIT, shell.metrics.clone());
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_headers(HEADERS_LIMIT);
    builder.http1().max_buf_size(HEADER_BYTES_LIMIT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_LIMIT);
    builder.http2().max_header_list_size(u32::try_from(HEADER_BYTES_LIMIT).unwrap_or(u32::MAX));
    builder.http2().keep_alive_interval(PROBE_EVERY).keep_alive_timeout(PROBE_LIMIT);
    let service = service_fn(|request: Request<Incoming>| {
        let (shell, certificate, guest) = (shell.clone(), certificate.clone(), guest.clone());
        async move {
            let mut request = request.map(Body::new);
            let busy = guest.as_ref().map(|guest| guest.busy());
            if let Some(guest) = guest {
                request.extensions_mut().insert(guest);
            }
            let answer: Response<Body> = shell.answer(origin, certificate.as_deref(), request).await;
            Ok::<_, std::convert::Infallible>(answer.map(|body| Holding { body, _held: busy }))
        }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shell.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(STOP_LIMIT, connection).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an API connection broke");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[tokio::test]
    async fn the_socket_is_made_where_nobody_else_may_enter() {
        let dir = tempfile::tempdir().unwrap();
        let (beside, nowhere) = (dir.path().join("beside"), dir.path().join("nowhere/skein.sock"));
        assert!(bind_privately(&beside, &nowhere).is_err(), "it cannot be moved there, and stays where it was made");
        let mode = |of: &Path| std::fs::symlink_metadata(of).unwrap().mode() & 0o777;
        assert_eq!((mode(&beside), mode(&beside.join("s"))), (0o700, 0o600));
        let socket = dir.path().join(SOCKET_FILE);
        // What a dead daemon left behind is in nobody's way.
        std::fs::rename(&beside, dir.path().join(MAKING_DIRECTORY)).unwrap();
        let _listener = bind_socket(&socket).await.unwrap();
        assert_eq!(mode(&socket), 0o600);
        assert!(UnixStream::connect(&socket).await.is_ok() && !dir.path().join(MAKING_DIRECTORY).exists());
    }
}
