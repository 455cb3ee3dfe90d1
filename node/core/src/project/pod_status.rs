//! A pod's status as Kubernetes shows it, from what its node reports.

use serde_json::{Map, Value, json};

use super::metadata::time;
use crate::status::{ContainerPhase, ContainerStatus, Phase, PodStatus, Terminated};

/// What the status is made from besides the node's report.
pub(super) struct Circumstances<'a> {
    /// When the pod was placed; `None`: it waits for a node.
    pub(super) placed_ms: Option<u64>,
    /// Why it cannot be placed, as the leader says.
    pub(super) unschedulable: Option<&'a str>,
    /// Its node's name, for the message that says that it is lost.
    pub(super) node: &'a str,
    /// Its node's address; empty: not known.
    pub(super) host_ip: &'a str,
    /// Whether its node is not alive.
    pub(super) node_lost: bool,
    /// Its pod spec.
    pub(super) spec: &'a Value,
    /// When its slot was made, for conditions that nothing else dates.
    pub(super) born_ms: u64,
}

/// The status.
pub(super) fn render(report: Option<&PodStatus>, about: &Circumstances<'_>) -> Value {
    let mut status = Map::new();
    let phase = report.map_or(Phase::Pending, |report| report.phase);
    status.insert("phase".into(), phase_name(phase).into());
    status.insert("conditions".into(), conditions(report, about));
    status.insert("qosClass".into(), qos_class(about.spec).into());
    if !about.host_ip.is_empty() && about.placed_ms.is_some() {
        status.insert("hostIP".into(), about.host_ip.into());
        status.insert("hostIPs".into(), json!([{"ip": about.host_ip}]));
    }
    if let Some(report) = report {
        of_report(&mut status, report, about.spec);
    }
    if about.node_lost && !matches!(phase, Phase::Succeeded | Phase::Failed) {
        status.insert("reason".into(), "NodeLost".into());
        status.insert("message".into(), lost_message(about).into());
    }
    Value::Object(status)
}

fn of_report(status: &mut Map<String, Value>, report: &PodStatus, spec: &Value) {
    for (field, text) in [("reason", &report.reason), ("message", &report.message)] {
        if !text.is_empty() {
            status.insert(field.into(), text.as_str().into());
        }
    }
    if !report.ip.is_empty() {
        status.insert("podIP".into(), report.ip.as_str().into());
        status.insert("podIPs".into(), json!([{"ip": report.ip}]));
    }
    if report.started_at_ms > 0 {
        status.insert("startTime".into(), time(report.started_at_ms));
    }
    let named = |list: &'static str| move |container: &&ContainerStatus| is_named(spec, list, &container.name);
    let (first, rest): (Vec<_>, Vec<_>) = report.containers.iter().partition(named("initContainers"));
    let (added, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(named("ephemeralContainers"));
    let lists = [("initContainerStatuses", first), ("containerStatuses", rest), ("ephemeralContainerStatuses", added)];
    for (field, containers) in lists {
        if !containers.is_empty() {
            status.insert(field.into(), containers.into_iter().map(container).collect());
        }
    }
}

fn is_named(spec: &Value, list: &str, name: &str) -> bool {
    let containers = spec.get(list).and_then(Value::as_array).into_iter().flatten();
    containers.filter_map(|container| container.get("name")?.as_str()).any(|known| known == name)
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
    }
}

fn lost_message(about: &Circumstances<'_>) -> String {
    format!("node {} does not answer; what it runs is not known", about.node)
}

fn conditions(report: Option<&PodStatus>, about: &Circumstances<'_>) -> Value {
    let mut conditions = Vec::new();
    if let Some(report) = report {
        conditions.push(initialized(report, about));
        let why_not = why_not_ready(report, about);
        let ready = report.ready && why_not.is_none();
        let all = main(report, about.spec).all(|c| c.ready) && why_not.is_none();
        conditions.push(condition("Ready", ready, report.ready_changed_ms, why_not.clone()));
        conditions.push(condition("ContainersReady", all && ready, report.ready_changed_ms, why_not));
    }
    match (about.placed_ms, about.unschedulable) {
        (Some(placed_ms), _) => conditions.push(condition("PodScheduled", true, placed_ms, None)),
        (None, Some(message)) => {
            let reason = Some(("Unschedulable", message.to_owned()));
            conditions.push(condition("PodScheduled", false, about.born_ms, reason));
        }
        (None, None) => {}
    }
    conditions.into()
}

/// Whether all init containers ended well; of a pod without any, whether it has begun.
fn initialized(report: &PodStatus, about: &Circumstances<'_>) -> Value {
    let well = |state: &ContainerPhase| matches!(state, ContainerPhase::Terminated(end) if end.exit_code == 0);
    let init = report.containers.iter().filter(|c| is_named(about.spec, "initContainers", &c.name));
    let mut init = init.peekable();
    if init.peek().is_none() {
        let running = report.phase != Phase::Pending || report.containers.iter().any(|c| c.started || c.ready);
        return condition("Initialized", running, report.started_at_ms, None);
    }
    // Once the others ran, theirs is done, whatever became of what was left of them.
    let begun = main(report, about.spec).any(|c| c.started || c.restart_count > 0 || !c.runtime_id.is_empty());
    let undone: Vec<&str> = init.filter(|c| !begun && !well(&c.state)).map(|c| &*c.name).collect();
    let message = format!("containers with incomplete status: [{}]", undone.join(" "));
    condition("Initialized", undone.is_empty(), report.started_at_ms, Some(("ContainersNotInitialized", message)))
}

