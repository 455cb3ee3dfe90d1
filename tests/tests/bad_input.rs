//! What people and strangers get wrong: each mistake is refused with what is wrong, where, and what to do, and changes
//! nothing.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::{Value, json};
use skein_tests::cluster::Cluster;
use skein_tests::daemon::Start;
use skein_tests::failure::{Outcome, ensure};
use skein_tests::knock::Knock;
use skein_tests::lab::Lab;
use skein_tests::manifests::{apps, core, web};
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(20);

/// The cluster of the first two hosts; the third host is outside.
struct Story {
    cluster: Cluster,
    /// A token of a cluster that is no more, which was at the first host's address.
    foreign_token: String,
}

type Step = fn(&mut Story) -> Outcome<String>;

const STEPS: [(&str, Step); 16] = [
    ("a typo in a manifest", a_typo),
    ("an unknown kind", an_unknown_kind),
    ("a wrong type", a_wrong_type),
    ("two documents of which one is bad", one_of_two_documents),
    ("the API checks by itself", the_api_checks_by_itself),
    ("a malformed token", a_malformed_token),
    ("an expired token", an_expired_token),
    ("a used up token", a_used_up_token),
    ("a token for another cluster", a_foreign_token),
    ("a port that is taken", a_taken_port),
    ("a data directory of another cluster", a_directory_of_another_cluster),
    ("a data directory of another version", a_directory_of_another_version),
    ("a data directory that is in use", a_directory_in_use),
    ("wrong usage", wrong_usage),
    ("random bytes at the peers' port", random_bytes),
    ("a member that sends nonsense", nonsense_from_a_member),
];

#[test]
fn mistakes_are_refused_with_a_reason() -> Outcome<()> {
    let mut steps = Steps::of("bad input");
    let lab = Lab::build(0, 3)?;
    let foreign_token = token_of_a_cluster_that_ends(&lab)?;
    let mut story = Story { cluster: Cluster::form(lab, 2)?, foreign_token };
    let shared = std::cell::RefCell::new(&mut story);
    for (name, step) in STEPS {
        steps.run(name, || step(&mut shared.borrow_mut()), || shared.borrow_mut().cluster.evidence());
    }
    steps.run("after all that", || still_well(&mut shared.borrow_mut()), String::new);
    steps.end()
}

fn token_of_a_cluster_that_ends(lab: &Lab) -> Outcome<String> {
    let start = Start::on(lab.host(1)).in_directory(&lab.host(1).directory.join("other"));
    let mut daemon = start.up()?;
    daemon.wait_ready()?;
    let token = start.skein_says(&["token", "create", "--uses", "5"])?;
    daemon.stop()?;
    Ok(token)
}

