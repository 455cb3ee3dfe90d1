//! The layout: how a Kubernetes object becomes flat leaves and comes back.
//!
//! Which lists are keyed is a table that is handed in (Kubernetes' own knowledge lives in `skein-kube`), and wire format:
//! every change names the version of the table it was written with. The way back needs no table.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::leaf::{Edit, LeafPath, Scalar};
use crate::path::{self, MAX_DEPTH, MAX_PATH_BYTES, Step};
use crate::{Kind, object::Leaf};

/// The distance between the order keys of neighbours in a keyed list, so that many can be put between.
const ORDER_STEP: i64 = 1 << 20;
/// The most leaves that one object may have.
pub const MAX_LEAVES: usize = 8192;

/// What paths begin with that are no part of the object: notes that are kept beside its fields and merge as they do, such as
/// what each tool applied. No field of Kubernetes' begins so.
pub const NOTE_PREFIX: char = '$';

/// Which lists have which keys.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    version: u16,
    keyed: BTreeMap<(Kind, String), Vec<String>>,
    aside: BTreeSet<(Kind, String)>,
}

/// An object that has no flat form; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlattenError {
    /// Two elements of a keyed list have the same key.
    #[error("{0}: two elements have the same key; keys must be unique within a list")]
    DuplicateKey(String),
    /// An element of a keyed list lacks its key.
    #[error("{path}: an element has no {key}")]
    MissingKey {
        /// The list.
        path: String,
        /// The key field that is missing.
        key: String,
    },
    /// A path is too long, the nesting too deep, or there are too many leaves.
    #[error("{0}: the object is too large or too deep to store (at most 8192 fields, 32 levels, 1024 bytes a path)")]
    TooLarge(String),
    /// The object is not a map.
    #[error("an object must be a map of fields")]
    NotAMap,
}

impl Layout {
    /// A table from (kind, list's path with `*` for any map key or element, key fields).
    pub fn new<'a>(version: u16, entries: impl IntoIterator<Item = (Kind, &'a str, &'a [&'a str])>) -> Self {
        let keyed = entries.into_iter().map(|(kind, pattern, keys)| {
            ((kind, pattern.to_owned()), keys.iter().map(|&key| key.to_owned()).collect())
        });
        Layout { version, keyed: keyed.collect(), aside: BTreeSet::new() }
    }

    /// With maps whose texts are kept beside the document whatever their length, by kind and path: they are secrets.
    #[must_use]
    pub fn keeping_aside<'a>(mut self, maps: impl IntoIterator<Item = (Kind, &'a str)>) -> Self {
        self.aside.extend(maps.into_iter().map(|(kind, path)| (kind, path.to_owned())));
        self
    }

    /// The table's version, which every change carries.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The leaves of an object. `old` are the leaves it had: elements of keyed lists that stay in order keep their order
    /// keys, so that an edit touches only what it means to.
    ///
    /// # Errors
    /// When the object has no flat form.
    pub fn flatten(
        &self,
        kind: &Kind,
        object: &Value,
        old: &BTreeMap<LeafPath, Leaf>,
    ) -> Result<BTreeMap<LeafPath, Scalar>, FlattenError> {
        let fields = object.as_object().ok_or(FlattenError::NotAMap)?;
        let mut walk = Flatten { layout: self, kind, old, leaves: BTreeMap::new() };
        for (field, value) in fields {
            let mut path = String::new();
            path::push_field(&mut path, field);
            walk.value(&path, field, value, 1)?;
        }
        Ok(walk.leaves)
    }
}

/// The edits that turn one set of leaves into another.
#[must_use]
pub fn diff(old: &BTreeMap<LeafPath, Leaf>, new: &BTreeMap<LeafPath, Scalar>) -> Vec<Edit> {
    let gone = old.keys().filter(|path| !new.contains_key(*path)).map(|path| Edit { path: path.clone(), value: None });
    let set = new.iter().filter(|(path, value)| old.get(*path).is_none_or(|leaf| leaf.value != **value));
    gone.chain(set.map(|(path, value)| Edit { path: path.clone(), value: Some(value.clone()) })).collect()
}

