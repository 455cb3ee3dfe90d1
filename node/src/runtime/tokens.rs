//! Who signs the tokens that pods are given. Which tokens these are and when they are signed anew is decided by the agent; how
//! they come into a volume is in `volumes`.

use skein_core::runtime::TokenSpec;

/// Signs tokens of accounts. It is asked anew for each, so that no key is used any more once another one has taken its place.
pub trait TokenSigner: std::fmt::Debug + Send + Sync {
    /// Signs a token that is valid from now on.
    ///
    /// # Errors
    /// In words for a person.
    fn sign(&self, token: &TokenSpec) -> Result<String, String>;
}
