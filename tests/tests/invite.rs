//! Machines on one network come in by a code that a person reads aloud, without an address; what they may then be, and who stays
//! out.

use std::io::{BufRead as _, BufReader, Read as _};
use std::time::Duration;

use serde_json::{Value, json};
use skein_tests::api::{Api, Credentials};
use skein_tests::cluster::Cluster;
use skein_tests::daemon::{Daemon, Start, log_end};
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::manifests::{apps, config_map, core, sleeper};
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

/// How long what was just done may take to show.
const SOON: Duration = Duration::from_secs(20);
const NAMESPACE: &str = "invited";

/// The founder's cluster, and who came later.
struct World {
    guests: Vec<Daemon>,
    cluster: Cluster,
}

type Step = fn(&mut World) -> Outcome<String>;

const STEPS: [(&str, Step); 6] = [
    ("a machine comes in by a code, without an address", by_code),
    ("a wrong code is refused", wrong_code),
    ("three guesses end an invitation", three_guesses),
    ("an observer serves the API and runs nothing", observer),
    ("a client gets a kubeconfig and no membership", client),
    ("a revoked token lets nobody in", revoked),
];

#[test]
fn who_is_invited_comes_in_by_a_code_and_nobody_else() -> Outcome<()> {
    let mut steps = Steps::of("invitations");
    let mut world = World { guests: Vec::new(), cluster: Cluster::form(Lab::build(0, 4)?, 1)? };
    world.cluster.namespace(NAMESPACE)?;
    let shared = std::cell::RefCell::new(&mut world);
    for (name, step) in STEPS {
        steps.run(name, || step(&mut shared.borrow_mut()), || shared.borrow_mut().cluster.evidence());
    }
    steps.end()
}

impl World {
    fn founder(&mut self) -> Start {
        self.cluster.daemon(1).start().clone()
    }

    /// The code of a new invitation.
    fn invite(&mut self, flags: &[&str]) -> Outcome<String> {
        let said = self.founder().skein_says(&[&["invite", "--no-wait"], flags].concat())?;
        let code = said.lines().next().unwrap_or_default().to_owned();
        let parts = code.split('-').count();
        ensure(parts == 5 && said.contains("it counts for"), || format!("no code: {said}"))?;
        Ok(code)
    }

    fn start(&self, number: usize) -> Start {
        Start::on(self.cluster.lab().host(number))
    }

    fn log(&self, number: usize) -> String {
        log_end(&self.cluster.lab().host(number).directory.join("skein.log"), 500)
    }

    /// A guest's API, asked by the founder's user.
    fn api(&self, number: usize) -> Api {
        let host = self.cluster.lab().host(number);
        Api::new(&host.netns, host.api_socket(), self.cluster.credentials())
    }

    /// Waits until a row of the founder's list of peers has these words.
    fn shows(&mut self, words: &[&str]) -> Outcome<()> {
        let founder = self.founder();
        let look = || {
            let peers = founder.skein_says(&["peers"])?;
            let has = |line: &&str| words.iter().all(|word| line.split_whitespace().any(|cell| cell == *word));
            ensure(peers.lines().any(|line| has(&line)), || peers.clone())
        };
        eventually(&format!("a peer {}", words.join(" ")), SOON, look).map(|_| ())
    }
}

/// A code of the same number with other words.
fn other(code: &str) -> String {
    let number = code.split('-').next().unwrap_or_default();
    let word = if code.ends_with("acorn") { "actor" } else { "acorn" };
    format!("{number}-{word}-{word}-{word}-{word}")
}

