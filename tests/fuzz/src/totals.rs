//! What all runs on one corpus have come to: a file beside the inputs, so that a long total can be reached in pieces.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file in the corpus's directory.
const FILE: &str = "totals.json";

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

/// The totals of all targets, by name.
#[derive(Debug, Default)]
pub struct Totals {
    path: PathBuf,
    of: BTreeMap<String, Total>,
}

impl Totals {
    /// Those of a corpus; none if it is new.
    ///
    /// # Errors
    /// When the file cannot be read or is no list of totals.
    pub fn read(corpus: &Path) -> io::Result<Self> {
        let path = corpus.join(FILE);
        let of = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                io::Error::other(format!("{}: {error}; remove it to count from the start", path.display()))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Totals { path, of })
    }

    /// One target's.
    #[must_use]
    pub fn of(&self, target: &str) -> Total {
        self.of.get(target).copied().unwrap_or_default()
    }

    /// Adds what a run came to. What others have added to the file meanwhile, of other targets, stays.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, target: &str, run: Total) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        self.of = Totals::read(directory)?.of;
        let total = self.of.entry(target.to_owned()).or_default();
        total.executions += run.executions;
        total.seconds += run.seconds;
        total.kinds = run.kinds;
        total.broken += run.broken;
        std::fs::create_dir_all(directory)?;
        let beside = self.path.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&beside, serde_json::to_vec_pretty(&self.of)?)?;
        std::fs::rename(beside, &self.path)
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
        let (mut one, mut other) = (Totals::read(&directory).unwrap(), Totals::read(&directory).unwrap());
        one.add("frames", run(10)).unwrap();
        other.add("words", run(7)).unwrap();
        one.add("frames", run(5)).unwrap();
        let read = Totals::read(&directory).unwrap();
        assert_eq!(read.of("frames"), Total { executions: 15, seconds: 3.0, kinds: 3, broken: 0 });
        assert_eq!((read.of("words").executions, read.of("urls").executions), (7, 0));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
