//! `up` and `join`: this process becomes the node's daemon.

use skein_node::daemon::{self, DaemonError};

use crate::failure::Failure;
use crate::logging;
use crate::settings::Settings;
use crate::verbs::join::Joining;

/// Runs the daemon until it is told to stop or has left. With a code or a token it joins first; a client is given a kubeconfig
/// instead, and no daemon runs.
///
/// # Errors
/// When it cannot start.
pub(crate) async fn run(settings: Settings, join: Option<Joining>) -> Result<(), Failure> {
    logging::start(&settings.log)?;
    let mut config = settings.daemon;
    #[cfg(feature = "planted-bugs")]
    {
        config.planted = crate::planted::asked_for()?;
    }
    if let Some(joining) = join {
        let Some(token) = joining.token(&config.data_dir).await? else { return Ok(()) };
        config.join = Some(token);
        config.discard = joining.discard;
    }
    daemon::run(config).await.map_err(|error| failure(&error))
}

/// The daemon says in one sentence what is wrong and, after a semicolon, what to do.
fn failure(error: &DaemonError) -> Failure {
    split(&error.to_string())
}

/// What is wrong, and after the last semicolon what to do.
pub(crate) fn split(text: &str) -> Failure {
    match text.rsplit_once("; ") {
        Some((what, next)) => Failure::new(what).next(next),
        None => Failure::new(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_says_to_do_next_gets_a_line_of_its_own() {
        let error = DaemonError::from(std::io::Error::other("the disk is full; make room"));
        assert_eq!(failure(&error), Failure::new("the disk is full").next("make room"));
        assert_eq!(failure(&DaemonError::from(std::io::Error::other("no"))), Failure::new("no"));
    }
}
