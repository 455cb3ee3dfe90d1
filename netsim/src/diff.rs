//! Where two traces part. The line with the knobs is left out, since two runs that are compared differ in it from the
//! start.

/// How many lines before and after are shown.
const CONTEXT: usize = 5;

/// The first difference of two traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parting {
    /// How many lines are the same.
    pub same: usize,
    /// The last lines before.
    pub before: Vec<String>,
    /// How the first trace goes on; nothing if it is over.
    pub first: Vec<String>,
    /// How the second goes on.
    pub second: Vec<String>,
}

/// The first difference; `None`: there is none.
#[must_use]
pub fn parting(first: &[String], second: &[String]) -> Option<Parting> {
    let pairs = first.iter().zip(second);
    let same = pairs.take_while(|(one, other)| one == other).count();
    if same == first.len() && same == second.len() {
        return None;
    }
    let after = |lines: &[String]| lines[same..].iter().take(CONTEXT).cloned().collect();
    let before = first[same.saturating_sub(CONTEXT)..same].to_vec();
    Some(Parting { same, before, first: after(first), second: after(second) })
}

/// The lines of a printed trace, without the knobs at its head and what a run prints once it is over.
#[must_use]
pub fn lines(printed: &str) -> Vec<String> {
    let lines = printed.lines().skip_while(|line| is_heading(line)).take_while(|line| is_line(line));
    lines.map(str::to_owned).collect()
}

/// Whether a line is the head of a trace: the time, then the knobs.
#[must_use]
pub fn is_heading(line: &str) -> bool {
    line.trim_start().starts_with("0.000000 seed ")
}

/// Whether a line is one of a trace: it begins with a time.
fn is_line(line: &str) -> bool {
    line.split_whitespace().next().is_some_and(|word| word.contains('.') && word.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|n| format!("{n}.000000 x")).collect()
    }

    #[test]
    fn equal_traces_do_not_part() {
        assert_eq!(parting(&numbered(0..9), &numbered(0..9)), None);
        assert_eq!(parting(&[], &[]), None);
    }

    #[test]
    fn the_first_difference_has_what_was_before_and_how_both_go_on() {
        let (first, mut second) = (numbered(0..20), numbered(0..20));
        second[10] = "10.000000 y".to_owned();
        let parting = parting(&first, &second).expect("they differ");
        assert_eq!(parting.same, 10);
        assert_eq!(parting.before, numbered(5..10));
        assert_eq!(parting.first, numbered(10..15));
        assert_eq!(parting.second[0], "10.000000 y");
    }

    #[test]
    fn a_trace_that_ends_before_the_other_parts_from_it_there() {
        let parting = parting(&numbered(0..3), &numbered(0..5)).expect("they differ");
        assert_eq!((parting.same, parting.first.len(), parting.second.len()), (3, 0, 2));
    }

    #[test]
    fn what_is_printed_around_a_trace_is_no_part_of_it() {
        let printed =
            "    0.000000 seed 7 nodes 3, loss 0\n    1.500000 h1 boots\nseed 7: broken: x\nknobs: nodes=3\nab12\n";
        assert_eq!(lines(printed), ["    1.500000 h1 boots"]);
    }
}
