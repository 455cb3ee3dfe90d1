//! `up` and `join`: this process becomes the node's daemon.

use std::io::Read as _;

use skein_node::daemon::{self, DaemonError};

use crate::failure::Failure;
use crate::logging;
use crate::settings::Settings;

/// More than any token has.
const TOKEN_BYTES: u64 = 64 << 10;

/// Runs the daemon until it is told to stop or has left. With a token and whether to discard it joins first.
///
/// # Errors
/// When it cannot start.
pub(crate) async fn run(settings: Settings, join: Option<(String, bool)>) -> Result<(), Failure> {
    logging::start(&settings.log)?;
    let mut config = settings.daemon;
    #[cfg(feature = "planted-bugs")]
    {
        config.planted = crate::planted::asked_for()?;
    }
    if let Some((token, discard)) = join {
        config.join = Some(token);
        config.discard = discard;
    }
    daemon::run(config).await.map_err(|error| failure(&error))
}

/// The token itself, which stands on stdin if the argument is `-`.
///
/// # Errors
/// When stdin has none.
pub(crate) fn read_token(word: String) -> Result<String, Failure> {
    let mut token = word;
    if token == "-" {
        token.clear();
        let read = std::io::stdin().take(TOKEN_BYTES).read_to_string(&mut token);
        read.map_err(|error| Failure::new(format!("the token cannot be read from stdin: {error}")))?;
    }
    let token = token.trim();
    if token.is_empty() {
        return Err(Failure::usage("there is no token").next("`skein token create` prints one at any member"));
    }
    Ok(token.to_owned())
}

/// The daemon says in one sentence what is wrong and, after a semicolon, what to do.
fn failure(error: &DaemonError) -> Failure {
    let text = error.to_string();
    match text.rsplit_once("; ") {
        Some((what, next)) => Failure::new(what).next(next),
        None => Failure::new(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_is_taken_without_the_blanks_around_it() {
        assert_eq!(read_token(" skein1-abc\n".into()).unwrap(), "skein1-abc");
        assert!(read_token("  ".into()).is_err());
    }

    #[test]
    fn what_the_daemon_says_to_do_next_gets_a_line_of_its_own() {
        let error = DaemonError::from(std::io::Error::other("the disk is full; make room"));
        assert_eq!(failure(&error), Failure::new("the disk is full").next("make room"));
        assert_eq!(failure(&DaemonError::from(std::io::Error::other("no"))), Failure::new("no"));
    }
}
