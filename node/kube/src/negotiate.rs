//! Negotiation: in which form a client wants its answer, read from its Accept header.

/// The most entries of an Accept header that are read.
const MAX_ENTRIES: usize = 32;

/// One entry of an Accept header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptEntry {
    /// `application/json`.
    pub media_type: String,
    parameters: Vec<(String, String)>,
}

impl AcceptEntry {
    /// A parameter such as `as` or `g`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn is_json(&self) -> bool {
        matches!(self.media_type.as_str(), "application/json" | "application/*" | "*/*")
    }
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Objects as they are, as JSON.
    Object,
    /// A Table in a version of `meta.k8s.io`.
    Table(TableVersion),
    /// The metadata alone.
    Metadata,
}

/// The version of a Table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableVersion {
    /// `meta.k8s.io/v1`.
    V1,
    /// `meta.k8s.io/v1beta1`.
    V1Beta1,
}

/// Reads an Accept header. Total; what cannot be read is passed over.
#[must_use]
pub fn parse_accept(header: &str) -> Vec<AcceptEntry> {
    let entry = |text: &str| {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next()?.to_ascii_lowercase();
        let parameters = parts.filter_map(|part| part.split_once('='));
        let parameters = parameters.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
        (!media_type.is_empty()).then_some(AcceptEntry { media_type, parameters })
    };
    header.split(',').take(MAX_ENTRIES).filter_map(entry).collect()
}

/// The first form that the client names and that is spoken here; no header means plain JSON. `None`: it takes nothing that
/// is spoken here. Whoever prefers protobuf and takes JSON too gets JSON.
#[must_use]
pub fn form(accept: &[AcceptEntry]) -> Option<Form> {
    if accept.is_empty() {
        return Some(Form::Object);
    }
    accept.iter().filter(|entry| entry.is_json()).find_map(|entry| {
        let of_meta = entry.parameter("g").is_none_or(|group| group == "meta.k8s.io");
        match (entry.parameter("as"), entry.parameter("v")) {
            (None, _) => Some(Form::Object),
            (Some("Table"), Some("v1")) if of_meta => Some(Form::Table(TableVersion::V1)),
            (Some("Table"), Some("v1beta1")) if of_meta => Some(Form::Table(TableVersion::V1Beta1)),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1")) if of_meta => {
                Some(Form::Metadata)
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(header: &str) -> Option<Form> {
        form(&parse_accept(header))
    }

    #[test]
    fn clients_get_the_first_form_that_is_spoken_here() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(asked(kubectl), Some(Form::Table(TableVersion::V1)));
        assert_eq!(asked(""), Some(Form::Object));
        assert_eq!(asked("application/vnd.kubernetes.protobuf,application/json"), Some(Form::Object));
        assert_eq!(asked("application/vnd.kubernetes.protobuf, */*"), Some(Form::Object));
        let metadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(asked(metadata), Some(Form::Metadata));
    }

    #[test]
    fn whoever_takes_nothing_that_is_spoken_here_is_told() {
        assert_eq!(asked("application/vnd.kubernetes.protobuf"), None);
        assert_eq!(asked("application/json;as=Table;v=v9;g=meta.k8s.io"), None);
    }

    proptest! {
        #[test]
        fn any_header_is_read(header in ".{0,200}") {
            let _ = asked(&header);
        }
    }
}
