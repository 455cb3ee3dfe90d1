//! The programs of this workspace that tests run: where they are, built anew if need be.

use std::path::PathBuf;
use std::process::Command;

use crate::failure::{Failure, Outcome, ensure};

/// The program under test: what the environment's `variable` names, or else the one in the target directory that this
/// test was built into.
///
/// # Errors
/// When the variable names no file, or the program cannot be built.
pub fn program(variable: &str, package: &str, name: &str) -> Outcome<PathBuf> {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        ensure(path.is_file(), || format!("{variable} names {}, which is no file", path.display()))?;
        return Ok(path);
    }
    // The test is TARGET/debug/deps/NAME-HASH.
    let test = std::env::current_exe()?;
    let built = test.ancestors().nth(2).ok_or_else(|| Failure::new("this test is in no target directory"))?;
    let target = built.parent().ok_or_else(|| Failure::new("this test is in no target directory"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", package, "--bin", name, "--target-dir"]).arg(target);
    // What cargo told this test about its own package would look to build scripts like a change, and much would be built
    // anew.
    let own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "OUT_DIR";
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(own)) {
        build.env_remove(name);
    }
    crate::netns::run(build.current_dir(env!("CARGO_MANIFEST_DIR")))?;
    Ok(built.join(name))
}
