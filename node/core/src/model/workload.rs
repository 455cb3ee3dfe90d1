//! Deployments and ReplicaSets as the controllers read them.

use std::collections::BTreeMap;

use serde_json::Value;
use skein_crdt_state::{Hlc, LeafPath, ObjectState, Scalar};

use super::closing::closing;
use super::needs::text_map;
use super::partition::{PARTITION_ANNOTATION, PartitionPolicy};
use super::template::{PodTemplate, template_hash};

/// The most replicas that one workload may have; a greater number, which only a merge can make, counts as this.
pub const MAX_REPLICAS: u32 = 10_000;
/// The annotation of a ReplicaSet that numbers the templates of its Deployment.
pub const REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";
/// The annotation in which people say why a template changed; shown by `kubectl rollout history`.
pub const CHANGE_CAUSE_ANNOTATION: &str = "kubernetes.io/change-cause";

/// A whole number, or a part of the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntOrPercent {
    /// So many.
    Int(u32),
    /// So many of a hundred.
    Percent(u32),
}

impl IntOrPercent {
    /// Reads a leaf; `None`: it is neither.
    #[must_use]
    pub fn of(scalar: &Scalar) -> Option<Self> {
        match scalar {
            Scalar::Int(number) => Some(IntOrPercent::Int(u32::try_from((*number).max(0)).unwrap_or(u32::MAX))),
            Scalar::Str(text) => match text.strip_suffix('%') {
                Some(percent) => percent.parse().ok().map(IntOrPercent::Percent),
                None => text.parse().ok().map(IntOrPercent::Int),
            },
            _ => None,
        }
    }

    /// How many of `all` this is; a part is rounded up.
    #[must_use]
    pub fn rounded_up(self, all: u32) -> u32 {
        self.resolve(all, 99)
    }

    /// How many of `all` this is; a part is rounded down.
    #[must_use]
    pub fn rounded_down(self, all: u32) -> u32 {
        self.resolve(all, 0)
    }

    fn resolve(self, all: u32, rounding: u64) -> u32 {
        match self {
            IntOrPercent::Int(number) => number,
            IntOrPercent::Percent(percent) => {
                u32::try_from((u64::from(all) * u64::from(percent) + rounding) / 100).unwrap_or(u32::MAX)
            }
        }
    }
}

/// How a Deployment goes from one template to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// All old pods end before the first new one starts.
    Recreate,
    /// Bit by bit.
    RollingUpdate {
        /// How many more than asked for there may be meanwhile.
        max_surge: IntOrPercent,
        /// How many fewer than asked for may be available meanwhile.
        max_unavailable: IntOrPercent,
    },
}

impl Strategy {
    /// How many more there may be, and how many fewer, for so many replicas. Not both are zero unless `replicas` is.
    #[must_use]
    pub fn bounds(self, replicas: u32) -> (u32, u32) {
        match self {
            Strategy::Recreate => (0, replicas),
            Strategy::RollingUpdate { max_surge, max_unavailable } => {
                let surge = max_surge.rounded_up(replicas).min(MAX_REPLICAS);
                let unavailable = max_unavailable.rounded_down(replicas).min(replicas);
                // As in Kubernetes: a rollout that may neither add nor take away would never move.
                (surge, if surge == 0 && unavailable == 0 { replicas.min(1) } else { unavailable })
            }
        }
    }
}

/// A label selector.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    labels: BTreeMap<String, String>,
    expressions: Vec<(String, String, Vec<String>)>,
}

impl Selector {
    /// Reads `spec.selector`.
    #[must_use]
    pub fn of(selector: &Value) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let read = |expression: &Value| {
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
            (text(expression.get("key")), text(expression.get("operator")), values)
        };
        let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
        Selector { labels: text_map(selector.get("matchLabels")), expressions: expressions.map(read).collect() }
    }

    /// Whether it selects these labels. An empty selector of a workload selects nothing.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let fits = |(key, operator, values): &(String, String, Vec<String>)| match (operator.as_str(), labels.get(key))
        {
            ("In", Some(value)) => values.contains(value),
            ("NotIn", value) => value.is_none_or(|value| !values.contains(value)),
            ("Exists", value) => value.is_some(),
            ("DoesNotExist", value) => value.is_none(),
            _ => false,
        };
        let empty = self.labels.is_empty() && self.expressions.is_empty();
        !empty
            && self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(fits)
    }
}

