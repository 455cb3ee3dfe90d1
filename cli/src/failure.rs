//! Why a verb failed, as a person reads it: one line that says what is wrong and one that says what to do next. Where
//! failures come from does not live here.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

/// The exit code of a verb that failed.
pub(crate) const FAILED: u8 = 1;
/// The exit code of a command line or of settings that make no sense.
pub(crate) const USAGE: u8 = 2;

/// A failure, ready to be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Failure {
    what: String,
    next: Option<String>,
    code: u8,
}

impl Failure {
    /// Something did not work.
    pub(crate) fn new(what: impl Display) -> Self {
        Failure { what: what.to_string(), next: None, code: FAILED }
    }

    /// Something was asked for in a way that makes no sense.
    pub(crate) fn usage(what: impl Display) -> Self {
        Failure { code: USAGE, ..Failure::new(what) }
    }

    /// The same, with what to do next.
    #[must_use]
    pub(crate) fn next(mut self, next: impl Display) -> Self {
        self.next = Some(next.to_string());
        self
    }

    /// Whoever read the output has gone away, and needs not be told.
    pub(crate) fn unread() -> Self {
        Failure::new("")
    }

    /// Says it on stderr; the result is the program's exit code.
    pub(crate) fn tell(&self) -> ExitCode {
        if self.what.is_empty() {
            return ExitCode::from(self.code);
        }
        let mut text = format!("skein: {}\n", one_line(&self.what));
        if let Some(next) = &self.next {
            text.push_str(&format!("       {}\n", one_line(next)));
        }
        // Whoever closed stderr does not want to know.
        let _ = std::io::stderr().write_all(text.as_bytes());
        ExitCode::from(self.code)
    }
}

/// What others say may have several lines; ours is one.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_one_line_whatever_is_in_it() {
        assert_eq!(one_line("a\n  b\n\nc\n"), "a; b; c");
    }

    #[test]
    fn wrong_usage_has_an_exit_code_of_its_own() {
        assert_eq!((Failure::new("x").code, Failure::usage("x").next("y").code), (1, 2));
    }
}
