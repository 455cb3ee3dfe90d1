//! What docs/model.md says of the searches, held against what they find: a table row for each, so that the page cannot come
//! to tell of another model than the one that is checked.

use super::checker::Findings;

const PAGE: &str = include_str!("../../../../docs/model.md");

/// Asserts that nothing broke, and that the page says how many states that was seen in.
///
/// # Panics
/// With the trace if something broke, or with the row that belongs into the page.
pub(super) fn assert_sound(scope: &str, findings: &Findings) {
    if let Some(violation) = &findings.violation {
        panic!("{scope}: {}", violation.tell());
    }
    assert_told(&format!("| {scope} | {} | {} |", grouped(findings.states), findings.depth));
}

/// Asserts that the search found how a weaker rule fails, tells it on standard error, and asserts that the page says in how
/// many steps.
///
/// # Panics
/// If nothing broke, since then the model does not see what the rule is for, or with the row that belongs into the page.
pub(super) fn assert_weaker(rule: &str, findings: &Findings) {
    let Some(violation) = &findings.violation else {
        panic!("nothing broke in {} states although {rule}", findings.states);
    };
    eprintln!("If {rule}: {}", violation.tell());
    assert_told(&format!("| {rule} | {} |", violation.trace.len()));
}

fn assert_told(row: &str) {
    assert!(PAGE.lines().any(|line| line.starts_with(row)), "docs/model.md has no row that begins `{row}`");
}

/// A number with a space between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

mod tests {
    use super::super::checker::Violation;
    use super::*;

    fn found(broken: bool) -> Findings {
        let violation = broken.then(|| Violation { what: "it is broken".into(), trace: vec!["one".into()] });
        Findings { states: 7, depth: 3, violation }
    }

    #[test]
    #[should_panic(expected = "it is broken, after 1 steps\n  1. one")]
    fn a_violation_fails_the_test_that_expects_none() {
        assert_sound("nothing", &found(true));
    }

    #[test]
    #[should_panic(expected = "nothing broke in 7 states")]
    fn a_weaker_rule_that_breaks_nothing_fails_the_test_that_expects_it_to() {
        assert_weaker("nothing", &found(false));
    }

    #[test]
    #[should_panic(expected = "no row that begins `| nothing | 7 | 3 |`")]
    fn a_search_that_the_page_does_not_tell_of_fails() {
        assert_sound("nothing", &found(false));
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([7, 1_000, 1_234_567].map(grouped), ["7", "1 000", "1 234 567"]);
    }
}
