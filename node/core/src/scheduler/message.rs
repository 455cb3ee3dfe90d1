//! What people read when a pod cannot be placed.

use std::collections::BTreeMap;

use crate::model::needs::PodNeeds;
use crate::model::taint::{NOT_READY, UNREACHABLE};

use super::{NodeRoom, Refusal};

/// The most nodes that a message goes into; a summary covers all.
const MAX_DETAILS: usize = 8;

/// `0/5 nodes are available: 2 Insufficient cpu, ...`, as Kubernetes says it, then each node in turn.
pub(super) fn explain<'a>(
    verdicts: impl Iterator<Item = (&'a NodeRoom<'a>, Option<Refusal<'a>>)>,
    needs: &PodNeeds,
) -> String {
    let (mut all, mut fitting) = (0, 0);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut details = Vec::new();
    for (room, refusal) in verdicts {
        all += 1;
        let Some(refusal) = refusal else {
            fitting += 1;
            continue;
        };
        *counts.entry(reason(&refusal)).or_default() += 1;
        if details.len() < MAX_DETAILS {
            details.push(format!("{}: {}", room.node.name, detail(room, &refusal, needs)));
        }
    }
    if all == 0 {
        return "0/0 nodes are available: no node has joined.".to_owned();
    }
    let mut reasons: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    reasons.sort();
    let more = all - fitting - details.len();
    let rest = if more == 0 { String::new() } else { format!("; and {more} more") };
    let summary = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join(", ")) };
    let details = if details.is_empty() { String::new() } else { format!(" [{}{rest}]", details.join("; ")) };
    format!("{fitting}/{all} nodes are available{summary}.{details}")
}

/// Why a node will not do, with the numbers.
pub(super) fn detail(room: &NodeRoom<'_>, refusal: &Refusal<'_>, needs: &PodNeeds) -> String {
    let capacity = &room.node.capacity;
    match refusal {
        Refusal::Unreachable if room.node.alive => "it was not heard of for a moment".to_owned(),
        Refusal::Unreachable => "it is unreachable".to_owned(),
        Refusal::NotReady if !room.node.reported => "it has not said yet what it offers".to_owned(),
        Refusal::NotReady => format!("its engine does not answer ({})", capacity.message),
        Refusal::Observes => "it is an observer, which runs no pods".to_owned(),
        Refusal::NodeName => format!("the pod asks for node {}", needs.node_name),
        Refusal::Unschedulable => "it is cordoned".to_owned(),
        Refusal::NodeSelector => {
            let missing = needs.node_selector.iter().filter(|(key, value)| room.node.labels.get(*key) != Some(value));
            let missing: Vec<String> = missing.map(|(key, value)| format!("{key}={value}")).collect();
            format!("it lacks the label {}", missing.join(", "))
        }
        Refusal::NodeAffinity => "it does not match the pod's node affinity".to_owned(),
        Refusal::Taint(taint) => format!("the pod does not tolerate its taint {taint}"),
        Refusal::HostPort(port) => format!("host port {port} is taken"),
        Refusal::TooManyPods => format!("it runs {} of at most {} pods", room.used.pods(), capacity.max_pods),
        Refusal::Cpu => {
            let free = capacity.cpu_millis.saturating_sub(room.used.cpu_millis());
            format!("{}m cpu asked for, {free}m of {}m free", needs.cpu_millis, capacity.cpu_millis)
        }
        Refusal::Memory => {
            let free = capacity.memory_bytes.saturating_sub(room.used.memory_bytes());
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            let (asked, all) = (mib(needs.memory_bytes), capacity.memory_bytes >> 20);
            format!("{asked}Mi memory asked for, {}Mi of {all}Mi free", free >> 20)
        }
        Refusal::Resource(name) => format!("it has no {name}"),
    }
}

/// Kubernetes' words for it, which tools look for.
fn reason(refusal: &Refusal<'_>) -> String {
    match refusal {
        Refusal::Unreachable => format!("node(s) had untolerated taint {{{UNREACHABLE}: }}"),
        Refusal::NotReady => format!("node(s) had untolerated taint {{{NOT_READY}: }}"),
        Refusal::Observes => "node(s) were observers".to_owned(),
        Refusal::NodeName => "node(s) didn't match the requested node name".to_owned(),
        Refusal::Unschedulable => "node(s) were unschedulable".to_owned(),
        Refusal::NodeSelector | Refusal::NodeAffinity => "node(s) didn't match Pod's node affinity/selector".to_owned(),
        Refusal::Taint(taint) => format!("node(s) had untolerated taint {taint}"),
        Refusal::HostPort(_) => "node(s) didn't have free ports for the requested pod ports".to_owned(),
        Refusal::TooManyPods => "Too many pods".to_owned(),
        Refusal::Cpu => "Insufficient cpu".to_owned(),
        Refusal::Memory => "Insufficient memory".to_owned(),
        Refusal::Resource(name) => format!("Insufficient {name}"),
    }
}
