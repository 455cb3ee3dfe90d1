//! The leader's host is cut off ten times: how long until the others have a new leader, until ten replicas run on them,
//! and, after the heal, until exactly ten run. Prints the numbers; asserts only that all of it happens.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use skein_tests::cluster::Cluster;
use skein_tests::failure::{Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::manifests::{apps, web};
use skein_tests::steps::{Steps, say};
use skein_tests::wait::{eventually, median_and_worst, settles};

const ALL: [usize; 5] = [1, 2, 3, 4, 5];
const NAMESPACE: &str = "shop";
const REPLICAS: usize = 10;
const CUTS: usize = 10;
/// How long any of it may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long ten must stay ten to be believed.
const STEADY: Duration = Duration::from_secs(3);

/// What one cut took.
struct Times {
    leader: Duration,
    survivors: Duration,
    healed: Duration,
}

#[test]
fn the_leader_is_cut_off_ten_times() -> Outcome<()> {
    let mut steps = Steps::of("ten cuts of the leader's host");
    let mut cluster = Cluster::form(Lab::with_engines(5)?, 5)?;
    cluster.namespace(NAMESPACE)?;
    cluster.api(1).create(&apps(NAMESPACE, "deployments"), &web("web", REPLICAS))?;
    settles("ten containers", PATIENCE, STEADY, || cluster.exactly(REPLICAS, &ALL, NAMESPACE, "web"))?;
    let mut all = Vec::new();
    for number in 1..=CUTS {
        let cluster = std::cell::RefCell::new(&mut cluster);
        let cut = || {
            let times = cut_and_heal(&cluster.borrow()).inspect_err(|_| {
                // The next cut should begin from a whole cluster all the same.
                let _ = cluster.borrow().lab().heal_all();
            })?;
            let said = times.line();
            all.push(times);
            Ok(said)
        };
        steps.run(&format!("cut {number}"), cut, || cluster.borrow_mut().evidence());
    }
    report("a new leader", 2.0, all.iter().map(|times| times.leader).collect());
    report("ten replicas running on the survivors", 5.0, all.iter().map(|times| times.survivors).collect());
    report("exactly ten after the heal", 5.0, all.iter().map(|times| times.healed).collect());
    steps.end()
}

impl Times {
    fn line(&self) -> String {
        let [leader, survivors, healed] = [self.leader, self.survivors, self.healed].map(|d| d.as_secs_f64());
        format!("leader {leader:.2} s, ten on the survivors {survivors:.2} s, exactly ten after the heal {healed:.2} s")
    }
}

fn cut_and_heal(cluster: &Cluster) -> Outcome<Times> {
    let (leader, _) = cluster.agreed_leader(&ALL, PATIENCE)?;
    let survivors: Vec<usize> = ALL.into_iter().filter(|number| *number != leader).collect();
    // A cut that displaces nothing would measure nothing.
    let there = cluster.running(&[leader], NAMESPACE, "web")?.len();
    ensure(there > 0, || format!("no replica runs on the leader's host h{leader}"))?;
    cluster.lab().cut(leader)?;
    let cut = Instant::now();
    // The containers are watched from the cut on, beside the election, not after it.
    let (elected, refilled) = std::thread::scope(|scope| {
        let elected = scope.spawn(|| cluster.agreed_leader(&survivors, PATIENCE).map(|_| cut.elapsed()));
        let look = || cluster.exactly(REPLICAS, &survivors, NAMESPACE, "web");
        let refilled = eventually("ten on the survivors", PATIENCE, look).map(|_| cut.elapsed());
        (elected.join().unwrap(), refilled)
    });
    let (leader_after, survivors_after) = (elected?, refilled?);
    // What the cut-off side does about its loneliness, it should have begun to do.
    std::thread::sleep(Duration::from_secs(8).saturating_sub(cut.elapsed()));
    cluster.lab().heal(leader)?;
    let healed =
        settles("exactly ten after the heal", PATIENCE, STEADY, || cluster.exactly(REPLICAS, &ALL, NAMESPACE, "web"))?;
    Ok(Times { leader: leader_after, survivors: survivors_after, healed })
}

fn report(what: &str, goal_s: f64, times: Vec<Duration>) {
    let count = times.len();
    let (median, worst) = median_and_worst(times);
    say(&format!("   {what}: median {median:.2} s (goal {goal_s} s), worst {worst:.2} s, of {count} cuts"));
}
