//! SPDY inside a WebSocket: each message is a slice of the SPDY connection's bytes, and no more.

use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::super::channels::{close, payload};
use super::{Target, over_spdy};

/// The protocol's name.
pub(in super::super) const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// How much waits between the two in each direction, and is sent as one message at most, in bytes.
const CHUNK_BYTES: usize = 16 << 10;

/// Serves a client that tunnels SPDY until it goes away, is idle, or the daemon stops.
pub(in super::super) async fn over_tunnel(target: Arc<Target>, socket: WebSocket, stop: &CancellationToken) {
    let (ours, theirs) = tokio::io::duplex(CHUNK_BYTES);
    let (mut sink, mut stream) = socket.split();
    let (mut read, mut write) = tokio::io::split(theirs);
    let inbound = async {
        while let Some(Ok(message)) = stream.next().await {
            if let Some(bytes) = payload(message)
                && write.write_all(&bytes).await.is_err()
            {
                break;
            }
        }
        // The end of the SPDY connection, which ends what serves it.
        let _ = write.shutdown().await;
        std::future::pending::<()>().await;
    };
    let outbound = async {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = read.read(&mut chunk).await {
            let bytes = Bytes::copy_from_slice(chunk.get(..count).unwrap_or_default());
            if sink.send(Message::Binary(bytes)).await.is_err() {
                return;
            }
        }
        let _ = sink.send(close()).await;
    };
    let serving = async {
        over_spdy(target, ours, stop).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // It comes to its end after what it serves, or at once when the client is gone: a pod that takes nothing in keeps
        // what the client sends from being read, and its end with it.
        () = outbound => {}
        () = serving => {}
        () = inbound => {}
    }
}
