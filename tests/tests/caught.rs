//! The judge can fail: for each promise that is broken on purpose in real daemons it says which one, from what real clients were
//! answered under real faults. The table in `docs/lab.md` is written from here.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use skein_tests::built;
use skein_tests::daemon::binary;
use skein_tests::failure::{Failure, Outcome, ensure};

/// The variable of the environment that says which rule daemons break.
const VARIABLE: &str = "SKEIN_PLANTED";
/// How long the peers may take to agree in the end: some of what is broken here never ends.
const SETTLE_SECONDS: &str = "12";

/// How often the seeds are tried until the judge must have seen it.
const ATTEMPTS: usize = 3;

/// A rule that is broken, and where the judge sees it.
struct Planted {
    bug: &'static str,
    /// Seeds whose faults give it room.
    seeds: &'static str,
    seconds: &'static str,
    /// The promise that it breaks.
    promise: &'static str,
    /// What the judge says of it, among other things.
    says: &'static [&'static str],
    /// Other promises that may break with it.
    along: &'static [&'static str],
}

#[test]
fn a_write_that_is_acknowledged_before_it_is_on_a_disk_is_missed() -> Outcome<()> {
    caught(&Planted {
        bug: "ack-before-disk",
        seeds: "18..20",
        seconds: "10",
        promise: "P2",
        says: &["nobody deleted it, yet it is not there", "an older value of", " is gone: "],
        along: &[],
    })
}

#[test]
fn a_deletion_that_is_not_spread_is_seen() -> Outcome<()> {
    caught(&Planted {
        bug: "deletion-not-spread",
        seeds: "0..1",
        seconds: "8",
        promise: "P5",
        says: &["still has it"],
        along: &["P3"],
    })
}

#[test]
fn a_replica_too_many_is_counted() -> Outcome<()> {
    caught(&Planted {
        bug: "one-too-many",
        seeds: "0..1",
        seconds: "8",
        promise: "P5",
        says: &["containers of web-"],
        along: &[],
    })
}

#[test]
fn a_daemon_breaks_no_rule_that_it_does_not_know_and_none_at_all_unless_it_was_built_for_it() -> Outcome<()> {
    let directory = std::env::temp_dir().join(format!("skein-planted-{}", std::process::id()));
    let mut command = Command::new(skein_planted()?);
    let data = directory.join("data");
    command.env(VARIABLE, "no-such-rule").arg("up").arg("--data-dir").arg(&data).stdin(Stdio::null());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let is_clear = output.status.code() == Some(2) && said.contains("no-such-rule") && said.contains("ack-before-disk");
    ensure(is_clear && !data.exists(), || format!("{}: {said}", output.status))?;
    let names = |program: &Path| -> Outcome<bool> {
        let bytes = std::fs::read(program)?;
        Ok(bytes.windows(VARIABLE.len()).any(|window| window == VARIABLE.as_bytes()))
    };
    ensure(names(skein_planted()?)?, || format!("{VARIABLE} is not found where it is read"))?;
    ensure(!names(binary()?)?, || {
        format!("{} knows {VARIABLE}", binary().map_or(String::new(), |path| path.display().to_string()))
    })
}

/// Has the judge run the seeds on daemons that break the rule, and fails unless it says that the promise was broken, and of the
/// others that they held. A seed draws faults and not what the machine does meanwhile, so it is tried a few times.
fn caught(planted: &Planted) -> Outcome<()> {
    let mut missed = None;
    for _ in 0..ATTEMPTS {
        match caught_at_once(planted) {
            Ok(()) => return Ok(()),
            Err(failure) => missed = Some(failure),
        }
    }
    missed.map_or(Ok(()), Err)
}

fn caught_at_once(planted: &Planted) -> Outcome<()> {
    let into = std::env::temp_dir().join(format!("skein-{}-{}", planted.bug, std::process::id()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_judge"));
    command.args(["run", planted.seeds, "--seconds", planted.seconds, "--settle", SETTLE_SECONDS]);
    command.arg("--skein").arg(skein_planted()?).arg("--into").arg(&into).env(VARIABLE, planted.bug);
    let output = command.stdin(Stdio::null()).output()?;
    let told = told(&output);
    look(planted, &output).map_err(|failure| {
        Failure::new(format!("{}: {failure}\n{told}\nhistories and logs are in {}", planted.bug, into.display()))
    })?;
    std::fs::remove_dir_all(&into)?;
    Ok(())
}

fn look(planted: &Planted, output: &Output) -> Outcome<()> {
    ensure(output.status.code() == Some(1), || format!("the judge ended with {}, not with 1", output.status))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let broken = |line: &str| Some(line.split_once(": BROKEN (")?.0.to_owned());
    let broken: Vec<String> = said.lines().filter_map(broken).collect();
    ensure(broken.iter().any(|name| name.starts_with(planted.promise)), || {
        format!("the judge does not say that {} was broken", planted.promise)
    })?;
    let known = |name: &String| {
        let mut expected = planted.along.iter().chain([&planted.promise]);
        expected.any(|promise| name.starts_with(promise))
    };
    ensure(broken.iter().all(known), || format!("the judge says that these were broken: {}", broken.join(", ")))?;
    ensure(planted.says.iter().any(|words| said.contains(words)), || "the judge does not say what is wrong".to_owned())
}

fn told(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The `skein` that breaks rules: what `SKEIN_PLANTED_BIN` names, or else one that is built beside the `skein` under test.
fn skein_planted() -> Outcome<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || built::program_with("SKEIN_PLANTED_BIN", "skein-cli", "skein-planted", Some("planted-bugs"));
    let built = BUILT.get_or_init(|| build().map_err(|failure| failure.to_string()));
    built.as_deref().map_err(|text| Failure::new(text.clone()))
}
