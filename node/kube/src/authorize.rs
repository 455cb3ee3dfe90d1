//! Who may do what: Kubernetes' role-based access control, decided from its four kinds of objects. Rules only allow, so
//! what nobody allowed is refused.
//!
//! Who somebody is, and what a request asks for, is found out by the API; here values come in and a decision leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::selector::LabelSelector;
use crate::status::{Details, Status};

pub mod built_in;
pub mod cover;
mod rule;

pub use rule::Rule;

/// The group of those who may do everything, whatever is stored.
pub const MASTERS: &str = "system:masters";
/// The group of all who showed who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// What the names of service accounts begin with when they act as users.
pub const ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// The group of all service accounts; with `:NAMESPACE` behind it, of those of a namespace.
pub const ACCOUNTS: &str = "system:serviceaccounts";

/// Somebody who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// The name.
    pub name: String,
    /// What tells its life from that of another of the same name; empty when nothing does.
    pub uid: String,
    /// The groups, each once.
    pub groups: Vec<String>,
}

impl User {
    /// Somebody with these groups, and with that of all who showed who they are.
    pub fn new(name: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let mut user = User { name: name.into(), ..User::default() };
        for group in groups.into_iter().chain([AUTHENTICATED.to_owned()]) {
            if !user.groups.contains(&group) {
                user.groups.push(group);
            }
        }
        user
    }

    /// A service account as a user.
    #[must_use]
    pub fn account(namespace: &str, name: &str) -> Self {
        User::new(
            format!("{ACCOUNT_PREFIX}{namespace}:{name}"),
            [ACCOUNTS.to_owned(), format!("{ACCOUNTS}:{namespace}")],
        )
    }

    /// Whether this user may do everything.
    #[must_use]
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }
}

/// The namespace and the name of a service account, if a user name is one's.
#[must_use]
pub fn account_of(user: &str) -> Option<(&str, &str)> {
    let account = user.strip_prefix(ACCOUNT_PREFIX)?.split_once(':');
    account.filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
}

/// What somebody would do. Texts that do not apply are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// A verb on a resource.
    Resource {
        /// `get`, `list`, `create`; in reviews anything.
        verb: &'a str,
        /// The API group; empty for the core group.
        group: &'a str,
        /// `pods`.
        resource: &'a str,
        /// `log`.
        subresource: &'a str,
        /// The namespace; empty: the cluster, or all namespaces.
        namespace: &'a str,
        /// The object's name, where a request names one.
        name: &'a str,
    },
    /// A verb on a path that is no resource's.
    Path {
        /// The HTTP method in small letters.
        verb: &'a str,
        /// The path.
        path: &'a str,
    },
}

impl Action<'_> {
    /// The refusal, in the words of a real server.
    #[must_use]
    pub fn refusal(&self, user: &User) -> Status {
        let who = format!("User {:?}", user.name);
        match *self {
            Action::Path { verb, path } => {
                let message = format!("forbidden: {who} cannot {verb} path {path:?}");
                Status::new(403, "Forbidden", message).with(Details::default())
            }
            Action::Resource { verb, group, resource, subresource, namespace, name } => {
                let part = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
                let place = match namespace {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace {namespace:?}"),
                };
                let what = format!("{who} cannot {verb} resource \"{resource}{part}\" in API group {group:?} {place}");
                let dot = if group.is_empty() { "" } else { "." };
                let named = if name.is_empty() { String::new() } else { format!(" {name:?}") };
                let message = format!("{resource}{dot}{group}{named} is forbidden: {what}");
                let details =
                    Details { name: name.into(), group: group.into(), kind: resource.into(), ..Details::default() };
                Status::new(403, "Forbidden", message).with(details)
            }
        }
    }
}

/// The objects that decide, as clients see them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Objects<'a> {
    /// ClusterRoles. Those that are built in need not be among them.
    pub cluster_roles: &'a [&'a Value],
    /// ClusterRoleBindings. Those that are built in need not be among them.
    pub cluster_role_bindings: &'a [&'a Value],
    /// Roles.
    pub roles: &'a [&'a Value],
    /// RoleBindings.
    pub role_bindings: &'a [&'a Value],
}

/// All that anybody may do, arranged by who.
#[derive(Debug, Default)]
pub struct Policy {
    users: BTreeMap<String, Vec<Grant>>,
    groups: BTreeMap<String, Vec<Grant>>,
    cluster_roles: BTreeMap<String, Arc<[Rule]>>,
    roles: BTreeMap<(String, String), Arc<[Rule]>>,
}

/// What one binding gives to one subject.
#[derive(Debug)]
struct Grant {
    /// Where; `None`: everywhere.
    namespace: Option<String>,
    rules: Arc<[Rule]>,
    /// For people.
    reason: String,
}

