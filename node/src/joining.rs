//! Joining with a code that a person can read aloud: `skein invite` at a member, `skein join CODE` at another machine. What
//! happens once a machine has a token, be it by a code or as a text, lives in `daemon::admission`.

pub mod code;
pub(crate) mod exchange;
pub mod guest;
pub(crate) mod host;
pub mod invitations;
pub(crate) mod wire;
mod words;

pub use code::{Code, ParseCodeError};
pub use invitations::{Over, Standing};

/// For the fuzzer alone: how a member takes a stranger's question about a code, and reads it.
#[doc(hidden)]
pub mod fuzz;
