//! The lines of a history: one JSON object each. Times are milliseconds since its beginning, by a clock that never goes back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Fields of an object by name, as far as clients of the judge write them.
pub type Fields = BTreeMap<String, String>;
/// Objects by collection and name, such as `configmaps/keep-1`.
pub type Objects = BTreeMap<String, Object>;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "lowercase")]
pub enum Line {
    /// The first line.
    Begun(Begun),
    /// What one client asked, and what it was answered.
    Op(Op),
    /// What was broken, from when until when.
    Fault(Fault),
    /// What one peer holds after all is healed and quiet.
    Final(Final),
    /// How many containers of a workload run on a host then, as the host says.
    Running(Running),
    /// The last line.
    Ended {
        /// When.
        at: u64,
        /// How long it took after the last heal until the peers agreed and what ran stayed as it was; nothing when that
        /// did not happen in time.
        settled_after: Option<u64>,
    },
}

/// How a history was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// What its faults were drawn from.
    pub seed: u64,
    /// How many hosts there were, numbered 1 and on.
    pub hosts: usize,
    /// What ran the containers.
    pub runtime: String,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// Create an object with these fields.
    Create,
    /// Set these fields of an object, whatever they are now.
    Set,
    /// Delete an object.
    Delete,
    /// Read an object.
    Read,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Done.
    Ok,
    /// Done, with a Warning that fewer disks have it than was asked for.
    Warned,
    /// Not done, and certainly so: the peer said why, or was never reached.
    Refused,
    /// Nobody can tell: no answer in time, the connection broke, or the peer said that it does not know.
    Unknown,
}

/// One operation of one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// A number that no other operation has.
    pub id: u64,
    /// Who asked.
    pub client: String,
    /// The number of the peer that was asked.
    pub peer: usize,
    /// When it was asked.
    pub start: u64,
    /// When the answer was there, or was given up on.
    pub end: u64,
    /// What was asked.
    pub ask: Ask,
    /// Of which object.
    pub object: String,
    /// What was to be written, or was read.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields,
    /// The uid of the object's life that the answer was about; empty when the answer names none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// What became of it.
    pub answer: Answer,
    /// The HTTP status; 0 without one.
    pub code: u16,
    /// The Warning, or what went wrong, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// In words.
    pub what: String,
    /// The hosts that it happened to; the others only missed them.
    pub hosts: Vec<usize>,
    /// Whether their daemons did not run meanwhile, or not all the while.
    pub down: bool,
    /// Whether they were lost for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// When it began, at the earliest.
    pub start: u64,
    /// When it was over: healed, and the daemons ready.
    pub end: u64,
}

/// What one peer holds in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Final {
    /// Which peer.
    pub peer: usize,
    /// All objects that the judge's clients may write.
    pub objects: Objects,
    /// What the peer says is the hash of everything that it holds.
    pub hash: String,
}

/// One object as a peer shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its uid.
    pub uid: String,
    /// Its fields.
    pub fields: Fields,
}

/// What runs in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The name of the Deployment.
    pub workload: String,
    /// Where.
    pub host: usize,
    /// How many containers.
    pub count: usize,
}

impl Fault {
    /// Until when calls at its hosts are not held to anything because of it: what is lost for good never comes back, however
    /// long its clients go on asking.
    pub fn until(&self) -> u64 {
        if self.lost { u64::MAX } else { self.end }
    }
}

impl Op {
    /// Whether it asked for a change.
    pub fn is_write(&self) -> bool {
        self.ask != Ask::Read
    }

    /// Whether it sets fields: a creation or an edit.
    pub fn sets(&self) -> bool {
        matches!(self.ask, Ask::Create | Ask::Set)
    }

    /// Whether what it asked for was done, with a Warning or without.
    pub fn was_done(&self) -> bool {
        matches!(self.answer, Answer::Ok | Answer::Warned)
    }

    /// Whether it was over before `other` was asked, so that `other` came later for everybody. What nobody can tell may
    /// still be done at any time.
    pub fn is_before(&self, other: &Op) -> bool {
        self.answer != Answer::Unknown && self.end < other.start
    }

    /// The operation in a line, for messages.
    pub fn in_words(&self) -> String {
        let fields: Vec<String> = self.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let ask = format!("{:?} {}", self.ask, self.object).to_lowercase();
        let detail = if self.detail.is_empty() { String::new() } else { format!(": {}", self.detail) };
        format!(
            "#{} {}..{} ms h{} {} {ask} {} -> {} {}{detail}",
            self.id,
            self.start,
            self.end,
            self.peer,
            self.client,
            fields.join(" "),
            format!("{:?}", self.answer).to_lowercase(),
            self.code
        )
    }
}
