//! Everything that differs from seed to seed, drawn from the seed in one place and printed with every failure.

use std::fmt;

use rand::RngExt;
use serde::{Deserialize, Serialize};
use skein_gossip::planted::Bug;
use skein_gossip::{Rng, random};

use crate::link::profile::Network;

/// What a run is like. Its fields, those of the faults among them, can be set from the command line by their names, see
/// [`overrides`](crate::overrides).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Knobs {
    /// The seed that all of it is drawn from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How long faults and users are at work, in virtual milliseconds.
    pub busy_ms: u64,
    /// How the hosts are connected.
    pub network: Network,
    /// How long a disk takes at most, in microseconds.
    pub disk_us: u64,
    /// How long an image takes to be pulled at most, in milliseconds.
    pub pull_ms: u64,
    /// The mean time between what users do, in milliseconds; 0: they do nothing.
    pub user_every_ms: u64,
    /// How long one leader stays at the front, in milliseconds.
    pub tenure_ms: u64,
    /// How long the cluster may take to settle once everything is mended, in virtual milliseconds.
    pub settle_ms: u64,
    /// The most events that may wait at once; more break the promise that queues are bounded.
    pub queue_max: usize,
    /// When the run is to panic, in virtual milliseconds; 0: never. It shows what becomes of a panic.
    pub panic_at_ms: u64,
    /// How many of a thousand values in ConfigMaps are kept beside the document.
    pub aside_permille: u64,
    /// The mean time between what clients do who want one lock, in milliseconds; 0: nobody wants it.
    pub candidate_every_ms: u64,
    /// The mean time between rotations of the cluster's secrets, in milliseconds; 0: there are none.
    pub rotate_every_ms: u64,
    /// How many nodes, the last ones, come in as observers.
    pub observers: usize,
    /// The mean time between stories of removals, see [`removals`](crate::removals), in milliseconds; 0: there are none. With
    /// them some hosts stay outside until a story lets them in.
    pub removal_every_ms: u64,
    /// How many of a thousand writes to a ConfigMap delete it.
    pub config_deletes_permille: u64,
    /// Which rule the nodes break, in builds with the feature `planted-bugs`; null: none.
    pub planted: Option<Bug>,
    /// What breaks.
    #[serde(flatten)]
    pub faults: Faults,
}

/// How often what breaks; 0: never. Mean times between two of a kind are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Faults {
    /// How many of a thousand frames are lost, and sent again a while later; what follows waits.
    pub loss_permille: u64,
    /// How many of a thousand frames a full queue drops.
    pub drop_permille: u64,
    /// Between partitions.
    pub partition_every_ms: u64,
    /// Between cuts of a single direction.
    pub one_way_every_ms: u64,
    /// Between connections that are reset.
    pub reset_every_ms: u64,
    /// Between directions that clog.
    pub clog_every_ms: u64,
    /// Between crashes of a daemon.
    pub crash_every_ms: u64,
    /// Between losses of power of a machine.
    pub power_every_ms: u64,
    /// Between pauses (a closed laptop).
    pub pause_every_ms: u64,
    /// Between departures of a node; it joins again later.
    pub leave_every_ms: u64,
    /// Between nodes that somebody removes; a removed node runs on as long as nobody tells it.
    pub remove_every_ms: u64,
    /// Between disks that refuse for a while, full or failing.
    pub disk_refuses_every_ms: u64,
    /// Between daemons that are killed and whose disk changes a bit before they start again.
    pub corrupt_every_ms: u64,
    /// Between machines that lose their power and come back with an empty disk.
    pub lose_disk_every_ms: u64,
    /// How far apart the wall clocks start, at most, in milliseconds.
    pub clock_spread_ms: u64,
    /// By how many parts in a million clocks run too fast or too slow, at most.
    pub drift_ppm: u64,
    /// Between jumps of a wall clock.
    pub jump_every_ms: u64,
    /// How many of a thousand pulls fail.
    pub pull_failure_permille: u64,
    /// How many of a thousand starts of containers fail.
    pub start_failure_permille: u64,
    /// Between containers that end by themselves.
    pub exit_every_ms: u64,
    /// Between containers that nobody knows of.
    pub orphan_every_ms: u64,
}

