//! Sets of an object's fields, and their two spellings: Kubernetes' `FieldsV1` and the path in a message. Whose they are
//! does not live here.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use skein_crdt_state::path::Step;

use crate::schema::Field;

/// The deepest nesting that is read; nothing that is stored is deeper.
const MAX_DEPTH: usize = 64;

/// One step of a path in a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A field of an object.
    Field(String),
    /// An element of a list, by its keys: an object in JSON, the keys in alphabetical order.
    Key(String),
    /// An element of a set: its value in JSON.
    Value(String),
}

/// A set of fields, as a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether the place itself is in the set.
    pub member: bool,
    /// What is below it.
    pub below: BTreeMap<Element, FieldSet>,
}

impl Element {
    /// The element of a keyed list that a value is. A key that it lacks has its default. `None`: it lacks one that has none,
    /// or one is no plain value.
    #[must_use]
    pub fn of_item(field: &Field, of: Option<&crate::schema::TypeSchema>, item: &Value) -> Option<Self> {
        let mut keys = Map::new();
        let mut names: Vec<&str> = field.keys.to_vec();
        names.sort_unstable();
        for name in names {
            let default = || of?.field(name)?.default.and_then(|json| serde_json::from_str(json).ok());
            let value = item.get(name).filter(|value| !value.is_null()).cloned().or_else(default)?;
            if value.is_object() || value.is_array() {
                return None;
            }
            keys.insert(name.to_owned(), value);
        }
        Some(Element::Key(Value::Object(keys).to_string()))
    }

    fn of_step(step: Step) -> Self {
        match step {
            Step::Field(name) => Element::Field(name),
            Step::Element(mut keys) => {
                keys.sort_by(|a, b| a.0.cmp(&b.0));
                Element::Key(Value::Object(keys.into_iter().collect()).to_string())
            }
        }
    }

    fn of_fields_v1(name: &str) -> Option<Self> {
        let json = |text: &str| serde_json::from_str::<Value>(text).ok();
        match name.split_at_checked(2)? {
            ("f:", field) => Some(Element::Field(field.to_owned())),
            ("v:", value) => Some(Element::Value(json(value)?.to_string())),
            ("k:", keys) => {
                let Value::Object(keys) = json(keys)? else { return None };
                let mut keys: Vec<_> = keys.into_iter().collect();
                keys.sort_by(|a, b| a.0.cmp(&b.0));
                Some(Element::Key(Value::Object(keys.into_iter().collect()).to_string()))
            }
            _ => None,
        }
    }

    fn to_fields_v1(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Key(keys) => format!("k:{keys}"),
            Element::Value(value) => format!("v:{value}"),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Value(value) => write!(f, "[={value}]"),
            Element::Key(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", keys.join(","))
            }
        }
    }
}

/// A path as messages name it: `.spec.containers[name="web"].image`.
#[must_use]
pub fn path_text(path: &[Element]) -> String {
    path.iter().map(Element::to_string).collect()
}

