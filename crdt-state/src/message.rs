//! What a change's message says: with which tool somebody asked for it, who that was, whether the tool applied what it
//! wants as a whole, and whether the write was decided. Which fields follow from that as whose does not live here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest tool's name that a message carries, in characters, as in Kubernetes.
const MAX_MANAGER_CHARS: usize = 128;
/// The longest user's name that a message carries, in characters: both fit into what a change keeps.
const MAX_USER_CHARS: usize = 100;
/// What stands for [`Operation::Apply`] and [`Operation::Update`].
const APPLY: &str = "Apply";
const UPDATE: &str = "Update";

/// How a tool wrote, in Kubernetes' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Operation {
    /// It set single fields, or sent the whole object.
    #[default]
    Update,
    /// It sent what it wants of the object, and wants to keep that.
    Apply,
}

impl Operation {
    /// Kubernetes' name for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Update => UPDATE,
            Operation::Apply => APPLY,
        }
    }
}

/// Who asked for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The tool: Kubernetes' field manager.
    pub manager: &'a str,
    /// The user; empty when it is not known.
    pub user: &'a str,
    /// How the tool wrote.
    pub operation: Operation,
    /// The write was decided: whoever made it knew all that was decided before, and others upheld it. The number is the term of
    /// the leader that did, and 0 where the object's owner did. Of values that were written apart the one of the later term
    /// holds, whatever the clocks say.
    pub decided: Option<u64>,
}

impl<'a> Message<'a> {
    /// Reads a message; any text is one.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let mut parts = text.split('\t');
        let (manager, user) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let operation = if parts.next() == Some(APPLY) { Operation::Apply } else { Operation::Update };
        let decided = parts.next().and_then(|term| u64::from_str_radix(term, 16).ok());
        Message { manager, user, operation, decided }
    }
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A tab would be read as the end of the name.
        let name = |text: &str, most: usize| text.replace('\t', " ").chars().take(most).collect::<String>();
        write!(f, "{}\t{}", name(self.manager, MAX_MANAGER_CHARS), name(self.user, MAX_USER_CHARS))?;
        match (self.operation, self.decided) {
            (Operation::Update, None) => Ok(()),
            (Operation::Apply, None) => write!(f, "\t{APPLY}"),
            (operation, Some(term)) => write!(f, "\t{}\t{term:x}", operation.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_of_before_there_were_operations_is_an_update() {
        let message = Message::parse("kubectl\talice");
        let decided = None;
        assert_eq!(message, Message { manager: "kubectl", user: "alice", operation: Operation::Update, decided });
        assert_eq!(Message::parse("").manager, "");
    }

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_meant(
            manager in "\\PC{0,128}", user in "\\PC{0,100}", applied in any::<bool>(), decided in any::<Option<u64>>(),
        ) {
            let operation = if applied { Operation::Apply } else { Operation::Update };
            let message = Message { manager: &manager, user: &user, operation, decided };
            let text = message.to_string();
            prop_assert_eq!(Message::parse(&text), message);
            prop_assert!(text.chars().count() <= 256);
        }
    }
}
