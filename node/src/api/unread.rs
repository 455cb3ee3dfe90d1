//! A connection whose client does not read: after a while nothing more is kept for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use super::backend::LogStream;
use crate::metrics::Metrics;

/// How long a client may read nothing of what waits for it; then its connection, or its log, is closed. A person may look at
/// one page of a log for as long.
pub(super) const UNREAD_LIMIT: Duration = Duration::from_secs(600);

/// A connection on which writing fails when nothing could be written for too long.
pub(super) struct Impatient<S> {
    inner: S,
    patience: Duration,
    waits: Option<Pin<Box<Sleep>>>,
    metrics: Arc<Metrics>,
}

impl<S> Impatient<S> {
    pub(super) fn new(inner: S, patience: Duration, metrics: Arc<Metrics>) -> Self {
        Self { inner, patience, waits: None, metrics }
    }

    fn after<T>(&mut self, cx: &mut Context<'_>, step: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if step.is_ready() {
            self.waits = None;
            return step;
        }
        let patience = self.patience;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waits.as_mut().poll(cx));
        self.metrics.api_refusals.increment("unread");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.after(cx, step)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.inner).poll_flush(cx);
        self.after(cx, step)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.after(cx, step)
    }
}

/// A log that ends when nobody took its next piece for too long: over HTTP/2 the connection itself does not show it.
pub(super) fn log_while_read(
    log: LogStream,
    patience: Duration,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut log = log;
        loop {
            let piece = tokio::select! {
                piece = log.next() => piece,
                () = sender.closed() => return,
            };
            let Some(piece) = piece else { return };
            match tokio::time::timeout(patience, sender.send(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => return metrics.api_refusals.increment("unread-log"),
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn writing_to_who_does_not_read_fails_and_to_a_slow_reader_goes_on() {
        let metrics = Arc::new(Metrics::default());
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = Impatient::new(ours, PATIENCE, metrics.clone());
        let slow = tokio::spawn(async move {
            let mut buffer = [0; 64];
            for _ in 0..5 {
                tokio::time::sleep(PATIENCE / 2).await;
                theirs.read_exact(&mut buffer).await.unwrap();
            }
            theirs
        });
        ours.write_all(&[0; 5 * 64]).await.unwrap();
        let theirs = slow.await.unwrap();
        let error = ours.write_all(&[0; 1000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(metrics.api_refusals.get("unread"), 1);
        drop(theirs);
    }

    #[tokio::test]
    async fn a_log_that_nobody_reads_is_not_read_either() {
        let metrics = Arc::new(Metrics::default());
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        // Endless, and holds `alive` as long as it is not dropped.
        let endless = stream::unfold(alive, |alive| async move { Some((Ok(Bytes::from("line\n")), alive)) }).boxed();
        let mut log = Box::pin(log_while_read(endless, PATIENCE, metrics.clone()));
        assert!(log.next().await.unwrap().is_ok());
        assert!(tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap().is_err());
        assert_eq!(metrics.api_refusals.get("unread-log"), 1);
    }

    #[tokio::test]
    async fn a_quiet_log_ends_with_its_reader() {
        let metrics = Arc::new(Metrics::default());
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let quiet = stream::once(async move {
            let _alive = alive;
            std::future::pending().await
        });
        drop(log_while_read(quiet.boxed(), PATIENCE, metrics.clone()));
        assert!(tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap().is_err());
        assert_eq!(metrics.api_refusals.get("unread-log"), 0);
    }
}