/// Fails unless `text` names all of `wanted`; a wanted text with `|` in it stands for any of its parts.
fn names(text: &str, wanted: &[&str]) -> Outcome<String> {
    let lower = text.to_lowercase();
    let missing: Vec<&&str> =
        wanted.iter().filter(|w| !w.split('|').any(|part| lower.contains(&part.to_lowercase()))).collect();
    ensure(missing.is_empty(), || format!("{missing:?} missing in: {text}"))?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

fn refused_apply(story: &Story, manifest: &str, wanted: &[&str]) -> Outcome<String> {
    let (code, said, error) = story.cluster.run_kubectl(1, &["apply", "-f", "-"], manifest)?;
    ensure(code == 1, || format!("exit {code}: {said} {error}"))?;
    names(&error, wanted)
}

fn nothing_there(story: &Story, path: &str) -> Outcome<()> {
    ensure(!story.cluster.api(1).exists(path)?, || format!("{path} was stored all the same"))
}

fn a_typo(story: &mut Story) -> Outcome<String> {
    let mut deployment = web("typo", 2);
    deployment["spec"]["replcas"] = json!(3);
    let said = refused_apply(story, &deployment.to_string(), &["spec.replcas", "unknown field"])?;
    nothing_there(story, &apps("default", "deployments/typo"))?;
    deployment["spec"].as_object_mut().unwrap().remove("replcas");
    deployment["spec"]["template"]["spec"]["containers"][0]["imagee"] = json!("bb:1");
    refused_apply(story, &deployment.to_string(), &["spec.template.spec.containers[0].imagee"])?;
    nothing_there(story, &apps("default", "deployments/typo"))?;
    Ok(said)
}

fn an_unknown_kind(story: &mut Story) -> Outcome<String> {
    let mut deployment = web("unknown", 2);
    deployment["kind"] = json!("Deploymint");
    refused_apply(story, &deployment.to_string(), &["Deploymint"])
}

fn a_wrong_type(story: &mut Story) -> Outcome<String> {
    let mut deployment = web("wrong", 2);
    deployment["spec"]["replicas"] = json!("three");
    let said = refused_apply(story, &deployment.to_string(), &["spec.replicas", "integer|number|int32"])?;
    nothing_there(story, &apps("default", "deployments/wrong"))?;
    Ok(said)
}

fn one_of_two_documents(story: &mut Story) -> Outcome<String> {
    let good = web("good", 0);
    let mut bad = web("bad", 2);
    bad["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = json!("eighty");
    let said = refused_apply(story, &format!("---\n{bad}\n---\n{good}\n"), &["containers[0].ports[0].containerPort"])?;
    nothing_there(story, &apps("default", "deployments/bad"))?;
    ensure(story.cluster.api(2).exists(&apps("default", "deployments/good"))?, || {
        "the good one was not stored".to_owned()
    })?;
    Ok(said)
}

/// What kubectl refuses by itself, another client would send.
fn the_api_checks_by_itself(story: &mut Story) -> Outcome<String> {
    let api = story.cluster.api(2);
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "raw"}, "data": data});
    let mut typo = map(json!({"a": "b"}));
    typo["dta"] = json!({});
    let cases = [
        ("?fieldValidation=Strict", typo.to_string(), vec!["dta"]),
        ("", map(json!({"a": 1})).to_string(), vec!["data", "string"]),
        ("", "{\"metadata\":".to_owned(), vec!["json|end|eof"]),
        ("", map(json!({"a": "b"})).to_string().replace("raw", "No Name!"), vec!["metadata.name"]),
    ];
    for (query, body, wanted) in cases {
        let path = core("default", &format!("configmaps{query}"));
        let answer = api.call(("POST", &path), ("application/json", body.as_bytes()), PATIENCE)?;
        ensure((400..500).contains(&answer.status), || format!("{body}: {}: {}", answer.status, answer.text()))?;
        let status: Value = serde_json::from_slice(&answer.body)?;
        ensure(status["kind"] == "Status", || format!("the answer is no Status: {status}"))?;
        names(status["message"].as_str().unwrap_or_default(), &wanted)?;
    }
    nothing_there(story, &core("default", "configmaps/raw"))?;
    Ok(String::new())
}

fn refused_join(story: &Story, token: &str, wanted: &[&str]) -> Outcome<String> {
    let host = story.cluster.lab().host(3);
    let start = Start::on(host).in_directory(&host.directory.join("joining"));
    let outcome = start.refused(&["join", token]);
    let _ = std::fs::remove_dir_all(start.directory());
    let (code, said) = outcome?;
    ensure(code == 1 || code == 2, || format!("exit {code}: {said}"))?;
    names(&said, wanted)
}

fn a_malformed_token(story: &mut Story) -> Outcome<String> {
    refused_join(story, "nonsense", &["token", "skein token create"])?;
    let mut token = story.cluster.daemon(1).start().skein_says(&["token", "create"])?;
    token.truncate(token.len() - 3);
    refused_join(story, &token, &["token", "skein token create"])
}

