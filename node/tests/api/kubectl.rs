//! An unmodified kubectl against the API: what it sends and expects is found out here before a cluster stands behind it.

use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::client::World;

/// How long one command may take, in seconds.
const PATIENCE_S: u64 = 60;

struct Kubectl {
    world: World,
    home: tempfile::TempDir,
    /// Whether it may use WebSockets. Without them it speaks SPDY, as older ones do anyway.
    websockets: bool,
}

struct Said {
    code: i32,
    out: String,
    error: String,
}

impl Kubectl {
    /// Fails where there is no kubectl: a client that was not tried has not been tested.
    async fn new() -> Self {
        let found =
            Command::new("kubectl").args(["version", "--client"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let found = found.await.is_ok_and(|status| status.success());
        assert!(found, "there is no kubectl on this machine; tests/run installs Debian's kubernetes-client");
        let world = World::new().await;
        let home = tempfile::tempdir().unwrap();
        let url = format!("https://{}", world.server.address());
        let kubeconfig = world.secrets.kubeconfig("home", &url, &world.secrets.ca_certificate);
        std::fs::write(home.path().join("config"), kubeconfig).unwrap();
        Kubectl { world, home, websockets: true }
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.home.path().join("config"));
        command.arg("--cache-dir").arg(self.home.path().join("cache"));
        command.args(line).env("HOME", self.home.path()).kill_on_drop(true);
        for setting in ["KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS"] {
            command.env(setting, self.websockets.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn run(&self, line: &[&str], input: &str) -> Said {
        let mut child = self.command(line).spawn().unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
        // Beside the reading: what kubectl is sent may come back before it has taken all. One that fails takes nothing.
        tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
        let limit = std::time::Duration::from_secs(PATIENCE_S);
        let ended = tokio::time::timeout(limit, child.wait_with_output()).await;
        let ended = ended.unwrap_or_else(|_| panic!("kubectl {line:?} took more than {PATIENCE_S} s")).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { code: ended.status.code().unwrap_or(-1), out: text(ended.stdout), error: text(ended.stderr) }
    }

    /// Runs a command that must succeed, and returns what it says.
    async fn says(&self, line: &str) -> String {
        self.says_with(line, "").await
    }

    async fn says_with(&self, line: &str, input: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let said = self.run(&words, input).await;
        assert_eq!(said.code, 0, "kubectl {line}\n{}\n{}", said.out, said.error);
        said.out
    }

    /// Runs a command that must fail, and returns what it complains about.
    async fn complains(&self, line: &str, input: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let said = self.run(&words, input).await;
        assert_eq!(said.code, 1, "kubectl {line}\n{}\n{}", said.out, said.error);
        said.error
    }
}

fn holds(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
}

fn web(replicas: u32, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  labels: {{app: web}}\nspec:\n  replicas: {replicas}\n  \
         selector:\n    matchLabels: {{app: web}}\n  template:\n    metadata:\n      labels: {{app: web}}\n    spec:\n      \
         containers:\n      - name: web\n        image: {image}\n        ports:\n        - containerPort: 80\n        env:\n        \
         - {{name: A, value: b}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_discovers_what_is_served() {
    let kubectl = Kubectl::new().await;
    holds(&kubectl.says("version").await, &["Client Version", "Server Version: v1.32"]);
    let kinds = ["namespaces", "nodes", "pods", "deployments", "replicasets", "configmaps", "events", "services"];
    holds(&kubectl.says("api-resources").await, &kinds);
    holds(&kubectl.says("api-versions").await, &["apps/v1", "v1"]);
    holds(&kubectl.says("auth can-i create pods").await, &["yes"]);
    holds(&kubectl.says("auth whoami").await, &["admin"]);
    holds(&kubectl.says("explain deployment.spec.replicas").await, &["integer"]);
    holds(&kubectl.says("get --raw /healthz").await, &["ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_creates_reads_changes_and_deletes() {
    let kubectl = Kubectl::new().await;
    // These two come as protobuf.
    holds(&kubectl.says("create namespace shop").await, &["namespace/shop created"]);
    kubectl.says("-n shop create configmap settings --from-literal=colour=green").await;
    assert_eq!(kubectl.says("-n shop get configmap settings -o jsonpath={.data.colour}").await, "green");
    holds(&kubectl.says("-n shop describe configmap settings").await, &["colour", "green"]);
    holds(&kubectl.says("-n shop label configmap settings a=b").await, &["labeled"]);
    holds(&kubectl.says("-n shop get configmaps -l a=b").await, &["NAME", "DATA", "AGE", "settings"]);
    assert_eq!(kubectl.says("-n shop get configmaps -l a=c").await, "");
    holds(&kubectl.says("get configmaps -A --field-selector=metadata.name=settings").await, &["NAMESPACE", "shop"]);
    holds(&kubectl.says("-n shop get configmap settings -o yaml").await, &["kind: ConfigMap", "resourceVersion: \""]);
    let patch = r#"{"data":{"colour":"red"}}"#;
    let said = kubectl.run(&["-n", "shop", "patch", "configmap", "settings", "-p", patch], "").await;
    assert_eq!(said.code, 0, "{}", said.error);
    let json_patch = r#"[{"op":"test","path":"/data/colour","value":"red"},{"op":"remove","path":"/data/colour"}]"#;
    let said =
        kubectl.run(&["-n", "shop", "patch", "configmap", "settings", "--type=json", "-p", json_patch], "").await;
    assert_eq!(said.code, 0, "{}", said.error);
    holds(&kubectl.says("-n shop delete configmap settings --timeout=20s").await, &["deleted"]);
    kubectl.says("delete namespace shop --timeout=20s").await;
    holds(&kubectl.complains("get namespace shop", "").await, &["NotFound", "namespaces \"shop\" not found"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_scales_and_waits_for_a_deployment() {
    let kubectl = Kubectl::new().await;
    holds(&kubectl.says_with("apply -f -", &web(2, "web:1")).await, &["deployment.apps/web created"]);
    holds(&kubectl.says_with("apply -f - --dry-run=server", &web(4, "web:3")).await, &["configured (server dry run)"]);
    holds(&kubectl.says_with("apply -f -", &web(3, "web:2")).await, &["deployment.apps/web configured"]);
    holds(&kubectl.says_with("apply -f -", &web(3, "web:2")).await, &["deployment.apps/web unchanged"]);
    holds(&kubectl.says("get deployments").await, &["web", "3/3"]);
    holds(&kubectl.says("get deployments -o wide").await, &["web:2", "app=web"]);
    holds(&kubectl.says("get all").await, &["deployment.apps/web"]);
    holds(&kubectl.says("scale deployment/web --replicas=5").await, &["scaled"]);
    holds(&kubectl.says("scale deployment/web --current-replicas=5 --replicas=4").await, &["scaled"]);
    holds(&kubectl.says("rollout status deployment/web --timeout=20s").await, &["successfully rolled out"]);
    kubectl.says("wait deployment/web --for=condition=Available --timeout=20s").await;
    kubectl.says("wait deployment/web --for=jsonpath={.status.readyReplicas}=4 --timeout=20s").await;
    holds(&kubectl.says("describe deployment web").await, &["RollingUpdate", "4 desired"]);
    kubectl.says("set image deployment/web web=web:9").await;
    kubectl.says("rollout restart deployment/web").await;
    let image = kubectl.says("get deployment web -o jsonpath={.spec.template.spec.containers[0].image}").await;
    assert_eq!(image, "web:9");
    holds(&kubectl.says("delete deployment web --timeout=20s").await, &["deleted"]);
    kubectl.says("wait deployment/web --for=delete --timeout=20s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reads_logs_nodes_and_events() {
    let kubectl = Kubectl::new().await;
    for (name, node) in [("here", "goose"), ("there", "gander")] {
        let spec = json!({"spec": {"nodeName": node, "containers": [{"name": "web", "image": "web:1"}]}});
        kubectl.world.fake.put("Pod", "default", name, &spec);
    }
    holds(&kubectl.says("get pods").await, &["here", "1/1", "Running"]);
    holds(&kubectl.says("get pods -o wide").await, &["NODE", "gander"]);
    assert_eq!(kubectl.says("logs here").await, "one\ntwo\nthree\n");
    assert_eq!(kubectl.says("logs there --tail=1").await, "three\n");
    holds(&kubectl.says("get pods --field-selector=spec.nodeName!=goose -o name").await, &["pod/there"]);
    holds(&kubectl.says("get nodes").await, &["goose", "Ready"]);
    holds(&kubectl.says("describe pod here").await, &["web:1", "goose"]);
    holds(&kubectl.says("describe node goose").await, &["goose"]);
    kubectl.says("events").await;
    kubectl.says("get events").await;
    let mut follow = kubectl.command(&["logs", "-f", "there"]).spawn().unwrap();
    assert_eq!(until(&mut follow, "three").await, "three");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_runs_commands_copies_files_attaches_and_forwards_ports() {
    connects_with_pods(&Kubectl::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_runs_commands_copies_files_attaches_and_forwards_ports_without_websockets() {
    connects_with_pods(&Kubectl { websockets: false, ..Kubectl::new().await }).await;
}

async fn connects_with_pods(kubectl: &Kubectl) {
    let containers = json!([{"name": "web", "image": "web:1", "stdin": true}]);
    kubectl.world.fake.put(
        "Pod",
        "default",
        "there",
        &json!({"spec": {"nodeName": "gander", "containers": containers}}),
    );
    let said = kubectl.run(&["exec", "there", "--", "sh", "-c", "echo out; echo bad >&2; exit 3"], "").await;
    assert_eq!((said.code, said.out.as_str()), (3, "out\n"), "{}", said.error);
    holds(&said.error, &["bad"]);
    let long = "0123456789abcde\n".repeat(1 << 16);
    let said = kubectl.run(&["exec", "-i", "there", "--", "cat"], &long).await;
    assert!(said.code == 0 && said.out == long, "{} of {} bytes: {}", said.out.len(), long.len(), said.error);
    let said = kubectl.run(&["attach", "-i", "there"], "hello\n").await;
    assert_eq!((said.code, said.out.as_str()), (0, "hello\n"), "{}", said.error);

    let [file, copy, back] = ["file", "copy", "back"].map(|name| kubectl.home.path().join(name).display().to_string());
    std::fs::write(&file, &long).unwrap();
    kubectl.says(&format!("cp {file} there:{copy}")).await;
    kubectl.says(&format!("cp there:{copy} {back}")).await;
    assert!(std::fs::read_to_string(&back).unwrap() == long, "another file came back");

    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = format!(":{}", server.local_addr().unwrap().port());
    let mut forward = kubectl.command(&["port-forward", "there", &port]).spawn().unwrap();
    let line = until(&mut forward, "Forwarding from 127.0.0.1:").await;
    let local = line.split("127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap();
    let mut client = tokio::net::TcpStream::connect(format!("127.0.0.1:{local}")).await.unwrap();
    let (mut accepted, _) = server.accept().await.unwrap();
    client.write_all(b"question").await.unwrap();
    let mut heard = [0; 8];
    accepted.read_exact(&mut heard).await.unwrap();
    accepted.write_all(b"answer").await.unwrap();
    drop(accepted);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!((&heard, answer.as_str()), (b"question", "answer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_watches() {
    let kubectl = Kubectl::new().await;
    let map = |name: &str| format!("create configmap {name} --from-literal=a=b");
    kubectl.says(&map("before")).await;
    let mut watch = kubectl.command(&["get", "configmaps", "-w"]).spawn().unwrap();
    until(&mut watch, "before").await;
    kubectl.says(&map("after")).await;
    until_more(&mut watch, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_tells_people_what_is_wrong() {
    let kubectl = Kubectl::new().await;
    let typo = web(2, "web:1").replace("replicas:", "replcas:");
    holds(&kubectl.complains("apply -f -", &typo).await, &["unknown field", "spec.replcas"]);
    let wrong = web(2, "web:1").replace("replicas: 2", "replicas: three");
    holds(&kubectl.complains("apply -f -", &wrong).await, &["spec.replicas", "integer"]);
    let kind = web(2, "web:1").replace("Deployment", "Deploymint");
    holds(&kubectl.complains("apply -f -", &kind).await, &["Deploymint"]);
    holds(&kubectl.complains("get pods nobody", "").await, &["pods \"nobody\" not found"]);
    holds(&kubectl.complains("create configmap Bad_Name", "").await, &["metadata.name"]);
    let other = kubectl.world.secrets.admin_token.replace(|c: char| c.is_ascii_digit(), "0");
    holds(&kubectl.complains(&format!("--token={other} get pods"), "").await, &["Unauthorized"]);
}

/// Reads a child's output until a line holds a word, and returns that line.
async fn until(child: &mut Child, word: &str) -> String {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let limit = std::time::Duration::from_secs(PATIENCE_S);
    let found = tokio::time::timeout(limit, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(word) {
                return line;
            }
        }
        panic!("the output ended without {word:?}");
    });
    found.await.unwrap_or_else(|_| panic!("{word:?} did not come"))
}

async fn until_more(child: &mut Child, word: &str) {
    until(child, word).await;
}

#[tokio::test]
async fn server_side_apply_owns_conflicts_and_takes_over() {
    let kubectl = Kubectl::new().await;
    let web = |image: &str, replicas: u32| {
        let labels = json!({"app": "web"});
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}},
            },
        })
        .to_string()
    };
    let apply = "apply --server-side -f -";
    holds(&kubectl.says_with(apply, &web("web:1", 2)).await, &["deployment.apps/web serverside-applied"]);
    holds(&kubectl.says("scale deployment/web --replicas=4").await, &["scaled"]);
    let refused = kubectl.complains(apply, &web("web:1", 2)).await;
    holds(&refused, &["Apply failed with 1 conflict", "using apps/v1: .spec.replicas", "--force-conflicts"]);
    holds(
        &kubectl.says_with("apply --server-side --force-conflicts -f -", &web("web:1", 2)).await,
        &["serverside-applied"],
    );
    let raw = kubectl.says("get --raw /apis/apps/v1/namespaces/default/deployments/web").await;
    holds(&raw, &["managedFields", "f:replicas", r#""operation":"Apply""#]);
    // What it applied itself before, at the client, it takes over.
    holds(&kubectl.says("delete deployment web").await, &["deleted"]);
    holds(&kubectl.says_with("apply -f -", &web("web:1", 2)).await, &["created"]);
    holds(&kubectl.says_with(apply, &web("web:2", 3)).await, &["serverside-applied"]);
    holds(&kubectl.says("get deployment web -o jsonpath={.spec.replicas}").await, &["3"]);
}
