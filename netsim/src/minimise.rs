//! Finding a smaller run that still fails: fewer kinds of faults, fewer hosts, a shorter time, fewer users. What
//! "still fails" means is asked of the caller, so nothing is run here.

use crate::knobs::Knobs;
use crate::overrides;

/// The most runs that are tried.
const MAX_TRIES: usize = 300;
/// The shortest time for faults and users that is tried, in milliseconds.
const MIN_BUSY_MS: u64 = 250;

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What was made smaller, in words.
    pub what: String,
    /// Whether it still fails: then the next attempts go on from it.
    pub fails: bool,
}

/// Makes a failing run smaller until nothing that is tried fails any more, or enough was tried. Each attempt is told.
pub fn minimise(knobs: &Knobs, fails: &mut dyn FnMut(&Knobs) -> bool, told: &mut dyn FnMut(&Attempt)) -> Knobs {
    let mut search = Search { best: knobs.clone(), tried: Vec::new(), fails, told };
    loop {
        let before = search.best.clone();
        for fault in overrides::faults_on(&before, &overrides::fault_kinds()) {
            let candidate = overrides::without(&search.best, &fault);
            search.attempt(format!("without {fault}"), candidate);
        }
        search.fewer_nodes();
        search.shorter();
        search.fewer_writes();
        if search.best == before || search.tried.len() >= MAX_TRIES {
            return search.best;
        }
    }
}

struct Search<'a> {
    best: Knobs,
    /// What was run: nothing is run twice.
    tried: Vec<Knobs>,
    fails: &'a mut dyn FnMut(&Knobs) -> bool,
    told: &'a mut dyn FnMut(&Attempt),
}

impl Search<'_> {
    /// Takes a candidate over if it still fails; whether it did.
    fn attempt(&mut self, what: String, candidate: Knobs) -> bool {
        if candidate == self.best || self.tried.contains(&candidate) || self.tried.len() >= MAX_TRIES {
            return false;
        }
        let fails = (self.fails)(&candidate);
        self.tried.push(candidate.clone());
        if fails {
            self.best = candidate;
        }
        (self.told)(&Attempt { what, fails });
        fails
    }

    fn fewer_nodes(&mut self) {
        for nodes in 1..self.best.nodes {
            let candidate = Knobs { nodes, ..self.best.clone() };
            if self.attempt(format!("{nodes} {}", if nodes == 1 { "node" } else { "nodes" }), candidate) {
                return;
            }
        }
    }

    fn shorter(&mut self) {
        let times = |busy_ms: u64| [busy_ms / 8, busy_ms / 4, busy_ms / 2, busy_ms * 3 / 4, busy_ms * 9 / 10];
        while times(self.best.busy_ms).into_iter().filter(|busy_ms| *busy_ms >= MIN_BUSY_MS).any(|busy_ms| {
            let candidate = Knobs { busy_ms, ..self.best.clone() };
            self.attempt(format!("{busy_ms} ms of faults and users"), candidate)
        }) {}
    }

    fn fewer_writes(&mut self) {
        // None at all, then ever fewer. Rarer than the whole time is no rarer.
        let nobody = Knobs { user_every_ms: 0, ..self.best.clone() };
        if self.best.user_every_ms == 0 || self.attempt("no writes by users".to_owned(), nobody) {
            return;
        }
        while [8, 4, 2].into_iter().any(|times| {
            let user_every_ms = self.best.user_every_ms * times;
            let candidate = Knobs { user_every_ms, ..self.best.clone() };
            user_every_ms <= self.best.busy_ms * 2
                && self.attempt(format!("a write every {user_every_ms} ms"), candidate)
        }) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knobs::Faults;

    fn all_faults() -> Knobs {
        let faults =
            Faults { partition_every_ms: 5000, crash_every_ms: 6000, pause_every_ms: 7000, ..Faults::default() };
        Knobs { nodes: 7, faults, ..Knobs::draw(3) }
    }

    #[test]
    fn what_the_failure_needs_is_kept_and_nothing_else() {
        let (mut attempts, mut runs) = (Vec::new(), Vec::new());
        let mut fails = |knobs: &Knobs| {
            assert!(!runs.contains(knobs), "{knobs} were run twice");
            runs.push(knobs.clone());
            knobs.faults.partition_every_ms > 0 && knobs.nodes >= 3 && knobs.busy_ms >= 9_000
        };
        let least = minimise(&all_faults(), &mut fails, &mut |attempt| attempts.push(attempt.clone()));
        assert_eq!(overrides::faults_on(&least, &overrides::fault_kinds()), ["partition_every_ms"]);
        assert_eq!((least.nodes, least.user_every_ms), (3, 0));
        assert!((9_000..10_000).contains(&least.busy_ms), "{}", least.busy_ms);
        assert!(attempts.contains(&Attempt { what: "without crash_every_ms".into(), fails: true }), "{attempts:?}");
        assert!(attempts.contains(&Attempt { what: "2 nodes".into(), fails: false }), "{attempts:?}");
    }

    #[test]
    fn writes_that_are_needed_become_rare() {
        let mut fails = |knobs: &Knobs| knobs.user_every_ms > 0 && knobs.user_every_ms <= 8_000;
        let least = minimise(&Knobs { user_every_ms: 500, ..all_faults() }, &mut fails, &mut |_| ());
        assert!((1..=8_000).contains(&least.user_every_ms), "{}", least.user_every_ms);
        assert!(least.busy_ms < 1_000, "{}", least.busy_ms);
    }

    #[test]
    fn a_failure_that_comes_and_goes_ends_the_search_in_bounds() {
        let (mut tries, mut told) = (0, 0);
        let mut fails = |_: &Knobs| {
            tries += 1;
            tries % 2 == 0
        };
        minimise(&all_faults(), &mut fails, &mut |_| told += 1);
        assert!(tries <= MAX_TRIES && told == tries, "{tries} runs, {told} told");
    }
}
