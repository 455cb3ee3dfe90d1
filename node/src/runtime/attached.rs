//! A process that somebody is connected to while it runs: a command in a container, or a container's own process. Here are
//! the words that are the same for all engines; how an engine connects is its own matter.

use std::io;
use std::pin::Pin;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use skein_core::runtime::ContainerRef;
use tokio::io::AsyncWrite;

/// How much of a process's output is read at once, in bytes.
pub(super) const CHUNK_BYTES: usize = 16 << 10;

/// What of a process is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Wires {
    /// Its standard input.
    pub stdin: bool,
    /// Its standard output.
    pub stdout: bool,
    /// Its standard error; with a terminal there is none.
    pub stderr: bool,
    /// It has a terminal.
    pub tty: bool,
}

/// A terminal's size, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// A piece of what a process says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// On its standard output, or on its terminal.
    Stdout(Bytes),
    /// On its standard error.
    Stderr(Bytes),
}

/// Where a process's input is written to; shutting it down is the input's end.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// Tells a terminal its size.
pub type Resizer = Box<dyn Fn(Size) -> BoxFuture<'static, ()> + Send + Sync>;

/// The connection with a process. Dropping it ends what can be ended: its input, and where the engine can do that, a
/// command that was started for it.
pub struct Attached {
    /// Its input, if it is connected.
    pub stdin: Option<Input>,
    /// What it says, until it has ended.
    pub output: BoxStream<'static, io::Result<Output>>,
    /// Its terminal, if it has one.
    pub resize: Option<Resizer>,
    /// How it ended, to be asked once the output has ended: its exit code, or why that is not known.
    pub outcome: BoxFuture<'static, Result<i32, String>>,
}

/// Why nobody can be connected. Also travels to the peer that asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SessionError {
    /// The container is not on this node, or does not run. The words are kubelet's.
    #[error("container not found (\"{0}\")")]
    NotRunning(String),
    /// Too much at once.
    #[error("{0}")]
    Busy(String),
    /// All else, in words for a person.
    #[error("{0}")]
    Failed(String),
}

impl SessionError {
    pub(super) fn not_running(id: &ContainerRef) -> SessionError {
        SessionError::NotRunning(id.container.to_string())
    }

    pub(super) fn failed(message: impl Into<String>) -> SessionError {
        SessionError::Failed(message.into())
    }
}
