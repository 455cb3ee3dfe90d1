//! Reads a container's log files, oldest first, and goes on through rotations while the container writes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::super::logs::LineFilter;
use super::log_writer::{FILES_LIMIT, aged};

/// How much is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// A place in a log. Blocking: run it where blocking is allowed.
#[derive(Debug)]
pub(crate) struct LogReader {
    path: PathBuf,
    /// The file being read, then the newer ones. They stay readable when they are rotated away.
    files: VecDeque<(u64, File)>,
    /// The beginning of a line whose end was not written yet.
    unfinished: Vec<u8>,
}

impl LogReader {
    /// Opens the log at `path` at its beginning, or so that the last `tail_lines` lines follow.
    pub(crate) fn open(path: &Path, tail_lines: Option<u64>) -> io::Result<LogReader> {
        let mut files = files_after(path, None)?;
        if let Some(lines) = tail_lines {
            skip_to_tail(&mut files, lines)?;
        }
        Ok(LogReader { path: path.to_owned(), files, unfinished: Vec::new() })
    }

    /// Reads on, as far as a chunk goes, and adds what `filter` lets through to `out`. `false`: nothing more is there now.
    pub(crate) fn read(&mut self, filter: &mut LineFilter, out: &mut Vec<u8>) -> io::Result<bool> {
        if self.files.is_empty() {
            self.files = files_after(&self.path, None)?;
        }
        let Some(current) = self.files.front().map(|(inode, _)| *inode) else { return Ok(false) };
        if self.read_chunk(filter, out)? {
            return Ok(true);
        }
        if self.files.len() == 1 {
            let newer = files_after(&self.path, Some(current))?;
            if newer.is_empty() {
                return Ok(false);
            }
            self.files.extend(newer);
        }
        // It was rotated away: what came between the last read and the rotation is the last of it.
        if self.read_chunk(filter, out)? {
            return Ok(true);
        }
        self.files.pop_front();
        self.unfinished.clear();
        Ok(true)
    }

    fn read_chunk(&mut self, filter: &mut LineFilter, out: &mut Vec<u8>) -> io::Result<bool> {
        let Some((_, file)) = self.files.front_mut() else { return Ok(false) };
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = file.read(&mut chunk)?;
        self.unfinished.extend_from_slice(&chunk[..count]);
        let Some(end) = self.unfinished.iter().rposition(|&byte| byte == b'\n') else { return Ok(count > 0) };
        let rest = self.unfinished.split_off(end + 1);
        for line in self.unfinished.split_inclusive(|&byte| byte == b'\n') {
            pass(line, filter, out);
        }
        self.unfinished = rest;
        Ok(count > 0)
    }
}

/// One stored line, newline included, as the container wrote it. What is no such line is left out.
fn pass(line: &[u8], filter: &mut LineFilter, out: &mut Vec<u8>) {
    let mut parts = line.splitn(4, |&byte| byte == b' ');
    let (Some(stamp), Some(_source), Some(tag), Some(text)) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let Ok(stamp) = std::str::from_utf8(stamp) else { return };
    let text = if tag == b"P" { text.strip_suffix(b"\n").unwrap_or(text) } else { text };
    filter.push(stamp, text, out);
}

/// The log's files, oldest first, that are newer than the one with inode `after`; all if that one is gone.
///
/// They are opened newest first, so that a rotation meanwhile shows a file twice instead of hiding one.
fn files_after(path: &Path, after: Option<u64>) -> io::Result<VecDeque<(u64, File)>> {
    let mut files: VecDeque<(u64, File)> = VecDeque::new();
    for age in 0..FILES_LIMIT {
        let file = match File::open(aged(path, age)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        if Some(inode) == after {
            break;
        }
        if files.iter().all(|(known, _)| *known != inode) {
            files.push_front((inode, file));
        }
    }
    Ok(files)
}

/// Drops the files that come before the last `lines` lines, and moves on within the first that is left.
fn skip_to_tail(files: &mut VecDeque<(u64, File)>, lines: u64) -> io::Result<()> {
    let mut wanted = lines;
    for index in (0..files.len()).rev() {
        let (found, start) = tail_start(&mut files[index].1, wanted)?;
        files[index].1.seek(SeekFrom::Start(start))?;
        wanted = wanted.saturating_sub(found);
        if wanted == 0 {
            files.drain(..index);
            break;
        }
    }
    Ok(())
}

/// Where the last `wanted` lines of a file begin, and how many there are up to that many.
fn tail_start(file: &mut File, wanted: u64) -> io::Result<(u64, u64)> {
    let mut position = file.metadata()?.len();
    if wanted == 0 {
        return Ok((0, position));
    }
    let mut newlines = 0;
    while position > 0 {
        let length = position.min(CHUNK_BYTES as u64);
        position -= length;
        let mut chunk = vec![0; usize::try_from(length).unwrap_or(CHUNK_BYTES)];
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut chunk)?;
        for (at, _) in chunk.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            // The newline before the first wanted line ends another one.
            if newlines == wanted {
                return Ok((newlines, position + at as u64 + 1));
            }
            newlines += 1;
        }
    }
    Ok((newlines, 0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::log_writer::{LogWriter, Source};
    use super::*;
    use crate::runtime::LogOptions;

    fn read_all(reader: &mut LogReader) -> String {
        let mut filter = LineFilter::new(&LogOptions::default());
        let mut out = Vec::new();
        while reader.read(&mut filter, &mut out).unwrap() {}
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_reader_follows_through_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogWriter::open(&path, 200).unwrap();
        let mut reader = LogReader::open(&path, None).unwrap();
        let (mut written, mut read) = (String::new(), String::new());
        for number in 0..50 {
            let line = format!("line {number}\n");
            log.append(Source::Stdout, line.as_bytes());
            written.push_str(&line);
            if number % 7 == 0 {
                read.push_str(&read_all(&mut reader));
            }
        }
        read.push_str(&read_all(&mut reader));
        assert_eq!(read, written);
    }

    #[test]
    fn the_tail_spans_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogWriter::open(&path, 200).unwrap();
        for number in 0..20 {
            log.append(Source::Stdout, format!("{number}\n").as_bytes());
        }
        for lines in [0, 1, 2, 6, 9] {
            let expected: String = (20 - lines..20).map(|number| format!("{number}\n")).collect();
            assert_eq!(read_all(&mut LogReader::open(&path, Some(lines)).unwrap()), expected, "tail of {lines}");
        }
        let all = read_all(&mut LogReader::open(&path, Some(1000)).unwrap());
        assert_eq!(all, read_all(&mut LogReader::open(&path, None).unwrap()));
    }

    #[test]
    fn a_log_that_does_not_exist_yet_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut reader = LogReader::open(&path, Some(3)).unwrap();
        assert_eq!(read_all(&mut reader), "");
        LogWriter::open(&path, 200).unwrap().append(Source::Stdout, b"now\n");
        assert_eq!(read_all(&mut reader), "now\n");
    }
}
