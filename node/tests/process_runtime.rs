//! The `process` runtime with real processes on this machine.
#![allow(clippy::unwrap_used)]

#[path = "runtime_driver/driver.rs"]
mod driver;

use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use skein_core::runtime::{
    ContainerInfo, ContainerRef, ContainerSpec, ContainerState, Port, ProbeAction, PullPolicy, RuntimeAction,
    RuntimeEvent, Security, VolumeKind, VolumeSpec,
};
use skein_node::runtime::{Attached, LogOptions, Output, RuntimeConfig, RuntimeKind, SessionError, ShimCommand, Wires};
use skein_node::usage::Meter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use driver::{Runtime, id, read, shell};

async fn open(data_dir: &Path) -> Runtime {
    open_as(data_dir, "n1", 10_000_000).await
}

async fn open_as(data_dir: &Path, node: &str, log_max_bytes: u64) -> Runtime {
    let program = env!("CARGO_BIN_EXE_skein-test-shim").into();
    let config = RuntimeConfig {
        shim: ShimCommand { program, args: vec!["__shim".to_owned()] },
        log_max_bytes,
        ..RuntimeConfig::new(RuntimeKind::Process, "c1".to_owned(), node.to_owned(), data_dir.to_owned())
    };
    Runtime::start(config).await
}

fn pid_of(info: &ContainerInfo) -> i32 {
    info.runtime_id.strip_prefix("process://").unwrap().parse().unwrap()
}

/// Zombies are as good as gone: in a test's container nobody may collect them.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !matches!(stat.rsplit(") ").next().and_then(|rest| rest.chars().next()), None | Some('Z' | 'X'))
}

#[tokio::test]
async fn a_process_runs_with_its_environment_and_its_end_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut runtime = open(dir.path()).await;
    runtime.handle.act(RuntimeAction::EnsureImage {
        image: "no/such:image".to_owned(),
        policy: PullPolicy::Always,
        logins: Vec::new(),
    });
    runtime.event(|event| matches!(event, RuntimeEvent::ImageReady { .. })).await;

    let spec = shell("a1", "echo $GREETING on $POD_IP, $HOSTNAME; echo bad >&2; printf end; exit 7");
    runtime.handle.act(RuntimeAction::Start(Box::new(spec)));
    let notice = runtime.event(|event| matches!(event, RuntimeEvent::Notice { .. })).await;
    assert!(matches!(&notice, RuntimeEvent::Notice { reason, message, .. }
        if reason == "ImageIgnored" && message.contains("busybox:1")));
    let RuntimeEvent::Started(info) = runtime.event(|event| matches!(event, RuntimeEvent::Started(_))).await else {
        unreachable!()
    };
    let ip = info.ip.clone().unwrap();
    assert!(ip.starts_with("127.") && ip != "127.0.0.1", "{ip}");
    assert_eq!((info.namespace.as_str(), info.pod.as_str(), info.write.as_str()), ("shop", "pod-a1", "abcd"));

    let (ended, exit) = runtime.exit().await;
    assert_eq!((ended, exit.code, exit.oom_killed), (id("a1"), Some(7), false));
    assert!(exit.finished_at_ms >= info.started_at_ms && info.started_at_ms > 0);
    let log = read(&runtime, &id("a1"), LogOptions { follow: true, ..LogOptions::default() }).await;
    let mut lines: Vec<_> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["bad".to_owned(), "end".to_owned(), format!("hello world on {ip}, pod-a1")]);

    let ContainerState::Exited(listed) = runtime.list().await.remove(0).state else { panic!("it has ended") };
    assert_eq!(listed, exit);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!matches!(runtime.events.try_recv(), Ok(RuntimeEvent::Exited { .. })), "its end was told already");
    runtime.clean_up().await;
    let left: Vec<_> = std::fs::read_dir(dir.path().join("process")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_cannot_run_says_why_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut runtime = open(dir.path()).await;
    let no_command = ContainerSpec { command: Vec::new(), args: Vec::new(), ..shell("b1", "") };
    let (reason, message) = runtime.run_in_vain(no_command).await;
    assert!(reason == "CreateContainerError" && message.contains("needs a command"), "{reason} {message}");

    let no_program = ContainerSpec { command: vec!["no-such-program".to_owned()], ..shell("b2", "") };
    let (reason, message) = runtime.run_in_vain(no_program).await;
    assert!(reason == "RunContainerError" && message.contains("no-such-program"), "{reason} {message}");

    let no_place = ContainerSpec { working_dir: "/no/such/place".to_owned(), ..shell("b3", "true") };
    assert!(runtime.run_in_vain(no_place).await.1.contains("/no/such/place"));

    let hostile = shell("../../b4", "true");
    assert_eq!(runtime.run_in_vain(hostile).await.0, "CreateContainerError");

    let security = Security { user: Some(1000), ..Security::default() };
    let (reason, message) = runtime.run_in_vain(ContainerSpec { security, ..shell("b5", "true") }).await;
    assert!(reason == "CreateContainerError" && message.contains("cannot honour a securityContext"), "{message}");
    let scratch = VolumeSpec { name: "scratch".to_owned(), kind: VolumeKind::Empty { memory: false }, group: None };
    runtime.handle.act(RuntimeAction::WriteVolumes { uid: "b6".into(), volumes: [scratch].into() });
    match runtime.event(|event| matches!(event, RuntimeEvent::VolumesFailed { .. })).await {
        RuntimeEvent::VolumesFailed { message, .. } => assert!(message.contains("without isolation"), "{message}"),
        other => panic!("{other:?}"),
    }
    runtime.handle.act(RuntimeAction::RemoveVolumes { uid: "b6".into() });
    runtime.event(|event| matches!(event, RuntimeEvent::VolumesRemoved { .. })).await;
    assert_eq!(runtime.list().await, []);
    runtime.clean_up().await;
}

