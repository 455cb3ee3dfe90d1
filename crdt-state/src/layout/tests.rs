//! Tests of the layout: an object comes back as it went in, and edits touch only what they mean to.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::WriteId;
use crate::hlc::Hlc;
use skein_gossip::NodeId;

fn layout() -> Layout {
    let kind = Kind::new("Pod");
    Layout::new(
        1,
        [
            (kind.clone(), "spec.containers", &["name"][..]),
            (kind.clone(), "spec.containers.ports", &["containerPort", "protocol"][..]),
            (kind, "data.*.items", &["key"][..]),
        ],
    )
}

fn as_old(leaves: &BTreeMap<LeafPath, Scalar>) -> BTreeMap<LeafPath, Leaf> {
    let leaf = |value: &Scalar| Leaf {
        value: value.clone(),
        stamp: Hlc(1),
        author: NodeId([1; 32]),
        write: WriteId([1; 32]),
        counter: 1,
        others: Vec::new(),
    };
    leaves.iter().map(|(path, value)| (path.clone(), leaf(value))).collect()
}

fn flat(value: &Value) -> BTreeMap<LeafPath, Scalar> {
    layout().flatten(&Kind::new("Pod"), value, &BTreeMap::new()).unwrap()
}

#[test]
fn an_object_comes_back_as_it_went_in() {
    let object = json!({
        "metadata": {"labels": {"app.kubernetes.io/name": "web", "a": "b"}, "annotations": {}},
        "spec": {
            "containers": [
                {"name": "web", "image": "x", "args": ["b", "a"], "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}]},
                {"name": "aside", "resources": {"limits": {"cpu": "1"}}, "ports": []},
            ],
            "ratio": 0.5, "nothing": null, "on": true, "replicas": 0,
        },
        "data": {"x": {"items": [{"key": "k", "path": "p"}]}},
    });
    let leaves = flat(&object);
    assert_eq!(unflatten(leaves.iter()), object);
    assert!(leaves.contains_key(r#"spec.containers[name="web"].ports[containerPort=80,protocol="TCP"].name"#));
    assert!(leaves.contains_key(r#"data.x.items[key="k"].path"#));
}

#[test]
fn an_element_put_between_leaves_its_neighbours_alone() {
    let before = flat(&json!({"spec": {"containers": [{"name": "a"}, {"name": "c"}]}}));
    let after = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}});
    let new = layout().flatten(&Kind::new("Pod"), &after, &as_old(&before)).unwrap();
    let edits = diff(&as_old(&before), &new);
    assert_eq!(edits.iter().map(|edit| &*edit.path).collect::<Vec<_>>(), [r#"spec.containers[name="b"]"#]);
    assert_eq!(unflatten(new.iter()), after);
}

#[test]
fn an_element_whose_marker_was_removed_is_gone_though_a_field_of_it_was_written_apart() {
    let mut leaves = flat(&json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b"}]}}));
    leaves.remove(r#"spec.containers[name="a"]"#);
    assert_eq!(unflatten(leaves.iter()), json!({"spec": {"containers": [{"name": "b"}]}}));
}

#[test]
fn a_list_with_a_key_twice_or_without_its_key_is_refused() {
    let refused = |value: Value| layout().flatten(&Kind::new("Pod"), &value, &BTreeMap::new()).unwrap_err();
    let twice = refused(json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}));
    assert!(matches!(twice, FlattenError::DuplicateKey(_)), "{twice}");
    let without = refused(json!({"spec": {"containers": [{"image": "a"}]}}));
    assert!(matches!(without, FlattenError::MissingKey { .. }), "{without}");
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!({ "a": deep });
    }
    assert!(matches!(refused(deep), FlattenError::TooLarge(_)));
}

proptest! {
    #[test]
    fn any_order_of_elements_is_kept_whatever_the_order_was_before(
        before in prop::collection::btree_set("[a-e]", 0..5),
        after in Just(vec!["a", "b", "c", "d", "e"]).prop_shuffle(),
    ) {
        let object = |names: Vec<String>| {
            json!({"spec": {"containers": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()}})
        };
        let old = as_old(&flat(&object(before.into_iter().collect())));
        let wanted = object(after.into_iter().map(str::to_owned).collect());
        let new = layout().flatten(&Kind::new("Pod"), &wanted, &old).unwrap();
        prop_assert_eq!(unflatten(new.iter()), wanted);
    }
}
