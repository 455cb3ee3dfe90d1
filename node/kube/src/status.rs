//! Kubernetes' Status objects: every failure of the API, and the answer to a deletion, in the exact shape that clients
//! key on. When which of them is due does not live here.

use serde_json::{Map, Value, json};

use crate::resource::Resource;

/// The most causes that one Status names; what is beyond is counted in the message.
pub const MAX_CAUSES: usize = 64;
/// The longest piece of a client's value that a message repeats, in characters.
const MAX_QUOTED_CHARS: usize = 256;

/// Why a request failed, as a client sees it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// Kubernetes' reason; clients decide by it. Empty: none.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
    /// What it is about. `None`: the Status has no `details`.
    pub details: Option<Box<Details>>,
}

/// What a Status is about. Empty fields are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its resource (`deployments`), or its kind for what is not valid (`Deployment`), as Kubernetes has it.
    pub kind: String,
    /// Its uid.
    pub uid: String,
    /// Field by field.
    pub causes: Vec<Cause>,
    /// When to try again; 0: it is not said.
    pub retry_after_seconds: u32,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
    /// The field's path.
    pub field: String,
}

/// One field that is wrong: from it causes and messages are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field's path: `spec.template.spec.containers[0].image`.
    pub field: String,
    /// In which way.
    pub fault: Fault,
    /// For a person, in Kubernetes' words: `Invalid value: "x": must be ...`.
    pub message: String,
}

/// In which way a field is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It must be there.
    Required,
    /// Its value cannot be.
    Invalid,
    /// Its value is none of those that there are.
    NotSupported,
    /// It may not be there, or not be changed.
    Forbidden,
    /// Another element has the same key.
    Duplicate,
    /// There is too much of it.
    TooLong,
    /// A list has too many elements.
    TooMany,
    /// It names something that is not there.
    NotFound,
    /// It has another type. Answered with 400.
    WrongType,
    /// There is no such field. Answered with 400.
    Unknown,
}

impl Fault {
    /// Kubernetes' name for it in a cause.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Fault::Required => "FieldValueRequired",
            Fault::Invalid => "FieldValueInvalid",
            Fault::NotSupported => "FieldValueNotSupported",
            Fault::Forbidden => "FieldValueForbidden",
            Fault::Duplicate => "FieldValueDuplicate",
            Fault::TooLong => "FieldValueTooLong",
            Fault::TooMany => "FieldValueTooMany",
            Fault::WrongType => "FieldValueTypeInvalid",
            Fault::Unknown | Fault::NotFound => "FieldValueNotFound",
        }
    }
}

impl Problem {
    /// The field must be there.
    pub fn required(field: impl Into<String>, why: &str) -> Self {
        let detail = if why.is_empty() { String::new() } else { format!(": {why}") };
        Problem { field: field.into(), fault: Fault::Required, message: format!("Required value{detail}") }
    }

    /// The value cannot be.
    pub fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        let message = format!("Invalid value: {}: {why}", quoted(value));
        Problem { field: field.into(), fault: Fault::Invalid, message }
    }

    /// The value is none of those that there are.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let message = format!("Unsupported value: {}: supported values: {}", quoted(value), supported.join(", "));
        Problem { field: field.into(), fault: Fault::NotSupported, message }
    }

    /// The field may not be there, or not be changed.
    pub fn forbidden(field: impl Into<String>, why: &str) -> Self {
        Problem { field: field.into(), fault: Fault::Forbidden, message: format!("Forbidden: {why}") }
    }

    /// There is more of it than so many bytes.
    pub fn too_long(field: impl Into<String>, limit_bytes: usize) -> Self {
        let message = format!("Too long: may not be more than {limit_bytes} bytes");
        Problem { field: field.into(), fault: Fault::TooLong, message }
    }

    /// Another element has the same key.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        let message = format!("Duplicate value: {}", quoted(value));
        Problem { field: field.into(), fault: Fault::Duplicate, message }
    }

    /// The list is longer than it may be.
    pub fn too_many(field: impl Into<String>, count: usize, limit: usize) -> Self {
        let message = format!("Too many: {count}: must have at most {limit} items");
        Problem { field: field.into(), fault: Fault::TooMany, message }
    }

    /// The value names something that is not there.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Problem { field: field.into(), fault: Fault::NotFound, message: format!("Not found: {}", quoted(value)) }
    }

    fn cause(&self) -> Cause {
        Cause { reason: self.fault.reason(), message: self.message.clone(), field: self.field.clone() }
    }
}

