//! Admission of writes: from a request's body to the object that may be stored, or to the Status that says why not.
//!
//! The order is always the same: read the body, check that it is about what the URL names, bring it into its normal
//! form, fill in defaults, validate, and keep what clients may set. Nothing is written here.
//!
//! ```
//! use skein_kube::admission::{WriteOptions, prepare_create, prepare_patch};
//! use skein_kube::resource;
//!
//! let options = WriteOptions::default();
//! let body = br#"{"metadata": {"name": "settings"}, "data": {"colour": "green"}}"#;
//! let made = prepare_create(&resource::CONFIG_MAPS, "shop", body, None, &options, "")?;
//! assert_eq!((made.name.as_str(), &made.object["data"]["colour"]), ("settings", &"green".into()));
//!
//! let stored = serde_json::json!({"metadata": {"name": "settings", "namespace": "shop"}, "data": {"colour": "red"}});
//! let patch = br#"{"data": {"colour": "blue"}}"#;
//! let merge = Some("application/merge-patch+json");
//! let changed = prepare_patch(&resource::CONFIG_MAPS, &stored, patch, merge, &options)?;
//! assert_eq!(changed.object["data"]["colour"], "blue");
//! # Ok::<(), skein_kube::status::Status>(())
//! ```

use serde_json::{Map, Value, json};

use crate::patch::Patch;
use crate::resource::{self, Resource};
use crate::status::{Problem, Status};
use crate::structure::{FieldValidation, normalise};
use crate::{body, convert, defaults, effect, validate};

mod delete;
mod ephemeral;
mod scale;

pub use delete::{DeleteOptions, Propagation, delete_options, read_delete_options};
pub use ephemeral::ephemeral_containers;
pub use scale::{applied_scale, scale_of, with_scale};

/// Metadata that clients may set and that is stored; the rest is part of the name or kept by the system.
const STORED_METADATA: [&str; 5] = ["annotations", "finalizers", "generateName", "labels", "ownerReferences"];
/// The longest prefix that a drawn suffix is added to; a longer one is cut.
const MAX_GENERATED_PREFIX: usize = 58;

/// How a client wants its write to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteOptions {
    /// Only say what would happen.
    pub dry_run: bool,
    /// How fields that do not exist are taken.
    pub field_validation: FieldValidation,
}

/// An object that may be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// With its defaults, without status, name, and metadata that the system keeps.
    pub object: Value,
    /// For the client.
    pub warnings: Vec<String>,
}

/// A write that may be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The object's name.
    pub name: String,
    /// Its namespace; empty for a cluster-scoped one.
    pub namespace: String,
    /// What to store: with its defaults, without status, name, and metadata that the system keeps.
    pub object: Value,
    /// For the client.
    pub warnings: Vec<String>,
    /// The version that the object must have, if the client named one.
    pub resource_version: Option<String>,
    /// The uid that the object must have, if the client named one.
    pub uid: Option<String>,
    /// Only say what would happen.
    pub dry_run: bool,
    /// What the client would have `managedFields` be, if it names them.
    pub managed_fields: Option<Value>,
}

