//! What the fuzzer drives: a member with one open invitation, and a stranger that sends whatever it likes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_core::node::TokenRole;
use skein_crdt_state::keyring::{DataKey, EpochId, Keyring};
use skein_crdt_state::memo::MemoLimits;
use skein_crdt_state::store::new_cluster;
use skein_crdt_state::{ClusterId, Envelope, Identity, Memo, Store};
use skein_gossip::{Keypair, NodeId, Now};

use super::exchange::{Ends, Joiner, SessionId};
use super::invitations::{Invitations, Offer};
use super::wire::{Began, Question, Refusal, read};
use crate::daemon::token::JoinToken;

const STRANGER: NodeId = NodeId([1; 32]);
const CLUSTER: ClusterId = ClusterId([3; 16]);
const NONCE: [u8; 32] = [7; 32];
const NOW: Now = Now { mono: skein_gossip::Instant::ZERO, wall_ms: 1_790_000_000_000 };

/// A member that has invited somebody with a code that nobody was told.
pub struct Door {
    members: Store,
    invitations: Invitations,
    now: Instant,
    number: u8,
    sessions: u64,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Door({})", self.number)
    }
}

impl Default for Door {
    fn default() -> Self {
        let (members, invitations) = (founder(), Invitations::default());
        let mut door = Door { members, invitations, now: Instant::now(), number: 0, sessions: 0 };
        door.open();
        door
    }
}

/// What a founder knows of who is a member.
fn founder() -> Store {
    let keys = Keypair::from_secret([7; 32]);
    let cluster = new_cluster(&keys, &NONCE);
    let keyring = Keyring::new(EpochId([1; 16]), DataKey::new([1; 32]));
    let identity = Identity { keys, cluster, boot: 1, nonce: 1, layout_version: 1, keyring };
    let mut store = Store::new(identity, Memo::new(MemoLimits::SIMULATOR));
    store.found(NOW, NONCE, "n0");
    store
}

/// Statements that it has made and that the one of the door has not heard.
fn admitted_by_founder() -> Vec<Arc<Envelope>> {
    let mut store = founder();
    [5, 6].map(|n| store.admit(NOW, NodeId([n; 32]), "n5", [9; 32])).into()
}

impl Door {
    /// Questions as honest strangers ask them.
    #[must_use]
    pub fn seeds() -> Vec<Vec<u8>> {
        let ends = Ends { joiner: STRANGER, member: NodeId([2; 32]), cluster: CLUSTER };
        let (joiner, hello) = Joiner::new(&super::Code::new(7, [1, 2, 3, 4]), &ends);
        let session = SessionId([0; 16]);
        let (_, other) = Joiner::new(&super::Code::new(7, [4, 3, 2, 1]), &ends);
        let proof = joiner.finish(&session, &other).map(|keys| keys.proof()).unwrap_or_default();
        let (cluster, secret) = (CLUSTER, [9; 16]);
        let questions = [
            Question::Admit { cluster, secret, name: "n1".into() },
            Question::Find { number: 7 },
            Question::Begin { number: 7, hello },
            Question::Prove { session, proof },
            Question::Client { cluster, secret, user: "alice".into() },
            Question::Introduce { cluster: founder().cluster(), said: admitted_by_founder() },
        ];
        questions.iter().map(Question::encode).collect()
    }

    fn open(&mut self) {
        self.now += Duration::from_secs(3600);
        let token = JoinToken { cluster: CLUSTER, secret: [9; 16], role: TokenRole::Member, peers: Vec::new() };
        let offer = Offer { token, uses: 1 };
        let code = self.invitations.open(self.now, offer, Duration::from_secs(600), [7, 250, 251, 252, 253]);
        self.number = code.map(|code| code.number()).unwrap_or_default();
    }

    /// Takes a question; what came of it, in a word.
    ///
    /// # Panics
    /// When a stranger that does not know the code is given what only whoever knows it may have.
    pub fn hear(&mut self, bytes: &[u8]) -> &'static str {
        // A joiner reads what a member answers, which may be anything as well.
        let _ = read::<Result<Began, Refusal>>(bytes);
        let _ = read::<Result<Vec<u8>, Refusal>>(bytes);
        let Some(question) = Question::decode(bytes) else { return "no question" };
        let ends = Ends { joiner: STRANGER, member: NodeId([2; 32]), cluster: CLUSTER };
        match question {
            Question::Admit { .. } => "admit",
            Question::Client { .. } => "client",
            Question::Introduce { said, .. } => {
                let members = self.members.members_with(&said);
                assert!(!members.is_known(&STRANGER), "nobody has ever admitted this one");
                if members.iter().count() > 1 { "introduced" } else { "unproved" }
            }
            Question::Find { number } => {
                if self.invitations.is_open(self.now, number) {
                    "open"
                } else {
                    "closed"
                }
            }
            Question::Begin { hello, .. } => {
                self.sessions += 1;
                let mut session = SessionId([0; 16]);
                session.0[..8].copy_from_slice(&(self.sessions % 4).to_be_bytes());
                match self.invitations.begin(self.now, &ends, self.number, session, &hello) {
                    Ok(_) => "began",
                    Err(Refusal::None) => {
                        self.open();
                        "over"
                    }
                    Err(Refusal::Busy) => {
                        self.now += Duration::from_secs(31);
                        "busy"
                    }
                    Err(_) => "malformed",
                }
            }
            Question::Prove { session, proof } => match self.invitations.prove(self.now, STRANGER, session, &proof) {
                Ok(_) => panic!("a stranger without the code was given the token"),
                Err(Refusal::OtherCode { .. }) => "wrong",
                Err(_) => "no session",
            },
        }
    }
}
