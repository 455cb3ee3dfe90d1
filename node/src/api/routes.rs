//! Which verb a request is: the path's meaning and the method, to the function that carries it out.

use std::sync::Arc;

use axum::http::{Method, StatusCode, header};
use serde_json::Value;
use skein_kube::admission::WriteOptions;
use skein_kube::field_selector::{FieldSelector, FieldSelectorError};
use skein_kube::resource::{MEASURED, Resource, Subresource, TOKEN_REVIEWS};
use skein_kube::status::Status;
use skein_kube::{body, review};

use super::answer::{Answer, bytes_answer, json_answer};
use super::backend::ApiRef;
use super::paths::{self, Route};
use super::query::Query;
use super::shell::{Call, Shell};
use super::{access, ephemeral, logs, read, remove, scale, streams, usage, write};

/// A request whose path and query have been read.
pub struct Asked<'a> {
    /// The request.
    pub call: &'a Call,
    /// Its query.
    pub query: Query,
    /// Its `Accept` header; empty when there is none.
    pub accept: &'a str,
    /// The fields by which it selects, read once: whether it is allowed is decided on what is then carried out.
    pub fields: Result<FieldSelector, FieldSelectorError>,
}

impl Asked<'_> {
    /// Its content type, if it names one.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.call.header(header::CONTENT_TYPE.as_str())
    }

    /// How the client wants its write to be taken.
    ///
    /// # Errors
    /// When it says what cannot be.
    pub fn write_options(&self) -> Result<WriteOptions, Status> {
        WriteOptions::of_query(self.query.iter())
    }
}

/// An object that a request is about.
#[derive(Debug)]
pub struct Target {
    /// Its resource, in the version that was asked for.
    pub resource: &'static Resource,
    /// Its name.
    pub object: ApiRef,
}

impl Target {
    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.object.name
    }
}

/// Answers a request of Kubernetes' API.
///
/// # Errors
/// When the path leads nowhere, the method is not one for it, or the verb failed.
pub async fn serve(shell: &Arc<Shell>, call: Call) -> Result<Answer, Status> {
    let query = Query::parse(call.uri.query())?;
    let accept = call.header(header::ACCEPT.as_str()).unwrap_or_default();
    let route = paths::parse(call.path(), accept)?;
    let fields = match route {
        Route::Collection { resource, .. } => {
            FieldSelector::parse(usage::measured(resource), query.get("fieldSelector").unwrap_or_default())
        }
        _ => Ok(FieldSelector::default()),
    };
    let asked = Asked { call: &call, query, accept, fields };
    access::permit_route(shell, &asked, &route).await?;
    match route {
        Route::Document(content_type, text) if reads(&call) => Ok(bytes_answer(StatusCode::OK, &content_type, text)),
        Route::Review { resource, namespace } if call.method == Method::POST => {
            let body = body::decode(asked.content_type(), &call.body)?;
            let answer = answer_review(shell, &call, resource, namespace.as_deref().unwrap_or_default(), body).await?;
            Ok(json_answer(StatusCode::CREATED, &answer))
        }
        Route::Collection { resource, namespace } => collection(shell, &asked, resource, namespace).await,
        Route::Object { resource, namespace, name, part } => {
            let object = ApiRef { kind: resource.kind(), namespace, name };
            let target = Target { resource, object };
            match part {
                None => object_verb(shell, &asked, &target).await,
                Some(part) => part_verb(shell, &asked, &target, part).await,
            }
        }
        Route::Document(..) | Route::Review { .. } => Err(not_allowed(&call)),
    }
}

async fn answer_review(
    shell: &Arc<Shell>,
    call: &Call,
    resource: &'static Resource,
    namespace: &str,
    body: Value,
) -> Result<Value, Status> {
    if *resource == TOKEN_REVIEWS {
        return access::tokens::review(shell, body).await;
    }
    let known = shell.known.now(&*shell.backend).await?;
    review::answer(resource, body, namespace, &call.caller.user, &known.policy)
}

async fn collection(
    shell: &Arc<Shell>,
    asked: &Asked<'_>,
    resource: &'static Resource,
    namespace: Option<Arc<str>>,
) -> Result<Answer, Status> {
    match asked.call.method {
        _ if reads(asked.call) && MEASURED.contains(&resource) => usage::list(shell, asked, resource, namespace).await,
        _ if MEASURED.contains(&resource) => Err(not_allowed(asked.call)),
        _ if reads(asked.call) && asked.query.flag("watch")? => read::watch(shell, asked, resource, namespace).await,
        _ if reads(asked.call) => read::list(shell, asked, resource, namespace).await,
        Method::POST => write::create(shell, asked, resource, namespace).await,
        Method::DELETE => remove::collection(shell, asked, resource, namespace).await,
        _ => Err(not_allowed(asked.call)),
    }
}

async fn object_verb(shell: &Arc<Shell>, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
    match asked.call.method {
        _ if reads(asked.call) && MEASURED.contains(&target.resource) => usage::get(shell, asked, target).await,
        _ if MEASURED.contains(&target.resource) => Err(not_allowed(asked.call)),
        _ if reads(asked.call) => read::get(shell, asked, target).await,
        Method::PUT => write::replace(shell, asked, target).await,
        Method::PATCH => write::patch(shell, asked, target).await,
        Method::DELETE => remove::one(shell, asked, target).await,
        _ => Err(not_allowed(asked.call)),
    }
}

async fn part_verb(
    shell: &Arc<Shell>,
    asked: &Asked<'_>,
    target: &Target,
    part: Subresource,
) -> Result<Answer, Status> {
    match (part, &asked.call.method) {
        (Subresource::Status, _) if reads(asked.call) => read::get(shell, asked, target).await,
        (Subresource::Status, _) => {
            let why = "a status is what nodes report and what follows from it; it cannot be written";
            Err(Status::method_not_allowed(why))
        }
        (Subresource::Scale, _) if reads(asked.call) => scale::get(shell, target).await,
        (Subresource::Scale, &Method::PUT) => scale::replace(shell, asked, target).await,
        (Subresource::Scale, &Method::PATCH) => scale::patch(shell, asked, target).await,
        (Subresource::Log, &Method::GET) => {
            let pod = read::object(shell, target).await?;
            logs::serve(shell, asked.call, &pod, &asked.query).await
        }
        (Subresource::Attach | Subresource::Exec | Subresource::PortForward, &Method::GET | &Method::POST) => {
            let pod = read::object(shell, target).await?;
            streams::serve(shell, asked, &pod, part).await
        }
        (Subresource::EphemeralContainers, _) if reads(asked.call) => read::get(shell, asked, target).await,
        (Subresource::EphemeralContainers, &Method::PUT | &Method::PATCH) => {
            ephemeral::change(shell, asked, target).await
        }
        (Subresource::Token, &Method::POST) => access::tokens::create(shell, asked, target).await,
        (Subresource::Eviction, &Method::POST) => remove::evict(shell, asked, target).await,
        _ => Err(not_allowed(asked.call)),
    }
}

fn reads(call: &Call) -> bool {
    matches!(call.method, Method::GET | Method::HEAD)
}

fn not_allowed(call: &Call) -> Status {
    Status::method_not_allowed(call.method.as_str())
}