fn an_expired_token(story: &mut Story) -> Outcome<String> {
    let token = story.cluster.daemon(1).start().skein_says(&["token", "create", "--ttl", "1s"])?;
    std::thread::sleep(Duration::from_secs(2));
    refused_join(story, &token, &["expired", "skein token create"])
}

fn a_used_up_token(story: &mut Story) -> Outcome<String> {
    let token = story.cluster.daemon(2).start().skein_says(&["token", "create", "--uses", "1"])?;
    let host = story.cluster.lab().host(3);
    let first = Start::on(host).in_directory(&host.directory.join("first"));
    let mut daemon = first.join(&token)?;
    daemon.wait_ready()?;
    first.skein_says(&["leave"])?;
    let ended = || ensure(!daemon.is_running(), || "it still runs".to_owned());
    eventually("the end of the daemon that left", PATIENCE, ended)?;
    refused_join(story, &token, &["used", "skein token create"])
}

fn a_foreign_token(story: &mut Story) -> Outcome<String> {
    refused_join(story, &story.foreign_token, &["cluster", "token"])
}

fn a_taken_port(story: &mut Story) -> Outcome<String> {
    let host = story.cluster.lab().host(1);
    let start = Start::on(host).in_directory(&host.directory.join("second"));
    for (flag, port) in [("api", "7311"), ("listen", "7443")] {
        let (code, said) = start.clone().with(flag, "10.99.0.1:9999").refused(&["up"])?;
        ensure(code == 1, || format!("exit {code}: {said}"))?;
        names(&said, &[port, "in use|taken"])?;
    }
    Ok(String::new())
}

fn a_directory_of_another_cluster(story: &mut Story) -> Outcome<String> {
    let host = story.cluster.lab().host(3);
    let start = Start::on(host).in_directory(&host.directory.join("own"));
    let mut daemon = start.up()?;
    daemon.wait_ready()?;
    daemon.stop()?;
    let token = story.cluster.daemon(1).start().skein_says(&["token", "create"])?;
    let (code, said) = start.refused(&["join", &token])?;
    ensure(code == 1, || format!("exit {code}: {said}"))?;
    let said = names(&said, &["cluster", "--discard"])?;
    // The refusal cost the directory nothing.
    let mut daemon = start.up()?;
    daemon.wait_ready()?;
    Ok(said)
}

fn a_directory_of_another_version(story: &mut Story) -> Outcome<String> {
    let host = story.cluster.lab().host(3);
    let start = Start::on(host).in_directory(&host.directory.join("newer"));
    let mut daemon = start.up()?;
    daemon.wait_ready()?;
    daemon.stop()?;
    let path = start.directory().join("cluster.json");
    let sound = std::fs::read_to_string(&path)?;
    let mut file: Value = serde_json::from_str(&sound)?;
    file["version"] = json!(99);
    std::fs::write(&path, file.to_string())?;
    let (code, said) = start.refused(&["up"])?;
    ensure(code == 1, || format!("exit {code}: {said}"))?;
    let said = names(&said, &["cluster.json", "version", "99"])?;
    // The refusal cost the directory nothing.
    std::fs::write(&path, sound)?;
    let mut daemon = start.up()?;
    daemon.wait_ready()?;
    Ok(said)
}

fn a_directory_in_use(story: &mut Story) -> Outcome<String> {
    let running = story.cluster.daemon(1).start().directory().to_owned();
    let host = story.cluster.lab().host(1);
    let start = Start::on(host).with("listen", "10.99.0.1:9997").with("api", "10.99.0.1:9998");
    let start = start.in_directory(&host.directory.join("beside")).with("data-dir", running.display());
    let (code, said) = start.refused(&["up"])?;
    ensure(code == 1, || format!("exit {code}: {said}"))?;
    names(&said, &["in use|runs|running|another"])
}

