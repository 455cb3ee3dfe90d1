//! Nobody gives away more than they have: who writes a role must hold all that is in it, and who binds one all that is in
//! that, unless the verbs `escalate` and `bind` are allowed to them.

use serde_json::Value;
use skein_kube::authorize::{Action, Rule, User, cover};
use skein_kube::resource::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES, Resource};
use skein_kube::status::Status;

use super::super::routes::Target;
use super::super::shell::Shell;
use super::on;

/// The most missing rules that a refusal lists.
const MAX_LISTED: usize = 16;

/// Refuses a role or a binding that gives more than its author holds. Other kinds pass.
///
/// # Errors
/// 403 with the rules that are missing.
pub async fn may_store(
    shell: &Shell,
    user: &User,
    target: &Target,
    old: Option<&Value>,
    new: &Value,
) -> Result<(), Status> {
    let resource = target.resource;
    let is = |rows: [&Resource; 2]| rows.contains(&resource);
    if user.is_master() {
        return Ok(());
    }
    if is([&ROLES, &CLUSTER_ROLES]) {
        return may_store_role(shell, user, target, old, new).await;
    }
    if is([&ROLE_BINDINGS, &CLUSTER_ROLE_BINDINGS]) {
        return may_bind(shell, user, target, old, new).await;
    }
    Ok(())
}

async fn may_store_role(
    shell: &Shell,
    user: &User,
    target: &Target,
    old: Option<&Value>,
    new: &Value,
) -> Result<(), Status> {
    let is_cluster_role = *target.resource == CLUSTER_ROLES;
    if old.is_some_and(|old| gives_the_same(is_cluster_role, old, new))
        || may(shell, user, target, "escalate", target.name()).await?
    {
        return Ok(());
    }
    let mut wanted: Vec<Rule> = new["rules"].as_array().into_iter().flatten().map(Rule::of).collect();
    let is_aggregated = |role: &Value| !role["aggregationRule"].is_null();
    if is_cluster_role && (is_aggregated(new) || old.is_some_and(is_aggregated)) {
        // What it is or will be made of nobody knows.
        wanted.extend([everything(), every_path()]);
    }
    covered(shell, user, target, &wanted).await
}

/// Whether nothing changed by which a role gives anything. A ClusterRole also gives what is in it to those roles that are made
/// of all that bear its labels.
fn gives_the_same(is_cluster_role: bool, old: &Value, new: &Value) -> bool {
    let nothing = |labels: &Value| labels.as_object().is_none_or(serde_json::Map::is_empty);
    let (before, now) = (&old["metadata"]["labels"], &new["metadata"]["labels"]);
    let same_labels = before == now || nothing(before) && nothing(now);
    old["rules"] == new["rules"]
        && old["aggregationRule"] == new["aggregationRule"]
        && (same_labels || !is_cluster_role)
}

async fn may_bind(shell: &Shell, user: &User, target: &Target, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    let same = |field: &str| old.is_some_and(|old| old[field] == new[field]);
    let known = shell.known.now(&*shell.backend).await?;
    // Who writes one again of which nobody has settled what it gives makes it give that.
    if same("roleRef") && same("subjects") && !known.is_contested(&target.object) {
        return Ok(());
    }
    let role = &new["roleRef"];
    let (name, namespace) = (role["name"].as_str().unwrap_or_default(), &target.object.namespace);
    let of = if role["kind"] == "Role" { &ROLES } else { &CLUSTER_ROLES };
    if known.policy.allows(user, &on(of, "bind", namespace, name, None)).is_some() {
        return Ok(());
    }
    let rules = known.policy.referred(role, namespace);
    let rules = rules.ok_or_else(|| Status::not_found(of, name))?;
    covered(shell, user, target, &rules).await
}

async fn covered(shell: &Shell, user: &User, target: &Target, wanted: &[Rule]) -> Result<(), Status> {
    let known = shell.known.now(&*shell.backend).await?;
    let held = known.policy.rules_of(user, &target.object.namespace);
    let missing = cover::missing(&held, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    shell.metrics.api_forbidden.increment();
    let mut lines: Vec<String> = missing.iter().take(MAX_LISTED).map(|rule| rule.to_value().to_string()).collect();
    if missing.len() > MAX_LISTED {
        lines.push(format!("and {} more", missing.len() - MAX_LISTED));
    }
    let why = format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        user.groups,
        lines.join("\n")
    );
    Err(Status::forbidden(target.resource, target.name(), &why))
}

async fn may(shell: &Shell, user: &User, target: &Target, verb: &str, name: &str) -> Result<bool, Status> {
    let known = shell.known.now(&*shell.backend).await?;
    let action: Action<'_> = on(target.resource, verb, &target.object.namespace, name, None);
    Ok(known.policy.allows(user, &action).is_some())
}

fn everything() -> Rule {
    let all = || vec!["*".to_owned()];
    Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() }
}

fn every_path() -> Rule {
    let all = || vec!["*".to_owned()];
    Rule { verbs: all(), urls: all(), ..Rule::default() }
}
