//! What runs in the pods of the node in memory: commands of this machine, and its ports.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Mutex;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use skein_node::api::backend::PeerStream;
use skein_node::api::streams::node_side::SessionSource;
use skein_node::api::streams::request::{SessionRequest, Wanted};
use skein_node::runtime::{Attached, Input, Output, SessionError, Wires};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::Command;
use tokio_util::io::ReaderStream;

/// A container that its pod says to run and that is gone.
pub const GONE: &str = "gone";
/// Below this one are ports where somebody listens who takes no byte and says none.
pub const DEAF_BELOW: u16 = 10;

/// How many connections to each deaf port have ended.
static DEAF_ENDED: Mutex<BTreeMap<u16, usize>> = Mutex::new(BTreeMap::new());

/// How many connections to a deaf port have ended.
pub fn deaf_ended(port: u16) -> usize {
    DEAF_ENDED.lock().unwrap().get(&port).copied().unwrap_or(0)
}

/// A connection with a deaf port.
struct Deaf(u16);

impl Drop for Deaf {
    fn drop(&mut self) {
        *DEAF_ENDED.lock().unwrap().entry(self.0).or_default() += 1;
    }
}

impl AsyncRead for Deaf {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

pub struct Host;

impl SessionSource for Host {
    fn check<'a>(&'a self, request: &'a SessionRequest) -> BoxFuture<'a, Result<(), SessionError>> {
        let gone = request.container == GONE;
        let found = if gone { Err(SessionError::NotRunning(GONE.to_owned())) } else { Ok(()) };
        Box::pin(async move { found })
    }

    fn begin(&self, request: SessionRequest) -> BoxFuture<'_, Result<Attached, SessionError>> {
        Box::pin(async move {
            match request.wanted {
                Wanted::Exec { wires, .. } if wires.tty => Ok(terminal()),
                Wanted::Exec { command, wires } => run(&command, wires),
                Wanted::Attach { wires } => run(&["cat".to_owned()], wires),
                Wanted::Port { .. } => Err(SessionError::Failed("no process".to_owned())),
            }
        })
    }

    fn dial<'a>(&'a self, _: &'a SessionRequest, port: u16) -> BoxFuture<'a, Result<PeerStream, SessionError>> {
        Box::pin(async move {
            if port < DEAF_BELOW {
                return Ok(Box::pin(Deaf(port)) as PeerStream);
            }
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            let refused = |_| SessionError::Failed("connect: connection refused".to_owned());
            Ok(Box::pin(stream.map_err(refused)?) as PeerStream)
        })
    }
}

fn run(command: &[String], wires: Wires) -> Result<Attached, SessionError> {
    let wire = |connected: bool| if connected { Stdio::piped() } else { Stdio::null() };
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(wire(wires.stdin))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| SessionError::Failed(error.to_string()))?;
    let stdin = child.stdin.take().map(|stdin| Box::pin(stdin) as Input);
    let stdout = ReaderStream::new(child.stdout.take().unwrap()).map(|piece| piece.map(Output::Stdout));
    let stderr = ReaderStream::new(child.stderr.take().unwrap()).map(|piece| piece.map(Output::Stderr));
    let outcome = async move { Ok(child.wait().await.unwrap().code().unwrap_or(-1)) }.boxed();
    Ok(Attached { stdin, output: stream::select(stdout, stderr).boxed(), resize: None, outcome })
}

/// A terminal that shows the first size that it is told, and ends.
fn terminal() -> Attached {
    let (sender, sizes) = tokio::sync::mpsc::channel(4);
    let resize: skein_node::runtime::Resizer = Box::new(move |size| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(size).await;
        }
        .boxed()
    });
    let output = stream::unfold(Some(sizes), |sizes| async move {
        let size = sizes?.recv().await?;
        Some((Ok(Output::Stdout(format!("{}x{}", size.width, size.height).into())), None))
    });
    Attached { stdin: None, output: output.boxed(), resize: Some(resize), outcome: async { Ok(0) }.boxed() }
}