fn wrong_usage(story: &mut Story) -> Outcome<String> {
    let start = story.cluster.daemon(1).start().clone();
    for arguments in [&["tokn", "create"][..], &["token", "create", "--uses", "many"], &["join"], &["token"]] {
        let output = start.skein(arguments)?;
        let code = output.status.code();
        ensure(code == Some(2), || format!("{arguments:?}: exit {code:?}, not 2 for wrong usage"))?;
    }
    let nobody = Start::on(story.cluster.lab().host(3)).in_directory(&story.cluster.lab().directory().join("nothing"));
    let output = nobody.skein(&["leader"])?;
    ensure(output.status.code() == Some(1), || format!("without a daemon: {}", output.status))?;
    names(&String::from_utf8_lossy(&output.stderr), &["nothing", "skein up"])
}

/// A hundred connections that speak no protocol: each is dropped, and nobody else notices.
fn random_bytes(story: &mut Story) -> Outcome<String> {
    let from = story.cluster.lab().host(3).netns.clone();
    let to = story.cluster.lab().host(1).peer_socket();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut dropped = 0;
    for _ in 0..100 {
        let mut bytes = [0; 512];
        for byte in &mut bytes {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            *byte = seed.to_le_bytes()[0];
        }
        let mut stream = from.connect(to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // A peer that has hung up already refuses the write, which is what is wanted.
        let _ = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        dropped += usize::from(end.is_ok() || end.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    }
    ensure(dropped == 100, || format!("only {dropped} of 100 connections were dropped"))?;
    Ok(String::new())
}

/// Somebody with the key of a member, whose frames are too long, random, or cut off: each time the connection is dropped and
/// counted, and each kind is logged once.
fn nonsense_from_a_member(story: &mut Story) -> Outcome<String> {
    const COUNTED: &str = "skein_protocol_violations_total";
    story.cluster.daemon(2).stop()?;
    let directory = story.cluster.daemon(2).start().directory().to_owned();
    let secret = skein_node::daemon::identity::keypair_beside(&directory)?.secret();
    let (to, from) = (story.cluster.lab().host(1).peer_socket(), story.cluster.lab().host(2).netns.clone());
    let too_long = (16 * 1024 + 1u32).to_be_bytes().to_vec();
    let random = [&64u32.to_be_bytes()[..], &[0xa5; 64]].concat();
    let cut_off = [&64u32.to_be_bytes()[..], &[0xa5; 7]].concat();
    let before = story.cluster.metric(1, COUNTED)?;
    for (n, (name, bytes, close)) in
        [("too long", too_long, false), ("random", random, false), ("cut off", cut_off, true)].into_iter().enumerate()
    {
        let protocol = "/skein/control/1";
        let knock = Knock { secret: Some(secret), to, protocol, bytes, close, listen: PATIENCE };
        let heard = knock.from(&from)?;
        ensure(heard.opened && heard.dropped, || format!("a frame that is {name}: {heard:?}"))?;
        let counted = || {
            let now = story.cluster.metric(1, COUNTED)? - before;
            ensure(now == (n + 1) as f64, || format!("{now} are counted after a frame that is {name}"))
        };
        eventually("the count", PATIENCE, counted)?;
    }
    let log = std::fs::read_to_string(story.cluster.lab().host(1).directory.join("skein.log"))?;
    let logged = log.lines().filter(|line| line.contains("broke the protocol")).count();
    // Once for each kind, however often.
    ensure(logged == 3, || format!("it is logged {logged} times"))?;
    story.cluster.start_again(2)?;
    Ok("3 dropped".to_owned())
}

fn still_well(story: &mut Story) -> Outcome<String> {
    for number in [1, 2] {
        let running = story.cluster.daemon(number).is_running();
        ensure(running, || format!("the daemon of h{number} ended"))?;
        let nodes = story.cluster.api(number).get("/api/v1/nodes")?;
        let ready = skein_tests::cluster::ready_nodes(&nodes);
        ensure(["h1", "h2"].iter().all(|name| ready.contains(name)), || format!("at h{number} ready are {ready:?}"))?;
    }
    Ok(String::new())
}
