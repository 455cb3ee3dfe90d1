//! Paths of leaves: how a field's place in an object is written, and read back.
//!
//! `spec.containers[name="web"].image`: identifiers with dots, map keys that are no identifiers as JSON strings in
//! brackets, elements of keyed lists by their keys' JSON values. The text form alone says how to rebuild the object.

use serde_json::Value;

/// The longest path, in bytes; a longer one is refused when it is written and when it is received.
pub const MAX_PATH_BYTES: usize = 1024;
/// The deepest nesting.
pub const MAX_DEPTH: usize = 32;

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A field of a map.
    Field(String),
    /// An element of a keyed list: its key fields with their values, in the layout's order.
    Element(Vec<(String, Value)>),
}

/// Appends a field to a path.
pub fn push_field(path: &mut String, field: &str) {
    if is_identifier(field) {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(field);
    } else {
        path.push('[');
        path.push_str(&Value::from(field).to_string());
        path.push(']');
    }
}

/// Appends an element of a keyed list to a path.
pub fn push_element(path: &mut String, keys: &[(&str, &Value)]) {
    path.push('[');
    for (i, (field, value)) in keys.iter().enumerate() {
        if i > 0 {
            path.push(',');
        }
        path.push_str(field);
        path.push('=');
        path.push_str(&value.to_string());
    }
    path.push(']');
}

/// Reads a path, or `None` if it is not one that [`push_field`] and [`push_element`] would have written.
#[must_use]
pub fn parse(path: &str) -> Option<Vec<Step>> {
    if path.is_empty() || path.len() > MAX_PATH_BYTES {
        return None;
    }
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if steps.len() == MAX_DEPTH {
            return None;
        }
        if let Some(inner) = rest.strip_prefix('[') {
            let (step, after) = parse_bracket(inner)?;
            steps.push(step);
            rest = after;
        } else {
            let body = if steps.is_empty() { rest } else { rest.strip_prefix('.')? };
            let end = body.find(['.', '[']).unwrap_or(body.len());
            let (field, after) = body.split_at(end);
            if !is_identifier(field) {
                return None;
            }
            steps.push(Step::Field(field.to_owned()));
            rest = after;
        }
    }
    Some(steps)
}

fn parse_bracket(inner: &str) -> Option<(Step, &str)> {
    if inner.starts_with('"') {
        let (value, after) = parse_json(inner)?;
        let field = value.as_str()?.to_owned();
        if is_identifier(&field) {
            return None;
        }
        return Some((Step::Field(field), after.strip_prefix(']')?));
    }
    let mut keys = Vec::new();
    let mut rest = inner;
    loop {
        let (field, after) = rest.split_once('=')?;
        if !is_identifier(field) {
            return None;
        }
        let (value, after) = parse_json(after)?;
        if value.is_object() || value.is_array() {
            return None;
        }
        keys.push((field.to_owned(), value));
        if let Some(after) = after.strip_prefix(']') {
            return Some((Step::Element(keys), after));
        }
        rest = after.strip_prefix(',')?;
    }
}

/// One JSON value at the start of a text, and what follows it. Only values in the form that serde_json writes are taken,
/// so that a path has one spelling.
fn parse_json(text: &str) -> Option<(Value, &str)> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = stream.next()?.ok()?;
    let (spelled, after) = text.split_at(stream.byte_offset());
    let own_spelling = value.to_string();
    (own_spelling == spelled).then_some((value, after))
}

fn is_identifier(field: &str) -> bool {
    let mut bytes = field.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b'$')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_written_as_kubernetes_writes_it() {
        let mut path = String::new();
        push_field(&mut path, "spec");
        push_field(&mut path, "ports");
        push_element(&mut path, &[("containerPort", &80.into()), ("protocol", &"TCP".into())]);
        push_field(&mut path, "name");
        assert_eq!(path, r#"spec.ports[containerPort=80,protocol="TCP"].name"#);
        let mut label = "metadata.labels".to_owned();
        push_field(&mut label, "app.kubernetes.io/name");
        assert_eq!(label, r#"metadata.labels["app.kubernetes.io/name"]"#);
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(fields in prop::collection::vec(any::<String>(), 1..6), key in any::<String>()) {
            let mut path = String::new();
            let mut steps = Vec::new();
            for field in &fields {
                push_field(&mut path, field);
                steps.push(Step::Field(field.clone()));
            }
            push_element(&mut path, &[("name", &key.clone().into())]);
            steps.push(Step::Element(vec![("name".into(), key.into())]));
            prop_assume!(path.len() <= MAX_PATH_BYTES);
            prop_assert_eq!(parse(&path), Some(steps));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
