//! gRPC's health protocol, as far as a probe asks: one call, `grpc.health.v1.Health/Check`, without TLS, as in Kubernetes. Its
//! two messages have a field each, so they are read and written here.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::HeaderMap;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::connect;

/// The most that an answer may be long: a message of two bytes, with room for what later versions add.
const MAX_ANSWER_BYTES: usize = 4096;
/// The status of a call that the server does not know.
const UNIMPLEMENTED: &str = "12";
/// The health that counts as success.
const SERVING: u64 = 1;

/// Asks a server whether it serves `service`; empty: all of it.
pub(super) async fn check(host: &str, port: u16, service: &str) -> Result<(), String> {
    let said = |error: hyper::Error| format!("error: health rpc probe failed: {error}");
    let stream = connect(host, port).await.map_err(|error| format!("failed to connect service: {error}"))?;
    let io = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = handshake.map_err(said)?;
    let request = request(host, port, service)?;
    let ask = async {
        let answer = sender.send_request(request).await.map_err(said)?;
        verdict(answer).await
    };
    tokio::pin!(ask);
    // The connection does the work while the answer is awaited; it goes with this function.
    tokio::select! {
        biased;
        answer = &mut ask => answer,
        ended = connection => match ended {
            Ok(()) => ask.await,
            Err(error) => Err(said(error)),
        },
    }
}

fn request(host: &str, port: u16, service: &str) -> Result<Request<Full<Bytes>>, String> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Request::post(format!("http://{host}:{port}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", concat!("skein-probe/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(question(service)))
        .map_err(|error| format!("error: the gRPC probe cannot be sent: {error}"))
}

/// A `HealthCheckRequest` in gRPC's frame: not compressed, its length, and the message, whose field 1 is the service.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(0x80 | (length & 0x7f) as u8);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = BytesMut::from(&[0][..]);
    // A name of a service is far shorter than a document may be.
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.freeze()
}

async fn verdict(answer: Response<hyper::body::Incoming>) -> Result<(), String> {
    let (head, body) = answer.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("error: health rpc probe failed: unexpected HTTP status code: {}", head.status));
    }
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| format!("error: health rpc probe failed: {error}"))?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    // An answer without a message has its status among the headers.
    let status = |name: &str| text(&trailers, name).or_else(|| text(&head.headers, name));
    match status("grpc-status").as_deref() {
        Some("0") => {}
        Some(UNIMPLEMENTED) => {
            let why = "this server does not implement the grpc health protocol (grpc.health.v1.Health)";
            return Err(format!("error: {why}: {}", status("grpc-message").unwrap_or_default()));
        }
        Some(code) => {
            let message = status("grpc-message").unwrap_or_default();
            return Err(format!("error: health rpc probe failed: code {code}: {message}"));
        }
        None => return Err("error: health rpc probe failed: the answer has no grpc-status".to_owned()),
    }
    match health(body.to_bytes()) {
        Some(SERVING) => Ok(()),
        Some(other) => {
            let name = match other {
                0 => "UNKNOWN",
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "a status that is not known",
            };
            Err(format!("service unhealthy (responded with \"{name}\")"))
        }
        None => Err("error: health rpc probe failed: the answer is no HealthCheckResponse".to_owned()),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The status in a framed `HealthCheckResponse`; `None`: it is none. Fields that are not known are passed over.
fn health(mut frame: Bytes) -> Option<u64> {
    if frame.remaining() < 5 || frame.get_u8() != 0 {
        return None;
    }
    let length = usize::try_from(frame.get_u32()).ok()?;
    let mut message = (frame.remaining() >= length).then(|| frame.split_to(length))?;
    let mut status = 0;
    while message.has_remaining() {
        let tag = varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = varint(&mut message)?,
            (_, 0) => drop(varint(&mut message)?),
            (_, kind) => {
                let skipped = match kind {
                    1 => 8,
                    2 => usize::try_from(varint(&mut message)?).ok()?,
                    5 => 4,
                    _ => return None,
                };
                if message.remaining() < skipped {
                    return None;
                }
                message.advance(skipped);
            }
        }
    }
    Some(status)
}

fn varint(bytes: &mut Bytes) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;

    use hyper::body::{Frame, Incoming};
    use hyper::service::service_fn;
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    use super::super::grpc as probe;
    use super::*;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(5);

    /// A server that answers one call with a message and a status, and what it was asked.
    async fn server(message: &'static [u8], status: &'static str) -> (u16, tokio::task::JoinHandle<(String, Bytes)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
            let answer = service_fn(move |request: Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    sender.send((path, body)).await.unwrap();
                    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
                    let frames = [Frame::data(Bytes::from_static(message)), Frame::trailers(trailers)];
                    let frames = futures::stream::iter(frames.map(Ok::<_, Infallible>));
                    Ok::<_, Infallible>(Response::new(http_body_util::StreamBody::new(frames)))
                }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
            receiver.recv().await.unwrap()
        });
        (port, asked)
    }

    #[tokio::test]
    async fn a_service_that_serves_is_healthy() {
        let (port, asked) = server(&[0, 0, 0, 0, 2, 8, 1], "0").await;
        assert_eq!(probe("127.0.0.1", port, "cart", LIMIT).await, Ok(()));
        let (path, body) = asked.await.unwrap();
        assert_eq!(path, "/grpc.health.v1.Health/Check");
        assert_eq!(&body[..], &[0, 0, 0, 0, 6, 0x0a, 4, b'c', b'a', b'r', b't']);
    }

    #[tokio::test]
    async fn one_that_does_not_serve_is_named_so() {
        let (port, _asked) = server(&[0, 0, 0, 0, 2, 8, 2], "0").await;
        let error = probe("127.0.0.1", port, "", LIMIT).await.unwrap_err();
        assert!(error.contains("NOT_SERVING"), "{error}");
        let (port, _asked) = server(&[], "12").await;
        let error = probe("127.0.0.1", port, "", LIMIT).await.unwrap_err();
        assert!(error.contains("does not implement"), "{error}");
        let (port, _asked) = server(&[], "5").await;
        let error = probe("127.0.0.1", port, "", LIMIT).await.unwrap_err();
        assert!(error.contains("code 5"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_speaks_something_else_or_nothing_fails_the_probe() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = probe("127.0.0.1", port, "", Duration::from_millis(50)).await.unwrap_err();
        assert!(error.contains("50 ms"), "{error}");
        drop(listener);
        assert!(probe("127.0.0.1", port, "", LIMIT).await.unwrap_err().contains("failed to connect"));
    }

    #[test]
    fn long_names_have_lengths_of_two_bytes() {
        let name = "x".repeat(300);
        assert_eq!(question(&name)[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
        assert_eq!(question("")[..], [0; 5]);
    }

    proptest! {
        #[test]
        fn reading_an_answer_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = health(Bytes::from(bytes.clone()));
            let mut framed = vec![0, 0, 0, 0, bytes.len() as u8];
            framed.extend(bytes);
            let _ = health(framed.into());
        }
    }
}
