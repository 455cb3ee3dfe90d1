//! Kubernetes' objects as the brain reads them.

pub mod pod;
pub mod quantity;
