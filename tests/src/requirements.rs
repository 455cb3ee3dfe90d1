//! What the machine must have before a lab can be built, checked up front so that a missing program is named as such.

use std::path::PathBuf;

use crate::failure::{Outcome, ensure};

/// The programs that every lab calls.
const PROGRAMS: [&str; 3] = ["ip", "nsenter", "nft"];
/// The programs that a lab with engines calls, too.
const ENGINE_PROGRAMS: [&str; 3] = ["iptables", "dockerd", "busybox"];

/// Checks for root and for every program that a lab calls, with engines or without.
///
/// # Errors
/// Names what is missing, and how to get it or to leave these tests out.
pub fn check(engines: bool) -> Outcome<()> {
    let advice = "`tests/run` installs what is missing and must be called as root; without the lab: \
                  `cargo test --workspace --exclude skein-tests`";
    ensure(nix::unistd::geteuid().is_root(), || {
        format!("the lab needs root for its namespaces and engines; {advice}")
    })?;
    let needed = PROGRAMS.into_iter().chain(ENGINE_PROGRAMS.into_iter().filter(|_| engines));
    let missing: Vec<&str> = needed.filter(|program| find(program).is_none()).collect();
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
