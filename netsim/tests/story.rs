//! `netsim story` from outside. What a browser makes of the page is tested where browsers are.
#![allow(clippy::unwrap_used)]
#![expect(clippy::disallowed_methods, reason = "these tests run the tool itself and read what it wrote")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn story(file: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsim"));
    command.args(["story", "--seed", "9", "--set", "nodes=3", "--set", "busy_ms=2000"]).args(more);
    command.arg("-o").arg(file).output().unwrap()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.html", std::process::id()))
}

#[test]
fn the_same_run_gives_the_same_page_with_the_hash_of_its_trace() {
    let (first, second) = (file("first"), file("second"));
    assert_eq!(story(&first, &[]).status.code(), Some(0));
    assert_eq!(story(&second, &[]).status.code(), Some(0));
    let page = std::fs::read_to_string(&first).unwrap();
    assert!(page == std::fs::read_to_string(&second).unwrap());
    let run = Command::new(env!("CARGO_BIN_EXE_netsim"))
        .args(["run", "--seed", "9", "--set", "nodes=3", "--set", "busy_ms=2000"])
        .output()
        .unwrap();
    let hash = String::from_utf8(run.stdout).unwrap();
    assert!(page.contains(hash.trim()), "the page was of another run than {hash}");
}

#[test]
fn a_failing_run_has_its_page_its_report_and_its_exit_code() {
    let page = file("failing");
    let output = story(&page, &["--set", "queue_max=20"]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("replay: ") && said.contains("broken: bounds"), "{said}");
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("more than 20 events wait") && page.contains("--set queue_max=20"));
}

#[test]
fn a_page_that_cannot_be_written_is_no_failing_run() {
    let output = story(Path::new("/no such directory/page.html"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot write /no such directory/page.html"));
}
