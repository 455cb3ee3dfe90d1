//! A document of OpenAPI's second version as protobuf: the messages of gnostic's `openapi.v2.Document`, as far as the
//! documents that are made here need them.

use serde_json::{Map, Value};

/// One message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number > 0x7f {
            // The seven lowest bits, and that more follow.
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn bytes(&mut self, tag: u64, content: &[u8]) {
        self.varint(tag << 3 | 2);
        self.varint(content.len() as u64);
        self.0.extend_from_slice(content);
    }

    /// A text, if there is one.
    fn text(&mut self, tag: u64, value: Option<&Value>) {
        if let Some(text) = value.and_then(Value::as_str) {
            self.bytes(tag, text.as_bytes());
        }
    }

    /// A truth value, if it is true.
    fn flag(&mut self, tag: u64, value: Option<&Value>) {
        if value == Some(&Value::Bool(true)) {
            self.varint(tag << 3);
            self.varint(1);
        }
    }

    /// Each text of a list.
    fn texts(&mut self, tag: u64, list: Option<&Value>) {
        for value in list.and_then(Value::as_array).into_iter().flatten() {
            self.text(tag, Some(value));
        }
    }

    fn message(&mut self, tag: u64, inner: &Message) {
        self.bytes(tag, &inner.0);
    }

    /// A message, if there is a value to make it of.
    fn made(&mut self, tag: u64, value: Option<&Value>, make: fn(&Value) -> Message) {
        if let Some(value) = value {
            self.message(tag, &make(value));
        }
    }

    /// Each entry of a map, by its name.
    fn named(&mut self, tag: u64, map: Option<&Value>, make: fn(&Value) -> Message) {
        for (name, value) in map.and_then(Value::as_object).into_iter().flatten() {
            let mut entry = Message::default();
            entry.bytes(1, name.as_bytes());
            entry.message(2, &make(value));
            self.message(tag, &entry);
        }
    }

    /// All that OpenAPI itself has no field for.
    fn extensions(&mut self, tag: u64, fields: &Map<String, Value>) {
        for (name, value) in fields.iter().filter(|(name, _)| name.starts_with("x-")) {
            let mut entry = Message::default();
            entry.bytes(1, name.as_bytes());
            entry.message(2, &any(value));
            self.message(tag, &entry);
        }
    }
}

/// Writes a document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut message = Message::default();
    message.text(1, document.get("swagger"));
    message.made(2, document.get("info"), |info| {
        let mut message = Message::default();
        message.text(1, info.get("title"));
        message.text(2, info.get("version"));
        message
    });
    let mut paths = Message::default();
    paths.named(2, document.get("paths"), path_item);
    message.message(8, &paths);
    let mut definitions = Message::default();
    definitions.named(1, document.get("definitions"), schema);
    message.message(9, &definitions);
    message.0
}

/// A value of any type: as YAML, of which JSON is a part.
fn any(value: &Value) -> Message {
    let mut message = Message::default();
    message.bytes(2, value.to_string().as_bytes());
    message
}

/// A choice of one: a message within a message.
fn one_of(tag: u64, inner: &Message) -> Message {
    let mut message = Message::default();
    message.message(tag, inner);
    message
}

fn path_item(item: &Value) -> Message {
    let mut message = Message::default();
    for (method, tag) in [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)] {
        message.made(tag, item.get(method), operation);
    }
    for value in item["parameters"].as_array().into_iter().flatten() {
        message.message(9, &parameter(value));
    }
    message
}

fn operation(operation: &Value) -> Message {
    let mut message = Message::default();
    message.texts(6, operation.get("produces"));
    message.texts(7, operation.get("consumes"));
    for value in operation["parameters"].as_array().into_iter().flatten() {
        message.message(8, &parameter(value));
    }
    let mut responses = Message::default();
    responses.named(1, operation.get("responses"), |response| {
        let mut message = Message::default();
        message.text(1, response.get("description"));
        message.made(2, response.get("schema"), |of| one_of(1, &schema(of)));
        one_of(1, &message)
    });
    message.message(9, &responses);
    if let Some(fields) = operation.as_object() {
        message.extensions(13, fields);
    }
    message
}

/// A parameter in the query, in the path or in the body. The tags of the first two differ after the name.
fn parameter(parameter: &Value) -> Message {
    let mut message = Message::default();
    if parameter["in"] == "body" {
        message.text(1, parameter.get("description"));
        message.text(2, parameter.get("name"));
        message.text(3, parameter.get("in"));
        message.flag(4, parameter.get("required"));
        message.made(5, parameter.get("schema"), schema);
        return one_of(1, &one_of(1, &message));
    }
    let (choice, of_type, unique) = if parameter["in"] == "path" { (4, 5, 19) } else { (3, 6, 20) };
    message.flag(1, parameter.get("required"));
    message.text(2, parameter.get("in"));
    message.text(3, parameter.get("description"));
    message.text(4, parameter.get("name"));
    message.text(of_type, parameter.get("type"));
    message.flag(unique, parameter.get("uniqueItems"));
    one_of(1, &one_of(2, &one_of(choice, &message)))
}

fn schema(of: &Value) -> Message {
    let mut message = Message::default();
    message.text(1, of.get("$ref"));
    message.text(2, of.get("format"));
    message.text(4, of.get("description"));
    message.made(5, of.get("default"), any);
    message.texts(19, of.get("required"));
    for value in of["enum"].as_array().into_iter().flatten() {
        message.message(20, &any(value));
    }
    message.made(21, of.get("additionalProperties"), |of| one_of(1, &schema(of)));
    message.made(22, of.get("type"), |name| {
        let mut message = Message::default();
        message.text(1, Some(name));
        message
    });
    message.made(23, of.get("items"), |of| one_of(1, &schema(of)));
    if of.get("properties").is_some() {
        let mut properties = Message::default();
        properties.named(1, of.get("properties"), schema);
        message.message(25, &properties);
    }
    if let Some(fields) = of.as_object() {
        message.extensions(31, fields);
    }
    message
}

#[cfg(test)]
mod tests;
