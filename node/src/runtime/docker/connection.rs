//! The way to the engine: where it listens, which version of its API it speaks, and whether it answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

use super::words;

/// How long an engine may take to accept a connection and say its version.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long any request may take until its answer begins.
const REQUEST_SECONDS: u64 = 60;
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// An address that no engine can listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no address of a Docker engine: give unix:///path/to/docker.sock or tcp://host:port")]
pub struct DockerHostError(pub String);

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A Unix socket.
    Unix(String),
    /// Host and port, without encryption.
    Tcp(String),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{path}"),
            Address::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// A connection that is made when it is needed, and again when the engine was restarted. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    address: Address,
    known: Arc<Mutex<Option<Docker>>>,
}

impl Connection {
    /// From what was asked for, else from `$DOCKER_HOST`, else Docker's default. Connects to nothing yet.
    pub(crate) fn new(host: Option<&str>) -> Result<Connection, DockerHostError> {
        let from_environment = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let address = parse(host.or(from_environment.as_deref()).unwrap_or(DEFAULT_SOCKET))?;
        Ok(Connection { address, known: Arc::default() })
    }

    /// Where it leads.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The engine, with a version of the API that both sides speak. Errors are words for a person.
    pub(crate) async fn docker(&self) -> Result<Docker, String> {
        if let Some(docker) = self.lock().clone() {
            return Ok(docker);
        }
        self.connect().await
    }

    /// Connects anew: an engine that was restarted may be another one.
    pub(crate) async fn connect(&self) -> Result<Docker, String> {
        *self.lock() = None;
        let unanswered = |why: String| format!("no Docker engine answers at {}: {why}", self.address);
        let fresh = match &self.address {
            Address::Unix(path) => Docker::connect_with_unix(path, REQUEST_SECONDS, API_DEFAULT_VERSION),
            Address::Tcp(host) => Docker::connect_with_http(host, REQUEST_SECONDS, API_DEFAULT_VERSION),
        };
        let fresh = fresh.map_err(|error| unanswered(words::of(&error)))?;
        let docker = match tokio::time::timeout(CONNECT_LIMIT, fresh.negotiate_version()).await {
            Ok(negotiated) => negotiated.map_err(|error| unanswered(words::of(&error)))?,
            Err(_) => return Err(unanswered(format!("it was silent for {} s", CONNECT_LIMIT.as_secs()))),
        };
        *self.lock() = Some(docker.clone());
        Ok(docker)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Docker>> {
        // An option cannot be left half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(host: &str) -> Result<Address, DockerHostError> {
    let invalid = || DockerHostError(host.to_owned());
    if let Some(path) = host.strip_prefix("unix://") {
        return if path.starts_with('/') { Ok(Address::Unix(path.to_owned())) } else { Err(invalid()) };
    }
    if host.starts_with('/') {
        return Ok(Address::Unix(host.to_owned()));
    }
    let rest = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://")).ok_or_else(invalid)?;
    let rest = rest.trim_end_matches('/');
    match rest.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => Ok(Address::Tcp(rest.to_owned())),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_ports_are_understood() {
        assert_eq!(parse("/run/d.sock"), Ok(Address::Unix("/run/d.sock".to_owned())));
        assert_eq!(parse("unix:///run/d.sock"), Ok(Address::Unix("/run/d.sock".to_owned())));
        assert_eq!(parse("tcp://10.0.0.1:2375/"), Ok(Address::Tcp("10.0.0.1:2375".to_owned())));
    }

    #[test]
    fn other_addresses_are_refused_with_what_to_give_instead() {
        for host in ["ssh://me@there", "unix://relative", "tcp://nowhere", "tcp://:2375", ""] {
            let error = parse(host).map_err(|error| error.to_string());
            assert!(matches!(&error, Err(words) if words.contains("unix:///path")), "{host}: {error:?}");
        }
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_named() {
        let connection = Connection::new(Some("/no/such/engine.sock"));
        let words = match connection {
            Ok(connection) => connection.docker().await.map(drop),
            Err(error) => Err(error.to_string()),
        };
        assert!(matches!(&words, Err(words) if words.contains("/no/such/engine.sock")), "{words:?}");
    }
}
