//! The pod's address in the `process` runtime: one of 127/8 of its own, derived from its uid, so that a restarted
//! container gets the same one. Loopback addresses need no set-up; they reach this machine only.

use std::net::{Ipv4Addr, UdpSocket};

use sha2::{Digest as _, Sha256};

/// The UDP port that a pod's first container binds on the pod's address, as a sign for all nodes on this machine that
/// the address is taken. Nothing is ever received there.
pub(crate) const CLAIM_PORT: u16 = 65_434;
/// After that many taken addresses the last is shared: only pods with equal ports would notice.
const PROBES_LIMIT: u8 = 16;

/// The address of a pod: the first of its own sequence that nobody claims.
pub(crate) fn choose(uid: &str) -> Ipv4Addr {
    first_free(uid, |address| claim(address).is_some())
}

/// Claims an address for as long as the result lives; `None` if somebody else has it.
pub(crate) fn claim(address: Ipv4Addr) -> Option<UdpSocket> {
    UdpSocket::bind((address, CLAIM_PORT)).ok()
}

fn first_free(uid: &str, is_free: impl Fn(Ipv4Addr) -> bool) -> Ipv4Addr {
    let candidates = (0..PROBES_LIMIT).map(|probe| derive(uid, probe));
    let mut last = Ipv4Addr::new(127, 1, 0, 1);
    for address in candidates {
        last = address;
        if is_free(address) {
            break;
        }
    }
    last
}

/// 127.1.0.1 to 127.254.255.254: away from 127.0.0/16, where resolvers and other services sit.
fn derive(uid: &str, probe: u8) -> Ipv4Addr {
    let mut hash = Sha256::new();
    hash.update(uid.as_bytes());
    hash.update([probe]);
    let hash = hash.finalize();
    Ipv4Addr::new(127, 1 + hash[0] % 254, hash[1], 1 + hash[2] % 254)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pod_keeps_its_address_and_yields_a_taken_one() {
        let first = first_free("a-uid", |_| true);
        assert_eq!(first_free("a-uid", |_| true), first);
        assert_ne!(first_free("a-uid", |address| address != first), first);
        assert_ne!(first_free("another-uid", |_| true), first);
    }

    #[test]
    fn probing_ends_when_all_are_taken() {
        assert!(first_free("a-uid", |_| false).is_loopback());
    }

    proptest! {
        #[test]
        fn it_is_never_an_address_that_others_use(uid in ".{0,40}", probe in 0u8..PROBES_LIMIT) {
            let [first, second, _, fourth] = derive(&uid, probe).octets();
            prop_assert!(first == 127 && (1..=254).contains(&second) && (1..=254).contains(&fourth));
        }
    }
}
