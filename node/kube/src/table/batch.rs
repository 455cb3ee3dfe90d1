//! The cells of Jobs and CronJobs.

use serde_json::Value;

use super::workload::{CONTAINERS, IMAGES, SELECTOR};
use super::{AGE, Cells, Column, NAME, count, elements, joined, text_or};
use crate::time;

pub(super) const JOB: &[Column] = &[
    NAME,
    Column::text("Status", |job, _| status(job).into()),
    Column::text("Completions", completions),
    Column::text("Duration", duration),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const CRON_JOB: &[Column] = &[
    NAME,
    Column::text("Schedule", |cron, _| text_or(&cron["spec"]["schedule"], "")),
    Column::text("Timezone", |cron, _| text_or(&cron["spec"]["timeZone"], "<none>")),
    Column::text("Suspend", |cron, _| if cron["spec"]["suspend"] == true { "True".into() } else { "False".into() }),
    Column::number("Active", |cron, _| elements(&cron["status"]["active"]).count().into()),
    Column::text("Last Schedule", |cron, cells| match &cron["status"]["lastScheduleTime"] {
        Value::Null => "<none>".into(),
        since => cells.age(since),
    }),
    AGE,
    Column::text("Containers", |cron, _| joined(containers(cron), "name")).wide(),
    Column::text("Images", |cron, _| joined(containers(cron), "image")).wide(),
    Column::text("Selector", |_, _| "<none>".into()).wide(),
];

fn containers(cron: &Value) -> &Value {
    &cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
}

/// What a Job does, in a word.
fn status(job: &Value) -> &'static str {
    let holds = |kind: &str| {
        let mut conditions = elements(&job["status"]["conditions"]);
        conditions.any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    let words = [
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ];
    match words.into_iter().find(|(kind, _)| holds(kind)) {
        Some((_, word)) => word,
        None if job["metadata"]["deletionTimestamp"].is_string() => "Terminating",
        // A Job that says of itself that nothing runs it does not run.
        None if elements(&job["status"]["conditions"]).any(|condition| condition["reason"] == "NotImplemented") => {
            "Unsupported"
        }
        None => "Running",
    }
}

fn completions(job: &Value, _: &Cells) -> Value {
    let done = count(&job["status"]["succeeded"]);
    match (job["spec"]["completions"].as_i64(), count(&job["spec"]["parallelism"])) {
        (Some(wanted), _) => format!("{done}/{wanted}").into(),
        (None, parallelism) if parallelism > 1 => format!("{done}/1 of {parallelism}").into(),
        (None, _) => format!("{done}/1").into(),
    }
}

fn duration(job: &Value, cells: &Cells) -> Value {
    let at = |field: &str| job["status"][field].as_str().and_then(time::parse_rfc3339);
    match (at("startTime"), at("completionTime")) {
        (None, _) => "".into(),
        (Some(start), end) => time::human_duration(end.unwrap_or(cells.now_ms).saturating_sub(start)).into(),
    }
}
