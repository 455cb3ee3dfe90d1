//! Server-side apply: what a tool applies is laid onto what is there, and written together with the note of what it owns.
//! The rules are Kubernetes' and live in `skein-kube`.

use std::sync::Arc;

use skein_crdt_state::Operation;
use skein_kube::admission::Prepared;
use skein_kube::apply::owners::{self, Authored};
use skein_kube::apply::{Applied, ApplyOptions, onto};
use skein_kube::status::Status;

use super::access;
use super::answer::Answer;
use super::backend::Rendered;
use super::read;
use super::routes::{Asked, Target};
use super::shell::Shell;
use super::write::{self, Change, RACES_LIMIT};

/// Answers an apply.
///
/// # Errors
/// When it cannot be read, the result is not valid, others own what it has other values for, or somebody else was always
/// faster.
pub async fn apply(shell: &Arc<Shell>, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
    let options = ApplyOptions::of_query(asked.query.iter())?;
    let (namespace, name) = (&*target.object.namespace, target.name());
    let applied = Applied::read(target.resource, namespace, name, &asked.call.body, &options)?;
    apply_read(shell, asked, target, &applied, &options).await
}

/// Applies what was read.
///
/// # Errors
/// As [`apply`].
pub async fn apply_read(
    shell: &Arc<Shell>,
    asked: &Asked<'_>,
    target: &Target,
    applied: &Applied,
    options: &ApplyOptions,
) -> Result<Answer, Status> {
    for race in 1.. {
        let found = shell.backend.authored(target.object.clone()).await?;
        let step = match found {
            None => create(target, applied, options),
            Some((current, authored)) => update(shell, target, (&current, authored), applied, options),
        };
        // What the tool may not do is not tried again.
        let step = step?;
        let seen = step.current.as_ref().map(|current| current.heads.clone());
        match step.carry_out(shell, asked, target).await {
            Err(status) if matches!(status.reason, "Conflict" | "AlreadyExists") && race < RACES_LIMIT => {
                write::until_shown_anew(shell, target, seen.as_deref()).await?;
            }
            other => return other,
        }
    }
    Err(Status::conflict(target.resource, target.name()))
}

/// A write that is worked out.
struct Step {
    /// What it replaces. `None`: it creates.
    current: Option<Rendered>,
    prepared: Prepared,
    change: Change,
}

impl Step {
    async fn carry_out(self, shell: &Arc<Shell>, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
        let Step { current, prepared, change } = self;
        let Some(current) = current else {
            // Who may change what is there may not for that reason make what is not.
            let namespace = &target.object.namespace;
            let creates = access::on_object(target.resource, "create", namespace, target.name(), None);
            access::permit(shell, &asked.call.caller.user, &creates).await?;
            let owner = write::owner(shell, target.resource, &target.object.namespace).await?;
            return write::create_prepared(shell, asked, target.resource, owner, prepared, change).await;
        };
        let after = write::update(shell, asked, target, &current, prepared, change).await?;
        Ok(after.into_answer(shell, target))
    }
}

fn create(target: &Target, applied: &Applied, options: &ApplyOptions) -> Result<Step, Status> {
    let notes = owners::note_applied(target.resource, &Authored::default(), &[], &options.manager, &applied.fields)?;
    let change = Change { if_heads: None, notes, operation: Operation::Apply };
    let prepared = applied.clone().alone(target.resource, &target.object.namespace, target.name(), options)?;
    Ok(Step { current: None, prepared, change })
}

fn update(
    shell: &Shell,
    target: &Target,
    (current, authored): (&Rendered, Authored),
    applied: &Applied,
    options: &ApplyOptions,
) -> Result<Step, Status> {
    let resource = target.resource;
    write::lock(shell, target, current, applied.resource_version.as_deref())?;
    let owners = owners::owners(resource, &authored);
    let prepared = onto(resource, &current.value, applied, &owners, options)?;
    let mut notes = owners::note_applied(resource, &authored, &owners, &options.manager, &applied.fields)?;
    // Who owns what holds for what was read.
    let if_heads = Some(current.heads.clone());
    notes.extend(owners::confirmations(resource, &authored, &applied.fields));
    let change = Change { if_heads, notes, operation: Operation::Apply };
    let current = read::with_managed_fields(resource, current, &authored);
    Ok(Step { current: Some(current), prepared, change })
}
