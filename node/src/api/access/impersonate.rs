//! Acting as somebody else (`kubectl --as`): who may impersonate whom is asked like anything else, for each name and each
//! group that a request takes on.

use axum::http::HeaderMap;
use skein_kube::authorize::{Action, User, account_of};
use skein_kube::status::Status;

use super::super::shell::Shell;
use super::{Caller, permit};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
/// The most groups that are taken on at once.
const MAX_GROUPS: usize = 64;
/// The user that nobody is, and its group.
const ANONYMOUS: &str = "system:anonymous";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Who a request is to be taken for.
///
/// # Errors
/// 403 when its sender may not act as somebody, 400 when the headers make no sense or ask for what is not kept here.
pub async fn caller(shell: &Shell, user: User, headers: &HeaderMap) -> Result<Caller, Status> {
    let texts = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().map(str::to_owned));
    let wrong = |_| Status::bad_request("an Impersonate header is not text");
    let groups: Vec<String> = texts(GROUP).collect::<Result<_, _>>().map_err(wrong)?;
    let name = texts(USER).next().transpose().map_err(wrong)?.unwrap_or_default();
    if headers.contains_key(UID) || headers.keys().any(|key| key.as_str().starts_with(EXTRA)) {
        return Err(Status::bad_request("skein keeps neither uids nor extra fields of users: leave those headers out"));
    }
    if name.is_empty() {
        if groups.is_empty() {
            return Ok(Caller::of(user));
        }
        let message = format!("requested {groups:?} without impersonating a user name");
        return Err(Status::bad_request(message));
    }
    if groups.len() > MAX_GROUPS {
        return Err(Status::bad_request(format!("more than {MAX_GROUPS} groups cannot be impersonated at once")));
    }
    let (resource, namespace, own) = match account_of(&name) {
        Some((namespace, account)) => ("serviceaccounts", namespace, account),
        None => ("users", "", name.as_str()),
    };
    permit(shell, &user, &impersonates(resource, namespace, own)).await?;
    for group in &groups {
        permit(shell, &user, &impersonates("groups", "", group)).await?;
    }
    let taken = match account_of(&name) {
        Some((namespace, account)) if groups.is_empty() => User::account(namespace, account),
        _ if name == ANONYMOUS => {
            let groups = groups.into_iter().chain([UNAUTHENTICATED.to_owned()]).collect();
            User { name, groups, ..User::default() }
        }
        _ => User::new(name, groups),
    };
    Ok(Caller { user: taken, by: Some(user) })
}

fn impersonates<'a>(resource: &'a str, namespace: &'a str, name: &'a str) -> Action<'a> {
    Action::Resource { verb: "impersonate", group: "", resource, subresource: "", namespace, name }
}
