//! What a workload wants when nodes are lost: its partition policy.

/// The annotation of a workload, or of its pod template, that names the policy.
pub const PARTITION_ANNOTATION: &str = "skein.dev/partition";

/// What happens to the pods of a lost node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum PartitionPolicy {
    /// All are replaced where half or more of the nodes are; elsewhere at least one of the workload runs.
    #[default]
    Alive,
    /// All are replaced in every component.
    Full,
    /// At most one runs at any time. Without a lease nothing tells when the others must have stopped, so nothing moves.
    Quorum,
    /// Nothing moves. Also what an unknown word means: it may have been meant to hold something back.
    Hold,
}

impl PartitionPolicy {
    /// The policy that an annotation's text names.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "" | "alive" => PartitionPolicy::Alive,
            "full" => PartitionPolicy::Full,
            "quorum" => PartitionPolicy::Quorum,
            _ => PartitionPolicy::Hold,
        }
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PartitionPolicy::Alive => "alive",
            PartitionPolicy::Full => "full",
            PartitionPolicy::Quorum => "quorum",
            PartitionPolicy::Hold => "hold",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_policy_moves_nothing() {
        assert_eq!(PartitionPolicy::parse("qourum"), PartitionPolicy::Hold);
        assert_eq!(PartitionPolicy::parse(""), PartitionPolicy::Alive);
        for policy in [PartitionPolicy::Alive, PartitionPolicy::Full, PartitionPolicy::Quorum, PartitionPolicy::Hold] {
            assert_eq!(PartitionPolicy::parse(policy.as_str()), policy);
        }
    }
}
