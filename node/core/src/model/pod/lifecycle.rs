//! What Kubernetes runs in a container when it has started, and before it is stopped.

use serde::Deserialize;

use super::{ExecAction, HttpGetAction, or_default};

/// The hooks of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    /// Once it has started. It is not ready before this is over, and is restarted if it fails.
    pub post_start: Option<LifecycleHandler>,
    /// Before it is asked to end. Counts towards the time that it may take for that.
    pub pre_stop: Option<LifecycleHandler>,
}

/// One hook. The first of its actions that is there counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LifecycleHandler {
    /// Run a command inside.
    pub exec: Option<ExecAction>,
    /// Ask by HTTP.
    pub http_get: Option<HttpGetAction>,
    /// Wait.
    pub sleep: Option<SleepAction>,
}

/// Wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct SleepAction {
    /// For so many seconds.
    #[serde(deserialize_with = "or_default")]
    pub seconds: u32,
}
