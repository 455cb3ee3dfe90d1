//! What breaks when, drawn from a seed: cuts, one-way cuts, lossy links, partitions, daemons killed, hosts switched off, also
//! ones that nobody hears any more. Faults may overlap, but never at one host. How they are done lives in `run`.

use super::chance::Chance;

/// How long before the first fault, so that there is something to lose, in ms.
const CALM_MS: u64 = 3000;
/// From one fault's beginning to the next one's, in ms.
const APART_MS: (u64, u64) = (1500, 6000);
/// How long a fault lasts, in ms: shorter and longer than it takes to be noticed.
const LASTS_MS: (u64, u64) = (500, 9000);
/// How long both sides of a cut need until each runs what it should run without the other, in ms.
const LONG_MS: u64 = 8000;
/// How long a host goes on alone before it is switched off, in ms: it goes on acknowledging, and the others are not yet known to
/// be out of reach for part of it.
const ALONE_MS: (u64, u64) = (500, 1500);

/// What is done to hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The cable is pulled.
    Cut,
    /// Nothing arrives.
    Deaf,
    /// Nothing that is sent arrives.
    Mute,
    /// This share of the packets is lost, in percent.
    Lossy(u8),
    /// The hosts hear each other, and none of the others.
    Apart,
    /// The daemon is killed, and started again.
    Killed,
    /// The host is switched off, and on again.
    Off,
    /// The cable is pulled, and so many ms later the host is switched off: what it said meanwhile is on its disk or nowhere.
    Stranded(u64),
    /// The host is switched off in the end and never comes back, nor does its disk.
    Lost,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What.
    pub kind: Kind,
    /// To which hosts; several only when they are set apart.
    pub hosts: Vec<usize>,
    /// From when, in ms since the beginning.
    pub from_ms: u64,
    /// Until when.
    pub until_ms: u64,
}

impl Planned {
    /// What it is, in words.
    pub fn in_words(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|host| format!("h{host}")).collect();
        let hosts = hosts.join(", ");
        match self.kind {
            Kind::Cut => format!("{hosts} cut off"),
            Kind::Deaf => format!("nothing arrives at {hosts}"),
            Kind::Mute => format!("nothing from {hosts} arrives"),
            Kind::Lossy(percent) => format!("{percent} % of all packets to and from {hosts} lost"),
            Kind::Apart => format!("{hosts} cut from the others"),
            Kind::Killed => format!("the daemon of {hosts} killed"),
            Kind::Off => format!("{hosts} switched off"),
            Kind::Stranded(after_ms) => format!("{hosts} cut off, and switched off {after_ms} ms later"),
            Kind::Lost => format!("{hosts} lost for good"),
        }
    }

    /// Whether the daemon does not run meanwhile, or not all the while.
    pub fn is_down(&self) -> bool {
        matches!(self.kind, Kind::Killed | Kind::Off | Kind::Stranded(_) | Kind::Lost)
    }

    /// When it gets worse, in ms since the beginning, if it does: what was cut off is switched off.
    pub fn worsens_ms(&self) -> Option<u64> {
        let Kind::Stranded(after_ms) = self.kind else { return None };
        Some((self.from_ms + after_ms).min(self.until_ms))
    }
}