impl WriteOptions {
    /// Reads the options from a query's fields; others are passed over.
    ///
    /// # Errors
    /// 422 when one has a value that it cannot have.
    pub fn of_query<'a>(query: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Status> {
        let mut options = WriteOptions::default();
        for (field, value) in query {
            match (field, value) {
                (_, "") => {}
                ("dryRun", "All") => options.dry_run = true,
                ("dryRun", other) => return Err(unsupported_option("dryRun", other, &["All"])),
                ("fieldValidation", "Strict") => options.field_validation = FieldValidation::Strict,
                ("fieldValidation", "Warn") => options.field_validation = FieldValidation::Warn,
                ("fieldValidation", "Ignore") => options.field_validation = FieldValidation::Ignore,
                ("fieldValidation", other) => {
                    return Err(unsupported_option("fieldValidation", other, &["Ignore", "Strict", "Warn"]));
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

/// Prepares a create. `suffix` is what a drawn name ends in, should the body leave the name to be drawn.
///
/// # Errors
/// 400 or 415 for a body that is no such object, 405 for a resource that is not created, 422 for one that is not valid.
pub fn prepare_create(
    resource: &Resource,
    namespace: &str,
    bytes: &[u8],
    content_type: Option<&str>,
    options: &WriteOptions,
    suffix: &str,
) -> Result<Prepared, Status> {
    if !resource.allows("create") {
        return Err(Status::method_not_allowed(&format!("{} are not created by clients", resource.plural)));
    }
    let mut object = body::decode(content_type, bytes)?;
    let metadata = metadata_of(&mut object)?;
    same("namespace", metadata.get("namespace"), namespace, resource.namespaced)?;
    if text(metadata.get("name")).is_empty() {
        let prefix = text(metadata.get("generateName"));
        if !prefix.is_empty() {
            let prefix: String = prefix.chars().take(MAX_GENERATED_PREFIX).collect();
            metadata.insert("name".to_owned(), format!("{prefix}{suffix}").into());
        }
    }
    let (name, uid) = (text(metadata.get("name")).to_owned(), text(metadata.get("uid")).to_owned());
    if !text(metadata.get("resourceVersion")).is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let checked = check_new(resource, object, options.field_validation)?;
    Ok(Prepared {
        name,
        namespace: namespace.to_owned(),
        object: checked.object,
        warnings: checked.warnings,
        resource_version: None,
        uid: Some(uid).filter(|uid| !uid.is_empty()),
        dry_run: options.dry_run,
        managed_fields: None,
    })
}

/// Prepares a replacement of `old`, which is the object as it is shown in the version that it is stored in.
///
/// # Errors
/// As [`prepare_create`], and 422 when a field changed that may not change.
pub fn prepare_update(
    resource: &Resource,
    old: &Value,
    bytes: &[u8],
    content_type: Option<&str>,
    options: &WriteOptions,
) -> Result<Prepared, Status> {
    let mut new = body::decode(content_type, bytes)?;
    let metadata = metadata_of(&mut new)?;
    let named = |field: &str| Some(text(metadata.get(field)).to_owned()).filter(|text| !text.is_empty());
    let (resource_version, uid) = (named("resourceVersion"), named("uid"));
    replacement(resource, old, new, resource_version, uid, options)
}

/// Prepares a patch of `old`, which is the object as it is shown in the version that it is stored in.
///
/// # Errors
/// As [`prepare_update`], and 415, 400 or 422 when the patch cannot be read or applied.
pub fn prepare_patch(
    resource: &Resource,
    old: &Value,
    bytes: &[u8],
    content_type: Option<&str>,
    options: &WriteOptions,
) -> Result<Prepared, Status> {
    let patch = Patch::read(content_type, bytes)?;
    let shown = convert::from_stored(resource, old);
    let new = patch.apply(resource, shown.as_ref().unwrap_or(old))?;
    replacement(resource, old, new, patch.resource_version(), patch.uid(), options)
}

/// Checks an object that is to be created, and keeps what is stored of it. Its name is there.
///
/// # Errors
/// 400 for what is no object of this resource, 422 for what is not valid, with the fields' paths.
pub fn check_new(resource: &Resource, object: Value, fields: FieldValidation) -> Result<Checked, Status> {
    let (object, mut warnings) = completed(resource, object, fields)?;
    let mut problems = validate::create(resource, &object);
    problems.extend(ephemeral::not_on_create(resource, &object));
    refuse(resource, &object, &problems)?;
    warnings.extend(effect::warning_of_create(resource));
    Ok(Checked { object: convert::to_stored(resource, None, stored(resource, object)), warnings })
}

/// Checks an object that is to take the place of `old`, which is the object as it is shown in the version that it is stored
/// in.
///
/// # Errors
/// As [`check_new`], and 422 when a field changed that may not change.
pub fn check_update(
    resource: &Resource,
    old: &Value,
    mut new: Value,
    fields: FieldValidation,
) -> Result<Checked, Status> {
    let metadata = metadata_of(&mut new)?;
    if text(metadata.get("name")).is_empty() {
        metadata.insert("name".to_owned(), old["metadata"]["name"].clone());
    }
    let (new, warnings) = completed(resource, new, fields)?;
    let shown = convert::from_stored(resource, old);
    let (shown, _) = completed(resource, shown.unwrap_or_else(|| old.clone()), FieldValidation::Ignore)?;
    refuse(resource, &new, &validate::update(resource, &shown, &new))?;
    Ok(Checked { object: convert::to_stored(resource, Some(old), stored(resource, new)), warnings })
}

/// What of an object, as it is shown in the version that it is stored in, is stored: what clients may set. The counterpart of what [`check_update`] gives.
#[must_use]
pub fn storable(resource: &Resource, object: &Value) -> Value {
    let resource = resource::of_kind(&resource.kind()).unwrap_or(resource);
    match completed(resource, object.clone(), FieldValidation::Ignore) {
        Ok((object, _)) => stored(resource, object),
        // What a merge left unreadable is compared as it is.
        Err(_) => stored(resource, object.as_object().cloned().unwrap_or_default()),
    }
}

fn replacement(
    resource: &Resource,
    old: &Value,
    new: Value,
    resource_version: Option<String>,
    uid: Option<String>,
    options: &WriteOptions,
) -> Result<Prepared, Status> {
    if !resource.allows("update") {
        return Err(Status::method_not_allowed(&format!("{} are not changed by clients", resource.plural)));
    }
    let (name, namespace) = (text(old["metadata"].get("name")), text(old["metadata"].get("namespace")));
    same("name", new["metadata"].get("name"), name, true)?;
    same("namespace", new["metadata"].get("namespace"), namespace, resource.namespaced)?;
    if let Some(asked) = uid.as_deref().filter(|asked| old["metadata"]["uid"] != **asked) {
        return Err(Status::uid_conflict(resource, name, asked, text(old["metadata"].get("uid"))));
    }
    let (name, namespace) = (name.to_owned(), namespace.to_owned());
    let managed_fields = new["metadata"].get("managedFields").cloned();
    let checked = check_update(resource, old, new, options.field_validation)?;
    let Checked { object, warnings } = checked;
    let dry_run = options.dry_run;
    Ok(Prepared { name, namespace, object, warnings, resource_version, uid, dry_run, managed_fields })
}

/// An object in its normal form with its defaults, and what to warn of.
fn completed(
    resource: &Resource,
    mut object: Value,
    fields: FieldValidation,
) -> Result<(Map<String, Value>, Vec<String>), Status> {
    metadata_of(&mut object)?;
    check_type_of(resource.kind_name, &resource.api_version(), &object)?;
    let Value::Object(mut object) = object else { return Err(not_an_object(&object)) };
    let findings = normalise(resource.schema, &mut object, fields);
    if !findings.problems.is_empty() {
        return Err(Status::undecodable(resource, &findings.problems));
    }
    defaults::fill(resource, &mut object);
    Ok((object, findings.warnings))
}

fn refuse(resource: &Resource, object: &Map<String, Value>, problems: &[Problem]) -> Result<(), Status> {
    if problems.is_empty() {
        return Ok(());
    }
    let name = object.get("metadata").and_then(|metadata| metadata["name"].as_str()).unwrap_or_default();
    Err(Status::invalid(resource.group, resource.kind_name, name, problems))
}

fn stored(resource: &Resource, mut object: Map<String, Value>) -> Value {
    object.retain(|field, _| field != "status" && resource.schema.field(field).is_some());
    let metadata = object.remove("metadata").unwrap_or_default();
    let kept: Map<String, Value> = STORED_METADATA
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), metadata.get(*field)?.clone())))
        .filter(|(_, value)| !validate::is_empty(value))
        .collect();
    if !kept.is_empty() {
        object.insert("metadata".to_owned(), Value::Object(kept));
    }
    Value::Object(object)
}

