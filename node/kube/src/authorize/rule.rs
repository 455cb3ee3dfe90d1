//! One rule of a role, and whether it allows an action.

use serde_json::{Map, Value};

use super::Action;

/// What a role allows: verbs on resources, or on paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// The verbs; `*` is all of them.
    pub verbs: Vec<String>,
    /// The groups; `*` is all of them.
    pub groups: Vec<String>,
    /// `pods`, `pods/log`, `*/scale`; `*` is all of them with all their parts.
    pub resources: Vec<String>,
    /// The only objects that it is about; none: all of them, and what has no name.
    pub names: Vec<String>,
    /// Paths that are no resources', with a star at the end for what begins so.
    pub urls: Vec<String>,
}

impl Rule {
    /// Reads a rule. What is no text in it is left out, so that a damaged rule allows less.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        let texts = |field: &str| {
            let all = value[field].as_array().into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Rule {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            urls: texts("nonResourceURLs"),
        }
    }

    /// The rule as it is written in a role; fields without a value are left out.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let fields = [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ];
        let held = fields.into_iter().filter(|(_, values)| !values.is_empty());
        Value::Object(held.map(|(field, values)| (field.to_owned(), values.clone().into())).collect::<Map<_, _>>())
    }

    /// Whether it is about paths rather than resources.
    #[must_use]
    pub fn is_about_paths(&self) -> bool {
        !self.urls.is_empty()
    }

    /// Whether it allows an action.
    #[must_use]
    pub fn allows(&self, action: &Action<'_>) -> bool {
        match *action {
            Action::Path { verb, path } => self.has_verb(verb) && self.urls.iter().any(|url| url_covers(url, path)),
            Action::Resource { verb, group, resource, subresource, name, .. } => {
                self.has_verb(verb)
                    && self.has_group(group)
                    && self.resources.iter().any(|held| is_resource(held, resource, subresource))
                    && (self.names.is_empty() || self.names.iter().any(|held| held == name))
            }
        }
    }

    pub(super) fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|held| held == "*" || held == verb)
    }

    pub(super) fn has_group(&self, group: &str) -> bool {
        self.groups.iter().any(|held| held == "*" || held == group)
    }
}

/// The rules of a role.
pub(super) fn rules_of(role: &Value) -> Vec<Rule> {
    role["rules"].as_array().into_iter().flatten().map(Rule::of).collect()
}

/// Whether a resource in a rule is the one that is asked for. A resource alone says nothing of its parts.
fn is_resource(held: &str, resource: &str, subresource: &str) -> bool {
    if held == "*" {
        return true;
    }
    if subresource.is_empty() {
        return held == resource;
    }
    let Some((of, part)) = held.split_once('/') else { return false };
    part == subresource && (of == resource || of == "*")
}

/// Whether a path in a rule covers another one, which may end in a star itself.
pub(super) fn url_covers(held: &str, path: &str) -> bool {
    held == path || held.ends_with('*') && path.starts_with(held.trim_end_matches('*'))
}
