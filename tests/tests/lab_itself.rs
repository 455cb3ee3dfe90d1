//! The lab keeps its own promises: engines answer, cuts cut, heals heal, and nothing is left behind.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skein_tests::engine::Container;
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::leftovers;
use skein_tests::steps::Steps;
use skein_tests::trace::Trace;
use skein_tests::wait::eventually;

const SHORT: Duration = Duration::from_millis(400);
/// The one test of this file that only runs when another one asks for it.
const TO_BE_INTERRUPTED: &str = "a_lab_to_be_interrupted";

#[test]
fn the_lab_keeps_its_own_promises() -> Outcome<()> {
    let mut steps = Steps::of("the lab itself");
    let mut lab = Lab::with_engines(2)?;
    let directory = lab.directory().to_owned();
    let none = String::new;
    steps.run("each engine runs its own containers", || each_engine_runs_its_own_containers(&lab), none);
    steps.run("cuts cut and heals heal", || cuts_cut_and_heals_heal(&lab), none);
    steps.run("one direction can be cut alone", || one_direction_at_a_time(&lab), none);
    steps.run("a loss loses its share", || a_loss_loses_its_share(&lab), none);
    steps.run("flushes are seen, and slowed down", || flushes_are_seen(&lab), none);
    steps.run(
        "a host that is switched off and on has its disk, and nothing runs",
        || switched_off_and_on(&mut lab),
        none,
    );
    steps.run("a second lab works beside the first", || a_second_lab_beside(&lab), none);
    steps.run("a lab that ends leaves nothing", || leaves_nothing(lab, &directory), none);
    steps.run("a lab that is interrupted leaves nothing", an_interrupted_lab_leaves_nothing, none);
    steps.run("a lab that was killed is taken away by the next one", a_killed_lab_is_taken_away, none);
    steps.end()
}

#[test]
#[ignore = "holds a lab open until it is interrupted; the test above runs it"]
fn a_lab_to_be_interrupted() -> Outcome<()> {
    let lab = Lab::with_engines(1)?;
    lab.host(1).engine()?.run("web", &["httpd", "-f", "-p", "8080"], &[])?;
    eprintln!("lab={}", lab.directory().display());
    std::thread::sleep(Duration::from_secs(60));
    Err(Failure::new("nobody interrupted it"))
}

fn each_engine_runs_its_own_containers(lab: &Lab) -> Outcome<String> {
    for host in lab.hosts() {
        let engine = host.engine()?;
        let id = engine.run(&format!("web-{}", host.number), &["httpd", "-f", "-p", "8080"], &[("lab", "yes")])?;
        let listed = engine.containers("lab=yes")?;
        let alone = listed.len() == 1 && listed[0].id == id && listed[0].is_running();
        ensure(alone, || format!("{}: {listed:?}", host.name))?;
        ensure(engine.containers("lab=no")?.is_empty(), || "the label filter filters nothing".to_owned())?;
        ensure(engine.inspect(&id)?["State"]["Running"] == true, || "inspect disagrees with list".to_owned())?;
    }
    Ok(String::new())
}

fn cuts_cut_and_heals_heal(lab: &Lab) -> Outcome<String> {
    reached_again(lab)?;
    lab.cut(2)?;
    ensure(!reaches(lab, 1, 2) && !reaches(lab, 2, 1), || "a cut host is reached".to_owned())?;
    ensure(reaches(lab, 2, 2), || "a cut host does not reach itself".to_owned())?;
    lab.heal(2)?;
    reached_again(lab)?;
    lab.partition(&[1], &[2])?;
    ensure(!reaches(lab, 1, 2) && !reaches(lab, 2, 1), || "a partition lets something through".to_owned())?;
    lab.heal_all()?;
    reached_again(lab)
}

/// TCP needs both directions, so this asks with single datagrams.
fn one_direction_at_a_time(lab: &Lab) -> Outcome<String> {
    let [one, two] = sockets(lab)?;
    lab.cut_one_way(&[1], 2)?;
    ensure(arrived(&one, &two, 5)? == 0, || "the closed direction is open".to_owned())?;
    ensure(arrived(&two, &one, 5)? == 5, || "the open direction is closed".to_owned())?;
    lab.heal_all()?;
    ensure(arrived(&one, &two, 5)? == 5, || "the healed direction is closed".to_owned())?;
    Ok(String::new())
}

fn a_loss_loses_its_share(lab: &Lab) -> Outcome<String> {
    let [one, two] = sockets(lab)?;
    lab.lose(2, 30)?;
    let arrived = arrived(&one, &two, 200)?;
    lab.heal_all()?;
    // 140 are expected, with a standard deviation of 6.5.
    ensure((90..=180).contains(&arrived), || format!("{arrived} of 200 arrived, not about 140"))?;
    Ok(format!("{arrived} of 200 arrived at a loss of 30 %"))
}

