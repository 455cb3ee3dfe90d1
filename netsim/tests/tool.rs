//! `netsim run` from outside: the same seed gives the same run in two processes, how a run ended is in the exit code, a
//! failure names the command that replays it, and wrong arguments say what is wrong.
#![allow(clippy::unwrap_used)]
#![expect(clippy::disallowed_methods, reason = "this test runs the tool itself")]

use std::process::{Command, Output};

/// A short run of a small cluster.
const SHORT: [&str; 6] = ["--set", "nodes=3", "--set", "busy_ms=2000", "--set", "loss_permille=0"];

/// With these a daemon was killed just before the end, so that it cannot have settled at once.
const LATE: [&str; 4] = ["--set", "crash_every_ms=100", "--set", "settle_ms=0"];

fn netsim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netsim")).args(args).output().unwrap()
}

fn run(seed: &str, more: &[&str]) -> Output {
    netsim(&[&["run", "--seed", seed], &SHORT[..], more].concat())
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn last(output: &Output) -> String {
    stdout(output).lines().last().unwrap().to_owned()
}

#[test]
fn the_same_seed_gives_the_same_trace_in_two_processes() {
    for seed in ["5", "23"] {
        let args = ["run", "--seed", seed, "--trace"];
        let (first, second) = (netsim(&args), netsim(&args));
        assert!(first.stdout.len() > 4_000, "a trace of {} bytes", first.stdout.len());
        assert!(first.stdout == second.stdout, "seed {seed} gave two traces");
        assert_eq!(last(&first).len(), 64, "the last line is no hash: {}", last(&first));
        // Looking on changes nothing.
        assert_eq!(last(&netsim(&args[..3])), last(&first));
    }
}

#[test]
fn another_seed_gives_another_trace() {
    assert_ne!(run("1", &[]).stdout, run("2", &[]).stdout);
}

#[test]
fn the_exit_code_tells_how_a_run_ended() {
    let ends: [(&[&str], i32, &str); 4] = [
        (&[], 0, ""),
        (&["--set", "queue_max=20"], 3, "seed 1: broken: bounds: more than 20 events wait"),
        (&LATE, 4, "seed 1: not settled: "),
        (&["--set", "panic_at_ms=6000"], 5, "seed 1: crashed: panic: the knob panic_at_ms asks for it"),
    ];
    for (sets, code, says) in ends {
        let output = run("1", sets);
        assert_eq!(output.status.code(), Some(code), "{sets:?}: {}{}", stdout(&output), stderr(&output));
        assert!(stdout(&output).contains(says), "{sets:?}: {}", stdout(&output));
        assert_eq!(last(&output).len(), 64, "{sets:?}: the last line is no hash: {}", last(&output));
        assert_eq!(stderr(&output), "", "{sets:?}");
    }
    let help = stdout(&netsim(&["run", "--help"]));
    for line in ["0  every promise held", "3  a promise", "4  the cluster did not settle", "5  the simulated code"] {
        assert!(help.contains(line), "{help}");
    }
}

#[test]
fn a_failure_names_what_happened_last_the_knobs_and_the_command_that_replays_it() {
    let failed = run("1", &LATE);
    let text = stdout(&failed);
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no \"{what}\" in:\n{text}"));
    assert!(at("all is mended") < at("seed 1: not settled"), "{text}");
    assert!(at("settle_ms=0") > at("knobs: "), "{text}");
    let replay = text.lines().find_map(|line| line.strip_prefix("replay: cargo run -p skein-netsim -- ")).unwrap();
    let again = netsim(&replay.split(' ').collect::<Vec<_>>());
    assert_eq!(again.status.code(), Some(4), "{replay}");
    assert_eq!(last(&again), last(&failed), "{replay}");
    assert!(stdout(&again).starts_with("    0.000000 seed 1 nodes 3"), "the replay prints no trace");
}

#[test]
fn a_panic_says_where_it_was() {
    let text = stdout(&run("1", &["--set", "panic_at_ms=6000"]));
    let line = text.lines().find(|line| line.starts_with("seed 1: crashed")).unwrap();
    assert!(line.contains("src/run.rs:"), "{line}");
    assert!(text.contains("PANIC the knob"), "{text}");
}

#[test]
fn wrong_arguments_are_refused_and_say_what_is_right() {
    let wrong: [(&[&str], &str); 6] = [
        (&["run", "--seed", "1", "--set", "node=4"], "the knobs are"),
        (&["run", "--seed", "1", "--set", "nodes=-4"], "this seed has nodes="),
        (&["run", "--seed", "1", "--set", "nodes"], "NAME=VALUE"),
        (&["sweep", "--seeds", "0..3", "--set", "node=4"], "the knobs are"),
        (&["sweep", "--seeds", "5"], "A..B"),
        (&["sweep", "--seeds", "9..3"], "A..B"),
    ];
    for (args, says) in wrong {
        let output = netsim(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(says), "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let script = format!(
        "{} run --seed 5 --set nodes=7 --set user_every_ms=20 --set busy_ms=30000 --trace | head -n 1; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_netsim")
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(stderr(&output), "");
    assert_eq!(last(&output), "1");
}
