//! What the machine must have before a lab can be built, checked up front so that a missing program is named as such.

use std::path::PathBuf;

use crate::failure::{Outcome, ensure};

/// The programs that the lab calls.
const PROGRAMS: [&str; 7] = ["ip", "nsenter", "nft", "iptables", "dockerd", "busybox", "strace"];

/// Checks for root and for every program that the lab calls.
///
/// # Errors
/// Names what is missing, and how to get it or to leave these tests out.
pub fn check() -> Outcome<()> {
    let advice = "`tests/run` installs what is missing and must be called as root; without the lab: \
                  `cargo test --workspace --exclude skein-tests`";
    ensure(nix::unistd::geteuid().is_root(), || {
        format!("the lab needs root for its namespaces and engines; {advice}")
    })?;
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|program| find(program).is_none()).collect();
    ensure(missing.is_empty(), || format!("the lab needs {}; {advice}", missing.join(", ")))
}

/// Where `program` is, on the PATH or where Debian keeps what root calls.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administrative = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(administrative)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}
