//! Secrets. What becomes of `stringData` lives in `defaults`.

use super::meta::OBJECT_META;
use super::{Check, Field, Ty, TypeSchema};

/// A Secret.
pub static SECRET: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Secret",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("immutable", 5, Ty::Bool).explicit(),
        Field::new("data", 2, Ty::Map(&Ty::Bytes)).key_check(Check::ConfigKey),
        Field::new("stringData", 4, Ty::Map(&Ty::Str)).key_check(Check::ConfigKey),
        Field::new("type", 3, Ty::Str).default("\"Opaque\"").immutable("field is immutable"),
    ],
};
