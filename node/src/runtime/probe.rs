//! Probes that go over the network, the same for all engines. Commands inside a container are the engines' matter.

mod grpc;
mod insecure;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An HTTP GET.
#[derive(Debug, Clone, Copy)]
pub(super) struct HttpGet<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) path: &'a str,
    pub(super) https: bool,
    pub(super) headers: &'a [(String, String)],
}

/// Succeeds when the answer's status is 200 to 399.
pub(super) async fn http_get(get: HttpGet<'_>, limit: Duration) -> Result<(), String> {
    let status = match tokio::time::timeout(limit, ask(get)).await {
        Ok(answer) => answer?,
        Err(_) => return Err(format!("HTTP probe: no answer within {} ms", limit.as_millis())),
    };
    match status {
        200..=399 => Ok(()),
        _ => Err(format!("HTTP probe failed with statuscode: {status}")),
    }
}

/// Succeeds when a connection is opened.
pub(super) async fn tcp_connect(host: &str, port: u16, limit: Duration) -> Result<(), String> {
    match tokio::time::timeout(limit, connect(host, port)).await {
        Ok(answer) => answer.map(drop),
        Err(_) => Err(format!("TCP probe: {host}:{port} did not answer within {} ms", limit.as_millis())),
    }
}

/// Succeeds when the server says by gRPC's health protocol that `service` is served.
pub(super) async fn grpc(host: &str, port: u16, service: &str, limit: Duration) -> Result<(), String> {
    match tokio::time::timeout(limit, grpc::check(host, port, service)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("timeout: health rpc did not complete within {} ms", limit.as_millis())),
    }
}

/// The answer of a command that was run inside: output is part of what a person is told, but not all of it.
pub(super) fn exec_result(code: Option<i64>, output: &[u8]) -> Result<(), String> {
    const OUTPUT_LIMIT: usize = 512;
    match code {
        Some(0) => Ok(()),
        code => {
            let shown = String::from_utf8_lossy(&output[..output.len().min(OUTPUT_LIMIT)]).trim().to_owned();
            let code = code.map_or("by a signal".to_owned(), |code| format!("with exit code {code}"));
            let said = if shown.is_empty() { "without output".to_owned() } else { format!("and said: {shown}") };
            Err(format!("exec probe: the command ended {code} {said}"))
        }
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((host, port)).await.map_err(|error| format!("cannot connect to {host}:{port}: {error}"))
}

async fn ask(get: HttpGet<'_>) -> Result<u16, String> {
    let stream = connect(get.host, get.port).await?;
    if !get.https {
        return exchange(stream, get).await;
    }
    let name = ServerName::try_from(get.host.to_owned()).map_err(|_| format!("\"{}\" is no host name", get.host))?;
    let connector = TlsConnector::from(Arc::new(insecure::client_config()?));
    let stream = connector.connect(name, stream).await.map_err(|error| format!("TLS with {}: {error}", get.host))?;
    exchange(stream, get).await
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + Send, get: HttpGet<'_>) -> Result<u16, String> {
    let said = |error: hyper::Error| format!("HTTP with {}:{}: {error}", get.host, get.port);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let request = request(get)?;
    // The connection does the work while the answer is awaited, and may end with it; it goes with this function.
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = connection => answer.await,
    };
    Ok(answer.map_err(said)?.status().as_u16())
}

fn request(get: HttpGet<'_>) -> Result<Request<Empty<Bytes>>, String> {
    let path = if get.path.starts_with('/') { get.path.to_owned() } else { format!("/{}", get.path) };
    let given = |name: &str| get.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let mut request = Request::get(path);
    let own = [
        ("host", format!("{}:{}", get.host, get.port)),
        ("user-agent", concat!("skein-probe/", env!("CARGO_PKG_VERSION")).to_owned()),
        ("accept", "*/*".to_owned()),
        ("connection", "close".to_owned()),
    ];
    for (name, value) in own.iter().filter(|(name, _)| !given(name)) {
        request = request.header(*name, value);
    }
    for (name, value) in get.headers {
        request = request.header(name, value);
    }
    request.body(Empty::new()).map_err(|error| format!("the HTTP probe cannot be sent: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(5);

    /// A server that answers one request, and what it was asked.
    async fn server(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let count = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        (port, asked)
    }

    fn get(port: u16, headers: &[(String, String)]) -> HttpGet<'_> {
        HttpGet { host: "127.0.0.1", port, path: "healthz?full=1", https: false, headers }
    }

    #[tokio::test]
    async fn a_status_below_400_is_success() {
        let (port, asked) = server("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n").await;
        let headers = [("Host".to_owned(), "shop.example".to_owned())];
        assert_eq!(http_get(get(port, &headers), LIMIT).await, Ok(()));
        let asked = asked.await.unwrap().to_lowercase();
        assert!(asked.starts_with("get /healthz?full=1 http/1.1"), "{asked}");
        assert!(asked.contains("host: shop.example") && !asked.contains("host: 127"), "{asked}");
    }

    #[tokio::test]
    async fn a_status_of_500_is_named() {
        let (port, _asked) = server("HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n").await;
        let error = http_get(get(port, &[]), LIMIT).await.unwrap_err();
        assert!(error.contains("500"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_does_not_hold_the_probe() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = http_get(get(port, &[]), Duration::from_millis(50)).await.unwrap_err();
        assert!(error.contains("50 ms"), "{error}");
        assert_eq!(tcp_connect("127.0.0.1", port, LIMIT).await, Ok(()));
        drop(listener);
        assert!(tcp_connect("127.0.0.1", port, LIMIT).await.is_err());
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_signed_is_good_enough() {
        let own = rcgen::generate_simple_self_signed(vec!["elsewhere.example".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            let mut stream = acceptor.accept(stream).await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        });
        assert_eq!(http_get(HttpGet { https: true, ..get(port, &[]) }, LIMIT).await, Ok(()));
    }

    #[test]
    fn a_failed_command_says_how_and_what() {
        assert_eq!(exec_result(Some(0), b"fine"), Ok(()));
        let error = exec_result(Some(3), b"no database\n").unwrap_err();
        assert!(error.contains('3') && error.contains("no database"), "{error}");
        assert!(exec_result(None, b"").unwrap_err().contains("signal"));
    }
}