/// The first seed whose users may write values that are kept beside the document.
const FIRST_WITH_ASIDE: u64 = 10_000;

/// The first seed in which clients may compete for a lock.
const FIRST_WITH_CANDIDATES: u64 = 200_000;

/// The first seed in which the cluster's secrets may be rotated.
const FIRST_WITH_ROTATIONS: u64 = 400_000;
/// The first seed in which some nodes may be observers.
const FIRST_WITH_OBSERVERS: u64 = 500_000;
/// The first seed that may tell stories of removals.
const FIRST_WITH_REMOVALS: u64 = 600_000;
/// The fewest nodes of such a seed: five that found the cluster, and one that a story lets in.
const FEWEST_WITH_REMOVALS: usize = 6;
/// The first seed whose users may delete ConfigMaps.
const FIRST_WITH_CONFIG_DELETES: u64 = 10_000_000;

/// The first seed in which disks may be lost.
const FIRST_WITH_LOST_DISKS: u64 = 20_000_000;

/// How many kinds of faults there are.
pub const FAULTS: usize = 21;

impl Faults {
    /// Each by its name, for printing them and for leaving some out.
    pub fn by_name(&mut self) -> [(&'static str, &mut u64); FAULTS] {
        [
            ("loss_permille", &mut self.loss_permille),
            ("drop_permille", &mut self.drop_permille),
            ("partition_every_ms", &mut self.partition_every_ms),
            ("one_way_every_ms", &mut self.one_way_every_ms),
            ("reset_every_ms", &mut self.reset_every_ms),
            ("clog_every_ms", &mut self.clog_every_ms),
            ("crash_every_ms", &mut self.crash_every_ms),
            ("power_every_ms", &mut self.power_every_ms),
            ("pause_every_ms", &mut self.pause_every_ms),
            ("leave_every_ms", &mut self.leave_every_ms),
            ("remove_every_ms", &mut self.remove_every_ms),
            ("disk_refuses_every_ms", &mut self.disk_refuses_every_ms),
            ("corrupt_every_ms", &mut self.corrupt_every_ms),
            ("lose_disk_every_ms", &mut self.lose_disk_every_ms),
            ("clock_spread_ms", &mut self.clock_spread_ms),
            ("drift_ppm", &mut self.drift_ppm),
            ("jump_every_ms", &mut self.jump_every_ms),
            ("pull_failure_permille", &mut self.pull_failure_permille),
            ("start_failure_permille", &mut self.start_failure_permille),
            ("exit_every_ms", &mut self.exit_every_ms),
            ("orphan_every_ms", &mut self.orphan_every_ms),
        ]
    }

    /// Each is turned on in another half of the seeds. `later` draws for what was added later, so that a seed keeps the rest.
    fn draw(rng: &mut Rng, later: &mut Rng) -> Self {
        let remove_every_ms = later.random_range(10_000..40_000) * u64::from(later.random_bool(0.5));
        let mut sometimes = |low: u64, high: u64| {
            let value = rng.random_range(low..high);
            if rng.random_bool(0.5) { value } else { 0 }
        };
        Faults {
            loss_permille: sometimes(1, 30),
            drop_permille: sometimes(1, 50),
            partition_every_ms: sometimes(4_000, 20_000),
            one_way_every_ms: sometimes(5_000, 20_000),
            reset_every_ms: sometimes(1_000, 10_000),
            clog_every_ms: sometimes(3_000, 15_000),
            crash_every_ms: sometimes(4_000, 20_000),
            power_every_ms: sometimes(8_000, 30_000),
            pause_every_ms: sometimes(6_000, 25_000),
            leave_every_ms: sometimes(8_000, 30_000),
            remove_every_ms,
            disk_refuses_every_ms: sometimes(5_000, 20_000),
            corrupt_every_ms: sometimes(5_000, 20_000),
            lose_disk_every_ms: 0,
            clock_spread_ms: sometimes(1, 600_000),
            drift_ppm: sometimes(10, 10_000),
            jump_every_ms: sometimes(5_000, 20_000),
            pull_failure_permille: sometimes(1, 200),
            start_failure_permille: sometimes(1, 200),
            exit_every_ms: sometimes(3_000, 15_000),
            orphan_every_ms: sometimes(5_000, 20_000),
        }
    }
}

impl Knobs {
    /// The knobs of a seed. Each seed turns on another subset of the faults.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        Knobs::without_removals(seed).with_removals().with_config_deletes().with_lost_disks()
    }

