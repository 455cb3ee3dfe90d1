//! Every test that SECURITY.md names beside a claim is there: a claim whose test went away, or got another name, fails here.

use std::path::Path;

const DOCUMENT: &str = include_str!("../../SECURITY.md");

/// The tests that a text names, as `file::test` between backticks.
fn named(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|words| words.split_once(".rs::")).collect()
}

#[test]
fn each_claim_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let missing: Vec<String> = named(DOCUMENT)
        .into_iter()
        .filter(|(file, test)| {
            let text = std::fs::read_to_string(root.join(format!("{file}.rs"))).unwrap_or_default();
            !text.contains(&format!("fn {test}("))
        })
        .map(|(file, test)| format!("{file}.rs::{test}"))
        .collect();
    assert!(missing.is_empty(), "SECURITY.md names tests that are not there: {missing:#?}");
}

#[test]
fn no_row_of_what_stops_an_attacker_is_without_a_test() {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| What they do"));
    let bare: Vec<&str> = rows.filter(|row| named(row).is_empty()).collect();
    assert!(bare.is_empty(), "rows of SECURITY.md that name no test: {bare:#?}");
    assert!(named(DOCUMENT).len() > 20, "the tests are not found in it any more");
}
