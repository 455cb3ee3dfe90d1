//! The judge: decides from the lines of a history whether each promise held, and names the operations that show it did not.
//! It knows nothing of how skein works: the lines, the standard library and JSON are all that it uses. Each promise has a file:
//! `served` (P1 and P4), `kept` (P2), `equal` (P3), `exact` (P5).

mod equal;
pub(super) mod exact;
#[cfg(test)]
mod handmade;
mod kept;
mod served;

use std::collections::BTreeMap;
use std::fmt;

use super::entry::{Begun, Fault, Final, Line, Op, Running};

/// How many offences are printed of each promise.
const SHOWN: usize = 12;

/// A history, read.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// How it was made; a history that was cut short at its beginning has none.
    pub begun: Option<Begun>,
    /// All operations, in the order of their beginnings.
    pub ops: Vec<Op>,
    /// All faults.
    pub faults: Vec<Fault>,
    /// What the peers hold in the end.
    pub finals: Vec<Final>,
    /// What runs in the end.
    pub running: Vec<Running>,
    /// When it ended, and how long after the last heal it had settled.
    pub ended: Option<(u64, Option<u64>)>,
}

/// What is promised for how long, in ms.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest time without a served write at a peer whose host is up.
    pub unserved_ms: u64,
    /// How long after a fault calls at the peers that it happened to are not held to anything.
    pub recovery_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { unserved_ms: 3000, recovery_ms: 1000 }
    }
}

/// Whether one promise held.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The promise.
    pub promise: &'static str,
    /// What was looked at, in a line.
    pub looked_at: String,
    /// What shows that it did not hold; empty when it did.
    pub offences: Vec<String>,
}

impl Verdict {
    /// Whether it held.
    pub fn held(&self) -> bool {
        self.offences.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.held() { "held" } else { "BROKEN" };
        write!(f, "{}: {word} ({})", self.promise, self.looked_at)?;
        for offence in self.offences.iter().take(SHOWN) {
            write!(f, "\n    {offence}")?;
        }
        match self.offences.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n    and {more} more"),
        }
    }
}

impl History {
    /// Reads the lines of a history.
    ///
    /// # Errors
    /// The number of the first line that is none, and why.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut history = Self::default();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let line = serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))?;
            history.add(line);
        }
        history.ops.sort_by_key(|op| op.start);
        Ok(history)
    }

    /// Adds a line.
    pub fn add(&mut self, line: Line) {
        match line {
            Line::Begun(begun) => self.begun = Some(begun),
            Line::Op(op) => self.ops.push(op),
            Line::Fault(fault) => self.faults.push(fault),
            Line::Final(held) => self.finals.push(held),
            Line::Running(running) => self.running.push(running),
            Line::Ended { at, settled_after } => self.ended = Some((at, settled_after)),
        }
    }

    /// Decides about all promises.
    pub fn judge(&self, limits: Limits) -> Vec<Verdict> {
        vec![
            self.whole(),
            served::writes_are_served(self, limits),
            kept::acknowledged_writes_are_kept(self),
            equal::peers_agree(self),
            served::no_call_fails(self, limits),
            exact::what_is_asked_for_runs(self),
        ]
    }

    /// A history that stops half-way, or in which nothing was asked, shows nothing.
    fn whole(&self) -> Verdict {
        let mut offences = Vec::new();
        let hosts = self.begun.as_ref().map_or(0, |begun| begun.hosts);
        if self.begun.is_none() || self.ended.is_none() {
            offences.push("its first or its last line is missing".to_owned());
        }
        for peer in 1..=hosts {
            if !self.ops.iter().any(|op| op.peer == peer && op.was_done()) {
                offences.push(format!("no operation was done at h{peer}"));
            }
            let lost = self.faults.iter().any(|fault| fault.lost && fault.hosts.contains(&peer));
            if !lost && !self.finals.iter().any(|held| held.peer == peer) {
                offences.push(format!("h{peer} was not read in the end"));
            }
        }
        Verdict { promise: "the history is whole", looked_at: self.in_words(), offences }
    }

    fn in_words(&self) -> String {
        let mut answers: BTreeMap<String, usize> = BTreeMap::new();
        for op in &self.ops {
            *answers.entry(format!("{:?}", op.answer).to_lowercase()).or_default() += 1;
        }
        let answers: Vec<String> = answers.iter().map(|(answer, count)| format!("{count} {answer}")).collect();
        format!("{} operations: {}; {} faults", self.ops.len(), answers.join(", "), self.faults.len())
    }
}
