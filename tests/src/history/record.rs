//! Writing a history down: a file of lines, a clock, and numbers for operations and values. Many threads write to it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::check::History;
use super::entry::Line;
use crate::failure::{Failure, Outcome};

/// A history that is being made.
pub struct Record {
    begun: Instant,
    numbers: AtomicU64,
    written: Mutex<Written>,
}

struct Written {
    file: File,
    history: History,
    failed: Option<String>,
}

impl Record {
    /// Begins a history in `path`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn begin(path: &Path) -> Outcome<Self> {
        let file = File::create(path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        let written = Mutex::new(Written { file, history: History::default(), failed: None });
        Ok(Self { begun: Instant::now(), numbers: AtomicU64::new(1), written })
    }

    /// Milliseconds since it begun.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until it is `at` ms old.
    pub fn wait_until(&self, at: u64) {
        std::thread::sleep(Duration::from_millis(at).saturating_sub(self.begun.elapsed()));
    }

    /// A number that was not given out before.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a line.
    pub fn add(&self, line: Line) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_string(&line).map_err(|error| error.to_string());
        let done = text.and_then(|text| writeln!(written.file, "{text}").map_err(|error| error.to_string()));
        // Told at the end: a client cannot do anything about it.
        written.failed = written.failed.take().or(done.err());
        written.history.add(line);
    }

    /// The whole of it.
    ///
    /// # Errors
    /// When a line could not be written.
    pub fn finish(self) -> Outcome<History> {
        let written = self.written.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = written.failed {
            return Err(Failure::new(format!("the history could not be written: {why}")));
        }
        let mut history = written.history;
        history.ops.sort_by_key(|op| op.start);
        Ok(history)
    }
}
