//! Answers: objects, lists, texts and failures as HTTP responses. Which answer is right is decided by the routes.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::backend::{Stopped, WriteError};

/// What every route returns.
pub type Answer = Response<Body>;

/// The most warnings in one answer, and the longest of them in bytes: clients print each.
const MAX_WARNINGS: usize = 16;
const MAX_WARNING_BYTES: usize = 512;

/// A failure as Kubernetes tells it: becomes a `Status` object.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The HTTP status.
    pub code: u16,
    /// Kubernetes' word for it, which clients act on: `NotFound`, `Conflict`.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
    /// `details` of the Status: `name`, `group`, `kind`, `uid`, `causes`, `retryAfterSeconds`.
    pub details: Map<String, Value>,
}

impl Failure {
    /// A failure with a reason and a message.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Failure { code, reason, message: message.into(), details: Map::new() }
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 404 for a path that leads nowhere.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// Adds to `details`.
    #[must_use]
    pub fn detail(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.details.insert(field.to_owned(), value.into());
        self
    }

    /// The Status object.
    #[must_use]
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_empty() {
            status["details"] = Value::Object(self.details.clone());
        }
        status
    }

    /// The response.
    #[must_use]
    pub fn into_answer(self) -> Answer {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = json_answer(code, &self.to_status());
        if let Some(seconds) = self.details.get("retryAfterSeconds").and_then(Value::as_u64) {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if code == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"skein\""));
        }
        answer
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        Failure::new(503, "ServiceUnavailable", stopped.to_string()).detail("retryAfterSeconds", 1)
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let message = error.to_string();
        match error {
            WriteError::AlreadyExists => Failure::new(409, "AlreadyExists", message),
            WriteError::NotFound | WriteError::OwnerGone(_) => Failure::new(404, "NotFound", message),
            WriteError::Conflict => Failure::new(409, "Conflict", message),
            WriteError::DiskFull(_) => Failure::new(507, "InternalError", message),
            WriteError::TooLarge { .. } => Failure::new(413, "RequestEntityTooLarge", message),
            WriteError::Busy => Failure::new(429, "TooManyRequests", message).detail("retryAfterSeconds", 1),
            WriteError::Uncertain(_) => Failure::new(504, "Timeout", message),
            WriteError::Stopped => Stopped.into(),
        }
    }
}

/// A JSON answer.
#[must_use]
pub fn json_answer(code: StatusCode, value: &impl Serialize) -> Answer {
    // Serialising into memory fails only for maps whose keys are no texts, which no answer has.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes_answer(code, "application/json", bytes)
}

/// An answer with a body of some type.
#[must_use]
pub fn bytes_answer(code: StatusCode, content_type: &str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::from(bytes.into()));
    *answer.status_mut() = code;
    set_content_type(&mut answer, content_type);
    answer
}

/// A plain text.
#[must_use]
pub fn text_answer(code: StatusCode, text: impl Into<Bytes>) -> Answer {
    bytes_answer(code, "text/plain; charset=utf-8", text)
}

/// Sets the content type of an answer; one that no header can hold is left out.
pub fn set_content_type(answer: &mut Answer, content_type: &str) {
    if let Ok(value) = HeaderValue::from_str(content_type) {
        answer.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
}

/// Adds `Warning` headers, which kubectl prints.
pub fn add_warnings<'a>(headers: &mut HeaderMap, warnings: impl IntoIterator<Item = &'a String>) {
    for warning in warnings.into_iter().take(MAX_WARNINGS) {
        // A quoted text of visible ASCII: what else there is would break the header.
        let mut text = String::new();
        for c in warning.chars() {
            if text.len() >= MAX_WARNING_BYTES {
                break;
            }
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                ' '..='~' => text.push(c),
                _ => text.push('?'),
            }
        }
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            headers.append(header::WARNING, value);
        }
    }
}

/// An object with the resourceVersion that this peer gives it, written without copying the object.
#[derive(Debug, Clone, Copy)]
pub struct Versioned<'a> {
    /// The object.
    pub value: &'a Value,
    /// Its resourceVersion.
    pub version: u64,
}

impl Serialize for Versioned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(fields) = self.value.as_object() else { return self.value.serialize(serializer) };
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for (field, value) in fields {
            match value {
                Value::Object(metadata) if field == "metadata" => {
                    map.serialize_entry(field, &Metadata { metadata, version: self.version })?;
                }
                _ => map.serialize_entry(field, value)?,
            }
        }
        map.end()
    }
}

impl Versioned<'_> {
    /// A copy with the version in it.
    #[must_use]
    pub fn to_value(self) -> Value {
        let mut value = self.value.clone();
        set_version(&mut value, self.version);
        value
    }
}

/// Sets an object's resourceVersion.
pub fn set_version(object: &mut Value, version: u64) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), Value::from(version.to_string()));
    }
}

struct Metadata<'a> {
    metadata: &'a Map<String, Value>,
    version: u64,
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const FIELD: &str = "resourceVersion";
        let mut map = serializer.serialize_map(None)?;
        for (field, value) in self.metadata.iter().filter(|(field, _)| *field != FIELD) {
            map.serialize_entry(field, value)?;
        }
        map.serialize_entry(FIELD, &self.version.to_string())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_replaces_the_stored_one_and_nothing_else() {
        let value = json!({"kind": "Pod", "metadata": {"name": "a", "resourceVersion": "1"}, "spec": {"metadata": 1}});
        let versioned = Versioned { value: &value, version: 77 };
        let written: Value =
            serde_json::from_slice(&serde_json::to_vec(&versioned).unwrap_or_default()).unwrap_or_default();
        assert_eq!(written, versioned.to_value());
        assert_eq!(written["metadata"], json!({"name": "a", "resourceVersion": "77"}));
        assert_eq!(written["spec"], value["spec"]);
    }

    #[test]
    fn a_warning_stays_one_header_whatever_it_holds() {
        let mut headers = HeaderMap::new();
        add_warnings(&mut headers, &["say \"hi\"\r\nSet-Cookie: ü".to_owned(), "x".repeat(10_000)]);
        let all: Vec<_> = headers.get_all(header::WARNING).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(all[0], b"299 - \"say \\\"hi\\\"??Set-Cookie: ?\"");
        assert!(all[1].len() < 600);
    }

    #[test]
    fn a_failure_is_a_status_that_kubectl_understands() {
        let status = Failure::from(WriteError::Busy).to_status();
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["code"], 429);
        assert_eq!(status["details"]["retryAfterSeconds"], 1);
    }
}
