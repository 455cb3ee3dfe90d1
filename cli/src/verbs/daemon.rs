//! `up` and `join`: this process becomes the node's daemon.

use std::io::Read as _;

use skein_node::daemon;

use crate::failure::Failure;
use crate::logging;
use crate::settings::{self, Settings};

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
    daemon::run(config).await.map_err(|error| settings::failure(&error))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_is_taken_without_the_blanks_around_it() {
        assert_eq!(read_token(" skein1-abc\n".into()).unwrap(), "skein1-abc");
        assert!(read_token("  ".into()).is_err());
    }
}
