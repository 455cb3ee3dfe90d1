//! What a machine that wants in and a member say to each other: one question and one answer a stream. Reading is total.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skein_core::node::MAX_INTRODUCTION;
use skein_crdt_state::{ClusterId, Envelope};

use super::exchange::SessionId;

/// The longest hello or proof, in bytes: both are some fifty.
const MAX_WORD: usize = 256;
/// The longest name of a user, in bytes.
const MAX_USER: usize = 512;

/// What a machine asks a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// To be let in with a token.
    Admit {
        /// The token's cluster.
        cluster: ClusterId,
        /// Its secret.
        secret: [u8; 16],
        /// What the machine wants to be called.
        name: String,
    },
    /// Whether an invitation of this number is open.
    Find {
        /// The number, which the code begins with.
        number: u8,
    },
    /// To begin an exchange about a code.
    Begin {
        /// The number.
        number: u8,
        /// The first word of the exchange.
        hello: Vec<u8>,
    },
    /// To be given what the invitation is for.
    Prove {
        /// Which exchange.
        session: SessionId,
        /// The proof that the codes are the same.
        proof: Vec<u8>,
    },
    /// A kubeconfig, with a token for clients.
    Client {
        /// The token's cluster.
        cluster: ClusterId,
        /// Its secret.
        secret: [u8; 16],
        /// What the user is called.
        user: String,
    },
    /// To be taken for the member that it is, or to hear why it is none.
    Introduce {
        /// The cluster of which it is a member.
        cluster: ClusterId,
        /// What makes it one.
        said: Vec<Arc<Envelope>>,
    },
}

/// An exchange that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Began {
    /// Its name.
    pub(crate) session: SessionId,
    /// The member's word.
    pub(crate) hello: Vec<u8>,
}

/// Why a code was not taken. The text is for the person who has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// There is no such invitation, or not any more.
    #[error(
        "the invitation is over: it was used, its time has ended, or wrong codes ended it; ask for a new one (skein invite)"
    )]
    None,
    /// All tries are being made, or as many invitations are open as may be.
    #[error("others are trying the same number now, or too many invitations are open; try again in half a minute")]
    Busy,
    /// The code was another.
    #[error("the code is wrong, and {tries_left} more wrong one(s) end the invitation; look at it again")]
    OtherCode {
        /// How many more tries there are.
        tries_left: u8,
    },
    /// The exchange is not known, or was another node's.
    #[error("the exchange took too long; begin again")]
    NoSession,
    /// It was no question that this version reads.
    #[error("the question cannot be read; run the same version of skein on both machines")]
    Malformed,
}

impl Question {
    /// The bytes that are sent.
    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Reads a question; `None`: it is none of this version's, or has a part that no honest one has.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (question, rest) = postcard::take_from_bytes::<Question>(bytes).ok()?;
        let is_sane = match &question {
            Question::Begin { hello: word, .. } | Question::Prove { proof: word, .. } => word.len() <= MAX_WORD,
            Question::Client { user, .. } => user.len() <= MAX_USER,
            Question::Introduce { said, .. } => said.len() <= MAX_INTRODUCTION,
            Question::Admit { .. } | Question::Find { .. } => true,
        };
        (rest.is_empty() && is_sane).then_some(question)
    }
}

/// Reads an answer; what follows it makes it none.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((answer, [])) => Some(answer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_question_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(question) = Question::decode(&bytes) {
                prop_assert_eq!(Question::decode(&question.encode()), Some(question));
            }
            let _ = read::<Result<Began, Refusal>>(&bytes);
        }

        #[test]
        fn every_question_is_read_back_whole_only(number in any::<u8>(), word in prop::collection::vec(any::<u8>(), 0..300)) {
            let asked = Question::Begin { number, hello: word.clone() };
            let bytes = asked.encode();
            prop_assert_eq!(Question::decode(&bytes), Some(asked).filter(|_| word.len() <= MAX_WORD));
            prop_assert_eq!(Question::decode(&bytes[..bytes.len() - 1]), None);
        }
    }
}
