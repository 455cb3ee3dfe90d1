//! `netsim minimise` and `netsim diff` from outside.
#![allow(clippy::unwrap_used)]
#![expect(clippy::disallowed_methods, reason = "these tests run the tool itself and write files for it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A run that fails by a bound that is too narrow, whatever breaks: in the end two nodes without users are enough.
const FAILING: [&str; 8] = ["--seed", "5", "--set", "nodes=4", "--set", "busy_ms=4000", "--set", "queue_max=10"];

fn netsim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netsim")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn knob<'a>(text: &'a str, name: &str) -> &'a str {
    let knobs = text.lines().find(|line| line.starts_with("knobs: ")).unwrap();
    knobs.split(' ').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap()
}

#[test]
fn a_smaller_run_fails_by_the_same_check_and_can_be_replayed() {
    let all_faults = ["--set", "crash_every_ms=900", "--set", "partition_every_ms=800"];
    let output = netsim(&[&["minimise"], &FAILING[..], &all_faults].concat());
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.lines().any(|line| line.contains("without crash_every_ms") && line.ends_with("still fails")),
        "{text}"
    );
    assert_eq!((knob(&text, "crash_every_ms"), knob(&text, "partition_every_ms")), ("0", "0"));
    assert!(knob(&text, "nodes").parse::<u64>().unwrap() < 4, "{text}");
    assert!(knob(&text, "busy_ms").parse::<u64>().unwrap() < 4000, "{text}");
    assert_eq!(knob(&text, "user_every_ms"), "0", "{text}");
    let replay = text.lines().find_map(|line| line.strip_prefix("replay: cargo run -p skein-netsim -- ")).unwrap();
    let again = netsim(&replay.split(' ').collect::<Vec<_>>());
    assert_eq!(again.status.code(), Some(3), "{replay}");
    assert!(stdout(&again).contains("broken: bounds: more than 10 events wait"), "{}", stdout(&again));
}

#[test]
fn a_run_that_holds_is_not_made_smaller() {
    let output = netsim(&["minimise", "--seed", "1", "--set", "nodes=1", "--set", "busy_ms=500"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), "seed 1 holds: there is nothing to make smaller\n");
}

#[test]
fn two_runs_are_compared_up_to_their_first_difference() {
    let seed = ["diff", "--seed", "5", "--set", "busy_ms=2000"];
    let same = netsim(&seed);
    assert_eq!(same.status.code(), Some(0), "{}", stdout(&same));
    assert!(stdout(&same).ends_with("lines are the same\n"), "{}", stdout(&same));

    // Until the first user comes nothing is different.
    let output = netsim(&[&seed[..], &["--against-set", "user_every_ms=0"]].concat());
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("\n- --seed 5 --set busy_ms=2000\n-     5.001000 h"), "{text}");
    assert!(text.contains("\n+ --seed 5 --set busy_ms=2000 --set user_every_ms=0\n"), "{text}");

    let output = netsim(&[&seed[..], &["--against-seed", "6"]].concat());
    assert!(stdout(&output).contains("\n+ --seed 6 --set busy_ms=2000\n"), "{}", stdout(&output));
}

fn written(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn two_printed_traces_are_compared() {
    let printed = stdout(&netsim(&["run", "--seed", "5", "--set", "busy_ms=2000", "--trace"]));
    let changed = printed.replacen(" request 1: ", " request one: ", 1);
    let (first, second) = (written("first", &printed), written("second", &changed));
    let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
    assert_eq!(netsim(&["diff", first, first]).status.code(), Some(0));
    let output = netsim(&["diff", first, second]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let mark = |sign: char| text.lines().filter(|line| line.starts_with(sign)).nth(1).unwrap();
    assert!(mark('-').contains(" request 1: "), "{text}");
    assert!(mark('+').contains(" request one: "), "{text}");

    let other = written("no-trace", "hello\n");
    let output = netsim(&["diff", first, other.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("holds no trace"));
}

#[test]
fn a_comparison_with_nothing_is_refused() {
    for args in [&["diff"][..], &["diff", "one"], &["diff", "one", "two", "--seed", "1"]] {
        assert_eq!(netsim(args).status.code(), Some(2), "{args:?}");
    }
}
