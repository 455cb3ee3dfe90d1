//! Knobs by their names: setting one from a text, telling in which two runs differ, and which of them are faults. It
//! follows from the fields of [`Knobs`]; a new knob needs nothing here.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::knobs::Knobs;

/// How many seeds are asked for which knobs are faults. Each seed turns about half of them on.
const ASKED_SEEDS: u64 = 64;
/// The knob that has an argument of its own.
const SEED: &str = "seed";

/// Why a knob was not set. The knobs are as they were.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KnobError {
    /// There is no `=`, or nothing before it.
    #[error("\"{0}\" sets no knob; write NAME=VALUE, such as nodes=4")]
    NoPair(String),
    /// No knob has this name.
    #[error("there is no knob \"{name}\"; the knobs are {}", .known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// All names.
        known: Vec<String>,
    },
    /// The knob cannot have this value.
    #[error("the knob {name} cannot be \"{value}\"; this seed has {name}={now}")]
    Value {
        /// The knob.
        name: String,
        /// What it was to be.
        value: String,
        /// What it is.
        now: String,
    },
}

/// Sets one knob from `NAME=VALUE`.
///
/// # Errors
/// When there is no such knob, or it cannot have that value; the knobs are as they were then.
pub fn set(knobs: &mut Knobs, pair: &str) -> Result<(), KnobError> {
    let (name, value) = pair.split_once('=').ok_or_else(|| KnobError::NoPair(pair.to_owned()))?;
    let (name, value) = (name.trim(), value.trim());
    let mut fields = fields(knobs);
    let Some(field) = fields.get_mut(name).filter(|_| name != SEED) else {
        return Err(KnobError::Unknown { name: name.to_owned(), known: names() });
    };
    let now = text(field);
    *field = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    let refused = || KnobError::Value { name: name.to_owned(), value: value.to_owned(), now: now.clone() };
    let changed: Knobs = serde_json::from_value(Value::Object(fields)).map_err(|_| refused())?;
    // A world without a host has nobody who could found the cluster.
    if changed.nodes == 0 {
        return Err(refused());
    }
    *knobs = changed;
    Ok(())
}

/// The knobs of a seed with some of them set.
///
/// # Errors
/// The first that cannot be set.
pub fn drawn(seed: u64, pairs: &[String]) -> Result<Knobs, KnobError> {
    let mut knobs = Knobs::draw(seed);
    pairs.iter().try_for_each(|pair| set(&mut knobs, pair))?;
    Ok(knobs)
}

/// What must be set in `from` to get `to`, the seed aside: `NAME=VALUE`, by name.
#[must_use]
pub fn differences(from: &Knobs, to: &Knobs) -> Vec<String> {
    let values = fields(to);
    let names = differing(to, from).into_iter().filter(|name| name != SEED);
    names.filter_map(|name| Some(format!("{name}={}", text(values.get(&name)?)))).collect()
}

/// The arguments of `netsim` that give these knobs again.
#[must_use]
pub fn arguments(knobs: &Knobs) -> String {
    let sets = differences(&Knobs::draw(knobs.seed), knobs);
    let sets = sets.iter().map(|pair| format!(" --set {}", quoted(pair)));
    format!("--seed {}{}", knobs.seed, sets.collect::<String>())
}

/// The names of all knobs that can be set.
#[must_use]
pub fn names() -> Vec<String> {
    fields(&Knobs::draw(0)).keys().filter(|name| *name != SEED).cloned().collect()
}