/// A client's value in a message: JSON, cut to a readable length.
pub(crate) fn quoted(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= MAX_QUOTED_CHARS {
        return text;
    }
    text.chars().take(MAX_QUOTED_CHARS).chain("...".chars()).collect()
}

impl Status {
    /// A failure without details.
    #[must_use]
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Status { code, reason, message: message.into(), details: None }
    }

    /// 400: the request cannot be read, or makes no sense.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 for something that may not be done to an object.
    #[must_use]
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", resource.qualified());
        Self::new(403, "Forbidden", message).about(resource, name)
    }

    /// 404 for a resource or a path below the API's that does not exist.
    #[must_use]
    pub fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with(Details::default())
    }

    /// 404 for an object.
    #[must_use]
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(404, "NotFound", message).about(resource, name)
    }

    /// 405: the resource does not have this verb.
    #[must_use]
    pub fn method_not_allowed(why: &str) -> Self {
        let text = "the server does not allow this method on the requested resource";
        let message = if why.is_empty() { text.to_owned() } else { format!("{text}: {why}") };
        Self::new(405, "MethodNotAllowed", message).with(Details::default())
    }

    /// 406: none of the forms that the client takes can be had.
    #[must_use]
    pub fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json, \
                       application/json;as=Table;v=v1;g=meta.k8s.io, application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        Self::new(406, "NotAcceptable", message).with(Details::default())
    }

    /// 409: the name is taken.
    #[must_use]
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(resource, name)
    }

    /// 409: somebody wrote in between.
    #[must_use]
    pub fn conflict(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict_because(resource, name, why)
    }

    /// 409: another life of the name is asked for than the one that is there.
    #[must_use]
    pub fn uid_conflict(resource: &Resource, name: &str, asked: &str, found: &str) -> Self {
        let why = format!(
            "Precondition failed: UID in precondition: {asked}, UID in object meta: {found}. \
             The object might have been deleted and then recreated"
        );
        Self::conflict_because(resource, name, &why)
    }

    fn conflict_because(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// 410: a resourceVersion that is not in the log (any more). A watch says it inside its stream.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413: the body is too long.
    #[must_use]
    pub fn too_large(limit_bytes: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit_bytes}");
        Self::new(413, "RequestEntityTooLarge", message).with(Details::default())
    }

    /// 415 for a body.
    #[must_use]
    pub fn unsupported_body_type() -> Self {
        let message = "the body of the request was in an unknown format - accepted media types include: \
                       application/json, application/yaml, application/vnd.kubernetes.protobuf";
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 415 for a patch.
    #[must_use]
    pub fn unsupported_patch_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message).with(Details::default())
    }

    /// 422: an object is not valid.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, problems: &[Problem]) -> Self {
        let of = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let message = format!("{of} \"{name}\" is invalid: {}", listed(problems, ": "));
        let causes = problems.iter().take(MAX_CAUSES).map(Problem::cause).collect();
        let details =
            Details { name: name.into(), group: group.into(), kind: kind.into(), causes, ..Details::default() };
        Self::new(422, "Invalid", message).with(details)
    }

    /// 400: a body is no object of its kind: fields that do not exist or have another type.
    #[must_use]
    pub fn undecodable(resource: &Resource, problems: &[Problem]) -> Self {
        let (kind, version) = (resource.kind_name, resource.version);
        let strict = problems.iter().all(|problem| problem.fault != Fault::WrongType);
        let what = if strict { "strict decoding error: " } else { "" };
        let texts: Vec<&str> = problems.iter().take(MAX_CAUSES).map(|problem| problem.message.as_str()).collect();
        let more = problems.len().saturating_sub(MAX_CAUSES);
        let more = if more == 0 { String::new() } else { format!(", and {more} more") };
        let message =
            format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {what}{}{more}", texts.join(", "));
        let causes = problems.iter().take(MAX_CAUSES).map(Problem::cause).collect();
        Self::new(400, "BadRequest", message).with(Details { causes, ..Details::default() })
    }

    /// 500: a mistake of ours.
    #[must_use]
    pub fn internal(message: &str) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    /// 503: not now; try again after this many seconds.
    #[must_use]
    pub fn unavailable(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(503, "ServiceUnavailable", message).with(Details { retry_after_seconds, ..Details::default() })
    }

    /// 504: it is not known what became of it.
    #[must_use]
    pub fn timeout(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(504, "Timeout", message).with(Details { retry_after_seconds, ..Details::default() })
    }

    /// With details in place of those that it had.
    #[must_use]
    pub fn with(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    fn about(self, resource: &Resource, name: &str) -> Self {
        let (group, kind) = (resource.group.to_owned(), resource.plural.to_owned());
        self.with(Details { name: name.to_owned(), group, kind, ..Details::default() })
    }

    /// The Status object.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.to_value();
        }
        status["code"] = self.code.into();
        status
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut fields = Map::new();
        for (name, value) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            if !value.is_empty() {
                fields.insert(name.to_owned(), value.as_str().into());
            }
        }
        if !self.causes.is_empty() {
            let cause = |cause: &Cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field});
            fields.insert("causes".to_owned(), self.causes.iter().map(cause).collect());
        }
        if self.retry_after_seconds > 0 {
            fields.insert("retryAfterSeconds".to_owned(), self.retry_after_seconds.into());
        }
        Value::Object(fields)
    }
}

