//! How to delete: what a client says in the body or in the query of a deletion.

use serde_json::{Value, json};

use super::{not_an_object, option_invalid, text};
use crate::status::{Details, Fault, Status};
use crate::structure::{FieldValidation, normalise};
use crate::{body, validate};

/// How a client wants an object to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeleteOptions {
    /// Only this life.
    pub uid: Option<String>,
    /// Only in this version.
    pub resource_version: Option<String>,
    /// How long to wait before what runs is killed, in seconds.
    pub grace_period_seconds: Option<u32>,
    /// What becomes of what the object owns.
    pub propagation: Propagation,
    /// Only say what would happen.
    pub dry_run: bool,
}

/// What becomes of what a deleted object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// It goes too, afterwards.
    #[default]
    Background,
    /// It goes first.
    Foreground,
    /// It stays.
    Orphan,
}

/// Reads how to delete, from a body (empty: none) and the query's fields; the body counts where both say something.
///
/// # Errors
/// 400 or 415 when the body cannot be read, 422 when a value cannot be.
pub fn delete_options<'a>(
    bytes: &[u8],
    content_type: Option<&str>,
    query: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<DeleteOptions, Status> {
    let mut options = match bytes {
        [] => json!({}),
        bytes => body::decode(content_type, bytes)?,
    };
    for (field, value) in query {
        let value = match field {
            "propagationPolicy" | "dryRun" if value.is_empty() => continue,
            "propagationPolicy" => Value::from(value),
            "dryRun" => json!([value]),
            "gracePeriodSeconds" => value.parse::<i64>().map_or_else(|_| Value::from(value), Value::from),
            _ => continue,
        };
        if options.get(field).is_none_or(Value::is_null) {
            options[field] = value;
        }
    }
    read_delete_options(options)
}

/// Reads how to delete from an object, such as an Eviction's `deleteOptions`.
///
/// # Errors
/// As [`delete_options`].
pub fn read_delete_options(options: Value) -> Result<DeleteOptions, Status> {
    let Value::Object(mut options) = options else {
        return if options.is_null() { Ok(DeleteOptions::default()) } else { Err(not_an_object(&options)) };
    };
    let schema = &crate::schema::meta::DELETE_OPTIONS;
    // Clients of all ages send these; what they say too much does no harm.
    let mut problems = normalise(schema, &mut options, FieldValidation::Ignore).problems;
    if problems.is_empty() {
        problems = validate::of_type(schema, &options);
    }
    if let Some(problem) = problems.into_iter().next() {
        return Err(match problem.fault {
            Fault::WrongType => Status::bad_request(problem.message).with(Details::default()),
            _ => option_invalid("DeleteOptions", problem),
        });
    }
    let get = |field: &str| options.get(field).cloned().unwrap_or_default();
    let precondition = |field: &str| Some(text(get("preconditions").get(field)).to_owned()).filter(|t| !t.is_empty());
    Ok(DeleteOptions {
        uid: precondition("uid"),
        resource_version: precondition("resourceVersion"),
        grace_period_seconds: get("gracePeriodSeconds").as_i64().map(|s| u32::try_from(s).unwrap_or(u32::MAX)),
        propagation: match (get("propagationPolicy").as_str(), get("orphanDependents").as_bool()) {
            (Some("Orphan"), _) | (None, Some(true)) => Propagation::Orphan,
            (Some("Foreground"), _) => Propagation::Foreground,
            _ => Propagation::Background,
        },
        dry_run: get("dryRun").as_array().is_some_and(|all| !all.is_empty()),
    })
}
