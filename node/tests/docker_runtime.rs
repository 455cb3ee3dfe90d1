//! The `docker` runtime with real engines: each test starts a `dockerd` of its own in a network namespace of its own, and
//! takes both down again. Needs root, and Debian's packages docker.io, iproute2 and busybox-static.
#![allow(clippy::unwrap_used)]

#[path = "runtime_driver/dockerd.rs"]
mod dockerd;
#[path = "runtime_driver/driver.rs"]
mod driver;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use skein_core::runtime::{
    ContainerRef, ContainerSpec, ContainerState, FileSpec, Mount, Place, Port, ProbeAction, PullPolicy, RuntimeAction,
    RuntimeEvent, Security, VolumeKind, VolumeSpec,
};
use skein_node::runtime::{
    Attached, DockerClient, LogOptions, Output, RuntimeConfig, RuntimeKind, Size, Wires, image_from_executable,
};
use skein_node::usage::Meter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use dockerd::Dockerd;
use driver::{Runtime, id, read, shell};

const IMAGE: &str = "skein-test/busybox:1";

fn config(engine: &Dockerd, node: &str) -> RuntimeConfig {
    RuntimeConfig {
        docker_host: Some(engine.host()),
        ..RuntimeConfig::new(RuntimeKind::Docker, "c1".to_owned(), node.to_owned(), engine.dir().join(node))
    }
}

/// An image with busybox, which serves files from /www.
async fn import_busybox(client: &DockerClient) {
    let mut archive = tar::Builder::new(Vec::new());
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(busybox.len() as u64);
    archive.append_data(&mut header, "bin/busybox", busybox.as_slice()).unwrap();
    for name in ["sh", "sleep", "echo", "hostname", "head", "tail"] {
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        archive.append_link(&mut link, format!("bin/{name}"), "busybox").unwrap();
    }
    let page = b"found\n";
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(page.len() as u64);
    archive.append_data(&mut header, "www/page", page.as_slice()).unwrap();
    let serve = r#"CMD ["busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]"#.to_owned();
    client.import_image(IMAGE, archive.into_inner().unwrap(), vec![serve]).await.unwrap();
}

fn script(uid: &str, script: &str) -> ContainerSpec {
    ContainerSpec { image: IMAGE.to_owned(), ..shell(uid, script) }
}

/// The image's own command.
fn server(uid: &str) -> ContainerSpec {
    ContainerSpec { command: Vec::new(), args: Vec::new(), ..script(uid, "") }
}

async fn set_up(engine: &Dockerd) -> Runtime {
    import_busybox(&DockerClient::new(Some(&engine.host())).unwrap()).await;
    Runtime::start(config(engine, "n1")).await
}

#[tokio::test]
async fn a_container_lives_as_its_pod_says() {
    let engine = Dockerd::start();
    let mut runtime = set_up(&engine).await;
    assert_eq!(runtime.handle.kind(), "docker");

    let said = script("a1", "echo $GREETING from `hostname`; echo bad >&2; sleep 0.4; printf end; exit 7");
    let info =
        runtime.run(ContainerSpec { memory_limit_bytes: Some(64 << 20), cpu_limit_millis: Some(500), ..said }).await;
    assert!(info.runtime_id.starts_with("docker://") && info.image == IMAGE && info.image_id.contains("sha256"));
    assert!(info.ip.is_some_and(|ip| ip.starts_with("172.")) && info.started_at_ms > 1_600_000_000_000);
    assert_eq!(
        (info.namespace.as_str(), info.pod.as_str(), info.slot.as_str()),
        ("shop", "pod-a1", "Namespace:shop@1/Pod:p@1")
    );
    let name = engine.docker(&[
        "inspect",
        "-f",
        "{{.Name}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.LogConfig.Config}}",
        "skein_main_pod-a1_a1_0",
    ]);
    assert_eq!(name, "/skein_main_pod-a1_a1_0 no map[max-file:3 max-size:10m]");

    let log = read(&runtime, &id("a1"), LogOptions { follow: true, ..LogOptions::default() }).await;
    let mut words: Vec<_> = log.split_inclusive('\n').collect();
    words.sort_unstable();
    assert_eq!(words, ["bad\n", "end", "hello world from pod-a1\n"]);
    let (ended, exit) = runtime.exit().await;
    assert_eq!((ended, exit.code, exit.oom_killed), (id("a1"), Some(7), false));
    assert!(exit.finished_at_ms >= info.started_at_ms);
    let tail = LogOptions { tail_lines: Some(1), timestamps: true, ..LogOptions::default() };
    let tail = read(&runtime, &id("a1"), tail).await;
    assert!(tail.starts_with("20") && tail.ends_with("Z end"), "{tail}");

    // What eats more memory than it may is killed, and the kernel is named.
    let hungry = ContainerSpec { memory_limit_bytes: Some(16 << 20), ..script("a2", "tail /dev/zero") };
    runtime.run(hungry).await;
    let (_, exit) = runtime.exit().await;
    assert!(exit.oom_killed && exit.code == Some(137), "{exit:?}");

    // A container that hears nothing is killed after the grace, one that was never there has ended.
    runtime.run(script("a3", "trap '' TERM; while :; do sleep 1; done")).await;
    let begun = Instant::now();
    runtime.handle.act(RuntimeAction::Stop { id: id("a3"), grace: Duration::from_secs(1) });
    assert_eq!(runtime.exit().await.1.code, Some(137));
    assert!(begun.elapsed() > Duration::from_millis(900) && begun.elapsed() < Duration::from_secs(6));
    runtime.handle.act(RuntimeAction::Stop { id: id("never"), grace: Duration::from_secs(1) });
    assert_eq!(runtime.exit().await.1.code, None);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!matches!(runtime.events.try_recv(), Ok(RuntimeEvent::Exited { .. })), "all ends were told already");
    runtime.clean_up().await;
    assert_eq!(engine.docker(&["ps", "-aq"]), "");
}

