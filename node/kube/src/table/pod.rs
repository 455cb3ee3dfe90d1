//! The cells of pods. What the status column says follows from the containers, as in Kubernetes' printer.

use serde_json::Value;

use super::{AGE, Cells, Column, NAME, count, elements, text_or};
use crate::time;

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Ready", ready),
    Column::text("Status", |pod, _| status(pod).into()),
    Column::text("Restarts", restarts),
    AGE,
    Column::text("IP", |pod, _| text_or(&pod["status"]["podIP"], "<none>")).wide(),
    Column::text("Node", |pod, _| text_or(&pod["spec"]["nodeName"], "<none>")).wide(),
    Column::text("Nominated Node", |_, _| "<none>".into()).wide(),
    Column::text("Readiness Gates", |_, _| "<none>".into()).wide(),
];

fn ready(pod: &Value, _: &Cells) -> Value {
    let ready = elements(&pod["status"]["containerStatuses"]).filter(|status| status["ready"] == true).count();
    format!("{ready}/{}", elements(&pod["spec"]["containers"]).count()).into()
}

fn restarts(pod: &Value, cells: &Cells) -> Value {
    let list = if initializing(pod).is_some() { "initContainerStatuses" } else { "containerStatuses" };
    let statuses = || elements(&pod["status"][list]);
    let total: i64 = statuses().map(|status| count(&status["restartCount"])).sum();
    let ended = statuses().filter_map(|status| status["lastState"]["terminated"]["finishedAt"].as_str());
    match ended.filter_map(time::parse_rfc3339).max() {
        Some(last) if total > 0 => {
            format!("{total} ({} ago)", time::human_duration(cells.now_ms.saturating_sub(last))).into()
        }
        _ => total.to_string().into(),
    }
}

/// What a pod does, in a word.
pub(super) fn status(pod: &Value) -> String {
    let status = &pod["status"];
    let mut word = text_of(&status["phase"]).unwrap_or("Unknown").to_owned();
    if let Some(reason) = text_of(&status["reason"]) {
        reason.clone_into(&mut word);
    }
    let init = initializing(pod);
    let mut running = false;
    let containers: Vec<&Value> = elements(&status["containerStatuses"]).collect();
    // The first container that has something to say decides, as it comes last in this order.
    for container in containers.iter().rev().filter(|_| init.is_none()) {
        let state = &container["state"];
        if let Some(reason) = text_of(&state["waiting"]["reason"]) {
            reason.clone_into(&mut word);
        } else if state["terminated"].is_object() {
            word = ended(&state["terminated"]);
        } else if container["ready"] == true && state["running"].is_object() {
            running = true;
        }
    }
    if let Some(init) = init {
        word = init;
    }
    if word == "Completed" && running {
        word = if is_ready(status) { "Running".into() } else { "NotReady".into() };
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        word = if text_of(&status["reason"]) == Some("NodeLost") { "Unknown".into() } else { "Terminating".into() };
    }
    word
}

/// What the first init container that is not done says; `None`: they are, or there are none.
fn initializing(pod: &Value) -> Option<String> {
    let initialized = |condition: &Value| condition["type"] == "Initialized" && condition["status"] == "True";
    if elements(&pod["status"]["conditions"]).any(initialized) {
        return None;
    }
    let of = elements(&pod["spec"]["initContainers"]).count();
    let undone = |(_, container): &(usize, &Value)| {
        let ended = &container["state"]["terminated"];
        !ended.is_object() || count(&ended["exitCode"]) != 0
    };
    let (done, container) = elements(&pod["status"]["initContainerStatuses"]).enumerate().find(undone)?;
    let state = &container["state"];
    Some(match text_of(&state["waiting"]["reason"]) {
        _ if state["terminated"].is_object() => format!("Init:{}", ended(&state["terminated"])),
        Some(reason) if reason != "PodInitializing" => format!("Init:{reason}"),
        _ => format!("Init:{done}/{of}"),
    })
}

fn ended(terminated: &Value) -> String {
    match (text_of(&terminated["reason"]), count(&terminated["signal"])) {
        (Some(reason), _) => reason.to_owned(),
        (None, signal) if signal != 0 => format!("Signal:{signal}"),
        (None, _) => format!("ExitCode:{}", count(&terminated["exitCode"])),
    }
}

fn is_ready(status: &Value) -> bool {
    elements(&status["conditions"]).any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn text_of(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}
