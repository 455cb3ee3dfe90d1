//! The log of a container, from the engine. It keeps the files; here they are asked for, and what Docker leaves out when a
//! container ends is asked for again.

use std::collections::VecDeque;
use std::io;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::mpsc;

use super::super::logs::{LineFilter, LogOptions};
use super::super::timestamp;
use super::words;

/// How many pieces are remembered, and asked for again at the end.
const RECENT_LIMIT: usize = 32;

/// Feeds the log to `sender` until its end, or until nobody reads.
pub(super) async fn feed(
    docker: &Docker,
    engine_id: &str,
    options: &LogOptions,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) {
    let begin = if options.tail_lines == Some(0) { timestamp::now_text() } else { String::new() };
    let recent = Recent { begin, ..Recent::default() };
    let mut feed = Feed { filter: LineFilter::new(options), recent, sender, is_first: true };
    let tail = options.tail_lines.map_or("all".to_owned(), |lines| lines.to_string());
    let asked = LogsOptions {
        follow: options.follow,
        stdout: true,
        stderr: true,
        // The engine counts seconds; the filter is exact.
        since: i32::try_from(options.since_ms.unwrap_or(0) / 1000).unwrap_or(i32::MAX),
        timestamps: true,
        tail,
        ..LogsOptions::default()
    };
    let reached_end = feed.pass(docker, engine_id, asked.clone()).await;
    if reached_end && options.follow {
        // Docker ends the stream with the container, and up to 20.10 at least forgets a last line without a newline.
        feed.is_first = false;
        let again = LogsOptions { follow: false, tail: RECENT_LIMIT.to_string(), ..asked };
        feed.pass(docker, engine_id, again).await;
    }
}

struct Feed<'a> {
    filter: LineFilter,
    recent: Recent,
    sender: &'a mpsc::Sender<io::Result<Bytes>>,
    is_first: bool,
}

impl Feed<'_> {
    /// Passes on what is new; whether the end was reached.
    async fn pass(&mut self, docker: &Docker, engine_id: &str, asked: LogsOptions) -> bool {
        let mut pieces = docker.logs(engine_id, Some(asked));
        while !self.filter.is_full() {
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                () = self.sender.closed() => return false,
            };
            let out = match piece {
                None => return true,
                Some(Ok(piece)) => self.take(&piece),
                Some(Err(error)) => {
                    let _ = self.sender.send(Err(io::Error::other(words::of(&error)))).await;
                    return false;
                }
            };
            if !out.is_empty() && self.sender.send(Ok(out)).await.is_err() {
                return false;
            }
        }
        false
    }

    /// What a reader gets of one piece, which the engine begins with a time stamp.
    fn take(&mut self, piece: &LogOutput) -> Bytes {
        let bytes = piece.as_ref();
        let stamp = bytes.iter().position(|&byte| byte == b' ').and_then(|end| {
            let stamp = std::str::from_utf8(&bytes[..end]).ok()?;
            timestamp::parse_ms(stamp).map(|_| (stamp, &bytes[end + 1..]))
        });
        let (stamp, text) = stamp.unwrap_or(("", bytes));
        let mut out = Vec::with_capacity(bytes.len());
        if self.is_first {
            self.recent.remember(stamp);
        }
        if self.is_first || self.recent.is_missed(stamp) {
            self.filter.push(stamp, text, &mut out);
        }
        out.into()
    }
}

/// The time stamps of the last pieces, to nanoseconds: enough to tell what the second reading has beyond the first.
#[derive(Debug, Default)]
struct Recent {
    stamps: VecDeque<String>,
    /// Nothing older than this was asked for.
    begin: String,
}

impl Recent {
    fn remember(&mut self, stamp: &str) {
        self.stamps.push_back(stamp.to_owned());
        if self.stamps.len() > RECENT_LIMIT {
            self.stamps.pop_front();
        }
    }

    /// Whether the first reading should have had it. The two streams of a container may be out of order by a little.
    fn is_missed(&self, stamp: &str) -> bool {
        let oldest = self.stamps.iter().min().unwrap_or(&self.begin);
        stamp > oldest.as_str() && !self.stamps.iter().any(|known| known == stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_newer_and_was_not_seen_is_missed() {
        let mut recent = Recent { begin: "2026-01-01T00:00:00.5Z".to_owned(), ..Recent::default() };
        assert!(!recent.is_missed("2026-01-01T00:00:00.4Z") && recent.is_missed("2026-01-01T00:00:00.6Z"));
        recent.remember("2026-01-01T00:00:02.1Z");
        recent.remember("2026-01-01T00:00:02.0Z");
        assert!(!recent.is_missed("2026-01-01T00:00:01.0Z"), "older than what was asked for");
        assert!(!recent.is_missed("2026-01-01T00:00:02.1Z") && recent.is_missed("2026-01-01T00:00:03.0Z"));
        for number in 0..2 * RECENT_LIMIT {
            recent.remember(&format!("2026-01-01T00:01:{number:02}.0Z"));
        }
        assert_eq!(recent.stamps.len(), RECENT_LIMIT);
    }
}