#[tokio::test]
async fn ports_and_probes_reach_the_pod_and_failures_are_told_in_words() {
    let engine = Dockerd::start();
    engine.enter_network();
    let mut runtime = set_up(&engine).await;
    let port = Port { container_port: 8080, host_port: Some(8088), host_ip: None, protocol: "TCP".to_owned() };
    let web = runtime.run(ContainerSpec { ports: vec![port.clone()], ..server("b1") }).await;
    let beside = ContainerRef { container: "beside".into(), ..id("b1") };
    let spec = ContainerSpec { id: beside.clone(), network_of: Some(id("b1")), ..script("b1", "sleep 100") };
    assert_eq!(runtime.run(spec).await.ip, web.ip, "the containers of a pod share its address");

    let get = |path: &str| ProbeAction::HttpGet {
        host: None,
        port: 8080,
        path: path.to_owned(),
        https: false,
        headers: Vec::new(),
    };
    let tcp = |port| ProbeAction::TcpSocket { host: None, port };
    let exec = |line: &str| ProbeAction::Exec(vec!["sh".to_owned(), "-c".to_owned(), line.to_owned()]);
    let mut answer = Err(String::new());
    for _ in 0..50 {
        answer = runtime.probe(&id("b1"), get("/page"), 1000).await;
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(answer, Ok(()));
    assert!(runtime.probe(&id("b1"), get("/nothing"), 1000).await.unwrap_err().contains("404"));
    assert_eq!(runtime.probe(&beside, tcp(8080), 1000).await, Ok(()));
    assert!(runtime.probe(&id("b1"), tcp(1), 1000).await.is_err());
    assert_eq!(runtime.probe(&id("b1"), exec("echo fine"), 5000).await, Ok(()));
    assert!(runtime.probe(&id("b1"), exec("echo no; exit 4"), 5000).await.unwrap_err().contains("no"));
    assert!(runtime.probe(&id("b1"), exec("sleep 3"), 300).await.unwrap_err().contains("300 ms"));

    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", 8088)).await.unwrap();
    stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    assert!(page.ends_with("found\n"), "{page}");

    let (_, message) = runtime.run_in_vain(ContainerSpec { ports: vec![port], ..server("b2") }).await;
    assert_eq!(message, "port 8088 of this host is taken already");
    let (reason, message) =
        runtime.run_in_vain(ContainerSpec { command: vec!["foo".to_owned()], ..server("b3") }).await;
    assert_eq!((reason.as_str(), message.as_str()), ("RunContainerError", "the image has no program \"foo\""));
    let (reason, message) = runtime.run_in_vain(ContainerSpec { image: "none:1".to_owned(), ..server("b4") }).await;
    assert!(reason == "CreateContainerError" && message.contains("\"none:1\" is not on this node"), "{message}");
    assert_eq!(runtime.list().await.len(), 2, "nothing is left of what failed");

    let failure = image(&mut runtime, "none:1", PullPolicy::Never).await.unwrap_err();
    assert_eq!(failure, ("Container image \"none:1\" is not present with pull policy of Never".to_owned(), true));
    let (message, permanent) = image(&mut runtime, "No Image", PullPolicy::IfNotPresent).await.unwrap_err();
    assert!(permanent && message.contains("not a valid image reference"), "{message}");
    // The namespace has no way out, so no registry can be reached.
    let (message, permanent) = image(&mut runtime, "127.0.0.9:5000/none", PullPolicy::IfNotPresent).await.unwrap_err();
    assert!(!permanent && message.contains("cannot be reached from this node"), "{message}");
    assert_eq!(image(&mut runtime, IMAGE, PullPolicy::IfNotPresent).await, Ok(()));
    runtime.clean_up().await;
}

async fn image(runtime: &mut Runtime, image: &str, policy: PullPolicy) -> Result<(), (String, bool)> {
    runtime.handle.act(RuntimeAction::EnsureImage { image: image.to_owned(), policy, logins: Vec::new() });
    let answer = runtime
        .event(|event| matches!(event, RuntimeEvent::ImageReady { .. } | RuntimeEvent::ImageFailed { .. }))
        .await;
    match answer {
        RuntimeEvent::ImageFailed { message, permanent, .. } => Err((message, permanent)),
        _ => Ok(()),
    }
}

#[tokio::test]
async fn what_runs_outlives_the_daemon_and_what_is_not_ours_is_left_alone() {
    let mut engine = Dockerd::start();
    let mut first = set_up(&engine).await;
    let running = first.run(script("c1", "while :; do sleep 1; done")).await;
    first.run(script("c2", "sleep 0.5; exit 5")).await;
    engine.docker(&["create", "--name", "skein_main_pod-c3_c3_0", IMAGE]);
    let (_, message) = first.run_in_vain(script("c3", "true")).await;
    assert!(message.contains("not this node's"), "{message}");
    first.handle.shutdown().await;
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut other = Runtime::start(config(&engine, "n2")).await;
    assert_eq!(other.list().await, []);
    other.handle.act(RuntimeAction::Stop { id: id("c1"), grace: Duration::ZERO });
    assert_eq!(other.exit().await.1.code, None, "for another node it does not exist");
    other.handle.act(RuntimeAction::Remove { id: id("c1") });
    other.event(|event| matches!(event, RuntimeEvent::Removed { .. })).await;
    other.handle.shutdown().await;

    let mut second = Runtime::start(config(&engine, "n1")).await;
    let found = second.list().await;
    assert_eq!(found[0], running, "untouched");
    assert!(matches!(&found[1].state, ContainerState::Exited(exit) if exit.code == Some(5)));
    assert_eq!(second.run(script("c1", "something else")).await, running, "a start adopts what is there");

    // Somebody else's hands.
    engine.docker(&["kill", "skein_main_pod-c1_c1_0"]);
    let (ended, exit) = second.exit().await;
    assert_eq!((ended, exit.code), (id("c1"), Some(137)));
    second.run(script("c4", "while :; do sleep 1; done")).await;
    engine.docker(&["rm", "-f", "skein_main_pod-c4_c4_0"]);
    assert_eq!(second.exit().await.0, id("c4"));

    // The engine goes away, and comes back without the container.
    second.run(script("c5", "while :; do sleep 1; done")).await;
    engine.stop();
    let away = second.capacity().await;
    assert!(!away.ready && away.message.contains("docker.sock") && away.cpu_millis > 0, "{away:?}");
    second.handle.act(RuntimeAction::List);
    let answer = second.event(|event| matches!(event, RuntimeEvent::ListFailed { .. } | RuntimeEvent::Listed(_))).await;
    assert!(matches!(answer, RuntimeEvent::ListFailed { .. }), "{answer:?}");
    engine.go();
    let (ended, exit) = second.exit().await;
    assert!(ended == id("c5") && exit.code.is_some(), "{exit:?}");
    assert!(second.capacity().await.ready);
    second.clean_up().await;
    assert_eq!(engine.docker(&["ps", "-a", "--format", "{{.Names}}"]), "skein_main_pod-c3_c3_0");
}

#[tokio::test]
async fn an_image_can_be_made_of_an_executable_of_this_machine() {
    let engine = Dockerd::start();
    let client = DockerClient::new(Some(&engine.host())).unwrap();
    let exe = env!("CARGO_BIN_EXE_skein-test-shim");
    let name = Path::new(exe).file_name().unwrap().to_str().unwrap();
    let changes = vec![format!("CMD [\"/{name}\", \"__shim\", \"/no/such/directory\"]")];
    client.import_image("skein-demo:1", image_from_executable(Path::new(exe)).unwrap(), changes).await.unwrap();

    let mut runtime = Runtime::start(config(&engine, "n1")).await;
    runtime.run(ContainerSpec { image: "skein-demo:1".to_owned(), ..server("d1") }).await;
    let mut log = runtime.handle.logs(id("d1"), LogOptions { follow: true, ..LogOptions::default() }).await.unwrap();
    let said = String::from_utf8(log.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(said.starts_with("failed") && said.contains("/no/such/directory"), "it runs with its libraries: {said}");
    assert_eq!(runtime.exit().await.1.code, Some(1));
    assert_eq!(client.remove_containers_of("another").await, Ok(0));
    assert_eq!(client.remove_containers_of("c1").await, Ok(1));
    assert_eq!(client.remove_image("skein-demo:1").await, Ok(()));
    assert_eq!(client.remove_image("skein-demo:1").await, Ok(()), "it is gone already");
    runtime.clean_up().await;
    assert!(Command::new("docker").args(["-H", &engine.host(), "images", "-q"]).output().unwrap().stdout.is_empty());
}

#[tokio::test]
async fn people_are_connected_with_commands_containers_and_ports() {
    let engine = Dockerd::start();
    let mut runtime = set_up(&engine).await;
    let input = ContainerSpec { stdin: true, stdin_once: true, ..script("s1", "busybox cat") };
    runtime.run(input).await;
    runtime.run(server("s2")).await;
    let handle = runtime.handle.clone();
    let words = |text: &str| vec!["sh".to_owned(), "-c".to_owned(), text.to_owned()];
    let wires = Wires { stdin: true, stdout: true, stderr: true, tty: false };

    let mut attached = handle.exec(&id("s2"), words("busybox wc -c; echo bad >&2; exit 4"), wires).await.unwrap();
    let mut stdin = attached.stdin.take().unwrap();
    stdin.write_all(&vec![0; 1 << 20]).await.unwrap();
    stdin.shutdown().await.unwrap();
    let (out, error, code) = hear(attached).await;
    assert_eq!((out.trim(), error.as_str(), code), ("1048576", "bad\n", Ok(4)));

    let tty = Wires { tty: true, ..wires };
    let attached = handle.exec(&id("s2"), words("sleep 1; busybox stty size"), tty).await.unwrap();
    attached.resize.as_ref().unwrap()(Size { width: 99, height: 33 }).await;
    let (out, error, code) = hear(attached).await;
    assert_eq!((out.trim(), error.as_str(), code), ("33 99", "", Ok(0)));

    let mut attached = handle.attach(&id("s1"), wires).await.unwrap();
    let mut stdin = attached.stdin.take().unwrap();
    stdin.write_all(b"hello\n").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(hear(attached).await.0, "hello\n");
    assert_eq!(runtime.exit().await.1.code, Some(0), "its input ended with that of its first client");
    let gone = handle.exec(&id("s1"), words("true"), wires).await.err().unwrap().to_string();
    assert_eq!(gone, "container not found (\"main\")");

    engine.enter_network();
    let mut page = handle.dial(&id("s2"), 8080).await.unwrap();
    page.write_all(b"GET /page HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    page.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("found\n"), "{answer}");
    let refused = handle.dial(&id("s2"), 1).await.err().unwrap().to_string();
    assert!(refused.ends_with("connect: connection refused"), "{refused}");
    runtime.clean_up().await;
}

/// What a process says on each of its outputs, and its exit code.
async fn hear(attached: Attached) -> (String, String, Result<i32, String>) {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let Attached { mut output, outcome, .. } = attached;
    while let Some(piece) = output.next().await {
        match piece.unwrap() {
            Output::Stdout(bytes) => out.extend_from_slice(&bytes),
            Output::Stderr(bytes) => errors.extend_from_slice(&bytes),
        }
    }
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(out), text(errors), outcome.await)
}

/// Lays out the volumes of a pod; why not, if they cannot be.
async fn lay_out(runtime: &mut Runtime, uid: &str, volumes: Vec<VolumeSpec>) -> Result<(), String> {
    runtime.handle.act(RuntimeAction::WriteVolumes { uid: uid.into(), volumes: volumes.into() });
    let is_answer = |event: &RuntimeEvent| {
        matches!(event, RuntimeEvent::VolumesWritten { .. } | RuntimeEvent::VolumesFailed { .. })
    };
    match runtime.event(is_answer).await {
        RuntimeEvent::VolumesFailed { message, .. } => Err(message),
        _ => Ok(()),
    }
}

fn files(name: &str, text: &str, memory: bool) -> VolumeSpec {
    let file = FileSpec::of(text.as_bytes().to_vec(), 0o440);
    let kind = VolumeKind::Files { files: [("key".to_owned(), file)].into(), memory };
    VolumeSpec { name: name.to_owned(), kind, group: Some(4242) }
}

fn mount(volume: &str, place: Place) -> Mount {
    let read_only = !volume.starts_with("empty");
    Mount { volume: volume.to_owned(), place, path: format!("/mnt/{volume}"), sub_path: String::new(), read_only }
}

fn with_volumes(uid: &str, container: &str, line: &str) -> ContainerSpec {
    ContainerSpec {
        id: ContainerRef { container: container.into(), ..id(uid) },
        mounts: vec![
            mount("config", Place::Disk),
            mount("secret", Place::Memory),
            mount("empty", Place::Disk),
            mount("empty-memory", Place::Memory),
        ],
        ..script(uid, line)
    }
}

#[tokio::test]
async fn a_pods_containers_share_its_volumes_and_see_changes_and_nothing_is_left() {
    let engine = Dockerd::start();
    let mut runtime = set_up(&engine).await;
    let empty = |name: &str, memory| VolumeSpec {
        name: name.to_owned(),
        kind: VolumeKind::Empty { memory },
        group: Some(4242),
    };
    let volumes = |text: &str| {
        vec![
            files("config", text, false),
            files("secret", "s3cret", true),
            empty("empty", false),
            empty("empty-memory", true),
        ]
    };
    lay_out(&mut runtime, "v1", volumes("one")).await.unwrap();

    // An init container leaves something for the others.
    runtime
        .run(with_volumes("v1", "init", "echo from init > /mnt/empty/f; head /mnt/secret/key > /mnt/empty-memory/s"))
        .await;
    assert_eq!(runtime.exit().await.1.code, Some(0));
    let user = Security { user: Some(1000), groups: vec![4242], no_new_privileges: true, ..Security::default() };
    let line = "head -n 1 /mnt/empty/f /mnt/empty-memory/s; while ! head -n 1 /mnt/config/key | busybox grep two; do sleep 0.1; done; \
                echo x > /mnt/config/new || echo read-only; echo y > /mnt/empty/g && busybox id -G";
    runtime.run(ContainerSpec { security: user, ..with_volumes("v1", "main", line) }).await;
    runtime.run(with_volumes("v1", "beside", "while ! head /mnt/empty/g 2>/dev/null; do sleep 0.1; done")).await;
    lay_out(&mut runtime, "v1", volumes("two")).await.unwrap();
    for _ in 0..2 {
        assert_eq!(runtime.exit().await.1.code, Some(0));
    }
    let main = ContainerRef { container: "main".into(), ..id("v1") };
    let log = read(&runtime, &main, LogOptions::default()).await;
    for word in ["from init", "s3cret", "two\n", "read-only", "0 4242"] {
        assert!(log.contains(word), "{word} not in {log}");
    }
    let held = engine.dir().join("n1/volumes/v1");
    assert!(held.join("config/..data/key").exists() && !held.join("secret").exists(), "a secret is on no disk");

    for info in runtime.list().await {
        runtime.handle.act(RuntimeAction::Remove { id: info.id });
        runtime.event(|event| matches!(event, RuntimeEvent::Removed { .. })).await;
    }
    runtime.handle.act(RuntimeAction::RemoveVolumes { uid: "v1".into() });
    runtime.event(|event| matches!(event, RuntimeEvent::VolumesRemoved { .. })).await;
    assert!(!held.exists());

    // What an earlier life left of a pod without containers goes with the first list.
    lay_out(&mut runtime, "v2", volumes("one")).await.unwrap();
    runtime.handle.shutdown().await;
    let mut later = Runtime::start(config(&engine, "n1")).await;
    assert!(engine.dir().join("n1/volumes/v2").exists());
    later.list().await;
    assert!(!engine.dir().join("n1/volumes/v2").exists());
    let missing = VolumeKind::Host { path: "/no/such".to_owned(), kind: "Directory".to_owned() };
    let why = lay_out(&mut later, "v3", vec![VolumeSpec { name: "h".to_owned(), kind: missing, group: None }]).await;
    assert!(why.unwrap_err().contains("hostPath type check failed"));
    later.clean_up().await;
}

#[tokio::test]
async fn what_a_container_may_do_is_what_its_pod_says() {
    let engine = Dockerd::start();
    let mut runtime = set_up(&engine).await;
    let with = |uid: &str, security, line: &str| ContainerSpec { security, ..script(uid, line) };
    let non_root = Security { non_root: true, ..Security::default() };
    let (reason, message) = runtime.run_in_vain(with("s1", non_root.clone(), "true")).await;
    assert_eq!(reason, "CreateContainerConfigError");
    assert!(
        message.starts_with("container has runAsNonRoot and image will run as root (pod: \"pod-s1_shop(s1)\""),
        "{message}"
    );
    let plain = Security { user: Some(1000), group: Some(7), groups: vec![9], read_only_root: true, ..non_root };
    let hosts = vec![("db".to_owned(), "10.9.8.7".to_owned())];
    let line = "busybox id; echo x > /f || echo cannot write; busybox grep 10.9.8.7 /etc/hosts; hostname";
    let spec = ContainerSpec { host_aliases: hosts, hostname: "me".to_owned(), ..with("s2", plain, line) };
    runtime.run(spec).await;
    runtime.exit().await;
    let log = read(&runtime, &id("s2"), LogOptions::default()).await;
    for word in ["uid=1000 gid=7 groups=7,9", "cannot write", "db", "me\n"] {
        assert!(log.contains(word), "{word} not in {log}");
    }
    runtime.clean_up().await;
}

#[tokio::test]
async fn what_a_container_uses_is_what_its_engine_counts() {
    let engine = Dockerd::start();
    let mut runtime = set_up(&engine).await;
    runtime.run(ContainerSpec { cpu_limit_millis: Some(300), ..script("u1", "while :; do :; done") }).await;
    runtime.run(script("u2", "sleep 60; :")).await;
    runtime.run(script("u3", "exit 0")).await;
    runtime.exit().await;
    let meter = Meter::new(runtime.handle.clone());
    let answer = meter.usage().await;
    let uids: Vec<&str> = answer.containers.iter().map(|container| container.uid.as_str()).collect();
    assert_eq!(uids, ["u1", "u2"], "{answer:?}");
    let [busy, idle] = [0, 1].map(|n: usize| answer.containers[n].used);
    assert!(busy.cpu_nanocores > 50_000_000 && busy.cpu_nanocores < 450_000_000, "{answer:?}");
    assert!(idle.cpu_nanocores < 50_000_000, "{answer:?}");
    assert!(idle.memory_bytes > 10_000 && idle.memory_bytes < 64 << 20, "{answer:?}");
    runtime.clean_up().await;
}

#[tokio::test]
async fn a_container_that_is_added_sees_the_processes_and_the_network_of_the_one_beside_it() {
    let engine = Dockerd::start();
    let mut runtime = set_up(&engine).await;
    runtime.run(script("p1", "exec busybox httpd -f -p 8080 -h /www")).await;
    let beside = ContainerRef { container: "debugger".into(), ..id("p1") };
    let look = "busybox tr '\\0' ' ' < /proc/1/cmdline; echo; busybox wget -qO - 127.0.0.1:8080/page";
    let spec =
        ContainerSpec { id: beside.clone(), network_of: Some(id("p1")), pid_of: Some(id("p1")), ..script("p1", look) };
    runtime.run(spec).await;
    let (ended, exit) = runtime.exit().await;
    let said = read(&runtime, &beside, LogOptions::default()).await;
    assert_eq!((&ended, exit.code), (&beside, Some(0)), "{said}");
    assert!(said.contains("httpd -f -p 8080") && said.contains("found"), "{said}");
    runtime.clean_up().await;
}