fn by_code(world: &mut World) -> Outcome<String> {
    // It waits until somebody has come, at most as long as the code counts.
    let mut inviting = world.founder().begin(&["invite", "--ttl", "2m"])?;
    let Some(said) = inviting.stdout.take() else { return Err(Failure::new("no output")) };
    let (mut said, mut code) = (BufReader::new(said), String::new());
    said.read_line(&mut code)?;
    let code = code.trim().to_owned();
    let mut guest = world.start(2).join(&code)?;
    let took = guest.wait_ready()?;
    world.guests.push(guest);
    world.shows(&["h2", "alive", "member"])?;
    let mut rest = String::new();
    said.read_to_string(&mut rest)?;
    let ended = inviting.wait()?;
    ensure(ended.success() && rest.contains("has shown the code"), || format!("{ended}: {rest}"))?;
    for number in [1, 2] {
        let words = code.split('-').skip(1).collect::<Vec<_>>().join("-");
        ensure(!world.log(number).contains(&words), || format!("the code stands in the log of h{number}"))?;
    }
    // It is used up.
    let directory = world.cluster.lab().host(3).directory.join("late");
    let (exit, said) = world.start(3).in_directory(&directory).refused(&["join", &code])?;
    ensure(exit == 1 && (said.contains("over") || said.contains("open invitation")), || {
        format!("exit {exit}: {said}")
    })?;
    Ok(format!("ready after {:.1} s", took.as_secs_f64()))
}

