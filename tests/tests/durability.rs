//! An acknowledged write is on two disks: between the request and the first byte of its answer both peers flushed their
//! files, as the kernel saw it.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skein_tests::cluster::Cluster;
use skein_tests::failure::{Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::manifests::{config_map, core};
use skein_tests::steps::Steps;
use skein_tests::trace::{Call, Trace};

const CALLS: &str = "fsync,fdatasync,write,writev,sendto,sendmsg";
const WRITES: usize = 5;
/// How much longer a flush takes on the slow disk: a few of them must fit into the half second that a peer has.
const SLOW: Duration = Duration::from_millis(60);
const PATIENCE: Duration = Duration::from_secs(10);

/// One write, as its client saw it.
struct Seen {
    asked: f64,
    answered: f64,
    warned: bool,
}

#[test]
fn an_answer_leaves_after_both_disks_are_flushed() -> Outcome<()> {
    let mut steps = Steps::of("durability");
    let mut cluster = Cluster::form(Lab::build(0, 2)?, 2)?;
    let shared = std::cell::RefCell::new(&mut cluster);
    for writer in [1, 2] {
        let name = format!("a write at h{writer} is flushed on both hosts before its answer");
        let step = || flushed_before_the_answer(&mut shared.borrow_mut(), writer);
        steps.run(&name, step, || shared.borrow_mut().evidence());
    }
    for slow in [1, 2] {
        let name = format!("an answer waits for the disk of h{slow}");
        let step = || waits_for_the_disk(&mut shared.borrow_mut(), slow);
        steps.run(&name, step, || shared.borrow_mut().evidence());
    }
    steps.end()
}

fn flushed_before_the_answer(cluster: &mut Cluster, writer: usize) -> Outcome<String> {
    let traces = [attach(cluster, writer)?, attach(cluster, 3 - writer)?];
    let api = cluster.api(writer);
    let mut connection = api.connect(PATIENCE)?;
    // The first request pays for the handshake, whose bytes also leave on this connection.
    api.call_on(&mut connection, ("GET", "/version"), ("", &[]), PATIENCE)?;
    let port = connection.local_port();
    let mut seen = Vec::new();
    for number in 0..WRITES {
        // Far enough apart that no write is taken for another one's flush.
        std::thread::sleep(Duration::from_secs(1));
        let body = config_map(&format!("flushed-{writer}-{number}"), "k", "v").to_string();
        let asked = now();
        let request = ("POST", core("default", "configmaps"));
        let answer =
            api.call_on(&mut connection, (request.0, &request.1), ("application/json", body.as_bytes()), PATIENCE)?;
        ensure(answer.status == 201, || format!("{}: {}", answer.status, answer.text()))?;
        seen.push(Seen { asked, answered: now(), warned: answer.header("warning").is_some() });
    }
    std::thread::sleep(Duration::from_millis(300));
    let [here, there] = traces.map(Trace::finish);
    let (here, there) = (here?, there?);
    let warned = seen.iter().filter(|write| write.warned).count();
    ensure(warned == 0, || format!("{warned} of {WRITES} writes were acknowledged with a Warning"))?;
    for write in &seen {
        let answer = first_byte_of_answer(&here, port, write)?;
        for (calls, host) in [(&here, writer), (&there, 3 - writer)] {
            let flushed = calls.iter().any(|call| is_flush(call) && call.begun > write.asked && call.ended < answer);
            ensure(flushed, || {
                let ms = (answer - write.asked) * 1e3;
                format!(
                    "h{host} flushed nothing in the {ms:.1} ms between request and answer: {}",
                    flushes(calls, write)
                )
            })?;
        }
    }
    Ok(format!("{WRITES} of {WRITES} writes"))
}

/// With one disk made slow, an answer at either peer takes at least that long: it waited for that very disk.
fn waits_for_the_disk(cluster: &mut Cluster, slow: usize) -> Outcome<String> {
    let pid = cluster.daemon(slow).pid();
    let host = cluster.lab().host(slow);
    let trace = Trace::slow_disk(&host.netns, pid, SLOW, &host.directory.join("strace-slow"))?;
    let mut fastest = Duration::MAX;
    for (number, writer) in [1, 2, 1, 2].into_iter().enumerate() {
        let body = config_map(&format!("slow-{slow}-{number}"), "k", "v").to_string();
        let begun = std::time::Instant::now();
        let path = core("default", "configmaps");
        let answer = cluster.api(writer).call(("POST", &path), ("application/json", body.as_bytes()), PATIENCE)?;
        ensure(answer.status == 201, || format!("{}: {}", answer.status, answer.text()))?;
        ensure(answer.header("warning").is_none(), || format!("it warned: {:?}", answer.header("warning")))?;
        fastest = fastest.min(begun.elapsed());
    }
    let flushes = trace.finish()?.len();
    let said = format!("the fastest answer took {} ms, {flushes} flushes", fastest.as_millis());
    ensure(fastest >= SLOW, || format!("a flush takes {} ms more now, but {said}", SLOW.as_millis()))?;
    Ok(said)
}

fn attach(cluster: &mut Cluster, number: usize) -> Outcome<Trace> {
    let pid = cluster.daemon(number).pid();
    let host = cluster.lab().host(number);
    let path = host.directory.join("strace");
    Trace::attach(&host.netns, pid, CALLS, &path)
}

/// When the daemon began to send its answer on the client's connection.
fn first_byte_of_answer(calls: &[Call], port: u16, write: &Seen) -> Outcome<f64> {
    let socket = format!(":{port}]");
    let sends = |call: &&Call| {
        let argument = call.text.split(',').next().unwrap_or_default();
        !is_flush(call) && argument.contains(&socket) && call.begun > write.asked && call.begun < write.answered
    };
    let first = calls.iter().filter(sends).map(|call| call.begun).reduce(f64::min);
    let found = first.ok_or_else(|| format!("strace saw no answer on port {port} among {} calls", calls.len()));
    found.map_err(skein_tests::failure::Failure::new)
}

fn is_flush(call: &Call) -> bool {
    matches!(call.name.as_str(), "fsync" | "fdatasync") && call.text.contains("= 0")
}

fn flushes(calls: &[Call], write: &Seen) -> String {
    let near = calls.iter().filter(|call| is_flush(call) && (call.begun - write.asked).abs() < 1.0);
    let offsets: Vec<String> = near
        .map(|call| format!("{:+.1}..{:+.1} ms", (call.begun - write.asked) * 1e3, (call.ended - write.asked) * 1e3))
        .collect();
    format!("its flushes around, from the request on: {}", offsets.join(", "))
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}
