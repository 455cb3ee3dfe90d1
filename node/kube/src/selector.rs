//! Label selectors: which labels an object must have. The text form of queries, and the form that workloads hold.

use std::collections::BTreeSet;

use serde_json::Value;

/// The most conditions of one selector.
pub const MAX_CONDITIONS: usize = 256;

/// Conditions on labels that must all hold; none selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    Missing,
    Above(i64),
    Below(i64),
}

/// A text that is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse requirement: {0}")]
pub struct SelectorError(String);

impl LabelSelector {
    /// Reads `app=web,tier in (a, b),!old`.
    ///
    /// # Errors
    /// When it is no selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut conditions = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if conditions.len() == MAX_CONDITIONS {
                return Err(SelectorError(format!("more than {MAX_CONDITIONS} conditions")));
            }
            let (condition, after) = split_condition(rest)?;
            conditions.push(read_condition(condition)?);
            rest = after;
        }
        Ok(LabelSelector { conditions })
    }

    /// Reads a `LabelSelector` object. One without conditions selects everything, as Kubernetes has it.
    ///
    /// # Errors
    /// When a condition cannot be read.
    pub fn of(selector: &Value) -> Result<Self, SelectorError> {
        let mut conditions = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().ok_or_else(|| SelectorError(format!("the value of {key} is no text")))?;
            conditions.push(Condition { key: key.clone(), test: Test::In([value.to_owned()].into()) });
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default().to_owned();
            let values = || expression["values"].as_array().into_iter().flatten();
            let values: BTreeSet<String> = values().filter_map(Value::as_str).map(str::to_owned).collect();
            let test = match expression["operator"].as_str().unwrap_or_default() {
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Missing,
                other => return Err(SelectorError(format!("{other:?} is no operator"))),
            };
            conditions.push(Condition { key, test });
        }
        Ok(LabelSelector { conditions })
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether labels (a map of texts, or nothing) fulfil it.
    #[must_use]
    pub fn matches(&self, labels: &Value) -> bool {
        self.conditions.iter().all(|condition| condition.holds(labels.get(&condition.key).and_then(Value::as_str)))
    }
}

impl Condition {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::Above(limit) => number().is_some_and(|number| number > *limit),
            Test::Below(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

/// As a query writes it: what Scale and `kubectl get -l` need.
impl std::fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, Condition { key, test }) in self.conditions.iter().enumerate() {
            let list = |values: &BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(",");
            f.write_str(if i == 0 { "" } else { "," })?;
            match test {
                Test::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values))?,
                Test::In(values) => write!(f, "{key} in ({})", list(values))?,
                Test::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", list(values))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", list(values))?,
                Test::Exists => write!(f, "{key}")?,
                Test::Missing => write!(f, "!{key}")?,
                Test::Above(limit) => write!(f, "{key}>{limit}")?,
                Test::Below(limit) => write!(f, "{key}<{limit}")?,
            }
        }
        Ok(())
    }
}

/// The first condition and what follows its comma; commas within parentheses do not part.
fn split_condition(text: &str) -> Result<(&str, &str), SelectorError> {
    let mut inside = false;
    for (at, c) in text.char_indices() {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            ',' if !inside => {
                let after = text[at + 1..].trim_start();
                return match after {
                    "" => Err(SelectorError("a condition is missing after the last comma".to_owned())),
                    _ => Ok((&text[..at], after)),
                };
            }
            _ => {}
        }
    }
    Ok((text, ""))
}

fn read_condition(text: &str) -> Result<Condition, SelectorError> {
    let text = text.trim();
    let wrong = || SelectorError(format!("{text:?} is no condition such as app=web, app!=web, app in (a,b) or !app"));
    let condition = |key: &str, test: Test| {
        let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        let key = key.trim();
        let is_key = !key.is_empty() && key.chars().all(sane);
        is_key.then(|| Condition { key: key.to_owned(), test }).ok_or_else(wrong)
    };
    if let Some(key) = text.strip_prefix('!') {
        return condition(key, Test::Missing);
    }
    if let Some(open) = text.find('(') {
        let values = text[open + 1..].strip_suffix(')').ok_or_else(wrong)?;
        let values: BTreeSet<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
        let mut words = text[..open].split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => condition(key, Test::In(values)),
            (Some(key), Some("notin"), None) => condition(key, Test::NotIn(values)),
            _ => Err(wrong()),
        };
    }
    let value_of = |value: &str| -> Result<BTreeSet<String>, SelectorError> {
        let value = value.trim();
        let sane = value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if sane { Ok([value.to_owned()].into()) } else { Err(wrong()) }
    };
    if let Some((key, value)) = text.split_once("!=") {
        return condition(key, Test::NotIn(value_of(value)?));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return condition(key, Test::In(value_of(value)?));
    }
    let number = |value: &str| value.trim().parse::<i64>().map_err(|_| wrong());
    if let Some((key, value)) = text.split_once('>') {
        return condition(key, Test::Above(number(value)?));
    }
    if let Some((key, value)) = text.split_once('<') {
        return condition(key, Test::Below(number(value)?));
    }
    condition(text, Test::Exists)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn labels_are_selected_by_equality_sets_and_presence() {
        let labels = json!({"app": "web", "tier": "front", "a.b/c": "", "size": "10"});
        for (selector, selects) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app=db", false),
            ("tier in (front, back)", true),
            ("tier notin (front)", false),
            ("missing notin (front)", true),
            ("missing!=x", true),
            ("app", true),
            ("!app", false),
            ("!missing , app", true),
            ("a.b/c=", true),
            ("size>9,size<11", true),
            ("app>1", false),
        ] {
            assert_eq!(LabelSelector::parse(selector).unwrap().matches(&labels), selects, "{selector}");
        }
        assert!(LabelSelector::parse("!app").unwrap().matches(&Value::Null));
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["=a", "a in b", "a in (b", "a b", "app=web,", "a=b=c", "!", "a>b", "a=(b)", ",a"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_workloads_selector_is_read_and_written() {
        let selector = LabelSelector::of(&json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["b", "a"]}, {"key": "x", "operator": "Exists"}],
        }))
        .unwrap();
        assert_eq!(selector.to_string(), "app=web,tier in (a,b),x");
        assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
        assert!(LabelSelector::of(&json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            if let Ok(selector) = LabelSelector::parse(&text) {
                let _ = selector.matches(&json!({"a": "b"}));
            }
        }
    }
}
