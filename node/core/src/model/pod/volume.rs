//! A pod's volumes and where its containers mount them.

use serde::Deserialize;

use super::{ObjectFieldSelector, ResourceFieldSelector, or_default};

/// The permissions of files for which none are given.
pub const DEFAULT_MODE: u32 = 0o644;
/// How long a token is valid for which nothing is said, and at least, in seconds.
const DEFAULT_TOKEN_SECONDS: u64 = 3600;
const MIN_TOKEN_SECONDS: u64 = 600;

/// A directory that the containers of a pod may share. The first of its sources that is there counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// Its name in the pod.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// A file or a directory of the host.
    pub host_path: Option<HostPath>,
    /// The keys of a ConfigMap.
    pub config_map: Option<ConfigMapVolume>,
    /// The keys of a Secret.
    pub secret: Option<SecretVolume>,
    /// What the pod is.
    #[serde(rename = "downwardAPI")]
    pub downward_api: Option<DownwardApi>,
    /// Several of these together.
    pub projected: Option<Projected>,
    /// An empty directory: what it is too if it is nothing else.
    pub empty_dir: Option<EmptyDir>,
}

/// A file or a directory of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostPath {
    /// Where.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    /// What must be there, or is made there; empty: nothing is looked at.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
}

/// A directory that begins empty and goes with the pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EmptyDir {
    /// `Memory`, or empty for the disk.
    #[serde(deserialize_with = "or_default")]
    pub medium: String,
}

/// The keys of a ConfigMap as files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapVolume {
    /// The ConfigMap.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Which keys; empty: all.
    #[serde(deserialize_with = "or_default")]
    pub items: Vec<KeyToPath>,
    /// Permissions.
    pub default_mode: Option<u32>,
    /// Whether it may be missing.
    #[serde(deserialize_with = "or_default")]
    pub optional: bool,
}

/// The keys of a Secret as files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretVolume {
    /// The Secret.
    #[serde(deserialize_with = "or_default")]
    pub secret_name: String,
    /// Which keys; empty: all.
    #[serde(deserialize_with = "or_default")]
    pub items: Vec<KeyToPath>,
    /// Permissions.
    pub default_mode: Option<u32>,
    /// Whether it may be missing.
    #[serde(deserialize_with = "or_default")]
    pub optional: bool,
}

/// Which key becomes which file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyToPath {
    /// The key.
    #[serde(deserialize_with = "or_default")]
    pub key: String,
    /// The file, below the volume.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    /// Its permissions.
    pub mode: Option<u32>,
}

/// What a pod is, as files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownwardApi {
    /// The files.
    #[serde(deserialize_with = "or_default")]
    pub items: Vec<DownwardApiFile>,
    /// Permissions.
    pub default_mode: Option<u32>,
}

/// One file that says something of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownwardApiFile {
    /// The file, below the volume.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    /// A field of the pod.
    pub field_ref: Option<ObjectFieldSelector>,
    /// A limit or a request of a container.
    pub resource_field_ref: Option<ResourceFieldSelector>,
    /// Its permissions.
    pub mode: Option<u32>,
}

/// Several sources in one directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Projected {
    /// The sources; where two make the same file the later one counts.
    #[serde(deserialize_with = "or_default")]
    pub sources: Vec<Projection>,
    /// Permissions.
    pub default_mode: Option<u32>,
}

/// One of several sources.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Projection {
    /// A ConfigMap.
    pub config_map: Option<ConfigMapVolume>,
    /// A Secret. Other than a volume of its own it is named by `name`.
    pub secret: Option<ConfigMapVolume>,
    /// What the pod is.
    #[serde(rename = "downwardAPI")]
    pub downward_api: Option<DownwardApi>,
    /// A token of the pod's account.
    pub service_account_token: Option<TokenProjection>,
}

/// A token of the pod's account, as a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenProjection {
    /// Whom it may be shown to; empty: this cluster's API.
    #[serde(deserialize_with = "or_default")]
    pub audience: String,
    /// How long it is valid, in seconds.
    pub expiration_seconds: Option<u64>,
    /// The file, below the volume.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
}

impl TokenProjection {
    /// How long it is valid, in seconds: an hour unless it is said, and never less than Kubernetes' ten minutes.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.expiration_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS).max(MIN_TOKEN_SECONDS)
    }
}

/// Where a container sees a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    /// The volume.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Where in the container.
    #[serde(deserialize_with = "or_default")]
    pub mount_path: String,
    /// Whether it may not write there.
    #[serde(deserialize_with = "or_default")]
    pub read_only: bool,
    /// Which file or directory of the volume; empty: all of it.
    #[serde(deserialize_with = "or_default")]
    pub sub_path: String,
}