/// The edits that do to an object what was done between two forms of it: what both forms have alike is left alone.
#[must_use]
pub fn changes(before: &BTreeMap<LeafPath, Scalar>, after: &BTreeMap<LeafPath, Scalar>) -> Vec<Edit> {
    let gone =
        before.keys().filter(|path| !after.contains_key(*path)).map(|path| Edit { path: path.clone(), value: None });
    let set = after.iter().filter(|(path, value)| before.get(*path) != Some(*value));
    gone.chain(set.map(|(path, value)| Edit { path: path.clone(), value: Some(value.clone()) })).collect()
}

/// The object that a set of leaves describes. An element of a keyed list is there only if its presence marker is; what
/// cannot be placed (a field below a scalar, after a merge) is left out, and so are notes.
pub fn unflatten<'a>(leaves: impl Iterator<Item = (&'a LeafPath, &'a Scalar)>) -> Value {
    let mut root = Node::default();
    for (path, value) in leaves.filter(|(path, _)| !path.starts_with(NOTE_PREFIX)) {
        if let Some(steps) = path::parse(path) {
            root.insert(&steps, value);
        }
    }
    root.into_value().unwrap_or_else(|| Value::Object(Map::new()))
}

struct Flatten<'a> {
    layout: &'a Layout,
    kind: &'a Kind,
    old: &'a BTreeMap<LeafPath, Leaf>,
    leaves: BTreeMap<LeafPath, Scalar>,
}

impl Flatten<'_> {
    fn value(&mut self, path: &str, pattern: &str, value: &Value, depth: usize) -> Result<(), FlattenError> {
        if path.len() > MAX_PATH_BYTES || depth > MAX_DEPTH - 2 || self.leaves.len() >= MAX_LEAVES {
            return Err(FlattenError::TooLarge(path.chars().take(128).collect()));
        }
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                let is_secret = !self.layout.aside.is_empty()
                    && self.layout.aside.contains(&(self.kind.clone(), pattern.to_owned()));
                for (field, value) in fields {
                    let mut child = path.to_owned();
                    path::push_field(&mut child, field);
                    if let (true, Value::String(text)) = (is_secret, value) {
                        self.leaf(&child, Scalar::Aside(text.as_str().into()))?;
                        continue;
                    }
                    let named = format!("{pattern}.{field}");
                    let any = format!("{pattern}.*");
                    let known = self.layout.keyed.range((self.kind.clone(), any.clone())..).next();
                    let starred = known.is_some_and(|((kind, p), _)| kind == self.kind && p.starts_with(&any));
                    self.value(&child, if starred { &any } else { &named }, value, depth + 1)?;
                }
                Ok(())
            }
            Value::Array(elements) => match self.layout.keyed.get(&(self.kind.clone(), pattern.to_owned())) {
                Some(keys) if !elements.is_empty() => self.keyed_list(path, pattern, keys, elements, depth),
                _ => self.leaf(path, Scalar::Json(value.to_string().into())),
            },
            Value::Object(_) => self.leaf(path, Scalar::Json("{}".into())),
            Value::Null => self.leaf(path, Scalar::Null),
            Value::Bool(flag) => self.leaf(path, Scalar::Bool(*flag)),
            Value::Number(number) => self
                .leaf(path, number.as_i64().map_or_else(|| Scalar::Float(number.as_f64().unwrap_or(0.0)), Scalar::Int)),
            Value::String(text) => self.leaf(path, Scalar::str(text)),
        }
    }

    fn leaf(&mut self, path: &str, value: Scalar) -> Result<(), FlattenError> {
        if path.len() > MAX_PATH_BYTES || self.leaves.len() >= MAX_LEAVES {
            return Err(FlattenError::TooLarge(path.chars().take(128).collect()));
        }
        self.leaves.insert(path.into(), value);
        Ok(())
    }

    fn keyed_list(
        &mut self,
        path: &str,
        pattern: &str,
        keys: &[String],
        elements: &[Value],
        depth: usize,
    ) -> Result<(), FlattenError> {
        let mut paths = Vec::with_capacity(elements.len());
        let mut seen = BTreeSet::new();
        for element in elements {
            let mut child = path.to_owned();
            path::push_element(&mut child, &keys_of(path, keys, element)?);
            if !seen.insert(child.clone()) {
                return Err(FlattenError::DuplicateKey(child));
            }
            paths.push(child);
        }
        let orders = self.orders(&paths);
        for ((element, child), order) in elements.iter().zip(paths).zip(orders) {
            self.leaf(&child, Scalar::Int(order))?;
            for (field, value) in element.as_object().into_iter().flatten() {
                if keys.contains(field) {
                    continue;
                }
                let mut below = child.clone();
                path::push_field(&mut below, field);
                self.value(&below, &format!("{pattern}.{field}"), value, depth + 2)?;
            }
        }
        Ok(())
    }

    /// Order keys for the elements: those they had as long as these rise, new ones between their neighbours' otherwise.
    fn orders(&self, paths: &[String]) -> Vec<i64> {
        let had: Vec<Option<i64>> =
            paths.iter().map(|path| self.old.get(path.as_str()).and_then(|leaf| leaf.value.as_int())).collect();
        let mut orders: Vec<i64> = Vec::with_capacity(paths.len());
        for (i, had_order) in had.iter().enumerate() {
            let last = orders.last().copied();
            if let Some(order) = had_order.filter(|order| last.is_none_or(|last| *order > last)) {
                orders.push(order);
                continue;
            }
            let next = had[i + 1..].iter().flatten().find(|order| last.is_none_or(|last| **order > last)).copied();
            orders.push(match (last, next) {
                (None, None) => ORDER_STEP,
                (None, Some(next)) => next.saturating_sub(ORDER_STEP),
                (Some(last), Some(next)) if next - last > 1 => last + (next - last) / 2,
                (Some(last), _) => last.saturating_add(ORDER_STEP),
            });
        }
        orders
    }
}

