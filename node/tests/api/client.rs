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
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use skein_node::api::audit::AUDIT_FILE;
use skein_node::api::server::{SOCKET_FILE, Server, listen};
use skein_node::api::shell::{Shell, now_ms};
use skein_node::metrics::Metrics;
use skein_node::pki::client::Issued;
use skein_node::pki::epochs::Epochs;
use skein_node::pki::token::{Claims, TokenKey};
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
    pub identity: Arc<ServerIdentity>,
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
        let identity =
            Arc::new(ServerIdentity::new(Epochs::founded(secrets.clone()), ["goose".to_owned()], []).unwrap());
        let metrics = Arc::new(Metrics::default());
        let url = "https://127.0.0.1:7443".to_owned();
        let shell = Arc::new(Shell::new(fake.clone(), metrics.clone(), identity.clone(), "home".to_owned(), url));
        let dir = tempfile::tempdir().unwrap();
        let server = listen(shell, "127.0.0.1:0".parse().unwrap(), dir.path()).await.unwrap();
        World { fake, server, secrets, identity, metrics, dir }
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
            certificate: None,
        }
        .header("authorization", &format!("Bearer {}", self.secrets.admin_token))
    }

    /// A request over TLS with a user's token.
    pub fn user(&self, name: &str, groups: &[&str], method: &str, path: &str) -> Ask<'_> {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let token = self.sign(Claims::of_user(name, groups, now_s(), 600));
        self.stranger(method, path).header("authorization", &format!("Bearer {token}"))
    }

    /// A token of this cluster.
    pub fn sign(&self, claims: Claims) -> String {
        TokenKey::of(&self.secrets).sign(claims).unwrap()
    }

    /// Gives a ClusterRole to a user: in a namespace, or everywhere if that is empty.
    pub fn bind(&self, user: &str, role: &str, namespace: &str) {
        let binding = json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
        let kind = format!("{kind}.rbac.authorization.k8s.io");
        self.fake.put(&kind, namespace, &format!("{user}-{role}"), &binding);
    }

    /// The lines of the audit log, once one fulfils a condition.
    pub async fn audited(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        for _ in 0..200 {
            let text = std::fs::read_to_string(self.dir.path().join(AUDIT_FILE)).unwrap_or_default();
            let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if lines.iter().any(&wanted) {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the audit log does not say it");
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
            certificate: None,
        }
    }

    /// A TLS connection that trusts the cluster.
    pub async fn tls(&self) -> TlsStream<TcpStream> {
        self.tls_as(None).await.unwrap()
    }

    /// The same with a certificate of the client's own.
    pub async fn tls_as(&self, certificate: Option<&Issued>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.secrets.ca_certificate.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let config = match certificate {
            None => config.with_no_client_auth(),
            Some(issued) => {
                let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let tcp = TcpStream::connect(self.server.address()).await.unwrap();
        // By address: the certificate must name the one that the client arrived at.
        let name = ServerName::from(self.server.address().ip());
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }

    /// A request over the Unix socket.
    pub fn socket(&self, method: &str, path: &str) -> Ask<'_> {
        Ask { socket: true, ..self.stranger(method, path) }
    }
}

/// Now, in seconds since the Unix epoch.
pub fn now_s() -> u64 {
    now_ms() / 1000
}

/// A request that is being put together.
pub struct Ask<'a> {
    world: &'a World,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    socket: bool,
    certificate: Option<&'a Issued>,
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

impl<'a> Ask<'a> {
    /// Shows a certificate.
    pub fn certificate(self, certificate: &'a Issued) -> Self {
        Ask { certificate: Some(certificate), ..self }
    }

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
        exchange(self.world.tls_as(self.certificate).await.unwrap(), request).await
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

    /// Waits for the end of the stream, whatever it says until then; how long that took.
    pub async fn ended(&mut self) -> Duration {
        let start = std::time::Instant::now();
        let end = async { while let Some(Ok(_)) = self.body.frame().await {} };
        tokio::time::timeout(Duration::from_secs(10), end).await.expect("the stream goes on");
        start.elapsed()
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
    let identity = Arc::new(ServerIdentity::new(Epochs::founded(world.secrets.clone()), [], []).unwrap());
    let shell = Shell::new(world.fake.clone(), world.metrics.clone(), identity, "home".to_owned(), String::new());
    listen(Arc::new(shell), address, dir).await
}
