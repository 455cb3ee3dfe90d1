//! Bodies of requests as JSON objects, from JSON, YAML or protobuf. Whether an object is valid does not live here.

use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::protobuf;
use crate::status::Status;

/// What a short YAML body may come to with its aliases written out, in values and bytes of texts; a long one comes to twice its length more.
const LEAST_ROOM: usize = 64 << 10;

/// The form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyType {
    /// `application/json`, and what comes without a content type.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl BodyType {
    /// The form that a content type names.
    ///
    /// # Errors
    /// 415 for another type.
    pub fn of(content_type: Option<&str>) -> Result<Self, Status> {
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            // Clients in the field post without a type, and some libraries' default is this one.
            "" | "application/json" | "*/*" => Ok(BodyType::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(BodyType::Yaml),
            "application/vnd.kubernetes.protobuf" => Ok(BodyType::Protobuf),
            _ => Err(Status::unsupported_body_type()),
        }
    }
}

/// A body as a JSON object.
///
/// # Errors
/// 415 for a type that is not taken, 400 for a body that cannot be read or names a field twice.
pub fn decode(content_type: Option<&str>, body: &[u8]) -> Result<Value, Status> {
    let value = match BodyType::of(content_type)? {
        BodyType::Json => decode_json(body)?,
        BodyType::Yaml => decode_yaml(body)?,
        BodyType::Protobuf => protobuf::decode(body).map_err(|error| {
            Status::bad_request(format!(
                "the protobuf body cannot be read: {error}; send JSON (application/json) instead"
            ))
        })?,
    };
    if value.is_object() {
        return Ok(value);
    }
    Err(Status::bad_request(format!("the body must be an object, but it is {}", kind_of(&value))))
}

/// JSON, in which no field may be named twice.
///
/// # Errors
/// 400 when it cannot be read.
pub fn decode_json(body: &[u8]) -> Result<Value, Status> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Unique::of(&Room::of(body)).deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| Status::bad_request(format!("the body is not JSON: {error}")))
}

/// One YAML document, in which no field may be named twice.
///
/// # Errors
/// 400 when it cannot be read.
pub fn decode_yaml(body: &[u8]) -> Result<Value, Status> {
    let wrong =
        |error: serde_yaml_ng::Error| Status::bad_request(format!("the body is not one YAML document: {error}"));
    Unique::of(&Room::of(body)).deserialize(serde_yaml_ng::Deserializer::from_slice(body)).map_err(wrong)
}

