//! One target's run: executions, what was new, and what broke.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::IndexedRandom;
use skein_gossip::random;

use crate::corpus::{self, Corpus};
use crate::mutate::mutated;
use crate::target::Target;

/// No input may keep a target busy for longer. Far more than any takes, since other work may run beside it.
pub const TOO_LONG: Duration = Duration::from_secs(5);
/// How many inputs of a slice are written for later runs.
const MAX_WRITTEN: usize = 256;

/// When a slice is over: whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// After so many executions.
    pub executions: u64,
    /// After so long.
    pub time: Duration,
}

/// What became of a slice.
#[derive(Debug)]
pub struct Report {
    /// How many inputs were executed.
    pub executions: u64,
    /// How many kinds of answers there were, in this and the slices before it.
    pub kinds: usize,
    /// How long it took.
    pub took: Duration,
    /// The first input that broke something, where it was written, and what broke.
    pub broken: Option<(PathBuf, String)>,
}

/// A target's run, in slices: what was found in one is mutated in the next, and written for later runs.
pub struct Run<'a> {
    target: &'a mut dyn Target,
    directory: &'a Path,
    corpus: Corpus,
    has_begun: bool,
}

impl<'a> Run<'a> {
    /// Nothing was executed yet. What is found will be kept in the directory.
    pub fn new(target: &'a mut dyn Target, directory: &'a Path) -> Self {
        Run { target, directory, corpus: Corpus::default(), has_begun: false }
    }

    /// Executes a slice: in the first, what the target begins with and what earlier runs kept, and then mutations of all that is kept.
    ///
    /// # Errors
    /// When the directory cannot be read or written.
    pub fn slice(&mut self, seed: u64, limits: Limits) -> io::Result<Report> {
        let begun = Instant::now();
        let mut executions = 0;
        if !std::mem::replace(&mut self.has_begun, true) {
            for input in begins_with(self.target, self.directory)? {
                executions += 1;
                match execute(self.target, &input) {
                    Ok(answer) => drop(self.corpus.offer(&input, &answer)),
                    Err(what) => return self.broken(begun, executions, &input, what),
                }
                self.corpus.keep(input);
            }
        }
        let mut rng = random::from_seed(seed);
        let mut found = Vec::new();
        while executions < limits.executions && begun.elapsed() < limits.time {
            let none = Vec::new();
            let input = self.corpus.inputs().choose(&mut rng).unwrap_or(&none);
            let other = self.corpus.inputs().choose(&mut rng).unwrap_or(&none);
            let input = mutated(&mut rng, input, other);
            executions += 1;
            match execute(self.target, &input) {
                Ok(answer) => {
                    if self.corpus.offer(&input, &answer) && found.len() < MAX_WRITTEN {
                        found.push(input);
                    }
                }
                Err(what) => return self.broken(begun, executions, &input, what),
            }
            if rng.random_ratio(1, 4096) {
                self.target.begin_anew();
            }
        }
        for input in &found {
            corpus::write(&self.directory.join(self.target.name()), input)?;
        }
        Ok(self.report(begun, executions, None))
    }

    fn broken(&self, begun: Instant, executions: u64, input: &[u8], what: String) -> io::Result<Report> {
        let path = corpus::write(&self.directory.join("crashes"), input)?;
        Ok(self.report(begun, executions, Some((path, what))))
    }

    fn report(&self, begun: Instant, executions: u64, broken: Option<(PathBuf, String)>) -> Report {
        Report { executions, kinds: self.corpus.kinds(), took: begun.elapsed(), broken }
    }
}

/// What a target begins with: what it makes itself, what comes with the source, and what earlier runs have kept.
fn begins_with(target: &dyn Target, directory: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut inputs = target.seeds();
    inputs.extend(corpus::distilled(target.name())?);
    inputs.extend(corpus::read(&directory.join(target.name()))?);
    Ok(inputs)
}

/// Chooses among all that a target begins with what is to come with the source, at most so many inputs.
///
/// # Errors
/// When a directory cannot be read or written, or an input breaks the target.
pub fn distil(target: &mut dyn Target, directory: &Path, most: usize) -> io::Result<()> {
    let mut answered = Vec::new();
    for input in begins_with(target, directory)? {
        let answer = execute(target, &input).map_err(io::Error::other)?;
        answered.push((input, answer));
    }
    corpus::distil(target.name(), &answered, most)
}

/// Gives a target one input; its answer, or what broke.
///
/// # Errors
/// What broke: a panic, or that it took too long.
pub fn execute(target: &mut dyn Target, input: &[u8]) -> Result<String, String> {
    let begun = Instant::now();
    let answer = catch_unwind(AssertUnwindSafe(|| target.execute(input)));
    let took = begun.elapsed();
    match answer {
        Ok(answer) if took < TOO_LONG => Ok(answer),
        Ok(_) => Err(format!("it took {:.1} s", took.as_secs_f64())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("a panic: {}", text.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Panics at inputs that hold two words which no seed has together.
    struct Fragile;

    impl Target for Fragile {
        fn name(&self) -> &'static str {
            "fragile"
        }

        fn seeds(&self) -> Vec<Vec<u8>> {
            vec![b"ab".to_vec(), b"cd".to_vec()]
        }

        fn execute(&mut self, input: &[u8]) -> String {
            assert!(!input.windows(3).any(|three| three == b"abc"), "abc");
            format!("{}", input.len())
        }
    }

    #[test]
    fn what_panics_is_found_written_and_can_be_given_again() {
        let directory = std::env::temp_dir().join(format!("skein-fuzz-{}", std::process::id()));
        let limits = Limits { executions: 1_000_000, time: Duration::from_secs(60) };
        let report = Run::new(&mut Fragile, &directory).slice(1, limits).unwrap();
        let (path, what) = report.broken.unwrap();
        let input = std::fs::read(path).unwrap();
        assert!(what.contains("abc") && execute(&mut Fragile, &input).is_err());
        assert!(execute(&mut Fragile, b"ab").is_ok());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
