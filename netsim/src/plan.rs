//! The scheduler and the controllers alone, at any size: one store with many members, Deployments for them, and plan after
//! plan until none writes anything; then nodes are lost, and a template changes. No network, no election, no disk.
//!
//! Time is virtual here but for a stopwatch that whoever calls hands in: what it shows is reported and decides nothing. What
//! the nodes and Deployments are like lives in `fleet`, how a plan is carried out in `cluster`, what must hold in `checks`.

use std::time::Duration;

use skein_core::controllers::Plan;

mod checks;
mod cluster;
mod fleet;

use cluster::Cluster;

/// The most plans that a phase may take for each thousand pods, and how many at least.
const PATIENCE: (usize, usize) = (50, 200);
/// How many plans in a row are looked at while nothing changes.
const IDLE_PLANS: usize = 20;

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// How many nodes.
    pub nodes: usize,
    /// How many pods, at least; a multiple of what one Deployment has.
    pub pods: usize,
}

/// How long something took, over all rounds of a phase and in the longest one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// In all rounds together.
    pub all: Duration,
    /// In the longest.
    pub longest: Duration,
}

impl Spent {
    fn add(&mut self, time: Duration) {
        self.all += time;
        self.longest = self.longest.max(time);
    }
}

/// What a phase was like.
#[derive(Debug, Clone, Default)]
pub struct Lap {
    /// Which phase.
    pub name: &'static str,
    /// How many plans were made.
    pub rounds: usize,
    /// How many pods were placed.
    pub placed: usize,
    /// Looking: [`skein_core::view::View::build`].
    pub viewing: Spent,
    /// Planning: [`skein_core::controllers::reconcile`].
    pub planning: Spent,
    /// Carrying out: the documents' writes.
    pub writing: Spent,
    /// Taking in what the agents say of their pods: that is not the leader's work alone, every node does it.
    pub hearing: Spent,
}

impl Lap {
    /// What the leader spent: looking, planning and writing.
    #[must_use]
    pub fn leader(&self) -> Duration {
        self.viewing.all + self.planning.all + self.writing.all
    }
}

/// Goes through all phases; `lap` is told of each as it ends, `clock` is the stopwatch.
///
/// # Errors
/// What did not come to its end or did not hold, in a sentence.
pub fn run(size: Size, clock: &dyn Fn() -> Duration, lap: &mut dyn FnMut(Lap)) -> Result<(), String> {
    let mut run = Run { cluster: Cluster::new(size.nodes), clock };
    lap(run.settle("nodes")?);
    run.cluster.mark_nodes();
    run.cluster.deploy(size.pods);
    lap(run.settle("deploy")?);
    lap(run.idle()?);
    lap(run.new_leader()?);
    run.cluster.lose_a_tenth();
    lap(run.settle("a tenth lost")?);
    run.cluster.change_image();
    lap(run.settle("a rollout")?);
    lap(run.idle()?);
    Ok(())
}

struct Run<'a> {
    cluster: Cluster,
    clock: &'a dyn Fn() -> Duration,
}

impl Run<'_> {
    /// Plans and carries out until a plan writes nothing and all that was placed is ready; then all must hold.
    fn settle(&mut self, name: &'static str) -> Result<Lap, String> {
        let mut lap = Lap { name, ..Lap::default() };
        let patience = PATIENCE.1.max(self.cluster.asked_for() * PATIENCE.0 / 1000);
        loop {
            let plan = self.look(&mut lap);
            let quiet = plan.writes_nothing();
            let before = (self.clock)();
            lap.placed += self.cluster.carry_out(plan);
            let written = (self.clock)();
            let news = self.cluster.run_pods();
            lap.writing.add(written - before);
            lap.hearing.add((self.clock)() - written);
            if quiet && !news {
                break;
            }
            if lap.rounds > patience {
                return Err(format!("{name}: not done after {patience} plans"));
            }
        }
        checks::all(&self.cluster).map_err(|what| format!("{name}: {what}"))?;
        Ok(lap)
    }

    /// Looks while nothing changes.
    fn idle(&mut self) -> Result<Lap, String> {
        let mut lap = Lap { name: "nothing changes", ..Lap::default() };
        for _ in 0..IDLE_PLANS {
            if !self.look(&mut lap).writes_nothing() {
                return Err("a plan writes something though nothing changed".into());
            }
        }
        Ok(lap)
    }

    /// Looks as one who has just begun to lead.
    fn new_leader(&mut self) -> Result<Lap, String> {
        let mut lap = Lap { name: "a new leader", ..Lap::default() };
        self.cluster.forget();
        let quiet = self.look(&mut lap).writes_nothing();
        if quiet { Ok(lap) } else { Err("a new leader writes something though nothing changed".into()) }
    }

    fn look(&mut self, lap: &mut Lap) -> Plan {
        self.cluster.pass(cluster::ROUND);
        let component = self.cluster.component();
        let began = (self.clock)();
        let view = self.cluster.view(&component);
        let looked = (self.clock)();
        let plan = self.cluster.plan(&view);
        drop(view);
        lap.rounds += 1;
        lap.viewing.add(looked - began);
        lap.planning.add((self.clock)() - looked);
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same code and the same checks as at full size, where they are run by hand.
    #[test]
    fn a_small_cluster_is_filled_loses_nodes_and_rolls_out() {
        let mut laps = Vec::new();
        let done = run(Size { nodes: 60, pods: 600 }, &|| Duration::ZERO, &mut |lap| laps.push(lap));
        assert_eq!(done, Ok(()));
        let placed = |name: &str| laps.iter().filter(|lap| lap.name == name).map(|lap| lap.placed).sum::<usize>();
        assert_eq!((placed("deploy"), placed("a rollout"), placed("nothing changes")), (600, fleet::REPLICAS, 0));
        assert!(placed("a tenth lost") > 0);
    }
}
