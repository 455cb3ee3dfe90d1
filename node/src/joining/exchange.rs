//! How two machines find out that they were given the same code, without telling anybody else what it is: SPAKE2, with both
//! nodes and the cluster as the identities, and a proof from both sides. Whoever has the wrong code learns nothing but that, and
//! the other side knows that there was a guess. How often somebody may guess is decided in `invitations`.

use chacha20poly1305::aead::Aead as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skein_crdt_state::ClusterId;
use skein_gossip::NodeId;
use spake2::{Ed25519Group, Identity, Password, Spake2};

use super::code::Code;

/// What the proof of whoever joins holds: that it can be opened is the proof.
const PROOF: &[u8] = b"skein joins";

/// Names one exchange: drawn by the member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SessionId(pub(crate) [u8; 16]);

/// Between whom an exchange is, as both connections have proved it, and about which cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) joiner: NodeId,
    pub(crate) member: NodeId,
    pub(crate) cluster: ClusterId,
}

/// Why an exchange came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The other side sent what nobody sends who follows the protocol.
    #[error("the other side does not follow the protocol")]
    Malformed,
    /// The other side has another code, or is not who it says it is.
    #[error("the codes differ")]
    OtherCode,
}

impl Ends {
    fn identities(&self) -> (Identity, Identity) {
        let name = |side: &[u8], node: &NodeId| {
            Identity::new(&[b"skein invitation 1\0", side, &node.0[..], &self.cluster.0[..]].concat())
        };
        (name(b"joiner\0", &self.joiner), name(b"member\0", &self.member))
    }
}

/// The side of whoever joins, once it has said hello.
pub(crate) struct Joiner(Spake2<Ed25519Group>);

impl Joiner {
    /// Begins; what to say to the member.
    pub(crate) fn new(code: &Code, ends: &Ends) -> (Self, Vec<u8>) {
        let (joiner, member) = ends.identities();
        let (state, hello) = Spake2::<Ed25519Group>::start_a(&Password::new(code.secret()), &joiner, &member);
        (Joiner(state), hello)
    }

    /// Takes the member's hello.
    pub(crate) fn finish(self, session: &SessionId, hello: &[u8]) -> Result<Keys, ExchangeError> {
        Ok(Keys::of(&self.0.finish(hello).map_err(|_| ExchangeError::Malformed)?, session))
    }
}

/// The member's side: takes the hello of whoever joins; what both have agreed on if they have the same code, and what to say.
pub(crate) fn answer(
    code: &Code,
    ends: &Ends,
    session: &SessionId,
    hello: &[u8],
) -> Result<(Keys, Vec<u8>), ExchangeError> {
    let (joiner, member) = ends.identities();
    let (state, answer) = Spake2::<Ed25519Group>::start_b(&Password::new(code.secret()), &joiner, &member);
    let agreed = state.finish(hello).map_err(|_| ExchangeError::Malformed)?;
    Ok((Keys::of(&agreed, session), answer))
}

/// What both sides have agreed on if they have the same code: a key for each direction, used once each.
pub(crate) struct Keys {
    to_member: [u8; 32],
    to_joiner: [u8; 32],
}

impl Keys {
    fn of(agreed: &[u8], session: &SessionId) -> Self {
        let derive = |direction: &[u8]| -> [u8; 32] {
            let hash = Sha256::new().chain_update(b"skein invitation 1\0").chain_update(direction);
            hash.chain_update(session.0).chain_update(agreed).finalize().into()
        };
        Keys { to_member: derive(b"to member\0"), to_joiner: derive(b"to joiner\0") }
    }

    /// What proves to the member that whoever joins has the code.
    pub(crate) fn proof(&self) -> Vec<u8> {
        seal(&self.to_member, PROOF)
    }

    /// Whether that was proved.
    pub(crate) fn check(&self, proof: &[u8]) -> Result<(), ExchangeError> {
        let opened = open(&self.to_member, proof)?;
        if opened == PROOF { Ok(()) } else { Err(ExchangeError::OtherCode) }
    }