    /// The knobs that a seed had before there were stories of removals.
    #[must_use]
    pub fn without_removals(seed: u64) -> Self {
        let mut rng = random::from_seed(seed ^ 0x6b6e_6f62);
        let faults = Faults::draw(&mut rng, &mut random::from_seed(seed ^ 0x7265_6d6f));
        Knobs {
            seed,
            // Most mistakes need few nodes, and those runs are fast.
            nodes: if rng.random_bool(0.75) { rng.random_range(3..=6) } else { rng.random_range(7..=12) },
            busy_ms: rng.random_range(15_000..40_000),
            network: Network::draw(&mut rng),
            disk_us: rng.random_range(200..20_000),
            pull_ms: rng.random_range(5..4_000),
            user_every_ms: rng.random_range(200..1_500),
            tenure_ms: rng.random_range(8_000..60_000),
            settle_ms: 180_000,
            queue_max: 2_000_000,
            panic_at_ms: 0,
            // It was added later, so it is drawn apart, and the seeds that were swept before stay what they were.
            aside_permille: {
                let mut later = random::from_seed(seed ^ 0x6173_6964);
                later.random_range(100..900) * u64::from(later.random_bool(0.5) && seed >= FIRST_WITH_ASIDE)
            },
            candidate_every_ms: {
                let mut later = random::from_seed(seed ^ 0x6c6f_636b);
                later.random_range(100..1_000) * u64::from(later.random_bool(0.5) && seed >= FIRST_WITH_CANDIDATES)
            },
            rotate_every_ms: {
                let mut later = random::from_seed(seed ^ 0x726f_7461);
                later.random_range(3_000..15_000) * u64::from(later.random_bool(0.5) && seed >= FIRST_WITH_ROTATIONS)
            },
            observers: 0,
            removal_every_ms: 0,
            config_deletes_permille: 0,
            planted: None,
            faults,
        }
        .with_observers()
    }

    /// It was added later, so it is drawn apart. At least three nodes stay members: fewer could not carry what users ask for.
    fn with_observers(self) -> Self {
        let mut later = random::from_seed(self.seed ^ 0x6f62_7365);
        let some = later.random_range(1..=(self.nodes / 2).clamp(1, 4)).min(self.nodes.saturating_sub(3));
        let drawn = later.random_bool(0.5) && self.seed >= FIRST_WITH_OBSERVERS;
        Knobs { observers: if drawn { some } else { 0 }, ..self }
    }

    /// Drawn apart as well, since it was added later. Where removals are told there is time for some of them.
    fn with_removals(mut self) -> Self {
        let mut later = random::from_seed(self.seed ^ 0x6f75_7473);
        let (every_ms, is_on) = (later.random_range(12_000..30_000), later.random_bool(0.75));
        if is_on && self.seed >= FIRST_WITH_REMOVALS {
            self.removal_every_ms = every_ms;
            // Stories pick who removes and who lets in, and an observer may do neither.
            self.observers = 0;
            self.nodes = self.nodes.max(FEWEST_WITH_REMOVALS);
            self.busy_ms += 20_000;
        }
        self
    }

    /// Drawn apart as well, since it was added later.
    fn with_config_deletes(self) -> Self {
        let mut later = random::from_seed(self.seed ^ 0x636f_6e66);
        let (permille, is_on) = (later.random_range(50..400), later.random_bool(0.5));
        let is_on = is_on && self.seed >= FIRST_WITH_CONFIG_DELETES;
        Knobs { config_deletes_permille: if is_on { permille } else { 0 }, ..self }
    }

    /// Drawn apart as well, since it was added later.
    fn with_lost_disks(mut self) -> Self {
        let mut later = random::from_seed(self.seed ^ 0x6469_736b);
        let (every_ms, is_on) = (later.random_range(6_000..30_000), later.random_bool(0.5));
        if is_on && self.seed >= FIRST_WITH_LOST_DISKS {
            self.faults.lose_disk_every_ms = every_ms;
        }
        self
    }

