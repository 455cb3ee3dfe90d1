//! Programs in pods speak to the API with nothing but what is mounted: an unmodified kubectl finds its node's API, its account's
//! token and the cluster's certificate by itself, may do what the account may, and its token ends with the pod.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use skein_tests::cluster::Cluster;
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::requirements;
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

/// How long a pod may take to run, and news between hosts that hear each other.
const SOON: Duration = Duration::from_secs(30);
const HOSTS: [usize; 2] = [1, 2];
const NAMESPACE: &str = "shop";
const PODS: &str = "/api/v1/namespaces/shop/pods";
const MOUNTED: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

type Step = fn(&mut Cluster) -> Outcome<String>;

const STEPS: [(&str, Step); 8] = [
    ("a program in a pod does what its account may", program),
    ("what other pods' accounts may not is refused to them", stranger),
    ("the token is in memory and read-only", in_memory),
    ("who wants no token gets none", opted_out),
    ("the pods of a Deployment have it too, and do not start without their account", deployed),
    ("a node that mounts nothing runs its pods without a token", unmounted),
    ("another life of the daemon signs anew", signed_anew),
    ("a token of a deleted pod counts no more", ended),
];

#[test]
fn programs_in_pods_speak_to_the_api_as_their_account() -> Outcome<()> {
    let mut steps = Steps::of("pod accounts");
    let mut cluster = Cluster::form(Lab::build(2, 1)?, 3)?;
    cluster.namespace(NAMESPACE)?;
    let shared = std::cell::RefCell::new(&mut cluster);
    for (name, step) in STEPS {
        steps.run(name, || step(&mut shared.borrow_mut()), || shared.borrow_mut().evidence());
    }
    steps.end()
}

/// A pod's spec on the second host that waits, with this machine's kubectl, which is one file that needs no other.
fn spec(more: &Value) -> Outcome<Value> {
    let named = std::env::var_os("SKEIN_KUBECTL").map(PathBuf::from);
    let kubectl = named.or_else(|| requirements::find("kubectl"));
    let kubectl = kubectl.ok_or_else(|| Failure::new("the test needs kubectl"))?.canonicalize()?;
    let mut spec = json!({
        "nodeName": "h2",
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "bb:1", "command": ["sleep", "3600"],
            "volumeMounts": [{"name": "kubectl", "mountPath": "/kubectl", "readOnly": true}]}],
        "volumes": [{"name": "kubectl", "hostPath": {"path": kubectl, "type": "File"}}],
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    Ok(spec)
}

/// Makes a pod and waits until it runs.
fn run(cluster: &Cluster, name: &str, more: &Value) -> Outcome<()> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec(more)?});
    cluster.api(1).create(PODS, &pod)?;
    eventually(name, SOON, || {
        let pod = cluster.api(1).get(&format!("{PODS}/{name}"))?;
        ensure(pod["status"]["phase"] == "Running", || pod["status"].to_string())
    })
    .map(|_| ())
}

/// Runs a command in a pod; its exit code, and all that it says.
fn inside(cluster: &Cluster, pod: &str, command: &[&str]) -> Outcome<(i32, String)> {
    let arguments = [&["-n", NAMESPACE, "exec", pod, "--"], command].concat();
    let (code, said, error) = cluster.run_kubectl(1, &arguments, "")?;
    Ok((code, format!("{said}{error}")))
}

fn says(cluster: &Cluster, pod: &str, command: &[&str], wanted: &str) -> Outcome<()> {
    let (code, said) = inside(cluster, pod, command)?;
    ensure(code == 0 && said.contains(wanted), || format!("{pod}: {}: exit {code}: {said}", command.join(" ")))
}

fn is_refused(cluster: &Cluster, pod: &str, command: &[&str], wanted: &str) -> Outcome<()> {
    let (code, said) = inside(cluster, pod, command)?;
    ensure(code != 0 && said.contains(wanted), || format!("{pod}: {}: exit {code}: {said}", command.join(" ")))
}

