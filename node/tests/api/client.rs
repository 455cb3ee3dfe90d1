//! The API on loopback with real TLS, and a client that speaks to it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use skein_node::api::server::{SOCKET_FILE, Server, listen};
use skein_node::api::shell::Shell;
use skein_node::metrics::Metrics;
use skein_node::pki::{ClusterSecrets, ServerIdentity};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::fake::Fake;

/// A server around a fake node, in a directory of its own.
pub struct World {
    pub fake: Arc<Fake>,
    pub server: Server,
    pub secrets: ClusterSecrets,
    pub metrics: Arc<Metrics>,
    pub dir: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        World::of(Fake::new()).await
    }

    /// One with this node behind it.
    pub async fn of(fake: Arc<Fake>) -> Self {
        let secrets = ClusterSecrets::found("home").unwrap();
        let identity = Arc::new(ServerIdentity::new(secrets.clone(), ["goose".to_owned()], []).unwrap());
        let metrics = Arc::new(Metrics::default());
        let url = "https://127.0.0.1:7443".to_owned();
        let shell = Arc::new(Shell::new(fake.clone(), metrics.clone(), identity, "home".to_owned(), url));
        let dir = tempfile::tempdir().unwrap();
        let server = listen(shell, "127.0.0.1:0".parse().unwrap(), dir.path()).await.unwrap();
        World { fake, server, secrets, metrics, dir }
    }

    /// A request over TLS with the administrator's token.
    pub fn request(&self, method: &str, path: &str) -> Ask<'_> {
        Ask {
            world: self,
            method: method.into(),
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            socket: false,
        }
        .header("authorization", &format!("Bearer {}", self.secrets.admin_token))
    }

    /// A request over TLS without a token.
    pub fn stranger(&self, method: &str, path: &str) -> Ask<'_> {
        Ask {
            world: self,
            method: method.into(),
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            socket: false,
        }
    }

    /// A TLS connection that trusts the cluster.
    pub async fn tls(&self) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.secrets.ca_certificate.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let tcp = TcpStream::connect(self.server.address()).await.unwrap();
        // By address: the certificate must name the one that the client arrived at.
        let name = ServerName::from(self.server.address().ip());
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
    }

    /// A request over the Unix socket.
    pub fn socket(&self, method: &str, path: &str) -> Ask<'_> {
        Ask { socket: true, ..self.stranger(method, path) }
    }
}

/// A request that is being put together.
pub struct Ask<'a> {
    world: &'a World,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    socket: bool,
}

/// A response that was read to its end.
pub struct Got {
    pub status: StatusCode,
    pub headers: axum::http::HeaderMap,
    pub text: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl Ask<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// A JSON body with its type.
    pub fn json(self, value: &Value) -> Self {
        self.header("content-type", "application/json").body(value.to_string())
    }

    /// A patch.
    pub fn patch(self, form: &str, value: &Value) -> Self {
        self.header("content-type", &format!("application/{form}")).body(value.to_string())
    }

    /// Sends it and reads the whole answer.
    pub async fn send(self) -> Got {
        let response = self.open().await;
        let (head, body) = response.into_parts();
        let bytes = tokio::time::timeout(Duration::from_secs(10), body.collect()).await.unwrap().unwrap().to_bytes();
        Got { status: head.status, headers: head.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    /// Sends it and reads the answer's head.
    pub async fn open(self) -> Response<Incoming> {
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.path).header("host", "goose");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(self.body)).unwrap();
        if self.socket {
            let stream = UnixStream::connect(self.world.dir.path().join(SOCKET_FILE)).await.unwrap();
            return exchange(stream, request).await;
        }
        exchange(self.world.tls().await, request).await
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Body>,
) -> Response<Incoming> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

/// Reads a stream of JSON lines, such as a watch.
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    pub fn new(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        Lines { body: response.into_body(), buffer: Vec::new() }
    }

    /// The next line, or `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(5), self.body.frame()).await;
            let frame = frame.expect("the stream said nothing for 5 s")?.unwrap();
            self.buffer.extend(frame.into_data().unwrap());
        }
    }
}

/// Tries to open a second server.
pub async fn listen_again(
    world: &World,
    address: std::net::SocketAddr,
    dir: &std::path::Path,
) -> Result<Server, skein_node::api::server::ListenError> {
    let identity = Arc::new(ServerIdentity::new(world.secrets.clone(), [], []).unwrap());
    let shell = Shell::new(world.fake.clone(), world.metrics.clone(), identity, "home".to_owned(), String::new());
    listen(Arc::new(shell), address, dir).await
}
