//! The lab as a person uses it: the real tool brings hosts up, cuts, heals, kills and starts them, says what is so, and
//! leaves nothing behind, also when it is killed half-way.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skein_tests::daemon::binary;
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::leftovers;
use skein_tests::manifests::sleeper;
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

/// How long what a lab does may take to show.
const PATIENCE: Duration = Duration::from_secs(20);

/// The tool on a directory of this test's own; what is left of its lab is taken away when this is dropped.
struct Tool {
    directory: PathBuf,
}

#[test]
fn a_lab_is_used_from_up_to_down() -> Outcome<()> {
    let mut steps = Steps::of("the lab as a tool");
    let tool = Tool::on("used");
    let none = String::new;
    steps.run("up", || comes_up(&tool), none);
    steps.run("a program on a host reaches the cluster", || runs_pods(&tool), none);
    steps.run("a cut, one way, a loss, a partition, a heal", || cuts_and_heals(&tool), none);
    steps.run("a daemon that is killed leaves its pods", || kills_a_daemon(&tool), none);
    steps.run("a host that is switched off and on", || switches_a_host(&tool), none);
    steps.run("what cannot be done is refused with what to do", || refuses(&tool), none);
    steps.run("the timeline tells all of it", || tells_the_timeline(&tool), none);
    steps.run("down leaves nothing", || goes_down(&tool), none);
    steps.end()
}

#[test]
fn a_lab_that_is_interrupted_or_killed_on_its_way_up_leaves_nothing() -> Outcome<()> {
    let tool = Tool::on("interrupted");
    tool.up_and_send(Signal::SIGINT)?;
    tool.nothing_left()?;
    tool.up_and_send(Signal::SIGKILL)?;
    ensure(!leftovers::left_of(&tool.directory).is_empty(), || "the killed tool left nothing".to_owned())?;
    tool.says(&["down"])?;
    tool.nothing_left()
}

#[test]
fn a_directory_that_is_no_labs_is_left_alone() -> Outcome<()> {
    let tool = Tool::on("not-a-lab");
    std::fs::create_dir_all(&tool.directory)?;
    std::fs::write(tool.directory.join("precious"), "")?;
    for verb in [&["down"][..], &["up", "1", "--runtime=process"]] {
        tool.refuses(verb, "")?;
        ensure(tool.directory.join("precious").exists(), || format!("{verb:?} removed what is not a lab's"))?;
    }
    std::fs::remove_dir_all(&tool.directory)?;
    Ok(())
}

fn comes_up(tool: &Tool) -> Outcome<String> {
    let said = tool.says(&["up", "3", "--runtime=process", "--skein", &binary()?.to_string_lossy()])?;
    for words in ["KUBECONFIG=", "status", "shell 2", "down"] {
        ensure(said.contains(words), || format!("it does not say {words}: {said}"))?;
    }
    let status = tool.says(&["status"])?;
    ensure(status.matches("3 alive").count() == 3, || status.clone())?;
    Ok(String::new())
}

fn runs_pods(tool: &Tool) -> Outcome<String> {
    let manifest = tool.directory.join("sleeper.json");
    std::fs::write(&manifest, sleeper("sleeper", 3).to_string())?;
    tool.says(&["exec", "2", "--", "kubectl", "apply", "-f", &manifest.to_string_lossy()])?;
    tool.status_shows("three pods", |status| pods(status).iter().sum::<usize>() == 3)?;
    let code = tool.run(&["exec", "1", "--", "sh", "-c", "exit 7"])?.0;
    ensure(code == 7, || format!("the exit code of a program on a host was {code}, not 7"))?;
    let log = tool.says(&["logs", "3", "-n", "5"])?;
    ensure(log.lines().count() == 5, || format!("the log's last five lines are {log:?}"))?;
    Ok(String::new())
}

fn cuts_and_heals(tool: &Tool) -> Outcome<String> {
    tool.says(&["cut", "3"])?;
    let seen = |status: &str| {
        status.contains("cable is pulled") && status.matches("2 alive").count() == 2 && status.contains("1 alive")
    };
    tool.status_shows("the cut in the peers' eyes", seen)?;
    tool.says(&["heal", "3"])?;
    tool.status_shows("three alive again", |status| status.matches("3 alive").count() == 3)?;
    for (cut, shown) in [
        (&["cut", "2", "--one-way", "in"][..], "nothing arrives"),
        (&["cut", "2", "--one-way=out"], "nothing from h2 arrives"),
        (&["cut", "2", "--loss", "20"], "20 % of what arrives from h2 is lost"),
        (&["cut", "1,2", "from", "3"], "nothing from h3 arrives"),
    ] {
        tool.says(cut)?;
        let status = tool.says(&["status"])?;
        ensure(status.contains(shown), || format!("after {cut:?}: {status}"))?;
        tool.says(&["heal"])?;
        let status = tool.says(&["status"])?;
        ensure(!status.contains("arrives"), || format!("after {cut:?} and a heal: {status}"))?;
    }
    tool.status_shows("three alive again", |status| status.matches("3 alive").count() == 3)?;
    Ok(String::new())
}

