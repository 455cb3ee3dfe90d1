//! A whole session of a cluster is recorded on the wires between its hosts: joining, applying, Secrets written in every
//! way, commands, logs, watches, a rotation. Nothing of what was planted is seen there, nor any object's name; and a copy
//! of a data directory without its sealing key holds no value of a Secret. What was sent and written in clear, as a
//! control, is found by the same search.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use skein_tests::api::{Api, MERGE_PATCH};
use skein_tests::capture::{Capture, Heard};
use skein_tests::cluster::Cluster;
use skein_tests::failure::{Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::manifests::{config_map, core, namespace, sleeper};
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

/// The values of Secrets, one for each way to write one. Of a length that its base64 is cut nowhere.
const VALUES: [&str; 6] = [
    "canary-value-post-aaaaaa",
    "canary-value-kubectl-apl",
    "canary-value-server-side",
    "canary-value-merge-patch",
    "canary-value-literal-cre",
    "canary-value-replaced-aa",
];
/// What is no Secret's value, and must not be seen on the wire either: names, other values, what commands say.
const NAMES: [&str; 6] =
    ["canary-namespace", "canary-secret", "canary-map", "canary-map-value", "canary-deployment", "canary-said"];
/// What is sent and written in clear on purpose.
const CONTROL: &str = "canary-control-in-clear-a";
const NAMESPACE: &str = "canary-namespace";
const PATIENCE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);
/// Where the control is sent to.
const CONTROL_PORT: u16 = 9999;

#[test]
fn neither_the_wire_nor_a_copied_directory_tells_what_was_planted() -> Outcome<()> {
    let mut steps = Steps::of("canaries");
    let lab = Lab::build(0, 3)?;
    let capture = Capture::of(lab.lan())?;
    let mut cluster = Cluster::form(lab, 3)?;
    let shared = std::cell::RefCell::new(&mut cluster);
    let evidence = || shared.borrow_mut().evidence();
    steps.run("Secrets are written in every way", || write_secrets(&shared.borrow()), evidence);
    steps.run("pods run, say things, and are given Secrets", || run_pods(&shared.borrow()), evidence);
    steps.run("what was planted is read and watched at every host", || read_back(&shared.borrow()), evidence);
    steps.run("the keys are rotated", || rotate(&mut shared.borrow_mut()), evidence);
    steps.run("a control goes over the wire in clear", || send_control(&shared.borrow()), evidence);
    let heard = capture.end()?;
    steps.run("the wire told nothing but the control", || wire_is_silent(&heard), evidence);
    steps.run(
        "a copied directory tells nothing but the control",
        || disk_is_silent(&mut shared.borrow_mut()),
        evidence,
    );
    steps.end()
}

/// The API of a host as another one reaches it, so that all goes over the wire.
fn from_afar(cluster: &Cluster, from: usize, to: usize) -> Api {
    let lab = cluster.lab();
    Api::new(&lab.host(from).netns, lab.host(to).api_socket(), cluster.credentials())
}

fn secret(name: &str, value: &str) -> Value {
    let data = json!({"password": BASE64_STANDARD.encode(value)});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "data": data})
}

fn write_secrets(cluster: &Cluster) -> Outcome<String> {
    let api = from_afar(cluster, 3, 1);
    api.create("/api/v1/namespaces", &namespace(NAMESPACE))?;
    let path = core(NAMESPACE, "secrets");
    let there =
        || ensure(cluster.api(2).exists(&format!("/api/v1/namespaces/{NAMESPACE}"))?, || "no namespace".to_owned());
    eventually("the namespace at h2", SOON, there)?;
    api.create(&path, &secret("canary-secret-0", VALUES[0]))?;
    let apply = |extra: &[&str], name: &str, value: &str| {
        let arguments = [&["apply", "-f", "-"], extra].concat();
        cluster.kubectl_says(2, &arguments, &secret(name, value).to_string())
    };
    apply(&[], "canary-secret-1", VALUES[1])?;
    // A second time, so that what was applied last is compared and kept.
    apply(&[], "canary-secret-1", VALUES[5])?;
    apply(&["--server-side"], "canary-secret-2", VALUES[2])?;
    let patch = json!({"stringData": {"more": VALUES[3]}}).to_string();
    let request = ("PATCH", &*format!("{path}/canary-secret-0"));
    let answer = api.call(request, (MERGE_PATCH, patch.as_bytes()), SOON)?;
    ensure(answer.status == 200, || answer.text())?;
    let literal = format!("--from-literal=password={}", VALUES[4]);
    cluster.kubectl_says(2, &["-n", NAMESPACE, "create", "secret", "generic", "canary-secret-4", &literal], "")?;
    api.create(&core(NAMESPACE, "configmaps"), &config_map("canary-map", "key", "canary-map-value"))?;
    Ok(format!("{} values", VALUES.len()))
}