/// What a JSON value is, in words.
#[must_use]
pub fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("the boolean {flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => format!("the string {}", crate::status::quoted(value)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// How much may still be read of a body: values, and bytes of texts and names. Written out, a body never holds more than it has
/// bytes; only YAML's aliases can say something again without writing it, and aliases of aliases a billion times over.
struct Room(Cell<usize>);

impl Room {
    fn of(body: &[u8]) -> Self {
        // Each value and each byte of a text takes one byte of the body at least; some aliases are in order.
        Room(Cell::new(body.len().saturating_mul(2).saturating_add(LEAST_ROOM)))
    }

    fn take<E: Error>(&self, much: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(much);
        self.0.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or_else(|| E::custom("its aliases repeat too much; write out what they stand for"))
    }
}

/// Where a value stands. It is written out for a mistake alone: a long name above many values would be copied for each of them.
enum Place<'a> {
    Top,
    Field(&'a Place<'a>, &'a str),
    Element(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Top => Ok(()),
            Place::Field(Place::Top, name) => f.write_str(name),
            Place::Field(above, name) => write!(f, "{above}.{name}"),
            Place::Element(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

/// Reads a value and refuses a field that is named twice: the first or the last cannot both have been meant.
struct Unique<'a> {
    room: &'a Room,
    place: Place<'a>,
}

impl<'a> Unique<'a> {
    fn of(room: &'a Room) -> Self {
        Unique { room, place: Place::Top }
    }
}

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.room.take(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can hold")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.room.take(value.len())?;
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.room.take(value.len())?;
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let place = Place::Element(&self.place, list.len());
            let Some(element) = elements.next_element_seed(Unique { room: self.room, place })? else { break };
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(MapKey(field)) = entries.next_key()? {
            self.room.take(field.len())?;
            let place = Place::Field(&self.place, &field);
            if map.contains_key(&field) {
                return Err(A::Error::custom(format!("strict decoding error: duplicate field \"{place}\"")));
            }
            let value = entries.next_value_seed(Unique { room: self.room, place })?;
            map.insert(field, value);
        }
        Ok(Value::Object(map))
    }
}

/// A map's key; YAML allows numbers and truth values, which are taken as they are written.
struct MapKey(String);

impl<'de> Deserialize<'de> for MapKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = MapKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<MapKey, E> {
                Ok(MapKey(value.to_owned()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<MapKey, E> {
                Ok(MapKey(value.to_string()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<MapKey, E> {
                Ok(MapKey(value.to_string()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<MapKey, E> {
                Ok(MapKey(value.to_string()))
            }
        }
        deserializer.deserialize_any(Key)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn json_and_yaml_give_the_same_object() {
        let object = json!({"a": {"b": [1, "x", null, true, 1.5]}, "80": "y"});
        assert_eq!(decode(None, object.to_string().as_bytes()).unwrap(), object);
        let yaml = "a:\n  b: [1, x, null, true, 1.5]\n80: y\n";
        assert_eq!(decode(Some("application/yaml; charset=utf-8"), yaml.as_bytes()).unwrap(), object);
    }

    #[test]
    fn aliases_may_repeat_a_little_and_not_without_end() {
        let value = decode(Some("application/yaml"), b"a: &a [1, 2]\nb: *a\nc: {d: *a}").unwrap();
        assert_eq!(value, json!({"a": [1, 2], "b": [1, 2], "c": {"d": [1, 2]}}));
        // Each says the list again, a hundred million values in all; and texts instead of values.
        let of_values = format!("a: &a [{}]\nb: [{}]", "0,".repeat(10_000), "*a,".repeat(10_000));
        let of_text = format!("a: &a {}\nb: [{}]", "x".repeat(100_000), "*a,".repeat(10_000));
        let of_names = format!("a: &a\n  {}: 1\nb: [{}]", "x".repeat(900), "*a,".repeat(30_000));
        let of_aliases = (0..20)
            .fold("a0: &a0 [1, 1]\n".to_owned(), |text, n| format!("{text}a{}: &a{} [*a{n}, *a{n}]\n", n + 1, n + 1));
        for bomb in [of_values, of_text, of_names, of_aliases] {
            let said = decode(Some("application/yaml"), bomb.as_bytes()).unwrap_err().to_string();
            // The library has a limit of its own, on aliases of aliases.
            assert!(said.contains("aliases repeat too much") || said.contains("repetition limit"), "{said}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_reason() {
        for (kind, body, wanted) in [
            (None, "{\"metadata\":", "EOF"),
            (None, "[]", "a list"),
            (None, "{} {}", "trailing"),
            (None, r#"{"spec":{"a":[{"b":1,"b":2}]}}"#, "duplicate field \"spec.a[0].b\""),
            (Some("application/yaml"), "a: 1\na: 2", "duplicate"),
            (Some("application/yaml"), "a: [", "YAML"),
            (Some("application/vnd.kubernetes.protobuf"), "k8s", "protobuf"),
        ] {
            let error = decode(kind, body.as_bytes()).unwrap_err();
            assert_eq!(error.code, 400);
            assert!(error.message.contains(wanted), "{body}: {}", error.message);
        }
        assert_eq!(decode(Some("text/html"), b"{}").unwrap_err().code, 415);
        assert_eq!(decode(None, "[".repeat(100_000).as_bytes()).unwrap_err().code, 400);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for kind in ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"] {
                let _ = decode(Some(kind), &bytes);
            }
        }
    }
}
