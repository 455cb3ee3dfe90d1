//! What the engine says, in words for a person. Engines answer with the text of their inner errors, which is long and
//! ends in what matters; what is known is told plainly, the rest is shortened.

use std::error::Error as _;

use bollard::errors::Error;

/// Longer messages are cut, in characters.
const LENGTH_LIMIT: usize = 600;

/// An engine's error as a sentence without a capital or a full stop.
pub(crate) fn of(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => plain(message),
        Error::DockerStreamError { error } => plain(error),
        Error::RequestTimeoutError => "the engine did not answer in time".to_owned(),
        Error::SocketNotFoundError(path) => format!("there is no socket {path}"),
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } => "the engine's answer makes no sense".to_owned(),
        other => match io_kind(other) {
            Some(std::io::ErrorKind::ConnectionRefused) => "nobody listens there".to_owned(),
            Some(std::io::ErrorKind::PermissionDenied) => {
                "this user may not use its socket; run as root or join the group docker".to_owned()
            }
            Some(std::io::ErrorKind::NotFound) => "its socket is gone".to_owned(),
            _ => cut(&other.to_string()),
        },
    }
}

/// Whether the engine says that what was named does not exist.
pub(crate) fn is_missing(error: &Error) -> bool {
    status(error) == Some(404)
}

/// Whether the engine says that a name is taken, or that something is in the wrong state.
pub(crate) fn is_conflict(error: &Error) -> bool {
    status(error) == Some(409)
}

/// Why an image cannot be had.
pub(crate) fn of_pull(image: &str, error: &Error) -> String {
    let said = of(error);
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["manifest unknown", "not found", "pull access denied", "repository does not exist", "unauthorized"]) {
        return format!("the registry has no image \"{image}\", or asks for a login: {said}");
    }
    if has(&["dial tcp", "no such host", "connection refused", "i/o timeout", "TLS handshake", "Client.Timeout"]) {
        return format!("the registry of image \"{image}\" cannot be reached from this node: {said}");
    }
    if has(&["no space left"]) {
        return format!("this node's disk is full, so image \"{image}\" cannot be stored: {said}");
    }
    format!("image \"{image}\" cannot be pulled: {said}")
}

fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn io_kind(error: &Error) -> Option<std::io::ErrorKind> {
    if let Error::IOError { err } = error {
        return Some(err.kind());
    }
    let mut cause = error.source();
    // A chain of causes is short; the bound is against one that leads back to itself.
    for _ in 0..16 {
        let known = cause?;
        if let Some(error) = known.downcast_ref::<std::io::Error>() {
            return Some(error.kind());
        }
        cause = known.source();
    }
    None
}

fn plain(message: &str) -> String {
    if let Some(port) = taken_port(message) {
        return format!("port {port} of this host is taken already");
    }
    if let Some(program) = between(message, "exec: \"", "\"") {
        if message.contains("not found in $PATH") || message.contains("no such file or directory") {
            return format!("the image has no program \"{program}\"");
        }
        if message.contains("permission denied") {
            return format!("the program \"{program}\" of the image may not be executed");
        }
    }
    if message.contains("No command specified") {
        return "neither the image nor the container has a command".to_owned();
    }
    let told = message.rsplit("caused: ").next().unwrap_or(message);
    cut(told.trim().trim_end_matches(": unknown"))
}

fn taken_port(message: &str) -> Option<&str> {
    let (marked, at) = if message.contains("port is already allocated") {
        (between(message, "Bind for ", " failed")?, ':')
    } else if message.contains("address already in use") {
        let after = message.split("listen ").nth(1)?.split_once(' ')?.1;
        (after.split(": bind").next()?, ':')
    } else {
        return None;
    };
    let port = marked.rsplit(at).next()?;
    port.parse::<u16>().ok().map(|_| port)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

fn cut(message: &str) -> String {
    let words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(LENGTH_LIMIT) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> Error {
        Error::DockerResponseServerError { status_code: 500, message: message.to_owned() }
    }

    #[test]
    fn a_taken_port_is_told_plainly() {
        let allocated = "driver failed programming external connectivity on endpoint x (1f): Bind for 0.0.0.0:8080 failed: port is already allocated";
        let listening = "driver failed programming external connectivity on endpoint x (1f): Error starting userland proxy: listen tcp4 0.0.0.0:8080: bind: address already in use";
        for message in [allocated, listening] {
            assert_eq!(of(&said(message)), "port 8080 of this host is taken already");
        }
    }

    #[test]
    fn a_missing_program_is_named() {
        let path = "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"foo\": executable file not found in $PATH: unknown";
        let absolute = "OCI runtime create failed: starting container process caused: exec: \"foo\": stat foo: no such file or directory: unknown";
        for message in [path, absolute] {
            assert_eq!(of(&said(message)), "the image has no program \"foo\"");
        }
    }

    #[test]
    fn what_is_not_known_is_shortened() {
        let message = format!(
            "OCI runtime create failed: x.go:1: starting container process caused: {}: unknown",
            "a b\n ".repeat(1000)
        );
        let words = of(&said(&message));
        assert!(words.starts_with("a b a b") && words.chars().count() == LENGTH_LIMIT + 1, "{words}");
        assert_eq!(of(&said("")), "");
        assert_eq!(
            of(&said("Bind for x failed: port is already allocated")),
            "Bind for x failed: port is already allocated"
        );
    }

    #[test]
    fn why_a_pull_failed_is_told() {
        let unreachable = of_pull("a:1", &said("Get \"https://r/v2/\": dial tcp: lookup r: no such host"));
        assert!(unreachable.contains("cannot be reached"), "{unreachable}");
        assert!(of_pull("a:1", &said("manifest for a:1 not found: manifest unknown")).contains("has no image \"a:1\""));
    }
}
