//! layout
/// Placeholder.
pub struct Layout;
