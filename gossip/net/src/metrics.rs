//! What is counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Lane, OffenceCounts, Refusals};

/// Numbers since the start, except `links` and `connections`, which are of now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetMetrics {
    /// Members with a link.
    pub links: u64,
    /// Connections with members and strangers.
    pub connections: u64,
    /// Frames sent on the control lane.
    pub control_frames_sent: u64,
    /// Bytes of them.
    pub control_bytes_sent: u64,
    /// Frames received on the control lane.
    pub control_frames_received: u64,
    /// Bytes of them.
    pub control_bytes_received: u64,
    /// Frames sent on the bulk lane.
    pub bulk_frames_sent: u64,
    /// Bytes of them.
    pub bulk_bytes_sent: u64,
    /// Frames received on the bulk lane.
    pub bulk_frames_received: u64,
    /// Bytes of them.
    pub bulk_bytes_received: u64,
    /// Frames that were not sent: no link, a full queue, or too long.
    pub frames_dropped: u64,
    /// Connections, streams and admissions that were refused.
    pub refused: u64,
    /// Frames, headers and requests that were longer than they may be.
    pub oversized: u64,
    /// Connections that were dropped since the member broke the protocol.
    pub violations: u64,
    /// Links that were given up since nothing was heard on them.
    pub silent_links: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// How often reading from a peer paused since it sent too much.
    pub paused: u64,
    /// Members that are refused for a while now.
    pub offenders: u64,
    /// What was refused, by reason.
    pub refusals: Refusals,
    /// What members did that no honest one does, by kind.
    pub offences: OffenceCounts,
}

#[derive(Debug, Default)]
pub(crate) struct LaneCounters {
    pub frames_sent: Counter,
    pub bytes_sent: Counter,
    pub frames_received: Counter,
    pub bytes_received: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    control: LaneCounters,
    bulk: LaneCounters,
    pub links: Counter,
    pub connections: Counter,
    pub frames_dropped: Counter,
    pub refused: Counter,
    pub oversized: Counter,
    pub violations: Counter,
    pub silent_links: Counter,
    pub dials_failed: Counter,
    pub paused: Counter,
}

impl Counters {
    pub(crate) fn lane(&self, lane: Lane) -> &LaneCounters {
        match lane {
            Lane::Control => &self.control,
            Lane::Bulk => &self.bulk,
        }
    }

    pub(crate) fn read(&self) -> NetMetrics {
        let (control, bulk) = (&self.control, &self.bulk);
        NetMetrics {
            links: self.links.get(),
            connections: self.connections.get(),
            control_frames_sent: control.frames_sent.get(),
            control_bytes_sent: control.bytes_sent.get(),
            control_frames_received: control.frames_received.get(),
            control_bytes_received: control.bytes_received.get(),
            bulk_frames_sent: bulk.frames_sent.get(),
            bulk_bytes_sent: bulk.bytes_sent.get(),
            bulk_frames_received: bulk.frames_received.get(),
            bulk_bytes_received: bulk.bytes_received.get(),
            frames_dropped: self.frames_dropped.get(),
            refused: self.refused.get(),
            oversized: self.oversized.get(),
            violations: self.violations.get(),
            silent_links: self.silent_links.get(),
            dials_failed: self.dials_failed.get(),
            paused: self.paused.get(),
            ..NetMetrics::default()
        }
    }
}

/// A number that many tasks count in. Order between counters does not matter, so all accesses are relaxed.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: usize) {
        self.0.store(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