    /// Closes up what the member gives: that it can be opened proves that the member has the code.
    pub(crate) fn give(&self, secret: &[u8]) -> Vec<u8> {
        seal(&self.to_joiner, secret)
    }

    /// Opens what the member gave.
    pub(crate) fn take(&self, sealed: &[u8]) -> Result<Vec<u8>, ExchangeError> {
        open(&self.to_joiner, sealed)
    }
}

/// Each key closes up one message, so the nonce may be the same.
fn seal(key: &[u8; 32], text: &[u8]) -> Vec<u8> {
    // It fails for texts of hundreds of gigabytes alone.
    ChaCha20Poly1305::new(key.into()).encrypt(&Nonce::default(), text).unwrap_or_default()
}

fn open(key: &[u8; 32], sealed: &[u8]) -> Result<Vec<u8>, ExchangeError> {
    ChaCha20Poly1305::new(key.into()).decrypt(&Nonce::default(), sealed).map_err(|_| ExchangeError::OtherCode)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const SESSION: SessionId = SessionId([5; 16]);

    fn ends() -> Ends {
        Ends { joiner: NodeId([1; 32]), member: NodeId([2; 32]), cluster: ClusterId([3; 16]) }
    }

    fn code(last: u8) -> Code {
        Code::new(42, [1, 2, 3, last])
    }

    /// Both sides' keys, each with what it takes the ends, the code and the session to be.
    fn keys(a: (Ends, Code, SessionId), b: (Ends, Code, SessionId)) -> (Keys, Keys) {
        let (joiner, hello) = Joiner::new(&a.1, &a.0);
        let (member, answer) = answer(&b.1, &b.0, &b.2, &hello).unwrap();
        (joiner.finish(&a.2, &answer).unwrap(), member)
    }

    #[test]
    fn with_the_same_code_the_secret_is_passed_on() {
        let (joiner, member) = keys((ends(), code(4), SESSION), (ends(), code(4), SESSION));
        member.check(&joiner.proof()).unwrap();
        assert_eq!(joiner.take(&member.give(b"token")).unwrap(), b"token");
    }

    #[test]
    fn another_code_node_cluster_or_session_proves_nothing_to_either_side() {
        let other = [
            (ends(), code(5), SESSION),
            (Ends { joiner: NodeId([9; 32]), ..ends() }, code(4), SESSION),
            (Ends { member: NodeId([9; 32]), ..ends() }, code(4), SESSION),
            (Ends { cluster: ClusterId([9; 16]), ..ends() }, code(4), SESSION),
            (ends(), code(4), SessionId([6; 16])),
        ];
        for other in other {
            let (joiner, member) = keys(other, (ends(), code(4), SESSION));
            assert_eq!(member.check(&joiner.proof()), Err(ExchangeError::OtherCode));
            assert_eq!(joiner.take(&member.give(b"token")), Err(ExchangeError::OtherCode));
        }
    }

    #[test]
    fn a_side_that_is_sent_its_own_words_is_not_fooled() {
        let (joiner, hello) = Joiner::new(&code(4), &ends());
        assert!(joiner.finish(&SESSION, &hello).is_err());
        let (joiner, member) = keys((ends(), code(4), SESSION), (ends(), code(4), SESSION));
        assert!(joiner.take(&joiner.proof()).is_err() && member.check(&member.give(PROOF)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(hello in prop::collection::vec(any::<u8>(), 0..80)) {
            let (joiner, _) = Joiner::new(&code(4), &ends());
            let _ = joiner.finish(&SESSION, &hello);
            if let Ok((keys, _)) = answer(&code(4), &ends(), &SESSION, &hello) {
                prop_assert!(keys.check(&hello).is_err());
                prop_assert!(keys.take(&hello).is_err());
            }
        }
    }
}
