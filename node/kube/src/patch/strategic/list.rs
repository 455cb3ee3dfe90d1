//! Lists in a strategic merge patch: which element a change is about, and in which order the merged elements stand.
//! What a change does to an element lives one level up.
//!
//! Elements are found by an index, so that a patch with very many of them costs what its length says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Directive, Inside, PATCH, StrategicError, cleaned, directive, merge_maps};
use crate::schema::{Field, Merge, Ty};
use crate::status::quoted;

/// Merges a list of a patch into the old one. `order` is what `$setElementOrder` says; without it the patch's own order
/// holds, as in Kubernetes.
pub(super) fn merge(
    field: Option<&'static Field>,
    old: Vec<Value>,
    patch: &[Value],
    order: Option<&[Value]>,
    path: &str,
) -> Result<Vec<Value>, StrategicError> {
    let strategy = field.map_or(Merge::Replace, |field| field.merge);
    let field = match field {
        Some(field) if strategy != Merge::Replace => field,
        _ => return Ok(patch.iter().filter(|element| element.get(PATCH).is_none()).map(cleaned).collect()),
    };
    let old = if patch.iter().any(replaces_the_list) { Vec::new() } else { old };
    let ranks = ranks(strategy, &old);
    let merged = match strategy {
        Merge::By(key) => Keyed::new(field, key, old, order.unwrap_or(patch), path).merge(patch)?,
        _ => union(old, patch),
    };
    Ok(in_order(strategy, merged, order.unwrap_or(patch), &ranks))
}

/// Puts a list whose elements did not change into the order of `$setElementOrder`.
pub(super) fn reorder(strategy: Merge, elements: Vec<Value>, order: &[Value]) -> Vec<Value> {
    if strategy == Merge::Replace {
        return elements;
    }
    let ranks = ranks(strategy, &elements);
    in_order(strategy, elements, order, &ranks)
}

/// Whether an element stands for the whole list: `$patch: replace` and nothing else.
fn replaces_the_list(element: &Value) -> bool {
    element.as_object().is_some_and(|fields| fields.len() == 1 && fields.get(PATCH) == Some(&Value::from("replace")))
}

/// A set of plain values with more of them.
fn union(old: Vec<Value>, patch: &[Value]) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let added = patch.iter().filter(|element| !replaces_the_list(element)).cloned();
    old.into_iter().chain(added).filter(|element| seen.insert(element.to_string())).collect()
}

/// What tells an element apart from others, as text. `None`: it does not say.
fn identity(strategy: Merge, element: &Value) -> Option<String> {
    match strategy {
        Merge::By(key) => element.get(key).filter(|value| !value.is_null()).map(Value::to_string),
        Merge::Set => Some(element.to_string()),
        Merge::Replace => None,
    }
}

/// The first place of each element.
fn ranks(strategy: Merge, elements: &[Value]) -> BTreeMap<String, usize> {
    let mut ranks = BTreeMap::new();
    for (rank, element) in elements.iter().enumerate() {
        if let Some(identity) = identity(strategy, element) {
            ranks.entry(identity).or_insert(rank);
        }
    }
    ranks
}

/// Interleaves the elements that the order names, in that order, with the others in theirs. An other goes before the
/// first named element that was behind it in the old list, so new elements come before it and known ones stay around
/// it.
fn in_order(strategy: Merge, merged: Vec<Value>, order: &[Value], old_ranks: &BTreeMap<String, usize>) -> Vec<Value> {
    let order = ranks(strategy, order);
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for element in merged {
        let identity = identity(strategy, &element);
        let was = identity.as_ref().and_then(|identity| old_ranks.get(identity)).copied();
        match identity.and_then(|identity| order.get(&identity)) {
            Some(place) => named.push((*place, was, element)),
            None => others.push((was, element)),
        }
    }
    named.sort_by_key(|(place, ..)| *place);
    let mut result = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, was, element) in named {
        let is_before = |other: &(Option<usize>, Value)| matches!((other.0, was), (Some(a), Some(b)) if a < b);
        while let Some((_, other)) = others.next_if(is_before) {
            result.push(other);
        }
        result.push(element);
    }
    result.extend(others.map(|(_, other)| other));
    result
}

/// A list under change whose elements are found by their keys.
struct Keyed<'a> {
    field: &'static Field,
    key: &'static str,
    path: &'a str,
    /// The elements; `None` where one was deleted.
    elements: Vec<Option<Value>>,
    /// By the key that patches match by. It can be that of several: a port in TCP and in UDP.
    by_key: BTreeMap<String, Vec<usize>>,
    /// By all keys of the list, which are that of one.
    by_all_keys: BTreeMap<String, usize>,
    /// How many elements of each key the client has in mind.
    wanted: BTreeMap<String, usize>,
}

