//! The page that the demo's pods serve: it says which pod on which node answered. What runs in them, not what runs them.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::args::ServeFlags;
use crate::failure::Failure;

/// Where the demo's pods serve it.
pub(crate) const PORT: u16 = 8080;
/// How many visitors may be served at once; further ones wait.
const VISITORS_LIMIT: usize = 64;
/// How long a visit may take, and how much is read of the page, in bytes.
const VISIT_LIMIT: Duration = Duration::from_secs(1);
const PAGE_BYTES: usize = 4096;
/// How long a visitor may take to ask.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// Serves the page until it is told to stop.
///
/// # Errors
/// When the port cannot be listened on.
pub(crate) async fn serve(flags: ServeFlags) -> Result<(), Failure> {
    let env = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    // Without a network of its own a pod has only this address to itself.
    let ip = env("POD_IP").and_then(|ip| ip.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let unknown = || "?".to_owned();
    let page: Arc<str> =
        page(&env("POD_NAME").unwrap_or_else(unknown), &env("NODE_NAME").unwrap_or_else(unknown)).into();
    let refused = |error| Failure::new(format!("{ip}:{} cannot be listened on: {error}", flags.port));
    let listener = TcpListener::bind((ip, flags.port)).await.map_err(refused)?;
    // The first process of a container is not ended by a signal that it does not handle.
    let signals = signal(SignalKind::terminate()).and_then(|stop| Ok((stop, signal(SignalKind::interrupt())?)));
    let (mut terminate, mut interrupt) = signals.map_err(|error| Failure::new(format!("no signals: {error}")))?;
    tokio::select! {
        () = welcome(listener, page) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Reads the page of a pod in one line; nothing if it cannot be reached.
pub(crate) async fn visit(ip: &str) -> Option<String> {
    let read = async {
        let stream = TcpStream::connect((ip.parse::<IpAddr>().ok()?, PORT)).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::get("/").header(header::HOST, ip).body(Empty::<Bytes>::new()).ok()?;
        let answer = sender.send_request(request).await.ok()?;
        let body = Limited::new(answer.into_body(), PAGE_BYTES).collect().await.ok()?.to_bytes();
        Some(String::from_utf8_lossy(&body).lines().next()?.to_owned())
    };
    tokio::time::timeout(VISIT_LIMIT, read).await.ok()?
}

async fn welcome(listener: TcpListener, page: Arc<str>) {
    let room = Arc::new(Semaphore::new(VISITORS_LIMIT));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let page = page.clone();
                tokio::spawn(async move {
                    answer(stream, page).await;
                    drop(permit);
                });
            }
            // There are too many open files just now.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(stream: TcpStream, page: Arc<str>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (status, text) = match request.uri().path() {
            "/" => (StatusCode::OK, page.to_string()),
            "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, "there is only one page: /\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(ASK_LIMIT).keep_alive(false);
    // A visitor that went away needs no answer.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

fn page(pod: &str, node: &str) -> String {
    format!("This is {pod} on node {node}.\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_visitor_reads_which_pod_on_which_node_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(welcome(listener, page("web-1", "n2").into()));
        let ask = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        assert!(ask("/").await.ends_with("\r\n\r\nThis is web-1 on node n2.\n"));
        assert!(ask("/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(ask("/other").await.starts_with("HTTP/1.1 404"));
    }
}