fn kills_a_daemon(tool: &Tool) -> Outcome<String> {
    let before = pods(&tool.says(&["status"])?);
    tool.says(&["kill", "3"])?;
    let status = tool.says(&["status"])?;
    ensure(status.contains("not running") && status.contains("no answer"), || status.clone())?;
    ensure(pods(&status)[2] == before[2], || format!("its pods ended with it: {status}"))?;
    tool.says(&["start", "3"])?;
    tool.status_shows("three alive again", |status| status.matches("3 alive").count() == 3)?;
    Ok(String::new())
}

fn switches_a_host(tool: &Tool) -> Outcome<String> {
    tool.says(&["kill", "2", "--host"])?;
    let status = tool.says(&["status"])?;
    ensure(pods(&status)[1] == 0 && status.contains("switched off"), || status.clone())?;
    tool.refuses(&["cut", "2"], "start 2")?;
    tool.status_shows("its pods elsewhere", |status| pods(status).iter().sum::<usize>() == 3)?;
    tool.says(&["start", "2"])?;
    tool.status_shows("three alive again", |status| status.matches("3 alive").count() == 3)?;
    Ok(String::new())
}

fn refuses(tool: &Tool) -> Outcome<String> {
    tool.refuses(&["up", "2", "--runtime=process"], "down")?;
    tool.refuses(&["kill", "4"], "the lab has 1 to 3")?;
    tool.refuses(&["cut", "1,2", "from", "2"], "both sides")?;
    tool.refuses(&["logs", "1", "--engine"], "plain processes")?;
    let elsewhere = Tool::on("elsewhere");
    elsewhere.refuses(&["status"], "up 3")?;
    Ok(String::new())
}

fn tells_the_timeline(tool: &Tool) -> Outcome<String> {
    let told = tool.says(&["timeline"])?;
    let mut rest = told.as_str();
    for words in ["up: 3 hosts", "h3 cut off", "2 alive", "h3 healed", "daemon of h3 killed", "h2 switched off"] {
        let found = rest.find(words).ok_or_else(|| Failure::new(format!("no {words:?}, or not in order: {told}")))?;
        rest = &rest[found..];
    }
    Ok(String::new())
}

fn goes_down(tool: &Tool) -> Outcome<String> {
    tool.says(&["down"])?;
    tool.nothing_left()?;
    tool.says(&["down"])?;
    Ok(String::new())
}

impl Tool {
    fn on(name: &str) -> Self {
        Self { directory: std::env::temp_dir().join(format!("skein-tool-{name}-{}", std::process::id())) }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.arg("--dir").arg(&self.directory).args(words).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Outcome<(i32, String, String)> {
        let output = self.command(words).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
    }

    fn says(&self, words: &[&str]) -> Outcome<String> {
        let (code, said, error) = self.run(words)?;
        ensure(code == 0, || format!("lab {}: exit {code}: {said}{error}", words.join(" ")))?;
        Ok(said)
    }

    fn refuses(&self, words: &[&str], because: &str) -> Outcome<()> {
        let (code, said, error) = self.run(words)?;
        let refused = code == 1 && error.lines().any(|line| line.starts_with("lab: ")) && error.contains(because);
        ensure(refused, || format!("lab {}: exit {code}: {said}{error}", words.join(" ")))
    }

    fn status_shows(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Outcome<()> {
        let look = || {
            let status = self.says(&["status"])?;
            ensure(is_so(&status), || status.clone())
        };
        eventually(what, PATIENCE, look).map(|_| ())
    }

    /// Begins to bring a lab up and signals the tool once there is a daemon.
    fn up_and_send(&self, signal: Signal) -> Outcome<()> {
        let mut up = self.command(&["up", "2", "--runtime=process", "--skein", &binary()?.to_string_lossy()]);
        let mut up = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let first = self.directory.join("h1/skein.process");
        let begun = || ensure(first.exists(), || "no daemon yet".to_owned());
        eventually("the first daemon", PATIENCE, begun)?;
        kill(Pid::from_raw(i32::try_from(up.id())?), signal)?;
        let status = up.wait()?;
        ensure(!status.success(), || "it was up before it was signalled".to_owned())
    }

    fn nothing_left(&self) -> Outcome<()> {
        let left = leftovers::left_of(&self.directory);
        ensure(left.is_empty(), || format!("left behind: {}", left.join("; ")))
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.run(&["down"]);
    }
}

/// How many pods run on each host, as the status says.
fn pods(status: &str) -> Vec<usize> {
    let column = status.lines().next().and_then(|titles| titles.find("PODS")).unwrap_or(0);
    let cells = status.lines().skip(1).map(|line| line[column..].split_whitespace().next().unwrap());
    cells.map(|cell| cell.parse().unwrap()).collect()
}
