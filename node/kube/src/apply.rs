//! Server-side apply: a tool says what it wants of an object, and owns those fields from then on. What it leaves out later
//! goes, unless others own it too; what others own with another value is a conflict, unless it is forced.
//!
//! Who owns what is in [`owners`]; how an object is walked beside what is applied, in `merge`; writing is the API's.
//!
//! ```
//! use skein_kube::apply::{ApplyOptions, Applied, onto};
//! use skein_kube::resource::CONFIG_MAPS;
//!
//! let options = ApplyOptions::of_query([("fieldManager", "me"), ("force", "false")])?;
//! let body = b"{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {colour: green}}";
//! let applied = Applied::read(&CONFIG_MAPS, "shop", "settings", body, &options)?;
//! let live = serde_json::json!({"metadata": {"name": "settings", "namespace": "shop"}, "data": {"size": "1"}});
//! let prepared = onto(&CONFIG_MAPS, &live, &applied, &[], &options)?;
//! assert_eq!(prepared.object["data"], serde_json::json!({"colour": "green", "size": "1"}));
//! # Ok::<(), skein_kube::status::Status>(())
//! ```

use serde_json::Value;
use skein_crdt_state::Operation;

use crate::admission::{self, Checked, Prepared, WriteOptions};
use crate::resource::{Resource, Subresource};
use crate::status::{Cause, Details, MAX_CAUSES, Problem, Status};
use crate::structure::{FieldValidation, normalise};
use crate::{body, convert};

pub mod field_set;
mod merge;
pub mod owners;

pub use field_set::FieldSet;
pub use owners::{Authored, Owner};

/// The content type of what is applied.
pub const CONTENT_TYPE: &str = "application/apply-patch+yaml";
/// Where kubectl keeps what it applied itself.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that kubectl applies as, and that which it used before it could.
const KUBECTL: &str = "kubectl";

/// How a tool wants what it applies to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyOptions {
    /// The tool: Kubernetes' field manager.
    pub manager: String,
    /// Take what others own.
    pub force: bool,
    /// What holds for every write.
    pub write: WriteOptions,
}

/// What a tool applies.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The object in its normal form, without defaults.
    object: Value,
    /// The fields that it sets.
    pub fields: FieldSet,
    /// The version that the object must have, if the client named one.
    pub resource_version: Option<String>,
    /// The uid that the object must have, if the client named one.
    pub uid: Option<String>,
    warnings: Vec<String>,
}

/// Whether a content type is that of an apply.
#[must_use]
pub fn is_apply(content_type: Option<&str>) -> bool {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(CONTENT_TYPE)
}

/// Refuses the options that only an apply has.
///
/// # Errors
/// 422 when one is there.
pub fn only_for_apply<'a>(query: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(), Status> {
    match query.into_iter().any(|(field, value)| field == "force" && !value.is_empty()) {
        true => Err(options_invalid(Problem::forbidden("force", "may not be specified for non-apply patch"))),
        false => Ok(()),
    }
}

impl ApplyOptions {
    /// Reads the options from a query's fields; others are passed over.
    ///
    /// # Errors
    /// 422 when the manager is missing, or an option has a value that it cannot have.
    pub fn of_query<'a>(query: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Status> {
        let query: Vec<(&str, &str)> = query.into_iter().collect();
        let write = WriteOptions::of_query(query.iter().copied())?;
        let get = |name: &str| query.iter().find(|(field, _)| *field == name).map(|(_, value)| *value);
        let manager = get("fieldManager").unwrap_or_default();
        if manager.is_empty() {
            return Err(options_invalid(Problem::required("fieldManager", "is required for apply patch")));
        }
        if manager.chars().count() > owners::MAX_MANAGER_CHARS || manager.chars().any(char::is_control) {
            let why = "must be no more than 128 characters, all of them printable";
            return Err(options_invalid(Problem::invalid("fieldManager", &manager.into(), why)));
        }
        let force = match get("force").unwrap_or_default() {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            other => return Err(Status::bad_request(format!("force: \"{other}\" is neither true nor false"))),
        };
        Ok(ApplyOptions { manager: manager.to_owned(), force, write })
    }
}

impl ApplyOptions {
    /// The same for a part of the object, such as its scale: a tool owns what it applies there apart from the rest, so that
    /// the one takes nothing of the other away.
    #[must_use]
    pub fn of_part(mut self, part: Subresource) -> Self {
        if part == Subresource::Scale {
            self.manager.push_str(owners::BY_SCALE);
        }
        self
    }
}

