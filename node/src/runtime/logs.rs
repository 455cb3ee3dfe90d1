//! How logs are asked for and handed out, the same for all engines. Where they come from is the engines' matter.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use skein_core::runtime::ContainerRef;
use tokio::sync::mpsc;

use super::timestamp;

/// Chunks that wait for a reader; a slow reader slows the reading of the log, not the container.
const CHUNK_LIMIT: usize = 16;

/// Kubernetes' options of the `log` subresource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// Only that many lines from the end.
    pub tail_lines: Option<u64>,
    /// Only lines written at or after this time, milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Put RFC 3339 time stamps before the lines.
    pub timestamps: bool,
    /// End after that many bytes, within a line if need be.
    pub limit_bytes: Option<u64>,
    /// The attempt before the named one.
    pub previous: bool,
}

/// Why there is no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// There is no such container on this node (any more).
    #[error("container \"{container}\" of pod {uid} is not on this node (attempt {attempt})")]
    NotFound {
        /// The pod's uid.
        uid: String,
        /// The container's name.
        container: String,
        /// Which attempt.
        attempt: u32,
    },
    /// It was never restarted, or its previous attempt was removed.
    #[error("previous terminated container \"{container}\" in pod {uid} not found")]
    NoPrevious {
        /// The pod's uid.
        uid: String,
        /// The container's name.
        container: String,
    },
    /// The engine cannot give it.
    #[error("the log of container \"{container}\" cannot be read: {message}")]
    Engine {
        /// The container's name.
        container: String,
        /// In words for a person.
        message: String,
    },
}

impl LogError {
    pub(super) fn not_found(id: &ContainerRef) -> LogError {
        LogError::NotFound { uid: id.uid.to_string(), container: id.container.to_string(), attempt: id.attempt }
    }

    pub(super) fn engine(id: &ContainerRef, message: impl Into<String>) -> LogError {
        LogError::Engine { container: id.container.to_string(), message: message.into() }
    }
}

/// The log as a stream of bytes; its end is the end of the log. Dropping it ends the reading.
#[derive(Debug)]
pub struct LogStream(mpsc::Receiver<io::Result<Bytes>>);

impl LogStream {
    /// A stream and the end to feed it by.
    pub(super) fn channel() -> (mpsc::Sender<io::Result<Bytes>>, LogStream) {
        let (sender, receiver) = mpsc::channel(CHUNK_LIMIT);
        (sender, LogStream(receiver))
    }
}

impl Stream for LogStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// Which attempt is meant: the one named, or the one before.
pub(super) fn which_attempt(id: ContainerRef, options: &LogOptions) -> Result<ContainerRef, LogError> {
    if !options.previous {
        return Ok(id);
    }
    match id.attempt.checked_sub(1) {
        Some(attempt) => Ok(ContainerRef { attempt, ..id }),
        None => Err(LogError::NoPrevious { uid: id.uid.to_string(), container: id.container.to_string() }),
    }
}

/// Turns stored lines into what the reader asked for: the time limit, the time stamps, and the limit on bytes.
#[derive(Debug)]
pub(super) struct LineFilter {
    since_ms: u64,
    timestamps: bool,
    bytes_left: u64,
    mid_line: bool,
}

impl LineFilter {
    pub(super) fn new(options: &LogOptions) -> LineFilter {
        LineFilter {
            since_ms: options.since_ms.unwrap_or(0),
            timestamps: options.timestamps,
            bytes_left: options.limit_bytes.unwrap_or(u64::MAX),
            mid_line: false,
        }
    }

    /// Adds one piece of a line to `out`: its time stamp as text, its text with the newline if it ends the line.
    pub(super) fn push(&mut self, stamp: &str, text: &[u8], out: &mut Vec<u8>) {
        if self.since_ms > 0 && timestamp::parse_ms(stamp).is_some_and(|at| at < self.since_ms) {
            return;
        }
        if self.timestamps && !self.mid_line {
            self.copy(stamp.as_bytes(), out);
            self.copy(b" ", out);
        }
        self.mid_line = !text.ends_with(b"\n");
        self.copy(text, out);
    }

    /// Whether no more bytes may be given.
    pub(super) fn is_full(&self) -> bool {
        self.bytes_left == 0
    }

    fn copy(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let room = usize::try_from(self.bytes_left).unwrap_or(usize::MAX).min(bytes.len());
        out.extend_from_slice(&bytes[..room]);
        self.bytes_left -= room as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: &str = "2026-01-02T03:04:05.000000000Z";
    const LATE: &str = "2026-01-02T03:04:06.500000000Z";

    fn filtered(options: &LogOptions) -> String {
        let mut filter = LineFilter::new(options);
        let mut out = Vec::new();
        filter.push(EARLY, b"first\n", &mut out);
        filter.push(LATE, b"sec", &mut out);
        filter.push(LATE, b"ond\n", &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn lines_come_as_they_were_written_unless_more_is_asked() {
        assert_eq!(filtered(&LogOptions::default()), "first\nsecond\n");
    }

    #[test]
    fn a_line_in_two_pieces_gets_one_time_stamp() {
        let options = LogOptions { timestamps: true, ..LogOptions::default() };
        assert_eq!(filtered(&options), format!("{EARLY} first\n{LATE} second\n"));
    }

    #[test]
    fn lines_before_the_time_asked_for_are_left_out() {
        let since_ms = timestamp::parse_ms(LATE);
        assert_eq!(filtered(&LogOptions { since_ms, ..LogOptions::default() }), "second\n");
    }

    #[test]
    fn the_limit_cuts_within_a_line() {
        assert_eq!(filtered(&LogOptions { limit_bytes: Some(8), ..LogOptions::default() }), "first\nse");
    }

    #[test]
    fn the_first_attempt_has_no_previous_one() {
        let id = ContainerRef { uid: "u".into(), container: "c".into(), attempt: 0 };
        let options = LogOptions { previous: true, ..LogOptions::default() };
        assert!(which_attempt(id.clone(), &options).is_err());
        let second = ContainerRef { attempt: 1, ..id.clone() };
        assert_eq!(which_attempt(second, &options), Ok(id));
    }
}
