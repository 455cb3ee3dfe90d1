//! The simulator and the pure crates are built without anything that does IO: what cargo itself says of their trees.

use std::path::Path;
use std::process::Command;

use skein_tests::failure::{Failure, Outcome, ensure};

/// What opens sockets, runs tasks, speaks HTTP or drives engines. Where one of these is, IO is not far.
const IMPURE: [&str; 8] = ["tokio", "libp2p", "bollard", "axum", "hyper", "mio", "redb", "rustls"];

#[test]
fn the_simulator_holds_no_io() -> Outcome<()> {
    no_io_in("skein-netsim")
}

#[test]
fn the_pure_crates_hold_no_io() -> Outcome<()> {
    ["skein-gossip", "skein-crdt-state", "skein-core", "skein-kube"].into_iter().try_for_each(no_io_in)
}

#[test]
fn the_daemon_is_where_the_io_is() -> Outcome<()> {
    // Were the names misspelt or the tree empty, the tests above would hold for nothing.
    let tree = tree("skein-node")?;
    let missing: Vec<&str> =
        ["tokio", "bollard", "axum"].into_iter().filter(|name| !tree.iter().any(|found| found == name)).collect();
    ensure(missing.is_empty(), || format!("the daemon's tree of {} crates has no {}", tree.len(), missing.join(", ")))
}

#[test]
fn skein_is_never_built_with_deliberate_bugs_unless_they_are_asked_for() -> Outcome<()> {
    // Each crate with the features that it is built with.
    let with_features = ["--edges", "normal", "--format", "{p} {f}", "--package"];
    let planted = |text: &str| text.lines().filter(|line| line.contains("planted-bugs")).count();
    let found = planted(&cargo_tree(&[&with_features[..], &["skein-cli"]].concat())?);
    ensure(found == 0, || format!("the tree of skein-cli names planted-bugs {found} times"))?;
    // Were the feature misspelt, the line above would hold for nothing.
    let asked = cargo_tree(&[&with_features[..], &["skein-netsim", "--features", "planted-bugs"]].concat())?;
    ensure(planted(&asked) > 0, || "the simulator has no feature planted-bugs".to_owned())
}

fn no_io_in(package: &str) -> Outcome<()> {
    let found: Vec<String> = tree(package)?
        .into_iter()
        .filter(|name| IMPURE.iter().any(|impure| name == impure || name.starts_with(&format!("{impure}-"))))
        .collect();
    ensure(found.is_empty(), || {
        format!("{package} holds {}; `cargo tree -p {package} -i NAME` says why", found.join(", "))
    })
}

/// The names of all crates that a package is built with, its tests' aside.
fn tree(package: &str) -> Outcome<Vec<String>> {
    let text = cargo_tree(&["--package", package, "--edges", "normal,build", "--format", "{p}"])?;
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

fn cargo_tree(args: &[&str]) -> Outcome<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(cargo).args(["tree", "--prefix", "none"]).args(args).current_dir(workspace).output()?;
    if !output.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