fn keys_of<'a>(path: &str, keys: &'a [String], element: &'a Value) -> Result<Vec<(&'a str, &'a Value)>, FlattenError> {
    let missing = |key: &String| FlattenError::MissingKey { path: path.to_owned(), key: key.clone() };
    let scalar = |value: &&Value| !value.is_object() && !value.is_array();
    keys.iter().map(|key| Ok((key.as_str(), element.get(key).filter(scalar).ok_or_else(|| missing(key))?))).collect()
}

/// A tree on its way from leaves to JSON.
#[derive(Default)]
struct Node {
    value: Option<Scalar>,
    fields: BTreeMap<String, Node>,
    elements: BTreeMap<String, (Vec<(String, Value)>, Node)>,
}

impl Node {
    fn insert(&mut self, steps: &[Step], value: &Scalar) {
        match steps.split_first() {
            None => self.value = Some(value.clone()),
            Some((Step::Field(field), rest)) => self.fields.entry(field.clone()).or_default().insert(rest, value),
            Some((Step::Element(keys), rest)) => {
                let name = keys.iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>().join(",");
                self.elements.entry(name).or_insert_with(|| (keys.clone(), Node::default())).1.insert(rest, value);
            }
        }
    }

    fn into_value(self) -> Option<Value> {
        let mut present: Vec<_> = self
            .elements
            .into_iter()
            .filter_map(|(name, (keys, node))| Some((node.value.as_ref()?.as_int()?, name, keys, node)))
            .collect();
        if !present.is_empty() {
            present.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
            return Some(Value::Array(
                present.into_iter().map(|(_, _, keys, node)| element_value(keys, node)).collect(),
            ));
        }
        let fields: Map<String, Value> =
            self.fields.into_iter().filter_map(|(field, node)| Some((field, node.into_value()?))).collect();
        if !fields.is_empty() {
            return Some(Value::Object(fields));
        }
        Some(match self.value? {
            Scalar::Null => Value::Null,
            Scalar::Bool(flag) => flag.into(),
            Scalar::Int(number) => number.into(),
            Scalar::Float(number) => number.into(),
            Scalar::Str(text) | Scalar::Aside(text) => Value::from(&*text),
            Scalar::Json(text) => serde_json::from_str(&text).unwrap_or(Value::Null),
            // Whoever wants the text puts it in its place first, see `Store::json_of`.
            Scalar::Blob(_) => return None,
        })
    }
}

fn element_value(keys: Vec<(String, Value)>, node: Node) -> Value {
    let own = node.fields.into_iter().filter_map(|(field, node)| Some((field, node.into_value()?)));
    Value::Object(keys.into_iter().chain(own).collect())
}

#[cfg(test)]
mod tests;
