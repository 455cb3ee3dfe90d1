//! Removals on both sides of a cut: the leader, a node that lets somebody in meanwhile, and two that remove each other. After the
//! heal all of them are out at every peer, and the rest goes on.

use std::time::Duration;

use serde_json::Value;
use skein_tests::cluster::{Cluster, ready_nodes};
use skein_tests::daemon::{Daemon, Start, log_end};
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::manifests::{apps, core, sleeper};
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

/// How long news may take between hosts that hear each other.
const SOON: Duration = Duration::from_secs(10);
/// How long hosts that were apart may take to find each other again, and pods to start.
const AFTER_A_HEAL: Duration = Duration::from_secs(45);
/// How long a cut takes to be noticed.
const NOTICED: Duration = Duration::from_secs(4);
const REPLICAS: usize = 6;

/// Who is who. The majority's two first hosts stay to the end but for one, see the last steps.
struct Story {
    cluster: Cluster,
    /// Who led when the network was cut, and another of its side.
    leader: usize,
    second: usize,
    /// The three on the other side.
    others: Vec<usize>,
    /// The sixth host, which a removed node lets in.
    sixth: Option<Daemon>,
}

type Step = fn(&mut Story) -> Outcome<String>;

const STEPS: [(&str, Step); 5] = [
    ("the leader and its neighbour are removed by the other side of a cut, and the neighbour lets somebody in", apart),
    ("after the heal all three are out at every peer and nobody talks to them", out),
    ("what was asked for runs on the rest, and kubectl works at each of them", runs),
    ("two that remove each other apart are both out, and the last one goes on alone", each_other),
    ("one that was removed says so when it starts again, and stays out", told),
];

#[test]
fn whoever_was_removed_apart_is_out_everywhere_after_the_heal() -> Outcome<()> {
    let mut steps = Steps::of("removal apart");
    let cluster = Cluster::form(Lab::build(0, 6)?, 5)?;
    let (leader, _) = cluster.agreed_leader(&[1, 2, 3, 4, 5], SOON)?;
    let second = if leader == 5 { 4 } else { 5 };
    let others = (1..=5).filter(|host| ![leader, second].contains(host)).collect();
    let story = std::cell::RefCell::new(Story { cluster, leader, second, others, sixth: None });
    for (name, step) in STEPS {
        steps.run(name, || step(&mut story.borrow_mut()), || story.borrow_mut().cluster.evidence());
    }
    steps.end()
}

impl Story {
    fn skein(&mut self, host: usize, arguments: &[&str]) -> Outcome<String> {
        self.cluster.daemon(host).start().skein_says(arguments)
    }

    /// The row of a host's list of peers about another.
    fn row(&mut self, at: usize, of: usize) -> Outcome<String> {
        let peers = self.skein(at, &["peers"])?;
        let begin = format!("h{of} ");
        Ok(peers.lines().find(|line| line.starts_with(&begin)).unwrap_or_default().to_owned())
    }

    fn shows_removed(&mut self, at: usize, of: usize, within: Duration) -> Outcome<()> {
        let look = || {
            let row = self.row(at, of)?;
            ensure(row.contains("removed"), || format!("h{at} shows \"{row}\""))
        };
        eventually(&format!("h{of} removed at h{at}"), within, look).map(|_| ())
    }
}

fn apart(story: &mut Story) -> Outcome<String> {
    let (leader, second, others) = (story.leader, story.second, story.others.clone());
    story.cluster.kubectl_says(1, &["apply", "-f", "-"], &sleeper("web", REPLICAS).to_string())?;
    let token = story.skein(leader, &["token", "create"])?;
    let minority = [leader, second, 6];
    story.cluster.lab().partition(&minority, &others)?;
    std::thread::sleep(NOTICED);
    let by = others[0];
    for host in [leader, second] {
        story.skein(by, &["remove", &format!("h{host}")])?;
    }
    for (at, of) in others.iter().flat_map(|at| [(*at, leader), (*at, second)]) {
        story.shows_removed(at, of, SOON)?;
    }
    story.cluster.take_credentials(by, &others)?;
    let (new, took) = story.cluster.agreed_leader(&others, SOON)?;
    // The token names its maker's side alone, so the sixth host is let in by one of the two that were removed.
    let sixth = Start::on(story.cluster.lab().host(6)).join(&token)?;
    story.sixth = Some(sixth);
    let joined = || {
        let row = story.row(leader, 6)?;
        ensure(row.contains("alive"), || format!("h{leader} shows \"{row}\" of the sixth"))
    };
    eventually("the sixth host to be let in", AFTER_A_HEAL, joined)?;
    Ok(format!("h{new} led after {:.1} s", took.as_secs_f64()))
}

fn out(story: &mut Story) -> Outcome<String> {
    let (leader, second, others) = (story.leader, story.second, story.others.clone());
    story.cluster.lab().heal_all()?;
    std::thread::sleep(AFTER_A_HEAL / 3);
    for at in others.clone() {
        story.shows_removed(at, leader, AFTER_A_HEAL)?;
        story.shows_removed(at, second, AFTER_A_HEAL)?;
        let row = story.row(at, 6)?;
        ensure(row.is_empty() || row.contains("unvouched"), || format!("h{at} shows \"{row}\" of the sixth"))?;
        let nodes = story.cluster.api(at).get("/api/v1/nodes")?;
        let mut wanted: Vec<String> = others.iter().map(|host| format!("h{host}")).collect();
        wanted.sort();
        let mut ready: Vec<&str> = ready_nodes(&nodes);
        ready.sort_unstable();
        ensure(ready == wanted, || format!("h{at} shows {ready:?} as ready, not {wanted:?}"))?;
        let look = || {
            let links = story.cluster.metric(at, "skein_links")?;
            ensure(links <= 2.0, || format!("h{at} has {links} connections, and there are two others"))
        };
        eventually("connections to whoever is out to be closed", AFTER_A_HEAL, look)?;
    }
    // What is written now reaches none of them.
    let (by, config) = (others[0], skein_tests::manifests::config_map("after", "k", "canary"));
    story.cluster.kubectl_says(by, &["apply", "-f", "-"], &config.to_string())?;
    for at in &others {
        let seen = || story.cluster.api(*at).get(&core("default", "configmaps/after")).map(|_| ());
        eventually("the write", SOON, seen)?;
    }
    for host in [leader, second] {
        let there = story.cluster.api(host).exists(&core("default", "configmaps/after"));
        ensure(!there.unwrap_or(false), || format!("h{host} was told of what was written after it was removed"))?;
    }
    Ok(String::new())
}

