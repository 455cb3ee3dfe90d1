//! The ReplicaSet that a Deployment makes for its template.

use skein_crdt_state::{Edit, Scalar, path};

use super::super::Step;
use super::super::draft::Draft;
use super::SOURCE;
use super::history::next_revision;
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
    let mut leaves = spec.copied.clone();
    // An empty map is one leaf, which must not stay beside the label that comes into it.
    leaves.remove("spec.selector.matchLabels");
    let mut set = |map: &str, name: &str, value: &str| {
        let mut path = map.to_owned();
        path::push_field(&mut path, name);
        leaves.insert(path.into(), Scalar::str(value));
    };
    for (name, value) in &spec.template.labels {
        set("metadata.labels", name, value);
    }
    for labels in ["metadata.labels", "spec.template.metadata.labels", "spec.selector.matchLabels"] {
        set(labels, TEMPLATE_HASH_LABEL, &spec.template_hash);
    }
    set("metadata.annotations", REVISION_ANNOTATION, &next_revision(deployment).to_string());
    if !spec.change_cause.is_empty() {
        set("metadata.annotations", CHANGE_CAUSE_ANNOTATION, &spec.change_cause);
    }
    let edits = leaves.into_iter().map(|(path, value)| Edit { path, value: Some(value) }).collect();
    draft.objects.push(Step::Create { name: deployment.current.name_key(), edits });
}
