//! What peers send: frames as they are, and words that a member has signed, however wrong they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use skein_core::node::{Effect, Input, question_frame};
use skein_core::request::{Durability, WriteOp, WriteRequest};
use skein_crdt_state::{Body, Edit, Envelope, Hlc, Kind, NameKey, ObjectKey, ObjectState, Operation, Scalar, Sequence};

use super::Target;
use crate::cluster::{Cluster, cluster_id, id, keyring, keys};

/// The most seeds that are taken of a cluster's traffic.
const MAX_SEEDS: usize = 400;
/// The author of hostile words: a member.
const HOSTILE: usize = 2;

/// Frames of a member's. They reach membership, election, anti-entropy, decisions and all that is pushed.
pub(super) struct Frames(Cluster);

impl Frames {
    pub(super) fn new() -> Self {
        Frames(Cluster::formed())
    }
}

impl Target for Frames {
    fn name(&self) -> &'static str {
        "frames"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        // Of those that are much the same a few are enough: what they are says the first byte, and how long they are.
        let mut seen = std::collections::BTreeMap::new();
        for (_, _, bytes) in &self.0.frames {
            let kind = (bytes.first().copied(), bytes.get(1).copied(), bytes.len() / 32);
            seen.entry(kind).or_insert_with(|| bytes.to_vec());
        }
        seen.into_values().take(MAX_SEEDS).collect()
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let now = self.0.now();
        self.0.nodes[0].handle(now, Input::Frame { from: id(HOSTILE), bytes: input.into() });
        drained(&mut self.0, 0)
    }

    fn begin_anew(&mut self) {
        self.0 = Cluster::formed();
    }
}

/// Writes that a member wants decided, under the seal that such questions have.
pub(super) struct Questions {
    cluster: Cluster,
    token: u64,
}

impl Questions {
    pub(super) fn new() -> Self {
        Questions { cluster: Cluster::formed(), token: 0 }
    }
}

impl Target for Questions {
    fn name(&self) -> &'static str {
        "questions"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let store = self.cluster.nodes[0].store();
        let edits = vec![Edit::set("data.a", Scalar::str("x")), Edit::set("spec.holderIdentity", Scalar::str("me"))];
        let write = |op: WriteOp| WriteRequest {
            op,
            durability: Durability::One,
            user: "user".into(),
            manager: "fuzz".into(),
            operation: Operation::Update,
            request_id: "1".into(),
        };
        let of_object = |object: &ObjectState| {
            let (key, if_heads) = (object.key().clone(), Some(object.heads().to_vec()));
            let edit = WriteOp::Edit { key: key.clone(), edits: edits.clone(), if_heads: if_heads.clone() };
            [
                edit,
                WriteOp::Delete { key: key.clone(), if_heads },
                WriteOp::Create { name: key.name_key(), edits: edits.clone() },
            ]
        };
        let ops = store.objects().flat_map(|object| of_object(object));
        ops.filter_map(|op| postcard::to_stdvec(&write(op)).ok()).take(MAX_SEEDS).collect()
    }

    fn execute(&mut self, input: &[u8]) -> String {
        self.token += 1;
        let (epoch, now) = (self.cluster.nodes[0].store().current_epoch(), self.cluster.now());
        let frame = question_frame(&keyring(), epoch, &cluster_id(), &id(HOSTILE), self.token, input);
        let Some(frame) = frame else { return "no key".into() };
        self.cluster.nodes[0].handle(now, Input::Frame { from: id(HOSTILE), bytes: frame.into() });
        drained(&mut self.cluster, 0)
    }

    fn begin_anew(&mut self) {
        *self = Questions::new();
    }
}

/// What comes of an input, without a network or a disk.
fn drained(cluster: &mut Cluster, number: usize) -> String {
    let (mut sent, mut persisted, mut said) = (0, 0, String::new());
    let mut shown = BTreeSet::new();
    while let Some(effect) = cluster.nodes[number].poll_effect() {
        match effect {
            // What an answer is says its first byte, and what it says has about its length.
            Effect::Send { bytes, .. } => {
                sent = sent * 31 % 997 + usize::from(bytes.first().copied().unwrap_or(0)) + bytes.len() / 16 + 1;
            }
            Effect::Changed(changes) => {
                let new = changes.iter().filter_map(|change| change.new.as_ref());
                new.for_each(|new| note_shape(&new.value, "", &mut shown));
            }
            Effect::Persist { batch, .. } => {
                persisted += 1;
                let now = cluster.now();
                cluster.nodes[number].handle(now, Input::Persisted(batch));
            }
            Effect::Offence { what, .. } => said.push_str(&what),
            Effect::Notice(text) => said.push_str(&text),
            _ => {}
        }
    }
    // Which frames answer is part of the kind, as letters, since numbers are not.
    let letters: String = sent.to_string().bytes().map(|digit| char::from(digit + 49)).collect();
    let said: String = said.chars().take(60).collect();
    let shown: Vec<String> = shown.into_iter().collect();
    format!("{letters} {} {said} {}", if persisted > 0 { "persisted" } else { "" }, shown.join(""))
}

