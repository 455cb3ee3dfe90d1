//! Get, list and watch: objects in the form that a client wants, with this peer's resourceVersions.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use skein_kube::apply::owners;
use skein_kube::convert;
use skein_kube::field_selector::FieldSelector;
use skein_kube::negotiate::{self, parse_accept};
use skein_kube::resource::Resource;
use skein_kube::selector::LabelSelector;
use skein_kube::status::Status;
use skein_kube::table::{self, IncludeObject};

use super::answer::{Answer, Versioned, bytes_answer, json_answer, set_version};
use super::backend::{ApiRef, Authored, Rendered};
use super::routes::{Asked, Target};
use super::shell::{Shell, now_ms};
use super::watch::{self, Begin, Selects, Shape, WatchRequest};

/// The form in which a client wants objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Object,
    Metadata,
    Table(negotiate::TableVersion, IncludeObject),
}

/// The objects that a client asked for.
struct Selector {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selector {
    fn of(asked: &Asked<'_>) -> Result<Self, Status> {
        let labels = LabelSelector::parse(asked.query.get("labelSelector").unwrap_or_default());
        Ok(Selector {
            labels: labels.map_err(|error| Status::bad_request(error.to_string()))?,
            fields: asked.fields.clone().map_err(|error| Status::bad_request(error.to_string()))?,
        })
    }

