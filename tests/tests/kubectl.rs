//! An unmodified kubectl against each of three peers in turn: the verbs that a Deployment needs from its first apply to
//! its last container.

#![allow(clippy::unwrap_used)]

#[path = "kubectl/sessions.rs"]
mod sessions;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use skein_tests::cluster::Cluster;
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::steps::{Steps, say};
use skein_tests::wait::eventually;

const PEERS: [usize; 3] = [1, 2, 3];
const PATIENCE: Duration = Duration::from_secs(60);

type Step = fn(&Cluster, usize) -> Outcome<String>;

const STEPS: [(&str, Step); 19] = [
    ("version and api-resources", version_and_resources),
    ("create namespace and configmap", creates),
    ("apply, apply a change, apply it again", applies),
    ("rollout status", rollout_status),
    ("get nodes", gets_nodes),
    ("get pods with -A, -l and -o", gets_pods),
    ("get -w", watches),
    ("describe", describes),
    ("scale and wait", scales_and_waits),
    ("logs of every pod", reads_logs),
    ("logs -f", follows_logs),
    ("exec, with its exit code and a megabyte of input", sessions::executes),
    ("cp there and back", sessions::copies),
    ("attach and run -i", sessions::attaches),
    ("port-forward", sessions::forwards),
    ("exec and port-forward over WebSockets", sessions::over_websockets),
    ("events", lists_events),
    ("delete and wait for it", deletes),
    ("errors in Kubernetes' words", errs),
];

#[test]
fn kubectl_works_against_every_peer() -> Outcome<()> {
    let mut steps = Steps::of("kubectl");
    let mut cluster = Cluster::form(Lab::with_engines(3)?, 3)?;
    say(&format!("   kubectl 1.{}", minor_version(&cluster)?));
    let shared = std::cell::RefCell::new(&mut cluster);
    for peer in PEERS {
        for (name, step) in STEPS {
            let run = || step(&shared.borrow(), peer);
            steps.run(&format!("{name}, at h{peer}"), run, || shared.borrow_mut().evidence());
        }
    }
    steps.end()
}

/// Each peer is asked about a namespace of its own.
fn space(peer: usize) -> String {
    format!("space-{peer}")
}

fn kubectl(cluster: &Cluster, peer: usize, line: &str) -> Outcome<String> {
    let space = space(peer);
    let mut arguments = vec!["-n", space.as_str()];
    arguments.extend(line.split_whitespace());
    cluster.kubectl_says(peer, &arguments, "")
}

/// The 32 of a kubectl 1.32: where there is no recent one, Debian's serves, which lacks some of the verbs.
fn minor_version(cluster: &Cluster) -> Outcome<u32> {
    let version: Value = serde_json::from_str(&cluster.kubectl_says(1, &["version", "--client", "-o", "json"], "")?)?;
    let minor = version["clientVersion"]["minor"].as_str().unwrap_or_default();
    Ok(minor.trim_matches(|c: char| !c.is_ascii_digit()).parse()?)
}

fn contains(text: &str, wanted: &[&str]) -> Outcome<String> {
    let missing: Vec<&&str> = wanted.iter().filter(|word| !text.contains(**word)).collect();
    ensure(missing.is_empty(), || format!("{missing:?} missing in:\n{text}"))?;
    Ok(String::new())
}

/// A Deployment whose containers say hello and then count the seconds.
fn manifest(replicas: usize, greeting: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {{app: web}}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app: web}}
  template:
    metadata:
      labels: {{app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: web
        image: bb:1
        command: ["sh", "-c", "trap 'exit 0' TERM; echo $GREETING; n=0; while :; do n=$((n+1)); echo tick $n; sleep 1 & wait $!; done"]
        env:
        - name: GREETING
          value: {greeting}
"#
    )
}

fn version_and_resources(cluster: &Cluster, peer: usize) -> Outcome<String> {
    contains(&kubectl(cluster, peer, "version")?, &["Client Version", "Server Version"])?;
    let kinds = ["namespaces", "nodes", "pods", "deployments", "replicasets", "configmaps", "events", "services"];
    contains(&kubectl(cluster, peer, "api-resources")?, &kinds)
}

fn creates(cluster: &Cluster, peer: usize) -> Outcome<String> {
    cluster.kubectl_says(peer, &["create", "namespace", &space(peer)], "")?;
    kubectl(cluster, peer, "create configmap settings --from-literal=colour=green")?;
    let colour = kubectl(cluster, peer, "get configmap settings -o jsonpath={.data.colour}")?;
    ensure(colour == "green", || format!("the entry reads {colour:?}"))?;
    keeps_secrets(cluster, peer)
}

