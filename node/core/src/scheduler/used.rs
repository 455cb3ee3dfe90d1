//! What the pods of a node take together. Sums are exact, so that what was added can be taken off again; whether there is
//! room for more is decided by the filters.

use std::collections::BTreeMap;

use crate::model::needs::{HostPort, PodNeeds};

/// What a pod that asks for no processor time counts as, in thousandths of a core (as in Kubernetes).
const ASSUMED_CPU_MILLIS: u64 = 100;
/// What a pod that asks for no memory counts as.
const ASSUMED_MEMORY_BYTES: u64 = 200 << 20;

/// What the pods of a node take together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Used {
    pods: u32,
    asked: Sums,
    /// With Kubernetes' assumptions for pods that ask for nothing: for preferences alone.
    assumed: Sums,
    /// Host ports, each with how many pods want it: more than one only after a merge.
    ports: BTreeMap<HostPort, u32>,
}

/// Sums that no number of pods makes too great.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sums {
    cpu_millis: u128,
    memory_bytes: u128,
}

impl Used {
    /// Counts one more pod.
    pub fn add(&mut self, needs: &PodNeeds) {
        self.pods += 1;
        self.asked.add(Sums::asked(needs));
        self.assumed.add(Sums::assumed(needs));
        for port in &needs.host_ports {
            *self.ports.entry(port.clone()).or_default() += 1;
        }
    }

    /// Takes off a pod that was counted.
    pub fn remove(&mut self, needs: &PodNeeds) {
        self.pods = self.pods.saturating_sub(1);
        self.asked.remove(Sums::asked(needs));
        self.assumed.remove(Sums::assumed(needs));
        for port in &needs.host_ports {
            let Some(count) = self.ports.get_mut(port) else { continue };
            *count -= 1;
            if *count == 0 {
                self.ports.remove(port);
            }
        }
    }

    /// How many pods there are.
    #[must_use]
    pub fn pods(&self) -> u32 {
        self.pods
    }

    /// What they ask for, in thousandths of a core.
    #[must_use]
    pub fn cpu_millis(&self) -> u64 {
        u64::try_from(self.asked.cpu_millis).unwrap_or(u64::MAX)
    }

    /// What they ask for, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        u64::try_from(self.asked.memory_bytes).unwrap_or(u64::MAX)
    }

    /// The ports of the host that they have.
    pub fn ports(&self) -> impl Iterator<Item = &HostPort> {
        self.ports.keys()
    }

    /// How much of a node with so much would be left after one more pod, of 100.
    pub(super) fn left_with(&self, needs: &PodNeeds, cpu_millis: u64, memory_bytes: u64) -> u64 {
        let mut sums = self.assumed;
        sums.add(Sums::assumed(needs));
        u64::midpoint(part_left(sums.cpu_millis, cpu_millis), part_left(sums.memory_bytes, memory_bytes))
    }
}

impl Sums {
    fn asked(needs: &PodNeeds) -> Self {
        Sums { cpu_millis: needs.cpu_millis.into(), memory_bytes: needs.memory_bytes.into() }
    }

    fn assumed(needs: &PodNeeds) -> Self {
        let or = |asked: u64, assumed: u64| u128::from(if asked == 0 { assumed } else { asked });
        Sums {
            cpu_millis: or(needs.cpu_millis, ASSUMED_CPU_MILLIS),
            memory_bytes: or(needs.memory_bytes, ASSUMED_MEMORY_BYTES),
        }
    }

    fn add(&mut self, other: Sums) {
        self.cpu_millis += other.cpu_millis;
        self.memory_bytes += other.memory_bytes;
    }

    fn remove(&mut self, other: Sums) {
        self.cpu_millis = self.cpu_millis.saturating_sub(other.cpu_millis);
        self.memory_bytes = self.memory_bytes.saturating_sub(other.memory_bytes);
    }
}

/// How much is left of `all`, of 100.
fn part_left(used: u128, all: u64) -> u64 {
    let left = all.saturating_sub(u64::try_from(used).unwrap_or(u64::MAX));
    match left.checked_mul(100) {
        _ if all == 0 => 0,
        // Nearly always: dividing twice as many bits takes ten times as long.
        Some(hundredfold) => hundredfold / all,
        None => u64::try_from(u128::from(left) * 100 / u128::from(all)).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(cpu_millis: u64, memory_bytes: u64, port: u16) -> PodNeeds {
        let port = HostPort { protocol: "TCP".into(), port, ip: String::new() };
        PodNeeds { cpu_millis, memory_bytes, host_ports: [port].into(), ..PodNeeds::default() }
    }

    #[test]
    fn what_was_added_can_be_taken_off_again_however_much_it_was() {
        let mut used = Used::default();
        let all = [needs(0, 0, 80), needs(u64::MAX, u64::MAX, 80), needs(u64::MAX, 7, 81)];
        all.iter().for_each(|needs| used.add(needs));
        assert_eq!((used.pods(), used.cpu_millis(), used.ports().count()), (3, u64::MAX, 2));
        used.remove(&all[1]);
        assert_eq!((used.memory_bytes(), used.ports().count()), (7, 2));
        used.remove(&all[0]);
        used.remove(&all[2]);
        assert_eq!(used, Used::default());
    }

    #[test]
    fn what_is_left_is_a_part_of_what_is_there() {
        let used = Used::default();
        assert_eq!(used.left_with(&needs(500, 1 << 30, 1), 1000, 4 << 30), 62);
        assert_eq!(used.left_with(&needs(500, 1 << 62, 1), 1000, u64::MAX), 62);
        assert_eq!(used.left_with(&needs(2000, 1, 1), 1000, 0), 0);
    }
}
