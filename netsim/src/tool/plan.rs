//! `netsim plan`: what the scheduler and the controllers cost by themselves, measured.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use skein_netsim::plan::{self, Lap};

use super::scale::memory_mb;
use super::{BROKEN, Failure, HELD, complain, say};

/// How large the cluster is.
#[derive(clap::Args)]
pub(super) struct Size {
    /// How many nodes.
    #[arg(long, default_value_t = 5000)]
    nodes: usize,
    /// How many pods.
    #[arg(long, default_value_t = 150_000)]
    pods: usize,
}

/// Runs it and prints a line for each phase as it ends.
pub(super) fn plan(size: &Size) -> Result<u8, Failure> {
    let size = plan::Size { nodes: size.nodes.max(1), pods: size.pods };
    say(&format!(
        "{} nodes, {} pods; seconds in all, and in brackets milliseconds in the longest round",
        size.nodes, size.pods
    ));
    say(
        "phase            rounds   placed   leader       looking       planning        writing    (reports)  pods/s  memory MB",
    );
    let done = plan::run(size, &processor_time, &mut |lap| say(&row(&lap)));
    Ok(match done {
        Ok(()) => HELD,
        Err(what) => {
            complain(&what);
            BROKEN
        }
    })
}

/// How long this thread has had a processor, so that what else the machine does is not counted. A system without that clock
/// shows no times.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn row(lap: &Lap) -> String {
    let seconds = |time: Duration| time.as_secs_f64();
    let spent = |spent: plan::Spent| format!("{:>7.2} ({:>5.0})", seconds(spent.all), seconds(spent.longest) * 1000.0);
    let rate = if lap.placed == 0 { 0.0 } else { lap.placed as f64 / seconds(lap.leader()).max(1e-6) };
    format!(
        "{:<16} {:>6} {:>8} {:>8.2} {} {} {} {:>9.2} {rate:>9.0} {:>10}",
        lap.name,
        lap.rounds,
        lap.placed,
        seconds(lap.leader()),
        spent(lap.viewing),
        spent(lap.planning),
        spent(lap.writing),
        seconds(lap.hearing.all),
        memory_mb()
    )
}
