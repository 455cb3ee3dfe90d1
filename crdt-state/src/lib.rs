//! What the cluster wants, and what its nodes say: state that merges without coordination, and without any IO.
//!
//! Objects (many writers, a small Automerge document each), reports (one writer), deletions (numbers that only rise) and
//! memberships (signed, a chain to the founder). Automerge is named in this crate alone. What a field means to
//! Kubernetes does not live here: the layout of lists is a table that is handed in.

pub mod hlc;
pub mod key;
pub mod layout;
pub mod leaf;

pub use hlc::{Hlc, WriteId};
pub use key::{ClusterId, Kind, NameKey, ObjectKey, Segment};
pub use layout::Layout;
pub use leaf::{Edit, LeafPath, Scalar};
