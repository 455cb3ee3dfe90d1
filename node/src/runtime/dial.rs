//! Connections to a port of a pod, the same for all engines once they know the pod's address.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use super::attached::SessionError;

/// How long a pod may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Connects to a port. Failures are told in the words of kubelet and its runtimes, which people search for.
pub(super) async fn dial(address: &str, port: u16) -> Result<TcpStream, SessionError> {
    let failed = |why: &str| SessionError::failed(format!("failed to connect to {address}:{port}: {why}"));
    match tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect((address, port))).await {
        Ok(Ok(stream)) => {
            // What is forwarded is often typed by a person; without it only small pieces come later.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) => Err(match error.kind() {
            io::ErrorKind::ConnectionRefused => failed("connect: connection refused"),
            io::ErrorKind::HostUnreachable => failed("connect: no route to host"),
            io::ErrorKind::NetworkUnreachable => failed("connect: network is unreachable"),
            _ => failed(&error.to_string()),
        }),
        Err(_) => Err(failed("i/o timeout")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn who_does_not_listen_refuses_and_is_named() {
        // Held without listening, so that nobody else comes to listen there meanwhile.
        let deaf = tokio::net::TcpSocket::new_v4().unwrap();
        deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = deaf.local_addr().unwrap().port();
        let error = dial("127.0.0.1", port).await.unwrap_err().to_string();
        assert_eq!(error, format!("failed to connect to 127.0.0.1:{port}: connect: connection refused"));
    }
}
