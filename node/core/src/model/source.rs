//! ConfigMaps, Secrets and accounts as pods use them: which objects a pod names, and what these hold. Where the objects are kept, and
//! what becomes of a pod whose source is missing, does not live here.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::account::{ACCOUNT_KIND, Account};

/// Which kind of object a pod's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceKind {
    /// Open to all.
    ConfigMap,
    /// Kept from disks where that can be.
    Secret,
    /// Who the pod is at the API.
    Account,
}

impl SourceKind {
    /// The kind as it is stored, and as messages name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SourceKind::ConfigMap => "ConfigMap",
            SourceKind::Secret => "Secret",
            SourceKind::Account => ACCOUNT_KIND,
        }
    }

    /// From the stored kind.
    #[must_use]
    pub fn of(kind: &str) -> Option<Self> {
        [SourceKind::ConfigMap, SourceKind::Secret, SourceKind::Account]
            .into_iter()
            .find(|known| known.as_str() == kind)
    }
}

/// Names an object in the pod's namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceName {
    /// Its kind.
    pub kind: SourceKind,
    /// Its name.
    pub name: String,
}

impl SourceName {
    /// Names an object.
    #[must_use]
    pub fn new(kind: SourceKind, name: &str) -> Self {
        SourceName { kind, name: name.to_owned() }
    }

    /// In the words of the kubelet.
    #[must_use]
    pub fn not_found(&self) -> String {
        format!("{} \"{}\" not found", self.kind.as_str().to_lowercase(), self.name)
    }
}

/// What an object holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceData {
    /// What variables and files can be made of.
    pub data: BTreeMap<String, Vec<u8>>,
    /// What only files can be made of: a ConfigMap's `binaryData`.
    pub binary: BTreeMap<String, Vec<u8>>,
    /// What an account says; nothing of other kinds.
    pub account: Option<Account>,
}

impl SourceData {
    /// Reads an object. What is not of the right form is left out, as only a merge could have made it.
    #[must_use]
    pub fn of(kind: SourceKind, object: &Value) -> Self {
        let entries = |field: &str, read: fn(&str) -> Option<Vec<u8>>| {
            let entries = object.get(field).and_then(Value::as_object).into_iter().flatten();
            entries.filter_map(|(key, value)| Some((key.clone(), read(value.as_str()?)?))).collect()
        };
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let base64 = |text: &str| BASE64.decode(text).ok();
        match kind {
            SourceKind::ConfigMap => {
                SourceData { data: entries("data", text), binary: entries("binaryData", base64), account: None }
            }
            SourceKind::Secret => SourceData { data: entries("data", base64), ..SourceData::default() },
            SourceKind::Account => SourceData { account: Some(Account::of(object)), ..SourceData::default() },
        }
    }

    /// A key for a file.
    #[must_use]
    pub fn file(&self, key: &str) -> Option<&Vec<u8>> {
        self.data.get(key).or_else(|| self.binary.get(key))
    }

    /// All keys for files, in order.
    pub fn files(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.data.iter().chain(&self.binary)
    }
}

/// What there is of the objects that a pod names. One that is missing is not among them. The empty one costs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources(Option<Arc<BTreeMap<SourceName, Arc<SourceData>>>>);

impl Sources {
    /// An object, if it is there.
    #[must_use]
    pub fn get(&self, name: &SourceName) -> Option<&SourceData> {
        self.0.as_ref()?.get(name).map(|data| &**data)
    }

    /// An account, if it is there.
    #[must_use]
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.get(&SourceName::new(SourceKind::Account, name))?.account.as_ref()
    }
}

impl FromIterator<(SourceName, Arc<SourceData>)> for Sources {
    fn from_iter<I: IntoIterator<Item = (SourceName, Arc<SourceData>)>>(entries: I) -> Self {
        let entries: BTreeMap<_, _> = entries.into_iter().collect();
        Sources((!entries.is_empty()).then(|| Arc::new(entries)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_and_binary_data_are_decoded_and_what_makes_no_sense_is_left_out() {
        let object = json!({"data": {"a": "eA==", "b": 1, "c": "%"}, "binaryData": {"d": "eQ==", "e": "!"}});
        let secret = SourceData::of(SourceKind::Secret, &object);
        assert_eq!(secret.data, [("a".to_owned(), b"x".to_vec())].into());
        let config = SourceData::of(SourceKind::ConfigMap, &object);
        assert_eq!((config.data.len(), config.file("d")), (2, Some(&b"y".to_vec())));
        assert_eq!(config.data.get("a"), Some(&b"eA==".to_vec()));
        assert_eq!(SourceData::of(SourceKind::Secret, &json!([])), SourceData::default());
    }
}
