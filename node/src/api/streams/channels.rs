//! `v4.channel.k8s.io` and `v5.channel.k8s.io`: the streams of a session as WebSocket messages whose first byte says which
//! stream. Version 5 adds the message that closes one stream.

use std::io;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};

use super::request::Outcome;
use super::session::{ClientReader, ClientWriter, FromClient};

/// The protocols, the better one first.
pub const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// What a message of a client means. `None`: nothing, such as an empty message, which some clients begin with, or a stream
/// that there is not.
#[must_use]
pub fn decode(message: &Bytes) -> Option<FromClient> {
    match *message.first()? {
        STDIN if message.len() > 1 => Some(FromClient::Input(message.slice(1..))),
        RESIZE => serde_json::from_slice(message.get(1..)?).ok().map(FromClient::Resize),
        CLOSE if message.get(1) == Some(&STDIN) => Some(FromClient::InputEnd),
        _ => None,
    }
}

/// A message on a stream.
#[must_use]
pub fn encode(stream: u8, bytes: &[u8]) -> Message {
    Message::Binary([&[stream], bytes].concat().into())
}

/// What a WebSocket message carries; clients send text and bytes alike. `None` for what is the WebSocket's own.
#[must_use]
pub fn payload(message: Message) -> Option<Bytes> {
    match message {
        Message::Binary(bytes) => Some(bytes),
        Message::Text(text) => Some(text.into()),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => None,
    }
}

/// The end of a WebSocket. Clients take a connection that merely ends for a failure.
#[must_use]
pub fn close() -> Message {
    Message::Close(Some(CloseFrame { code: close_code::NORMAL, reason: "".into() }))
}

/// Both sides of a client that speaks this dialect.
#[must_use]
pub fn split(socket: WebSocket) -> (SocketReader, SocketWriter) {
    let (sink, stream) = socket.split();
    (SocketReader(stream), SocketWriter(sink))
}

/// What the client says.
#[derive(Debug)]
pub struct SocketReader(SplitStream<WebSocket>);

/// What the client hears.
#[derive(Debug)]
pub struct SocketWriter(SplitSink<WebSocket, Message>);

impl ClientReader for SocketReader {
    async fn next(&mut self) -> Option<FromClient> {
        // Reading on is also what answers the client's pings.
        loop {
            let message = self.0.next().await?.ok()?;
            if let Some(said) = payload(message).as_ref().and_then(decode) {
                return Some(said);
            }
        }
    }
}

impl SocketWriter {
    async fn send(&mut self, message: Message) -> io::Result<()> {
        self.0.send(message).await.map_err(io::Error::other)
    }
}

impl ClientWriter for SocketWriter {
    async fn output(&mut self, bytes: Bytes) -> io::Result<()> {
        self.send(encode(STDOUT, &bytes)).await
    }

    async fn error_output(&mut self, bytes: Bytes) -> io::Result<()> {
        self.send(encode(STDERR, &bytes)).await
    }

    async fn alive(&mut self) -> io::Result<()> {
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn end(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.send(encode(ERROR, outcome.to_status().to_string().as_bytes())).await?;
        self.send(close()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Size;
    use proptest::prelude::*;

    #[test]
    fn messages_mean_what_clients_mean_by_them() {
        let said = |bytes: &'static [u8]| decode(&Bytes::from_static(bytes));
        assert_eq!(said(b"\x00ls\n"), Some(FromClient::Input(Bytes::from_static(b"ls\n"))));
        assert_eq!(said(b"\xff\x00"), Some(FromClient::InputEnd));
        let size = Size { width: 99, height: 33 };
        assert_eq!(said(b"\x04{\"Width\":99,\"Height\":33}\n"), Some(FromClient::Resize(size)));
        for nothing in [&b""[..], b"\x00", b"\x01", b"\x03", b"\x04{", b"\xff", b"\xff\x01", b"\x09x"] {
            assert_eq!(decode(&Bytes::from_static(nothing)), None, "{nothing:?}");
        }
    }

    proptest! {
        #[test]
        fn input_arrives_as_it_is(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            let message = payload(encode(STDIN, &bytes)).unwrap_or_default();
            prop_assert_eq!(decode(&message), Some(FromClient::Input(bytes.into())));
        }

        #[test]
        fn no_message_is_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(&bytes.into());
        }
    }
}
