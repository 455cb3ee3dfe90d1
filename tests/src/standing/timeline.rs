//! What was done to a lab and what its peers saw, in the order of time: a file of JSON lines that every command appends to,
//! and how it is printed.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::failure::Outcome;

/// The timeline of one lab.
pub struct Timeline {
    file: PathBuf,
}

/// What a peer said of its cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Whether it answered at all.
    pub answers: bool,
    /// Who leads, by name; empty when it knows of nobody.
    pub leader: String,
    /// In which term.
    pub term: u64,
    /// How many nodes it sees alive, itself included.
    pub alive: usize,
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// In ms since 1970.
    at_ms: u64,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Did(String),
    Saw { host: usize, seen: Seen },
}

impl Timeline {
    /// That of the lab in `directory`.
    pub fn of(directory: &Path) -> Self {
        Self { file: directory.join("timeline.jsonl") }
    }

    /// Enters what was done.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn did(&self, what: &str) -> Outcome<()> {
        self.enter(What::Did(what.to_owned()))
    }

    /// Enters what a host's peer says from now on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn saw(&self, host: usize, seen: &Seen) -> Outcome<()> {
        self.enter(What::Saw { host, seen: seen.clone() })
    }

    /// The whole of it for people, in seconds since its beginning.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn text(&self) -> Outcome<String> {
        let mut entries: Vec<Entry> = Vec::new();
        for line in std::fs::read_to_string(&self.file)?.lines() {
            // The last line may be half written.
            entries.extend(serde_json::from_str::<Entry>(line));
        }
        entries.sort_by_key(|entry| entry.at_ms);
        let begun = entries.first().map_or(0, |entry| entry.at_ms);
        let mut last = BTreeMap::new();
        // The watch and a status each enter what they saw: what a host says once more is no news.
        entries.retain(|entry| match &entry.what {
            What::Did(_) => true,
            What::Saw { host, seen } => last.insert(*host, seen.clone()).as_ref() != Some(seen),
        });
        Ok(entries.iter().map(|entry| entry.line(begun)).collect())
    }

    fn enter(&self, what: What) -> Outcome<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let entry = Entry { at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX), what };
        let line = serde_json::to_string(&entry)? + "\n";
        // One write to a file that is only appended to: the lines of two commands do not mix.
        Ok(OpenOptions::new().create(true).append(true).open(&self.file)?.write_all(line.as_bytes())?)
    }
}

impl Entry {
    fn line(&self, begun: u64) -> String {
        // Exact for as long as a lab stands.
        let seconds = std::time::Duration::from_millis(self.at_ms.saturating_sub(begun)).as_secs_f64();
        match &self.what {
            What::Did(what) => format!("{seconds:9.1} s  {what}\n"),
            What::Saw { host, seen } => format!("{seconds:9.1} s      h{host}: {}\n", seen.in_words()),
        }
    }
}

impl Seen {
    /// What it said, in a few words.
    pub fn in_words(&self) -> String {
        if !self.answers {
            return "no answer".to_owned();
        }
        let leader = if self.leader.is_empty() {
            "no leader".to_owned()
        } else {
            format!("{} leads in term {}", self.leader, self.term)
        };
        format!("{leader}, {} alive", self.alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_saw_of_a_host_is_told_once_and_a_change_in_between_is_told() -> Outcome<()> {
        let directory = std::env::temp_dir().join(format!("skein-timeline-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let timeline = Timeline::of(&directory);
        let seen = |alive| Seen { answers: true, alive, ..Seen::default() };
        for (host, alive) in [(1, 3), (1, 3), (2, 3), (1, 2), (1, 3)] {
            timeline.saw(host, &seen(alive))?;
        }
        let text = timeline.text()?;
        std::fs::remove_dir_all(&directory)?;
        let told: Vec<&str> =
            text.lines().map(|line| line.split_once(" s ").map_or(line, |(_, what)| what.trim())).collect();
        let expected =
            ["h1: no leader, 3 alive", "h2: no leader, 3 alive", "h1: no leader, 2 alive", "h1: no leader, 3 alive"];
        assert_eq!(told, expected);
        Ok(())
    }
}
