//! Leaves: an object is a flat map from a field's path to a scalar, so that two nodes' edits merge field by field.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::blob::BlobRef;

/// A field's path in Kubernetes' notation: `spec.template.spec.containers[name="web"].image`,
/// `metadata.labels["app.kubernetes.io/name"]`.
pub type LeafPath = Arc<str>;

/// What a leaf holds.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Scalar {
    /// `null`: the field is set, to nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Str(Arc<str>),
    /// A value that is replaced as a whole, as canonical JSON: a list without a key, an empty map.
    Json(Arc<str>),
    /// A text that a write wants kept beside the document, see [`blob`](crate::blob). In edits alone: what is stored mentions it.
    Aside(Arc<str>),
    /// The mention of a text that is kept beside the document.
    Blob(BlobRef),
}

impl Scalar {
    /// A text leaf.
    #[must_use]
    pub fn str(text: &str) -> Self {
        Scalar::Str(text.into())
    }

    /// The text, if this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Scalar::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if this is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Scalar::Int(number) => Some(*number),
            _ => None,
        }
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Null => f.write_str("null"),
            Scalar::Bool(value) => write!(f, "{value}"),
            Scalar::Int(value) => write!(f, "{value}"),
            Scalar::Float(value) => write!(f, "{value}"),
            Scalar::Str(value) => write!(f, "{value:?}"),
            Scalar::Json(value) => f.write_str(value),
            // It may be a secret.
            Scalar::Aside(text) => write!(f, "<{} bytes to keep aside>", text.len()),
            Scalar::Blob(blob) => write!(f, "{blob:?}"),
        }
    }
}

/// One change of one leaf.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// Which field.
    pub path: LeafPath,
    /// The new value, or `None` to unset the field.
    pub value: Option<Scalar>,
}

impl Edit {
    /// Sets a field.
    #[must_use]
    pub fn set(path: &str, value: Scalar) -> Self {
        Edit { path: path.into(), value: Some(value) }
    }

    /// Unsets a field.
    #[must_use]
    pub fn unset(path: &str) -> Self {
        Edit { path: path.into(), value: None }
    }
}