/// On which nodes the workload's pods run, as a peer shows them.
fn places(cluster: &Cluster, at: usize) -> Outcome<Vec<String>> {
    let pods = cluster.api(at).get(&core("default", "pods"))?;
    let running = |pod: &&Value| pod["status"]["phase"] == "Running";
    let node = |pod: &Value| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    Ok(pods["items"].as_array().into_iter().flatten().filter(running).map(node).collect())
}

fn runs(story: &mut Story) -> Outcome<String> {
    let others = story.others.clone();
    for at in &others {
        let look = || {
            let places = places(&story.cluster, *at)?;
            let inside = places.iter().all(|node| others.iter().any(|host| *node == format!("h{host}")));
            ensure(places.len() == REPLICAS && inside, || format!("h{at} shows pods on {places:?}"))?;
            let web = story.cluster.api(*at).get(&apps("default", "deployments/web"))?;
            ensure(web["status"]["readyReplicas"] == REPLICAS, || format!("h{at}: {}", web["status"]))
        };
        eventually(&format!("{REPLICAS} pods at h{at}"), AFTER_A_HEAL, look)?;
        story.cluster.kubectl_says(*at, &["annotate", "deployment", "web", &format!("seen/h{at}=yes")], "")?;
    }
    Ok(String::new())
}

fn each_other(story: &mut Story) -> Outcome<String> {
    let (a, b, last) = (story.others[0], story.others[1], story.others[2]);
    // The third hears both, and neither of them the other.
    story.cluster.lab().partition(&[a], &[b])?;
    std::thread::sleep(NOTICED);
    let (one, other) = (format!("h{a}"), format!("h{b}"));
    let second = story.cluster.daemon(b).start().clone();
    let removal = std::thread::spawn(move || second.skein_says(&["remove", &one]).map_err(|error| error.to_string()));
    let first = story.skein(a, &["remove", &other]);
    let second = removal.join().map_err(|_| Failure::new("the thread panicked"))?;
    // Whoever hears of its own removal first cannot remove the other any more.
    ensure(first.is_ok() || second.is_ok(), || format!("{first:?} {second:?}"))?;
    story.cluster.lab().heal_all()?;
    // Both are out, unless one was removed before anybody had heard what it said of the other: then that stays with it.
    let mut out = Vec::new();
    let look = || {
        out.clear();
        for of in [a, b] {
            if story.row(last, of)?.contains("removed") {
                out.push(of);
            }
        }
        ensure(!out.is_empty(), || format!("h{last} shows neither as removed"))
    };
    eventually("one of them to be out", AFTER_A_HEAL, look)?;
    std::thread::sleep(SOON);
    for of in [a, b].into_iter().filter(|of| !out.contains(of)).collect::<Vec<_>>() {
        if story.row(last, of)?.contains("removed") {
            out.push(of);
        }
    }
    let both = out.len() == 2;
    let rest: Vec<usize> = [a, b, last].into_iter().filter(|host| !out.contains(host)).collect();
    let (leader, _) = story.cluster.agreed_leader(&rest, AFTER_A_HEAL)?;
    story.cluster.take_credentials(last, &rest)?;
    let look = || story.cluster.kubectl_says(last, &["annotate", "deployment", "web", "seen/last=yes"], "");
    eventually("a write at the last one", AFTER_A_HEAL, look)?;
    Ok(format!("{}, h{leader} leads", if both { "both are out" } else { "one was faster" }))
}

fn told(story: &mut Story) -> Outcome<String> {
    let (a, last) = (story.others[0], story.others[2]);
    let removed = if story.row(last, a)?.contains("removed") { a } else { story.others[1] };
    let log = story.cluster.lab().host(removed).directory.join("skein.log");
    let heard = || {
        ensure(log_end(&log, 200).contains("was removed from the cluster by"), || "its log says nothing of it".into())
    };
    eventually("it to hear of it", AFTER_A_HEAL, heard)?;
    let daemon = story.cluster.daemon(removed);
    daemon.stop()?;
    std::fs::write(&log, "")?;
    let start = daemon.start().clone();
    daemon.start_again(&start)?;
    let says = || {
        let text = log_end(&log, 200);
        let plain = text.contains("was removed from the cluster by") && text.contains("--data-dir ANOTHER");
        ensure(plain, || format!("its log says: {text}"))
    };
    eventually("its log to say what happened and what to do", SOON, says)?;
    let shown = || {
        let row = story.row(removed, removed)?;
        ensure(row.contains("removed") && row.contains("--data-dir ANOTHER"), || format!("it shows \"{row}\""))
    };
    eventually("its list of peers to say so", SOON, shown)?;
    std::thread::sleep(SOON);
    let row = story.row(last, removed)?;
    ensure(row.contains("removed"), || format!("h{last} shows \"{row}\""))?;
    story.row(removed, removed)
}
