//! What all rendered objects share: apiVersion and kind, metadata, times as text, and the stamp that says whether an
//! object became different.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use skein_crdt_state::{ClusterId, Hlc, Kind, Leaf, ObjectKey, ObjectState, Scalar, Store};

/// Says which values of an object no peer that is here can give.
const MISSING_ANNOTATION: &str = "skein.dev/missing-values";
/// The most that it names.
const MAX_MISSING_NAMED: usize = 16;
/// Where stamps begin: 2024-01-01, in milliseconds since the Unix epoch.
const STAMP_EPOCH_MS: u64 = 1_704_067_200_000;
/// Bits of a stamp that hold a hash of the content.
const HASH_BITS: u32 = 6;
/// Bits of a stamp that hold milliseconds: enough until 2093.
const TIME_BITS: u32 = 41;

/// `Deployment.apps` as a client writes it: apiVersion and kind.
pub(super) fn api_names(kind: &Kind) -> (String, &str) {
    match kind.as_str().split_once('.') {
        None => ("v1".to_owned(), kind.as_str()),
        Some((name, "autoscaling")) => ("autoscaling/v2".to_owned(), name),
        Some((name, group)) => (format!("{group}/v1"), name),
    }
}

/// Names in an annotation what of an object is kept beside its document and cannot be had now.
pub(super) fn say_what_is_missing(store: &Store, object: &ObjectState, value: &mut Value) {
    if store.is_complete(object) {
        return;
    }
    let is_missing =
        |leaf: &Leaf| matches!(&leaf.value, Scalar::Blob(blob) if store.text_of(object.key(), blob).is_none());
    let missing = object.leaves().iter().filter(|(_, leaf)| is_missing(leaf)).map(|(path, _)| &**path);
    let missing: Vec<&str> = missing.take(MAX_MISSING_NAMED).collect();
    if missing.is_empty() {
        return;
    }
    let Some(metadata) = map_at(value, "metadata").and_then(|metadata| map_at(metadata, "annotations")) else { return };
    if let Some(annotations) = metadata.as_object_mut() {
        annotations.insert(MISSING_ANNOTATION.into(), missing.join(" ").into());
    }
}

/// The map in a field. A peer may have written anything there; what is no map gives way to one.
fn map_at<'a>(value: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    let inner = value.as_object_mut()?.entry(field).or_insert_with(|| json!({}));
    if !inner.is_object() {
        *inner = json!({});
    }
    Some(inner)
}

/// An object's metadata: what is stored of it, and what follows from the key.
pub(super) fn of_object(object: &ObjectState, stored: Option<Value>, cluster: &ClusterId) -> Map<String, Value> {
    let key = object.key();
    let mut metadata = match stored {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    metadata.insert("name".into(), key.name().into());
    if let Some(namespace) = key.namespace() {
        metadata.insert("namespace".into(), namespace.into());
    }
    metadata.insert("uid".into(), key.uid(cluster).to_string().into());
    metadata.insert("creationTimestamp".into(), time(object.born().millis()));
    if let Some(owner) = key.owner().filter(|owner| owner.kind().as_str() != "Namespace") {
        let mut owners = match metadata.remove("ownerReferences") {
            Some(Value::Array(owners)) => owners,
            _ => Vec::new(),
        };
        owners.insert(0, controller(&owner, cluster));
        metadata.insert("ownerReferences".into(), owners.into());
    }
    metadata
}

/// The ownerReference that a controller leaves.
pub(super) fn controller(owner: &ObjectKey, cluster: &ClusterId) -> Value {
    let (api_version, kind) = api_names(owner.kind());
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "name": owner.name(),
        "uid": owner.uid(cluster).to_string(),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// A moment as Kubernetes writes it, in whole seconds; `null` for zero, which says "never".
pub(super) fn time(ms: u64) -> Value {
    if ms == 0 { Value::Null } else { Value::String(rfc3339(ms)) }
}

/// RFC 3339 in UTC. A year past 9999 is written as the last moment of it.
pub fn rfc3339(ms: u64) -> String {
    let seconds = (ms / 1000).min(253_402_300_799);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Year, month and day so many days after 1970-01-01, counted in years that begin with March so that the leap day is last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// The stamp of a value whose newest contribution is from `newest_ms`.
pub(super) fn stamp(newest_ms: u64, value: &Value) -> u64 {
    let mut hash = Sha256::new();
    // Writing JSON into a hash fails for no value.
    let _ = serde_json::to_writer(&mut hash, value);
    let time = newest_ms.saturating_sub(STAMP_EPOCH_MS).min((1 << TIME_BITS) - 1);
    (time << HASH_BITS) | u64::from(hash.finalize()[0] >> (8 - HASH_BITS))
}

/// Another stamp of the same moment, for a value whose own is that of the value before it.
pub(super) fn another(stamp: u64) -> u64 {
    let mask = (1 << HASH_BITS) - 1;
    (stamp & !mask) | ((stamp + 1) & mask)
}

/// The later of two moments in milliseconds.
pub(super) fn later(ms: u64, stamp: Hlc) -> u64 {
    ms.max(stamp.millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_map_gives_way_to_one() {
        for mut value in [json!({}), json!({"metadata": "x"}), json!({"metadata": {"annotations": [1]}})] {
            let annotations = map_at(&mut value, "metadata").and_then(|metadata| map_at(metadata, "annotations"));
            assert_eq!(annotations, Some(&mut json!({})));
        }
        assert_eq!(map_at(&mut json!("x"), "metadata"), None);
    }

    #[test]
    fn moments_are_written_as_kubernetes_does() {
        assert_eq!(rfc3339(1_704_067_200_000), "2024-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_709_208_645_999), "2024-02-29T12:10:45Z");
        assert_eq!(rfc3339(951_868_800_000), "2000-03-01T00:00:00Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(time(0), Value::Null);
    }

    #[test]
    fn a_stamp_has_47_bits_and_follows_content_and_time() {
        let (a, b) = (json!({"a": 1}), json!({"a": 2}));
        assert!(stamp(u64::MAX, &a) < 1 << 47);
        assert_eq!(stamp(STAMP_EPOCH_MS + 5, &a), stamp(STAMP_EPOCH_MS + 5, &a));
        assert_ne!(stamp(STAMP_EPOCH_MS + 5, &a), stamp(STAMP_EPOCH_MS + 5, &b));
        assert!(stamp(STAMP_EPOCH_MS + 6, &a) > stamp(STAMP_EPOCH_MS + 5, &b));
        let last_of_its_moment = 63;
        assert_eq!((another(last_of_its_moment), another(64)), (0, 65));
    }

    #[test]
    fn kinds_are_named_as_clients_name_them() {
        assert_eq!(api_names(&Kind::new("Pod")), ("v1".to_owned(), "Pod"));
        assert_eq!(api_names(&Kind::new("Deployment.apps")), ("apps/v1".to_owned(), "Deployment"));
        assert_eq!(api_names(&Kind::new("Lease.coordination.k8s.io")).0, "coordination.k8s.io/v1");
    }
}
