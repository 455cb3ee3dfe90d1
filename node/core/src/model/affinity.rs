//! Which nodes a pod must be on, and which it would rather be on, by their labels and names.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a pod says about nodes; by default nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeAffinity {
    /// One of these must hold. `None`: any node will do.
    required: Option<Vec<Term>>,
    /// These would be good, each by its weight.
    preferred: Vec<(u32, Term)>,
}

/// Conditions that must hold together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Term {
    labels: Vec<Condition>,
    /// On the name.
    fields: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl NodeAffinity {
    /// Reads `spec.affinity` of a pod. A condition that makes no sense holds nowhere.
    #[must_use]
    pub fn of(affinity: &Value) -> Self {
        let nodes = &affinity["nodeAffinity"];
        let required = &nodes["requiredDuringSchedulingIgnoredDuringExecution"];
        let preferred = list(&nodes["preferredDuringSchedulingIgnoredDuringExecution"]);
        let weight = |value: &Value| value.as_u64().and_then(|weight| u32::try_from(weight.min(100)).ok()).unwrap_or(0);
        NodeAffinity {
            required: required.is_object().then(|| list(&required["nodeSelectorTerms"]).map(Term::of).collect()),
            preferred: preferred.map(|term| (weight(&term["weight"]), Term::of(&term["preference"]))).collect(),
        }
    }

    /// Whether a node with that name and those labels will do.
    #[must_use]
    pub fn admits(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.required.as_ref().is_none_or(|terms| terms.iter().any(|term| term.holds(name, labels)))
    }

    /// How much the pod would rather be on a node with that name and those labels than elsewhere.
    #[must_use]
    pub fn preference(&self, name: &str, labels: &BTreeMap<String, String>) -> u32 {
        let holding = self.preferred.iter().filter(|(_, term)| term.holds(name, labels));
        holding.fold(0, |sum, (weight, _)| sum.saturating_add(*weight))
    }
}

impl Term {
    fn of(term: &Value) -> Self {
        let conditions = |field: &str| list(&term[field]).map(Condition::of).collect();
        Term { labels: conditions("matchExpressions"), fields: conditions("matchFields") }
    }

    /// One without conditions holds nowhere, as in Kubernetes.
    fn holds(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let of_field = |key: &str| (key == "metadata.name").then_some(name);
        !(self.labels.is_empty() && self.fields.is_empty())
            && self.labels.iter().all(|condition| condition.holds(labels.get(&condition.key).map(String::as_str)))
            && self.fields.iter().all(|condition| condition.holds(of_field(&condition.key)))
    }
}

impl Condition {
    fn of(requirement: &Value) -> Self {
        let text = |field: &str| requirement[field].as_str().unwrap_or_default().to_owned();
        let values = list(&requirement["values"]).filter_map(Value::as_str).map(str::to_owned).collect();
        Condition { key: text("key"), operator: text("operator"), values }
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let among = |value: &str| self.values.iter().any(|known| known == value);
        let number = |text: &str| text.parse::<i64>().ok();
        let limit = || self.values.first().and_then(|limit| number(limit));
        match self.operator.as_str() {
            "In" => value.is_some_and(among),
            "NotIn" => value.is_none_or(|value| !among(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => value.and_then(number).zip(limit()).is_some_and(|(value, limit)| value > limit),
            "Lt" => value.and_then(number).zip(limit()).is_some_and(|(value, limit)| value < limit),
            _ => false,
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[expect(clippy::needless_pass_by_value, reason = "each value is made where it is handed over")]
    fn required(terms: Value) -> NodeAffinity {
        let required = json!({"nodeSelectorTerms": terms});
        NodeAffinity::of(&json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}))
    }

    #[test]
    fn one_term_must_hold_and_all_conditions_of_it() {
        let affinity = required(json!([
            {"matchExpressions": [
                {"key": "disk", "operator": "In", "values": ["ssd", "nvme"]},
                {"key": "old", "operator": "DoesNotExist"}]},
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["h9"]}]},
        ]));
        assert!(affinity.admits("h1", &labels(&[("disk", "ssd")])));
        assert!(!affinity.admits("h1", &labels(&[("disk", "ssd"), ("old", "")])));
        assert!(!affinity.admits("h1", &labels(&[("disk", "tape")])));
        assert!(affinity.admits("h9", &labels(&[])));
    }

    #[test]
    fn conditions_compare_as_in_kubernetes() {
        let holds = |operator: &str, values: Value, of: &[(&str, &str)]| {
            let term = json!([{"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}]);
            required(term).admits("h1", &labels(of))
        };
        assert!(holds("NotIn", json!(["x"]), &[]) && !holds("NotIn", json!(["x"]), &[("a", "x")]));
        assert!(holds("Exists", json!(null), &[("a", "")]) && !holds("Exists", json!(null), &[]));
        assert!(holds("Gt", json!(["4"]), &[("a", "8")]) && !holds("Gt", json!(["4"]), &[("a", "4")]));
        assert!(holds("Lt", json!(["4"]), &[("a", "-1")]) && !holds("Lt", json!(["4"]), &[("a", "few")]));
        assert!(!holds("Near", json!(["4"]), &[("a", "4")]));
    }

    #[test]
    fn nothing_said_admits_all_and_an_empty_term_none() {
        assert!(NodeAffinity::of(&Value::Null).admits("h1", &labels(&[])));
        assert!(!required(json!([{}])).admits("h1", &labels(&[])));
        assert!(!required(json!([])).admits("h1", &labels(&[])));
    }

    #[test]
    fn preferences_add_up() {
        let term = |key: &str, weight: u32| {
            let expression = json!({"key": key, "operator": "Exists"});
            json!({"weight": weight, "preference": {"matchExpressions": [expression]}})
        };
        let preferred = json!([term("a", 10), term("b", 5), {"weight": 80, "preference": {}}]);
        let affinity =
            NodeAffinity::of(&json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}));
        assert_eq!(affinity.preference("h1", &labels(&[("a", ""), ("b", "")])), 15);
        assert_eq!(affinity.preference("h1", &labels(&[("b", "")])), 5);
        assert!(affinity.admits("h1", &labels(&[])));
    }
}
