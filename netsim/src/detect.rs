//! The failure detector alone, measured in virtual time: how soon a silent death is seen, how often a node that lives is
//! called down, and what that costs. The nodes are membership machines and nothing else; links never break here.

use std::collections::BTreeSet;

use skein_gossip::membership::MembershipConfig;

pub mod mesh;

use self::mesh::{Mesh, Verdict};

/// Over how long nodes start, in microseconds: no two probe at the same time because they started together.
const STARTS_US: u64 = 2_000_000;
/// How much longer it takes for each node, so that a large cluster forms as its members arrive.
const START_EACH_US: u64 = 5_000;
/// How long a cluster may take until all see all, and a death until all see it, in microseconds.
const PATIENCE_US: u64 = 120_000_000;
/// How often it is asked whether that is so, in microseconds.
const ASK_US: u64 = 100_000;
/// How long is waited before something is measured, in microseconds: long enough that the news of before have been told.
const SETTLE_US: u64 = 10_000_000;
/// By how much that is drawn out before each death, in microseconds, so that deaths meet probes at any time.
const GAP_US: u64 = 5_000_000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How many nodes; two at least.
    pub nodes: usize,
    /// How long nothing happens and false alarms are counted, in virtual microseconds.
    pub watch_us: u64,
    /// How many nodes die, one after the other; each comes back before the next dies.
    pub deaths: usize,
    /// How many of a thousand frames never arrive.
    pub loss_permille: u64,
    /// How many of a hundred nodes are slow; one at least, if it is not 0.
    pub slow_percent: u64,
    /// Whether nodes doubt themselves; see [`MembershipConfig::local_health`].
    pub local_health: bool,
    /// What all chance is drawn from.
    pub seed: u64,
}

impl Plan {
    /// How many nodes are slow. One that is not stays in any case, to die.
    #[must_use]
    pub fn slow(&self) -> usize {
        (self.nodes * self.slow_percent as usize).div_ceil(100).min(self.nodes - 1)
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// How the deaths were seen.
    pub deaths: Vec<Death>,
    /// How long false alarms were counted, in virtual microseconds.
    pub watched_us: u64,
    /// How often a node that lives was called down while nobody else called it so.
    pub alarms: u64,
    /// How many of these were about nodes that are not slow.
    pub alarms_of_well: u64,
    /// How often any node called one that lives down: an alarm that spreads to all is as many words as there are nodes.
    pub words: u64,
    /// How often any node suspected one that lives.
    pub suspicions: u64,
    /// How many frames all nodes sent meanwhile.
    pub frames: u64,
    /// How many bytes these had, without what the transport adds.
    pub bytes: u64,
}

/// How one death was seen, in virtual microseconds after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// When the first survivor called the node down.
    pub first_us: u64,
    /// When half of the survivors had.
    pub median_us: u64,
    /// When the last one had.
    pub last_us: u64,
}

/// Forms a cluster, kills nodes and then watches for a while.
///
/// # Errors
/// The cluster did not form, or a death was not seen by all.
pub fn run(plan: &Plan) -> Result<Figures, String> {
    let mut mesh = formed(plan)?;
    mesh.loss_permille = plan.loss_permille;
    let well = plan.nodes - plan.slow();
    (well..plan.nodes).for_each(|number| mesh.slow_down(number));
    let mut figures = Figures::default();
    for _ in 0..plan.deaths {
        let gap_us = mesh.draw(GAP_US);
        mesh.run_for(SETTLE_US / 2 + gap_us);
        let victim = mesh.draw(well as u64) as usize;
        figures.deaths.push(death_of(&mut mesh, victim)?);
        mesh.revive(victim);
        // In a cluster of false alarms there may be no time at which all see all; it is not waited for.
        wait(&mut mesh, |mesh| others(mesh, victim).all(|by| mesh.sees(by, victim)));
    }
    mesh.run_for(SETTLE_US);
    watch(&mut mesh, plan.watch_us, &mut figures);
    Ok(figures)
}

