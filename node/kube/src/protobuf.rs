//! Kubernetes' protobuf bodies as JSON: an envelope with the object's kind, then its fields, read by the tags of the
//! schema. Recent kubectl creates with it. Answers are JSON always, so nothing is written here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use crate::resource;
use crate::schema::{Field, Support, Ty, TypeSchema, review, workload};
use crate::time;

/// What every such body begins with.
pub const MAGIC: &[u8] = b"k8s\0";
/// The deepest nesting of messages.
const MAX_DEPTH: u32 = 32;
/// The greatest number of nanoseconds in a second.
const MAX_NANOS: u64 = 999_999_999;

/// Why bytes are no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// It does not begin with the magic bytes.
    #[error("it does not begin with k8s\\0")]
    Magic,
    /// It ends too early, or a length is wrong.
    #[error("it is cut off or damaged at byte {0}")]
    Damaged(usize),
    /// A field has another wire type than its type has.
    #[error("field {0} has the wrong wire type")]
    WireType(String),
    /// A text that is not UTF-8.
    #[error("field {0} is not UTF-8")]
    Text(String),
    /// An object within the body that is not JSON.
    #[error("field {0} is not JSON")]
    Json(String),
    /// A kind that is not known here.
    #[error("it holds a {kind} of {api_version}, which is not served")]
    Kind {
        /// `v1`, `apps/v1`.
        api_version: String,
        /// `Pod`.
        kind: String,
    },
    /// The content is compressed or encoded.
    #[error("its content is encoded as {0:?}; only plain content is taken")]
    Encoding(String),
    /// Messages within messages within messages.
    #[error("it is nested too deeply")]
    Depth,
}

/// Reads a body.
///
/// # Errors
/// When it is damaged or holds a kind that is not served.
pub fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let unknown = Wire::new(body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?);
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in unknown {
        match field? {
            (1, Piece::Bytes(meta)) => {
                for field in Wire::new(meta) {
                    match field? {
                        (1, Piece::Bytes(text)) => api_version = utf8(text, "apiVersion")?,
                        (2, Piece::Bytes(text)) => kind = utf8(text, "kind")?,
                        _ => {}
                    }
                }
            }
            (2, Piece::Bytes(bytes)) => raw = bytes,
            (3 | 4, Piece::Bytes(text)) if !text.is_empty() && text != b"application/vnd.kubernetes.protobuf" => {
                return Err(ProtobufError::Encoding(utf8(text, "contentEncoding")?));
            }
            _ => {}
        }
    }
    let schema = schema_of(&api_version, &kind)
        .ok_or_else(|| ProtobufError::Kind { api_version: api_version.clone(), kind: kind.clone() })?;
    let mut object = message(schema, raw, None, 0)?;
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(object))
}

/// The type of a kind that can be in a body.
fn schema_of(api_version: &str, kind: &str) -> Option<&'static TypeSchema> {
    match kind {
        // It has a copy in every group.
        "DeleteOptions" => Some(&crate::schema::meta::DELETE_OPTIONS),
        "Scale" => Some(&workload::SCALE),
        "Eviction" => Some(&review::EVICTION),
        "TokenRequest" => Some(&review::TOKEN_REQUEST),
        _ => resource::all().find(|r| r.kind_name == kind && r.api_version() == api_version).map(|r| r.schema),
    }
}

/// The fields of a message; those of `envelope` if the message is one.
fn message(
    of: &'static TypeSchema,
    bytes: &[u8],
    envelope: Option<u32>,
    depth: u32,
) -> Result<Map<String, Value>, ProtobufError> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::Depth);
    }
    let mut fields = Map::new();
    for piece in Wire::new(bytes) {
        let (tag, piece) = piece?;
        if let (None, Piece::Bytes(inner)) = (envelope, &piece)
            && of.fields.iter().any(|field| field.envelope == Some(tag))
        {
            fields.append(&mut message(of, inner, Some(tag), depth + 1)?);
            continue;
        }
        // Fields that this version does not know are skipped, as every protobuf reader does.
        let Some(field) = of.fields.iter().find(|field| field.envelope == envelope && field.tag == tag) else {
            continue;
        };
        if field.support != Support::System || field.name == "resourceVersion" || field.name == "uid" {
            read_field(field, piece, &mut fields, depth)?;
        }
    }
    Ok(fields)
}