/// The answer to a deletion that is done: which life ended.
#[must_use]
pub fn deleted(resource: &Resource, name: &str, uid: &str) -> Value {
    let details = Details {
        name: name.to_owned(),
        group: resource.group.to_owned(),
        kind: resource.plural.to_owned(),
        uid: uid.to_owned(),
        ..Details::default()
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details.to_value()})
}

/// `field: message`, in brackets when there are several, as Kubernetes lists them.
fn listed(problems: &[Problem], between: &str) -> String {
    let line = |problem: &Problem| format!("{}{between}{}", problem.field, problem.message);
    match problems {
        [one] => line(one),
        many => {
            let shown: Vec<String> = many.iter().take(MAX_CAUSES).map(line).collect();
            let more = many.len().saturating_sub(MAX_CAUSES);
            let more = if more == 0 { String::new() } else { format!(", and {more} more") };
            format!("[{}{more}]", shown.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource;

    fn expect(status: &Status, recorded: &str) {
        let recorded: Value = serde_json::from_str(recorded).unwrap_or_default();
        assert_eq!(status.to_value(), recorded);
    }

    #[test]
    fn failures_read_as_a_real_servers_do() {
        let maps = &resource::CONFIG_MAPS;
        expect(
            &Status::not_found(maps, "x"),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"configmaps \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"configmaps"},"code":404}"#,
        );
        expect(
            &Status::already_exists(maps, "x"),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"configmaps \"x\" already exists","reason":"AlreadyExists","details":{"name":"x","kind":"configmaps"},"code":409}"#,
        );
        expect(
            &Status::conflict(maps, "x"),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Operation cannot be fulfilled on configmaps \"x\": the object has been modified; please apply your changes to the latest version and try again","reason":"Conflict","details":{"name":"x","kind":"configmaps"},"code":409}"#,
        );
        expect(
            &Status::no_such_resource(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server could not find the requested resource","reason":"NotFound","details":{},"code":404}"#,
        );
        expect(
            &Status::unsupported_body_type(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf","reason":"UnsupportedMediaType","code":415}"#,
        );
        expect(
            &Status::expired("The resourceVersion for the provided list is too old."),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"The resourceVersion for the provided list is too old.","reason":"Expired","code":410}"#,
        );
    }

    #[test]
    fn what_is_not_valid_is_listed_field_by_field() {
        let problems =
            [Problem::invalid("metadata.name", &"BAD".into(), "no"), Problem::required("spec.containers[0].image", "")];
        let status = Status::invalid("apps", "Deployment", "BAD", &problems).to_value();
        assert_eq!(
            status["message"],
            "Deployment.apps \"BAD\" is invalid: [metadata.name: Invalid value: \"BAD\": no, spec.containers[0].image: \
             Required value]"
        );
        assert_eq!(status["details"]["causes"][1]["reason"], "FieldValueRequired");
        assert_eq!(status["details"]["kind"], "Deployment");
    }

    #[test]
    fn a_deletion_names_the_life_that_ended() {
        let recorded = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"y","kind":"configmaps","uid":"92c18288-36a5-4f9c-a1f4-e9750c036639"}}"#;
        let recorded: Value = serde_json::from_str(recorded).unwrap_or_default();
        assert_eq!(deleted(&resource::CONFIG_MAPS, "y", "92c18288-36a5-4f9c-a1f4-e9750c036639"), recorded);
    }

    #[test]
    fn a_thousand_problems_and_a_long_value_stay_readable() {
        let problems = vec![Problem::invalid("a", &"x".repeat(10_000).into(), "no"); 1000];
        let status = Status::invalid("", "Pod", "a", &problems);
        assert!(status.message.len() < 40_000, "{}", status.message.len());
        assert!(status.message.ends_with("and 936 more]"));
    }
}
