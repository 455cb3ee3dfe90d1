//! A node that nobody takes for a member says why it is one, and hears why it is none: one that was let in by a member that is lost,
//! and one that was away when it was removed.

use std::cell::RefCell;
use std::time::Duration;

use skein_tests::cluster::Cluster;
use skein_tests::daemon::{Daemon, Start, log_end};
use skein_tests::failure::{Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::manifests::{config_map, core};
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

/// How long news may take between hosts that hear each other.
const SOON: Duration = Duration::from_secs(10);
/// How long hosts that were apart may take to find each other again.
const AFTER_A_HEAL: Duration = Duration::from_secs(45);

struct Story {
    cluster: Cluster,
    /// The fourth host, which the third lets in.
    fourth: Option<Daemon>,
}

type Step = fn(&mut Story) -> Outcome<String>;

const STEPS: [(&str, Step); 3] = [
    ("somebody is let in by a member that is apart and then lost", let_in),
    ("after the heal it is a member like others", known),
    ("one that was off while it was removed hears so when it is back", told),
];

#[test]
fn who_is_refused_introduces_itself() -> Outcome<()> {
    let mut steps = Steps::of("introduction");
    let story = RefCell::new(Story { cluster: Cluster::form(Lab::build(0, 4)?, 3)?, fourth: None });
    for (name, step) in STEPS {
        steps.run(name, || step(&mut story.borrow_mut()), || story.borrow_mut().cluster.evidence());
    }
    steps.end()
}

/// Waits until a host's list of peers says this of another.
fn shows(cluster: &mut Cluster, at: usize, of: usize, word: &str, within: Duration) -> Outcome<()> {
    let look = || {
        let peers = cluster.daemon(at).start().skein_says(&["peers"])?;
        let row = peers.lines().find(|line| line.starts_with(&format!("h{of} "))).unwrap_or_default();
        ensure(row.contains(word), || format!("h{at} shows \"{row}\""))
    };
    eventually(&format!("h{of} {word} at h{at}"), within, look).map(|_| ())
}

fn let_in(story: &mut Story) -> Outcome<String> {
    let cluster = &mut story.cluster;
    let token = cluster.daemon(3).start().skein_says(&["token", "create"])?;
    cluster.lab().partition(&[1, 2], &[3, 4])?;
    story.fourth = Some(Start::on(cluster.lab().host(4)).join(&token)?);
    shows(cluster, 3, 4, "alive", AFTER_A_HEAL)?;
    cluster.daemon(3).kill9();
    let peers = cluster.daemon(1).start().skein_says(&["peers"])?;
    ensure(!peers.lines().any(|line| line.starts_with("h4 ")), || format!("h1 knows of it already: {peers}"))?;
    Ok(String::new())
}

fn known(story: &mut Story) -> Outcome<String> {
    let cluster = &mut story.cluster;
    cluster.lab().heal_all()?;
    for at in [1, 2] {
        shows(cluster, at, 4, "alive", AFTER_A_HEAL)?;
    }
    cluster.take_credentials(1, &[1, 2, 4])?;
    cluster.kubectl_says(4, &["apply", "-f", "-"], &config_map("from-four", "k", "v").to_string())?;
    let seen = || cluster.api(1).get(&core("default", "configmaps/from-four")).map(|_| ());
    eventually("what it wrote", SOON, seen)?;
    Ok(String::new())
}

fn told(story: &mut Story) -> Outcome<String> {
    let cluster = &mut story.cluster;
    let said = cluster.daemon(1).start().skein_says(&["remove", "h3"])?;
    for at in [1, 2] {
        shows(cluster, at, 3, "removed", SOON)?;
    }
    let start = cluster.daemon(3).start().clone();
    cluster.daemon(3).start_again(&start)?;
    let heard = || {
        let log = log_end(&cluster.lab().host(3).directory.join("skein.log"), 200);
        ensure(log.contains("was removed from the cluster by h1"), || "its log says nothing of it".to_owned())
    };
    eventually("h3 to hear of its removal", AFTER_A_HEAL, heard)?;
    Ok(said.trim().to_owned())
}