/// Every knob with its value, by name.
#[must_use]
pub fn values(knobs: &Knobs) -> Vec<(String, String)> {
    fields(knobs).iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// The names of the knobs that are faults: those that [`Knobs::calm`] turns off.
#[must_use]
pub fn fault_kinds() -> Vec<String> {
    let of_seed = |seed| {
        let drawn = Knobs::draw(seed);
        differing(&drawn, &Knobs::calm(seed, drawn.nodes))
    };
    (0..ASKED_SEEDS).flat_map(of_seed).collect::<BTreeSet<String>>().into_iter().collect()
}

/// Which of these kinds of faults are on.
#[must_use]
pub fn faults_on(knobs: &Knobs, kinds: &[String]) -> Vec<String> {
    let mut on = differing(knobs, &Knobs::calm(knobs.seed, knobs.nodes));
    // What else was set by hand is no fault.
    on.retain(|name| kinds.contains(name));
    on
}

/// The same with one kind of fault off.
#[must_use]
pub fn without(knobs: &Knobs, fault: &str) -> Knobs {
    let mut fields = fields(knobs);
    if let (Some(field), Some(off)) = (fields.get_mut(fault), self::fields(&Knobs::calm(knobs.seed, 1)).get(fault)) {
        *field = off.clone();
    }
    serde_json::from_value(Value::Object(fields)).unwrap_or_else(|_| knobs.clone())
}

fn differing(one: &Knobs, other: &Knobs) -> Vec<String> {
    let (one, other) = (fields(one), fields(other));
    one.into_iter().filter(|(name, value)| other.get(name) != Some(value)).map(|(name, _)| name).collect()
}

fn fields(knobs: &Knobs) -> Map<String, Value> {
    match serde_json::to_value(knobs) {
        Ok(Value::Object(fields)) => fields,
        // A struct of plain fields is always an object.
        _ => Map::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// As a shell wants it.
fn quoted(pair: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "=_-.,:".contains(c);
    if pair.chars().all(plain) { pair.to_owned() } else { format!("'{}'", pair.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_knob_can_be_set_to_what_another_seed_has() {
        let mut knobs = Knobs::draw(1);
        for (name, value) in values(&Knobs::draw(2)).into_iter().filter(|(name, _)| name != SEED) {
            set(&mut knobs, &format!("{name}={value}")).unwrap();
        }
        assert_eq!(knobs, Knobs { seed: 1, ..Knobs::draw(2) });
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_ones() {
        let mut knobs = Knobs::draw(1);
        let said = set(&mut knobs, "node=4").unwrap_err().to_string();
        assert!(said.contains("\"node\"") && said.contains("nodes") && said.contains("partition_every_ms"), "{said}");
        assert!(!said.contains(" seed,"), "{said}");
        assert!(set(&mut knobs, "seed=4").is_err());
    }

    #[test]
    fn a_wrong_value_changes_nothing() {
        let mut knobs = Knobs::draw(1);
        for pair in ["nodes=-1", "nodes=0", "nodes=", "nodes=many", "nodes", "loss_permille=1.5"] {
            assert!(set(&mut knobs, pair).is_err(), "{pair}");
        }
        assert_eq!(knobs, Knobs::draw(1));
    }

    #[test]
    fn the_arguments_give_the_same_knobs_again() {
        let mut knobs = Knobs::draw(7);
        assert_eq!(arguments(&knobs), "--seed 7");
        set(&mut knobs, "nodes=12").unwrap();
        set(&mut knobs, "busy_ms=1234").unwrap();
        assert_eq!(arguments(&knobs), "--seed 7 --set busy_ms=1234 --set nodes=12");
        let pairs = differences(&Knobs::draw(7), &knobs);
        assert_eq!(drawn(7, &pairs).unwrap(), knobs);
    }

    #[test]
    fn a_calm_cluster_has_no_faults_and_another_has_those_of_its_seed() {
        let kinds = fault_kinds();
        for kind in ["partition_every_ms", "one_way_every_ms", "crash_every_ms", "loss_permille"] {
            assert!(kinds.iter().any(|known| known == kind), "{kind} is not among {kinds:?}");
        }
        for kind in ["nodes", "busy_ms", "disk_us", "user_every_ms", "settle_ms"] {
            assert!(!kinds.iter().any(|known| known == kind), "{kind} is among {kinds:?}");
        }
        assert_eq!(faults_on(&Knobs::calm(3, 4), &kinds), Vec::<String>::new());
        let mut drawn = Knobs::draw(3);
        (drawn.faults.crash_every_ms, drawn.faults.pause_every_ms) = (5000, 0);
        let on = faults_on(&drawn, &kinds);
        assert!(on.contains(&"crash_every_ms".to_owned()) && !on.contains(&"pause_every_ms".to_owned()), "{on:?}");
    }

    #[test]
    fn one_fault_is_turned_off_and_the_rest_stays() {
        let mut knobs = Knobs::draw(3);
        (knobs.faults.crash_every_ms, knobs.faults.pause_every_ms) = (5000, 6000);
        let calmer = without(&knobs, "crash_every_ms");
        knobs.faults.crash_every_ms = 0;
        assert_eq!(calmer, knobs);
        assert_eq!(without(&knobs, "no such fault"), knobs);
    }
}
