//! `netsim sweep` from outside: results in the order of the seeds, a summary, and a record by which it goes on.
#![allow(clippy::unwrap_used)]
#![expect(clippy::disallowed_methods, reason = "this test runs the tool itself and reads its files")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Short runs of small clusters.
const SHORT: [&str; 6] = ["--set", "nodes=3", "--set", "busy_ms=1000", "--set", "loss_permille=0"];

fn sweep(seeds: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsim"));
    command.args(["sweep", "--seeds", seeds]).args(SHORT).args(more).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A file for one test alone, which does not exist yet.
fn file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

#[test]
fn all_seeds_are_run_and_summed_up_by_fault() {
    let output = sweep("0..6", &["--jobs", "2", "--set", "crash_every_ms=500"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("6 seeds: 6 clean, 0 failed"), "{text}");
    let row = text.lines().find(|line| line.contains("crash_every_ms")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["crash_every_ms", "6", "0"]);
    let row = text.lines().find(|line| line.contains("loss_permille")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["loss_permille", "0", "0"]);
    assert_eq!(stderr(&output), "", "a bar where nobody sits in front of it");
}

#[test]
fn failures_come_in_the_order_of_the_seeds_and_give_the_exit_code() {
    let output = sweep("0..6", &["--jobs", "3", "--set", "crash_every_ms=100", "--set", "settle_ms=0"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    let failed = text.lines().filter_map(|line| line.strip_prefix("seed ")?.split(':').next());
    assert_eq!(failed.collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(text.matches("replay: ").count(), 6, "{text}");
    assert!(text.contains("6 seeds: 0 clean, 6 failed"), "{text}");
    let by_check: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("by check")).skip(1).collect();
    assert!(by_check[0].contains(", not settled"), "{text}");
}

#[test]
fn a_sweep_goes_on_where_it_was_even_if_it_was_cut_short_while_writing() {
    let record = file("goes-on");
    let kept = ["--resume", record.to_str().unwrap()];
    assert_eq!(sweep("0..3", &kept).status.code(), Some(0));
    let text = std::fs::read_to_string(&record).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    // A line that was cut short does not count. A wrong one proves that the record is believed, not the run.
    let first = text.lines().find(|line| line.starts_with("0 0 - ")).unwrap();
    let changed = text.replace(first, "0 3 votes 0");
    std::fs::write(&record, format!("{changed}3 0 - 12")).unwrap();
    let output = sweep("0..5", &kept);
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    assert!(stderr(&output).contains("3 of these seeds"), "{}", stderr(&output));
    assert!(stdout(&output).contains("seed 0: broken: votes (run before)"), "{}", stdout(&output));
    assert!(stdout(&output).contains("5 seeds: 4 clean, 1 failed"), "{}", stdout(&output));
    let text = std::fs::read_to_string(&record).unwrap();
    assert_eq!(text.lines().count(), 6, "{text}");
}

#[test]
fn a_sweep_that_is_killed_has_its_record_of_all_finished_seeds() {
    let record = file("killed");
    let kept = ["--resume", record.to_str().unwrap(), "--jobs", "1"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_netsim"))
        .args(["sweep", "--seeds", "0..100000"])
        .args(SHORT)
        .args(kept)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let lines = || std::fs::read_to_string(&record).unwrap_or_default().lines().count();
    while lines() < 4 {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let output = sweep("0..3", &kept);
    assert!(stderr(&output).contains("3 of these seeds"), "{}", stderr(&output));
}

#[test]
fn other_knobs_or_another_program_start_anew() {
    let record = file("anew");
    let kept = ["--resume", record.to_str().unwrap()];
    assert_eq!(sweep("0..2", &kept).status.code(), Some(0));
    let other = sweep("0..2", &[&kept[..], &["--set", "user_every_ms=0"]].concat());
    assert!(stderr(&other).contains("0 of these seeds"), "{}", stderr(&other));
    let text = std::fs::read_to_string(&record).unwrap();
    let build = text.split("build ").nth(1).unwrap().split(';').next().unwrap();
    std::fs::write(&record, text.replace(build, "0.0.1-0123456789abcdef")).unwrap();
    let other = sweep("0..2", &kept);
    assert!(stderr(&other).contains("0 of these seeds"), "{}", stderr(&other));
}

#[test]
fn a_file_that_is_no_record_is_left_alone() {
    let record = file("other");
    std::fs::write(&record, "# my notes\nbuy milk").unwrap();
    let output = sweep("0..2", &["--resume", record.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is no record of sweeps"), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&record).unwrap(), "# my notes\nbuy milk");
}
