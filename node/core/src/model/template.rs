//! A workload's pod template: what its pods are like, and the hash that names the ReplicaSet that makes them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::needs::{PodNeeds, text_map};

/// The label that ties pods and ReplicaSets to one template of a Deployment.
pub const TEMPLATE_HASH_LABEL: &str = "pod-template-hash";

/// A pod template, or the same part of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodTemplate {
    /// Labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// Annotations of its pods.
    pub annotations: BTreeMap<String, String>,
    /// What its pods ask of a node.
    pub needs: PodNeeds,
}

impl PodTemplate {
    /// Reads `spec.template` of a workload, or a whole pod.
    #[must_use]
    pub fn of(template: &Value) -> Self {
        let metadata = |field: &str| text_map(template.get("metadata").and_then(|metadata| metadata.get(field)));
        PodTemplate {
            labels: metadata("labels"),
            annotations: metadata("annotations"),
            needs: template.get("spec").map(PodNeeds::of).unwrap_or_default(),
        }
    }
}

/// Ten letters that depend on what a template says, and not on who wrote it or in which order: both sides of a partition
/// make the same ReplicaSet of it. The label [`TEMPLATE_HASH_LABEL`], nulls and empty maps and lists say nothing.
#[must_use]
pub fn template_hash(template: &Value) -> String {
    // Kubernetes' alphabet for suffixes: no vowels, so that no words come out.
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(TEMPLATE_HASH_LABEL);
    }
    let text = canonical(&template).unwrap_or(Value::Null).to_string();
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(10).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

/// Sorted, and without what says nothing. `None`: nothing is left.
fn canonical(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            let kept: Map<String, Value> =
                sorted.into_iter().filter_map(|(key, value)| Some((key.clone(), canonical(value)?))).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(elements) => {
            let kept: Vec<Value> = elements.iter().map(|element| canonical(element).unwrap_or(Value::Null)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_hash_depends_on_what_a_template_says_alone() {
        let plain =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "i"}]}});
        let same = json!({
            "metadata": {"creationTimestamp": null, "labels": {"pod-template-hash": "x", "app": "web"}},
            "spec": {"volumes": [], "containers": [{"image": "i", "name": "a", "resources": {}}]},
        });
        let other =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "j"}]}});
        assert_eq!(template_hash(&plain), template_hash(&same));
        assert_ne!(template_hash(&plain), template_hash(&other));
        assert_eq!(template_hash(&plain).len(), 10);
    }
}