impl FieldSet {
    /// The fields that an object sets, or a part of one.
    #[must_use]
    pub fn of(resource: &crate::resource::Resource, object: &Value) -> Self {
        super::merge::fields_of(resource.schema, object)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// What is at and below a place.
    #[must_use]
    pub fn at(&self, element: &Element) -> Option<&FieldSet> {
        self.below.get(element)
    }

    /// Whether a path is in it.
    #[must_use]
    pub fn contains(&self, path: &[Element]) -> bool {
        let found = path.iter().try_fold(self, |set, element| set.at(element));
        found.is_some_and(|set| set.member)
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[Element]) {
        let mut at = self;
        for element in path {
            at = at.below.entry(element.clone()).or_default();
        }
        at.member = true;
    }

    /// Adds a stored leaf's path. An element of a keyed list holds its keys, which are no leaves.
    pub fn insert_leaf(&mut self, steps: Vec<Step>) {
        let keys: Vec<String> = match steps.last() {
            Some(Step::Element(keys)) => keys.iter().map(|(name, _)| name.clone()).collect(),
            _ => Vec::new(),
        };
        let mut at = self;
        for step in steps {
            at = at.below.entry(Element::of_step(step)).or_default();
        }
        at.member = true;
        for key in keys {
            at.below.entry(Element::Field(key)).or_default().member = true;
        }
    }

    /// Adds all of another set.
    pub fn add(&mut self, other: &FieldSet) {
        self.member |= other.member;
        for (element, below) in &other.below {
            self.below.entry(element.clone()).or_default().add(below);
        }
    }

    /// What of it is not in another.
    #[must_use]
    pub fn without(&self, other: &FieldSet) -> FieldSet {
        let nothing = FieldSet::default();
        let below = self.below.iter().map(|(element, set)| {
            let other = other.at(element).unwrap_or(&nothing);
            (element.clone(), set.without(other))
        });
        FieldSet { member: self.member && !other.member, below: below.filter(|(_, set)| !set.is_empty()).collect() }
    }

    /// Keeps what a test says of each path.
    pub fn retain(&mut self, keep: &mut dyn FnMut(&[Element]) -> bool) {
        self.retain_below(&mut Vec::new(), keep);
    }

    fn retain_below(&mut self, path: &mut Vec<Element>, keep: &mut dyn FnMut(&[Element]) -> bool) {
        self.member = self.member && keep(path);
        self.below.retain(|element, set| {
            path.push(element.clone());
            set.retain_below(path, keep);
            path.pop();
            !set.is_empty()
        });
    }

    /// Calls a function with each path in the set.
    pub fn each(&self, found: &mut dyn FnMut(&[Element])) {
        let mut all = self.clone();
        all.retain(&mut |path| {
            found(path);
            true
        });
    }

    /// Kubernetes' spelling.
    #[must_use]
    pub fn to_fields_v1(&self) -> Value {
        let mut fields = Map::new();
        if self.member && !self.below.is_empty() {
            fields.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (element, set) in &self.below {
            fields.insert(element.to_fields_v1(), set.to_fields_v1());
        }
        Value::Object(fields)
    }

    /// Reads Kubernetes' spelling. `None`: it is none, or it is nested too deep.
    #[must_use]
    pub fn from_fields_v1(value: &Value) -> Option<Self> {
        let mut set = Self::read(value, 0)?;
        set.member = false;
        Some(set)
    }

    fn read(value: &Value, depth: usize) -> Option<Self> {
        let fields = value.as_object().filter(|_| depth < MAX_DEPTH)?;
        let mut set = FieldSet { member: fields.is_empty(), below: BTreeMap::new() };
        for (name, value) in fields {
            match name.as_str() {
                "." => set.member = true,
                name => drop(set.below.insert(Element::of_fields_v1(name)?, Self::read(value, depth + 1)?)),
            }
        }
        Some(set)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn any_element() -> impl Strategy<Value = Element> {
        prop_oneof![
            "[a-c.:]{0,2}".prop_map(Element::Field),
            (any::<u8>(), "[a-c]{0,2}").prop_map(|(n, text)| Element::Key(json!({"n": n, "t": text}).to_string())),
            "[a-c]{0,2}".prop_map(|text| Element::Value(json!(text).to_string())),
        ]
    }

    fn any_set() -> impl Strategy<Value = FieldSet> {
        prop::collection::vec(prop::collection::vec(any_element(), 1..4), 0..8).prop_map(|paths| {
            let mut set = FieldSet::default();
            paths.iter().for_each(|path| set.insert(path));
            set
        })
    }

    #[test]
    fn a_set_is_written_as_kubernetes_writes_it() {
        let fields = json!({
            "f:metadata": {"f:finalizers": {"v:\"a\"": {}}},
            "f:spec": {
                "f:replicas": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
            },
        });
        let set = FieldSet::from_fields_v1(&fields).unwrap();
        assert_eq!(set.to_fields_v1(), fields);
        let mut paths = Vec::new();
        set.each(&mut |path| paths.push(path_text(path)));
        assert!(
            paths.contains(&r#".spec.ports[containerPort=80,protocol="TCP"].containerPort"#.to_owned()),
            "{paths:?}"
        );
        assert!(paths.contains(&r#".metadata.finalizers[="a"]"#.to_owned()), "{paths:?}");
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for wrong in [json!([]), json!({"spec": {}}), json!({"f:a": 1}), json!({"k:[]": {}}), json!({"é": {}})] {
            assert_eq!(FieldSet::from_fields_v1(&wrong), None, "{wrong}");
        }
        let deep = (0..100).fold(json!({}), |inner, _| json!({"f:a": inner}));
        assert_eq!(FieldSet::from_fields_v1(&deep), None);
    }

    proptest! {
        #[test]
        fn a_set_is_read_back(set in any_set()) {
            prop_assert_eq!(FieldSet::from_fields_v1(&set.to_fields_v1()), Some(set));
        }

        #[test]
        fn what_is_taken_away_and_added_again_is_the_same(one in any_set(), other in any_set()) {
            let mut again = one.without(&other);
            again.each(&mut |path| assert!(one.contains(path) && !other.contains(path)));
            again.add(&other);
            let mut both = one;
            both.add(&other);
            prop_assert_eq!(again, both);
        }
    }
}
