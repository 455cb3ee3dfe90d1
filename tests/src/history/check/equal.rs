//! P3: after the heal all peers hold the same.

use std::collections::BTreeSet;

use super::{History, Verdict};
use crate::history::entry::Final;

/// P3.
pub(super) fn peers_agree(history: &History) -> Verdict {
    let mut offences = Vec::new();
    if let Some((first, others)) = history.finals.split_first() {
        for other in others {
            offences.extend(differences(first, other));
            if first.hash != other.hash {
                let (one, two) = (first.peer, other.peer);
                offences.push(format!("h{one} says that its hash is {}, h{two} {}", first.hash, other.hash));
            }
        }
    }
    let objects = history.finals.first().map_or(0, |held| held.objects.len());
    let settled = match history.ended {
        Some((_, Some(ms))) => format!("settled {ms} ms after the heal"),
        _ => "it did not settle in time".to_owned(),
    };
    let looked_at = format!("{objects} objects at {} peers; {settled}", history.finals.len());
    Verdict { promise: "P3 all peers hold the same", looked_at, offences }
}

fn differences(one: &Final, other: &Final) -> Vec<String> {
    let names: BTreeSet<&String> = one.objects.keys().chain(other.objects.keys()).collect();
    let differ = names.into_iter().filter(|name| one.objects.get(*name) != other.objects.get(*name));
    let words = differ.map(|name| {
        let at = |held: &Final| match held.objects.get(name) {
            Some(object) => format!("h{} has {} with {:?}", held.peer, object.uid, object.fields),
            None => format!("h{} has none", held.peer),
        };
        format!("{name}: {}, {}", at(one), at(other))
    });
    words.collect()
}
