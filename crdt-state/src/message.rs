//! What a change's message says: with which tool somebody asked for it, who that was, and whether the tool applied what it
//! wants as a whole. Which fields follow from that as whose does not live here.

use std::fmt;

/// The longest tool's name that a message carries, in characters, as in Kubernetes.
const MAX_MANAGER_CHARS: usize = 128;
/// The longest user's name that a message carries, in characters: both fit into what a change keeps.
const MAX_USER_CHARS: usize = 100;
/// What stands for [`Operation::Apply`].
const APPLY: &str = "Apply";

/// How a tool wrote, in Kubernetes' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
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
            Operation::Update => "Update",
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
}

impl<'a> Message<'a> {
    /// Reads a message; any text is one.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let mut parts = text.split('\t');
        let (manager, user) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let operation = if parts.next() == Some(APPLY) { Operation::Apply } else { Operation::Update };
        Message { manager, user, operation }
    }
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A tab would be read as the end of the name.
        let name = |text: &str, most: usize| text.replace('\t', " ").chars().take(most).collect::<String>();
        write!(f, "{}\t{}", name(self.manager, MAX_MANAGER_CHARS), name(self.user, MAX_USER_CHARS))?;
        match self.operation {
            Operation::Update => Ok(()),
            Operation::Apply => write!(f, "\t{APPLY}"),
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
        assert_eq!(message, Message { manager: "kubectl", user: "alice", operation: Operation::Update });
        assert_eq!(Message::parse("").manager, "");
    }

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_meant(manager in "\\PC{0,128}", user in "\\PC{0,100}", applied in any::<bool>()) {
            let operation = if applied { Operation::Apply } else { Operation::Update };
            let message = Message { manager: &manager, user: &user, operation };
            let text = message.to_string();
            prop_assert_eq!(Message::parse(&text), message);
            prop_assert!(text.chars().count() <= 256);
        }
    }
}
