//! Connections that go over from HTTP to a process's own bytes, and how its two outputs are told apart on them.
//!
//! bollard offers these too, but guesses from the first byte of what arrives whether there is a terminal: a program could
//! make it wait for a piece of 4 GB by printing a few bytes. Here it is known.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::io::ReaderStream;

use super::super::attached::{CHUNK_BYTES, Output};
use super::connection::Address;

/// How long the engine may take to go over.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The most that is read of an engine's refusal, in bytes.
const REFUSAL_LIMIT: usize = 64 << 10;
/// What comes before each piece where there is no terminal: which output, three bytes of nothing, and a length.
const HEAD: usize = 8;

/// Posts a request that the engine answers by handing the connection over. Errors are words for a person.
pub(super) async fn hijack(
    address: &Address,
    path: &str,
    body: &serde_json::Value,
) -> Result<TokioIo<Upgraded>, String> {
    let opened = async {
        match address {
            Address::Unix(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|error| format!("{address}: {error}"))?;
                exchange(stream, path, body).await
            }
            Address::Tcp(host) => {
                let stream = TcpStream::connect(host).await.map_err(|error| format!("{address}: {error}"))?;
                exchange(stream, path, body).await
            }
        }
    };
    let late = |_| format!("the engine did not answer within {} s", ANSWER_LIMIT.as_secs());
    tokio::time::timeout(ANSWER_LIMIT, opened).await.map_err(late)?
}

/// What a process says, from a connection of the engine's.
pub(super) fn output<R>(connection: R, has_terminal: bool) -> BoxStream<'static, io::Result<Output>>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    if has_terminal {
        let pieces = ReaderStream::with_capacity(connection, CHUNK_BYTES);
        return pieces.map(|piece| piece.map(Output::Stdout)).boxed();
    }
    let pieces = stream::try_unfold((connection, Demux::default()), |(mut connection, mut demux)| async move {
        loop {
            if let Some(piece) = demux.next() {
                return Ok(Some((piece, (connection, demux))));
            }
            if connection.read_buf(&mut demux.buffer).await? == 0 {
                return Ok(None);
            }
        }
    });
    pieces.boxed()
}

async fn exchange<S>(stream: S, path: &str, body: &serde_json::Value) -> Result<TokioIo<Upgraded>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let words = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    // It ends when the connection is handed over, or when nobody waits for its answer any more.
    tokio::spawn(connection.with_upgrades());
    let request = Request::post(path)
        .header("host", "engine")
        .header("content-type", "application/json")
        .header("connection", "Upgrade")
        .header("upgrade", "tcp");
    let request = request.body(Full::new(Bytes::from(body.to_string()))).map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(words)?;
    if answer.status() == hyper::StatusCode::SWITCHING_PROTOCOLS {
        return hyper::upgrade::on(answer).await.map(TokioIo::new).map_err(words);
    }
    let status = answer.status();
    let body = Limited::new(answer.into_body(), REFUSAL_LIMIT).collect().await.map(|body| body.to_bytes());
    let said: serde_json::Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
    Err(said["message"].as_str().map_or_else(|| format!("the engine answered {status}"), str::to_owned))
}

/// Tells a process's two outputs apart.
#[derive(Debug, Default)]
struct Demux {
    buffer: BytesMut,
    left: usize,
    is_error: bool,
}

impl Demux {
    /// The next piece of what has arrived.
    fn next(&mut self) -> Option<Output> {
        while self.left == 0 {
            let [stream, _, _, _, a, b, c, d, ..] = self.buffer[..] else { return None };
            self.buffer.advance(HEAD);
            self.is_error = stream == 2;
            self.left = u32::from_be_bytes([a, b, c, d]) as usize;
        }
        let count = self.left.min(self.buffer.len()).min(CHUNK_BYTES);
        if count == 0 {
            return None;
        }
        self.left -= count;
        let bytes = self.buffer.split_to(count).freeze();
        Some(if self.is_error { Output::Stderr(bytes) } else { Output::Stdout(bytes) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn outputs_are_told_apart_however_they_arrive(
            pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cut in 1usize..30,
        ) {
            let mut bytes = Vec::new();
            let mut said = [Vec::new(), Vec::new()];
            for (is_error, piece) in &pieces {
                bytes.extend([if *is_error { 2 } else { 1 }, 0, 0, 0]);
                bytes.extend(u32::try_from(piece.len()).unwrap().to_be_bytes());
                bytes.extend_from_slice(piece);
                said[usize::from(*is_error)].extend_from_slice(piece);
            }
            let (mut demux, mut heard) = (Demux::default(), [Vec::new(), Vec::new()]);
            for part in bytes.chunks(cut) {
                demux.buffer.extend_from_slice(part);
                while let Some(piece) = demux.next() {
                    match piece {
                        Output::Stdout(bytes) => heard[0].extend_from_slice(&bytes),
                        Output::Stderr(bytes) => heard[1].extend_from_slice(&bytes),
                    }
                }
            }
            prop_assert_eq!(heard, said);
        }
    }

    #[test]
    fn what_is_said_to_be_long_is_given_out_as_it_arrives() {
        let mut demux = Demux::default();
        demux.buffer.extend_from_slice(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'x']);
        assert_eq!(demux.next(), Some(Output::Stdout(Bytes::from_static(b"x"))));
        assert_eq!(demux.next(), None);
    }
}
