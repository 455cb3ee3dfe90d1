//! Stores for tests: nodes of one cluster that keep nothing, each by its number. The first is the founder.

use skein_gossip::{Instant, Keypair, Now};

use super::{Identity, Store};
use crate::keyring::{Keyring, founding};
use crate::memo::{Memo, MemoLimits};
use crate::{ClusterId, members};

/// A moment, where it does not matter which.
pub(crate) const NOW: Now = Now { mono: Instant(0), wall_ms: 1_700_000_000_000 };

/// A node's key.
pub(crate) fn keys(n: u8) -> Keypair {
    Keypair::from_secret([n; 32])
}

/// The cluster's id.
pub(crate) fn cluster_id() -> ClusterId {
    members::cluster_id(&keys(1).node_id(), &[5; 32])
}

/// Who a node is at one of its starts, with these keys.
pub(crate) fn identity(n: u8, boot: u64, keyring: Keyring) -> Identity {
    let nonce = u64::from(n) << 32 | boot;
    Identity { keys: keys(n), cluster: cluster_id(), boot, nonce, layout_version: 1, keyring }
}

/// A node's store at one of its starts, with the founding key.
pub(crate) fn store(n: u8, boot: u64) -> Store {
    Store::new(identity(n, boot, founding()), Memo::new(MemoLimits::DAEMON))
}

/// Two members that know of each other.
pub(crate) fn pair(now: Now) -> (Store, Store) {
    let (mut a, mut b) = (store(1, 1), store(2, 1));
    for said in [a.found(now, [5; 32], "a"), a.admit(now, b.me(), "b", [0; 32])] {
        b.receive(now, &said);
    }
    (a, b)
}
