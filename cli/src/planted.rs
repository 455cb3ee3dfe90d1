//! Which rule the daemon is to break: `SKEIN_PLANTED` in the environment says it, in builds with the feature `planted-bugs`. The
//! rules and where they are broken live in skein-gossip's `planted`.

use skein_gossip::planted::Bug;
use tracing::warn;

use crate::failure::Failure;

/// The variable of the environment that names the rule.
const VARIABLE: &str = "SKEIN_PLANTED";

/// The rule to break, which is also logged; `None` when the environment names none.
///
/// # Errors
/// When there is no rule of that name.
pub(crate) fn asked_for() -> Result<Option<Bug>, Failure> {
    let Some(name) = std::env::var_os(VARIABLE) else { return Ok(None) };
    let bug = named(&name.to_string_lossy())?;
    warn!(%bug, "this daemon breaks a rule on purpose: {VARIABLE} says so");
    Ok(Some(bug))
}

fn named(name: &str) -> Result<Bug, Failure> {
    Bug::ALL.into_iter().find(|bug| bug.to_string() == name).ok_or_else(|| {
        let known = Bug::ALL.map(|bug| bug.to_string()).join(", ");
        Failure::usage(format!("{VARIABLE}: there is no rule \"{name}\" to break")).next(format!("rules are: {known}"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_rule_is_found_by_its_name_and_no_other_name_is_taken() {
        for bug in Bug::ALL {
            assert_eq!(named(&bug.to_string()).unwrap(), bug);
        }
        let said = named("ack_before_disk").unwrap_err().to_string();
        assert_eq!(said, "SKEIN_PLANTED: there is no rule \"ack_before_disk\" to break");
        assert!(named("").is_err());
    }
}
