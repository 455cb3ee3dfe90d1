//! The ReplicaSet that a Deployment makes for its template.

use skein_crdt_state::{Edit, Scalar, path};

use super::super::Step;
use super::super::draft::{Draft, set_text};
use super::SOURCE;
use super::history::{annotation, next_revision};
use crate::model::template::TEMPLATE_HASH_LABEL;
use crate::model::workload::{CHANGE_CAUSE_ANNOTATION, REVISION_ANNOTATION};
use crate::view::DeploymentView;

/// The most fields that are named when a merge made a template that nobody wrote.
const MAX_FIELDS_NAMED: usize = 5;

/// Makes the ReplicaSet of the Deployment's template. Its slots come in the same plan.
pub(super) fn create(draft: &mut Draft<'_>, deployment: &DeploymentView) {
    let spec = &deployment.spec;
    if !spec.contested.is_empty() {
        let named: Vec<&str> = spec.contested.iter().take(MAX_FIELDS_NAMED).map(|path| &**path).collect();
        let message = format!(
            "the template was edited on two sides apart, so nobody wrote it as it is now rolled out; both wrote {}",
            named.join(", ")
        );
        draft.event(&deployment.key, true, "TemplateMerged", message, SOURCE);
    }
    let hash = spec.template_hash.as_str();
    let label = |labels: &str, name: &str, value: &str| {
        let mut path = labels.to_owned();
        path::push_field(&mut path, name);
        set_text(&path, value)
    };
    let mut edits: Vec<Edit> =
        spec.copied.iter().map(|(path, value)| Edit { path: path.clone(), value: Some(value.clone()) }).collect();
    // A map that is empty is one leaf; with an element in it that leaf must not stay beside the element's.
    edits.retain(|edit| !(edit.path.ends_with("abels") && edit.value == Some(Scalar::Json("{}".into()))));
    edits.retain(|edit| {
        !edit.path.ends_with(&format!("[\"{TEMPLATE_HASH_LABEL}\"]"))
            && !edit.path.ends_with(&format!(".{TEMPLATE_HASH_LABEL}"))
    });
    edits.extend(
        spec.template
            .labels
            .iter()
            .filter(|(name, _)| *name != TEMPLATE_HASH_LABEL)
            .map(|(name, value)| label("metadata.labels", name, value)),
    );
    for labels in ["metadata.labels", "spec.template.metadata.labels", "spec.selector.matchLabels"] {
        edits.push(label(labels, TEMPLATE_HASH_LABEL, hash));
    }
    edits.push(set_text(&annotation(REVISION_ANNOTATION), &next_revision(deployment).to_string()));
    if !spec.change_cause.is_empty() {
        edits.push(set_text(&annotation(CHANGE_CAUSE_ANNOTATION), &spec.change_cause));
    }
    draft.objects.push(Step::Create { name: deployment.current.name_key(), edits });
}