/// A cluster in which all see all, on a sound network.
fn formed(plan: &Plan) -> Result<Mesh, String> {
    let config = MembershipConfig { local_health: plan.local_health, ..MembershipConfig::default() };
    let mut mesh = Mesh::new(config, plan.nodes, plan.seed);
    let each_us = STARTS_US / plan.nodes as u64 + START_EACH_US;
    for number in 0..plan.nodes {
        mesh.start(number);
        let gap_us = mesh.draw(2 * each_us);
        mesh.run_for(gap_us);
    }
    let all = plan.nodes - 1;
    if wait(&mut mesh, |mesh| (0..mesh.count()).all(|number| mesh.seen_by(number) == all)) {
        Ok(mesh)
    } else {
        Err(format!("{} nodes did not all see each other after {} virtual s", plan.nodes, PATIENCE_US / 1_000_000))
    }
}

/// A node dies; when which survivor called it down.
fn death_of(mesh: &mut Mesh, victim: usize) -> Result<Death, String> {
    let (began_us, survivors) = (mesh.now_us, mesh.count() - 1);
    mesh.words.clear();
    let mut seen: BTreeSet<usize> = others(mesh, victim).filter(|by| !mesh.sees(*by, victim)).collect();
    let mut after_us = vec![0; seen.len()];
    mesh.die(victim);
    while seen.len() < survivors {
        mesh.run_for(ASK_US);
        for word in mesh.words.drain(..) {
            if word.of == victim && word.verdict == Verdict::Down && seen.insert(word.by) {
                after_us.push(word.at_us - began_us);
            }
        }
        if mesh.now_us - began_us > PATIENCE_US {
            let (seen, patience_s) = (seen.len(), PATIENCE_US / 1_000_000);
            return Err(format!("a death was seen by {seen} of {survivors} survivors after {patience_s} virtual s"));
        }
    }
    Ok(Death { first_us: after_us[0], median_us: after_us[(survivors - 1) / 2], last_us: after_us[survivors - 1] })
}

/// Nothing happens; what is said all the same is counted.
fn watch(mesh: &mut Mesh, us: u64, figures: &mut Figures) {
    let (began_us, frames, bytes) = (mesh.now_us, mesh.frames, mesh.bytes);
    // Who is called down by whom.
    let mut downs: BTreeSet<(usize, usize)> = BTreeSet::new();
    mesh.words.clear();
    while mesh.now_us - began_us < us {
        mesh.run_for(ASK_US.min(began_us + us - mesh.now_us));
        for word in std::mem::take(&mut mesh.words) {
            match word.verdict {
                Verdict::Alive => drop(downs.remove(&(word.of, word.by))),
                Verdict::Suspect => figures.suspicions += 1,
                Verdict::Down => {
                    if downs.range((word.of, 0)..(word.of + 1, 0)).next().is_none() {
                        figures.alarms += 1;
                        figures.alarms_of_well += u64::from(!mesh.is_slow(word.of));
                    }
                    figures.words += 1;
                    downs.insert((word.of, word.by));
                }
            }
        }
    }
    figures.watched_us = us;
    (figures.frames, figures.bytes) = (mesh.frames - frames, mesh.bytes - bytes);
}

/// Lets time pass until something is so; whether it came to be.
fn wait(mesh: &mut Mesh, is_so: impl Fn(&Mesh) -> bool) -> bool {
    let began_us = mesh.now_us;
    while !is_so(mesh) {
        if mesh.now_us - began_us > PATIENCE_US {
            return false;
        }
        mesh.run_for(ASK_US);
        mesh.words.clear();
    }
    true
}

fn others(mesh: &Mesh, number: usize) -> impl Iterator<Item = usize> {
    (0..mesh.count()).filter(move |other| *other != number && mesh.runs(*other))
}
