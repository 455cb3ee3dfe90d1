//! A headless browser that opens one page: what its scripts made of it, and what they complained of.

use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Outcome, ensure};
use crate::requirements;

/// How long a page may take, in seconds.
const PATIENCE_S: u32 = 90;

/// A page that was opened.
pub struct Opened {
    /// The document once its scripts have run, as HTML.
    pub document: String,
    /// What was written to the console; errors of scripts are among it.
    pub console: Vec<String>,
}

/// Opens a page in Chromium, in a profile that is thrown away.
///
/// # Errors
/// When there is no Chromium, or it does not come to an end in time.
pub fn open(page: &Path) -> Outcome<Opened> {
    let chromium = requirements::find("chromium").ok_or_else(|| {
        Failure::new("there is no chromium to look at pages with; `apt-get install chromium`, or call `tests/run`")
    })?;
    let profile = page.with_extension("profile");
    std::fs::create_dir_all(&profile)?;
    let output = Command::new("timeout")
        .arg(PATIENCE_S.to_string())
        .arg(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--window-size=1280,900", "--enable-logging=stderr", "--v=0", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .output()?;
    let _ = std::fs::remove_dir_all(&profile);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure(output.status.success(), || format!("chromium ended with {}:\n{said}", output.status))?;
    let console = said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    Ok(Opened { document: String::from_utf8_lossy(&output.stdout).into_owned(), console })
}
