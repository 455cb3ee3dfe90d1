//! Jobs and CronJobs: what their pods, indexes and schedules must fulfil together.

use serde_json::{Map, Value};

use super::{elements, is_empty, metadata, pod, workload};
use crate::selector::LabelSelector;
use crate::status::Problem;

/// The fields of a Job that stay what they were.
const FIXED: [&str; 6] =
    ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"];
/// The longest name of a CronJob: its Jobs' names are eleven characters longer.
const MAX_CRON_JOB_NAME: usize = 52;
/// The most pods that an indexed Job may run at a time.
const MAX_INDEXED_PARALLELISM: i64 = 100_000;

pub(super) fn job(object: &Value, problems: &mut Vec<Problem>) {
    let spec = &object["spec"];
    job_spec(spec, "spec", problems);
    if spec["manualSelector"] != true {
        return;
    }
    let (selector, labels) = (&spec["selector"], &spec["template"]["metadata"]["labels"]);
    if is_empty(selector) {
        problems.push(Problem::required("spec.selector", ""));
    } else if LabelSelector::of(selector).is_ok_and(|read| !read.matches(labels)) {
        let why = "`selector` does not match template `labels`";
        problems.push(Problem::invalid("spec.template.metadata.labels", labels, why));
    }
}

pub(super) fn cron_job(object: &Value, problems: &mut Vec<Problem>) {
    let spec = &object["spec"];
    if object["metadata"]["name"].as_str().is_some_and(|name| name.len() > MAX_CRON_JOB_NAME) {
        let why = format!("must be no more than {MAX_CRON_JOB_NAME} characters");
        problems.push(Problem::invalid("metadata.name", &object["metadata"]["name"], &why));
    }
    if let Some(why) = spec["schedule"].as_str().filter(|text| !text.is_empty()).and_then(schedule_fault) {
        problems.push(Problem::invalid("spec.schedule", &spec["schedule"], &why));
    }
    if let Some(zone) = spec["timeZone"].as_str() {
        let sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'/' | b'+' | b'-');
        if zone.is_empty() || zone.eq_ignore_ascii_case("local") || !zone.bytes().all(sane) {
            let why = "must be the name of a time zone, such as Europe/Zurich";
            problems.push(Problem::invalid("spec.timeZone", &spec["timeZone"], why));
        }
    }
    let job = &spec["jobTemplate"]["spec"];
    if !job.is_object() {
        return;
    }
    if job["manualSelector"] == true {
        let (path, supported) = ("spec.jobTemplate.spec.manualSelector", ["nil", "false"]);
        problems.push(Problem::not_supported(path, &job["manualSelector"], &supported));
    }
    if job["selector"].is_object() {
        let why = "`selector` will be auto-generated";
        problems.push(Problem::invalid("spec.jobTemplate.spec.selector", &job["selector"], why));
    }
    job_spec(job, "spec.jobTemplate.spec", problems);
}

/// What a Job's pods are made from and how they are counted stays, since it has pods.
pub(super) fn job_change(old: &Map<String, Value>, new: &Map<String, Value>, problems: &mut Vec<Problem>) {
    let spec_of = |object: &Map<String, Value>| object.get("spec").cloned().unwrap_or_default();
    let (old, new) = (spec_of(old), spec_of(new));
    let why = "field is immutable";
    // An indexed Job may be stretched, if as many run as are asked for.
    let stretched = new["completionMode"] == "Indexed" && new["completions"] == new["parallelism"];
    if old["completions"] != new["completions"] && !stretched {
        problems.push(Problem::invalid("spec.completions", &new["completions"], why));
    }
    for field in FIXED.into_iter().filter(|field| old[*field] != new[*field]) {
        problems.push(Problem::invalid(format!("spec.{field}"), &new[field], why));
    }
    if old["template"] != new["template"] {
        problems.push(Problem::invalid("spec.template", &new["template"], why));
    }
}

fn job_spec(spec: &Value, path: &str, problems: &mut Vec<Problem>) {
    workload::selector_expressions(&spec["selector"], &format!("{path}.selector"), problems);
    let template = &spec["template"];
    if template["spec"].is_object() {
        let here = format!("{path}.template");
        metadata::annotations(&template["metadata"], &format!("{here}.metadata"), problems);
        pod::spec(&template["spec"], &template["metadata"]["labels"], &format!("{here}.spec"), problems);
        if template["spec"]["restartPolicy"] == "Always" {
            let why = "valid values: \"OnFailure\", \"Never\"";
            problems.push(Problem::required(format!("{here}.spec.restartPolicy"), why));
        }
        if spec["podFailurePolicy"].is_object() && template["spec"]["restartPolicy"] != "Never" {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            let field = format!("{here}.spec.restartPolicy");
            problems.push(Problem::invalid(field, &template["spec"]["restartPolicy"], why));
        }
    }
    indexes(spec, path, problems);
    for (i, rule) in elements(&spec["podFailurePolicy"]["rules"]).enumerate() {
        failure_rule(rule, &format!("{path}.podFailurePolicy.rules[{i}]"), problems);
    }
}

