//! What is asked of the node that runs a pod, and how a command's end is told to clients.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::runtime::Wires;

/// The longest text of a failure that travels, in characters.
const MESSAGE_CHARS: usize = 2000;

/// What is wanted of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wanted {
    /// To run a command in a container.
    Exec {
        /// The command and its arguments.
        command: Vec<String>,
        /// What of it is connected.
        wires: Wires,
    },
    /// To be connected with a container's own process.
    Attach {
        /// What of it is connected.
        wires: Wires,
    },
    /// One connection to a TCP port.
    Port {
        /// The port.
        port: u16,
    },
}

/// What the node that runs a pod is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRequest {
    /// The pod's uid.
    pub uid: String,
    /// The pod's name, for messages.
    pub pod: String,
    /// The container's name.
    pub container: String,
    /// Which start of it, from 0.
    pub attempt: u32,
    /// What is wanted of it.
    pub wanted: Wanted,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// With this exit code.
    Exited(i32),
    /// It could not be run, or it is not known how it ended; in words for a person.
    Failed(String),
}

impl Outcome {
    /// A failure, cut to what a frame can carry.
    #[must_use]
    pub fn failed(message: &str) -> Outcome {
        Outcome::Failed(message.chars().take(MESSAGE_CHARS).collect())
    }

    /// The Status that clients are told it by; kubectl's exit code is that of its cause.
    #[must_use]
    pub fn to_status(&self) -> Value {
        match self {
            Outcome::Exited(0) => json!({"metadata": {}, "status": "Success"}),
            Outcome::Exited(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("command terminated with non-zero exit code: exit status {code}"),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Outcome::Failed(message) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {message}"),
                "reason": "InternalError",
                "details": {"causes": [{"message": message}]},
                "code": 500,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_told_as_kubectl_reads_it() {
        assert_eq!(Outcome::Exited(0).to_status()["status"], "Success");
        let status = Outcome::Exited(3).to_status();
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
        assert_eq!(Outcome::failed("no").to_status()["message"], "Internal error occurred: no");
    }

    #[test]
    fn a_failure_fits_into_a_frame_whatever_it_says() {
        let told = serde_json::to_vec(&Outcome::failed(&"\u{1}".repeat(1 << 20))).unwrap_or_default();
        assert!(told.len() < super::super::frame::PAYLOAD_LIMIT, "{}", told.len());
    }
}