/// The token that a pod has.
fn token(cluster: &Cluster, pod: &str) -> Outcome<String> {
    let (code, said) = inside(cluster, pod, &["cat", &format!("{MOUNTED}/token")])?;
    ensure(code == 0 && said.starts_with("eyJ"), || format!("{pod}: exit {code}: {said}"))?;
    Ok(said.trim().to_owned())
}

/// How a host answers somebody with a token.
fn status_with(cluster: &Cluster, host: usize, token: &str) -> Outcome<u16> {
    let credentials = cluster.credentials().with_authorization(Some(&format!("Bearer {token}")));
    let host = cluster.lab().host(host);
    let api = skein_tests::api::Api::new(&host.netns, host.api_socket(), &credentials);
    let path = "/api/v1/namespaces/shop/configmaps";
    Ok(api.call(("GET", path), ("", b""), Duration::from_secs(10))?.status)
}

fn program(cluster: &mut Cluster) -> Outcome<String> {
    let kubectl = |words: &[&str]| cluster.kubectl_says(1, &[&["-n", NAMESPACE], words].concat(), "");
    kubectl(&["create", "configmap", "colours", "--from-literal=a=red"])?;
    kubectl(&["create", "serviceaccount", "robot"])?;
    kubectl(&["create", "rolebinding", "robots", "--clusterrole=view", "--serviceaccount=shop:robot"])?;
    run(cluster, "program", &json!({"serviceAccountName": "robot"}))?;
    // Neither server nor namespace nor credentials are said: all of them are found.
    let look = || says(cluster, "program", &["/kubectl", "get", "configmaps"], "colours");
    eventually("the account's role", SOON, look)?;
    let who = "User \"system:serviceaccount:shop:robot\" cannot delete resource \"configmaps\"";
    is_refused(cluster, "program", &["/kubectl", "delete", "configmap", "colours"], who)?;
    let log = std::fs::read_to_string(cluster.daemon(2).start().directory().join("audit.log"))?;
    let named = |line: &&str| line.contains("\"username\":\"system:serviceaccount:shop:robot\"");
    ensure(log.lines().filter(named).count() >= 2, || format!("the audit log of h2: {log}"))?;
    ensure(!log.contains("eyJ"), || "there is a token in the audit log".to_owned())?;
    says(cluster, "program", &["env"], "KUBERNETES_SERVICE_HOST=10.99.0.2")?;
    Ok("kubectl in a pod reads what its account may read, at its own node".to_owned())
}

fn stranger(cluster: &mut Cluster) -> Outcome<String> {
    run(cluster, "stranger", &json!({}))?;
    let who = "User \"system:serviceaccount:shop:default\" cannot list resource \"configmaps\"";
    is_refused(cluster, "stranger", &["/kubectl", "get", "configmaps"], who)?;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nobodys"},
        "spec": spec(&json!({"serviceAccountName": "nobody"}))?});
    let refused = cluster.api(2).create(PODS, &pod).err().map(|failure| failure.to_string()).unwrap_or_default();
    ensure(refused.contains("error looking up service account shop/nobody"), || format!("said was {refused:?}"))?;
    Ok("the account default may nothing, and an account that is not there makes no pod".to_owned())
}

fn in_memory(cluster: &mut Cluster) -> Outcome<String> {
    let mounts = inside(cluster, "program", &["grep", "serviceaccount", "/proc/mounts"])?.1;
    ensure(mounts.contains(" tmpfs ro,") || mounts.contains("tmpfs ro"), || format!("mounted is {mounts}"))?;
    let shown = inside(cluster, "program", &["ls", "-lL", MOUNTED])?.1;
    let files: Vec<&str> = shown.lines().filter(|line| line.starts_with("-rw-r--r--")).collect();
    ensure(files.len() == 3, || shown.clone())?;
    is_refused(cluster, "program", &["touch", &format!("{MOUNTED}/x")], "Read-only file system")?;
    let token = token(cluster, "program")?;
    let signature = token.rsplit('.').next().unwrap_or_default().to_owned();
    for host in HOSTS {
        let directory = cluster.daemon(host).start().directory().to_owned();
        let found = std::process::Command::new("grep").args(["-rlFa", &signature]).arg(&directory).output()?;
        ensure(found.status.code() == Some(1), || {
            format!("the token is on the disk of h{host}: {}", String::from_utf8_lossy(&found.stdout))
        })?;
    }
    let pod = cluster.api(1).get(&format!("{PODS}/program"))?;
    ensure(!pod.to_string().contains(&signature), || "the token is shown with the pod".to_owned())?;
    Ok(mounts.trim().to_owned())
}