impl Applied {
    /// Reads what is applied to an object of this name.
    ///
    /// # Errors
    /// 400 when it cannot be read or is about another object.
    pub fn read(
        resource: &Resource,
        namespace: &str,
        name: &str,
        bytes: &[u8],
        options: &ApplyOptions,
    ) -> Result<Self, Status> {
        // Every JSON text is YAML, but kubectl's are long, and JSON is read faster and says better what is wrong.
        let is_json = bytes.trim_ascii_start().first() == Some(&b'{');
        let json = if is_json { body::decode_json(bytes).ok() } else { None };
        let mut object = json.map_or_else(|| body::decode_yaml(bytes), Ok)?;
        let metadata = admission::metadata_of(&mut object)?;
        admission::same("name", metadata.get("name"), name, true)?;
        admission::same("namespace", metadata.get("namespace"), namespace, resource.namespaced)?;
        if metadata.get("managedFields").and_then(Value::as_array).is_some_and(|entries| !entries.is_empty()) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let mut named = |field: &str| {
            let text = admission::text(metadata.get(field)).to_owned();
            metadata.remove(field);
            Some(text).filter(|text| !text.is_empty())
        };
        let (resource_version, uid) = (named("resourceVersion"), named("uid"));
        // Its name is not something that a tool sets.
        let _ = (named("name"), named("namespace"));
        if metadata.is_empty() {
            object.as_object_mut().map(|fields| fields.remove("metadata"));
        }
        for (what, expected) in [("apiVersion", resource.api_version()), ("kind", resource.kind_name.to_owned())] {
            match admission::text(object.get(what)) {
                "" => {
                    return Err(Status::bad_request(format!(
                        "Object '{what}' is missing in the applied configuration"
                    )));
                }
                found => admission::same_type(what, found, &expected)?,
            }
        }
        let Value::Object(mut fields) = object else { return Err(Status::bad_request("an object must be applied")) };
        let findings = normalise(resource.schema, &mut fields, options.write.field_validation);
        if !findings.problems.is_empty() {
            return Err(Status::undecodable(resource, &findings.problems));
        }
        let object = Value::Object(fields);
        if let [first, ..] = merge::duplicates(resource.schema, &object).as_slice() {
            return Err(Status::bad_request(format!(
                "failed to create typed patch object ({namespace}/{name}; {}, Kind={}): {first}",
                resource.api_version(),
                resource.kind_name
            )));
        }
        let fields = merge::fields_of(resource.schema, &object);
        Ok(Applied { object, fields, resource_version, uid, warnings: findings.warnings })
    }

    /// The object that results where there is none.
    ///
    /// # Errors
    /// 422 when it is not valid, 409 when a certain one was meant.
    pub fn alone(
        self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        options: &ApplyOptions,
    ) -> Result<Prepared, Status> {
        if !resource.allows("create") {
            return Err(Status::not_found(resource, name));
        }
        if let Some(uid) = self.uid.as_deref() {
            let message = format!(
                "Operation cannot be fulfilled on {} \"{name}\": uid mismatch: the provided object specified uid {uid}, \
                 and no existing object was found",
                resource.qualified()
            );
            return Err(Status { message, ..Status::conflict(resource, name) });
        }
        if self.resource_version.is_some() {
            return Err(Status::conflict(resource, name));
        }
        let mut object = self.object;
        object["metadata"]["name"] = name.into();
        if resource.namespaced {
            object["metadata"]["namespace"] = namespace.into();
        }
        let Checked { object, warnings } = admission::check_new(resource, object, FieldValidation::Ignore)?;
        Ok(Prepared {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            object,
            warnings: self.warnings.into_iter().chain(warnings).collect(),
            resource_version: None,
            uid: None,
            dry_run: options.write.dry_run,
            managed_fields: None,
        })
    }
}

