//! What an engine must be able to do. Queues, limits and the order of events are the dispatcher's, not the engine's.

use std::time::Duration;

use skein_core::runtime::{
    ContainerInfo, ContainerRef, ContainerSpec, Exit, Login, ProbeAction, PullPolicy, RuntimeEvent,
};
use tokio::sync::mpsc;

use super::ledger::Ledger;
use super::logs::{LogError, LogOptions, LogStream};

/// An image that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct ImageError {
    pub(super) message: String,
    /// A retry will not mend it.
    pub(super) permanent: bool,
}

/// A container that could not be created or started.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub(super) struct StartError {
    /// Kubernetes' reason.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl StartError {
    /// It could not be created.
    pub(super) fn create(message: impl Into<String>) -> StartError {
        StartError { reason: "CreateContainerError", message: message.into() }
    }

    /// What it is to be is not allowed.
    pub(super) fn configure(message: impl Into<String>) -> StartError {
        StartError { reason: "CreateContainerConfigError", message: message.into() }
    }

    /// It was created and could not be run.
    pub(super) fn run(message: impl Into<String>) -> StartError {
        StartError { reason: "RunContainerError", message: message.into() }
    }
}

/// One way of running containers. All methods may be called concurrently, but never two of `start`, `stop` and `remove`
/// for the same container at once. Errors are words for a person.
pub(super) trait Engine: Send + Sync + 'static {
    /// All containers of this node.
    fn list(&self) -> impl Future<Output = Result<Vec<ContainerInfo>, String>> + Send;
    /// Makes sure that an image is there.
    fn ensure_image(
        &self,
        image: &str,
        policy: PullPolicy,
        logins: &[Login],
    ) -> impl Future<Output = Result<(), ImageError>> + Send;
    /// Creates and starts, or adopts what is there under this id. On failure nothing is left of it.
    fn start(&self, spec: &ContainerSpec) -> impl Future<Output = Result<ContainerInfo, StartError>> + Send;
    /// Ends it; what is gone has ended with code `None`.
    fn stop(&self, id: &ContainerRef, grace: Duration) -> impl Future<Output = Result<Exit, String>> + Send;
    /// Removes it with its logs, killing it first if it still runs; removing what is gone succeeds.
    fn remove(&self, id: &ContainerRef) -> impl Future<Output = Result<(), String>> + Send;
    /// Probes once.
    fn probe(
        &self,
        id: &ContainerRef,
        action: &ProbeAction,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), String>> + Send;
    /// Reads logs.
    fn logs(&self, id: &ContainerRef, options: LogOptions) -> impl Future<Output = Result<LogStream, LogError>> + Send;
    /// Reports capacity, and the exits of containers that `ledger` has as running, for ever.
    fn watch(&self, ledger: &Ledger, events: &mpsc::Sender<RuntimeEvent>) -> impl Future<Output = ()> + Send;
}