fn opted_out(cluster: &mut Cluster) -> Outcome<String> {
    run(cluster, "silent", &json!({"automountServiceAccountToken": false}))?;
    is_refused(cluster, "silent", &["ls", MOUNTED], "No such file")?;
    Ok("its pod has no such directory".to_owned())
}

fn deployed(cluster: &mut Cluster) -> Outcome<String> {
    let template =
        json!({"metadata": {"labels": {"app": "crew"}}, "spec": spec(&json!({"serviceAccountName": "late"}))?});
    let crew = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "crew"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "crew"}}, "template": template}});
    cluster.api(1).create("/apis/apps/v1/namespaces/shop/deployments", &crew)?;
    let pods = format!("{PODS}?labelSelector=app%3Dcrew");
    let waits = || {
        let pods = cluster.api(1).get(&pods)?.to_string();
        ensure(pods.contains("serviceaccounts \\\"late\\\" not found"), || pods.clone())
    };
    eventually("the pod says what it waits for", SOON, waits)?;
    cluster.kubectl_says(2, &["-n", NAMESPACE, "create", "serviceaccount", "late"], "")?;
    let (name, _) = eventually("the pod runs once its account is there", SOON, || {
        let pods = cluster.api(1).get(&pods)?;
        let pod = &pods["items"][0];
        ensure(pod["status"]["phase"] == "Running", || pod["status"].to_string())?;
        Ok(pod["metadata"]["name"].as_str().unwrap_or_default().to_owned())
    })?;
    let who = "User \"system:serviceaccount:shop:late\" cannot list";
    is_refused(cluster, &name, &["/kubectl", "get", "secrets"], who)?;
    Ok(format!("{name} is its account"))
}

fn unmounted(cluster: &mut Cluster) -> Outcome<String> {
    let containers = json!([{"name": "main", "image": "none", "command": ["sleep", "3600"]}]);
    let more = json!({"nodeName": "h3", "containers": containers, "volumes": null});
    run(cluster, "process", &more)?;
    says(cluster, "process", &["env"], "KUBERNETES_SERVICE_HOST=10.99.0.3")?;
    Ok("a process runs, and knows where its node's API is".to_owned())
}

fn signed_anew(cluster: &mut Cluster) -> Outcome<String> {
    let before = token(cluster, "program")?;
    cluster.daemon(2).kill9();
    cluster.start_again(2)?;
    eventually("another token", SOON, || {
        let now = token(cluster, "program")?;
        ensure(now != before, || "it is the same token".to_owned())
    })?;
    eventually("it opens what it did", SOON, || {
        says(cluster, "program", &["/kubectl", "get", "configmaps"], "colours")
    })?;
    Ok("the pod ran on and has another token".to_owned())
}

fn ended(cluster: &mut Cluster) -> Outcome<String> {
    let token = token(cluster, "program")?;
    for host in HOSTS {
        let status = status_with(cluster, host, &token)?;
        ensure(status == 200, || format!("h{host} answers {status}"))?;
    }
    cluster.api(1).delete(&format!("{PODS}/program"))?;
    for host in HOSTS {
        eventually("the token's end", SOON, || {
            let status = status_with(cluster, host, &token)?;
            ensure(status == 401, || format!("h{host} answers {status}"))
        })?;
    }
    Ok("no host takes it any more".to_owned())
}