fn indexes(spec: &Value, path: &str, problems: &mut Vec<Problem>) {
    let indexed = spec["completionMode"] == "Indexed";
    let mut required = |field: &str, why: &str| problems.push(Problem::required(format!("{path}.{field}"), why));
    if indexed && spec["completions"].is_null() {
        required("completions", "when completion mode is Indexed");
    }
    if !spec["maxFailedIndexes"].is_null() && spec["backoffLimitPerIndex"].is_null() {
        required("backoffLimitPerIndex", "when maxFailedIndexes is specified");
    }
    let parallelism = &spec["parallelism"];
    if indexed && parallelism.as_i64().is_some_and(|number| number > MAX_INDEXED_PARALLELISM) {
        let why = format!("must be less than or equal to {MAX_INDEXED_PARALLELISM} when completion mode is Indexed");
        problems.push(Problem::invalid(format!("{path}.parallelism"), parallelism, &why));
    }
    for field in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"] {
        if !indexed && !spec[field].is_null() {
            let why = "requires indexed completion mode";
            problems.push(Problem::invalid(format!("{path}.{field}"), &spec[field], why));
        }
    }
}

fn failure_rule(rule: &Value, path: &str, problems: &mut Vec<Problem>) {
    match (rule["onExitCodes"].is_object(), !is_empty(&rule["onPodConditions"])) {
        (true, true) => {
            let why = "specifying both OnExitCodes and OnPodConditions is not supported";
            problems.push(Problem::invalid(path, rule, why));
        }
        (false, false) => {
            let why = "specifying one of OnExitCodes and OnPodConditions is required";
            problems.push(Problem::invalid(path, rule, why));
        }
        _ => {}
    }
    let codes = &rule["onExitCodes"];
    if codes["operator"] == "In" && elements(&codes["values"]).any(|code| code.as_i64() == Some(0)) {
        let why = "must not be 0 for the In operator";
        problems.push(Problem::invalid(format!("{path}.onExitCodes.values"), &codes["values"], why));
    }
}

/// What is wrong with a schedule: five fields of numbers, ranges and steps, or a word for one.
fn schedule_fault(text: &str) -> Option<String> {
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        return Some("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned());
    }
    if let Some(word) = text.strip_prefix('@') {
        let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
        let every = word.strip_prefix("every ").is_some_and(is_duration);
        return (!known.contains(&word) && !every).then(|| format!("unrecognized descriptor: {text}"));
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != 5 {
        return Some(format!("expected exactly 5 fields, found {}: {fields:?}", fields.len()));
    }
    const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let ranges: [(u32, u32, &[&str]); 5] = [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, MONTHS), (0, 6, DAYS)];
    fields.iter().zip(ranges).find_map(|(field, (from, to, names))| {
        field.split(',').find(|part| !is_cron_part(part, from, to, names)).map(|part| {
            format!(
                "{part:?} in the schedule is none of the numbers from {from} to {to}, nor a range or a step of them"
            )
        })
    })
}

/// `*`, `*/5`, `3`, `3-7`, `3-7/2`, with names in the place of numbers.
fn is_cron_part(part: &str, from: u32, to: u32, names: &[&str]) -> bool {
    let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
    let number = |text: &str| {
        let named = names.iter().position(|name| text.eq_ignore_ascii_case(name)).and_then(|at| u32::try_from(at).ok());
        let plain = || text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        named.map(|at| at + from).or_else(plain).filter(|number| (from..=to).contains(number))
    };
    let in_range = match range.split_once('-') {
        _ if matches!(range, "*" | "?") => true,
        Some((low, high)) => number(low).zip(number(high)).is_some_and(|(low, high)| low <= high),
        None => number(range).is_some(),
    };
    in_range && step.is_none_or(|step| step.parse::<u32>().is_ok_and(|step| step > 0) && !step.starts_with('+'))
}

/// `1h30m`: what may follow `@every`.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let after = &rest[digits..];
        let units = ["ms", "us", "ns", "h", "m", "s"];
        let Some(unit) = units.iter().find(|unit| after.starts_with(**unit)) else { return false };
        if digits == 0 {
            return false;
        }
        rest = &after[unit.len()..];
    }
    !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn schedules_are_read_as_cron_reads_them() {
        for sound in ["* * * * *", "*/5 0-6,22 1 JAN-mar mon", "@daily", "@every 1h30m", "0 0 ? * 0", "59 23 31 12 6"] {
            assert_eq!(schedule_fault(sound), None, "{sound}");
        }
        for wrong in [
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "@often",
            "@every x",
            "a * * * *",
            "* * * * 7",
        ] {
            assert!(schedule_fault(wrong).is_some(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_schedule_is_taken_or_refused(text in any::<String>(), word in "@every .{0,20}") {
            let _ = (schedule_fault(&text), schedule_fault(&word));
        }
    }
}
