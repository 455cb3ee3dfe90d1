//! The trace: what happened, line by line, and a hash of it by which two runs are compared. What becomes of the lines
//! is the business of whoever follows it: nothing is printed here.

use std::collections::VecDeque;
use std::fmt;

use sha2::{Digest, Sha256};

/// How many of the last lines are kept for a failure's report.
const KEPT: usize = 200;

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, in virtual microseconds.
    pub at_us: u64,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12.6} {}", self.at_us as f64 / 1e6, self.what)
    }
}

/// A run's trace.
#[derive(Debug, Default)]
pub struct Trace {
    hash: Sha256,
    last: VecDeque<Line>,
    /// Lines that nobody has taken yet, if anybody follows.
    fresh: Option<Vec<Line>>,
    lines: u64,
}

impl Trace {
    /// A trace. Where somebody follows, the lines are kept until they are taken.
    #[must_use]
    pub fn new(followed: bool) -> Self {
        Trace { fresh: followed.then(Vec::new), ..Trace::default() }
    }

    /// Adds a line.
    pub fn line(&mut self, at_us: u64, what: fmt::Arguments<'_>) {
        let line = Line { at_us, what: what.to_string() };
        self.hash.update(line.to_string().as_bytes());
        self.hash.update(b"\n");
        self.lines += 1;
        if let Some(fresh) = &mut self.fresh {
            fresh.push(line.clone());
        }
        self.last.push_back(line);
        if self.last.len() > KEPT {
            self.last.pop_front();
        }
    }

    /// The lines since they were last taken; none where nobody follows.
    pub fn take(&mut self) -> Vec<Line> {
        self.fresh.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// How many lines there were.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The last lines, two hundred at most.
    pub fn last(&self) -> impl Iterator<Item = &Line> {
        self.last.iter()
    }

    /// The hash of all lines until now, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_tells_what_and_when_apart() {
        let hash = |at_us, what: &str| {
            let mut trace = Trace::new(false);
            trace.line(at_us, format_args!("{what}"));
            trace.hash()
        };
        assert_eq!(hash(1, "a"), hash(1, "a"));
        assert_ne!(hash(1, "a"), hash(2, "a"));
        assert_ne!(hash(1, "a"), hash(1, "b"));
    }

    #[test]
    fn lines_are_taken_once_and_only_where_somebody_follows() {
        let mut trace = Trace::new(true);
        trace.line(1_500_000, format_args!("h1 boots"));
        assert_eq!(trace.take().iter().map(Line::to_string).collect::<Vec<_>>(), ["    1.500000 h1 boots"]);
        assert!(trace.take().is_empty());
        let mut nobody = Trace::new(false);
        nobody.line(1, format_args!("h1 boots"));
        assert!(nobody.take().is_empty());
    }

    #[test]
    fn the_last_lines_are_kept_and_no_more() {
        let mut trace = Trace::new(false);
        for n in 0..500 {
            trace.line(n, format_args!("{n}"));
        }
        let last: Vec<&Line> = trace.last().collect();
        assert_eq!((last.len(), last[0].at_us, trace.lines()), (KEPT, 300, 500));
    }
}
