//! The query of a URL: percent-decoded fields. What a field means does not live here.

use skein_kube::status::Status;

/// The most fields of a query.
const FIELDS_LIMIT: usize = 256;

/// A query's fields, in their order; unknown ones are simply not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    fields: Vec<(String, String)>,
}

impl Query {
    /// Reads a query; none and an empty one are the same.
    ///
    /// # Errors
    /// When it is not UTF-8 after decoding, has a broken escape or too many fields.
    pub fn parse(text: Option<&str>) -> Result<Self, Status> {
        let mut fields = Vec::new();
        for field in text.unwrap_or_default().split('&').filter(|field| !field.is_empty()) {
            if fields.len() == FIELDS_LIMIT {
                return Err(Status::bad_request(format!("a query may have {FIELDS_LIMIT} fields at most")));
            }
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            fields.push((decode(name)?, decode(value)?));
        }
        Ok(Query { fields })
    }

    /// A field's first value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// All fields with their values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A switch: on when it is `true` or `1` (as Go's ParseBool reads it), off when it is absent or false.
    ///
    /// # Errors
    /// When it is neither.
    pub fn flag(&self, name: &str) -> Result<bool, Status> {
        match self.get(name) {
            None | Some("" | "0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some(other) => Err(Status::bad_request(format!("{name}: \"{other}\" is neither true nor false"))),
        }
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// When it is something else.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Status> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let wrong = |_| Status::bad_request(format!("{name}: \"{text}\" is not a whole number from 0 on"));
        text.parse().map(Some).map_err(wrong)
    }
}

/// Reads a part of a path.
///
/// # Errors
/// When it is not percent-encoded UTF-8.
pub fn decode_part(text: &str) -> Result<String, Status> {
    decoded(text, false)
}

fn decode(text: &str) -> Result<String, Status> {
    decoded(text, true)
}

fn decoded(text: &str, plus_is_space: bool) -> Result<String, Status> {
    let wrong = || Status::bad_request(format!("\"{text}\" in the URL is not percent-encoded UTF-8"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        bytes.push(match byte {
            b'%' => {
                let (Some(high), Some(low)) = (digit(), digit()) else { return Err(wrong()) };
                u8::try_from(high * 16 + low).map_err(|_| wrong())?
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_query_is_read_as_clients_write_it() {
        let query =
            Query::parse(Some("&labelSelector=app%3Dweb%2Ctier+in%20%28a%29&watch&limit=500&container=a&container=b"))
                .unwrap();
        assert_eq!(query.get("labelSelector"), Some("app=web,tier in (a)"));
        assert_eq!(query.flag("watch"), Ok(false));
        assert_eq!(query.number("limit"), Ok(Some(500)));
        assert_eq!(query.iter().last(), Some(("container", "b")));
        assert_eq!(Query::parse(None).unwrap(), Query::parse(Some("&")).unwrap());
    }

    #[test]
    fn what_is_no_query_is_refused() {
        for text in ["a=%", "a=%1", "a=%zz", "a=%ff"] {
            assert_eq!(Query::parse(Some(text)).map_err(|failure| failure.code), Err(400), "{text}");
        }
        assert!(Query::parse(Some(&"a&".repeat(300))).is_err());
        let query = Query::parse(Some("watch=maybe&limit=-1")).unwrap();
        assert!(query.flag("watch").is_err());
        assert!(query.number("limit").is_err());
    }
}
