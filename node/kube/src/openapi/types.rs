//! The types of the schema as OpenAPI's. There are no descriptions in the schema, so there are hardly any here.

use serde_json::{Map, Value, json};

use super::Dialect;
use crate::resource;
use crate::schema::{Check, Field, Merge, Support, Ty, TypeSchema};

/// Adds a type and all that it holds.
pub(super) fn add(schemas: &mut Map<String, Value>, schema: &'static TypeSchema, dialect: Dialect) {
    if schemas.contains_key(schema.name) {
        return;
    }
    // A type may hold itself; the empty entry ends the circle.
    schemas.insert(schema.name.to_owned(), json!({}));
    let mut properties = Map::new();
    if resource::all().any(|resource| resource.schema.name == schema.name) {
        let version = "The group and version of the API that the object is written in.";
        properties.insert("apiVersion".to_owned(), json!({"type": "string", "description": version}));
        properties.insert("kind".to_owned(), json!({"type": "string", "description": "What the object is."}));
    }
    let mut required = Vec::new();
    for field in schema.fields {
        if field.required {
            required.push(Value::from(field.name));
        }
        properties.insert(field.name.to_owned(), property(schemas, field, dialect));
    }
    let mut body = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        body["required"] = required.into();
    }
    schemas.insert(schema.name.to_owned(), body);
}

/// What refers to a type.
pub(super) fn reference(schema: &TypeSchema, dialect: Dialect) -> Value {
    match dialect {
        Dialect::V2 => json!({"$ref": format!("#/definitions/{}", schema.name)}),
        Dialect::V3 => json!({"$ref": format!("#/components/schemas/{}", schema.name)}),
    }
}

fn property(schemas: &mut Map<String, Value>, field: &'static Field, dialect: Dialect) -> Value {
    let mut value = of_type(schemas, &field.ty, dialect);
    if let Some(default) = field.default.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        value["default"] = default;
    }
    // For lists the check is about each element.
    if let Check::OneOf(values) = field.check {
        match field.ty {
            Ty::Str => value["enum"] = json!(values),
            Ty::List(Ty::Str) => value["items"]["enum"] = json!(values),
            _ => {}
        }
    }
    if matches!(field.ty, Ty::List(_)) {
        list_extensions(&mut value, field);
    }
    match field.support {
        Support::Full => {}
        Support::NotYet => {
            value["description"] =
                "Known to Kubernetes and not honoured by skein yet: refused unless it is empty.".into();
        }
        Support::System => value["description"] = "Set by the system; what a client sends is dropped.".into(),
    }
    value
}

fn list_extensions(value: &mut Value, field: &Field) {
    value["x-kubernetes-list-type"] = match (field.keys, field.merge) {
        ([], Merge::Set) => "set".into(),
        ([], _) => "atomic".into(),
        (keys, _) => {
            value["x-kubernetes-list-map-keys"] = json!(keys);
            "map".into()
        }
    };
    match field.merge {
        Merge::By(key) => {
            value["x-kubernetes-patch-strategy"] = "merge".into();
            value["x-kubernetes-patch-merge-key"] = key.into();
        }
        Merge::Set => value["x-kubernetes-patch-strategy"] = "merge".into(),
        Merge::Replace => {}
    }
}

fn of_type(schemas: &mut Map<String, Value>, ty: &'static Ty, dialect: Dialect) -> Value {
    match (ty, dialect) {
        (Ty::Str, _) => json!({"type": "string"}),
        (Ty::Bool, _) => json!({"type": "boolean"}),
        (Ty::Int32, _) => json!({"type": "integer", "format": "int32"}),
        (Ty::Int64, _) => json!({"type": "integer", "format": "int64"}),
        (Ty::Quantity, Dialect::V2) => json!({"type": "string"}),
        (Ty::Quantity, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        (Ty::IntOrString, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
        (Ty::IntOrString, Dialect::V3) => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        (Ty::Time | Ty::MicroTime, _) => json!({"type": "string", "format": "date-time"}),
        (Ty::Bytes, _) => json!({"type": "string", "format": "byte"}),
        // A type that is not named takes everything.
        (Ty::Any, Dialect::V2) => json!({}),
        (Ty::Raw, Dialect::V2) => json!({"type": "object"}),
        (Ty::Any | Ty::Raw, Dialect::V3) => json!({"x-kubernetes-preserve-unknown-fields": true, "type": "object"}),
        (Ty::Object(schema), _) => {
            add(schemas, schema, dialect);
            match dialect {
                Dialect::V2 => reference(schema, dialect),
                Dialect::V3 => json!({"allOf": [reference(schema, dialect)]}),
            }
        }
        (Ty::List(of), _) => json!({"type": "array", "items": of_type(schemas, of, dialect)}),
        (Ty::Map(of), _) => json!({"type": "object", "additionalProperties": of_type(schemas, of, dialect)}),
    }
}