fn read_field(
    field: &'static Field,
    piece: Piece<'_>,
    fields: &mut Map<String, Value>,
    depth: u32,
) -> Result<(), ProtobufError> {
    match field.ty {
        Ty::List(of) => {
            let Some(value) = value(field.name, of, piece, depth)? else { return Ok(()) };
            match fields.entry(field.name).or_insert_with(|| json!([])) {
                Value::Array(list) => list.push(value),
                other => *other = json!([value]),
            }
        }
        Ty::Map(of) => {
            let Piece::Bytes(entry) = piece else { return Err(ProtobufError::WireType(field.name.to_owned())) };
            let (mut key, mut held) = (String::new(), None);
            for piece in Wire::new(entry) {
                match piece? {
                    (1, Piece::Bytes(text)) => key = utf8(text, field.name)?,
                    (2, piece) => held = value(field.name, of, piece, depth)?,
                    _ => {}
                }
            }
            let held = held.unwrap_or_else(|| zero(of));
            match fields.entry(field.name).or_insert_with(|| json!({})) {
                Value::Object(map) => drop(map.insert(key, held)),
                other => *other = json!({ key: held }),
            }
        }
        _ => {
            // Go writes the zero of everything that is no pointer: it says nothing.
            let said =
                value(field.name, &field.ty, piece, depth)?.filter(|value| field.explicit_zero || !is_zero(value));
            if let Some(value) = said {
                fields.insert(field.name.to_owned(), value);
            }
        }
    }
    Ok(())
}

/// One value. `None`: a time that is not set.
fn value(name: &str, ty: &'static Ty, piece: Piece<'_>, depth: u32) -> Result<Option<Value>, ProtobufError> {
    let wrong = || ProtobufError::WireType(name.to_owned());
    let read = match (ty, piece) {
        (Ty::Bool, Piece::Number(number)) => (number != 0).into(),
        // Negative numbers are written as 64 bits in two's complement.
        (Ty::Int32 | Ty::Int64, Piece::Number(number)) => number.cast_signed().into(),
        (Ty::Str, Piece::Bytes(text)) => utf8(text, name)?.into(),
        (Ty::Bytes, Piece::Bytes(bytes)) => BASE64.encode(bytes).into(),
        (Ty::Quantity, Piece::Bytes(bytes)) => match Wire::new(bytes).next().transpose()? {
            Some((1, Piece::Bytes(text))) => utf8(text, name)?.into(),
            _ => "0".into(),
        },
        (Ty::IntOrString, Piece::Bytes(bytes)) => int_or_string(name, bytes)?,
        (Ty::Time | Ty::MicroTime, Piece::Bytes(bytes)) => return timestamp(bytes, matches!(ty, Ty::MicroTime)),
        (Ty::Object(of), Piece::Bytes(bytes)) => Value::Object(message(of, bytes, None, depth + 1)?),
        (Ty::Raw, Piece::Bytes(bytes)) => match Wire::new(bytes).next().transpose()? {
            Some((1, Piece::Bytes(text))) => {
                serde_json::from_slice(text).map_err(|_| ProtobufError::Json(name.to_owned()))?
            }
            _ => json!({}),
        },
        // What is not looked into is only told apart from nothing.
        (Ty::Any, Piece::Bytes([])) => json!({}),
        (Ty::Any, Piece::Bytes(bytes)) => BASE64.encode(bytes).into(),
        (Ty::Any, Piece::Number(number)) => number.into(),
        _ => return Err(wrong()),
    };
    Ok(Some(read))
}

fn int_or_string(name: &str, bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for piece in Wire::new(bytes) {
        match piece? {
            (1, Piece::Number(kind)) => is_text = kind != 0,
            (2, Piece::Number(value)) => number = value.cast_signed(),
            (3, Piece::Bytes(value)) => text = utf8(value, name)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

fn timestamp(bytes: &[u8], micro: bool) -> Result<Option<Value>, ProtobufError> {
    let (mut seconds, mut nanos) = (0, 0);
    for piece in Wire::new(bytes) {
        match piece? {
            (1, Piece::Number(value)) => seconds = value,
            (2, Piece::Number(value)) => nanos = value,
            _ => {}
        }
    }
    // A time before 1970 (Go's zero time is one) is a time that is not set; the last year has four digits.
    if seconds == 0 || seconds > 253_402_300_799 || nanos > MAX_NANOS {
        return Ok(None);
    }
    let ms = seconds * 1000 + nanos / 1_000_000;
    Ok(Some(if micro { time::rfc3339_micro(ms) } else { time::rfc3339(ms) }.into()))
}

fn zero(ty: &Ty) -> Value {
    match ty {
        Ty::Object(_) => json!({}),
        Ty::Int32 | Ty::Int64 => 0.into(),
        Ty::Bool => false.into(),
        _ => "".into(),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(flag) => !flag,
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn utf8(bytes: &[u8], name: &str) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::Text(name.to_owned()))
}

/// What a tag holds.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message as they come.
struct Wire<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Wire<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Wire { bytes, at: 0 }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(count).ok()?)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn piece(&mut self) -> Option<(u32, Piece<'a>)> {
        let key = self.varint()?;
        let tag = u32::try_from(key >> 3).ok()?;
        let piece = match key & 7 {
            0 => Piece::Number(self.varint()?),
            1 => Piece::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Piece::Bytes(self.take(length)?)
            }
            5 => Piece::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((tag, piece))
    }
}

impl<'a> Iterator for Wire<'a> {
    type Item = Result<(u32, Piece<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let start = self.at;
        match self.piece() {
            Some(piece) => Some(Ok(piece)),
            None => {
                self.at = self.bytes.len();
                Some(Err(ProtobufError::Damaged(start)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
