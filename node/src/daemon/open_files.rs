//! How many files the daemon may open: each connection is one, and a system's usual limit (1 024) is less than the API alone may
//! have of them.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

/// As many as may be open at once when all limits are reached: connections of known clients, of strangers and of the socket, those
/// of peers, and what the disk and containers need.
pub(crate) const NEEDED: u64 = 8192;

/// Raises the limit as far as this process may, and says when that is not enough. Processes that the daemon starts have it as well.
pub(crate) fn raise() {
    match raised() {
        Ok(limit) if limit < NEEDED => {
            warn!(
                limit,
                needed = NEEDED,
                "few files may be open at once: connections will be refused before limits are reached; raise the hard limit \
                 (LimitNOFILE= of a systemd unit, ulimit -Hn)"
            );
        }
        Ok(limit) => debug!(limit, "so many files may be open"),
        Err(error) => warn!(%error, "how many files may be open cannot be changed"),
    }
}

fn raised() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard.max(soft))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(1024), hard).unwrap();
        raise();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    }
}
