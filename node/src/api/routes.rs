//! Where a path leads.
use super::answer::{Answer, Failure};
use super::shell::{Call, Shell};
use std::sync::Arc;

/// Answers.
pub async fn serve(_shell: &Arc<Shell>, _call: Call) -> Result<Answer, Failure> {
    Err(Failure::no_such_path())
}
