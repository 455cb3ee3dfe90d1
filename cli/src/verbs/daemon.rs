//! `up` and `join`: this process becomes the node's daemon.

use skein_node::daemon;
use skein_node::pki::seal::Opener;

use crate::failure::Failure;
use crate::logging;
use crate::settings::{self, Settings};
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
        let opener = config.opener.clone().map_or_else(|| Opener::beside(&config.data_dir), Ok);
        let opener = opener.map_err(|error| settings::failure(&error))?;
        let Some(token) = joining.token(&config.data_dir, &opener).await? else { return Ok(()) };
        config.join = Some(token);
        config.discard = joining.discard;
    }
    daemon::run(config).await.map_err(|error| settings::failure(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_node::daemon::DaemonError;

    #[test]
    fn what_the_daemon_says_to_do_next_gets_a_line_of_its_own() {
        let error = DaemonError::from(std::io::Error::other("the disk is full; make room"));
        assert_eq!(settings::failure(&error), Failure::new("the disk is full").next("make room"));
        assert_eq!(settings::failure(&DaemonError::from(std::io::Error::other("no"))), Failure::new("no"));
    }
}
