//! What peers use, asked over a byte stream of its own: the header is [`HEADER`], and the answer is one document of JSON until
//! the end of the stream. What it means for nodes and pods does not live here.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use skein_gossip::NodeId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{Answers, Nodes};
use crate::api::backend::{Backend, NodeUsage, PeerStream, UsageSource};

/// What a peer's stream begins with when it asks this.
pub const HEADER: &[u8] = br#"{"usage":{}}"#;
/// The longest answer, in bytes; a longer one is none.
const ANSWER_LIMIT: u64 = 1 << 20;
/// How long a node may take. One that was not asked lately looks twice, with a second in between.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How many nodes are asked at once.
const ASKED_AT_ONCE: usize = 64;

/// What nodes use. Those that do not answer in time are left out.
pub(super) async fn ask(backend: &dyn Backend, nodes: Nodes) -> Answers {
    let answers = stream::iter(nodes).map(|node| async move {
        match timeout(ANSWER_WAIT, one(backend, node)).await {
            Ok(Ok(answer)) => Some((node, answer)),
            Ok(Err(why)) => {
                tracing::debug!(node = %node.short(), "it does not say what it uses: {why}");
                None
            }
            Err(_) => None,
        }
    });
    answers.buffer_unordered(ASKED_AT_ONCE).filter_map(std::future::ready).collect().await
}

async fn one(backend: &dyn Backend, node: NodeId) -> Result<NodeUsage, String> {
    if node == backend.me() {
        return Ok(backend.usage().await);
    }
    let stream = backend.open_peer(node, Bytes::from_static(HEADER)).await.map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut text).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// Whether a stream that begins like this asks what this node uses.
#[must_use]
pub fn takes(header: &[u8]) -> bool {
    header == HEADER
}

/// Answers a peer. However many ask, a node looks once a second at most.
pub async fn serve(source: &dyn UsageSource, mut stream: PeerStream) {
    let answer = serde_json::to_vec(&source.usage().await).unwrap_or_default();
    // An error means that whoever asked is gone.
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}
