//! The trace: what happened, line by line, and a hash of it by which two runs are compared.

use std::collections::VecDeque;
use std::fmt;

use sha2::{Digest, Sha256};

/// How many of the last lines are kept for a failure's report.
const KEPT: usize = 200;

/// A run's trace.
#[derive(Debug, Default)]
pub struct Trace {
    hash: Sha256,
    last: VecDeque<String>,
    verbose: bool,
    lines: u64,
}

impl Trace {
    /// A trace; a verbose one is printed as it grows.
    #[must_use]
    pub fn new(verbose: bool) -> Self {
        Trace { verbose, ..Trace::default() }
    }

    /// Adds a line.
    pub fn line(&mut self, at_us: u64, what: fmt::Arguments<'_>) {
        let line = format!("{:>12.6} {what}", at_us as f64 / 1e6);
        self.hash.update(line.as_bytes());
        self.hash.update(b"\n");
        self.lines += 1;
        if self.verbose {
            #[expect(clippy::print_stdout, reason = "a verbose run is asked for to be read as it goes")]
            {
                println!("{line}");
            }
        }
        self.last.push_back(line);
        if self.last.len() > KEPT {
            self.last.pop_front();
        }
    }

    /// How many lines there were.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The last lines.
    pub fn last(&self) -> impl Iterator<Item = &String> {
        self.last.iter()
    }

    /// The hash of all lines until now, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
