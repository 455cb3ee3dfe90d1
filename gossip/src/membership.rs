//! SWIM membership with suspicion.