/// A Deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentSpec {
    /// How many pods are wanted.
    pub replicas: u32,
    /// How to go from one template to the next.
    pub strategy: Strategy,
    /// How long a pod must be ready to count as available.
    pub min_ready_seconds: u32,
    /// How many old ReplicaSets are kept.
    pub revision_history_limit: usize,
    /// Whether a new template waits.
    pub paused: bool,
    /// Which pods are its own; it must select its template's.
    pub selector: Selector,
    /// The template.
    pub template: PodTemplate,
    /// The template's hash: the second half of its ReplicaSet's name.
    pub template_hash: String,
    /// The template's and the selector's leaves, which the ReplicaSet takes over.
    pub copied: BTreeMap<LeafPath, Scalar>,
    /// Fields of the template that were written on two sides apart, so that nobody wrote the template as it is.
    pub contested: Vec<LeafPath>,
    /// What it wants when nodes are lost.
    pub partition: PartitionPolicy,
    /// Why its template changed, as its users say.
    pub change_cause: String,
    /// Whether it goes once its pods are gone.
    pub closing: bool,
}

impl DeploymentSpec {
    /// Reads a Deployment.
    #[must_use]
    pub fn of(state: &ObjectState) -> Self {
        let json = state.to_json();
        let spec = json.get("spec").unwrap_or(&Value::Null);
        let template_json = spec.get("template").unwrap_or(&Value::Null);
        let template = PodTemplate::of(template_json);
        let annotations = text_map(json.pointer("/metadata/annotations"));
        let copied = |path: &str| path.starts_with("spec.template") || path.starts_with("spec.selector");
        let of_template = state.leaves().iter().filter(|(path, _)| path.starts_with("spec.template"));
        DeploymentSpec {
            replicas: replicas(state),
            strategy: strategy(state),
            min_ready_seconds: min_ready_seconds(state),
            revision_history_limit: number(state, "spec.revisionHistoryLimit")
                .map_or(10, |limit| usize::try_from(limit.clamp(0, i64::from(MAX_REPLICAS))).unwrap_or(10)),
            paused: matches!(state.get("spec.paused"), Some(Scalar::Bool(true))),
            selector: spec.get("selector").map(Selector::of).unwrap_or_default(),
            template_hash: template_hash(template_json),
            partition: policy(&annotations, &template),
            template,
            copied: state
                .leaves()
                .iter()
                .filter(|(path, _)| copied(path))
                .map(|(path, leaf)| (path.clone(), leaf.value.clone()))
                .collect(),
            contested: of_template.filter(|(_, leaf)| !leaf.others.is_empty()).map(|(path, _)| path.clone()).collect(),
            change_cause: annotations.get(CHANGE_CAUSE_ANNOTATION).cloned().unwrap_or_default(),
            closing: closing(state).is_some(),
        }
    }
}

/// A ReplicaSet.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaSetSpec {
    /// How many pods are wanted; only of a ReplicaSet that no Deployment owns.
    pub replicas: u32,
    /// How long a pod must be ready to count as available.
    pub min_ready_seconds: u32,
    /// Which pods are its own.
    pub selector: Selector,
    /// The template.
    pub template: PodTemplate,
    /// Which template of its Deployment this is; 0: not numbered yet.
    pub revision: u64,
    /// When it was made.
    pub born: Hlc,
    /// What it wants when nodes are lost.
    pub partition: PartitionPolicy,
    /// Why its template came, as its users say.
    pub change_cause: String,
    /// Whether it goes once its pods are gone.
    pub closing: bool,
}

