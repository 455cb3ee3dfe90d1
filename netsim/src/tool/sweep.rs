//! `netsim sweep`: many seeds on all cores. Results are printed in the order of the seeds; a record of them may be
//! kept.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use skein_netsim::{Knobs, Outcome, overrides, run};

use super::progress::Progress;
use super::tally::{self, Tally, Verdict};
use super::{BROKEN, CRASHED, Failure, HELD, LATE, complain, report, say};

/// The stack of a thread that runs a world, as big as a main thread's.
const STACK_BYTES: usize = 8 << 20;
/// How many seeds are named for each check in the summary.
const NAMED_SEEDS: usize = 10;

/// What is to be run, and how.
pub(super) struct Plan {
    /// The seeds.
    pub(super) seeds: Range<u64>,
    /// What is set by hand in all of them.
    pub(super) sets: Vec<String>,
    /// How many run at once; `None`: as many as there are cores.
    pub(super) jobs: Option<u16>,
    /// Where the record is kept, if one is.
    pub(super) resume: Option<PathBuf>,
}

/// What a thread says of one seed.
struct Finished {
    seed: u64,
    knobs: Knobs,
    outcome: Outcome,
    panicked_at: Option<String>,
}

/// Runs many seeds. Returns the exit code of the worst.
pub(super) fn sweep(plan: &Plan) -> Result<u8, Failure> {
    // What is set by hand is looked at once, before the first run.
    overrides::drawn(plan.seeds.start, &plan.sets)?;
    let (mut tally, mut verdicts) = (None, BTreeMap::new());
    if let Some(path) = &plan.resume {
        let (opened, known) = Tally::open(path, &tally::build()?, &plan.sets)?;
        tally = Some(opened);
        verdicts = known;
        verdicts.retain(|seed, _| plan.seeds.contains(seed));
        complain(&format!("{} of these seeds are in {} already", verdicts.len(), path.display()));
    }
    tell_known(plan, &verdicts)?;
    let open: Vec<u64> = plan.seeds.clone().filter(|seed| !verdicts.contains_key(seed)).collect();
    let progress = Progress::new(verdicts.len() as u64, plan.seeds.end - plan.seeds.start);
    let mut waiting = BTreeMap::new();
    let mut told = 0;
    in_parallel(plan, &open, |finished| {
        let verdict = verdict(&finished.outcome);
        if let Some(tally) = &mut tally {
            tally.add(finished.seed, &verdict)?;
        }
        verdicts.insert(finished.seed, verdict);
        waiting.insert(finished.seed, finished);
        while let Some(finished) = open.get(told).and_then(|seed| waiting.remove(seed)) {
            told += 1;
            if finished.outcome.end.violation().is_some() {
                progress.hide();
                report::failure(&finished.knobs, &finished.outcome, finished.panicked_at.as_deref(), false);
            }
        }
        progress.show(verdicts.len() as u64, verdicts.values().filter(|verdict| verdict.code != HELD).count());
        Ok(())
    })?;
    progress.hide();
    summarise(plan, &verdicts)?;
    Ok(verdicts.values().map(|verdict| verdict.code).fold(HELD, report::worse))
}

/// Runs seeds on all cores and hands over each result as it comes. Each thread builds its worlds itself.
fn in_parallel(
    plan: &Plan,
    seeds: &[u64],
    mut finished: impl FnMut(Finished) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let jobs = plan.jobs.map_or_else(cores, usize::from).min(seeds.len());
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next) = (sender.clone(), &next);
            let work = move || {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Some(result) = run_seed(*seed, &plan.sets) else { return };
                    if sender.send(result).is_err() {
                        return;
                    }
                }
            };
            let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
            thread.map_err(|error| Failure { code: super::AMISS, what: format!("cannot start a thread: {error}") })?;
        }
        drop(sender);
        for result in results {
            if let Err(failure) = finished(result) {
                // No thread takes another seed.
                next.store(seeds.len(), Ordering::Relaxed);
                return Err(failure);
            }
        }
        Ok(())
    })
}

/// Runs one seed; `None` if a knob cannot be set, which was found out before.
fn run_seed(seed: u64, sets: &[String]) -> Option<Finished> {
    let knobs = overrides::drawn(seed, sets).ok()?;
    let outcome = run(&knobs);
    let panicked_at = report::panicked_at(&outcome);
    Some(Finished { seed, knobs, outcome, panicked_at })
}

fn verdict(outcome: &Outcome) -> Verdict {
    Verdict {
        code: report::code(&outcome.end),
        check: outcome.end.violation().map(|violation| violation.check.to_owned()),
        settled_ms: outcome.settled_ms,
    }
}

/// Prints what failed according to the record.
fn tell_known(plan: &Plan, known: &BTreeMap<u64, Verdict>) -> Result<(), Failure> {
    for (seed, verdict) in known.iter().filter(|(_, verdict)| verdict.code != HELD) {
        let check = verdict.check.as_deref().unwrap_or("-");
        say(&format!("seed {seed}: {}: {check} (run before)", word(verdict.code)));
        say(&format!("replay: {}", report::replay(&overrides::drawn(*seed, &plan.sets)?)));
    }
    Ok(())
}

fn word(code: u8) -> &'static str {
    match code {
        HELD => "clean",
        BROKEN => "broken",
        LATE => "not settled",
        CRASHED => "crashed",
        _ => "unknown",
    }
}

/// Prints how many failed, by check and by fault.
fn summarise(plan: &Plan, verdicts: &BTreeMap<u64, Verdict>) -> Result<(), Failure> {
    let mut by_check: BTreeMap<(u8, &str), Vec<u64>> = BTreeMap::new();
    for (seed, verdict) in verdicts {
        if let Some(check) = &verdict.check {
            by_check.entry((verdict.code, check)).or_default().push(*seed);
        }
    }
    let kinds = overrides::fault_kinds();
    let mut by_fault: BTreeMap<String, (u64, u64)> = kinds.iter().map(|kind| (kind.clone(), (0, 0))).collect();
    for (seed, verdict) in verdicts {
        for fault in overrides::faults_on(&overrides::drawn(*seed, &plan.sets)?, &kinds) {
            let (on, failed) = by_fault.entry(fault).or_default();
            *on += 1;
            *failed += u64::from(verdict.code != HELD);
        }
    }
    say(&format!("{:<32} {:>8} {:>8}", "by fault", "seeds", "failed"));
    for (fault, (on, failed)) in by_fault {
        say(&format!("  {fault:<30} {on:>8} {failed:>8}"));
    }
    if !by_check.is_empty() {
        say(&format!("{:<32} {:>8}  seeds", "by check", "failed"));
    }
    for ((code, check), seeds) in by_check {
        say(&format!("  {:<30} {:>8}  {}", format!("{check}, {}", word(code)), seeds.len(), some(&seeds)));
    }
    let clean = verdicts.values().filter(|verdict| verdict.code == HELD);
    let slowest = clean.clone().map(|verdict| verdict.settled_ms).max().unwrap_or(0);
    let (clean, all) = (clean.count(), verdicts.len());
    say(&format!(
        "{all} seeds: {clean} clean, {} failed; the slowest clean one settled after {slowest} virtual ms",
        all - clean
    ));
    Ok(())
}

fn some(seeds: &[u64]) -> String {
    let named: Vec<String> = seeds.iter().take(NAMED_SEEDS).map(u64::to_string).collect();
    let more = seeds.len().saturating_sub(NAMED_SEEDS);
    if more > 0 { format!("{} and {more} more", named.join(" ")) } else { named.join(" ") }
}
