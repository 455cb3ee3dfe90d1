//! skein.
fn main() {}