/// Draws the faults of a run of `busy_ms` on `hosts` hosts, in the order of their beginnings. All are over when it ends.
/// A third of the runs end with the loss of a host for good: what was acknowledged at that one must be elsewhere. A third end
/// with a host that is cut off and then switched off, whose last words nobody overwrites; it comes back. The others end with a
/// host cut from the others for so long that both sides do without the other. `busy_ms` must be 5000 or more.
pub fn draw(seed: u64, hosts: usize, busy_ms: u64) -> Vec<Planned> {
    let mut chance = Chance::new(seed, "faults");
    let mut faults: Vec<Planned> = Vec::new();
    let mut at = CALM_MS + chance.between(0, 2000);
    while at < busy_ms {
        let until_ms = (at + chance.between(LASTS_MS.0, LASTS_MS.1)).min(busy_ms);
        // A host that is being healed when the next fault of it is due would be healed of that one, too.
        let is_free = |host: &usize| !faults.iter().any(|f| f.hosts.contains(host) && f.until_ms + 1000 > at);
        let free: Vec<usize> = (1..=hosts).filter(is_free).collect();
        if let Some((kind, hosts)) = one(&mut chance, &free, hosts) {
            faults.push(Planned { kind, hosts, from_ms: at, until_ms });
        }
        at += chance.between(APART_MS.0, APART_MS.1);
    }
    let alone_ms = chance.between(ALONE_MS.0, ALONE_MS.1);
    let (kind, lasts_ms) = match chance.between(0, 2) {
        0 if hosts > 2 => (Kind::Lost, chance.between(200, 2000)),
        1 => (Kind::Stranded(alone_ms), alone_ms + chance.between(200, 1000)),
        _ => (Kind::Apart, LONG_MS.min(busy_ms / 2)),
    };
    // Nothing else may befall anybody then: two lost copies are more than what is promised.
    let from_ms = busy_ms - lasts_ms;
    faults.retain(|fault| fault.from_ms + 1000 < from_ms);
    faults.iter_mut().for_each(|fault| fault.until_ms = fault.until_ms.min(from_ms - 500));
    let host = usize::try_from(chance.between(1, hosts as u64)).unwrap_or(1);
    faults.push(Planned { kind, hosts: vec![host], from_ms, until_ms: busy_ms });
    faults
}

fn one(chance: &mut Chance, free: &[usize], hosts: usize) -> Option<(Kind, Vec<usize>)> {
    let percent = u8::try_from(chance.between(10, 40)).unwrap_or(10);
    let stranded = Kind::Stranded(chance.between(ALONE_MS.0, ALONE_MS.1));
    let kinds =
        [Kind::Cut, Kind::Deaf, Kind::Mute, Kind::Lossy(percent), Kind::Apart, Kind::Killed, Kind::Off, stranded];
    let kind = *chance.pick(&kinds)?;
    let first = *chance.pick(free)?;
    let mut chosen = vec![first];
    if kind == Kind::Apart {
        let others = free.iter().filter(|host| **host != first && chance.happens(40)).copied();
        chosen.extend(others.collect::<Vec<_>>());
        chosen.truncate(hosts.saturating_sub(1).max(1));
        chosen.sort_unstable();
    }
    Some((kind, chosen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_draws_the_same_and_no_host_has_two_faults_at_once() {
        for seed in 0..200 {
            let faults = draw(seed, 3, 40_000);
            assert_eq!(faults, draw(seed, 3, 40_000));
            for (index, one) in faults.iter().enumerate() {
                assert!(one.from_ms < one.until_ms && one.until_ms <= 40_000, "{one:?}");
                assert!(!one.hosts.is_empty() && one.hosts.len() < 3, "{one:?}");
                let shares = |other: &&Planned| other.hosts.iter().any(|host| one.hosts.contains(host));
                for other in faults[index + 1..].iter().filter(shares) {
                    assert!(other.from_ms >= one.until_ms + 500, "{one:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn seeds_differ_and_all_kinds_are_drawn() {
        let all: Vec<Planned> = (0..50).flat_map(|seed| draw(seed, 3, 40_000)).collect();
        assert!(all.len() > 200, "only {} faults", all.len());
        for kind in [Kind::Cut, Kind::Deaf, Kind::Mute, Kind::Apart, Kind::Killed, Kind::Off, Kind::Lost] {
            assert!(all.iter().any(|fault| fault.kind == kind), "{kind:?} is never drawn");
        }
        assert!(all.iter().any(|fault| matches!(fault.kind, Kind::Lossy(_))));
        assert!(all.iter().any(|fault| matches!(fault.kind, Kind::Stranded(_))));
        assert_ne!(draw(1, 3, 40_000), draw(2, 3, 40_000));
    }
}
