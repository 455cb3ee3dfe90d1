//! The audit log: who asked for what, from where, and what came of it; one line of JSON for each request, in the form of
//! Kubernetes' audit events of level Metadata. Bodies, queries and credentials are never in it. What a line says is in `entry`.
//!
//! A thread of its own writes. A request waits for no disk: what finds the queue full is dropped, counted, and the log says
//! how many are missing. Health checks are not written down. Whoever does not show who they are is written down once a minute
//! for each address, and so often in all: what strangers can do as often as they like must not push out what others did.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skein_gossip::once::Once;
use skein_kube::time::rfc3339_micro;

use super::shell::now_ms;
use crate::metrics::Metrics;

pub mod entry;

pub use entry::Entry;

/// The log's name in the data directory. Older parts have a number behind it, the higher the older.
pub const AUDIT_FILE: &str = "audit.log";
/// How long one file may grow, in bytes.
pub const FILE_BYTES_LIMIT: u64 = 16 << 20;
/// How many files there are, with the one that is written to.
pub const FILES_LIMIT: u32 = 4;
/// How many requests of those who do not show who they are, are written down in a minute. Whoever has many addresses would fill the
/// log otherwise.
const STRANGERS_LIMIT: u32 = 10;
/// How many requests may wait to be written down.
const QUEUE_LIMIT: usize = 4096;

/// Where requests are written down.
#[derive(Debug)]
pub struct Audit {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
    strangers: Mutex<Strangers>,
}

/// Of whom that did not show who they are something was written down lately.
#[derive(Debug)]
struct Strangers {
    started: Instant,
    once: Once<IpAddr>,
    /// The minute that is counted in, and what was written down in it.
    minute: u64,
    written: u32,
    /// What was not, since too much was.
    unsaid: u64,
}

impl Default for Strangers {
    fn default() -> Self {
        Strangers { started: Instant::now(), once: Once::default(), minute: 0, written: 0, unsaid: 0 }
    }
}

impl Strangers {
    /// Whether a request from an address is to be written down, and how many were not since the last one that was.
    fn say(&mut self, elapsed: Duration, address: IpAddr) -> Option<u64> {
        let minute = elapsed.as_secs() / 60;
        if minute != self.minute {
            (self.minute, self.written) = (minute, 0);
        }
        if self.written >= STRANGERS_LIMIT {
            self.unsaid += 1;
            return None;
        }
        let now = skein_gossip::Instant(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
        let unsaid = self.once.say(now, address)?;
        self.written += 1;
        Some(unsaid + std::mem::take(&mut self.unsaid))
    }
}

impl Audit {
    /// Opens the log of a data directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn start(dir: &Path, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (queue, entries) = sync_channel(QUEUE_LIMIT);
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Log::open(dir.join(AUDIT_FILE), FILE_BYTES_LIMIT)?;
        let (missing, counted) = (dropped.clone(), metrics.clone());
        let thread = std::thread::Builder::new().name("audit".to_owned());
        thread.spawn(move || write_all(log, &entries, &missing, &counted))?;
        Ok(Audit::of(queue, dropped, metrics))
    }

    fn of(queue: SyncSender<Entry>, dropped: Arc<AtomicU64>, metrics: Arc<Metrics>) -> Self {
        Audit { queue, dropped, metrics, strangers: Mutex::default() }
    }

    /// Has a request written down, if there is room and if it is one of those that are. Never waits.
    pub fn write(&self, entry: Entry) {
        if entry.is_about_health() {
            return;
        }
        let entry = match entry.stranger() {
            None => entry,
            Some(address) => {
                let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
                let elapsed = strangers.started.elapsed();
                let Some(unsaid) = strangers.say(elapsed, address) else { return };
                entry.in_short(unsaid)
            }
        };
        if self.queue.try_send(entry).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.metrics.audit_dropped.increment();
        }
    }
}

