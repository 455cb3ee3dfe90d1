//! Each target takes some thousand hostile inputs with every run of the tests. The long runs are in docs/fuzzing.md.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use skein_fuzz::run::{Limits, Run};
use skein_fuzz::target::all;

#[test]
fn no_target_breaks_at_the_first_thousands_of_inputs() {
    let directory = std::env::temp_dir().join(format!("skein-fuzz-short-{}", std::process::id()));
    let limits = Limits { executions: 3_000, time: Duration::from_secs(60) };
    for target in &mut all() {
        let report = Run::new(target.as_mut(), &directory).slice(7, limits).unwrap();
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
