//! What once went wrong, kept so that it does not again.

mod seeds;
