//! What the cluster wants, and what its nodes say: state that merges without coordination, and without any IO.
//!
//! Objects (many writers, a small Automerge document each), reports (one writer), deletions (numbers that only rise) and
//! memberships (signed, a chain to the founder). Automerge is named in this crate alone. What a field means to
//! Kubernetes does not live here: the layout of lists is a table that is handed in.

pub mod blob;
pub mod digest;
pub mod envelope;
pub mod exchange;
pub mod gate;
pub mod hlc;
pub mod key;
pub mod keyring;
pub mod layout;
pub mod leaf;
mod linear;
pub mod lives;
pub mod members;
pub mod memo;
pub mod message;
pub mod object;
mod opened;
pub mod path;
pub mod rotations;
pub mod sealed;
pub mod store;

pub use envelope::{Body, Envelope, Sequence};
pub use hlc::{Hlc, WriteId};
pub use key::{ClusterId, Kind, NameKey, ObjectKey, Segment};
pub use keyring::{DataKey, EpochId, Keyring};
pub use layout::Layout;
pub use leaf::{Edit, LeafPath, Scalar};
pub use members::Members;
pub use memo::Memo;
pub use message::{Message, Operation};
pub use object::{Contender, Leaf, ObjectState};
pub use rotations::Rotation;
pub use sealed::Sealed;
pub use store::{Identity, Received, Record, Report, Store, StoreChange};
