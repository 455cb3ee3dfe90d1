//! What the daemon says on stderr: which lines, and what a panic looks like among them.

use std::io::{IsTerminal as _, Write as _};
use std::panic::PanicHookInfo;
use std::str::FromStr as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::failure::Failure;

/// The crates whose panics on hostile bytes are contained by whoever calls them: nothing is wrong with this node then.
const CONTAINED: [&str; 2] = ["automerge-", "hexane-"];
/// What libraries say at a level that was meant for skein.
const QUIET: &str = "libp2p=error,yamux=error,multistream=error,hyper=error,h2=error,rustls=error,bollard=error";

/// Begins to log to stderr. `level` is a level, or directives such as `info,skein_node=debug`.
///
/// # Errors
/// When it is neither.
pub(crate) fn start(level: &str) -> Result<(), Failure> {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Where a line comes from helps only those who look closer.
        .with_target(level != "info" && level != "warn" && level != "error");
    // It fails only when somebody logs already, and then they go on.
    let _ = subscriber.try_init();
    Ok(())
}

/// Makes every panic of the program one line: in the daemon's log, or on stderr while nobody logs.
pub(crate) fn tell_panics_in_one_line() {
    std::panic::set_hook(Box::new(|info| {
        let (place, said) = (place(info), said(info));
        if CONTAINED.iter().any(|name| place.contains(name)) {
            tracing::debug!(%place, %said, "a bad change made the merge library panic; it is refused");
        } else if tracing::dispatcher::has_been_set() {
            tracing::error!(%place, %said, "a defect in skein; please report it");
        } else {
            let _ = writeln!(std::io::stderr(), "skein: a defect in skein: {said} ({place}); please report it");
        }
    }));
}

/// A bare level is meant for skein itself: of the libraries below only what is wrong matters then.
fn filter(level: &str) -> Result<EnvFilter, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!("log: {why}"))
            .next("use error, warn, info, debug or trace, or directives such as info,skein_node=debug")
    };
    let is_level = |word: &str| !word.is_empty() && LevelFilter::from_str(word).is_ok();
    // A word alone would be taken for the name of a module, and nothing but that module would log.
    if let Some(word) = level.split(',').find(|word| !word.contains('=') && !is_level(word)) {
        return Err(wrong(format!("\"{word}\" is no level")));
    }
    let directives = if is_level(level) { format!("{level},{QUIET}") } else { level.to_owned() };
    EnvFilter::builder().parse(&directives).map_err(|error| wrong(format!("\"{level}\": {error}")))
}

fn place(info: &PanicHookInfo<'_>) -> String {
    info.location().map_or_else(|| "somewhere".to_owned(), |at| format!("{}:{}", at.file(), at.line()))
}

fn said(info: &PanicHookInfo<'_>) -> String {
    info.payload_as_str().unwrap_or("no message").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_taken_and_nonsense_is_not() {
        for right in ["error", "info", "trace", "info,skein_node=debug", "skein_core=trace"] {
            assert!(filter(right).is_ok(), "{right}");
        }
        for wrong in ["loud", "skein_node=chatty", "a=b=c", "info,chatty", ""] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }
}
