//! What all runs on one corpus have come to: a file for each target beside the inputs, so that a long total can be reached in pieces, and
//! by programs side by side that run different targets.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The directory of the files, in the corpus's.
const DIRECTORY: &str = "totals";

/// What a target was given so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Total {
    /// How many inputs.
    pub executions: u64,
    /// For how long, in seconds.
    pub seconds: f64,
    /// How many kinds of answers the latest run saw.
    pub kinds: usize,
    /// How many inputs broke something.
    pub broken: u64,
}

/// The totals of a corpus.
#[derive(Debug)]
pub struct Totals(PathBuf);

impl Totals {
    /// Those of a corpus; none if it is new.
    #[must_use]
    pub fn of_corpus(corpus: &Path) -> Self {
        Totals(corpus.join(DIRECTORY))
    }

    /// One target's.
    ///
    /// # Errors
    /// When its file cannot be read or is no total.
    pub fn of(&self, target: &str) -> io::Result<Total> {
        let path = self.path(target);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                io::Error::other(format!("{}: {error}; remove it to count from the start", path.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Total::default()),
            Err(error) => Err(error),
        }
    }

    /// Adds what a run came to.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn add(&self, target: &str, run: Total) -> io::Result<()> {
        let mut total = self.of(target)?;
        total.executions += run.executions;
        total.seconds += run.seconds;
        total.kinds = run.kinds;
        total.broken += run.broken;
        std::fs::create_dir_all(&self.0)?;
        let beside = self.0.join(format!("{target}.{}", std::process::id()));
        std::fs::write(&beside, serde_json::to_vec_pretty(&total)?)?;
        std::fs::rename(beside, self.path(target))
    }

    fn path(&self, target: &str) -> PathBuf {
        self.0.join(format!("{target}.json"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn totals_add_up_over_runs_and_over_programs_side_by_side() {
        let directory = std::env::temp_dir().join(format!("skein-fuzz-totals-{}", std::process::id()));
        let run = |executions| Total { executions, seconds: 1.5, kinds: 3, broken: 0 };
        let (one, other) = (Totals::of_corpus(&directory), Totals::of_corpus(&directory));
        one.add("frames", run(10)).unwrap();
        other.add("words", run(7)).unwrap();
        one.add("frames", run(5)).unwrap();
        let expected = Total { executions: 15, seconds: 3.0, kinds: 3, broken: 0 };
        assert_eq!(other.of("frames").unwrap(), expected);
        assert_eq!((one.of("words").unwrap().executions, one.of("urls").unwrap().executions), (7, 0));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