#[tokio::test]
async fn a_stop_asks_first_and_then_kills_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut runtime = open(dir.path()).await;
    runtime.run(shell("c1", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")).await;
    // The trap must be set before the signal comes.
    let up = ProbeAction::Exec(vec!["true".to_owned()]);
    assert_eq!(runtime.probe(&id("c1"), up, 5000).await, Ok(()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    runtime.handle.act(RuntimeAction::Stop { id: id("c1"), grace: Duration::from_secs(10) });
    assert_eq!(runtime.exit().await.1.code, Some(3));
    // The whole group is asked, so the shell may tell that its `sleep` ended too.
    let log = read(&runtime, &id("c1"), LogOptions::default()).await;
    assert!(log.starts_with("up\n") && log.contains("bye\n"), "{log}");

    // One that hears nothing, with a child that left its group.
    let script = "trap '' TERM; setsid sleep 1000 & echo $!; while :; do sleep 1; done";
    let info = runtime.run(shell("c2", script)).await;
    let mut follow = runtime.handle.logs(id("c2"), LogOptions { follow: true, ..LogOptions::default() }).await.unwrap();
    let escaped: i32 =
        String::from_utf8(follow.next().await.unwrap().unwrap().to_vec()).unwrap().trim().parse().unwrap();
    assert!(runs(escaped) && runs(pid_of(&info)));
    let begun = Instant::now();
    runtime.handle.act(RuntimeAction::Stop { id: id("c2"), grace: Duration::from_millis(400) });
    assert_eq!(runtime.exit().await.1.code, Some(128 + 9));
    assert!(begun.elapsed() >= Duration::from_millis(400) && begun.elapsed() < Duration::from_secs(5));
    assert!(!runs(escaped) && !runs(pid_of(&info)), "nothing of it goes on");

    runtime.handle.act(RuntimeAction::Stop { id: id("never-was"), grace: Duration::from_secs(1) });
    assert_eq!(runtime.exit().await.1.code, None);
    runtime.clean_up().await;
}

#[tokio::test]
async fn a_restarted_daemon_finds_what_runs_and_what_ended_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = open(dir.path()).await;
    let running = first.run(shell("d1", "while :; do sleep 0.1; done")).await;
    let ending = first.run(shell("d2", "sleep 0.6; echo late; exit 5")).await;
    first.handle.shutdown().await;
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut other = open_as(dir.path(), "another-node", 1000).await;
    assert_eq!(other.list().await, [], "another node's containers are not its own");
    other.handle.act(RuntimeAction::Stop { id: id("d1"), grace: Duration::ZERO });
    assert!(matches!(other.event(|_| true).await, RuntimeEvent::StopFailed { message, .. } if message.contains("n1")));

    let mut second = open(dir.path()).await;
    let mut found = second.list().await;
    found.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(found[0], running, "untouched");
    assert_eq!(found[1].runtime_id, ending.runtime_id);
    assert!(matches!(&found[1].state, ContainerState::Exited(exit) if exit.code == Some(5)), "{:?}", found[1].state);
    assert_eq!(read(&second, &id("d2"), LogOptions::default()).await, "late\n");

    let adopted = second.run(shell("d1", "another command")).await;
    assert_eq!(adopted, running, "a start adopts what is there");

    // The end of one that it only found is told as well: here of one whose shim was killed with it.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid_of(&running))).unwrap();
    let shim: i32 = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL).unwrap();
    let (ended, exit) = second.exit().await;
    assert_eq!((ended, exit.code), (id("d1"), None));
    assert!(exit.message.contains("nobody saw"), "{}", exit.message);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!runs(pid_of(&running)), "what nobody holds must not go on");
    second.clean_up().await;
}

