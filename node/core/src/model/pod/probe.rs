//! How Kubernetes says when and how to look at a container.

use serde::{Deserialize, Deserializer, de};

use super::or_default;

/// A probe with its schedule. Absent numbers have Kubernetes' defaults, which the accessors give.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// Run a command inside.
    pub exec: Option<ExecAction>,
    /// Ask by HTTP.
    pub http_get: Option<HttpGetAction>,
    /// Open a connection.
    pub tcp_socket: Option<TcpSocketAction>,
    /// Ask by gRPC's health protocol.
    pub grpc: Option<GrpcAction>,
    initial_delay_seconds: Option<u32>,
    period_seconds: Option<u32>,
    timeout_seconds: Option<u32>,
    success_threshold: Option<u32>,
    failure_threshold: Option<u32>,
    termination_grace_period_seconds: Option<u32>,
}

impl Probe {
    /// One look without a schedule: what a hook does.
    #[must_use]
    pub fn once(exec: Option<ExecAction>, http_get: Option<HttpGetAction>) -> Self {
        Probe { exec, http_get, ..Probe::default() }
    }

    /// How long after the start the first look is, in seconds.
    #[must_use]
    pub fn initial_delay_seconds(&self) -> u32 {
        self.initial_delay_seconds.unwrap_or(0)
    }

    /// The time between two looks, in seconds, at least 1.
    #[must_use]
    pub fn period_seconds(&self) -> u32 {
        self.period_seconds.filter(|period| *period > 0).unwrap_or(10)
    }

    /// How long to wait for an answer, in seconds, at least 1.
    #[must_use]
    pub fn timeout_seconds(&self) -> u32 {
        self.timeout_seconds.filter(|timeout| *timeout > 0).unwrap_or(1)
    }

    /// How many successes in a row count, at least 1.
    #[must_use]
    pub fn success_threshold(&self) -> u32 {
        self.success_threshold.filter(|threshold| *threshold > 0).unwrap_or(1)
    }

    /// How long a container that fails it may take to end, in seconds; `None`: as long as its pod says.
    #[must_use]
    pub fn grace_seconds(&self) -> Option<u32> {
        self.termination_grace_period_seconds
    }

    /// How many failures in a row count, at least 1.
    #[must_use]
    pub fn failure_threshold(&self) -> u32 {
        self.failure_threshold.filter(|threshold| *threshold > 0).unwrap_or(3)
    }
}

/// Run a command inside; 0 is success.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecAction {
    /// The command.
    #[serde(deserialize_with = "or_default")]
    pub command: Vec<String>,
}

/// Ask by HTTP; 200 to 399 is success.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpGetAction {
    /// The path with its query; empty: `/`.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    /// The port.
    #[serde(deserialize_with = "or_default")]
    pub port: PortRef,
    /// The host; empty: the pod.
    #[serde(deserialize_with = "or_default")]
    pub host: String,
    /// `HTTP` or `HTTPS`; empty: `HTTP`.
    #[serde(deserialize_with = "or_default")]
    pub scheme: String,
    /// Headers to send.
    #[serde(deserialize_with = "or_default")]
    pub http_headers: Vec<HttpHeader>,
}

/// A header.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct HttpHeader {
    /// Its name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Its value.
    #[serde(deserialize_with = "or_default")]
    pub value: String,
}

/// Open a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpSocketAction {
    /// The port.
    #[serde(deserialize_with = "or_default")]
    pub port: PortRef,
    /// The host; empty: the pod.
    #[serde(deserialize_with = "or_default")]
    pub host: String,
}

/// Ask a service of the pod by gRPC's health protocol; `SERVING` is success.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct GrpcAction {
    /// The port, by number.
    #[serde(deserialize_with = "or_default")]
    pub port: u16,
    /// The service to ask about; empty: the server as a whole.
    #[serde(deserialize_with = "or_default")]
    pub service: String,
}

/// A port, by number or by the name that the container gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortRef {
    /// By number.
    Number(u16),
    /// By name.
    Name(String),
}

impl Default for PortRef {
    fn default() -> Self {
        PortRef::Number(0)
    }
}

impl<'de> Deserialize<'de> for PortRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || de::Error::custom("expected a port: a number from 1 to 65535 or a port's name");
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Number(number) => {
                let number = number.as_u64().and_then(|number| u16::try_from(number).ok());
                number.map(PortRef::Number).ok_or_else(wrong)
            }
            serde_json::Value::String(text) => Ok(text.parse().map_or(PortRef::Name(text), PortRef::Number)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_probe_has_the_defaults_of_kubernetes() {
        let probe = Probe::deserialize(json!({"periodSeconds": 0})).unwrap();
        assert_eq!((probe.initial_delay_seconds(), probe.period_seconds(), probe.timeout_seconds()), (0, 10, 1));
        assert_eq!((probe.success_threshold(), probe.failure_threshold()), (1, 3));
    }

    #[test]
    fn a_port_is_a_number_or_a_name() {
        let read = |json: serde_json::Value| PortRef::deserialize(json).ok();
        assert_eq!(read(json!(80)), Some(PortRef::Number(80)));
        assert_eq!(read(json!("80")), Some(PortRef::Number(80)));
        assert_eq!(read(json!("http")), Some(PortRef::Name("http".into())));
        assert_eq!(read(json!(70000)), None);
        assert_eq!(read(json!(true)), None);
    }
}