/// What comes of an object when something is applied to it. `live` is the object as it is shown in the version that it is stored
/// in.
///
/// # Errors
/// 409 when others own fields that it has other values for, or another life is meant, 422 when the result is not valid.
pub fn onto(
    resource: &Resource,
    live: &Value,
    applied: &Applied,
    owners: &[Owner],
    options: &ApplyOptions,
) -> Result<Prepared, Status> {
    let (name, namespace) = (live["metadata"]["name"].as_str(), live["metadata"]["namespace"].as_str());
    let (name, namespace) = (name.unwrap_or_default(), namespace.unwrap_or_default());
    if !resource.allows("update") {
        return Err(Status::method_not_allowed(&format!("{} are not changed by clients", resource.plural)));
    }
    if let Some(asked) = applied.uid.as_deref().filter(|asked| live["metadata"]["uid"] != **asked) {
        let found = live["metadata"]["uid"].as_str().unwrap_or_default();
        return Err(Status::uid_conflict(resource, name, asked, found));
    }
    let is_mine = |owner: &&Owner| owner.manager == options.manager && owner.operation == Operation::Apply;
    let others: Vec<&Owner> = owners.iter().filter(|owner| !is_mine(owner)).collect();
    // What is applied is in the words of this version, so it is laid onto what that version shows.
    let shown = convert::from_stored(resource, live);
    let shown = shown.as_ref().unwrap_or(live);
    if !options.force {
        refuse_conflicts(resource, shown, applied, &others, &options.manager)?;
    }
    let mut new = merge::merged(resource.schema, shown, &applied.object);
    if let Some(before) = owners.iter().find(is_mine) {
        let mut theirs = FieldSet::default();
        others.iter().for_each(|owner| theirs.add(&owner.fields));
        merge::prune(resource.schema, &mut new, &before.fields, &applied.fields, &theirs);
    }
    let Checked { object, warnings } = admission::check_update(resource, live, new, FieldValidation::Ignore)?;
    Ok(Prepared {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        object,
        warnings: applied.warnings.iter().cloned().chain(warnings).collect(),
        resource_version: applied.resource_version.clone(),
        uid: applied.uid.clone(),
        dry_run: options.write.dry_run,
        managed_fields: None,
    })
}

fn refuse_conflicts(
    resource: &Resource,
    live: &Value,
    applied: &Applied,
    others: &[&Owner],
    manager: &str,
) -> Result<(), Status> {
    let live = admission::storable(resource, live);
    let last_applied = if manager == KUBECTL { last_applied(resource, &live) } else { None };
    let mut found: Vec<(&Owner, String)> = Vec::new();
    merge::differences(resource.schema, &live, &applied.object, &mut |path| {
        // What kubectl itself put there before it applied at the server is its own.
        let value = |object| merge::value_at(resource.schema, object, path);
        if last_applied.as_ref().is_some_and(|last| value(last).is_some() && value(last) == value(&live)) {
            return;
        }
        let owns = others.iter().filter(|owner| owner.fields.contains(path));
        found.extend(owns.map(|owner| (*owner, field_set::path_text(path))));
    });
    if found.is_empty() {
        return Ok(());
    }
    found.sort_by(|a, b| (&a.0.manager, a.0.operation, &a.1).cmp(&(&b.0.manager, b.0.operation, &b.1)));
    Err(conflict(resource, &found))
}

/// What kubectl says that it applied, if it can be read.
fn last_applied(resource: &Resource, live: &Value) -> Option<Value> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str()?;
    let Value::Object(mut fields) = body::decode_json(text.as_bytes()).ok()? else { return None };
    normalise(resource.schema, &mut fields, FieldValidation::Ignore);
    Some(Value::Object(fields))
}

/// 409, as Kubernetes says it.
fn conflict(resource: &Resource, found: &[(&Owner, String)]) -> Status {
    let with = |owner: &Owner| match owner.operation {
        Operation::Apply => match owners::through(&owner.manager) {
            (manager, "") => format!("{manager:?}"),
            (manager, part) => format!("{manager:?} with subresource \"{part}\" using {}", resource.api_version()),
        },
        Operation::Update => format!("{:?} using {}", owner.manager, resource.api_version()),
    };
    let message = match found {
        [(owner, path)] => format!("Apply failed with 1 conflict: conflict with {}: {path}", with(owner)),
        _ => {
            let mut lines = Vec::new();
            let mut last = None;
            for (owner, path) in found.iter().take(MAX_CAUSES) {
                let owner = with(owner);
                if last.as_ref() != Some(&owner) {
                    lines.push(format!("conflicts with {owner}:"));
                    last = Some(owner);
                }
                lines.push(format!("- {path}"));
            }
            format!("Apply failed with {} conflicts: {}", found.len(), lines.join("\n"))
        }
    };
    let cause = |(owner, path): &(&Owner, String)| Cause {
        reason: "FieldManagerConflict",
        message: format!("conflict with {}", with(owner)),
        field: path.clone(),
    };
    let causes = found.iter().take(MAX_CAUSES).map(cause).collect();
    Status::new(409, "Conflict", message).with(Details { causes, ..Details::default() })
}

fn options_invalid(problem: Problem) -> Status {
    Status::invalid("meta.k8s.io", "PatchOptions", "", &[problem])
}

#[cfg(test)]
mod tests;