    /// How many hosts stay outside until a story lets them in.
    #[must_use]
    pub fn outside(&self) -> usize {
        if self.removal_every_ms > 0 { (self.nodes / 4).min(2) } else { 0 }
    }

    /// The same cluster and users with no fault at all.
    #[must_use]
    pub fn calm(seed: u64, nodes: usize) -> Self {
        let network = Network::Lan;
        Knobs { nodes, network, removal_every_ms: 0, faults: Faults::default(), ..Knobs::draw(seed) }.with_observers()
    }
}

impl fmt::Display for Knobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} nodes {} busy_ms {} network {}", self.seed, self.nodes, self.busy_ms, self.network)?;
        write!(f, " disk_us {} pull_ms {}", self.disk_us, self.pull_ms)?;
        write!(f, " user_every_ms {} tenure_ms {}", self.user_every_ms, self.tenure_ms)?;
        write!(f, " aside_permille {}", self.aside_permille)?;
        write!(f, " candidate_every_ms {};", self.candidate_every_ms)?;
        // Only where there are any, so that the traces of earlier seeds stay what they were: the first line is part of the hash.
        if self.rotate_every_ms > 0 {
            write!(f, " rotate_every_ms {};", self.rotate_every_ms)?;
        }
        if self.observers > 0 {
            write!(f, " observers {};", self.observers)?;
        }
        if self.removal_every_ms > 0 {
            write!(f, " removal_every_ms {};", self.removal_every_ms)?;
        }
        if self.config_deletes_permille > 0 {
            write!(f, " config_deletes_permille {};", self.config_deletes_permille)?;
        }
        if let Some(bug) = self.planted {
            write!(f, " planted {bug};")?;
        }
        let mut faults = self.faults;
        for (name, value) in faults.by_name() {
            if name != "lose_disk_every_ms" || *value > 0 {
                write!(f, " {name} {value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_off_in_some_seeds_and_on_in_others() {
        let mut on = [0; FAULTS];
        for seed in FIRST_WITH_LOST_DISKS..FIRST_WITH_LOST_DISKS + 100 {
            let mut faults = Knobs::draw(seed).faults;
            for (count, (_, value)) in on.iter_mut().zip(faults.by_name()) {
                *count += u32::from(*value > 0);
            }
        }
        assert!(on.iter().all(|count| (20..80).contains(count)), "{on:?}");
    }

    #[test]
    fn some_later_seeds_have_observers_and_three_members_or_more_and_none_of_the_earlier_ones_has_any() {
        assert!((0..2_000).all(|seed| Knobs::draw(seed).observers == 0));
        let later: Vec<Knobs> = (FIRST_WITH_OBSERVERS..FIRST_WITH_OBSERVERS + 200).map(Knobs::draw).collect();
        let some = later.iter().filter(|knobs| knobs.observers > 0).count();
        assert!((60..140).contains(&some), "{some}");
        assert!(later.iter().all(|knobs| knobs.observers + 3 <= knobs.nodes));
    }

    #[test]
    fn no_disk_is_lost_in_the_earlier_seeds_and_their_first_lines_do_not_name_it() {
        let earlier = (0..1_000).chain(FIRST_WITH_LOST_DISKS - 1_000..FIRST_WITH_LOST_DISKS).map(Knobs::draw);
        assert!(earlier.map(|knobs| knobs.to_string()).all(|line| !line.contains("lose_disk")));
    }

    #[test]
    fn users_delete_configs_in_some_later_seeds_and_in_none_of_the_earlier_ones() {
        assert!((0..2_000).all(|seed| Knobs::draw(seed).config_deletes_permille == 0));
        let later = FIRST_WITH_CONFIG_DELETES..FIRST_WITH_CONFIG_DELETES + 200;
        let some = later.filter(|seed| Knobs::draw(*seed).config_deletes_permille > 0).count();
        assert!((60..140).contains(&some), "{some}");
    }

    #[test]
    fn every_knob_is_printed() {
        let mut knobs = Knobs::draw(3);
        let mut next = 1_000_001;
        for (_, value) in knobs.faults.by_name() {
            *value = next;
            next += 1;
        }
        let text = knobs.to_string();
        assert!((1_000_001..next).all(|value| text.contains(&value.to_string())), "{text}");
    }
}
