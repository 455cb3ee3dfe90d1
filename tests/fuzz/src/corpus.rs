//! Inputs that are kept: in memory while a target runs, and as files between runs.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

/// The most inputs of a target that are kept; then a new kind of answer replaces the oldest that was found.
pub const MAX_KEPT: usize = 4096;

/// The inputs of one target.
#[derive(Debug, Default)]
pub struct Corpus {
    inputs: Vec<Vec<u8>>,
    answers: BTreeSet<u64>,
    next: usize,
}

impl Corpus {
    /// Keeps an input if its answer is of a kind that was not seen before; whether it was.
    pub fn offer(&mut self, input: &[u8], answer: &str) -> bool {
        if !self.answers.insert(kind_of(answer)) {
            return false;
        }
        if self.inputs.len() < MAX_KEPT {
            self.inputs.push(input.to_vec());
        } else {
            self.next = (self.next + 1) % MAX_KEPT;
            self.inputs[self.next] = input.to_vec();
        }
        true
    }

    /// Keeps an input whatever its answer.
    pub fn keep(&mut self, input: Vec<u8>) {
        self.inputs.push(input);
    }

    /// All of them.
    #[must_use]
    pub fn inputs(&self) -> &[Vec<u8>] {
        &self.inputs
    }

    /// How many kinds of answers were seen.
    #[must_use]
    pub fn kinds(&self) -> usize {
        self.answers.len()
    }
}

/// Answers that differ only in what they quote or count are of one kind.
fn kind_of(answer: &str) -> u64 {
    let mut hash = DefaultHasher::new();
    let mut quoted = false;
    for (number, c) in answer.chars().enumerate().take(160) {
        match c {
            '"' | '\'' | '`' => quoted = !quoted,
            _ if quoted || c.is_ascii_digit() => {}
            _ if number < 60 || c.is_ascii_alphabetic() => c.hash(&mut hash),
            _ => {}
        }
    }
    hash.finish()
}

/// The files of a target, read in the order of their names; none if there is no such directory.
///
/// # Errors
/// When one cannot be read.
pub fn read(directory: &Path) -> io::Result<Vec<Vec<u8>>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| path.is_file());
    paths.sort();
    paths.iter().map(std::fs::read).collect()
}

/// Writes an input under a name that follows from it; where.
///
/// # Errors
/// When it cannot be written.
pub fn write(directory: &Path, input: &[u8]) -> io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let mut hash = DefaultHasher::new();
    input.hash(&mut hash);
    let path = directory.join(format!("{:016x}", hash.finish()));
    std::fs::write(&path, input)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_quote_other_names_are_of_one_kind() {
        let mut corpus = Corpus::default();
        assert!(corpus.offer(b"a", "no field \"spec.a\" at 3"));
        assert!(!corpus.offer(b"b", "no field \"spec.b\" at 44"));
        assert!(corpus.offer(b"c", "not a number"));
        assert_eq!((corpus.kinds(), corpus.inputs().len()), (2, 2));
    }
}
