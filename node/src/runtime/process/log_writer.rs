//! Writes a container's output as lines of the form that Kubernetes' runtimes use (`time stream tag text`), and rotates
//! the file. Tag `F` ends a line, `P` is a piece of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::super::timestamp;

/// How many files there are at most, the current one included.
pub(crate) const FILES_LIMIT: usize = 3;
/// A longer line is written in pieces of this many bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Stdout,
    Stderr,
}

/// The log of one container. What cannot be written (a full disk) is dropped: the container goes on.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    file: File,
    size: u64,
    max_bytes: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl LogWriter {
    pub(crate) fn open(path: &Path, max_bytes: u64) -> io::Result<LogWriter> {
        let file = open_file(path)?;
        let size = file.metadata()?.len();
        let path = path.to_owned();
        Ok(LogWriter { path, file, size, max_bytes, stdout: Vec::new(), stderr: Vec::new() })
    }

    /// Takes output as it comes and writes the lines that are complete.
    pub(crate) fn append(&mut self, source: Source, bytes: &[u8]) {
        let mut held = std::mem::take(self.held(source));
        held.extend_from_slice(bytes);
        let mut rest = held.as_slice();
        loop {
            let window = &rest[..rest.len().min(PIECE_BYTES)];
            match window.iter().position(|&byte| byte == b'\n') {
                Some(end) => {
                    self.write_line(source, "F", &rest[..end]);
                    rest = &rest[end + 1..];
                }
                None if window.len() == PIECE_BYTES => {
                    self.write_line(source, "P", window);
                    rest = &rest[PIECE_BYTES..];
                }
                None => break,
            }
        }
        *self.held(source) = rest.to_vec();
    }

    /// Writes what came without a newline at the end.
    pub(crate) fn finish(&mut self) {
        for source in [Source::Stdout, Source::Stderr] {
            let held = std::mem::take(self.held(source));
            if !held.is_empty() {
                self.write_line(source, "P", &held);
            }
        }
    }

    fn held(&mut self, source: Source) -> &mut Vec<u8> {
        match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        }
    }

    fn write_line(&mut self, source: Source, tag: &str, text: &[u8]) {
        let stream = match source {
            Source::Stdout => "stdout",
            Source::Stderr => "stderr",
        };
        let mut line = format!("{} {stream} {tag} ", timestamp::now_text()).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        if self.size > 0 && self.size + line.len() as u64 > self.max_bytes {
            self.rotate();
        }
        if self.file.write_all(&line).is_ok() {
            self.size += line.len() as u64;
        }
    }

    /// Every file takes the place of the next older one; the oldest goes.
    fn rotate(&mut self) {
        for age in (1..FILES_LIMIT).rev() {
            // A missing file is normal while there are few, and any other failure leaves a file that is too long.
            let _ = fs::rename(aged(&self.path, age - 1), aged(&self.path, age));
        }
        if let Ok(file) = open_file(&self.path) {
            self.size = file.metadata().map_or(0, |meta| meta.len());
            self.file = file;
        }
    }
}

/// The name of a log file by age: 0 is the current one.
pub(crate) fn aged(path: &Path, age: usize) -> PathBuf {
    match age {
        0 => path.to_owned(),
        _ => path.with_extension(age.to_string()),
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Tags and texts of a log file.
    fn lines(path: &Path) -> Vec<(String, String)> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| {
                let mut parts = line.splitn(4, ' ').skip(2);
                (parts.next().unwrap().to_owned(), parts.next().unwrap().to_owned())
            })
            .collect()
    }

    #[test]
    fn lines_are_written_when_they_are_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogWriter::open(&path, 1000).unwrap();
        log.append(Source::Stdout, b"one\ntw");
        assert_eq!(lines(&path), [("F".into(), "one".into())]);
        log.append(Source::Stderr, b"other\n");
        log.append(Source::Stdout, b"o\nend");
        log.finish();
        let texts: Vec<_> = lines(&path).into_iter().map(|(tag, text)| format!("{tag} {text}")).collect();
        assert_eq!(texts, ["F one", "F other", "F two", "P end"]);
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogWriter::open(&path, 1_000_000).unwrap();
        log.append(Source::Stdout, &[b'x'; 3 * PIECE_BYTES + 10]);
        assert_eq!(lines(&path).len(), 3);
        assert_eq!(log.stdout.len(), 10);
    }

    #[test]
    fn at_most_three_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogWriter::open(&path, 200).unwrap();
        for number in 0..100 {
            log.append(Source::Stdout, format!("line {number}\n").as_bytes());
        }
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        assert!(lines(&path).last().unwrap().1 == "line 99");
        assert!(fs::metadata(aged(&path, 2)).unwrap().len() <= 200);
    }
}
