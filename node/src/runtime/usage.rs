//! What containers and the machine have used so far, as the kernel counts it. What follows from two such looks is made in
//! `crate::usage`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use skein_core::runtime::ContainerRef;
use tokio::time::Instant;

/// The kernel's unit of processor time in `/proc`: a hundredth of a second on all machines that this runs on.
const TICK: Duration = Duration::from_millis(10);

/// What something has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// When this was seen.
    pub seen: Instant,
    /// Processor time since it began, in nanoseconds of one core.
    pub cpu_ns: u64,
    /// Memory that it holds now and that could not be taken away from it at once, in bytes.
    pub memory_bytes: u64,
}

/// What the containers of this node have used so far.
pub type Counters = BTreeMap<ContainerRef, Counter>;

/// What this machine has used so far; `None` where the kernel does not say.
#[must_use]
pub fn of_machine() -> Option<Counter> {
    let seen = Instant::now();
    let cpu_ns = machine_ns(&fs::read_to_string("/proc/stat").ok()?)?;
    let memory_bytes = memory_in_use(&fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(Counter { seen, cpu_ns, memory_bytes })
}

/// The processor time of all that is not idle. What guests take is part of `user` and `nice` already.
fn machine_ns(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let busy = [0, 1, 2, 5, 6].into_iter().map(|field| fields.get(field).copied().unwrap_or(0));
    (!fields.is_empty()).then(|| nanoseconds(busy.fold(0, u64::saturating_add)))
}

fn memory_in_use(meminfo: &str) -> Option<u64> {
    let kilobytes = |name: &str| -> Option<u64> {
        let text = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        text.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    Some(kilobytes("MemTotal")?.saturating_sub(kilobytes("MemAvailable")?).saturating_mul(1024))
}

/// One process, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    /// With that of its children that have ended.
    cpu_ns: u64,
}

/// All processes of this machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Processes(Vec<Process>);

impl Processes {
    /// As they are now. One that ends meanwhile is left out.
    pub(super) fn now() -> Processes {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        Processes(pids.filter_map(|pid| process(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect())
    }

    /// What a process has used with all that it started, at whatever remove, as long as they are its group, its session or
    /// its descendants.
    pub(super) fn used_by(&self, root: i32) -> Counter {
        let mut members: Vec<&Process> = Vec::new();
        let belongs = |process: &Process| process.pid == root || process.group == root || process.session == root;
        let mut parents: Vec<i32> = Vec::new();
        for process in self.0.iter().filter(|process| belongs(process)) {
            members.push(process);
            parents.push(process.pid);
        }
        while let Some(parent) = parents.pop() {
            for child in self.0.iter().filter(|child| child.parent == parent && !belongs(child)) {
                if !members.contains(&child) {
                    members.push(child);
                    parents.push(child.pid);
                }
            }
        }
        let cpu_ns = members.iter().map(|process| process.cpu_ns).fold(0, u64::saturating_add);
        let memory_bytes = members.iter().map(|process| resident(process.pid)).fold(0, u64::saturating_add);
        Counter { seen: Instant::now(), cpu_ns, memory_bytes }
    }
}

fn process(stat: &str) -> Option<Process> {
    // The program's name is in parentheses and may hold anything; the state, field 3, comes after it.
    let pid = stat.split(' ').next()?.parse().ok()?;
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    let id = |field: usize| i32::try_from(number(field)?).ok();
    let ticks = (14..=17).map(number).collect::<Option<Vec<i64>>>()?;
    let ticks = ticks.into_iter().filter_map(|ticks| u64::try_from(ticks).ok()).fold(0, u64::saturating_add);
    Some(Process { pid, parent: id(4)?, group: id(5)?, session: id(6)?, cpu_ns: nanoseconds(ticks) })
}

/// What a process has in memory, in bytes.
fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    kilobytes.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
}

fn nanoseconds(ticks: u64) -> u64 {
    ticks.saturating_mul(u64::try_from(TICK.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_machine_uses_what_is_not_idle_and_not_available() {
        let stat = "cpu  100 20 30 4000 500 6 7 8 90 0\ncpu0 1 1 1 1\nintr 5\n";
        assert_eq!(machine_ns(stat), Some((100 + 20 + 30 + 6 + 7) * 10_000_000));
        assert_eq!(memory_in_use("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:   40 kB\n"), Some(60 * 1024));
        assert_eq!((machine_ns("intr 5"), memory_in_use("MemTotal: 1 kB")), (None, None));
        let now = of_machine().unwrap();
        assert!(now.cpu_ns > 0 && now.memory_bytes > 0, "{now:?}");
    }

    #[test]
    fn a_process_uses_what_its_group_its_session_and_its_descendants_use() {
        let process = |pid, parent, group, session| Process { pid, parent, group, session, cpu_ns: 1 << pid };
        let all = Processes(vec![
            process(1, 0, 1, 1),
            process(2, 1, 2, 2),
            process(3, 2, 2, 2),
            process(4, 3, 4, 4),
            process(5, 4, 5, 5),
            process(6, 1, 6, 2),
            process(7, 1, 7, 7),
        ]);
        assert_eq!(all.used_by(2).cpu_ns, 0b111_1100);
        assert_eq!(all.used_by(7).cpu_ns, 0b1000_0000);
        assert_eq!(all.used_by(99).cpu_ns, 0);
    }

    #[test]
    fn the_process_itself_is_found_with_its_memory() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(Processes::now().used_by(own).memory_bytes > 1 << 16);
        let line = "42 (a) b (c)) S 1 42 40 0 -1 4194560 0 0 0 0 5 6 7 8 20 0";
        let found = process(line).unwrap();
        assert_eq!((found.pid, found.parent, found.group, found.session), (42, 1, 42, 40));
        assert_eq!(found.cpu_ns, 26 * 10_000_000);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,200}") {
            let _ = (process(&text), machine_ns(&text), memory_in_use(&text));
        }
    }
}