#[tokio::test]
async fn logs_are_followed_through_rotations_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut runtime = open_as(dir.path(), "n1", 2000).await;
    let script =
        "for i in 1 2 3 4 5 6 7 8 9; do for j in 0 1 2 3 4 5 6 7 8 9; do echo line $i$j; done; sleep 0.15; done";
    runtime.run(shell("e1", script)).await;
    let followed = read(&runtime, &id("e1"), LogOptions { follow: true, ..LogOptions::default() }).await;
    let expected: String = (10..100).map(|number| format!("line {number}\n")).collect();
    assert_eq!(followed, expected);

    let state = dir.path().join("process/e1_main_0");
    assert!(state.join("log.2").exists() && !state.join("log.3").exists());
    let tail = read(&runtime, &id("e1"), LogOptions { tail_lines: Some(2), ..LogOptions::default() }).await;
    assert_eq!(tail, "line 98\nline 99\n");
    let stamped = LogOptions { tail_lines: Some(1), timestamps: true, ..LogOptions::default() };
    let stamped = read(&runtime, &id("e1"), stamped).await;
    assert!(stamped.starts_with("20") && stamped.ends_with("Z line 99\n"), "{stamped}");
    let previous = LogOptions { previous: true, ..LogOptions::default() };
    assert!(runtime.handle.logs(id("e1"), previous).await.is_err());
    assert!(runtime.handle.logs(id("none"), LogOptions::default()).await.is_err());
    runtime.clean_up().await;
}

