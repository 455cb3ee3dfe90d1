//! What is flushed to disk for a write, as the kernel sees it: strace watches all members while one client writes. Speed that
//! comes from acknowledging what no disk has would show here.

use std::time::Duration;

use super::Store;
use super::load;
use crate::failure::Outcome;
use crate::measure::figures::{short, table as draw};
use crate::trace::Trace;

/// How long one client writes under strace, which makes everything slow.
const LASTS: Duration = Duration::from_secs(3);
/// What strace looks for.
const CALLS: &str = "fsync,fdatasync";
/// The number of the round, which keeps its keys apart from those of others.
const ROUND: usize = 1000;

/// A table: flushes of each member for an acknowledged write.
///
/// # Errors
/// When strace cannot attach, or a write is refused.
pub fn table<A: Store, B: Store>(one: &A, other: &B) -> Outcome<String> {
    let rows = [row(one)?, row(other)?];
    Ok(draw(&["one client under strace", "writes", "flushes for each write, at each member"], &rows))
}

fn row<S: Store>(store: &S) -> Outcome<Vec<String>> {
    let directory = std::env::temp_dir();
    let mut traces = Vec::new();
    for (netns, pid) in store.members() {
        let path = directory.join(format!("skein-flushes-{}-{pid}", std::process::id()));
        traces.push((Trace::attach(&netns, pid, CALLS, &path)?, path));
    }
    let load = load::run(store, 1, LASTS, ROUND)?;
    let mut each = Vec::new();
    for (trace, path) in traces {
        each.push(short(trace.finish()?.len() as f64 / load.took_ms.len() as f64));
        std::fs::remove_file(path)?;
    }
    Ok(vec![S::NAME.to_owned(), load.took_ms.len().to_string(), each.join(", ")])
}
