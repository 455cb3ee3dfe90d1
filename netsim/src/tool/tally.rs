//! What has been run, in a small text file: a sweep that is interrupted goes on where it was. It is only ever
//! appended to.
//!
//! A section begins with a line that names the program, by its version and the hash of its bytes, and what was set by
//! hand; results of other sections do not count, since other code or other knobs may end otherwise. Then comes a line
//! for each seed: the seed, the exit code, the check or `-`, how long it took to settle in virtual milliseconds.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Failure;

/// How the first line of a section begins.
const SECTION: &str = "# netsim sweep: ";
/// How much of the program's hash is kept, in bytes.
const BUILD_BYTES: usize = 8;

/// How one seed ended, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The exit code.
    pub(super) code: u8,
    /// The check that failed, if one did.
    pub(super) check: Option<String>,
    /// How long it took to settle, in virtual milliseconds.
    pub(super) settled_ms: u64,
}

/// The file.
pub(super) struct Tally {
    path: PathBuf,
    file: File,
}

impl Tally {
    /// Opens the file, or begins one, and reads what this program has run with these settings.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is no record of sweeps; it is left as it was then.
    pub(super) fn open(path: &Path, build: &str, sets: &[String]) -> Result<(Self, BTreeMap<u64, Verdict>), Failure> {
        let wrong = |error: std::io::Error| Failure::file("keep a record in", path, &error);
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(wrong)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(wrong)?;
        // The last line may have been cut short by the end of the program.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let title =
            format!("{SECTION}build {build}; set {}", if sets.is_empty() { "-".into() } else { sets.join(" ") });
        let (known, in_section) = read(&text[..whole], &title).ok_or_else(|| {
            let what = format!("{} is no record of sweeps; name another file, or remove it", path.display());
            Failure { code: super::AMISS, what }
        })?;
        file.set_len(whole as u64).map_err(wrong)?;
        file.seek(SeekFrom::End(0)).map_err(wrong)?;
        if !in_section {
            writeln!(file, "{title}").map_err(wrong)?;
        }
        Ok((Tally { path: path.to_owned(), file }, known))
    }

    /// Adds a seed. It is in the file when this returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn add(&mut self, seed: u64, verdict: &Verdict) -> Result<(), Failure> {
        let check = verdict.check.as_deref().unwrap_or("-");
        let line = format!("{seed} {} {check} {}\n", verdict.code, verdict.settled_ms);
        self.file.write_all(line.as_bytes()).map_err(|error| Failure::file("write to", &self.path, &error))
    }
}

/// What a file says under a title, and whether its last section is of that title; `None`: it is no record of sweeps.
fn read(text: &str, title: &str) -> Option<(BTreeMap<u64, Verdict>, bool)> {
    let (mut known, mut counts) = (BTreeMap::new(), None);
    for line in text.lines() {
        if line.starts_with(SECTION) {
            counts = Some(line == title);
        } else {
            let (seed, verdict) = parse(line)?;
            if counts? {
                known.insert(seed, verdict);
            }
        }
    }
    Some((known, counts == Some(true)))
}

fn parse(line: &str) -> Option<(u64, Verdict)> {
    let mut words = line.split(' ');
    let seed = words.next()?.parse().ok()?;
    let code = words.next()?.parse().ok()?;
    let check = words.next().map(|check| (check != "-").then(|| check.to_owned()))?;
    let settled_ms = words.next()?.parse().ok()?;
    words.next().is_none().then_some((seed, Verdict { code, check, settled_ms }))
}

/// Which program this is: its version and the hash of its bytes, so that other code starts anew.
///
/// # Errors
/// When the program's file cannot be read.
pub(super) fn build() -> Result<String, Failure> {
    let path = std::env::current_exe().map_err(|error| Failure::file("find", Path::new("this program"), &error))?;
    #[expect(clippy::disallowed_methods, reason = "the shell of the simulator may read files")]
    let bytes = std::fs::read(&path).map_err(|error| Failure::file("read", &path, &error))?;
    let hash: String = Sha256::digest(&bytes).iter().take(BUILD_BYTES).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{hash}", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(code: u8, check: Option<&str>) -> Verdict {
        Verdict { code, check: check.map(str::to_owned), settled_ms: 5000 }
    }

    #[test]
    fn only_the_sections_of_this_program_and_these_knobs_count() {
        let title = format!("{SECTION}build a; set -");
        let text = format!("{title}\n1 0 - 5000\n{SECTION}build b; set -\n2 0 - 5000\n{title}\n3 4 leader 5000\n");
        let expected = BTreeMap::from([(1, verdict(0, None)), (3, verdict(4, Some("leader")))]);
        assert_eq!(read(&text, &title), Some((expected, true)));
        assert_eq!(read(&text, &format!("{SECTION}build c; set -")), Some((BTreeMap::new(), false)));
    }

    #[test]
    fn what_is_no_record_of_sweeps_is_told_apart() {
        for text in ["1 0 - 5000\n", "fn main() {}\n", "# netsim sweep: build a; set -\n1 0 -\n"] {
            assert_eq!(read(text, "# netsim sweep: build a; set -"), None, "{text}");
        }
        assert_eq!(read("", "# netsim sweep: build a; set -"), Some((BTreeMap::new(), false)));
    }
}
