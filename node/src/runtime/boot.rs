//! Which start of the machine this is. A container remembers the one that it was made in, since what it left in memory goes
//! with it.

/// Where Linux says it.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The name of this start of the machine; empty where the system does not say it, and then none is known from another.
pub(super) fn id() -> String {
    std::fs::read_to_string(BOOT_ID).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Whether what was made in one start was made before the other. What is not known to be older is not.
pub(super) fn is_before(made: &str, now: &str) -> bool {
    !made.is_empty() && !now.is_empty() && made != now
}