/// Starts a container whose port 8080 is published at a port of this host that nobody has. Only the bind itself tells
/// which one that is: what a look finds free, another process may have taken since. The system gives none below 32768
/// to whoever asks for any port.
async fn publish(runtime: &mut Runtime, spec: ContainerSpec) -> (Port, ContainerInfo) {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    for host_port in first..first + 20 {
        let port = Port { container_port: 8080, host_port: Some(host_port), host_ip: None, protocol: "TCP".to_owned() };
        let spec = ContainerSpec { ports: vec![port.clone()], ..spec.clone() };
        runtime.handle.act(RuntimeAction::Start(Box::new(spec)));
        let is_answer =
            |event: &RuntimeEvent| matches!(event, RuntimeEvent::Started(_) | RuntimeEvent::StartFailed { .. });
        match runtime.event(is_answer).await {
            RuntimeEvent::Started(info) => return (port, info),
            RuntimeEvent::StartFailed { message, .. } => assert!(message.contains("is taken already"), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    panic!("20 ports from {first} on are all taken");
}

#[tokio::test]
async fn a_published_port_leads_to_the_address_of_the_pod() {
    let dir = tempfile::tempdir().unwrap();
    let mut runtime = open(dir.path()).await;
    let serve = r#"mkdir -p $DIR; echo found > $DIR/page; exec busybox httpd -f -p $POD_IP:8080 -h $DIR"#;
    let www = dir.path().join("www").display().to_string();
    let env = vec![("DIR".to_owned(), www)];
    let (port, info) = publish(&mut runtime, ContainerSpec { env, ..shell("f1", serve) }).await;
    let host_port = port.host_port.unwrap();
    let ip = info.ip.unwrap();

    let http = |path: &str| ProbeAction::HttpGet {
        host: None,
        port: 8080,
        path: path.to_owned(),
        https: false,
        headers: Vec::new(),
    };
    let mut answer = Err(String::new());
    for _ in 0..50 {
        answer = runtime.probe(&id("f1"), http("/page"), 1000).await;
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(answer, Ok(()));
    assert!(runtime.probe(&id("f1"), http("/nothing"), 1000).await.unwrap_err().contains("404"));
    assert_eq!(runtime.probe(&id("f1"), ProbeAction::TcpSocket { host: None, port: 8080 }, 1000).await, Ok(()));
    let exec = |script: &str| ProbeAction::Exec(vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()]);
    assert_eq!(runtime.probe(&id("f1"), exec("test -e $DIR/page"), 5000).await, Ok(()));
    assert!(runtime.probe(&id("f1"), exec("echo no; exit 4"), 5000).await.unwrap_err().contains("no"));
    assert!(runtime.probe(&id("f1"), exec("sleep 100"), 200).await.unwrap_err().contains("200 ms"));

    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", host_port)).await.unwrap();
    stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    assert!(page.ends_with("found\n"), "{page}");

    // The second container of the pod has the first one's address; another pod cannot have the same port.
    let beside = ContainerRef { container: "beside".into(), ..id("f1") };
    let spec = ContainerSpec { id: beside, network_of: Some(id("f1")), ..shell("f1", "sleep 100") };
    assert_eq!(runtime.run(spec).await.ip.as_deref(), Some(ip.as_str()));
    let spec = ContainerSpec { ports: vec![port], ..shell("f2", "sleep 100") };
    let (_, message) = runtime.run_in_vain(spec).await;
    assert!(message.contains("taken") && message.contains(&host_port.to_string()), "{message}");
    runtime.clean_up().await;
}

/// Everything that a process says on both its outputs, sorted since they may overtake each other, and its exit code.
async fn hear(attached: Attached) -> (Vec<String>, Result<i32, String>) {
    let mut all = Vec::new();
    let Attached { stdin, mut output, outcome, .. } = attached;
    while let Some(piece) = output.next().await {
        let (Output::Stdout(bytes) | Output::Stderr(bytes)) = piece.unwrap();
        all.extend_from_slice(&bytes);
    }
    drop(stdin);
    let mut lines: Vec<String> = String::from_utf8(all).unwrap().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    (lines, outcome.await)
}

#[tokio::test]
async fn a_command_runs_beside_a_container_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut runtime = open(dir.path()).await;
    runtime.run(shell("x1", "echo begun; sleep 100")).await;
    let script = |text: &str| vec!["sh".to_owned(), "-c".to_owned(), text.to_owned()];
    let all = Wires { stdin: true, stdout: true, stderr: true, tty: false };
    let exec = async |text: &str| runtime.handle.exec(&id("x1"), script(text), all).await.unwrap();

    let mut attached = exec("cat; echo $GREETING; echo bad >&2; exit 4").await;
    let stdin = attached.stdin.as_mut().unwrap();
    stdin.write_all(b"input\n").await.unwrap();
    stdin.shutdown().await.unwrap();
    attached.stdin = None;
    assert_eq!(hear(attached).await, (vec!["bad".into(), "hello world".into(), "input".into()], Ok(4)));

    let (lines, code) = hear(exec("sleep 1000 >/dev/null 2>&1 </dev/null & echo $!").await).await;
    assert_eq!(code, Ok(0));
    let gone = async |pid: &str| {
        let (pid, begun) = (pid.parse().unwrap(), Instant::now());
        while runs(pid) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{pid} still runs");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    gone(&lines[0]).await;
    let mut attached = exec("echo $$; sleep 1000").await;
    let Output::Stdout(pid) = attached.output.next().await.unwrap().unwrap() else { panic!("an error") };
    drop(attached);
    gone(std::str::from_utf8(&pid).unwrap().trim()).await;
    runtime.clean_up().await;
}

#[tokio::test]
async fn what_cannot_be_connected_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut runtime = open(dir.path()).await;
    runtime.run(shell("y1", "while :; do echo tick; sleep 0.1; done")).await;
    let words = |result: Result<Attached, SessionError>| result.err().unwrap().to_string();
    let handle = runtime.handle.clone();
    let exec = async |uid: &str, program: &str, wires| words(handle.exec(&id(uid), vec![program.into()], wires).await);
    let output = Wires { stdout: true, ..Wires::default() };
    assert_eq!(exec("y2", "true", output).await, "container not found (\"main\")");
    assert!(exec("y1", "true", Wires { tty: true, ..output }).await.contains("no terminals"));
    assert!(exec("y1", "no-such-program", output).await.contains("executable file not found"));
    let input = handle.attach(&id("y1"), Wires { stdin: true, ..output }).await;
    assert!(words(input).contains("no standard input"));
    let mut attached = handle.attach(&id("y1"), output).await.unwrap();
    // On a busy machine two lines may be there at the first look.
    let Output::Stdout(said) = attached.output.next().await.unwrap().unwrap() else { panic!("an error") };
    assert!(said.starts_with(b"tick\n"), "{said:?}");
    let refused = handle.dial(&id("y1"), 1).await.err().unwrap().to_string();
    assert!(refused.ends_with("connect: connection refused"), "{refused}");
    runtime.clean_up().await;
}

#[tokio::test]
async fn what_a_process_uses_is_counted_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let mut runtime = open(dir.path()).await;
    runtime.run(shell("u1", "sh -c 'while :; do :; done' & sleep 60; :")).await;
    runtime.run(shell("u2", "sleep 60; :")).await;
    let meter = Meter::new(runtime.handle.clone());
    let answer = meter.usage().await;
    let of = |uid: &str| answer.containers.iter().find(|container| container.uid == uid).unwrap().used;
    let (busy, idle) = (of("u1"), of("u2"));
    // However busy this machine is otherwise.
    assert!(busy.cpu_nanocores > 50_000_000 && busy.cpu_nanocores < 1_500_000_000, "{answer:?}");
    assert!(idle.cpu_nanocores < 50_000_000 && idle.memory_bytes > 100_000, "{answer:?}");
    assert!(answer.machine.unwrap().cpu_nanocores > 50_000_000 && answer.window_ms >= 1000, "{answer:?}");
    let handle = runtime.handle.clone();
    runtime.clean_up().await;
    assert_eq!(handle.usage().await.unwrap().len(), 0);
}