    fn selects(&self, object: &Value) -> bool {
        self.labels.matches(&object["metadata"]["labels"]) && self.fields.matches(object)
    }
}

/// One object, or 404.
///
/// # Errors
/// When it does not exist, or the daemon stops.
pub async fn object(shell: &Shell, target: &Target) -> Result<Arc<Rendered>, Status> {
    let found = shell.backend.get(target.object.clone()).await?;
    found.ok_or_else(|| Status::not_found(target.resource, target.name()))
}

/// One object with its `managedFields`, and what they follow from, or 404. Only single objects have them: a list of ten
/// thousand pods would become three times as long by them.
///
/// # Errors
/// As [`object`].
pub async fn managed(shell: &Shell, target: &Target) -> Result<(Rendered, Authored), Status> {
    let found = shell.backend.authored(target.object.clone()).await?;
    let (object, authored) = found.ok_or_else(|| Status::not_found(target.resource, target.name()))?;
    Ok((with_managed_fields(target.resource, &object, &authored), authored))
}

/// An object with its `managedFields`.
#[must_use]
pub fn with_managed_fields(resource: &Resource, object: &Rendered, authored: &Authored) -> Rendered {
    let owners = owners::owners(resource, authored);
    if owners.is_empty() {
        return object.clone();
    }
    let mut value = (*object.value).clone();
    value["metadata"]["managedFields"] = owners::managed_fields(resource, &owners);
    Rendered { value: Arc::new(value), ..object.clone() }
}

/// Answers a get.
///
/// # Errors
/// When the object does not exist or the form cannot be had.
pub async fn get(shell: &Shell, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
    let form = form(asked)?;
    let object = match form {
        Form::Table(..) => object(shell, target).await?,
        Form::Object | Form::Metadata => Arc::new(managed(shell, target).await?.0),
    };
    let mut bytes = Vec::new();
    let version = shell.hub.version_of(object.stamp);
    write_object(target.resource, form, &object.value, version, true, &mut bytes);
    Ok(bytes_answer(StatusCode::OK, "application/json", bytes))
}

/// Answers a request with an object as it is, after a write.
#[must_use]
pub fn object_answer(shell: &Shell, resource: &Resource, code: StatusCode, object: &Rendered) -> Answer {
    let version = shell.hub.version_of(object.stamp);
    let converted = convert::from_stored(resource, &object.value);
    json_answer(code, &Versioned { value: converted.as_ref().unwrap_or(&object.value), version })
}

/// Answers a list. A limit is not applied, so that no list is ever continued.
///
/// # Errors
/// When the selector, the form or the version cannot be had.
pub async fn list(
    shell: &Shell,
    asked: &Asked<'_>,
    resource: &Resource,
    namespace: Option<Arc<str>>,
) -> Result<Answer, Status> {
    let form = form(asked)?;
    let selector = Selector::of(asked)?;
    // Before the list is read: it holds at least what the log holds now.
    let version = shell.hub.version();
    let exact = asked.query.get("resourceVersionMatch") == Some("Exact");
    if let Some(wanted) = resource_version(asked)?
        && exact
        && wanted != version
    {
        return Err(Status::expired("The resourceVersion for the provided list is too old."));
    }
    if asked.query.get("continue").is_some_and(|token| !token.is_empty()) {
        return Err(Status::expired("this peer continues no lists: it never cuts one; list again"));
    }
    // All is answered at once, which the limit allows; what is no limit is a mistake all the same.
    asked.query.number("limit")?;
    let objects = selection(shell, resource, namespace, &selector).await?;
    let bytes = match form {
        Form::Table(kind, include) => rows(shell, resource, &objects, (kind, include), version),
        Form::Object | Form::Metadata => items(shell, resource, &objects, form, version),
    };
    Ok(bytes_answer(StatusCode::OK, "application/json", bytes))
}

async fn selection(
    shell: &Shell,
    resource: &Resource,
    namespace: Option<Arc<str>>,
    selector: &Selector,
) -> Result<Vec<Arc<Rendered>>, Status> {
    let namespace_is_said = namespace.is_some() || !resource.namespaced;
    let mut objects = match selector.fields.name().filter(|_| namespace_is_said) {
        // Clients that follow one object list it by its name: that costs what the object costs, not what there is beside it.
        Some(name) => {
            let namespace = namespace.unwrap_or_default();
            let object = ApiRef { kind: resource.kind(), namespace, name: name.into() };
            shell.backend.get(object).await?.into_iter().collect()
        }
        None => shell.backend.list(resource.kind(), namespace).await?,
    };
    objects.retain(|object| selector.selects(&object.value));
    Ok(objects)
}

/// All objects of a list that a selector selects.
///
/// # Errors
/// When the selector cannot be read.
pub async fn selected(
    shell: &Shell,
    asked: &Asked<'_>,
    resource: &Resource,
    namespace: Option<Arc<str>>,
) -> Result<Vec<Arc<Rendered>>, Status> {
    let selector = Selector::of(asked)?;
    selection(shell, resource, namespace, &selector).await
}

/// Answers a watch.
///
/// # Errors
/// When the selector or the form cannot be had, or too many watches are open.
pub async fn watch(
    shell: &Arc<Shell>,
    asked: &Asked<'_>,
    resource: &'static Resource,
    namespace: Option<Arc<str>>,
) -> Result<Answer, Status> {
    let form = form(asked)?;
    let selector = Selector::of(asked)?;
    let wants_initial = asked.query.get("sendInitialEvents").filter(|text| !text.is_empty());
    let sends_initial = wants_initial.is_some() && asked.query.flag("sendInitialEvents")?;
    let begin = match resource_version(asked)? {
        _ if sends_initial => Begin::Present,
        Some(version) => Begin::After(version),
        None if wants_initial.is_some() => Begin::Now,
        None => Begin::Present,
    };
    let bookmarks = asked.query.flag("allowWatchBookmarks")?;
    let request = WatchRequest {
        kind: resource.kind(),
        namespace,
        type_meta: match form {
            Form::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata".to_owned()),
            Form::Object | Form::Table(..) => (resource.api_version(), resource.kind_name.to_owned()),
        },
        selects: selects(selector),
        shape: shape(resource, form),
        begin,
        // A client that begins with what is there and knows bookmarks learns at once where it stands, since the versions
        // of old objects are no places in the log.
        mark: (bookmarks && begin == Begin::Present).then_some(sends_initial),
        bookmarks,
        timeout: asked.query.number("timeoutSeconds")?.filter(|s| *s > 0).map(Duration::from_secs),
    };
    watch::serve(shell, asked.call, request).await
}

fn selects(selector: Selector) -> Selects {
    Box::new(move |object| selector.selects(object))
}

fn shape(resource: &'static Resource, form: Form) -> Shape {
    Box::new(move |object, version, first, bytes| write_object(resource, form, object, version, first, bytes))
}

fn form(asked: &Asked<'_>) -> Result<Form, Status> {
    let form = negotiate::form(&parse_accept(asked.accept)).ok_or_else(Status::not_acceptable)?;
    Ok(match form {
        negotiate::Form::Object => Form::Object,
        negotiate::Form::Metadata => Form::Metadata,
        negotiate::Form::Table(version) => {
            let text = asked.query.get("includeObject").unwrap_or_default();
            let wrong =
                || Status::bad_request(format!("includeObject: \"{text}\" is not one of None, Metadata, Object"));
            Form::Table(version, IncludeObject::parse(text).ok_or_else(wrong)?)
        }
    })
}

/// The resourceVersion of the query; `None` for none, empty and 0, which mean "any".
fn resource_version(asked: &Asked<'_>) -> Result<Option<u64>, Status> {
    let Some(text) = asked.query.get("resourceVersion").filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = |_| Status::bad_request(format!("resourceVersion: Invalid value: \"{text}\": not a whole number"));
    text.parse().map(|version: u64| (version > 0).then_some(version)).map_err(wrong)
}

/// Writes one object in a form.
fn write_object(resource: &Resource, form: Form, object: &Value, version: u64, columns: bool, bytes: &mut Vec<u8>) {
    // Writing into memory does not fail.
    let _ = match form {
        Form::Object => {
            let converted = convert::from_stored(resource, object);
            let value = converted.as_ref().unwrap_or(object);
            serde_json::to_writer(bytes, &Versioned { value, version })
        }
        Form::Metadata => serde_json::to_writer(bytes, &Versioned { value: &partial(object), version }),
        Form::Table(kind, include) => {
            let mut table = table::render(resource, &[object], include, columns, kind, now_ms());
            set_table_versions(&mut table, version, std::iter::once(version));
            serde_json::to_writer(bytes, &table)
        }
    };
}

fn rows(
    shell: &Shell,
    resource: &Resource,
    objects: &[Arc<Rendered>],
    (kind, include): (negotiate::TableVersion, IncludeObject),
    version: u64,
) -> Vec<u8> {
    let values: Vec<&Value> = objects.iter().map(|object| &*object.value).collect();
    let mut table = table::render(resource, &values, include, true, kind, now_ms());
    set_table_versions(&mut table, version, objects.iter().map(|object| shell.hub.version_of(object.stamp)));
    serde_json::to_vec(&table).unwrap_or_default()
}

fn set_table_versions(table: &mut Value, version: u64, rows: impl Iterator<Item = u64>) {
    if !table["metadata"].is_object() {
        table["metadata"] = json!({});
    }
    set_version(table, version);
    let Some(all) = table["rows"].as_array_mut() else { return };
    for (row, version) in all.iter_mut().zip(rows) {
        set_version(&mut row["object"], version);
    }
}

/// A list, written object by object: a copy of ten thousand pods would cost more than reading them.
fn items(shell: &Shell, resource: &Resource, objects: &[Arc<Rendered>], form: Form, version: u64) -> Vec<u8> {
    let (kind, api_version) = match form {
        Form::Metadata => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
        _ => (resource.kind_name.to_owned(), resource.api_version()),
    };
    let mut bytes = Vec::new();
    // Writing into memory does not fail.
    let _ = write!(
        bytes,
        "{{\"kind\":\"{kind}List\",\"apiVersion\":\"{api_version}\",\"metadata\":{{\"resourceVersion\":\"{version}\"}},\"items\":["
    );
    for (i, object) in objects.iter().enumerate() {
        if i > 0 {
            bytes.push(b',');
        }
        let version = shell.hub.version_of(object.stamp);
        write_object(resource, form, &object.value, version, false, &mut bytes);
    }
    bytes.extend(b"]}");
    bytes
}

fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}
