//! A member is removed against its will: it stops, its key stays out, and a partition makes no difference to that.

use std::path::PathBuf;
use std::time::Duration;

use skein_tests::cluster::Cluster;
use skein_tests::daemon::log_end;
use skein_tests::failure::{Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

/// How long news may take between hosts that hear each other.
const SOON: Duration = Duration::from_secs(10);
/// How long hosts that were apart may take to find each other again.
const AFTER_A_HEAL: Duration = Duration::from_secs(30);

type Step = fn(&mut Cluster) -> Outcome<String>;

const STEPS: [(&str, Step); 5] = [
    ("somebody who is no member", nobody),
    ("a member hears that it is out, and stops", removed),
    ("its key stays out", stays_out),
    ("a token that it had made lets nobody in", its_token),
    ("a member that was apart is out after the heal", removed_apart),
];

#[test]
fn who_is_removed_stays_out() -> Outcome<()> {
    let mut steps = Steps::of("removal");
    let mut cluster = Cluster::form(Lab::build(0, 5)?, 5)?;
    let shared = std::cell::RefCell::new(&mut cluster);
    for (name, step) in STEPS {
        steps.run(name, || step(&mut shared.borrow_mut()), || shared.borrow_mut().evidence());
    }
    steps.end()
}

fn skein(cluster: &mut Cluster, host: usize, arguments: &[&str]) -> Outcome<String> {
    cluster.daemon(host).start().skein_says(arguments)
}

/// Waits until a host's list of peers shows another as removed.
fn shows_removed(cluster: &mut Cluster, at: usize, name: &str, within: Duration) -> Outcome<()> {
    let look = || {
        let peers = skein(cluster, at, &["peers"])?;
        let row = peers.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default().to_owned();
        ensure(row.contains("removed"), || format!("h{at} shows \"{row}\""))
    };
    eventually(&format!("{name} removed at h{at}"), within, look).map(|_| ())
}

fn nobody(cluster: &mut Cluster) -> Outcome<String> {
    let output = cluster.daemon(1).start().skein(&["remove", "nobody"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure(output.status.code() == Some(1), || format!("{}: {said}", output.status))?;
    ensure(said.contains("\"nobody\"") && said.contains("skein peers"), || said.clone())?;
    Ok(said.trim().to_owned())
}

/// Where the token is kept that h5 makes before it is removed.
fn token_file(cluster: &Cluster) -> PathBuf {
    cluster.lab().host(5).directory.join("token-of-h5")
}

fn removed(cluster: &mut Cluster) -> Outcome<String> {
    let token = skein(cluster, 5, &["token", "create", "--uses", "9", "--ttl", "365d"])?;
    std::fs::write(token_file(cluster), &token)?;
    let id = || {
        let tokens = skein(cluster, 2, &["token", "list"])?;
        ensure(tokens.contains("0/9"), || format!("h2 has not heard of the token:\n{tokens}"))
    };
    eventually("the token at h2", SOON, id)?;

    let said = skein(cluster, 1, &["remove", "h5"])?;
    ensure(said.contains("h5 is removed") && !said.contains("warning"), || said.clone())?;
    for at in 1..=4 {
        shows_removed(cluster, at, "h5", SOON)?;
    }
    let heard = || {
        let log = log_end(&cluster.lab().host(5).directory.join("skein.log"), 200);
        ensure(log.contains("was removed from the cluster by h1"), || "its log says nothing of it".to_owned())
    };
    eventually("h5 to hear of it", SOON, heard)?;
    let api = cluster.api(5);
    let late = serde_json::json!({"metadata": {"name": "late"}}).to_string();
    let answer = api.call(("POST", "/api/v1/namespaces"), ("application/json", late.as_bytes()), SOON)?;
    // 401 if it has also heard that the keys are others now, which it does not get.
    ensure(matches!(answer.status, 401 | 503), || format!("it still takes writes: {}", answer.status))?;
    Ok(said.trim().to_owned())
}

fn stays_out(cluster: &mut Cluster) -> Outcome<String> {
    let token = skein(cluster, 2, &["token", "create"])?;
    cluster.daemon(5).stop()?;
    let (code, said) = cluster.daemon(5).start().clone().refused(&["join", &token, "--discard"])?;
    ensure(code == 1 && said.contains("was removed from the cluster"), || format!("exit {code}: {said}"))?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

fn its_token(cluster: &mut Cluster) -> Outcome<String> {
    let token = std::fs::read_to_string(token_file(cluster))?;
    let new = cluster.lab().host(5).directory.join("new");
    let start = cluster.daemon(5).start().clone().in_directory(&new);
    let (code, said) = start.refused(&["join", token.trim()])?;
    ensure(code == 1 && said.contains("token"), || format!("exit {code}: {said}"))?;
    let tokens = skein(cluster, 2, &["token", "list"])?;
    ensure(!tokens.contains("0/9"), || format!("it is listed still:\n{tokens}"))?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

fn removed_apart(cluster: &mut Cluster) -> Outcome<String> {
    cluster.lab().partition(&[1, 2], &[3, 4])?;
    std::thread::sleep(Duration::from_secs(3));
    skein(cluster, 1, &["remove", "h4"])?;
    shows_removed(cluster, 2, "h4", SOON)?;
    let peers = skein(cluster, 3, &["peers"])?;
    ensure(!peers.lines().any(|line| line.starts_with("h4 ") && line.contains("removed")), || peers.clone())?;
    cluster.lab().heal_all()?;
    for at in [2, 3] {
        shows_removed(cluster, at, "h4", AFTER_A_HEAL)?;
    }
    let (leader, _) = cluster.agreed_leader(&[1, 2, 3], AFTER_A_HEAL)?;
    ensure(leader <= 3, || format!("h{leader} leads"))?;
    Ok(format!("h{leader} leads the other three"))
}
