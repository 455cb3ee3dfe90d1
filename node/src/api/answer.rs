//! Answers: objects, lists, texts and failures as HTTP responses. Which answer is right is decided by the routes.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use skein_core::request::WriteError;
use skein_kube::resource::Resource;
use skein_kube::status::{Details, Status};

use super::backend::Stopped;

/// What every route returns.
pub type Answer = Response<Body>;

/// The most warnings in one answer, and the longest of them in bytes: clients print each.
const MAX_WARNINGS: usize = 16;
const MAX_WARNING_BYTES: usize = 512;

/// A failure as an answer.
#[must_use]
pub fn failure(status: &Status) -> Answer {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = json_answer(code, &status.to_value());
    let retry = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0 {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry));
    }
    if code == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"skein\""));
    }
    answer
}

/// 429: too much at once; try again after this many seconds.
#[must_use]
pub fn too_many(message: impl Into<String>, retry_after_seconds: u32) -> Status {
    let details = Details { retry_after_seconds, ..Details::default() };
    Status::new(429, "TooManyRequests", message).with(details)
}

impl From<Stopped> for Status {
    fn from(stopped: Stopped) -> Self {
        Status::unavailable(stopped.to_string(), 1)
    }
}

/// A write that was not taken, in Kubernetes' words.
#[must_use]
pub fn refused(resource: &Resource, name: &str, error: &WriteError) -> Status {
    let message = error.to_string();
    match error {
        WriteError::AlreadyExists(_) => Status::already_exists(resource, name),
        WriteError::NotFound(_) => Status::not_found(resource, name),
        WriteError::Conflict(_) => Status::conflict(resource, name),
        WriteError::NoSuchMember(_) | WriteError::OwnerGone(_) => Status::new(404, "NotFound", message),
        WriteError::Refused(_) => Status::new(422, "Invalid", message),
        WriteError::Disk(_) => Status::new(507, "InternalError", message),
        WriteError::Busy => too_many(message, 1),
        WriteError::Left => Status::unavailable(message, 0),
        WriteError::Undecided(_) | WriteError::Lost => Status::unavailable(message, 1),
        WriteError::Uncertain(_) => Status::new(504, "Timeout", message),
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
    use serde_json::json;

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
    fn who_should_try_again_is_told_when() {
        let answer = failure(&refused(&skein_kube::resource::PODS, "x", &WriteError::Busy));
        assert_eq!(answer.status().as_u16(), 429);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
    }
}
