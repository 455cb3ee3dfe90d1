//! The API of one peer, spoken to from the host that the peer is on: one request, one answer, never a retry.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tungstenite::WebSocket;
use tungstenite::client::IntoClientRequest as _;

use crate::failure::{Failure, Outcome, ensure};
use crate::http::{Connection, Request, Response};
use crate::netns::Netns;

/// How long a request may take when a test is not about that.
const PATIENCE: Duration = Duration::from_secs(10);
/// RFC 7396.
pub const MERGE_PATCH: &str = "application/merge-patch+json";
/// Kubernetes' own.
pub const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

/// A WebSocket to a peer.
pub type Socket = WebSocket<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>;

/// What a client must know to be let in: the cluster's authority and a token.
#[derive(Clone)]
pub struct Credentials {
    tls: Arc<ClientConfig>,
    authorization: Option<String>,
}

impl Credentials {
    /// Takes them from a kubeconfig.
    ///
    /// # Errors
    /// When the kubeconfig holds no authority or no token.
    pub fn from_kubeconfig(kubeconfig: &Value) -> Outcome<Self> {
        let authority = &kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"];
        let authority = authority.as_str().ok_or_else(|| Failure::new("the kubeconfig names no authority"))?;
        let authority = base64::engine::general_purpose::STANDARD.decode(authority)?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&authority) {
            roots.add(certificate.map_err(|e| Failure::new(format!("the authority's certificate: {e:?}")))?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let token = kubeconfig["users"][0]["user"]["token"].as_str();
        let token = token.ok_or_else(|| Failure::new("the kubeconfig holds no token"))?;
        Ok(Self { tls: Arc::new(tls), authorization: Some(format!("Bearer {token}")) })
    }

    /// The same, with another `Authorization` header or with none.
    #[must_use]
    pub fn with_authorization(&self, authorization: Option<&str>) -> Self {
        Self { tls: Arc::clone(&self.tls), authorization: authorization.map(str::to_owned) }
    }
}

/// The API at one address, as seen from one namespace.
#[derive(Clone)]
pub struct Api {
    netns: Netns,
    address: SocketAddr,
    credentials: Credentials,
}

impl Api {
    /// The API at `address`, spoken to from `netns`.
    pub fn new(netns: &Netns, address: SocketAddr, credentials: &Credentials) -> Self {
        Self { netns: netns.clone(), address, credentials: credentials.clone() }
    }

    /// Opens a connection that can carry several requests, for [`Api::call_on`].
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(&self, within: Duration) -> io::Result<Connection> {
        let tcp = self.netns.connect(self.address, within)?;
        Connection::tls(tcp, &self.address.ip().to_string(), Arc::clone(&self.credentials.tls))
    }

    /// One request on an open connection.
    ///
    /// # Errors
    /// When no answer came in time, or none that is HTTP.
    pub fn call_on(
        &self,
        connection: &mut Connection,
        (method, path): (&str, &str),
        (content_type, body): (&str, &[u8]),
        within: Duration,
    ) -> io::Result<Response> {
        let mut headers = vec![("Accept", "application/json")];
        if !content_type.is_empty() {
            headers.push(("Content-Type", content_type));
        }
        if let Some(authorization) = &self.credentials.authorization {
            headers.push(("Authorization", authorization));
        }
        connection.call(&Request { method, path, headers: &headers, body }, within)
    }

    /// Opens a stream on an open connection, whose pieces [`Connection::more`] gives.
    ///
    /// # Errors
    /// As [`Api::call_on`].
    pub fn open_on(&self, connection: &mut Connection, path: &str, within: Duration) -> io::Result<Response> {
        let authorization = self.credentials.authorization.as_deref();
        let headers: Vec<(&str, &str)> = authorization.iter().map(|value| ("Authorization", *value)).collect();
        connection.open(&Request { method: "GET", path, headers: &headers, body: &[] }, within)
    }

    /// Goes over to a WebSocket.
    ///
    /// # Errors
    /// When nobody listens there, or the server refuses: its answer's status.
    pub fn socket(&self, path: &str, protocol: &str, within: Duration) -> Outcome<Socket> {
        let tcp = self.netns.connect(self.address, within)?;
        tcp.set_read_timeout(Some(within))?;
        let name = rustls::pki_types::ServerName::from(self.address.ip());
        let tls = rustls::ClientConnection::new(Arc::clone(&self.credentials.tls), name)?;
        let mut request = format!("wss://{}{path}", self.address).into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", protocol.parse()?);
        if let Some(authorization) = &self.credentials.authorization {
            headers.insert("authorization", authorization.parse()?);
        }
        let opened = tungstenite::client(request, rustls::StreamOwned::new(tls, tcp));
        opened.map(|(socket, _)| socket).map_err(|error| Failure::new(format!("{path}: {error}")))
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// As [`Api::call_on`], or when nobody listens there.
    pub fn call(&self, request: (&str, &str), body: (&str, &[u8]), within: Duration) -> io::Result<Response> {
        let mut connection = self.connect(within)?;
        self.call_on(&mut connection, request, body, within)
    }

    /// Reads an object or a list.
    ///
    /// # Errors
    /// When the answer is no 200 with JSON: what it is.
    pub fn get(&self, path: &str) -> Outcome<Value> {
        self.json(("GET", path), ("", &[]))
    }

    /// Reads text, such as the metrics.
    ///
    /// # Errors
    /// When the answer is no 200.
    pub fn get_text(&self, path: &str) -> Outcome<String> {
        let answer = self.call(("GET", path), ("", &[]), PATIENCE)?;
        ensure(answer.status == 200, || format!("GET {path}: {}: {}", answer.status, answer.text()))?;
        Ok(answer.text())
    }

    /// Creates an object in the collection at `path`.
    ///
    /// # Errors
    /// When it was not created: the answer.
    pub fn create(&self, path: &str, object: &Value) -> Outcome<Value> {
        self.json(("POST", path), ("application/json", object.to_string().as_bytes()))
    }

    /// Patches an object with a merge patch.
    ///
    /// # Errors
    /// When it was not patched: the answer.
    pub fn patch(&self, path: &str, patch: &Value) -> Outcome<Value> {
        self.json(("PATCH", path), (MERGE_PATCH, patch.to_string().as_bytes()))
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When it was not deleted: the answer.
    pub fn delete(&self, path: &str) -> Outcome<Value> {
        self.json(("DELETE", path), ("application/json", br#"{"propagationPolicy":"Background"}"#))
    }

    /// Whether there is something at `path`.
    ///
    /// # Errors
    /// When the answer is neither 200 nor 404.
    pub fn exists(&self, path: &str) -> Outcome<bool> {
        let answer = self.call(("GET", path), ("", &[]), PATIENCE)?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            status => Err(Failure::new(format!("GET {path}: {status}: {}", answer.text()))),
        }
    }

    fn json(&self, request: (&str, &str), body: (&str, &[u8])) -> Outcome<Value> {
        let what = || format!("{} {} at {}", request.0, request.1, self.address.ip());
        let answer = self.call(request, body, PATIENCE).map_err(|e| Failure::new(format!("{}: {e}", what())))?;
        let accepted = (200..300).contains(&answer.status);
        ensure(accepted, || format!("{}: {}: {}", what(), answer.status, answer.text()))?;
        Ok(serde_json::from_slice(&answer.body)?)
    }
}