/// An object's metadata, which is made if it is missing.
pub(crate) fn metadata_of(object: &mut Value) -> Result<&mut Map<String, Value>, Status> {
    if !object.is_object() {
        return Err(not_an_object(object));
    }
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    let found = body::kind_of(&object["metadata"]);
    let wrong = || Status::bad_request(format!("metadata: expected an object, got {found}"));
    object["metadata"].as_object_mut().ok_or_else(wrong)
}

fn not_an_object(value: &Value) -> Status {
    Status::bad_request(format!("the body must be an object, but it is {}", body::kind_of(value)))
}

/// What a body says of its type must be what the URL says; it need not say anything.
fn check_type_of(expected_kind: &str, expected_version: &str, object: &Value) -> Result<(), Status> {
    same_type("kind", text(object.get("kind")), expected_kind)?;
    same_type("apiVersion", text(object.get("apiVersion")), expected_version)
}

pub(crate) fn same_type(field: &str, found: &str, expected: &str) -> Result<(), Status> {
    if found.is_empty() || found == expected {
        return Ok(());
    }
    let what = if field == "apiVersion" { "API version" } else { field };
    let found: String = found.chars().take(128).collect();
    Err(Status::bad_request(format!(
        "the {what} in the data ({found}) does not match the expected {what} ({expected})"
    )))
}

/// A name or namespace in a body must be the URL's, where there is one.
pub(crate) fn same(what: &str, in_body: Option<&Value>, in_url: &str, applies: bool) -> Result<(), Status> {
    let found = text(in_body);
    if !applies || found.is_empty() || found == in_url {
        return Ok(());
    }
    let message = match what {
        "namespace" => {
            "the namespace of the provided object does not match the namespace sent on the request".to_owned()
        }
        _ => {
            let found: String = found.chars().take(253).collect();
            format!("the {what} of the object ({found}) does not match the {what} on the URL ({in_url})")
        }
    };
    Err(Status::bad_request(message))
}

fn unsupported_option(field: &str, value: &str, supported: &[&str]) -> Status {
    let value = Value::from(value.chars().take(64).collect::<String>());
    option_invalid("PatchOptions", Problem::not_supported(field, &value, supported))
}

/// 422 for options of a request.
fn option_invalid(kind: &str, problem: Problem) -> Status {
    Status::invalid("meta.k8s.io", kind, "", &[problem])
}

pub(crate) fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
