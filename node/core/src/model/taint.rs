//! Taints of nodes and what pods tolerate, by Kubernetes' rules.

use std::fmt;

use serde_json::Value;

/// The taint of a node that was not heard of for a while.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The taint of a node whose engine does not answer.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// What a taint does to pods that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// No new ones are placed there.
    NoSchedule,
    /// Others are preferred.
    PreferNoSchedule,
    /// They are also moved away.
    NoExecute,
}

impl Effect {
    /// Reads Kubernetes' word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "NoSchedule" => Some(Effect::NoSchedule),
            "PreferNoSchedule" => Some(Effect::PreferNoSchedule),
            "NoExecute" => Some(Effect::NoExecute),
            _ => None,
        }
    }
}

/// A node's taint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value, often empty.
    pub value: String,
    /// What it does.
    pub effect: Effect,
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}: {}}}", self.key, self.value)
    }
}

impl Taint {
    /// Reads `spec.taints` of a node. What is not a taint is passed over.
    #[must_use]
    pub fn list(value: &Value) -> Vec<Taint> {
        let read = |taint: &Value| {
            let text = |field: &str| taint.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            Some(Taint { key: text("key"), value: text("value"), effect: Effect::parse(&text("effect"))? })
        };
        let mut taints: Vec<Taint> = value.as_array().into_iter().flatten().filter_map(read).collect();
        taints.sort();
        taints
    }
}

/// What a pod tolerates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toleration {
    /// The taint's key; empty with [`Toleration::any_value`]: every taint.
    pub key: String,
    /// The value that must be equal, unless any will do.
    pub value: String,
    /// Whether `operator` is `Exists`.
    pub any_value: bool,
    /// The effect; `None`: all.
    pub effect: Option<Effect>,
    /// For how long a `NoExecute` taint is tolerated, in seconds; `None`: for ever.
    pub seconds: Option<u64>,
}

impl Toleration {
    /// Reads `tolerations` of a pod's spec. What is not a toleration is passed over.
    #[must_use]
    pub fn list(value: &Value) -> Vec<Toleration> {
        let read = |toleration: &Value| {
            let text = |field: &str| toleration.get(field).and_then(Value::as_str).unwrap_or_default();
            let effect = match text("effect") {
                "" => None,
                word => Some(Effect::parse(word)?),
            };
            // Zero and negative values mean at once.
            let seconds = toleration.get("tolerationSeconds").and_then(Value::as_i64);
            Some(Toleration {
                key: text("key").to_owned(),
                value: text("value").to_owned(),
                any_value: text("operator") == "Exists",
                effect,
                seconds: seconds.map(|seconds| u64::try_from(seconds).unwrap_or(0)),
            })
        };
        value.as_array().into_iter().flatten().filter_map(read).collect()
    }

    /// Whether it covers this taint.
    #[must_use]
    pub fn covers(&self, key: &str, value: &str, effect: Effect) -> bool {
        let key_fits = if self.key.is_empty() { self.any_value } else { self.key == key };
        key_fits && self.effect.is_none_or(|own| own == effect) && (self.any_value || self.value == value)
    }
}

/// For how long a `NoExecute` taint is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bears {
    /// Not at all.
    No,
    /// For so many seconds.
    Seconds(u64),
    /// For ever.
    ForEver,
}

/// For how long these tolerations bear a `NoExecute` taint: the shortest of those that cover it.
#[must_use]
pub fn bears(tolerations: &[Toleration], key: &str, value: &str) -> Bears {
    let mut shortest = Bears::No;
    for toleration in tolerations.iter().filter(|toleration| toleration.covers(key, value, Effect::NoExecute)) {
        shortest = match (shortest, toleration.seconds) {
            (Bears::No | Bears::ForEver, Some(seconds)) => Bears::Seconds(seconds),
            (Bears::Seconds(known), Some(seconds)) => Bears::Seconds(known.min(seconds)),
            (Bears::No, None) => Bears::ForEver,
            (other, None) => other,
        };
    }
    shortest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tolerations(value: &Value) -> Vec<Toleration> {
        Toleration::list(value)
    }

    #[test]
    fn a_toleration_covers_by_key_value_and_effect() {
        let equal = &tolerations(&json!([{"key": "a", "value": "b", "effect": "NoSchedule"}]))[0];
        assert!(equal.covers("a", "b", Effect::NoSchedule));
        assert!(!equal.covers("a", "c", Effect::NoSchedule));
        assert!(!equal.covers("a", "b", Effect::NoExecute));
        let all = &tolerations(&json!([{"operator": "Exists"}]))[0];
        assert!(all.covers("anything", "at all", Effect::NoExecute));
        let nothing = &tolerations(&json!([{"value": "b"}]))[0];
        assert!(!nothing.covers("a", "b", Effect::NoSchedule));
    }

    #[test]
    fn a_taint_is_borne_for_the_shortest_time_that_is_said() {
        let list = tolerations(&json!([
            {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
            {"key": "a", "operator": "Exists"},
            {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": -3},
        ]));
        assert_eq!(bears(&list, "a", ""), Bears::Seconds(0));
        assert_eq!(bears(&list[1..2], "a", ""), Bears::ForEver);
        assert_eq!(bears(&list, "b", ""), Bears::No);
    }

    #[test]
    fn what_is_no_taint_is_passed_over() {
        let taints =
            Taint::list(&json!([{"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "Sometimes"}, 7]));
        assert_eq!(taints.iter().map(ToString::to_string).collect::<Vec<_>>(), ["{a: }"]);
    }
}
