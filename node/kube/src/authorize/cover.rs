//! Whether somebody who holds some rules holds others, too: nobody gives away more than they have.

use super::Rule;
use super::rule::url_covers;

/// How many single permissions (a verb, a group, a resource, a name) of rules are looked at. Beyond that they count as not
/// held, and only who may do everything can give them.
pub const MAX_PERMISSIONS: usize = 100_000;

/// The rules among `wanted` that `held` does not cover; all of them are covered if it is empty.
#[must_use]
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let mut looked_at = 0;
    let mut missing = Vec::new();
    for rule in wanted {
        looked_at += permissions(rule);
        if looked_at > MAX_PERMISSIONS || !is_covered(held, rule) {
            missing.push(rule.clone());
        }
    }
    missing
}

fn permissions(rule: &Rule) -> usize {
    let of_resources = rule.groups.len().saturating_mul(rule.resources.len()).saturating_mul(rule.names.len().max(1));
    rule.verbs.len().saturating_mul(of_resources.saturating_add(rule.urls.len()))
}

/// Whether each single permission of a rule is in some rule that is held. They are narrowed down step by step, so that most
/// rules are looked at once.
fn is_covered(held: &[Rule], rule: &Rule) -> bool {
    rule.verbs.iter().all(|verb| {
        // A star is held by who holds a star: a list of all verbs that there are is less.
        let held: Vec<&Rule> = held.iter().filter(|other| holds(&other.verbs, verb)).collect();
        let of_url = |url: &String| held.iter().any(|other| other.urls.iter().any(|own| url_covers(own, url)));
        rule.urls.iter().all(of_url) && rule.groups.iter().all(|group| group_is_covered(&held, rule, group))
    })
}

fn group_is_covered(held: &[&Rule], rule: &Rule, group: &str) -> bool {
    let held: Vec<&&Rule> = held.iter().filter(|other| holds(&other.groups, group)).collect();
    rule.resources.iter().all(|resource| {
        let mut held = held.iter().filter(|other| has_resource(&other.resources, resource)).peekable();
        if rule.names.is_empty() {
            return held.any(|other| other.names.is_empty());
        }
        let held: Vec<_> = held.collect();
        let named = |name: &String| held.iter().any(|other| other.names.is_empty() || other.names.contains(name));
        rule.names.iter().all(named)
    })
}

fn holds(values: &[String], wanted: &str) -> bool {
    values.iter().any(|value| value == "*" || value == wanted)
}

fn has_resource(resources: &[String], wanted: &str) -> bool {
    let part = wanted.split_once('/').map(|(_, part)| part);
    resources.iter().any(|held| {
        held == "*" || held == wanted || part.is_some_and(|part| held.strip_prefix("*/").is_some_and(|own| own == part))
    })
}
