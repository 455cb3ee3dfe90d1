//! Who asks, and whether they may: the caller of a request, what its route asks for, and the decision. The rules are
//! Kubernetes' and live in `skein-kube`.

use axum::http::Method;
use skein_kube::authorize::{Action, User};
use skein_kube::field_selector::FieldSelector;
use skein_kube::resource::{self, Resource, Subresource};
use skein_kube::status::Status;

use super::paths::Route;
use super::routes::Asked;
use super::shell::Shell;

pub mod authenticate;
pub mod credential;
pub mod escalate;
pub mod impersonate;
pub mod known;
pub mod pod_account;
pub mod tokens;

/// Who asks, as what follows takes them, and who they are besides if they act as somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose rights count.
    pub user: User,
    /// Who acts as that user.
    pub by: Option<User>,
}

impl Caller {
    /// Somebody who is themselves.
    #[must_use]
    pub fn of(user: User) -> Self {
        Caller { user, by: None }
    }

    /// Who they are themselves.
    #[must_use]
    pub fn own(&self) -> &User {
        self.by.as_ref().unwrap_or(&self.user)
    }
}

/// Refuses what somebody may not do.
///
/// # Errors
/// 403 in the words of a real server.
pub async fn permit(shell: &Shell, user: &User, action: &Action<'_>) -> Result<(), Status> {
    // The administrator waits for nothing.
    if user.is_master() {
        return Ok(());
    }
    let known = shell.known.now(&*shell.backend).await?;
    match known.policy.allows(user, action) {
        Some(_) => Ok(()),
        None => {
            shell.metrics.api_forbidden.increment();
            Err(action.refusal(user))
        }
    }
}

/// Refuses a request that its caller may not make.
///
/// # Errors
/// As [`permit`].
pub async fn permit_route(shell: &Shell, asked: &Asked<'_>, route: &Route) -> Result<(), Status> {
    let user = &asked.call.caller.user;
    if user.is_master() {
        return Ok(());
    }
    let action = action_of(asked, route);
    permit(shell, user, &action).await?;
    // A WebSocket cannot be opened by a POST. Who opens one to run a command must be allowed to run it.
    match (route, action) {
        (
            Route::Object { part: Some(Subresource::Exec | Subresource::Attach | Subresource::PortForward), .. },
            Action::Resource { verb: "get", group, resource, subresource, namespace, name },
        ) => {
            let creates = Action::Resource { verb: "create", group, resource, subresource, namespace, name };
            permit(shell, user, &creates).await
        }
        _ => Ok(()),
    }
}

/// What a request asks for.
#[must_use]
pub fn action_of<'a>(asked: &'a Asked<'_>, route: &'a Route) -> Action<'a> {
    let method = &asked.call.method;
    match route {
        Route::Document(..) => match definitions_of(asked.call.path()) {
            Some(resource) => Action::Resource {
                verb: verb_of(method),
                group: resource,
                resource: "customresourcedefinitions",
                subresource: "",
                namespace: "",
                name: "",
            },
            None => path_action(method, asked.call.path()),
        },
        Route::Review { resource, namespace } => {
            on(resource, verb_of(method), namespace.as_deref().unwrap_or_default(), "", None)
        }
        Route::Collection { resource, namespace } => {
            let (verb, name) = match verb_of(method) {
                "get" if asked.query.flag("watch").unwrap_or(false) => ("watch", selected_name(asked)),
                "get" => ("list", selected_name(asked)),
                "delete" => ("deletecollection", ""),
                other => (other, ""),
            };
            // What is selected by name is listed where the path says, also of namespaces: no role within one allows that.
            on(resource, verb, namespace.as_deref().unwrap_or_default(), name, None)
        }
        Route::Object { resource, namespace, name, part } => {
            on_object(resource, verb_of(method), namespace, name, *part)
        }
    }
}

/// What a request for a path asks for that is no resource's.
#[must_use]
pub fn path_action<'a>(method: &Method, path: &'a str) -> Action<'a> {
    let verb = match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        // Only who may do everything may do this.
        _ => "",
    };
    Action::Path { verb, path: if path.is_empty() { "/" } else { path } }
}

/// A verb on one object.
#[must_use]
pub fn on_object<'a>(
    resource: &'static Resource,
    verb: &'a str,
    namespace: &'a str,
    name: &'a str,
    part: Option<Subresource>,
) -> Action<'a> {
    // A namespace is in itself, so that who has a role in it may be allowed to see it.
    let namespace = if *resource == resource::NAMESPACES { name } else { namespace };
    on(resource, verb, namespace, name, part)
}

/// A verb on a resource.
#[must_use]
pub fn on<'a>(
    resource: &'static Resource,
    verb: &'a str,
    namespace: &'a str,
    name: &'a str,
    part: Option<Subresource>,
) -> Action<'a> {
    let info = part.and_then(|part| resource.subresources.iter().find(|info| info.part == part));
    Action::Resource {
        verb,
        group: resource.group,
        resource: resource.plural,
        subresource: info.map_or("", |info| info.name),
        namespace,
        name,
    }
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// The one object that a list or a watch is about, as its field selector says: the very one that then selects. One that cannot
/// be read names nothing, and is refused once the caller may list everything.
fn selected_name<'a>(asked: &'a Asked<'_>) -> &'a str {
    asked.fields.as_ref().ok().and_then(FieldSelector::name).unwrap_or_default()
}

/// The list of kinds of users' own, which is a document here and a resource to clients.
fn definitions_of(path: &str) -> Option<&'static str> {
    let group = "apiextensions.k8s.io";
    path.strip_prefix("/apis/")?.strip_prefix(group)?.ends_with("/customresourcedefinitions").then_some(group)
}
