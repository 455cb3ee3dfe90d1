//! Histories of real clusters under faults, and what the judge says of them: that every promise held, and that it is broken
//! once the history says something else. Daemons that break a promise live in `caught`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use skein_tests::daemon::binary;
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::steps::Steps;

/// Seeds whose faults are of many kinds: cuts, one-way cuts, a lossy link, a killed daemon, hosts switched off.
const SEEDS: &str = "1..3";
/// How long things break with each.
const SECONDS: &str = "25";

#[test]
fn the_judge_finds_that_the_promises_held_and_when_they_did_not() -> Outcome<()> {
    let mut steps = Steps::of("judged");
    let into = std::env::temp_dir().join(format!("skein-histories-{}", std::process::id()));
    let kept = || format!("the histories and logs are in {}", into.display());
    steps.run("every promise held under the faults of two seeds", || every_promise_held(&into), kept);
    let history = into.join("1.jsonl");
    let none = String::new;
    steps.run("a history that is judged again is judged the same", || judged(&history, true), none);
    steps.run("a lost write is found", || a_lost_write_is_found(&history), none);
    steps.run("a history that is cut short shows nothing", || cut_short(&history), none);
    let outcome = steps.end();
    if outcome.is_ok() {
        std::fs::remove_dir_all(&into)?;
    }
    outcome
}

fn every_promise_held(into: &Path) -> Outcome<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_judge"));
    command.args(["run", SEEDS, "--seconds", SECONDS, "--skein"]).arg(binary()?).arg("--into").arg(into);
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure(output.status.success(), || format!("{said}\n{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(format!("\n{}", said.trim_end()))
}

fn judged(history: &Path, held: bool) -> Outcome<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_judge")).arg("check").arg(history).output()?;
    let expected = if held { 0 } else { 1 };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure(output.status.code() == Some(expected), || format!("exit {:?}: {said}", output.status.code()))?;
    Ok(String::new())
}

/// Takes a field that was written and acknowledged away from what one peer holds in the end.
fn a_lost_write_is_found(history: &Path) -> Outcome<String> {
    let changed = changed(history, "lost", |line| {
        let mut line = line.to_owned();
        if line.contains(r#""line":"final""#)
            && let Some(from) = line.find(r#""data.begun":""#)
        {
            let until = line[from..].find(['}', ',']).map_or(line.len(), |length| from + length);
            line.replace_range(from..until, r#""data.begun":"another""#);
        }
        Some(line)
    })?;
    judged(&changed, false)
}

fn cut_short(history: &Path) -> Outcome<String> {
    let changed = changed(history, "short", |line| (!line.contains(r#""line":"ended""#)).then(|| line.to_owned()))?;
    judged(&changed, false)
}

/// A copy of a history with other lines.
fn changed(history: &Path, name: &str, change: impl Fn(&str) -> Option<String>) -> Outcome<PathBuf> {
    let text = std::fs::read_to_string(history).map_err(|e| Failure::new(format!("{}: {e}", history.display())))?;
    let lines: Vec<String> = text.lines().filter_map(change).collect();
    ensure(lines.join("\n") != text.trim_end(), || "nothing was changed".to_owned())?;
    let path = history.with_file_name(format!("{name}.jsonl"));
    std::fs::write(&path, lines.join("\n"))?;
    Ok(path)
}
