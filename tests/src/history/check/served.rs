//! P1: every peer serves writes while its host is up, whatever is cut. P4: no call fails at the peers that nothing happened
//! to.

use super::{History, Limits, Verdict};
use crate::history::entry::{Answer, Op};

/// P1.
pub(super) fn writes_are_served(history: &History, limits: Limits) -> Verdict {
    let mut offences = Vec::new();
    let mut longest = Vec::new();
    let peers = history.begun.as_ref().map_or(0, |begun| begun.hosts);
    for peer in 1..=peers {
        let (from, until) = longest_unserved(history, peer);
        longest.push(format!("h{peer} {} ms", until - from));
        if until - from > limits.unserved_ms {
            let tried = |op: &&Op| op.peer == peer && op.is_write() && op.start < until && op.end > from;
            let tried: Vec<String> = history.ops.iter().filter(tried).map(Op::in_words).collect();
            offences.push(format!(
                "h{peer} served no write from {from} to {until} ms, more than {} ms, though it ran; it was asked:\n      {}",
                limits.unserved_ms,
                if tried.is_empty() { "nothing".to_owned() } else { tried.join("\n      ") }
            ));
        }
    }
    let looked_at = format!("longest time without a served write: {}", longest.join(", "));
    Verdict { promise: "P1 any peer takes any write", looked_at, offences }
}

/// The longest time in which a peer ran and served no write, between its first write and its last.
fn longest_unserved(history: &History, peer: usize) -> (u64, u64) {
    let writes = || history.ops.iter().filter(|op| op.peer == peer && op.is_write());
    let begun = writes().map(|op| op.start).min().unwrap_or(0);
    let ended = writes().map(|op| op.end).max().unwrap_or(0);
    let mut marks: Vec<u64> = writes().filter(|op| op.was_done()).map(|op| op.end).collect();
    marks.extend([begun, ended]);
    let mut down: Vec<(u64, u64)> = history
        .faults
        .iter()
        .filter(|fault| fault.down && fault.hosts.contains(&peer))
        .map(|fault| (fault.start, fault.until()))
        .collect();
    down.sort_unstable();
    // A time in which it did not run ends one stretch and begins another.
    marks.extend(down.iter().flat_map(|(start, end)| [*start, *end]).filter(|at| (begun..=ended).contains(at)));
    marks.sort_unstable();
    let is_down = |from: u64, until: u64| down.iter().any(|(start, end)| *start <= from && until <= *end);
    let stretches = marks.windows(2).map(|pair| (pair[0], pair[1])).filter(|(from, until)| !is_down(*from, *until));
    stretches.max_by_key(|(from, until)| until - from).unwrap_or((begun, begun))
}

/// P4.
pub(super) fn no_call_fails(history: &History, limits: Limits) -> Verdict {
    let touched = |op: &Op| {
        history.faults.iter().any(|fault| {
            fault.hosts.contains(&op.peer)
                && fault.start <= op.end
                && op.start <= fault.until().saturating_add(limits.recovery_ms)
        })
    };
    let untouched: Vec<&Op> = history.ops.iter().filter(|op| !touched(op)).collect();
    let beside = |op: &&&Op| history.faults.iter().any(|fault| fault.start <= op.end && op.start <= fault.end);
    let others = untouched.iter().filter(beside).count();
    let offences = untouched.iter().filter(|op| failed(op)).map(|op| op.in_words()).collect();
    let looked_at = format!(
        "{} calls at peers that nothing happened to, {others} of them while something happened to another",
        untouched.len()
    );
    Verdict { promise: "P4 losing a node fails no call at the others", looked_at, offences }
}

/// That an object is not there, or is there already, is an answer like any other.
fn failed(op: &Op) -> bool {
    match op.answer {
        Answer::Ok | Answer::Warned => false,
        Answer::Refused => !matches!(op.code, 404 | 409),
        Answer::Unknown => true,
    }
}
