//! What is refused to strangers and members, by reason: counted each time, and logged once for each source and reason in a
//! minute. Also who of the members is not heard for a while. Where each is found out does not live here.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use skein_gossip::offences::Offences;
use skein_gossip::once::Once;
use skein_gossip::{Instant, NodeId, Offence};

use crate::metrics::Counter;

/// The most addresses of members that are remembered; beyond it they are learned anew.
const KNOWN_ADDRESSES: usize = 4096;

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// A connection on which no peer proved who it is: random bytes, nothing at all, or another protocol.
    Handshake,
    /// An address had as many handshakes under way as one may.
    HandshakesOfAddress,
    /// As many handshakes were under way as may be.
    Handshakes,
    /// A peer had as many connections as one may.
    Connections,
    /// An address had as many connections of strangers as one may; the oldest made room.
    StrangersOfAddress,
    /// There were as many connections of strangers as may be; the oldest of who had most made room.
    Strangers,
    /// A stranger stayed connected for longer than admission takes.
    StrangerStayed,
    /// A stranger asked for what members alone may speak.
    StrangerStream,
    /// A member had as many streams as one may.
    Streams,
    /// A stream that did not say what it is for.
    StreamHead,
    /// An address asked for admission more often than one may.
    AdmissionsOfAddress,
    /// Admission was asked for more often than it is answered.
    Admissions,
    /// A request for admission that was broken off, or too long.
    AdmissionBroken,
    /// A member that is refused for a while tried to connect.
    Offender,
    /// A member that read nothing for long lost its connection.
    Stalled,
    /// More peers were announced on the local network than are remembered; all were forgotten.
    Announced,
    /// The network was asked for more than it can do at once.
    Busy,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 17] = [
        Refusal::Handshake,
        Refusal::HandshakesOfAddress,
        Refusal::Handshakes,
        Refusal::Connections,
        Refusal::StrangersOfAddress,
        Refusal::Strangers,
        Refusal::StrangerStayed,
        Refusal::StrangerStream,
        Refusal::Streams,
        Refusal::StreamHead,
        Refusal::AdmissionsOfAddress,
        Refusal::Admissions,
        Refusal::AdmissionBroken,
        Refusal::Offender,
        Refusal::Stalled,
        Refusal::Announced,
        Refusal::Busy,
    ];

    /// How metrics and the log name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Handshake => "handshake",
            Refusal::HandshakesOfAddress => "handshakes-of-address",
            Refusal::Handshakes => "handshakes",
            Refusal::Connections => "connections",
            Refusal::StrangersOfAddress => "strangers-of-address",
            Refusal::Strangers => "strangers",
            Refusal::StrangerStayed => "stranger-stayed",
            Refusal::StrangerStream => "stranger-stream",
            Refusal::Streams => "streams",
            Refusal::StreamHead => "stream-head",
            Refusal::AdmissionsOfAddress => "admissions-of-address",
            Refusal::Admissions => "admissions",
            Refusal::AdmissionBroken => "admission-broken",
            Refusal::Offender => "offender",
            Refusal::Stalled => "stalled",
            Refusal::Announced => "announced",
            Refusal::Busy => "busy",
        }
    }
}

/// How often each [`Refusal`] was, in the order of [`Refusal::ALL`].
pub type Refusals = [u64; Refusal::ALL.len()];
/// How often each [`Offence`] was, in the order of [`Offence::ALL`].
pub type OffenceCounts = [u64; Offence::ALL.len()];

/// The counts, what was logged, and who is refused.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    refusals: [Counter; Refusal::ALL.len()],
    offence_counts: [Counter; Offence::ALL.len()],
    said: Mutex<Once<(String, &'static str)>>,
    offences: Mutex<Offences>,
    /// Whether anybody was ever refused: who is a member is asked for each frame.
    any: AtomicBool,
    known: RwLock<BTreeSet<IpAddr>>,
}

impl Guard {
    /// Something of `source` was refused.
    pub(crate) fn refuse(&self, now: Instant, source: &dyn Display, refusal: Refusal) {
        if let Some(counter) = Refusal::ALL.iter().position(|known| *known == refusal) {
            self.refusals[counter].add(1);
        }
        if let Some(unsaid) = lock(&self.said).say(now, (source.to_string(), refusal.name())) {
            tracing::warn!(%source, reason = refusal.name(), unsaid, "refused");
        }
    }

    /// A member broke a rule. For how long it is refused therefore, if it is.
    pub(crate) fn offence(&self, now: Instant, peer: NodeId, offence: Offence, what: &str) -> Option<Duration> {
        if let Some(counter) = Offence::ALL.iter().position(|known| *known == offence) {
            self.offence_counts[counter].add(1);
        }
        if let Some(unsaid) = lock(&self.said).say(now, (peer.to_string(), offence.name())) {
            let reason = offence.name();
            tracing::warn!(%peer, reason, what, unsaid, "a member broke the protocol, its connection was dropped");
        }
        let refused = lock(&self.offences).note(now, peer, offence);
        self.any.fetch_or(refused.is_some(), Ordering::Relaxed);
        refused
    }

    /// Whether a member is refused now.
    pub(crate) fn is_refused(&self, now: Instant, peer: &NodeId) -> bool {
        self.any.load(Ordering::Relaxed) && lock(&self.offences).is_refused(now, peer)
    }

    /// The members that are refused now.
    pub(crate) fn refused(&self, now: Instant) -> Vec<NodeId> {
        lock(&self.offences).refused(now).collect()
    }

    /// A member is at this address: its handshakes do not stand in line with those of strangers.
    pub(crate) fn learn(&self, address: IpAddr) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_ADDRESSES && !known.contains(&address) {
            known.clear();
        }
        known.insert(address.to_canonical());
    }

    /// Whether a member is, or was, at this address.
    pub(crate) fn knows(&self, address: IpAddr) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }

    pub(crate) fn counts(&self) -> (Refusals, OffenceCounts) {
        (self.refusals.each_ref().map(Counter::get), self.offence_counts.each_ref().map(Counter::get))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_name_and_a_count_of_its_own() {
        let names: BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
        let guard = Guard::default();
        for (n, refusal) in Refusal::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| guard.refuse(Instant::ZERO, &"10.0.0.1", refusal));
        }
        assert!(guard.counts().0.iter().enumerate().all(|(n, count)| *count == n as u64 + 1));
    }
}
