//! Strategic merge patch: what `kubectl apply`, `set`, `edit` and `rollout` send. Maps merge; lists merge by the key
//! that the schema names, and are replaced where it names none. Directives (`$patch`, `$setElementOrder/x`,
//! `$deleteFromPrimitiveList/x`, `$retainKeys`) say what plain values cannot.

use serde_json::{Map, Value};

use crate::schema::{Field, Merge, Ty, TypeSchema};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

/// Why a patch makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StrategicError {
    /// A directive that there is not.
    #[error("{path}: \"{found}\" is no patch directive; there are replace, delete and merge")]
    Directive {
        /// Where.
        path: String,
        /// What it says.
        found: String,
    },
    /// A directive with a value of the wrong type.
    #[error("{0}: must be a list")]
    NotAList(String),
    /// An element of a merged list does not say which it is.
    #[error("{path}: an element does not contain the declared merge key: {key}")]
    MissingKey {
        /// The list.
        path: String,
        /// The key.
        key: &'static str,
    },
    /// A field that is set but not among those to retain.
    #[error("{path}: {field} is set but not in $retainKeys")]
    NotRetained {
        /// The map.
        path: String,
        /// The field.
        field: String,
    },
}

/// Applies a patch to an object of a type.
///
/// # Errors
/// When a directive makes no sense or an element has no key.
pub fn merge(of: &'static TypeSchema, to: &Value, patch: &Value) -> Result<Value, StrategicError> {
    let (Value::Object(to), Value::Object(patch)) = (to, patch) else { return Ok(patch.clone()) };
    merge_maps(Inside::Type(of), to.clone(), patch, "").map(Value::Object)
}

/// What is known of a map's fields.
#[derive(Clone, Copy)]
enum Inside {
    /// They are those of a type.
    Type(&'static TypeSchema),
    /// All hold the same.
    Values(&'static Ty),
    /// Nothing.
    Unknown,
}

impl Inside {
    fn of(ty: &'static Ty) -> Self {
        match ty {
            Ty::Object(of) => Inside::Type(of),
            Ty::Map(of) => Inside::Values(of),
            _ => Inside::Unknown,
        }
    }

    fn field(self, name: &str) -> Option<&'static Field> {
        match self {
            Inside::Type(of) => of.field(name),
            _ => None,
        }
    }

    fn below(self, name: &str) -> Self {
        match self {
            Inside::Type(of) => of.field(name).map_or(Inside::Unknown, |field| Inside::of(&field.ty)),
            Inside::Values(ty) => Inside::of(ty),
            Inside::Unknown => Inside::Unknown,
        }
    }
}

fn merge_maps(
    inside: Inside,
    mut to: Map<String, Value>,
    patch: &Map<String, Value>,
    path: &str,
) -> Result<Map<String, Value>, StrategicError> {
    match directive(patch, path)? {
        Directive::Replace => return Ok(without_directives(patch)),
        Directive::Delete => return Ok(Map::new()),
        Directive::Merge => {}
    }
    retain_keys(&mut to, patch, path)?;
    for (directive, removed) in patch.iter().filter(|(name, _)| name.starts_with(DELETE_PRIMITIVES)) {
        let Value::Array(removed) = removed else { return Err(StrategicError::NotAList(below(path, directive))) };
        if let Some(Value::Array(elements)) = to.get_mut(&directive[DELETE_PRIMITIVES.len()..]) {
            elements.retain(|element| !removed.contains(element));
        }
    }
    for (name, change) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        let here = below(path, name);
        match (change, to.remove(name)) {
            (Value::Null, _) => {}
            (Value::Object(change), Some(Value::Object(old))) => {
                let merged = merge_maps(inside.below(name), old, change, &here)?;
                to.insert(name.clone(), Value::Object(merged));
            }
            // What is new is merged into nothing, so that nulls and directives in it do their work.
            (Value::Object(change), _) => {
                let merged = merge_maps(inside.below(name), Map::new(), change, &here)?;
                to.insert(name.clone(), Value::Object(merged));
            }
            (Value::Array(change), old) => {
                let old = match old {
                    Some(Value::Array(old)) => old,
                    _ => Vec::new(),
                };
                let order = element_order(patch, name, path)?;
                let merged = merge_lists(inside.field(name), old, change, order, &here)?;
                to.insert(name.clone(), Value::Array(merged));
            }
            (plain, _) => {
                to.insert(name.clone(), plain.clone());
            }
        }
    }
    reorder_untouched(inside, &mut to, patch, path)?;
    Ok(to)
}

/// Lists whose order is given without any change of elements.
fn reorder_untouched(
    inside: Inside,
    to: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    path: &str,
) -> Result<(), StrategicError> {
    for directive in patch.keys().filter(|name| name.starts_with(SET_ORDER)) {
        let name = &directive[SET_ORDER.len()..];
        let Some(order) = element_order(patch, name, path)?.filter(|_| !patch.contains_key(name)) else { continue };
        if let (Some(field), Some(Value::Array(elements))) = (inside.field(name), to.get_mut(name)) {
            let old = elements.clone();
            *elements = in_order(field.merge, std::mem::take(elements), order, &old);
        }
    }
    Ok(())
}

fn merge_lists(
    field: Option<&'static Field>,
    old: Vec<Value>,
    patch: &[Value],
    order: Option<&[Value]>,
    path: &str,
) -> Result<Vec<Value>, StrategicError> {
    let strategy = field.map_or(Merge::Replace, |field| field.merge);
    let replaces = |element: &Value| element.get(PATCH) == Some(&"replace".into()) && is_only_directive(element);
    if strategy == Merge::Replace || patch.iter().any(replaces) {
        return Ok(patch.iter().filter(|element| element.get(PATCH).is_none()).map(cleaned).collect());
    }
    let before = old.clone();
    let merged = match (strategy, field) {
        (Merge::By(key), Some(field)) => merge_by_key(field, key, old, patch, path)?,
        _ => {
            let mut union = old;
            for element in patch {
                if !union.contains(element) {
                    union.push(element.clone());
                }
            }
            union
        }
    };
    Ok(match order {
        Some(order) => in_order(strategy, merged, order, &before),
        None => merged,
    })
}

