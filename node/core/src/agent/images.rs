//! Images: asks the runtime for each that a container waits for, one request for each image at a time, and waits after
//! failures on behalf of all containers that want it.

use std::collections::{BTreeMap, BTreeSet};

use skein_gossip::Instant;

use super::backoff::{Backoff, Pace};
use crate::runtime::{Login, PullPolicy, RuntimeAction};

/// Why a container has to wait for its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wait {
    /// The runtime was asked.
    Asked,
    /// It failed; ask again at this instant.
    Failed {
        /// When.
        until: Instant,
        /// Kubernetes' reason.
        reason: &'static str,
        /// For a person.
        message: String,
    },
}

#[derive(Debug, Clone)]
struct Failing {
    backoff: Backoff,
    permanent: bool,
    message: String,
}

/// All images that containers of this node wait for. Holds as many failures as there are images in use.
#[derive(Debug, Default)]
pub(super) struct Images {
    asked: BTreeMap<String, (PullPolicy, Vec<Login>)>,
    /// What fails with some logins may work with others.
    failing: BTreeMap<(String, PullPolicy, Vec<Login>), Failing>,
}

impl Images {
    /// A container waits for an image. Returns why it has to, and what to ask of the runtime if that is news.
    pub(super) fn want(
        &mut self,
        now: Instant,
        image: &str,
        policy: PullPolicy,
        logins: Vec<Login>,
    ) -> (Wait, Option<RuntimeAction>) {
        let failing = self.failing.get(&(image.to_owned(), policy, logins.clone()));
        let waits = failing.and_then(|failing| Some((failing, failing.backoff.pending(now)?)));
        if let Some((failing, until)) = waits {
            let (reason, message) = (reason(policy, failing), failing.message.clone());
            return (Wait::Failed { until, reason, message }, None);
        }
        // Asked with another policy: that has to be answered first, then this container asks again.
        if self.asked.contains_key(image) {
            return (Wait::Asked, None);
        }
        self.asked.insert(image.to_owned(), (policy, logins.clone()));
        (Wait::Asked, Some(RuntimeAction::EnsureImage { image: image.to_owned(), policy, logins }))
    }

    /// The runtime has it. Returns the policy that it was asked with.
    pub(super) fn ready(&mut self, image: &str) -> Option<PullPolicy> {
        let (policy, logins) = self.asked.remove(image)?;
        self.failing.remove(&(image.to_owned(), policy, logins));
        Some(policy)
    }

    /// The runtime cannot get it.
    pub(super) fn failed(&mut self, now: Instant, image: &str, message: String, permanent: bool) {
        let Some((policy, logins)) = self.asked.remove(image) else { return };
        let new = || Failing { backoff: Backoff::default(), permanent, message: String::new() };
        let failing = self.failing.entry((image.to_owned(), policy, logins)).or_insert_with(new);
        (failing.permanent, failing.message) = (permanent, message);
        match permanent {
            true => failing.backoff.fail_for_long(now, Pace::START),
            false => drop(failing.backoff.fail(now, Pace::START)),
        }
    }

    /// Forgets failures of images that no container names any more.
    pub(super) fn keep(&mut self, used: &BTreeSet<&str>) {
        self.failing.retain(|(image, ..), _| used.contains(image.as_str()));
    }
}

fn reason(policy: PullPolicy, failing: &Failing) -> &'static str {
    match (policy, failing.permanent, failing.backoff.failures()) {
        (PullPolicy::Never, true, _) => "ErrImageNeverPull",
        (_, true, _) => "InvalidImageName",
        (_, false, 0 | 1) => "ErrImagePull",
        (_, false, _) => "ImagePullBackOff",
    }
}

/// Whether an image that was fetched with one policy serves a container that asked with another.
pub(super) fn serves(fetched: PullPolicy, wanted: PullPolicy) -> bool {
    fetched == wanted || wanted != PullPolicy::Always
}

/// The policy of a container; empty means Kubernetes' default: `Always` for the tag `latest` or none.
pub(super) fn policy_of(policy: &str, image: &str) -> PullPolicy {
    match policy {
        "Always" => PullPolicy::Always,
        "Never" => PullPolicy::Never,
        "IfNotPresent" => PullPolicy::IfNotPresent,
        _ => {
            let name = image.rsplit('/').next().unwrap_or(image);
            let latest = !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
            if latest { PullPolicy::Always } else { PullPolicy::IfNotPresent }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_asked_for_once_and_again_after_a_failure_when_its_time_has_come() {
        let mut images = Images::default();
        let at = Instant::from_millis;
        assert!(images.want(at(0), "web:1", PullPolicy::IfNotPresent, vec![]).1.is_some());
        assert_eq!(images.want(at(0), "web:1", PullPolicy::Always, vec![]), (Wait::Asked, None));
        images.failed(at(0), "web:1", "no route".into(), false);
        let (wait, action) = images.want(at(1999), "web:1", PullPolicy::IfNotPresent, vec![]);
        assert!(matches!(wait, Wait::Failed { reason: "ErrImagePull", until, .. } if until == at(2000)));
        assert_eq!(action, None);
        assert!(images.want(at(2000), "web:1", PullPolicy::IfNotPresent, vec![]).1.is_some());
        images.failed(at(2000), "web:1", "no route".into(), false);
        let (wait, _) = images.want(at(2000), "web:1", PullPolicy::IfNotPresent, vec![]);
        assert!(matches!(wait, Wait::Failed { reason: "ImagePullBackOff", until, .. } if until == at(12_000)));
        assert_eq!(images.ready("web:1"), None, "nobody asked");
        // Another pod may have a login that works.
        let login =
            Login { server: "r".into(), username: "u".into(), password: "p".into(), identity_token: String::new() };
        let (_, action) = images.want(at(2000), "web:1", PullPolicy::IfNotPresent, vec![login.clone()]);
        assert!(matches!(action, Some(RuntimeAction::EnsureImage { logins, .. }) if logins == [login]));
    }

    #[test]
    fn the_default_policy_depends_on_the_tag() {
        for (image, policy) in [
            ("web", PullPolicy::Always),
            ("web:latest", PullPolicy::Always),
            ("host:5000/web", PullPolicy::Always),
            ("host:5000/web:1", PullPolicy::IfNotPresent),
            ("web@sha256:00", PullPolicy::IfNotPresent),
        ] {
            assert_eq!(policy_of("", image), policy, "{image}");
        }
        assert_eq!(policy_of("Never", "web"), PullPolicy::Never);
    }
}
