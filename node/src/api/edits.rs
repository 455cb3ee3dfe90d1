//! From what a client changed in an object that it read, to the leaves that change in the store.

use std::collections::BTreeMap;

use serde_json::Value;
use skein_crdt_state::layout::FlattenError;
use skein_crdt_state::{Edit, Kind, Layout, Leaf, LeafPath};

/// The edits that lead from one form of an object to another. `leaves` are what is stored: both forms are flattened with
/// their order keys. What is derived and was not changed (a ReplicaSet's replicas, a pod's spec from its template) is
/// the same in both forms and gives no edit, although it has no leaf.
///
/// # Errors
/// When either form has no flat form, such as two containers with one name.
pub fn between(
    layout: &Layout,
    kind: &Kind,
    leaves: &BTreeMap<LeafPath, Leaf>,
    old: &Value,
    new: &Value,
) -> Result<Vec<Edit>, FlattenError> {
    let before = layout.flatten(kind, old, leaves)?;
    let after = layout.flatten(kind, new, leaves)?;
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let gone = gone.map(|path| Edit { path: path.clone(), value: None });
    let set = after.iter().filter(|(path, value)| before.get(*path) != Some(value));
    let set = set.map(|(path, value)| Edit { path: path.clone(), value: Some(value.clone()) });
    Ok(gone.chain(set).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use skein_crdt_state::Scalar;

    #[test]
    fn only_what_was_changed_is_written() {
        let kind = Kind::new("Deployment.apps");
        let layout = Layout::new(1, [(kind.clone(), "spec.containers", &["name"][..])]);
        let old = json!({"spec": {"replicas": 3, "paused": true, "containers": [{"name": "a", "image": "x"}]}});
        let new = json!({"spec": {"replicas": 3, "containers": [{"name": "a", "image": "y"}]}});
        let edits = between(&layout, &kind, &BTreeMap::new(), &old, &new).unwrap();
        let image = Edit::set("spec.containers[name=\"a\"].image", Scalar::str("y"));
        assert_eq!(edits, [Edit::unset("spec.paused"), image]);
        assert_eq!(between(&layout, &kind, &BTreeMap::new(), &old, &old).unwrap(), []);
    }

    #[test]
    fn two_elements_with_one_key_are_refused() {
        let kind = Kind::new("Deployment.apps");
        let layout = Layout::new(1, [(kind.clone(), "containers", &["name"][..])]);
        let twice = json!({"containers": [{"name": "a"}, {"name": "a"}]});
        assert!(between(&layout, &kind, &BTreeMap::new(), &json!({}), &twice).is_err());
    }
}
