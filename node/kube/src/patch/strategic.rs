//! Strategic merge patch: what `kubectl apply`, `set`, `edit` and `rollout` send. Maps merge; lists merge by the key
//! that the schema names, and are replaced where it names none. Directives (`$patch`, `$setElementOrder/x`,
//! `$deleteFromPrimitiveList/x`, `$retainKeys`) say what plain values cannot.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::schema::{Field, Ty, TypeSchema};

mod list;

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
        // What replaces is merged into nothing, so that nulls and directives below it do their work.
        Directive::Replace => to = Map::new(),
        Directive::Delete => return Ok(Map::new()),
        Directive::Merge => {}
    }
    retain_keys(&mut to, patch, path)?;
    for (directive, removed) in patch.iter().filter(|(name, _)| name.starts_with(DELETE_PRIMITIVES)) {
        let Value::Array(removed) = removed else { return Err(StrategicError::NotAList(below(path, directive))) };
        if let Some(Value::Array(elements)) = to.get_mut(&directive[DELETE_PRIMITIVES.len()..]) {
            let removed: BTreeSet<String> = removed.iter().map(Value::to_string).collect();
            elements.retain(|element| !removed.contains(&element.to_string()));
        }
    }
    for (name, change) in patch.iter().filter(|(name, _)| !is_directive(name)) {
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
                let merged = list::merge(inside.field(name), old, change, order, &here)?;
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
            *elements = list::reorder(field.merge, std::mem::take(elements), order);
        }
    }
    Ok(())
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
    let retained: BTreeSet<&str> = retained.iter().filter_map(Value::as_str).collect();
    let is_retained = |name: &str| retained.contains(name);
    let set = patch.iter().find(|(name, value)| !is_directive(name) && !value.is_null() && !is_retained(name));
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

/// A value of a patch without directives and nulls, all the way down.
fn cleaned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let said = fields.iter().filter(|(name, value)| !value.is_null() && !is_directive(name));
            Value::Object(said.map(|(name, value)| (name.clone(), cleaned(value))).collect())
        }
        Value::Array(elements) => elements.iter().map(cleaned).collect(),
        plain => plain.clone(),
    }
}

fn is_directive(name: &str) -> bool {
    name == PATCH || name == RETAIN_KEYS || name.starts_with(SET_ORDER) || name.starts_with(DELETE_PRIMITIVES)
}

fn below(path: &str, name: &str) -> String {
    crate::structure::joined(path, name)
}

#[cfg(test)]
mod tests;