impl Policy {
    /// What these objects and the built-in ones allow. A stored object of a built-in one's name is in its place. What
    /// cannot be read allows nothing.
    #[must_use]
    pub fn new(objects: Objects<'_>) -> Self {
        let roles = built_in::cluster_roles();
        let roles: BTreeMap<&str, &Value> = named(roles.iter().chain(objects.cluster_roles.iter().copied()));
        let mut policy = Policy::default();
        for name in roles.keys() {
            policy.cluster_roles.insert((*name).to_owned(), aggregated(&roles, name).into());
        }
        for role in objects.roles {
            let (namespace, name) = (text(&role["metadata"], "namespace"), text(&role["metadata"], "name"));
            policy.roles.insert((namespace.to_owned(), name.to_owned()), rule::rules_of(role).into());
        }
        let bindings = built_in::cluster_role_bindings();
        let bindings = named(bindings.iter().chain(objects.cluster_role_bindings.iter().copied()));
        for binding in bindings.into_values() {
            policy.bind(binding, None);
        }
        for binding in objects.role_bindings {
            policy.bind(binding, Some(text(&binding["metadata"], "namespace")));
        }
        policy
    }

    /// Why somebody may do something; `None`: they may not.
    #[must_use]
    pub fn allows<'s>(&'s self, user: &User, action: &Action<'_>) -> Option<&'s str> {
        if user.is_master() {
            return Some("");
        }
        let namespace = match action {
            Action::Resource { namespace, .. } => *namespace,
            Action::Path { .. } => "",
        };
        let grant = self.grants(user, namespace).find(|grant| grant.rules.iter().any(|rule| rule.allows(action)))?;
        Some(&grant.reason)
    }

    /// The rules that hold for somebody in a namespace, those of the cluster included.
    #[must_use]
    pub fn rules_of(&self, user: &User, namespace: &str) -> Vec<Rule> {
        if user.is_master() {
            return self.cluster_roles.get("cluster-admin").map_or_else(Vec::new, |rules| rules.to_vec());
        }
        let mut found: Vec<Rule> = Vec::new();
        for rule in self.grants(user, namespace).flat_map(|grant| grant.rules.iter()) {
            if !found.contains(rule) {
                found.push(rule.clone());
            }
        }
        found
    }

    /// The rules of the role that a binding in a namespace refers to; `None`: there is no such role.
    #[must_use]
    pub fn referred(&self, role_ref: &Value, namespace: &str) -> Option<Arc<[Rule]>> {
        let name = text(role_ref, "name");
        match text(role_ref, "kind") {
            "ClusterRole" => self.cluster_roles.get(name).cloned(),
            "Role" => self.roles.get(&(namespace.to_owned(), name.to_owned())).cloned(),
            _ => None,
        }
    }

    fn grants<'s, 'u>(&'s self, user: &'u User, namespace: &'u str) -> impl Iterator<Item = &'s Grant> + use<'s, 'u> {
        let own = self.users.get(&user.name).into_iter();
        let through = user.groups.iter().filter_map(|group| self.groups.get(group));
        let holds = move |grant: &&Grant| {
            grant.namespace.as_deref().is_none_or(|within| !namespace.is_empty() && within == namespace)
        };
        own.chain(through).flatten().filter(holds)
    }

    fn bind(&mut self, binding: &Value, namespace: Option<&str>) {
        let Some(rules) = self.referred(&binding["roleRef"], namespace.unwrap_or_default()) else { return };
        let (name, role) = (text(&binding["metadata"], "name"), &binding["roleRef"]);
        let through = match namespace {
            Some(namespace) => format!("RoleBinding \"{name}/{namespace}\""),
            None => format!("ClusterRoleBinding {name:?}"),
        };
        for subject in binding["subjects"].as_array().into_iter().flatten() {
            let (kind, who) = (text(subject, "kind"), text(subject, "name"));
            let (by, key) = match kind {
                "User" => (&mut self.users, who.to_owned()),
                "Group" => (&mut self.groups, who.to_owned()),
                "ServiceAccount" => {
                    let named = text(subject, "namespace");
                    let within = if named.is_empty() { namespace.unwrap_or_default() } else { named };
                    if within.is_empty() {
                        continue;
                    }
                    (&mut self.users, format!("{ACCOUNT_PREFIX}{within}:{who}"))
                }
                _ => continue,
            };
            let reason = format!(
                "RBAC: allowed by {through} of {} {:?} to {kind} {who:?}",
                text(role, "kind"),
                text(role, "name")
            );
            let grant = Grant { namespace: namespace.map(str::to_owned), rules: rules.clone(), reason };
            by.entry(key).or_default().push(grant);
        }
    }
}

/// Objects by name; of two the later.
fn named<'a>(objects: impl Iterator<Item = &'a Value>) -> BTreeMap<&'a str, &'a Value> {
    objects.map(|object| (text(&object["metadata"], "name"), object)).collect()
}

/// A role's rules. One that is made of others has theirs and none of its own, however many lie in between.
fn aggregated(roles: &BTreeMap<&str, &Value>, name: &str) -> Vec<Rule> {
    let (mut seen, mut open) = (BTreeSet::from([name]), vec![name]);
    let mut found: Vec<Rule> = Vec::new();
    while let Some(name) = open.pop() {
        let Some(role) = roles.get(name) else { continue };
        let Some(selectors) = role["aggregationRule"]["clusterRoleSelectors"].as_array() else {
            for rule in rule::rules_of(role) {
                if !found.contains(&rule) {
                    found.push(rule);
                }
            }
            continue;
        };
        let selectors: Vec<_> = selectors.iter().filter_map(|selector| LabelSelector::of(selector).ok()).collect();
        for (other, role) in roles {
            let labels = &role["metadata"]["labels"];
            if selectors.iter().any(|selector| selector.matches(labels)) && seen.insert(other) {
                open.push(other);
            }
        }
    }
    found
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests;
