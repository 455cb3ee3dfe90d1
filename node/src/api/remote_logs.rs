//! Logs across peers: a byte stream of its own to the peer that runs the pod. Where a pod runs does not live here.
//!
//! The header is `{"log": {...}}` ([`LogRequest`]). The answer is one line of JSON, `{}` or `{"missing": why}` or
//! `{"failed": why}`, and then the log as it is, until the stream ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::Semaphore;
use tokio_util::io::ReaderStream;

use super::backend::{Backend, LogError, LogRequest, LogSource, LogStream, PeerStream};
use skein_gossip::NodeId;

/// The longest header, in bytes.
pub const HEADER_LIMIT: usize = 4 << 10;
/// How many logs peers may read here at once; further ones are told to try again.
pub const STREAMS_LIMIT: usize = 256;
/// The longest first line of an answer, in bytes.
const LINE_LIMIT: u64 = 4 << 10;
/// How long a peer may take for the first line.
const LINE_WAIT: Duration = Duration::from_secs(10);
/// How much is read from a peer at once, in bytes.
const CHUNK_BYTES: usize = 16 << 10;

/// Whether a stream that begins like this reads a log.
#[must_use]
pub fn takes(header: &[u8]) -> bool {
    header.starts_with(br#"{"log":"#)
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    log: LogRequest,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct FirstLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

/// Reads a log from the peer that has it.
///
/// # Errors
/// When the peer cannot be reached, does not have it, or answers nonsense.
pub async fn open(backend: &dyn Backend, peer: NodeId, request: LogRequest) -> Result<LogStream, LogError> {
    let unavailable = |why: String| LogError::Unavailable(format!("the log is on node {}: {why}", peer.short()));
    let header = serde_json::to_vec(&Header { log: request }).map_err(|error| unavailable(error.to_string()))?;
    let stream = backend.open_peer(peer, Bytes::from(header)).await?;
    let mut stream = BufReader::with_capacity(CHUNK_BYTES, stream);
    let mut line = Vec::new();
    let read = async { (&mut stream).take(LINE_LIMIT).read_until(b'\n', &mut line).await };
    match tokio::time::timeout(LINE_WAIT, read).await {
        Ok(Ok(_)) if line.ends_with(b"\n") => {}
        Ok(Ok(_)) => return Err(unavailable("it hung up before it answered".into())),
        Ok(Err(error)) => return Err(unavailable(error.to_string())),
        Err(_) => return Err(unavailable(format!("it did not answer within {} s", LINE_WAIT.as_secs()))),
    }
    match serde_json::from_slice(&line) {
        Ok(FirstLine { missing: Some(why), .. }) => Err(LogError::NotFound(why)),
        Ok(FirstLine { failed: Some(why), .. }) => Err(LogError::Unavailable(why)),
        Ok(_) => Ok(ReaderStream::with_capacity(stream, CHUNK_BYTES).boxed()),
        Err(error) => Err(unavailable(format!("it gave an answer that is none: {error}"))),
    }
}

/// The side that has the logs.
pub struct LogServer {
    source: Arc<dyn LogSource>,
    room: Semaphore,
}

impl std::fmt::Debug for LogServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogServer(..)")
    }
}

impl LogServer {
    /// Gives out the logs of a source.
    #[must_use]
    pub fn new(source: Arc<dyn LogSource>) -> Self {
        LogServer { source, room: Semaphore::new(STREAMS_LIMIT) }
    }

    /// Serves one stream that a peer opened, until the log ends or the peer goes away. `false`: the header asks for
    /// something else or is nonsense, and the stream was closed.
    pub async fn serve(&self, mut stream: PeerStream, header: &[u8]) -> bool {
        let request = match serde_json::from_slice::<Header>(header) {
            Ok(Header { log }) if header.len() <= HEADER_LIMIT => log,
            _ => return false,
        };
        let opened = match self.room.try_acquire() {
            Ok(permit) => self.source.open(request).await.map(|log| (permit, log)),
            Err(_) => Err(LogError::Unavailable("too many logs are read on this node now; try again".into())),
        };
        let first = match &opened {
            Ok(_) => FirstLine::default(),
            Err(LogError::NotFound(why)) => FirstLine { missing: Some(why.clone()), failed: None },
            Err(LogError::Unavailable(why)) => FirstLine { missing: None, failed: Some(why.clone()) },
        };
        let mut line = serde_json::to_vec(&first).unwrap_or_default();
        line.push(b'\n');
        if stream.write_all(&line).await.is_ok()
            && let Ok((_permit, log)) = opened
        {
            copy(log, &mut stream).await;
        }
        let _ = stream.shutdown().await;
        true
    }
}

/// Copies a log to a peer. The peer sends nothing, so that whatever its side says means that it went away; without that
/// a log that says nothing would be followed for ever.
async fn copy(mut log: LogStream, stream: &mut PeerStream) {
    let (mut from_peer, mut to_peer) = tokio::io::split(stream);
    let mut nothing = [0; 1];
    loop {
        let chunk = tokio::select! {
            _ = from_peer.read(&mut nothing) => return,
            chunk = log.next() => chunk,
        };
        let Some(Ok(chunk)) = chunk else { return };
        let written = async {
            to_peer.write_all(&chunk).await?;
            to_peer.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::future::BoxFuture;

    struct Source;

    impl LogSource for Source {
        fn open(&self, request: LogRequest) -> BoxFuture<'_, Result<LogStream, LogError>> {
            Box::pin(async move {
                match request.container.as_str() {
                    "web" => Ok(futures::stream::iter([Ok("one\n".into()), Ok("two\n".into())]).boxed()),
                    "silent" => Ok(futures::stream::pending().boxed()),
                    other => Err(LogError::NotFound(format!("no container {other}"))),
                }
            })
        }
    }

    async fn ask(container: &str) -> String {
        let header = format!("{{\"log\":{{\"uid\":\"u\",\"container\":\"{container}\"}}}}");
        let (mut ours, theirs) = tokio::io::duplex(1024);
        let server =
            tokio::spawn(
                async move { LogServer::new(Arc::new(Source)).serve(Box::pin(theirs), header.as_bytes()).await },
            );
        let mut text = String::new();
        ours.read_to_string(&mut text).await.unwrap();
        assert!(server.await.unwrap());
        text
    }

    #[tokio::test]
    async fn a_peer_gets_the_log_or_the_reason_why_not() {
        assert_eq!(ask("web").await, "{}\none\ntwo\n");
        assert_eq!(ask("db").await, "{\"missing\":\"no container db\"}\n");
    }

    #[tokio::test]
    async fn a_log_that_says_nothing_ends_when_its_reader_goes_away() {
        let (ours, theirs) = tokio::io::duplex(1024);
        let header = br#"{"log":{"container":"silent"}}"#;
        let server =
            tokio::spawn(async move { LogServer::new(Arc::new(Source)).serve(Box::pin(theirs), header).await });
        drop(ours);
        assert!(server.await.unwrap());
    }

    #[tokio::test]
    async fn a_header_that_is_nonsense_is_refused() {
        for header in [&b""[..], b"{}", b"[1]", b"{\"exec\":{}}", &vec![b' '; HEADER_LIMIT + 1]] {
            let (_ours, theirs) = tokio::io::duplex(64);
            assert!(!LogServer::new(Arc::new(Source)).serve(Box::pin(theirs), header).await);
        }
    }
}
