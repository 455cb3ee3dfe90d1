//! The daemon's own numbers, in Prometheus' text format. What they are counted from lives where it happens; here is only
//! the table of names and how it is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes over a total that somebody else counts.
    pub fn set_total(&self, total: u64) {
        self.0.store(total, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn raise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one off that was added before.
    pub fn lower(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts something that is there as long as the guard lives, such as an open connection.
    pub fn hold(&self) -> Held<'_> {
        self.raise();
        Held(self)
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One thing that a [`Gauge`] counts; dropping it takes it off again.
#[derive(Debug)]
pub struct Held<'a>(&'a Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.lower();
    }
}

/// Numbers that only rise, one for each reason. Reasons are known words, never a client's.
#[derive(Debug, Default)]
pub struct Reasons(Mutex<BTreeMap<&'static str, u64>>);

impl Reasons {
    /// Adds one to a reason's.
    pub fn increment(&self, reason: &'static str) {
        *self.lock().entry(reason).or_default() += 1;
    }

    /// Takes over totals that somebody else counts.
    pub fn set_totals(&self, totals: impl IntoIterator<Item = (&'static str, u64)>) {
        self.lock().extend(totals);
    }

    /// A reason's number now.
    #[must_use]
    pub fn get(&self, reason: &str) -> u64 {
        self.lock().get(reason).copied().unwrap_or(0)
    }

    fn write(&self, name: &str, text: &mut String) {
        for (reason, count) in &*self.lock() {
            let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {count}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Upper ends of the buckets of [`Histogram`], in milliseconds; the last bucket has no end.
pub const BUCKETS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000];

/// How long things took.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_MS.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, took: std::time::Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(i) = BUCKETS_MS.iter().position(|end_ms| us <= end_ms * 1000) {
            self.buckets[i].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn write(&self, name: &str, text: &mut String) {
        let mut below = 0;
        for (end_ms, bucket) in BUCKETS_MS.iter().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            let end_s = *end_ms as f64 / 1000.0;
            let _ = writeln!(text, "{name}_bucket{{le=\"{end_s}\"}} {below}");
        }
        // Read last, so that the total is never below a bucket.
        let count = self.count.load(Ordering::Relaxed).max(below);
        let sum_s = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum_s}\n{name}_count {count}");
    }
}

/// Declares the table: one field for each number, its name in the output and what it says, in one place.
macro_rules! table {
    ($( $(#[doc = $doc:literal])+ $field:ident: $type:ident, $kind:literal, $name:literal; )*) => {
        /// All numbers of the daemon.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $( $(#[doc = $doc])+ pub $field: $type, )*
        }

        impl Metrics {
            /// The numbers in Prometheus' text format, version 0.0.4.
            #[must_use]
            pub fn render(&self) -> String {
                let mut text = String::with_capacity(8 << 10);
                $(
                    let help = concat!($($doc),+).trim();
                    let _ = writeln!(text, "# HELP {} {help}\n# TYPE {} {}", $name, $name, $kind);
                    self.$field.write($name, &mut text);
                )*
                text
            }
        }
    };
}

impl Counter {
    fn write(&self, name: &str, text: &mut String) {
        let _ = writeln!(text, "{name} {}", self.get());
    }
}

impl Gauge {
    fn write(&self, name: &str, text: &mut String) {
        let _ = writeln!(text, "{name} {}", self.get());
    }
}

table! {
    /// API requests that were answered.
    api_requests: Counter, "counter", "skein_api_requests_total";
    /// API requests that were answered with a status from 500 on.
    api_errors: Counter, "counter", "skein_api_errors_total";
    /// API requests without a valid token.
    api_unauthorized: Counter, "counter", "skein_api_unauthorized_total";
    /// API requests that their sender was not allowed to make.
    api_forbidden: Counter, "counter", "skein_api_forbidden_total";
    /// Wrong codes that were shown to this node, exchanges that were begun and not proved in time among them.
    wrong_codes: Counter, "counter", "skein_wrong_codes_total";
    /// API requests that are missing in the audit log because it was not written fast enough.
    audit_dropped: Counter, "counter", "skein_audit_dropped_total";
    /// API handlers that panicked; the client got a 500.
    api_panics: Counter, "counter", "skein_api_panics_total";
    /// How long API requests took until their head was sent, in seconds.
    api_duration: Histogram, "histogram", "skein_api_request_duration_seconds";
    /// Open API connections.
    api_connections: Gauge, "gauge", "skein_api_connections";
    /// API connections that were refused because too many were open, or whose TLS handshake failed.
    api_connections_refused: Counter, "counter", "skein_api_connections_refused_total";
    /// API connections and requests that were refused or cut off, by reason.
    api_refusals: Reasons, "counter", "skein_api_refusals_total";
    /// Open watches.
    watches: Gauge, "gauge", "skein_watches";
    /// Watch events that were sent.
    watch_events: Counter, "counter", "skein_watch_events_total";
    /// Watches that were cut off because their client did not read.
    watches_cut_off: Counter, "counter", "skein_watches_cut_off_total";
    /// Times that all watches had to start anew because this daemon fell behind its own changes.
    watch_resets: Counter, "counter", "skein_watch_resets_total";
    /// Objects that clients see, all kinds.
    objects: Gauge, "gauge", "skein_objects";
    /// Members that are alive now, this node included.
    peers_alive: Gauge, "gauge", "skein_peers_alive";
    /// Whether this node leads now.
    is_leader: Gauge, "gauge", "skein_is_leader";
    /// The term of the leader that this node follows.
    term: Gauge, "gauge", "skein_leader_term";
    /// Whether that leader is backed by more than half of the voters.
    is_quorate: Gauge, "gauge", "skein_leader_is_quorate";
    /// Whether this node is one of the voters, and its vote counts.
    votes: Gauge, "gauge", "skein_votes";
    /// Writes that were acknowledged.
    writes: Counter, "counter", "skein_writes_total";
    /// Writes that were acknowledged with a warning, such as that no other disk has them yet.
    writes_warned: Counter, "counter", "skein_writes_warned_total";
    /// Whether the disk takes no writes now: it is full, or fails.
    disk_refuses: Gauge, "gauge", "skein_disk_refuses_writes";
    /// Records on the disk that were found damaged at the start of the daemon; they were set aside.
    damaged_records: Gauge, "gauge", "skein_damaged_records";
    /// Writes that wait for their acknowledgement.
    writes_pending: Gauge, "gauge", "skein_writes_pending";
    /// Peers that this node has a link to.
    links: Gauge, "gauge", "skein_links";
    /// Frames that were sent to peers.
    frames_sent: Counter, "counter", "skein_frames_sent_total";
    /// Frames that came from peers.
    frames_received: Counter, "counter", "skein_frames_received_total";
    /// Bytes that were sent to peers.
    bytes_sent: Counter, "counter", "skein_bytes_sent_total";
    /// Bytes that came from peers.
    bytes_received: Counter, "counter", "skein_bytes_received_total";
    /// Frames that were not sent because the peer's queue was full.
    frames_dropped: Counter, "counter", "skein_frames_dropped_total";
    /// Frames, headers and requests from peers that were longer than they may be.
    frames_oversized: Counter, "counter", "skein_frames_oversized_total";
    /// Connections that were dropped since a peer sent what breaks the protocol: cut off, random, too long.
    violations: Counter, "counter", "skein_protocol_violations_total";
    /// Connections, streams and admissions that were refused, such as a stranger's.
    connections_refused: Counter, "counter", "skein_peer_connections_refused_total";
    /// The same and what came before, by reason: see docs/limits.md.
    peer_refusals: Reasons, "counter", "skein_peer_refusals_total";
    /// What members sent that no honest one does, by kind.
    offences: Reasons, "counter", "skein_member_offences_total";
    /// Members that are refused for a while now, since they broke rules again and again.
    offenders: Gauge, "gauge", "skein_members_refused";
    /// Times that reading from a peer paused since it sent more than it may.
    peers_paused: Counter, "counter", "skein_peer_pauses_total";
    /// Requests for admission that were refused, by reason.
    admissions_refused: Reasons, "counter", "skein_admissions_refused_total";
    /// Connections to peers that could not be made.
    dials_failed: Counter, "counter", "skein_dials_failed_total";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_number_has_help_type_and_value() {
        let metrics = Metrics::default();
        metrics.api_requests.add(3);
        let held = metrics.watches.hold();
        let text = metrics.render();
        assert!(text.contains("# TYPE skein_api_requests_total counter\nskein_api_requests_total 3\n"), "{text}");
        assert!(text.contains("# HELP skein_watches Open watches.\n"), "{text}");
        assert!(text.contains("\nskein_watches 1\n"), "{text}");
        drop(held);
        assert!(metrics.render().contains("\nskein_watches 0\n"));
    }

    #[test]
    fn each_reason_is_a_label() {
        let metrics = Metrics::default();
        metrics.admissions_refused.increment("expired");
        metrics.admissions_refused.increment("expired");
        metrics.admissions_refused.set_totals([("foreign", 7)]);
        let text = metrics.render();
        assert!(text.contains("\nskein_admissions_refused_total{reason=\"expired\"} 2\n"), "{text}");
        assert!(text.contains("\nskein_admissions_refused_total{reason=\"foreign\"} 7\n"), "{text}");
    }

    #[test]
    fn a_histograms_buckets_hold_what_is_below_them() {
        let metrics = Metrics::default();
        metrics.api_duration.observe(Duration::from_millis(3));
        metrics.api_duration.observe(Duration::from_secs(60));
        let text = metrics.render();
        let line = |end: &str| format!("skein_api_request_duration_seconds_bucket{{le=\"{end}\"}}");
        assert!(text.contains(&format!("{} 0\n", line("0.002"))), "{text}");
        assert!(text.contains(&format!("{} 1\n", line("0.005"))), "{text}");
        assert!(text.contains(&format!("{} 1\n", line("10"))), "{text}");
        assert!(text.contains(&format!("{} 2\n", line("+Inf"))), "{text}");
        assert!(text.contains("skein_api_request_duration_seconds_count 2\n"), "{text}");
    }
}