/// Notes which fields clients are shown, a letter or two for each, so that what shows others is of another kind.
fn note_shape(value: &Value, path: &str, shown: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| note_shape(value, &format!("{path}.{name}"), shown));
        }
        Value::Array(items) => items.iter().for_each(|value| note_shape(value, path, shown)),
        _ => {
            let hash = path.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
            let letter = |number: u32| char::from(b'a' + u8::try_from(number % 26).unwrap_or(0));
            shown.insert([letter(hash), letter(hash / 26)].iter().collect());
        }
    }
}

/// Bodies that a member has signed: changes, blobs, deletions, reports, statements about members.
pub(super) struct Words {
    cluster: Cluster,
    number: u64,
}

impl Words {
    pub(super) fn new() -> Self {
        Words { cluster: Cluster::formed(), number: 1 << 40 }
    }
}

impl Target for Words {
    fn name(&self) -> &'static str {
        "words"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        bodies(&self.cluster).iter().filter_map(|body| postcard::to_stdvec(body).ok()).take(MAX_SEEDS).collect()
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let Ok((body, [])) = postcard::take_from_bytes::<Body>(input) else { return "no body".into() };
        self.number += 1;
        heard(&mut self.cluster, self.number, &body)
    }

    fn begin_anew(&mut self) {
        *self = Words::new();
    }
}

/// Chunks of Automerge in a change that a member has signed.
pub(super) struct Chunks {
    cluster: Cluster,
    number: u64,
    key: ObjectKey,
}

impl Chunks {
    pub(super) fn new() -> Self {
        let namespace = NameKey::root(&Kind::new("Namespace"), "default").life(1);
        let key = namespace.name_of_child(&Kind::new("Deployment.apps"), "web").life(1);
        Chunks { cluster: Cluster::formed(), number: 1 << 40, key }
    }
}

impl Target for Chunks {
    fn name(&self) -> &'static str {
        "chunks"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let chunk = |body| if let Body::Change { chunk, .. } = body { Some(chunk.to_vec()) } else { None };
        bodies(&self.cluster).into_iter().filter_map(chunk).take(MAX_SEEDS).collect()
    }

    fn execute(&mut self, input: &[u8]) -> String {
        self.number += 1;
        // Half of them with the sum that Automerge asks for, or nothing gets behind it.
        let chunk = if self.number.is_multiple_of(2) { with_sum(input) } else { input.to_vec() };
        let body = Body::Change { key: self.key.clone(), layout: 1, chunk };
        heard(&mut self.cluster, self.number, &body)
    }

    fn begin_anew(&mut self) {
        *self = Chunks::new();
    }
}

/// A chunk with the sum that belongs to its contents: four bytes behind the magic number, the beginning of a hash of the rest.
fn with_sum(chunk: &[u8]) -> Vec<u8> {
    let mut chunk = chunk.to_vec();
    if chunk.len() > 8 {
        let sum = Sha256::digest(&chunk[8..]);
        chunk[4..8].copy_from_slice(&sum[..4]);
    }
    chunk
}

/// Sections of a member's own report, which nodes read and show.
pub(super) struct Reports {
    cluster: Cluster,
    number: u64,
}

impl Reports {
    pub(super) fn new() -> Self {
        Reports { cluster: Cluster::formed(), number: 1 << 40 }
    }
}

impl Target for Reports {
    fn name(&self) -> &'static str {
        "reports"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        // The section's length, its name, and what is said.
        let section = |body| match body {
            Body::Report { section, body, .. } => {
                Some([&[u8::try_from(section.len()).unwrap_or(0)], section.as_bytes(), &body[..]].concat())
            }
            _ => None,
        };
        bodies(&self.cluster).into_iter().filter_map(section).take(MAX_SEEDS).collect()
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let Some((length, rest)) = input.split_first() else { return "nothing".into() };
        let Some((section, said)) = rest.split_at_checked(usize::from(*length)) else { return "short".into() };
        self.number += 1;
        let section: Arc<str> = String::from_utf8_lossy(section).into();
        let body = Body::Report { section: section.as_ref().into(), stamp: Hlc(self.number), body: said.into() };
        heard(&mut self.cluster, self.number, &body)
    }

    fn begin_anew(&mut self) {
        *self = Reports::new();
    }
}

/// All bodies that were said while the cluster formed.
fn bodies(cluster: &Cluster) -> Vec<Body> {
    let store = cluster.nodes[0].store();
    let reports = store.reports().map(|(_, _, report)| report.envelope.clone());
    let changes = store.objects().flat_map(|object| object.changes().values().map(|change| change.envelope.clone()));
    let rows = cluster.disks[0].values().filter_map(|value| Envelope::decode(value).ok()).map(Arc::new);
    let all = reports.chain(changes).chain(rows);
    all.filter_map(|envelope| envelope.open(&cluster_id()).ok()).collect()
}

/// A node hears what a member has signed, as news that was pushed.
fn heard(cluster: &mut Cluster, number: u64, body: &Body) -> String {
    let sequence = Sequence { boot: cluster.nodes[HOSTILE].store().boot(), number };
    let said = Arc::new(Envelope::seal(&keys(HOSTILE), &cluster_id(), sequence, body));
    let frame = skein_core::node::push_frame(vec![said]);
    let now = cluster.now();
    let before = cluster.nodes[0].store().drained();
    cluster.nodes[0].handle(now, Input::Frame { from: id(HOSTILE), bytes: frame.into() });
    let changed = if cluster.nodes[0].store().drained() > before { "taken in" } else { "nothing changed" };
    format!("{changed} {}", drained(cluster, 0))
}
