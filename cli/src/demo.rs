//! What `skein demo` shows.

pub(crate) mod page;
