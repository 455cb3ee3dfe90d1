//! `portforward`: connections to ports of a pod, each a session of its own with the node that has the pod. How a client's
//! dialect tells them apart lives in the modules below.

mod channels;
mod spdy;
mod tunnel;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use skein_gossip::NodeId;
use tokio::sync::mpsc;

pub(super) use self::channels::{over_channels, ports};
pub(super) use self::spdy::over_spdy;
pub(super) use self::tunnel::{PROTOCOL as TUNNEL, over_tunnel};
use super::frame::Frame;
use super::request::{Outcome, SessionRequest, Wanted};
use super::session::{Activity, Session, open};
use crate::api::backend::Backend;

/// How many connections one client may have forwarded at once over one connection of its own.
pub(super) const CONNECTIONS_LIMIT: usize = 64;
/// Pieces of a client's that wait for the node; at the limit the client's other connections wait too.
const INPUT_LIMIT: usize = 4;

/// The pod whose ports are forwarded.
pub(super) struct Target {
    /// The node behind the API.
    pub(super) backend: Arc<dyn Backend>,
    /// The node that has the pod.
    pub(super) node: NodeId,
    /// The pod and one of its containers.
    pub(super) pod: SessionRequest,
}

/// What a client says on a connection.
#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    End,
}

/// What a client hears of a connection. Errors mean that it is gone.
trait Lane: Send {
    /// What the pod said.
    fn data(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send;
    /// What went wrong, for a person. Said once at most.
    fn error(&mut self, text: String) -> impl Future<Output = io::Result<()>> + Send;
    /// Nothing; whether somebody listens is noticed by it.
    fn alive(&mut self) -> impl Future<Output = io::Result<()>> + Send;
    /// The connection is over. Said last.
    fn end(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Carries one connection until the pod closes it, or the client goes away: until `input` has no sender.
async fn carry(target: &Target, port: u16, mut input: mpsc::Receiver<Piece>, mut lane: impl Lane, activity: &Activity) {
    let request = SessionRequest { wanted: Wanted::Port { port }, ..target.pod.clone() };
    let failure = match open(&*target.backend, target.node, &request).await {
        Ok(session) => talk(session, &mut input, &mut lane, activity).await,
        Err(error) => Ok(Some(error.to_string())),
    };
    let Ok(failure) = failure else { return };
    if let Some(text) = failure
        && lane.error(text).await.is_err()
    {
        return;
    }
    // Should this fail, the client is gone, which its reader notices.
    let _ = lane.end().await;
}

/// Why a connection ended, if it did not simply end. An error means that the client is gone.
async fn talk(
    session: Session,
    input: &mut mpsc::Receiver<Piece>,
    lane: &mut impl Lane,
    activity: &Activity,
) -> io::Result<Option<String>> {
    let Session { mut from_node, mut to_node } = session;
    let up = async {
        while let Some(piece) = input.recv().await {
            activity.seen();
            let frame = match piece {
                Piece::Bytes(bytes) => Frame::Input(bytes),
                Piece::End => Frame::InputEnd,
            };
            if to_node.send(&frame).await.is_err() {
                // Why is heard on the other half.
                std::future::pending::<()>().await;
            }
        }
    };
    let down = async {
        loop {
            match from_node.next().await {
                Ok(Some(Frame::Output(bytes))) => {
                    activity.seen();
                    lane.data(bytes).await?;
                }
                Ok(Some(Frame::Alive)) => lane.alive().await?,
                Ok(Some(Frame::Outcome(Outcome::Exited(_)))) => return Ok(None),
                Ok(Some(Frame::Outcome(Outcome::Failed(why)))) => return Ok(Some(why)),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return Ok(Some("the node that runs the pod went away".to_owned())),
            }
        }
    };
    tokio::select! {
        ended = down => ended,
        () = up => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}