/// A Secret is there at every peer, described by its length alone, and can be deleted.
fn keeps_secrets(cluster: &Cluster, peer: usize) -> Outcome<String> {
    kubectl(cluster, peer, "create secret generic login --from-literal=password=hunter2")?;
    contains(&kubectl(cluster, peer, "get secret login")?, &["NAME", "TYPE", "DATA", "login", "Opaque", "1"])?;
    contains(&kubectl(cluster, peer, "describe secret login")?, &["password:", "7 bytes"])?;
    for other in cluster.members() {
        let path = "get secret login -o jsonpath={.data.password}";
        let line = || -> Outcome<()> {
            let arguments: Vec<&str> = path.split(' ').collect();
            let space = space(peer);
            let said = cluster.kubectl_says(other, &[&["-n", &space][..], &arguments].concat(), "")?;
            ensure(said == "aHVudGVyMg==", || format!("h{other} reads {said:?}"))
        };
        eventually("the secret at every peer", Duration::from_secs(5), line)?;
    }
    kubectl(cluster, peer, "delete secret login")?;
    Ok(String::new())
}

fn applies(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let apply = |manifest: &str| cluster.kubectl_says(peer, &["-n", &space(peer), "apply", "-f", "-"], manifest);
    contains(&apply(&manifest(2, "hello"))?, &["deployment.apps/web created"])?;
    contains(&apply(&manifest(3, "welcome"))?, &["deployment.apps/web configured"])?;
    contains(&apply(&manifest(3, "welcome"))?, &["deployment.apps/web unchanged"])?;
    let container = "get deployment web -o jsonpath={.spec.template.spec.containers[0].env[0].value}";
    contains(&kubectl(cluster, peer, container)?, &["welcome"])
}

fn rollout_status(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let begun = Instant::now();
    contains(&kubectl(cluster, peer, "rollout status deployment/web --timeout=60s")?, &["successfully rolled out"])?;
    Ok(format!("rolled out after {:.1} s", begun.elapsed().as_secs_f64()))
}

fn gets_nodes(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let table = kubectl(cluster, peer, "get nodes")?;
    contains(&table, &["NAME", "STATUS", "h1", "h2", "h3"])?;
    let ready = table.lines().filter(|line| line.split_whitespace().nth(1) == Some("Ready")).count();
    ensure(ready == 3, || table.clone())?;
    contains(&kubectl(cluster, peer, "get nodes -o wide")?, &["INTERNAL-IP", "10.99.0.1", "10.99.0.2", "10.99.0.3"])
}

fn gets_pods(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let running = || {
        let table = kubectl(cluster, peer, "get pods -l app=web")?;
        let running = table.lines().filter(|line| line.contains("1/1") && line.contains("Running")).count();
        ensure(running == 3 && table.lines().count() == 4, || table.clone())
    };
    eventually("three running pods and no other", PATIENCE, running)?;
    contains(&kubectl(cluster, peer, "get pods -o wide")?, &["NODE", "IP", "web-"])?;
    contains(&kubectl(cluster, peer, "get pods -A")?, &["NAMESPACE", &space(peer)])?;
    contains(&kubectl(cluster, peer, "get deployments")?, &["web", "3/3"])?;
    contains(&kubectl(cluster, peer, "get all")?, &["pod/web-", "deployment.apps/web", "replicaset.apps/web-"])?;
    ensure(kubectl(cluster, peer, "get pods -l app=other")?.is_empty(), || "a label selects too much".to_owned())?;
    let pods: Value = serde_json::from_str(&kubectl(cluster, peer, "get pods -o json")?)?;
    ensure(pods["items"][0]["status"]["phase"] == "Running", || pods.to_string())?;
    let yaml = kubectl(cluster, peer, "get deployment web -o yaml")?;
    let deployment: Value = serde_yaml_ng::from_str(&yaml)?;
    ensure(deployment["spec"]["replicas"] == 3 && deployment["status"]["readyReplicas"] == 3, || yaml)?;
    Ok(String::new())
}

fn watches(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let stream = Stream::of(cluster, peer, "get configmaps -w")?;
    stream.until("settings", PATIENCE)?;
    // The change comes through another peer than the watch.
    let other = peer % PEERS.len() + 1;
    let (space, begun) = (space(peer), Instant::now());
    cluster.kubectl_says(other, &["-n", &space, "create", "configmap", "news", "--from-literal=a=b"], "")?;
    stream.until("news", PATIENCE)?;
    Ok(format!("seen {} ms after kubectl was started at h{other}", begun.elapsed().as_millis()))
}

fn describes(cluster: &Cluster, peer: usize) -> Outcome<String> {
    contains(
        &kubectl(cluster, peer, "describe deployment web")?,
        &["web", "RollingUpdate", "3 desired", "NewReplicaSet"],
    )?;
    contains(&kubectl(cluster, peer, "describe pods -l app=web")?, &["Node:", "bb:1", "Running", "GREETING"])?;
    contains(&kubectl(cluster, peer, "describe node h2")?, &["Capacity", "Allocatable", "Ready", "web-"])?;
    contains(&kubectl(cluster, peer, "describe configmap settings")?, &["colour", "green"])
}

