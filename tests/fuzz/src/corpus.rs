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
    kind_within(answer, 160)
}

/// The same, looking at the beginning only.
fn kind_within(answer: &str, letters: usize) -> u64 {
    let mut hash = DefaultHasher::new();
    let mut quoted = false;
    for (number, c) in answer.chars().enumerate().take(letters) {
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

/// The inputs of a target that come with the source, with which every run begins.
///
/// # Errors
/// When the file is there and cannot be read or is none of these.
pub fn distilled(target: &str) -> io::Result<Vec<Vec<u8>>> {
    match std::fs::read(distilled_path(target)) {
        Ok(bytes) => postcard::from_bytes(&bytes).map_err(|error| io::Error::other(format!("{target}: {error}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Writes the inputs that come with the source: of so many kinds of answers the shortest input each.
///
/// # Errors
/// When the file cannot be written.
pub fn distil(target: &str, answered: &[(Vec<u8>, String)], most: usize) -> io::Result<()> {
    let mut inputs = Vec::new();
    // First of each kind that can be told by how an answer begins, then of the finer ones.
    for letters in [24, 60, 160] {
        let mut kinds = BTreeSet::new();
        let mut by_length: Vec<&(Vec<u8>, String)> = answered.iter().collect();
        by_length.sort_by_key(|(input, _)| (input.len(), input.clone()));
        for (input, answer) in by_length {
            if inputs.len() < most && kinds.insert(kind_within(answer, letters)) && !inputs.contains(input) {
                inputs.push(input.clone());
            }
        }
    }
    let path = distilled_path(target);
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    std::fs::write(path, postcard::to_stdvec(&inputs).map_err(io::Error::other)?)
}

fn distilled_path(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
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
