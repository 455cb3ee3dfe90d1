//! Objects that go after what depends on them, as a deletion in the foreground asks: they stay, marked as deleted, until that is
//! gone.

use skein_crdt_state::{Edit, ObjectState, Scalar};

/// The finalizer of such an object.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The leaf with an object's finalizers.
const FINALIZERS: &str = "metadata.finalizers";

/// The other finalizers of an object that is on its way out in the foreground; `None`: it is not.
#[must_use]
pub fn closing(object: &ObjectState) -> Option<Vec<String>> {
    object.get("metadata.deletionTimestamp")?;
    let Scalar::Json(text) = object.get(FINALIZERS)? else { return None };
    let mut finalizers: Vec<String> = serde_json::from_str(text).ok()?;
    let all = finalizers.len();
    finalizers.retain(|finalizer| finalizer != FOREGROUND);
    (finalizers.len() < all).then_some(finalizers)
}

/// The edit that leaves an object with these finalizers.
#[must_use]
pub fn set_finalizers(finalizers: &[String]) -> Edit {
    // A list of texts: serde has nothing to refuse.
    Edit::set(FINALIZERS, Scalar::Json(serde_json::to_string(finalizers).unwrap_or_default().into()))
}
