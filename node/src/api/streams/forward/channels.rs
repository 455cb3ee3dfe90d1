//! Ports that a WebSocket's URL names: for the n-th, channel 2n carries its data and channel 2n + 1 its errors. On each
//! channel the port's number comes first.

use std::io;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use skein_kube::status::Status;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::channels::{close, encode, payload};
use super::super::session::Activity;
use super::{INPUT_LIMIT, Lane, Piece, Target, carry};
use crate::api::query::Query;

/// How many ports one URL may name.
const PORTS_LIMIT: usize = 32;
/// Messages that wait to be sent.
const QUEUE_LIMIT: usize = 4;
/// The first byte of a message that closes the channel of its second byte.
const CLOSE: u8 = 255;

/// The ports that a query names.
///
/// # Errors
/// When it names none, too many, or what is no port.
pub(in super::super) fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    let named = query.iter().filter(|(name, _)| *name == "ports").flat_map(|(_, list)| list.split(','));
    let mut ports = Vec::new();
    for text in named {
        let port = text.trim().parse().ok().filter(|port| *port > 0);
        ports.push(port.ok_or_else(|| Status::bad_request(format!("unable to parse \"{text}\" as a port")))?);
    }
    match ports.len() {
        0 => Err(Status::bad_request("query parameter \"ports\" is required")),
        1..=PORTS_LIMIT => Ok(ports),
        _ => Err(Status::bad_request(format!("one connection forwards {PORTS_LIMIT} ports at most"))),
    }
}

/// Serves a client until all its connections are over, it goes away, is idle, or the daemon stops.
pub(in super::super) async fn over_channels(
    target: Arc<Target>,
    socket: WebSocket,
    ports: &[u16],
    stop: &CancellationToken,
) {
    let (mut sink, mut stream) = socket.split();
    let (out, mut messages) = mpsc::channel(QUEUE_LIMIT);
    let activity = Activity::new();
    let (mut inputs, mut connections) = (Vec::new(), Vec::new());
    for (data, port) in (0..).step_by(2).zip(ports) {
        let (sender, input) = mpsc::channel(INPUT_LIMIT);
        inputs.push(sender);
        let lane = Channels { out: out.clone(), data, port: *port };
        connections.push(connection(&target, input, lane, &activity));
    }
    drop(out);
    let outbound = async {
        while let Some(message) = messages.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        // All connections are over. Clients take a WebSocket that merely ends for a failure.
        let _ = sink.send(close()).await;
    };
    let inbound = async {
        while let Some(Ok(message)) = stream.next().await {
            if let Some((channel, piece)) = payload(message).as_ref().and_then(decode)
                && channel % 2 == 0
                && let Some(input) = inputs.get(usize::from(channel / 2))
            {
                // A connection that is over takes no more; the others go on.
                let _ = input.send(piece).await;
            }
        }
    };
    let carrying = async {
        futures::future::join_all(connections).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // It comes to its end after all connections, or at once when the client is gone: a pod that takes nothing in keeps
        // what the client sends from being read, and its end with it.
        () = outbound => {}
        () = carrying => {}
        () = inbound => {}
        () = activity.idle() => {}
        () = stop.cancelled() => {}
    }
}

/// Says the port on both channels and carries its connection.
async fn connection(target: &Target, input: mpsc::Receiver<Piece>, lane: Channels, activity: &Activity) {
    let port = lane.port;
    for channel in [lane.data, lane.data + 1] {
        if lane.send(encode(channel, &port.to_le_bytes())).await.is_err() {
            return;
        }
    }
    carry(target, port, input, lane, activity).await;
}

/// The channel that a message is for, and what it says.
fn decode(message: &Bytes) -> Option<(u8, Piece)> {
    match *message.first()? {
        CLOSE => Some((*message.get(1)?, Piece::End)),
        _ if message.len() == 1 => None,
        channel => Some((channel, Piece::Bytes(message.slice(1..)))),
    }
}

/// Both channels of a connection.
struct Channels {
    out: mpsc::Sender<Message>,
    data: u8,
    port: u16,
}

impl Channels {
    async fn send(&self, message: Message) -> io::Result<()> {
        self.out.send(message).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Lane for Channels {
    async fn data(&mut self, bytes: Bytes) -> io::Result<()> {
        self.send(encode(self.data, &bytes)).await
    }

    async fn error(&mut self, text: String) -> io::Result<()> {
        self.send(encode(self.data + 1, text.as_bytes())).await
    }

    async fn alive(&mut self) -> io::Result<()> {
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn end(&mut self) -> io::Result<()> {
        // This dialect has no word for the end of one of several connections.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_are_read_as_clients_write_them() {
        let read = |text| ports(&Query::parse(Some(text)).unwrap()).map_err(|status| status.code);
        assert_eq!(read("ports=80,443&ports=8080"), Ok(vec![80, 443, 8080]));
        for wrong in ["", "ports=", "ports=0", "ports=x", "ports=65536", &format!("ports={}80", "1,".repeat(40))] {
            assert_eq!(read(wrong), Err(400), "{wrong}");
        }
    }

    #[test]
    fn a_message_says_which_channel_it_is_for() {
        let said = |bytes: &'static [u8]| {
            decode(&Bytes::from_static(bytes)).map(|(channel, piece)| match piece {
                Piece::Bytes(bytes) => (channel, Some(bytes)),
                Piece::End => (channel, None),
            })
        };
        assert_eq!(said(b"\x02GET"), Some((2, Some(Bytes::from_static(b"GET")))));
        assert_eq!(said(b"\xff\x02"), Some((2, None)));
        assert_eq!((said(b""), said(b"\x02"), said(b"\xff")), (None, None, None));
    }
}
