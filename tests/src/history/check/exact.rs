//! P5: in the end exactly the asked-for replicas run, as the hosts say, and what was acknowledged as deleted is not there.

use std::collections::BTreeSet;

use super::{History, Verdict};
use crate::history::entry::{Answer, Ask, Fault, Op};

/// The field that says how many containers a workload is to have.
pub(in crate::history) const REPLICAS: &str = "spec.replicas";
/// What the objects with containers begin with.
const WORKLOADS: &str = "deployments/";
/// How long after a creation a deletion may still not have seen it, with all connected, in ms.
const SPREAD_MS: u64 = 2000;

/// P5.
pub(super) fn what_is_asked_for_runs(history: &History) -> Verdict {
    let mut offences = Vec::new();
    let names: BTreeSet<&str> = history.ops.iter().filter_map(|op| op.object.strip_prefix(WORKLOADS)).collect();
    for held in history.finals.iter().take(1) {
        for name in &names {
            let object = held.objects.get(&format!("{WORKLOADS}{name}"));
            let wanted = object.and_then(|object| object.fields.get(REPLICAS)?.parse::<usize>().ok()).unwrap_or(0);
            let on = history.running.iter().filter(|running| running.workload == *name);
            let (mut found, mut each) = (0, Vec::new());
            for running in on {
                found += running.count;
                each.push(format!("h{}: {}", running.host, running.count));
            }
            if found != wanted {
                offences.push(format!("{found} containers of {name} run, not {wanted} ({})", each.join(", ")));
            }
        }
    }
    let deletions: Vec<&Op> =
        history.ops.iter().filter(|op| op.ask == Ask::Delete && op.was_done() && !op.uid.is_empty()).collect();
    for deletion in &deletions {
        offences.extend(returned(history, deletion));
    }
    let running: usize = history.running.iter().map(|running| running.count).sum();
    let looked_at = format!("{running} containers of {} workloads, {} deletions", names.len(), deletions.len());
    Verdict { promise: "P5 what is asked for runs, what is deleted stays away", looked_at, offences }
}

/// Where a deleted life is seen again, and where an object is there again though nobody created it again.
fn returned(history: &History, deletion: &Op) -> Vec<String> {
    let mut offences = Vec::new();
    for held in &history.finals {
        let Some(object) = held.objects.get(&deletion.object) else { continue };
        if object.uid == deletion.uid && deletion.answer == Answer::Ok {
            offences.push(format!("h{} still has it: {}", held.peer, deletion.in_words()));
        } else if !history.ops.iter().any(|op| brings_back(history, op, deletion, &object.uid)) {
            offences.push(format!("h{} has it again, and nobody created it: {}", held.peer, deletion.in_words()));
        }
    }
    let seen = |op: &&Op| {
        op.ask == Ask::Read && op.peer == deletion.peer && deletion.is_before(op) && op.object == deletion.object
    };
    let seen = history.ops.iter().filter(seen).filter(|op| op.was_done() && op.uid == deletion.uid);
    offences.extend(seen.map(|op| format!("{}\n      was read later: {}", deletion.in_words(), op.in_words())));
    offences
}

/// Whether a creation explains that the object is there with another uid than the deleted one: it made that life, nobody can
/// tell which it made, or the deleter cannot have seen it, so that it goes on as the next life.
fn brings_back(history: &History, op: &Op, deletion: &Op, uid: &str) -> bool {
    if op.ask != Ask::Create || op.answer == Answer::Refused || op.object != deletion.object {
        return false;
    }
    let apart = || {
        let meanwhile = |fault: &Fault| fault.start <= deletion.end && op.start <= fault.end;
        op.peer != deletion.peer && history.faults.iter().any(meanwhile)
    };
    op.uid.is_empty() || op.uid == uid || op.end + SPREAD_MS >= deletion.start || apart()
}
