//! The programs of this workspace that tests run: where they are, built anew if need be.

use std::path::PathBuf;
use std::process::Command;

use crate::failure::{Failure, Outcome, ensure};

/// The program under test: what the environment's `variable` names, or else the one in the target directory that the
/// program which asks was built into.
///
/// # Errors
/// When the variable names no file, or the program cannot be built.
pub fn program(variable: &str, package: &str, name: &str) -> Outcome<PathBuf> {
    program_with(variable, package, name, None)
}

/// As [`program`], built with a feature of its package.
///
/// # Errors
/// As [`program`].
pub fn program_with(variable: &str, package: &str, name: &str, feature: Option<&str>) -> Outcome<PathBuf> {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        ensure(path.is_file(), || format!("{variable} names {}, which is no file", path.display()))?;
        return Ok(path);
    }
    // A test is TARGET/debug/deps/NAME-HASH, a tool TARGET/debug/NAME.
    let own = std::env::current_exe()?;
    let nowhere = || Failure::new(format!("this program is in no target directory; name a {name} by {variable}"));
    let beside = own.parent().ok_or_else(nowhere)?;
    let built = if beside.ends_with("deps") { beside.parent().ok_or_else(nowhere)? } else { beside };
    let target = built.parent().ok_or_else(nowhere)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", package, "--bin", name, "--target-dir"]).arg(target);
    if let Some(feature) = feature {
        build.args(["--features", feature]);
    }
    if built.ends_with("release") {
        build.arg("--release");
    }
    // What cargo told this test about its own package would look to build scripts like a change, and much would be built
    // anew.
    let own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "OUT_DIR";
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(own)) {
        build.env_remove(name);
    }
    crate::netns::run(build.current_dir(env!("CARGO_MANIFEST_DIR")))?;
    Ok(built.join(name))
}
