//! What a tool applies and an object, walked together along the schema: the fields that are applied, the object with them,
//! what is taken out of it again, and where it says something else that others own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::field_set::{Element, FieldSet};
use super::owners::object_in;
use crate::schema::meta::OBJECT_META;
use crate::schema::{Field, Merge, Support, Ty, TypeSchema};

/// How a value is walked.
#[derive(Clone, Copy)]
enum Shape {
    /// An object with fields of its own.
    Object(&'static TypeSchema),
    /// A map: each entry is a field.
    Map(&'static Ty),
    /// A list whose elements are told apart by keys.
    Keyed(&'static Field),
    /// A list of plain values that each are owned.
    Set,
    /// Owned whole.
    Atomic,
}

impl Shape {
    fn of(ty: &'static Ty, field: Option<&'static Field>) -> Self {
        match (ty, field) {
            (Ty::Object(of), _) => Shape::Object(of),
            (Ty::Map(of), _) => Shape::Map(of),
            (Ty::List(_), Some(field)) if !field.keys.is_empty() => Shape::Keyed(field),
            (Ty::List(_), Some(field)) if field.merge == Merge::Set => Shape::Set,
            _ => Shape::Atomic,
        }
    }

    /// How a field or entry of an object of this shape is walked. `None`: it is not, since no client sets it.
    fn inside(self, name: &str) -> Option<Self> {
        match self {
            Shape::Map(of) => Some(Shape::of(of, None)),
            Shape::Object(of) => {
                let field = of.field(name).filter(|field| field.support != Support::System)?;
                Some(Shape::of(&field.ty, Some(field)))
            }
            _ => None,
        }
    }
}

fn item_shape(field: &'static Field) -> Shape {
    object_in(&field.ty).map_or(Shape::Atomic, Shape::Object)
}

fn item_of(field: &'static Field, item: &Value) -> Option<Element> {
    Element::of_item(field, object_in(&field.ty), item)
}

fn named(name: &str) -> Element {
    Element::Field(name.to_owned())
}

/// The fields that an object sets.
pub(super) fn fields_of(of: &'static TypeSchema, object: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    collect(Shape::Object(of), object, &mut set);
    set.member = false;
    set
}

fn collect(shape: Shape, value: &Value, set: &mut FieldSet) {
    match (shape, value) {
        (Shape::Object(_) | Shape::Map(_), Value::Object(fields)) if !fields.is_empty() => {
            for (name, value) in fields {
                if let Some(shape) = shape.inside(name) {
                    let mut below = FieldSet::default();
                    collect(shape, value, &mut below);
                    set.below.insert(named(name), below);
                }
            }
            set.below.retain(|_, below| !below.is_empty());
        }
        (Shape::Keyed(field), Value::Array(items)) if !items.is_empty() => {
            for item in items {
                let Some(element) = item_of(field, item) else { continue };
                let mut below = FieldSet { member: true, below: BTreeMap::new() };
                collect(item_shape(field), item, &mut below);
                for key in field.keys {
                    below.below.entry(named(key)).or_default().member = true;
                }
                set.below.insert(element, below);
            }
        }
        (Shape::Set, Value::Array(values)) if !values.is_empty() => {
            values.iter().for_each(|value| set.insert(&[Element::Value(value.to_string())]));
        }
        _ => set.member = true,
    }
}

/// The lists in an object in which two elements have the same keys.
pub(super) fn duplicates(of: &'static TypeSchema, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    find_duplicates(Shape::Object(of), object, "", &mut found);
    found
}

fn find_duplicates(shape: Shape, value: &Value, path: &str, found: &mut Vec<String>) {
    match (shape, value) {
        (Shape::Object(_) | Shape::Map(_), Value::Object(fields)) => {
            for (name, value) in fields {
                if let Some(shape) = shape.inside(name) {
                    find_duplicates(shape, value, &format!("{path}.{name}"), found);
                }
            }
        }
        (Shape::Keyed(field), Value::Array(items)) => {
            let mut seen = BTreeSet::new();
            for (at, item) in items.iter().enumerate() {
                match item_of(field, item) {
                    None => {
                        let keys = field.keys.join(", ");
                        found.push(format!("{path}: element {at}: associative list with keys has an element that omits key field {keys}"));
                    }
                    Some(element) if !seen.insert(element.clone()) => {
                        found.push(format!("{path}: duplicate entries for key {element}"));
                    }
                    Some(element) => find_duplicates(item_shape(field), item, &format!("{path}{element}"), found),
                }
            }
        }
        _ => {}
    }
}

/// An object with what is applied.
pub(super) fn merged(of: &'static TypeSchema, live: &Value, applied: &Value) -> Value {
    let mut object = live.clone();
    merge(Shape::Object(of), &mut object, applied);
    object
}

fn merge(shape: Shape, into: &mut Value, applied: &Value) {
    match (shape, &mut *into, applied) {
        (Shape::Object(_) | Shape::Map(_), Value::Object(fields), Value::Object(applied)) => {
            for (name, applied) in applied {
                if let Some(shape) = shape.inside(name) {
                    merge(shape, fields.entry(name.as_str()).or_insert(Value::Null), applied);
                }
            }
        }
        (Shape::Keyed(field), Value::Array(items), Value::Array(applied)) => merge_items(field, items, applied),
        (Shape::Set, Value::Array(values), Value::Array(applied)) => {
            let new: Vec<Value> = applied.iter().filter(|value| !values.contains(value)).cloned().collect();
            values.extend(new);
        }
        _ => *into = applied.clone(),
    }
}

/// Known elements stay where they are as long as they are in the order in which they are applied; those of others stay
/// behind the element that they were behind.
fn merge_items(field: &'static Field, items: &mut Vec<Value>, applied: &[Value]) {
    let mut order: Vec<Value> = Vec::with_capacity(items.len() + applied.len());
    let wanted: BTreeMap<Element, usize> =
        applied.iter().enumerate().filter_map(|(at, item)| Some((item_of(field, item)?, at))).collect();
    let mut known: BTreeMap<usize, (Value, Vec<Value>)> = BTreeMap::new();
    let mut last = None;
    for item in items.drain(..) {
        let at = item_of(field, &item).and_then(|element| wanted.get(&element)).copied();
        match (at, last) {
            (Some(at), _) if !known.contains_key(&at) => {
                known.insert(at, (item, Vec::new()));
                last = Some(at);
            }
            (_, None) => order.push(item),
            (_, Some(last)) => known.entry(last).or_insert((Value::Null, Vec::new())).1.push(item),
        }
    }
    for (at, item) in applied.iter().enumerate() {
        let (mut merged, behind) = known.remove(&at).unwrap_or((Value::Null, Vec::new()));
        merge(item_shape(field), &mut merged, item);
        order.push(merged);
        order.extend(behind);
    }
    *items = order;
}

/// Takes out of an object what was applied before and is not any more, unless others own it.
pub(super) fn prune(of: &'static TypeSchema, object: &mut Value, before: &FieldSet, now: &FieldSet, others: &FieldSet) {
    let nothing = FieldSet::default();
    prune_below(Shape::Object(of), object, before, Some(now), others, &nothing);
}

fn prune_below(
    shape: Shape,
    value: &mut Value,
    before: &FieldSet,
    now: Option<&FieldSet>,
    others: &FieldSet,
    nothing: &FieldSet,
) {
    for (element, before) in &before.below {
        let (now, theirs) = (now.and_then(|now| now.at(element)), others.at(element));
        let Some((inner, child)) = child(shape, value, element) else { continue };
        match (now, theirs) {
            // The system's part of it stays in any case.
            _ if matches!(inner, Shape::Object(of) if of.name == OBJECT_META.name) => {
                prune_below(inner, child, before, Some(now.unwrap_or(nothing)), theirs.unwrap_or(nothing), nothing);
            }
            (Some(_), _) => prune_below(inner, child, before, now, theirs.unwrap_or(nothing), nothing),
            (None, Some(theirs)) => match shape {
                Shape::Keyed(field) => keep_item(field, child, theirs),
                _ => keep_only(inner, child, theirs),
            },
            (None, None) => *child = Value::Null,
        }
        // What is empty now was only there for what was in it.
        let is_emptied = child.is_null() || now.is_none_or(|now| !now.member) && theirs.is_none() && is_empty(child);
        if is_emptied {
            remove(shape, value, element);
        }
    }
}

/// Takes all out of a value that others do not own.
fn keep_only(shape: Shape, value: &mut Value, theirs: &FieldSet) {
    if theirs.below.is_empty() {
        return;
    }
    match (shape, value) {
        (Shape::Object(_) | Shape::Map(_), Value::Object(fields)) => {
            fields.retain(|name, _| theirs.at(&named(name)).is_some());
            for (name, value) in fields {
                if let (Some(shape), Some(theirs)) = (shape.inside(name), theirs.at(&named(name))) {
                    keep_only(shape, value, theirs);
                }
            }
        }
        (Shape::Keyed(field), Value::Array(items)) => {
            items.retain(|item| item_of(field, item).is_some_and(|element| theirs.at(&element).is_some()));
            for item in items {
                if let Some(theirs) = item_of(field, item).and_then(|element| theirs.at(&element)) {
                    keep_item(field, item, theirs);
                }
            }
        }
        (Shape::Set, Value::Array(values)) => {
            values.retain(|value| theirs.at(&Element::Value(value.to_string())).is_some());
        }
        _ => {}
    }
}

/// Takes all out of an element of a list that others do not own, but for its keys.
fn keep_item(field: &'static Field, item: &mut Value, theirs: &FieldSet) {
    let keys: Map<String, Value> =
        field.keys.iter().filter_map(|key| Some(((*key).to_owned(), item.get(*key)?.clone()))).collect();
    keep_only(item_shape(field), item, theirs);
    if let Value::Object(fields) = item {
        fields.extend(keys);
    }
}

/// What an element of a path is in a value, and how it is walked.
fn child<'a>(shape: Shape, value: &'a mut Value, element: &Element) -> Option<(Shape, &'a mut Value)> {
    match (shape, element, value) {
        (Shape::Object(_) | Shape::Map(_), Element::Field(name), Value::Object(fields)) => {
            Some((shape.inside(name)?, fields.get_mut(name)?))
        }
        (Shape::Keyed(field), Element::Key(_), Value::Array(items)) => {
            let item = items.iter_mut().find(|item| item_of(field, item).as_ref() == Some(element))?;
            Some((item_shape(field), item))
        }
        (Shape::Set, Element::Value(text), Value::Array(values)) => {
            Some((Shape::Atomic, values.iter_mut().find(|value| value.to_string() == *text)?))
        }
        _ => None,
    }
}

/// Takes an element out of a value: one that was set to null, or is empty.
fn remove(shape: Shape, value: &mut Value, element: &Element) {
    match (shape, element, value) {
        (_, Element::Field(name), Value::Object(fields)) => drop(fields.remove(name)),
        (Shape::Keyed(_) | Shape::Set, _, Value::Array(items)) => items.retain(|item| !item.is_null()),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    }
}

/// Where what is applied is not what the object has: calls a function with each such field's path.
pub(super) fn differences(of: &'static TypeSchema, live: &Value, applied: &Value, found: &mut dyn FnMut(&[Element])) {
    differ(Shape::Object(of), live, applied, &mut Vec::new(), found);
}

fn differ(shape: Shape, live: &Value, applied: &Value, path: &mut Vec<Element>, found: &mut dyn FnMut(&[Element])) {
    match (shape, live, applied) {
        (Shape::Object(_) | Shape::Map(_), Value::Object(live), Value::Object(applied)) => {
            for (name, applied) in applied {
                if let (Some(shape), Some(live)) = (shape.inside(name), live.get(name)) {
                    path.push(named(name));
                    differ(shape, live, applied, path, found);
                    path.pop();
                }
            }
        }
        (Shape::Keyed(field), Value::Array(items), Value::Array(applied)) => {
            let items: BTreeMap<Element, &Value> =
                items.iter().filter_map(|item| Some((item_of(field, item)?, item))).collect();
            for applied in applied {
                let Some(element) = item_of(field, applied) else { continue };
                if let Some(live) = items.get(&element) {
                    path.push(element);
                    differ(item_shape(field), live, applied, path, found);
                    path.pop();
                }
            }
        }
        (Shape::Set, Value::Array(_), Value::Array(_)) => {}
        (_, live, applied) if live != applied => found(path),
        _ => {}
    }
}

/// What an object has at a path.
pub(super) fn value_at<'a>(of: &'static TypeSchema, object: &'a Value, path: &[Element]) -> Option<&'a Value> {
    let mut at = (Shape::Object(of), object);
    for element in path {
        at = match (at.0, element, at.1) {
            (Shape::Object(_) | Shape::Map(_), Element::Field(name), Value::Object(fields)) => {
                (at.0.inside(name)?, fields.get(name)?)
            }
            (Shape::Keyed(field), Element::Key(_), Value::Array(items)) => {
                let item = items.iter().find(|item| item_of(field, item).as_ref() == Some(element))?;
                (item_shape(field), item)
            }
            _ => return None,
        };
    }
    Some(at.1)
}