/// One pod on each host, which is given a Secret in its environment and in a volume, and says something else.
fn run_pods(cluster: &Cluster) -> Outcome<String> {
    let mut deployment = sleeper("canary-deployment", 3);
    let template = &mut deployment["spec"]["template"]["spec"];
    let script = "echo canary-said; trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done";
    template["containers"][0]["command"] = json!(["sh", "-c", script]);
    let of_secret = json!({"secretKeyRef": {"name": "canary-secret-0", "key": "password"}});
    template["containers"][0]["env"] = json!([{"name": "PASSWORD", "valueFrom": of_secret}]);
    from_afar(cluster, 1, 2).create(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments"), &deployment)?;
    let pods = || {
        let list = cluster.api(1).get(&core(NAMESPACE, "pods"))?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let running = items.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
        ensure(running == 3, || format!("{running} pods run"))?;
        Ok(items)
    };
    let (pods, _) = eventually("three pods", PATIENCE, pods)?;
    for pod in &pods {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        // From one host, so that two of the three are reached across peers.
        let said = || {
            let log = cluster.kubectl_says(1, &["-n", NAMESPACE, "logs", name], "")?;
            ensure(log.contains("canary-said"), || format!("the log says {log:?}"))
        };
        eventually("the log", SOON, said)?;
        let exec = ["-n", NAMESPACE, "exec", name, "--", "sh", "-c", "echo $PASSWORD; echo canary-said"];
        let output = cluster.kubectl_says(1, &exec, "")?;
        ensure(output.contains(VALUES[0]) && output.contains("canary-said"), || format!("exec says {output:?}"))?;
    }
    Ok(format!("{} pods", pods.len()))
}

fn read_back(cluster: &Cluster) -> Outcome<String> {
    for to in cluster.members() {
        let api = from_afar(cluster, to % 3 + 1, to);
        let mut watch = api.connect(SOON)?;
        let answer = api.open_on(&mut watch, &format!("{}?watch=true", core(NAMESPACE, "secrets")), SOON)?;
        ensure(answer.status == 200, || answer.text())?;
        let mut seen = String::new();
        let all = [VALUES[0], VALUES[2], VALUES[3], VALUES[4], VALUES[5]];
        while !all.iter().all(|value| seen.contains(&BASE64_STANDARD.encode(value))) {
            let chunk = watch.more(SOON)?.unwrap_or_default();
            ensure(!chunk.is_empty(), || format!("h{to}: the watch ended after {} bytes", seen.len()))?;
            seen.push_str(&String::from_utf8_lossy(&chunk));
        }
    }
    Ok(String::new())
}

fn rotate(cluster: &mut Cluster) -> Outcome<String> {
    cluster.daemon(2).start().skein_says(&["rotate", "--grace", "1h"])?;
    let new: Value = serde_yaml_ng::from_str(&cluster.daemon(2).start().skein_says(&["kubeconfig"])?)?;
    let new = skein_tests::api::Credentials::from_kubeconfig(&new)?;
    for number in cluster.members() {
        let host = cluster.lab().host(number);
        let api = Api::new(&host.netns, host.api_socket(), &new);
        let look = || api.get(&core(NAMESPACE, "secrets")).map(drop);
        eventually(&format!("the new keys at h{number}"), SOON, look)?;
    }
    Ok(String::new())
}

/// Sends the control from one host to another, over the same wires.
fn send_control(cluster: &Cluster) -> Outcome<String> {
    let (from, to) = (cluster.lab().host(1), cluster.lab().host(2));
    let address = SocketAddr::new(to.address(), CONTROL_PORT);
    let listener = to.netns.inside(|| std::net::TcpListener::bind(address))??;
    let mut stream = from.netns.connect(address, SOON)?;
    stream.write_all(CONTROL.as_bytes())?;
    drop(stream);
    let mut text = String::new();
    listener.accept()?.0.read_to_string(&mut text)?;
    ensure(text == CONTROL, || text.clone())?;
    Ok(String::new())
}

fn wire_is_silent(heard: &Heard) -> Outcome<String> {
    ensure(heard.lost == 0, || format!("{} bytes were not kept", heard.lost))?;
    let control = heard.places_of(CONTROL.as_bytes());
    ensure(!control.is_empty(), || "the control was not heard, so that the search says nothing".to_owned())?;
    // The names of what is in every cluster, such as the accounts' and the nodes' own.
    let state = ["kube-system", "kube-root-ca.crt", "resourceVersion", "apiVersion", "BEGIN CERTIFICATE"];
    for planted in VALUES.iter().chain(&NAMES).chain(&state) {
        for (form, text) in forms(planted) {
            let places = heard.places_of(&text);
            ensure(places.is_empty(), || format!("{planted} was heard ({form}): {places:?}"))?;
        }
    }
    Ok(format!(
        "{} frames, {} bytes over TCP; the control was heard at {control:?}",
        heard.frames,
        heard.stream_bytes()
    ))
}

fn disk_is_silent(cluster: &mut Cluster) -> Outcome<String> {
    let mut searched = 0;
    for number in cluster.members() {
        let directory = cluster.daemon(number).start().directory().to_owned();
        let copy = cluster.lab().host(number).directory.join("copied");
        copy_all(&directory, &copy)?;
        let files = files_below(&copy);
        ensure(!files.is_empty(), || format!("{} is empty", copy.display()))?;
        for planted in VALUES {
            let found = found_in(&files, planted)?;
            ensure(found.is_empty(), || format!("h{number}: {planted}: {found:?}"))?;
        }
        std::fs::write(copy.join("control"), CONTROL)?;
        std::fs::write(copy.join("control.base64"), BASE64_STANDARD.encode(format!("{{{CONTROL}}}")))?;
        let found = found_in(&files_below(&copy), CONTROL)?;
        ensure(found.len() == 2, || format!("of the two controls were found {found:?}"))?;
        searched += files.len();
        // Without its key the copy is of no use.
        let refused = cluster.daemon(number).start().clone().in_directory(&copy).refused(&["up"])?;
        ensure(refused.1.contains("its sealing key is not at"), || format!("the copy starts: {}", refused.1))?;
    }
    Ok(format!("{searched} files of {} directories", cluster.members().len()))
}

/// The files that hold a text, in any form.
fn found_in(files: &[PathBuf], planted: &str) -> Outcome<Vec<String>> {
    let mut found = Vec::new();
    for file in files {
        let bytes = std::fs::read(file)?;
        let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        if let Some((form, _)) = forms(planted).into_iter().find(|(_, text)| holds(text)) {
            found.push(format!("{} ({form})", file.display()));
        }
    }
    Ok(found)
}

/// A text in clear, in base64 wherever it begins in what was encoded, and in hexadecimal.
fn forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![("in clear", text.as_bytes().to_vec()), ("in upper hex", hex.to_uppercase().into_bytes())];
    forms.push(("in hex", hex.into_bytes()));
    for before in 0..3 {
        let encoded = BASE64_STANDARD.encode([&vec![b'x'; before][..], text.as_bytes()].concat());
        // The letters at both ends hold bits of what is beside it.
        let (from, to) = ((before * 8).div_ceil(6), (before + text.len()) * 8 / 6);
        forms.push(("in base64", encoded.as_bytes()[from..to].to_vec()));
    }
    forms
}

fn copy_all(from: &Path, to: &Path) -> Outcome<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}
