//! Whether a node will do for a pod at all, and if not, the first reason.

use crate::model::needs::PodNeeds;
use crate::model::taint::{Effect, Taint};

use super::NodeRoom;

/// Why a node will not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// It is lost.
    Unreachable,
    /// It has not said yet what it is, or its engine does not answer.
    NotReady,
    /// It is an observer: it runs nothing.
    Observes,
    /// The pod names another node.
    NodeName,
    /// People want no new pods there.
    Unschedulable,
    /// It lacks labels that the pod asks for.
    NodeSelector,
    /// Its labels or its name are not as the pod asks.
    NodeAffinity,
    /// It has a taint that the pod does not tolerate.
    Taint(&'a Taint),
    /// A port is taken.
    HostPort(u16),
    /// It runs as many pods as it takes.
    TooManyPods,
    /// Not enough processor time is left.
    Cpu,
    /// Not enough memory is left.
    Memory,
    /// It has none, or not enough, of another resource.
    Resource(&'a str),
}

/// The first reason why a node will not do, in the order in which they are cheap to find and useful to know.
pub(crate) fn refusal<'a>(room: &NodeRoom<'a>, needs: &'a PodNeeds) -> Option<Refusal<'a>> {
    let node = room.node;
    if !room.is_open && node.observes {
        return Some(Refusal::Observes);
    }
    if !room.is_open && node.lost {
        return Some(Refusal::Unreachable);
    }
    if !room.is_open && !node.is_ready() {
        return Some(Refusal::NotReady);
    }
    if !needs.node_name.is_empty() {
        // As in Kubernetes: who names a node has scheduled the pod already. The node itself still admits what fits.
        return (*needs.node_name != *node.name).then_some(Refusal::NodeName);
    }
    if !room.is_open && node.unschedulable {
        return Some(Refusal::Unschedulable);
    }
    if needs.node_selector.iter().any(|(key, value)| node.labels.get(key) != Some(value)) {
        return Some(Refusal::NodeSelector);
    }
    if !needs.node_affinity.admits(&node.name, &node.labels) {
        return Some(Refusal::NodeAffinity);
    }
    if let Some(taint) = untolerated(room, needs) {
        return Some(Refusal::Taint(taint));
    }
    if let Some(port) = needs.host_ports.iter().find(|port| room.used.ports().any(|taken| taken.collides(port))) {
        return Some(Refusal::HostPort(port.port));
    }
    if room.used.pods() >= room.max_pods {
        return Some(Refusal::TooManyPods);
    }
    resources(room, needs)
}

fn untolerated<'a>(room: &NodeRoom<'a>, needs: &PodNeeds) -> Option<&'a Taint> {
    let repels = |taint: &&Taint| {
        taint.effect != Effect::PreferNoSchedule
            && !needs.tolerations.iter().any(|toleration| toleration.covers(&taint.key, &taint.value, taint.effect))
    };
    if room.is_open { None } else { room.node.taints.iter().map(|(taint, _)| taint).find(repels) }
}

fn resources<'a>(room: &NodeRoom<'a>, needs: &'a PodNeeds) -> Option<Refusal<'a>> {
    if needs.cpu_millis > 0 && needs.cpu_millis > room.cpu_millis.saturating_sub(room.used.cpu_millis()) {
        return Some(Refusal::Cpu);
    }
    if needs.memory_bytes > 0 && needs.memory_bytes > room.memory_bytes.saturating_sub(room.used.memory_bytes()) {
        return Some(Refusal::Memory);
    }
    needs.other.keys().next().map(|name| Refusal::Resource(name))
}
