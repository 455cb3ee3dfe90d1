//! `skein demo` tells its story to the end and cleans up behind itself: with an engine, without one, and interrupted.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skein_tests::daemon::binary;
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::lab::{Host, Lab};
use skein_tests::leftovers;
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

/// The story is promised to be over in 40 s on a machine that is free for it.
const OVER: Duration = Duration::from_secs(40);
/// How long cleaning up may take after an interrupt.
const CLEAN: Duration = Duration::from_secs(20);

#[test]
fn the_demo_runs_to_its_end_and_leaves_nothing() -> Outcome<()> {
    let mut steps = Steps::of("the demo");
    // Building it is no part of the demo's time.
    binary()?;
    let lab = Lab::build(1, 1)?;
    let (with, without) = (lab.host(1), lab.host(2));
    let log = |host: &Host| std::fs::read_to_string(host.directory.join("demo.log")).unwrap_or_default();
    steps.run("with an engine", || to_the_end(with, "docker"), || log(with));
    steps.run("without an engine", || to_the_end(without, "process"), || log(without));
    steps.run("interrupted with an engine", || interrupted(with), || log(with));
    steps.run("interrupted without an engine", || interrupted(without), || log(without));
    steps.end()
}

fn to_the_end(host: &Host, runtime: &str) -> Outcome<String> {
    let before = leftovers::living_in(&host.netns);
    let begun = Instant::now();
    let mut demo = start(host)?;
    // The patience is more than the promise, so that a slow demo is told from one that hangs.
    let look = || demo.try_wait()?.ok_or_else(|| Failure::new("it still runs"));
    let (status, took) = eventually("the demo's end", OVER * 3, look)?;
    let said = std::fs::read_to_string(host.directory.join("demo.log"))?;
    ensure(status.success(), || format!("it ended with {status}"))?;
    ensure(said.to_lowercase().contains(runtime), || format!("it does not say that it ran on {runtime}"))?;
    nothing_left(host, &before)?;
    ensure(took < OVER, || format!("it took {:.1} s", begun.elapsed().as_secs_f64()))?;
    Ok(format!("over after {:.1} s", took.as_secs_f64()))
}

fn interrupted(host: &Host) -> Outcome<String> {
    let before = leftovers::living_in(&host.netns);
    let mut demo = start(host)?;
    std::thread::sleep(Duration::from_secs(8));
    ensure(demo.try_wait()?.is_none(), || "it ended before it could be interrupted".to_owned())?;
    kill(Pid::from_raw(i32::try_from(demo.id())?), Signal::SIGINT)?;
    let look = || demo.try_wait()?.ok_or_else(|| Failure::new("it still runs"));
    let (_, took) = eventually("the demo's end after an interrupt", CLEAN, look)?;
    nothing_left(host, &before)?;
    Ok(format!("ended {:.1} s after the interrupt", took.as_secs_f64()))
}

fn start(host: &Host) -> Outcome<Child> {
    let log = std::fs::File::create(host.directory.join("demo.log"))?;
    let temporary = host.directory.join("tmp");
    std::fs::create_dir_all(&temporary)?;
    let engine = match host.engine() {
        Ok(engine) => engine.url(),
        // An engine of this machine that is none of the lab's must not answer.
        Err(_) => format!("unix://{}", host.directory.join("no-engine.sock").display()),
    };
    let mut command: Command = host.netns.command(binary()?);
    command.arg("demo").env("DOCKER_HOST", engine).env("TMPDIR", &temporary).env("HOME", &host.directory);
    Ok(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?)
}

fn nothing_left(host: &Host, before: &[Pid]) -> Outcome<()> {
    if let Ok(engine) = host.engine() {
        let containers = engine.containers("skein.dev/cluster")?;
        ensure(containers.is_empty(), || format!("containers are left: {containers:?}"))?;
    }
    let look = || {
        let after: Vec<Pid> = leftovers::living_in(&host.netns).into_iter().filter(|p| !before.contains(p)).collect();
        ensure(after.is_empty(), || format!("processes are left: {after:?}"))
    };
    eventually("the end of all that the demo started", Duration::from_secs(5), look)?;
    let files: Vec<_> = std::fs::read_dir(host.directory.join("tmp"))?.flatten().map(|entry| entry.path()).collect();
    ensure(files.is_empty(), || format!("files are left: {files:?}"))
}