impl<'a> Keyed<'a> {
    fn new(field: &'static Field, key: &'static str, old: Vec<Value>, order: &[Value], path: &'a str) -> Self {
        let mut wanted = BTreeMap::new();
        for identity in order.iter().filter_map(|element| identity(field.merge, element)) {
            *wanted.entry(identity).or_insert(0) += 1;
        }
        let (by_key, by_all_keys) = (BTreeMap::new(), BTreeMap::new());
        let mut list = Keyed { field, key, path, elements: Vec::new(), by_key, by_all_keys, wanted };
        old.into_iter().for_each(|element| list.push(element));
        list
    }

    /// Deletions and replacements come first, wherever they stand: kubectl puts them last, and an element that is
    /// deleted and named again is a new one.
    fn merge(mut self, patch: &[Value]) -> Result<Vec<Value>, StrategicError> {
        let mut changes = Vec::with_capacity(patch.len());
        for change in patch.iter().filter(|element| !replaces_the_list(element)) {
            let missing = || StrategicError::MissingKey { path: self.path.to_owned(), key: self.key };
            let fields = change.as_object().ok_or_else(missing)?;
            let which = identity(self.field.merge, change).ok_or_else(missing)?;
            match directive(fields, &self.element_path(change))? {
                Directive::Delete => self.delete(&which, change),
                Directive::Replace => {
                    self.delete(&which, change);
                    changes.push((which, change, fields));
                }
                Directive::Merge => changes.push((which, change, fields)),
            }
        }
        let inside = match self.field.ty {
            Ty::List(of) => Inside::of(of),
            _ => Inside::Unknown,
        };
        for (which, change, fields) in changes {
            let at = self.find(&which, change);
            let old = at.and_then(|at| self.elements[at].take());
            let was = old.as_ref().and_then(|old| self.all_keys(old));
            let old = old.and_then(|old| if let Value::Object(fields) = old { Some(fields) } else { None });
            let merged = merge_maps(inside, old.unwrap_or_default(), fields, &self.element_path(change))?;
            let merged = Value::Object(merged);
            match at {
                Some(at) => {
                    if let Some(was) = was {
                        self.by_all_keys.remove(&was);
                    }
                    self.put(at, merged);
                }
                None => self.push(merged),
            }
        }
        Ok(self.elements.into_iter().flatten().collect())
    }

    /// Which element a change is about. `None`: a new one.
    fn find(&self, which: &str, change: &Value) -> Option<usize> {
        let same_key = self.by_key.get(which)?;
        let Some(all) = self.all_keys(change) else { return same_key.first().copied() };
        // A port that changes its protocol stays the same port, unless the client wants one in each.
        let is_alone = same_key.len() == 1 && self.wanted.get(which).is_none_or(|wanted| *wanted <= 1);
        self.by_all_keys.get(&all).copied().or_else(|| same_key.first().copied().filter(|_| is_alone))
    }

    /// Deletes the elements of a key; only one of them when the deletion names all keys.
    fn delete(&mut self, which: &str, deletion: &Value) {
        let only = self.all_keys(deletion).filter(|_| self.field.keys.len() > 1);
        let Some(same_key) = self.by_key.remove(which) else { return };
        let (gone, stay): (Vec<usize>, Vec<usize>) = same_key.into_iter().partition(|at| {
            only.is_none() || self.elements[*at].as_ref().and_then(|element| self.all_keys(element)) == only
        });
        for at in gone {
            if let Some(all) = self.elements[at].take().and_then(|element| self.all_keys(&element)) {
                self.by_all_keys.remove(&all);
            }
        }
        if !stay.is_empty() {
            self.by_key.insert(which.to_owned(), stay);
        }
    }

    fn push(&mut self, element: Value) {
        let at = self.elements.len();
        if let Some(identity) = identity(self.field.merge, &element) {
            self.by_key.entry(identity).or_default().push(at);
        }
        self.elements.push(None);
        self.put(at, element);
    }

    fn put(&mut self, at: usize, element: Value) {
        if let Some(all) = self.all_keys(&element) {
            self.by_all_keys.entry(all).or_insert(at);
        }
        self.elements[at] = Some(element);
    }

    /// All keys of an element as one text. `None`: it lacks one.
    fn all_keys(&self, element: &Value) -> Option<String> {
        let value = |key: &&str| element.get(*key).filter(|value| !value.is_null()).map(Value::to_string);
        self.field.keys.iter().map(value).collect::<Option<Vec<_>>>().map(|values| values.join(","))
    }

    fn element_path(&self, element: &Value) -> String {
        let key = element.get(self.key).unwrap_or(&Value::Null);
        format!("{}[{}={}]", self.path, self.key, quoted(key))
    }
}
