//! Who broke a rule how often, and for how long it is not heard therefore. Finding out that a rule was broken, and cutting
//! connections, does not live here.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Instant, NodeId};

/// How many offences within [`OFFENCES_WITHIN`] cost a member its connection only; one more, and it is refused for a while.
pub const OFFENCES_ALLOWED: usize = 4;
/// For how long an offence counts.
pub const OFFENCES_WITHIN: Duration = Duration::from_secs(60);
/// How long a member is refused the first time; each further time twice as long.
pub const REFUSED_FOR: Duration = Duration::from_secs(10);
/// The longest that a member is refused at a time.
pub const REFUSED_AT_MOST: Duration = Duration::from_secs(600);
/// A member that was neither refused nor broke a rule for so long begins anew.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(3600);
/// How many offenders are remembered; the one that is quiet for the longest time gives way.
pub const OFFENDERS: usize = 1024;

/// What no honest member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Offence {
    /// A frame that cannot be read.
    Unreadable,
    /// A frame, or the header of a stream, that is longer than it may be.
    TooLong,
    /// A frame that was cut off.
    CutOff,
    /// Words that their author has not signed, or a frame in another's name.
    ForgedAuthor,
    /// A report that the node which it is of has not signed.
    ForgedReport,
    /// A vote that nobody asked for.
    ForgedVote,
    /// Words that break a rule of the state.
    Invalid,
    /// More frames than a member may send, for long.
    Flood,
}

impl Offence {
    /// All of them.
    pub const ALL: [Offence; 8] = [
        Offence::Unreadable,
        Offence::TooLong,
        Offence::CutOff,
        Offence::ForgedAuthor,
        Offence::ForgedReport,
        Offence::ForgedVote,
        Offence::Invalid,
        Offence::Flood,
    ];

    /// How metrics name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Offence::Unreadable => "unreadable",
            Offence::TooLong => "too-long",
            Offence::CutOff => "cut-off",
            Offence::ForgedAuthor => "forged-author",
            Offence::ForgedReport => "forged-report",
            Offence::ForgedVote => "forged-vote",
            Offence::Invalid => "invalid",
            Offence::Flood => "flood",
        }
    }

    /// Whether one is enough to be refused for a while.
    fn is_grave(self) -> bool {
        self == Offence::Flood
    }
}

#[derive(Debug, Clone, Default)]
struct Record {
    /// When the last few were, at most [`OFFENCES_ALLOWED`] and one.
    recent: VecDeque<Instant>,
    /// How often it was refused.
    times: u32,
    last: Instant,
    refused_until: Option<Instant>,
}

/// The offenders.
#[derive(Debug, Clone, Default)]
pub struct Offences {
    of: BTreeMap<NodeId, Record>,
}

impl Offences {
    /// A member broke a rule. For how long it is refused from now on, if it is.
    pub fn note(&mut self, now: Instant, peer: NodeId, offence: Offence) -> Option<Duration> {
        self.make_room(&peer);
        let record = self.of.entry(peer).or_default();
        if record.times > 0 && now.since(record.last) > FORGIVEN_AFTER {
            *record = Record::default();
        }
        record.last = now;
        record.recent.push_back(now);
        record.recent.retain(|at| now.since(*at) < OFFENCES_WITHIN);
        if record.recent.len() <= OFFENCES_ALLOWED && !offence.is_grave() {
            return None;
        }
        record.recent.clear();
        let refused =
            REFUSED_FOR.saturating_mul(1u32.checked_shl(record.times).unwrap_or(u32::MAX)).min(REFUSED_AT_MOST);
        record.times = record.times.saturating_add(1);
        record.last = now + refused;
        record.refused_until = Some(now + refused);
        Some(refused)
    }

    /// Whether a member is refused now.
    #[must_use]
    pub fn is_refused(&self, now: Instant, peer: &NodeId) -> bool {
        self.of.get(peer).and_then(|record| record.refused_until).is_some_and(|until| now < until)
    }

    /// Who is refused now.
    pub fn refused(&self, now: Instant) -> impl Iterator<Item = NodeId> {
        self.of
            .iter()
            .filter(move |(_, record)| record.refused_until.is_some_and(|until| now < until))
            .map(|(id, _)| *id)
    }

    fn make_room(&mut self, peer: &NodeId) {
        if self.of.len() < OFFENDERS || self.of.contains_key(peer) {
            return;
        }
        if let Some(quiet) = self.of.iter().min_by_key(|(_, record)| record.last).map(|(id, _)| *id) {
            self.of.remove(&quiet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId([7; 32]);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn refused_after(offences: &mut Offences, now: Instant) -> Option<Duration> {
        (0..=OFFENCES_ALLOWED).find_map(|_| offences.note(now, PEER, Offence::Invalid))
    }

    #[test]
    fn a_few_offences_are_put_up_with_and_one_more_is_not() {
        let mut offences = Offences::default();
        for n in 0..OFFENCES_ALLOWED as u64 {
            assert_eq!(offences.note(at(n), PEER, Offence::Unreadable), None);
            assert!(!offences.is_refused(at(n), &PEER));
        }
        assert_eq!(offences.note(at(9), PEER, Offence::Unreadable), Some(REFUSED_FOR));
        assert!(offences.is_refused(at(18), &PEER));
        assert_eq!(offences.refused(at(18)).collect::<Vec<_>>(), [PEER]);
        assert!(!offences.is_refused(at(19), &PEER));
        assert!(!offences.is_refused(at(10), &NodeId([8; 32])), "others are not meant");
    }

    #[test]
    fn offences_that_are_far_apart_do_not_add_up() {
        let mut offences = Offences::default();
        assert!((0..100).all(|n| offences.note(at(n * 30), PEER, Offence::CutOff).is_none()));
    }

    #[test]
    fn each_time_is_twice_as_long_up_to_a_limit_and_an_hour_of_good_behaviour_forgives() {
        let mut offences = Offences::default();
        let mut now = at(0);
        let mut lengths = Vec::new();
        for _ in 0..10 {
            let refused = refused_after(&mut offences, now).unwrap_or_default();
            lengths.push(refused.as_secs());
            now += refused;
        }
        assert_eq!(lengths, [10, 20, 40, 80, 160, 320, 600, 600, 600, 600]);
        now += FORGIVEN_AFTER + Duration::from_secs(1);
        assert_eq!(refused_after(&mut offences, now), Some(REFUSED_FOR));
    }

    #[test]
    fn one_flood_is_enough() {
        assert_eq!(Offences::default().note(at(0), PEER, Offence::Flood), Some(REFUSED_FOR));
    }

    #[test]
    fn the_table_of_offenders_does_not_grow_beyond_its_limit() {
        let mut offences = Offences::default();
        for n in 0..=OFFENDERS {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(n as u64).to_be_bytes());
            offences.note(at(n as u64), NodeId(id), Offence::Invalid);
        }
        assert_eq!(offences.of.len(), OFFENDERS);
    }

    #[test]
    fn names_are_different() {
        let names: std::collections::BTreeSet<_> = Offence::ALL.iter().map(|offence| offence.name()).collect();
        assert_eq!(names.len(), Offence::ALL.len());
    }
}