fn wrong_code(world: &mut World) -> Outcome<String> {
    let code = world.invite(&[])?;
    let directory = world.cluster.lab().host(3).directory.join("wrong");
    let start = world.start(3).in_directory(&directory);
    let (exit, said) = start.refused(&["join", &other(&code)])?;
    ensure(exit == 1 && said.contains("the code is wrong"), || format!("exit {exit}: {said}"))?;
    let (exit, none) = start.refused(&["join", "no-code"])?;
    ensure(exit == 2 && none.contains("skein invite"), || format!("exit {exit}: {none}"))?;
    ensure(!directory.join("state.redb").exists(), || "a data directory was begun".to_owned())?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

fn three_guesses(world: &mut World) -> Outcome<String> {
    let before = world.founder().skein_says(&["token", "list"])?.lines().count();
    let code = world.invite(&[])?;
    let directory = world.cluster.lab().host(3).directory.join("guesses");
    for _ in 0..3 {
        let (exit, said) = world.start(3).in_directory(&directory).refused(&["join", &other(&code)])?;
        ensure(exit == 1 && said.contains("the code is wrong"), || format!("exit {exit}: {said}"))?;
    }
    let (exit, said) = world.start(3).in_directory(&directory).refused(&["join", &code])?;
    ensure(exit == 1 && said.contains("open invitation"), || format!("exit {exit}: {said}"))?;
    let told = world.log(1).matches("an invitation is over").count();
    ensure(told == 1, || format!("the founder's log tells of it {told} times"))?;
    let founder = world.founder();
    let gone = || {
        let tokens = founder.skein_says(&["token", "list"])?.lines().count();
        ensure(tokens == before, || format!("{tokens} lines of tokens, {before} before"))
    };
    eventually("its token to be revoked", SOON, gone)?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

fn pods(api: &Api) -> Outcome<Vec<(String, String)>> {
    let list = api.get(&core(NAMESPACE, "pods"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |pod: &Value| (text(&pod["spec"]["nodeName"]), text(&pod["status"]["phase"]));
    Ok(list["items"].as_array().into_iter().flatten().map(of).collect())
}

fn observer(world: &mut World) -> Outcome<String> {
    let code = world.invite(&["--role", "observer"])?;
    let mut guest = world.start(3).join(&code)?;
    guest.wait_ready()?;
    world.guests.push(guest);
    world.shows(&["h3", "alive", "observer"])?;
    let api = world.api(3);
    // It takes writes for all.
    api.create(&apps(NAMESPACE, "deployments"), &sleeper("web", 6))?;
    api.create(&core(NAMESPACE, "configmaps"), &config_map("by-h3", "a", "b"))?;
    let mut lone = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lone"}});
    lone["spec"] = sleeper("x", 1)["spec"]["template"]["spec"].clone();
    lone["spec"]["nodeName"] = "h3".into();
    api.create(&core(NAMESPACE, "pods"), &lone)?;
    let running = || {
        let pods = pods(&api)?;
        let running: Vec<_> = pods.iter().filter(|(_, phase)| phase == "Running").collect();
        ensure(running.len() == 6 && running.iter().all(|(node, _)| node != "h3"), || format!("{pods:?}"))
    };
    eventually("six pods on the members", SOON, running)?;
    std::thread::sleep(Duration::from_secs(3));
    running()?;
    let node = api.get("/api/v1/nodes/h3")?;
    let label = &node["metadata"]["labels"]["node-role.kubernetes.io/observer"];
    ensure(label == "" && node["spec"]["unschedulable"] == true, || node.to_string())?;
    let server = format!("--server=https://{}", world.cluster.lab().host(3).api_socket());
    let shown = world.cluster.kubectl_says(1, &[&server, "get", "nodes"], "")?;
    let row = shown.lines().find(|line| line.starts_with("h3 ")).unwrap_or_default().to_owned();
    ensure(row.contains("observer") && row.contains("SchedulingDisabled"), || shown.clone())?;
    for words in [&["token", "create"][..], &["invite", "--no-wait"], &["remove", "h2"]] {
        let refused = world.start(3).skein(words)?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure(refused.status.code() == Some(1) && said.contains("observer"), || format!("{words:?}: {said}"))?;
    }
    Ok(row)
}

fn client(world: &mut World) -> Outcome<String> {
    let code = world.invite(&["--role", "client", "--uses", "2"])?;
    let start = world.start(4);
    let said = start.skein_says(&["join", &code, "--user", "alice"])?;
    let kubeconfig: Value = serde_yaml_ng::from_str(&said)?;
    ensure(!start.directory().exists(), || "a client was given a data directory".to_owned())?;
    let host = world.cluster.lab().host(4);
    let api =
        Api::new(&host.netns, world.cluster.lab().host(1).api_socket(), &Credentials::from_kubeconfig(&kubeconfig)?);
    ensure(pods(&api)?.len() > 5, || "it sees no pods".to_owned())?;
    for (path, what) in [("configmaps", "write"), ("secrets", "read Secrets")] {
        let body = config_map("by-alice", "a", "b").to_string();
        let method = if path == "secrets" { "GET" } else { "POST" };
        let body = if path == "secrets" { "" } else { &body };
        let answer = api.call((method, &core(NAMESPACE, path)), ("application/json", body.as_bytes()), SOON)?;
        ensure(answer.status == 403, || format!("a client may {what}: {}", answer.status))?;
    }
    let peers = world.founder().skein_says(&["peers"])?;
    ensure(!peers.contains("h4"), || peers.clone())?;
    let again = start.skein(&["join", &code, "--user", "alice"])?;
    let refused = String::from_utf8_lossy(&again.stderr).into_owned();
    ensure(again.status.code() == Some(1) && refused.contains("--user"), || refused.clone())?;
    Ok(refused.lines().last().unwrap_or_default().to_owned())
}

fn revoked(world: &mut World) -> Outcome<String> {
    let founder = world.founder();
    let ids = || -> Outcome<Vec<String>> {
        let list = founder.skein_says(&["token", "list"])?;
        Ok(list.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    };
    let before = ids()?;
    let token = founder.skein_says(&["token", "create", "--uses", "5"])?;
    let mut new = ids()?;
    new.retain(|id| !before.contains(id));
    let [id] = &new[..] else { return Err(Failure::new(format!("new tokens: {new:?}"))) };
    ensure(!token.contains(id.as_str()), || "a token's id is a part of the token".to_owned())?;
    founder.skein_says(&["token", "revoke", id])?;
    let (exit, said) = world.start(4).refused(&["join", &token])?;
    ensure(exit == 1 && said.contains("revoked"), || format!("exit {exit}: {said}"))?;
    let unknown = founder.skein(&["token", "revoke", &token])?;
    let refused = String::from_utf8_lossy(&unknown.stderr).into_owned();
    ensure(unknown.status.code() == Some(1) && !refused.contains(&token), || refused.clone())?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}
