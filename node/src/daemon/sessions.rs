//! Sessions with the containers of this node, opened by its runtime.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use skein_core::runtime::ContainerRef;

use crate::api::backend::PeerStream;
use crate::api::streams::node_side::SessionSource;
use crate::api::streams::request::{SessionRequest, Wanted};
use crate::runtime::{Attached, RuntimeHandle, SessionError};

impl SessionSource for RuntimeHandle {
    fn check<'a>(&'a self, request: &'a SessionRequest) -> BoxFuture<'a, Result<(), SessionError>> {
        async move { self.check_running(&container(request)).await }.boxed()
    }

    fn begin(&self, request: SessionRequest) -> BoxFuture<'_, Result<Attached, SessionError>> {
        async move {
            let id = container(&request);
            match request.wanted {
                Wanted::Exec { command, wires } => self.exec(&id, command, wires).await,
                Wanted::Attach { wires } => self.attach(&id, wires).await,
                Wanted::Port { .. } => Err(SessionError::Failed("a port is no process".to_owned())),
            }
        }
        .boxed()
    }

    fn dial<'a>(&'a self, request: &'a SessionRequest, port: u16) -> BoxFuture<'a, Result<PeerStream, SessionError>> {
        async move {
            let stream = RuntimeHandle::dial(self, &container(request), port).await?;
            Ok(Box::pin(stream) as PeerStream)
        }
        .boxed()
    }
}

fn container(request: &SessionRequest) -> ContainerRef {
    ContainerRef {
        uid: request.uid.as_str().into(),
        container: request.container.as_str().into(),
        attempt: request.attempt,
    }
}