/// The containers that are neither init containers nor were added while the pod ran.
fn main<'a>(report: &'a PodStatus, spec: &'a Value) -> impl Iterator<Item = &'a ContainerStatus> {
    let lists = ["initContainers", "ephemeralContainers"];
    report.containers.iter().filter(move |container| !lists.iter().any(|list| is_named(spec, list, &container.name)))
}

/// Reason and message of the condition `Ready`, when it is not true.
fn why_not_ready(report: &PodStatus, about: &Circumstances<'_>) -> Option<(&'static str, String)> {
    if report.phase == Phase::Succeeded {
        return Some(("PodCompleted", String::new()));
    }
    if report.phase == Phase::Failed {
        return Some(("PodFailed", String::new()));
    }
    if about.node_lost {
        return Some(("NodeLost", lost_message(about)));
    }
    let unready: Vec<&str> = main(report, about.spec).filter(|c| !c.ready).map(|c| &*c.name).collect();
    (!report.ready).then(|| ("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" "))))
}

fn condition(kind: &str, holds: bool, since_ms: u64, reason: Option<(&str, String)>) -> Value {
    let mut condition = json!({
        "type": kind,
        "status": if holds { "True" } else { "False" },
        "lastProbeTime": null,
        "lastTransitionTime": time(since_ms),
    });
    if let (Some((reason, message)), Some(fields)) = (reason.filter(|_| !holds), condition.as_object_mut()) {
        fields.insert("reason".into(), reason.into());
        if !message.is_empty() {
            fields.insert("message".into(), message.into());
        }
    }
    condition
}

fn container(container: &ContainerStatus) -> Value {
    let state = match &container.state {
        ContainerPhase::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
        ContainerPhase::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        ContainerPhase::Running { started_at_ms } => json!({"running": {"startedAt": time(*started_at_ms)}}),
        ContainerPhase::Terminated(ended) => json!({"terminated": terminated(ended)}),
    };
    let last = container.last.as_ref().map_or_else(|| json!({}), |ended| json!({"terminated": terminated(ended)}));
    let mut status = json!({
        "name": &*container.name,
        "state": state,
        "lastState": last,
        "ready": container.ready,
        "started": container.started,
        "restartCount": container.restart_count,
        "image": container.image,
        "imageID": container.image_id,
    });
    if let (false, Some(fields)) = (container.runtime_id.is_empty(), status.as_object_mut()) {
        fields.insert("containerID".into(), container.runtime_id.as_str().into());
    }
    status
}

fn terminated(ended: &Terminated) -> Value {
    let mut state = json!({
        "exitCode": ended.exit_code,
        "reason": ended.reason,
        "startedAt": time(ended.started_at_ms),
        "finishedAt": time(ended.finished_at_ms),
    });
    if let Some(fields) = state.as_object_mut() {
        for (field, text) in [("message", &ended.message), ("containerID", &ended.runtime_id)] {
            if !text.is_empty() {
                fields.insert(field.into(), text.as_str().into());
            }
        }
    }
    state
}

/// Kubernetes' quality of service: `Guaranteed` if all containers limit cpu and memory and ask for that much, `BestEffort`
/// if none asks for anything.
fn qos_class(spec: &Value) -> &'static str {
    let lists = ["containers", "initContainers"].map(|list| spec.get(list).and_then(Value::as_array));
    let (mut asks, mut guaranteed) = (false, true);
    for container in lists.into_iter().flatten().flatten() {
        for resource in ["cpu", "memory"] {
            let of = |part: &str| container.pointer(&format!("/resources/{part}/{resource}"));
            let (limit, request) = (of("limits"), of("requests"));
            asks |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (asks, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_of_service_is_kubernetes_own() {
        let spec = |resources: Value| json!({"containers": [{"name": "a", "resources": resources}]});
        assert_eq!(qos_class(&spec(json!({}))), "BestEffort");
        assert_eq!(qos_class(&spec(json!({"requests": {"cpu": "1"}}))), "Burstable");
        let limits = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1"}});
        assert_eq!(qos_class(&spec(limits)), "Guaranteed");
    }

    #[test]
    fn a_pod_is_initialized_when_its_init_containers_ended_well() {
        let spec = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
        let ended = |exit_code| ContainerPhase::Terminated(Terminated { exit_code, ..Terminated::default() });
        let shown = |state: ContainerPhase| {
            let init = ContainerStatus { name: "i".into(), ready: true, state, ..ContainerStatus::default() };
            let main = ContainerStatus { name: "a".into(), ..ContainerStatus::default() };
            let report = PodStatus { containers: vec![init, main], ..PodStatus::default() };
            let about = Circumstances {
                placed_ms: Some(1),
                unschedulable: None,
                node: "n",
                host_ip: "",
                node_lost: false,
                spec: &spec,
                born_ms: 1,
            };
            render(Some(&report), &about)
        };
        let undone = shown(ended(1));
        assert_eq!(undone["conditions"][0]["reason"], "ContainersNotInitialized");
        assert_eq!(undone["conditions"][0]["message"], "containers with incomplete status: [i]");
        assert_eq!(undone["initContainerStatuses"][0]["name"], "i");
        let done = shown(ended(0));
        assert_eq!(done["conditions"][0]["status"], "True");
        assert_eq!(done["conditions"][1]["message"], "containers with unready status: [a]");
        assert_eq!(done["containerStatuses"].as_array().map(Vec::len), Some(1));
    }
}