fn flushes_are_seen(lab: &Lab) -> Outcome<String> {
    let host = lab.host(1);
    let (file, written) = (host.directory.join("flushed"), host.directory.join("strace"));
    let script = format!("sleep 0.5; dd if=/dev/zero of={} bs=1 count=1 conv=fsync 2>/dev/null", file.display());
    let mut program = host.netns.command("sh").args(["-c", &script]).spawn()?;
    let delay = Duration::from_millis(200);
    let trace = Trace::slow_disk(&host.netns, Pid::from_raw(i32::try_from(program.id())?), delay, &written)?;
    program.wait()?;
    let calls = trace.finish()?;
    let flush = calls.iter().find(|call| call.name == "fsync" && call.text.contains(&*file.to_string_lossy()));
    let flush = flush.ok_or_else(|| Failure::new(format!("no flush among {calls:?}")))?;
    ensure(flush.ended - flush.begun >= delay.as_secs_f64(), || format!("it was not slow: {flush:?}"))?;
    Ok(String::new())
}

fn switched_off_and_on(lab: &mut Lab) -> Outcome<String> {
    let before = lab.host(2).engine()?.containers("lab=yes")?;
    ensure(before.iter().any(Container::is_running), || format!("nothing ran: {before:?}"))?;
    lab.power_off(2)?;
    let living = leftovers::living_in(&lab.host(2).netns);
    ensure(living.is_empty() && lab.host(2).engine().is_err(), || format!("it still runs: {living:?}"))?;
    ensure(!lab.is_connected(2)?, || "its cable is in".to_owned())?;
    lab.power_on(2)?;
    let after = lab.host(2).engine()?.containers("lab=yes")?;
    let same = after.len() == before.len() && !after.iter().any(Container::is_running);
    ensure(same, || format!("before {before:?}, after {after:?}"))?;
    lab.host(2).engine()?.run("web-again", &["httpd", "-f", "-p", "8080"], &[])?;
    reached_again(lab)
}

fn a_second_lab_beside(lab: &Lab) -> Outcome<String> {
    let beside = Lab::build(0, 2)?;
    let directory = beside.directory().to_owned();
    reached_again(&beside)?;
    leaves_nothing(beside, &directory)?;
    reached_again(lab)
}

fn leaves_nothing(lab: Lab, directory: &Path) -> Outcome<String> {
    drop(lab);
    nothing_left(directory)
}

fn nothing_left(directory: &Path) -> Outcome<String> {
    let left = leftovers::left_of(directory);
    ensure(left.is_empty(), || format!("left behind: {}", left.join("; ")))?;
    Ok(String::new())
}

fn an_interrupted_lab_leaves_nothing() -> Outcome<String> {
    let (directory, status) = hold_a_lab_and_send(Signal::SIGINT)?;
    ensure(status.code() == Some(130), || format!("the interrupted test ended with {status}"))?;
    nothing_left(&directory)
}

fn a_killed_lab_is_taken_away() -> Outcome<String> {
    let (directory, _) = hold_a_lab_and_send(Signal::SIGKILL)?;
    ensure(!leftovers::left_of(&directory).is_empty(), || "the killed lab left nothing to take away".to_owned())?;
    drop(Lab::build(0, 1)?);
    nothing_left(&directory)
}

/// Runs the test that holds a lab in a process of its own, and signals it once the lab stands.
fn hold_a_lab_and_send(signal: Signal) -> Outcome<(PathBuf, std::process::ExitStatus)> {
    let mut holder = Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact", TO_BE_INTERRUPTED, "--nocapture"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(holder.stderr.take().ok_or_else(|| Failure::new("no stderr"))?).lines();
    let directory = lines.map_while(Result::ok).find_map(|line| Some(PathBuf::from(line.strip_prefix("lab=")?)));
    let directory = directory.ok_or_else(|| Failure::new("the other test never said where its lab is"))?;
    kill(Pid::from_raw(i32::try_from(holder.id())?), signal)?;
    Ok((directory, holder.wait()?))
}

/// After a heal the kernel asks for a lost neighbour's address again once a second.
fn reached_again(lab: &Lab) -> Outcome<String> {
    let look = || ensure(reaches(lab, 1, 2) && reaches(lab, 2, 1), || "it is not reached".to_owned());
    eventually("a healed host", Duration::from_secs(5), look).map(|_| String::new())
}

fn reaches(lab: &Lab, from: usize, to: usize) -> bool {
    let target = lab.host(to);
    let listener = target.netns.inside(|| TcpListener::bind((target.address(), 9001))).unwrap().unwrap();
    lab.host(from).netns.connect(listener.local_addr().unwrap(), SHORT).is_ok()
}

fn sockets(lab: &Lab) -> Outcome<[UdpSocket; 2]> {
    let bind = |number| {
        let host = lab.host(number);
        host.netns.inside(|| UdpSocket::bind((host.address(), 9000)))?
    };
    Ok([bind(1)?, bind(2)?])
}

/// How many of `count` datagrams from one socket arrive at the other. A socket's buffer holds 256.
fn arrived(from: &UdpSocket, to: &UdpSocket, count: usize) -> Outcome<usize> {
    for _ in 0..count {
        from.send_to(b"x", to.local_addr()?)?;
    }
    to.set_read_timeout(Some(SHORT))?;
    Ok((0..count).take_while(|_| to.recv(&mut [0; 8]).is_ok()).count())
}
