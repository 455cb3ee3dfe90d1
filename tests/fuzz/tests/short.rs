//! Each target takes some thousand hostile inputs with every run of the tests. The long runs are in docs/fuzzing.md.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use skein_fuzz::run::{Limits, run};
use skein_fuzz::target::all;

/// What earlier runs have found is given first.
const CRASHES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/found");

#[test]
fn no_target_breaks_at_the_first_thousands_of_inputs() {
    let directory = std::env::temp_dir().join(format!("skein-fuzz-short-{}", std::process::id()));
    let limits = Limits { executions: 3_000, time: Duration::from_secs(60) };
    for target in &mut all() {
        let report = run(target.as_mut(), 7, limits, &directory).unwrap();
        if let Some((path, what)) = report.broken {
            panic!(
                "{}: {what}\nreplay: cargo run -p skein-fuzz --bin fuzz -- {} --replay {}",
                target.name(),
                target.name(),
                path.display()
            );
        }
        assert!(report.executions > 100 && report.kinds > 1, "{}: {report:?}", target.name());
    }
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn what_once_broke_a_target_does_so_no_more() {
    for target in &mut all() {
        let found = skein_fuzz::corpus::read(&std::path::Path::new(CRASHES).join(target.name())).unwrap();
        for input in found {
            skein_fuzz::run::execute(target.as_mut(), &input).unwrap();
        }
    }
}
