//! P2: what was acknowledged without a Warning is there in the end, unless somebody wrote the same field later or at the same
//! time, or deleted the object. And a peer's reads see what was written at it before.
//!
//! Values are unique among the writers of a field, or at least no two peers write the same one, so a value tells its writers.
//! All hosts share one clock: of two writes that knew nothing of each other, the later one counts. So a value whose every
//! writer was done before an acknowledged write was asked is no excuse for that write's absence.

use std::collections::{BTreeMap, BTreeSet};

use super::{History, Verdict};
use crate::history::entry::{Answer, Ask, Object, Op};

/// What was seen of an object, by whom.
struct Sight<'a> {
    who: String,
    /// `None`: it was not there.
    object: Option<&'a Object>,
}

/// P2.
pub(super) fn acknowledged_writes_are_kept(history: &History) -> Verdict {
    let mut by_object: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in &history.ops {
        by_object.entry(&op.object).or_default().push(op);
    }
    let (mut kept, mut reads) = (0, 0);
    let mut offences = BTreeSet::new();
    for (name, ops) in &by_object {
        for held in &history.finals {
            let sight = Sight { who: format!("h{} in the end", held.peer), object: held.objects.get(*name) };
            for write in ops.iter().filter(|op| op.sets() && op.answer == Answer::Ok) {
                kept += 1;
                offences.extend(missing(write, &sight, ops, u64::MAX));
            }
            offences.extend(held.objects.get(*name).into_iter().flat_map(|object| from_nowhere(name, object, ops)));
        }
        for read in ops.iter().filter(|op| observes(op)) {
            reads += 1;
            let object = Object { uid: read.uid.clone(), fields: read.fields.clone() };
            let sight = Sight { who: read.in_words(), object: (read.code != 404).then_some(&object) };
            let own = ops.iter().filter(|op| op.peer == read.peer && op.sets() && op.was_done() && op.is_before(read));
            offences.extend(own.filter_map(|write| missing(write, &sight, ops, read.end)));
        }
    }
    let looked_at =
        format!("{kept} acknowledged writes sought at the peers, {reads} reads at the peer of earlier writes");
    Verdict { promise: "P2 acknowledged writes are kept", looked_at, offences: offences.into_iter().collect() }
}

/// Whether an operation says what there was: a read, or the answer that there was nothing.
fn observes(op: &Op) -> bool {
    op.ask == Ask::Read && op.answer == Answer::Ok || op.ask != Ask::Create && op.code == 404
}

/// Why `write` is missing in what was seen until `seen_at`; `None` when it is there, or something excuses it.
fn missing(write: &Op, sight: &Sight<'_>, ops: &[&Op], seen_at: u64) -> Option<String> {
    let Some(object) = sight.object.filter(|object| object.uid == write.uid) else {
        let ends = |op: &&&Op| {
            op.ask == Ask::Delete
                && op.answer != Answer::Refused
                && op.start <= seen_at
                && (op.uid.is_empty() || op.uid == write.uid)
        };
        if ops.iter().any(|op| ends(&op)) {
            return None;
        }
        let instead = if sight.object.is_some() { "another life of it is there" } else { "it is not there" };
        return Some(format!("nobody deleted it, yet {instead}: {}\n      seen by {}", write.in_words(), sight.who));
    };
    write.fields.iter().find_map(|(field, value)| {
        let Some(found) = object.fields.get(field) else {
            return Some(format!("{field} is gone: {}\n      seen by {}", write.in_words(), sight.who));
        };
        let writers: Vec<&&Op> = ops.iter().filter(|op| may_have_set(op, field, found)).collect();
        // A value that nobody wrote is another offence.
        if found == value || writers.is_empty() || writers.iter().any(|writer| !writer.is_before(write)) {
            return None;
        }
        let older: Vec<String> = writers.iter().map(|writer| writer.in_words()).collect();
        Some(format!(
            "an older value of {field} stands: {}\n      instead {}\n      seen by {}",
            write.in_words(),
            older.join(" or "),
            sight.who
        ))
    })
}

/// Whether the value may be this operation's, in whichever life: a creation that a deleter had not seen goes on as the next
/// life, with what was written to it.
fn may_have_set(op: &Op, field: &str, value: &str) -> bool {
    op.sets() && op.answer != Answer::Refused && op.fields.get(field).is_some_and(|written| written == value)
}

/// Values that no operation wrote, or only refused ones.
fn from_nowhere(name: &str, object: &Object, ops: &[&Op]) -> Vec<String> {
    let unwritten = object.fields.iter().filter(|(field, value)| !ops.iter().any(|op| may_have_set(op, field, value)));
    let words = unwritten.map(|(field, value)| {
        let refused = ops.iter().find(|op| op.fields.get(field) == Some(value) && op.answer == Answer::Refused);
        let by =
            refused.map_or_else(|| "nobody wrote it".to_owned(), |op| format!("it was refused: {}", op.in_words()));
        format!("{name}: {field}={value} is there, and {by}")
    });
    words.collect()
}