fn scales_and_waits(cluster: &Cluster, peer: usize) -> Outcome<String> {
    contains(&kubectl(cluster, peer, "scale deployment/web --replicas=4")?, &["scaled"])?;
    if minor_version(cluster)? >= 23 {
        kubectl(cluster, peer, "wait deployment/web --for=jsonpath={.status.readyReplicas}=4 --timeout=60s")?;
    }
    kubectl(cluster, peer, "wait deployment/web --for=condition=Available --timeout=60s")?;
    let space = space(peer);
    let four = || cluster.exactly(4, &PEERS, &space, "web");
    eventually("four containers", PATIENCE, four).map(|_| String::new())
}

fn reads_logs(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let pods =
        kubectl(cluster, peer, "get pods -l app=web -o jsonpath={range.items[*]}{.metadata.name}{\"\\n\"}{end}")?;
    let nodes =
        kubectl(cluster, peer, "get pods -l app=web -o jsonpath={range.items[*]}{.spec.nodeName}{\"\\n\"}{end}")?;
    for pod in pods.lines() {
        contains(&kubectl(cluster, peer, &format!("logs {pod}"))?, &["welcome", "tick 1"])?;
        let tail = kubectl(cluster, peer, &format!("logs {pod} --tail=1"))?;
        ensure(tail.lines().count() == 1, || format!("--tail=1 gives {tail:?}"))?;
    }
    let nodes: std::collections::BTreeSet<&str> = nodes.lines().collect();
    ensure(nodes.len() > 1, || format!("all pods are on {nodes:?}, so that no log came from another peer"))?;
    Ok(format!("of {} pods on {} nodes", pods.lines().count(), nodes.len()))
}

fn follows_logs(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let elsewhere = format!("get pods -l app=web --field-selector=spec.nodeName!=h{peer} -o name");
    let pods = kubectl(cluster, peer, &elsewhere)?;
    let pod = pods.lines().next().ok_or_else(|| Failure::new("every pod is on this peer's own host"))?;
    let stream = Stream::of(cluster, peer, &format!("logs -f {pod}"))?;
    let seen = stream.until("tick", PATIENCE)?;
    let number: u64 = seen.trim_start_matches("tick ").parse().map_err(|_| Failure::new(seen.clone()))?;
    // These lines are written after the stream was opened.
    stream.until(&format!("tick {}", number + 3), PATIENCE)?;
    Ok(String::new())
}

fn lists_events(cluster: &Cluster, peer: usize) -> Outcome<String> {
    // Older ones have no verb for it.
    let verb = if minor_version(cluster)? >= 23 { "events" } else { "get events" };
    let all = || contains(&kubectl(cluster, peer, verb)?, &["Scheduled", "Started", "Pod/web-"]);
    eventually("the events of the pods' lives", PATIENCE, all)?;
    contains(&kubectl(cluster, peer, "get events")?, &["Scheduled"])
}

fn deletes(cluster: &Cluster, peer: usize) -> Outcome<String> {
    contains(&kubectl(cluster, peer, "delete configmap news")?, &["deleted"])?;
    contains(&kubectl(cluster, peer, "delete deployment web --timeout=60s")?, &["deleted"])?;
    kubectl(cluster, peer, "wait pods -l app=web --for=delete --timeout=60s")?;
    let space = space(peer);
    let none = || cluster.exactly(0, &PEERS, &space, "web");
    eventually("no container", PATIENCE, none)?;
    cluster.kubectl_says(peer, &["delete", "namespace", &space, "--timeout=60s"], "")?;
    for other in PEERS {
        let gone = || {
            let (code, _, error) = cluster.run_kubectl(other, &["get", "namespace", &space], "")?;
            ensure(code == 1 && error.contains("NotFound"), || format!("exit {code}: {error}"))
        };
        eventually(&format!("the namespace's end at h{other}"), PATIENCE, gone)?;
    }
    Ok(String::new())
}

fn errs(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let (code, _, error) = cluster.run_kubectl(peer, &["get", "pod", "nobody"], "")?;
    ensure(code == 1 && error.contains(r#"pods "nobody" not found"#), || format!("exit {code}: {error}"))?;
    let (code, _, error) = cluster.run_kubectl(peer, &["create", "namespace", "default"], "")?;
    ensure(code == 1 && error.contains("AlreadyExists"), || format!("exit {code}: {error}"))?;
    Ok(String::new())
}

/// A kubectl that goes on until it is dropped, and the lines that it prints.
struct Stream {
    process: std::process::Child,
    lines: Receiver<String>,
}

impl Stream {
    fn of(cluster: &Cluster, peer: usize, line: &str) -> Outcome<Self> {
        let mut command = cluster.kubectl(peer)?;
        command.args(["-n", &space(peer)]).args(line.split_whitespace());
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().ok_or_else(|| Failure::new("no stdout"))?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Ok(Self { process, lines })
    }

    /// The next line that contains `wanted`.
    fn until(&self, wanted: &str, within: Duration) -> Outcome<String> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.map_err(|e| Failure::new(format!("no line with {wanted:?} came: {e}")))?;
            if line.contains(wanted) {
                return Ok(line);
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
