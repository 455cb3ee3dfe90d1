//! What a pod and its containers may do on their node.

use serde::Deserialize;

use super::or_default;

/// For all containers of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSecurityContext {
    /// Run as this user.
    pub run_as_user: Option<u32>,
    /// Run as this group.
    pub run_as_group: Option<u32>,
    /// Refuse to run as the superuser.
    pub run_as_non_root: Option<bool>,
    /// More groups.
    #[serde(deserialize_with = "or_default")]
    pub supplemental_groups: Vec<u32>,
    /// The group that volumes belong to.
    pub fs_group: Option<u32>,
    /// Which calls of the kernel they may make.
    pub seccomp_profile: Option<SeccompProfile>,
}

/// For one container; what it says counts more than what its pod says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecurityContext {
    /// Run as this user.
    pub run_as_user: Option<u32>,
    /// Run as this group.
    pub run_as_group: Option<u32>,
    /// Refuse to run as the superuser.
    pub run_as_non_root: Option<bool>,
    /// Powers beyond the usual, or lacking.
    pub capabilities: Option<Capabilities>,
    /// All powers.
    pub privileged: Option<bool>,
    /// Whether the image's files cannot be written.
    pub read_only_root_filesystem: Option<bool>,
    /// Whether a program may gain powers by being run.
    pub allow_privilege_escalation: Option<bool>,
    /// Which calls of the kernel it may make.
    pub seccomp_profile: Option<SeccompProfile>,
}

/// Powers of the superuser, named without `CAP_`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Beyond the usual.
    #[serde(deserialize_with = "or_default")]
    pub add: Vec<String>,
    /// Lacking.
    #[serde(deserialize_with = "or_default")]
    pub drop: Vec<String>,
}

/// Which calls of the kernel a container may make.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct SeccompProfile {
    /// `RuntimeDefault` or `Unconfined`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
}

/// A line of the file `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct HostAlias {
    /// The address.
    #[serde(deserialize_with = "or_default")]
    pub ip: String,
    /// Its names.
    #[serde(deserialize_with = "or_default")]
    pub hostnames: Vec<String>,
}