impl ReplicaSetSpec {
    /// Reads a ReplicaSet.
    #[must_use]
    pub fn of(state: &ObjectState) -> Self {
        let json = state.to_json();
        let template = json.pointer("/spec/template").map(PodTemplate::of).unwrap_or_default();
        let annotations = text_map(json.pointer("/metadata/annotations"));
        ReplicaSetSpec {
            replicas: replicas(state),
            min_ready_seconds: min_ready_seconds(state),
            selector: json.pointer("/spec/selector").map(Selector::of).unwrap_or_default(),
            revision: annotations.get(REVISION_ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or(0),
            born: state.born(),
            partition: policy(&annotations, &template),
            template,
            change_cause: annotations.get(CHANGE_CAUSE_ANNOTATION).cloned().unwrap_or_default(),
            closing: closing(state).is_some(),
        }
    }
}

fn number(state: &ObjectState, path: &str) -> Option<i64> {
    state.get(path).and_then(Scalar::as_int)
}

fn replicas(state: &ObjectState) -> u32 {
    number(state, "spec.replicas")
        .map_or(1, |n| u32::try_from(n.clamp(0, i64::from(MAX_REPLICAS))).unwrap_or(MAX_REPLICAS))
}

fn min_ready_seconds(state: &ObjectState) -> u32 {
    number(state, "spec.minReadySeconds").map_or(0, |n| u32::try_from(n.max(0)).unwrap_or(u32::MAX))
}

fn strategy(state: &ObjectState) -> Strategy {
    if state.get("spec.strategy.type").and_then(Scalar::as_str) == Some("Recreate") {
        return Strategy::Recreate;
    }
    let bound = |field: &str| {
        let leaf = state.get(&format!("spec.strategy.rollingUpdate.{field}"));
        leaf.and_then(IntOrPercent::of).unwrap_or(IntOrPercent::Percent(25))
    };
    Strategy::RollingUpdate { max_surge: bound("maxSurge"), max_unavailable: bound("maxUnavailable") }
}

fn policy(annotations: &BTreeMap<String, String>, template: &PodTemplate) -> PartitionPolicy {
    let named = annotations.get(PARTITION_ANNOTATION).or_else(|| template.annotations.get(PARTITION_ANNOTATION));
    named.map(|text| PartitionPolicy::parse(text)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn surge_is_rounded_up_and_unavailability_down() {
        let quarter = Strategy::RollingUpdate {
            max_surge: IntOrPercent::Percent(25),
            max_unavailable: IntOrPercent::Percent(25),
        };
        assert_eq!([1, 3, 4, 10, 0].map(|n| quarter.bounds(n)), [(1, 0), (1, 0), (1, 1), (3, 2), (0, 0)]);
    }

    #[test]
    fn a_rollout_that_may_neither_add_nor_take_away_takes_one_away() {
        let neither =
            Strategy::RollingUpdate { max_surge: IntOrPercent::Int(0), max_unavailable: IntOrPercent::Percent(1) };
        assert_eq!((neither.bounds(10), neither.bounds(0)), ((0, 1), (0, 0)));
    }

    #[test]
    fn a_bound_is_a_number_or_a_percentage() {
        assert_eq!(IntOrPercent::of(&Scalar::str("30%")), Some(IntOrPercent::Percent(30)));
        assert_eq!(IntOrPercent::of(&Scalar::str("3")), Some(IntOrPercent::Int(3)));
        assert_eq!(IntOrPercent::of(&Scalar::Int(-3)), Some(IntOrPercent::Int(0)));
        assert_eq!(IntOrPercent::of(&Scalar::str("many")), None);
    }

    #[test]
    fn a_selector_selects_by_labels_and_expressions() {
        let labels = text_map(Some(&json!({"app": "web", "tier": "front"})));
        let selector = |value: Value| Selector::of(&value).matches(&labels);
        assert!(selector(json!({"matchLabels": {"app": "web"}})));
        assert!(!selector(json!({"matchLabels": {"app": "api"}})));
        assert!(selector(
            json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["front", "back"]}]})
        ));
        assert!(!selector(json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]})));
        assert!(!selector(json!({})));
    }
}