fn merge_by_key(
    field: &'static Field,
    key: &'static str,
    mut merged: Vec<Value>,
    patch: &[Value],
    path: &str,
) -> Result<Vec<Value>, StrategicError> {
    let inside = match field.ty {
        Ty::List(of) => Inside::of(of),
        _ => Inside::Unknown,
    };
    for change in patch {
        let missing = || StrategicError::MissingKey { path: path.to_owned(), key };
        let Value::Object(change) = change else { return Err(missing()) };
        let which = change.get(key).ok_or_else(missing)?;
        let is_it = |element: &Value| element.get(key) == Some(which);
        match directive(change, path)? {
            Directive::Delete => merged.retain(|element| !is_it(element)),
            Directive::Replace => {
                merged.retain(|element| !is_it(element));
                merged.push(Value::Object(without_directives(change)));
            }
            Directive::Merge => {
                // More than one element can have the key when the key alone does not tell them apart (a port in TCP and
                // UDP): then the rest of the list's keys does.
                let all_keys = |element: &Value| {
                    field
                        .keys
                        .iter()
                        .all(|name| change.get(*name).is_none_or(|value| element.get(*name) == Some(value)))
                };
                let at = merged.iter().position(|element| is_it(element) && all_keys(element));
                let alone =
                    || Some(merged.iter().position(is_it)?).filter(|_| merged.iter().filter(|e| is_it(e)).count() == 1);
                match at.or_else(alone) {
                    Some(at) => {
                        let old = merged[at].as_object().cloned().unwrap_or_default();
                        merged[at] = Value::Object(merge_maps(inside, old, change, path)?);
                    }
                    None => merged.push(Value::Object(merge_maps(inside, Map::new(), change, path)?)),
                }
            }
        }
    }
    Ok(merged)
}

/// Puts a merged list into the order that the patch gives: its elements as it says, the others where they were among
/// them, as far as that goes.
fn in_order(strategy: Merge, merged: Vec<Value>, order: &[Value], before: &[Value]) -> Vec<Value> {
    let name_of = |element: &Value| match strategy {
        Merge::By(key) => element.get(key).cloned().unwrap_or_default(),
        _ => element.clone(),
    };
    let place = |list: &[Value], element: &Value| {
        let name = name_of(element);
        list.iter().position(|other| name_of(other) == name)
    };
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|element| place(order, element).is_some());
    named.sort_by_key(|element| place(order, element));
    let mut from = 0;
    for other in others {
        let was = place(before, &other);
        let at = named[from..].iter().position(|element| place(before, element).is_some_and(|p| Some(p) > was));
        let at = at.map_or(named.len(), |at| from + at);
        named.insert(at, other);
        from = at + 1;
    }
    named
}

enum Directive {
    Merge,
    Replace,
    Delete,
}

fn directive(patch: &Map<String, Value>, path: &str) -> Result<Directive, StrategicError> {
    match patch.get(PATCH) {
        None => Ok(Directive::Merge),
        Some(Value::String(text)) if text == "merge" => Ok(Directive::Merge),
        Some(Value::String(text)) if text == "replace" => Ok(Directive::Replace),
        Some(Value::String(text)) if text == "delete" => Ok(Directive::Delete),
        Some(other) => Err(StrategicError::Directive {
            path: below(path, PATCH),
            found: other.as_str().map_or_else(|| other.to_string(), str::to_owned).chars().take(64).collect(),
        }),
    }
}

fn retain_keys(to: &mut Map<String, Value>, patch: &Map<String, Value>, path: &str) -> Result<(), StrategicError> {
    let Some(retained) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(retained) = retained else { return Err(StrategicError::NotAList(below(path, RETAIN_KEYS))) };
    let is_retained = |name: &str| retained.iter().any(|key| key == name);
    let set = patch.iter().find(|(name, value)| !name.starts_with('$') && !value.is_null() && !is_retained(name));
    if let Some((field, _)) = set {
        return Err(StrategicError::NotRetained { path: path.to_owned(), field: field.clone() });
    }
    to.retain(|name, _| is_retained(name));
    Ok(())
}

fn element_order<'a>(
    patch: &'a Map<String, Value>,
    name: &str,
    path: &str,
) -> Result<Option<&'a [Value]>, StrategicError> {
    let directive = format!("{SET_ORDER}{name}");
    match patch.get(&directive) {
        None => Ok(None),
        Some(Value::Array(order)) => Ok(Some(order)),
        Some(_) => Err(StrategicError::NotAList(below(path, &directive))),
    }
}

fn is_only_directive(element: &Value) -> bool {
    element.as_object().is_some_and(|fields| fields.len() == 1)
}

/// A value of a patch without directives and nulls, all the way down.
fn cleaned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(without_directives(fields)),
        Value::Array(elements) => elements.iter().map(cleaned).collect(),
        plain => plain.clone(),
    }
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    let said = patch.iter().filter(|(name, value)| !value.is_null() && !is_directive(name));
    said.map(|(name, value)| (name.clone(), cleaned(value))).collect()
}

fn is_directive(name: &str) -> bool {
    name == PATCH || name == RETAIN_KEYS || name.starts_with(SET_ORDER) || name.starts_with(DELETE_PRIMITIVES)
}

fn below(path: &str, name: &str) -> String {
    crate::structure::joined(path, name)
}

#[cfg(test)]
mod tests;