/// Writes until nobody sends any more.
fn write_all(mut log: Log, entries: &Receiver<Entry>, dropped: &AtomicU64, metrics: &Metrics) {
    let mut number = 0;
    let mut fails = false;
    loop {
        let entry = match entries.try_recv() {
            Ok(entry) => entry,
            Err(TryRecvError::Disconnected) => return log.flush(),
            Err(TryRecvError::Empty) => {
                // Whoever looks at the log sees all that there is once nothing more comes.
                log.flush();
                match entries.recv() {
                    Ok(entry) => entry,
                    Err(_) => return,
                }
            }
        };
        number += 1;
        let missing = dropped.swap(0, Ordering::Relaxed);
        let gap = (missing > 0).then(|| {
            json!({"kind": "Gap", "at": rfc3339_micro(now_ms()), "message": format!("{missing} requests are missing here")})
        });
        let mut lines = gap.into_iter().chain([entry.to_value(number)]);
        let written: io::Result<()> = lines.try_for_each(|line| log.line(&line));
        if let Err(error) = &written {
            metrics.audit_dropped.increment();
            dropped.fetch_add(missing + 1, Ordering::Relaxed);
            if !fails {
                tracing::error!(%error, "the audit log cannot be written; requests go on without it");
            }
        }
        fails = written.is_err();
    }
}

/// The file that is written to, and those before it.
struct Log {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    limit: u64,
}

impl Log {
    fn open(path: PathBuf, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Log { path, file: BufWriter::new(file), bytes, limit })
    }

    fn line(&mut self, value: &Value) -> io::Result<()> {
        let mut line = value.to_string();
        line.push('\n');
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.limit {
            self.rotate()?;
        }
        self.bytes += length;
        self.file.write_all(line.as_bytes())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let part =
            |n: u32| if n == 0 { self.path.clone() } else { PathBuf::from(format!("{}.{n}", self.path.display())) };
        for n in (0..FILES_LIMIT - 1).rev() {
            match fs::rename(part(n), part(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        *self = Log::open(self.path.clone(), self.limit)?;
        Ok(())
    }

    fn flush(&mut self) {
        if let Err(error) = self.file.flush() {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::entry::tests::entry;
    use super::*;

    #[test]
    fn the_log_is_bounded_and_keeps_the_latest() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path().join(AUDIT_FILE), 1000).unwrap();
        for number in 0..500 {
            log.line(&json!({"number": number})).unwrap();
        }
        log.flush();
        let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap()).collect();
        assert_eq!(files.len(), FILES_LIMIT as usize);
        assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 1000));
        let latest = fs::read_to_string(dir.path().join(AUDIT_FILE)).unwrap();
        assert!(latest.ends_with("{\"number\":499}\n"), "{latest}");
    }

    #[test]
    fn strangers_are_written_down_once_a_minute_each_and_so_often_in_all() {
        let mut strangers = Strangers::default();
        let at = Duration::from_secs;
        let one = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(strangers.say(at(0), one), Some(0));
        assert!((0..50).all(|second| strangers.say(at(second), one).is_none()));
        assert_eq!(strangers.say(at(60), one), Some(50));
        let many = |minute: u64, strangers: &mut Strangers| {
            (0..=255).filter(|n| strangers.say(at(60 * minute), IpAddr::from([10, 0, 1, *n])).is_some()).count()
        };
        assert_eq!(many(2, &mut strangers), STRANGERS_LIMIT as usize);
        let unsaid = strangers.say(at(180), IpAddr::from([10, 0, 2, 1]));
        assert_eq!(unsaid, Some(256 - u64::from(STRANGERS_LIMIT)));
    }

    #[test]
    fn what_is_too_much_is_dropped_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, entries) = sync_channel(1);
        let metrics = Arc::new(Metrics::default());
        let audit = Audit::of(queue, Arc::default(), metrics.clone());
        for _ in 0..4 {
            audit.write(entry("GET", "/version"));
        }
        assert_eq!(metrics.audit_dropped.get(), 3);
        let dropped = audit.dropped.clone();
        drop(audit);
        write_all(Log::open(dir.path().join(AUDIT_FILE), 1000).unwrap(), &entries, &dropped, &metrics);
        let text = fs::read_to_string(dir.path().join(AUDIT_FILE)).unwrap();
        assert!(text.lines().count() == 2 && text.contains("3 requests are missing here"), "{text}");
    }
}
