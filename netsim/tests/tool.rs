//! The tool from outside: the same seed gives the same run in two processes, and wrong arguments say what is wrong.
#![allow(clippy::unwrap_used)]
#![expect(clippy::disallowed_methods, reason = "this test runs the tool itself")]

use std::process::{Command, Output};

fn netsim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netsim")).args(args).output().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_trace_in_two_processes() {
    for seed in ["5", "23"] {
        let args = ["run", "--seed", seed, "--trace"];
        let (first, second) = (netsim(&args), netsim(&args));
        assert!(first.stdout.len() > 4_000, "a trace of {} bytes", first.stdout.len());
        assert!(first.stdout == second.stdout, "seed {seed} gave two traces");
        let last = String::from_utf8(first.stdout).unwrap().lines().last().unwrap().to_owned();
        assert_eq!(last.len(), 64, "the last line is no hash: {last}");
    }
}

#[test]
fn another_seed_gives_another_trace() {
    assert_ne!(netsim(&["run", "--seed", "1"]).stdout, netsim(&["run", "--seed", "2"]).stdout);
}

#[test]
fn a_range_that_is_none_is_refused() {
    for range in ["5", "5..", "9..3", "a..b"] {
        let output = netsim(&["sweep", "--seeds", range]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8(output.stderr).unwrap().contains("A..B"), "{range}");
    }
}
