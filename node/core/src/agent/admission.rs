//! Admission: whether a pod fits on this node beside those that it has admitted already. The scheduler counts the same
//! needs, but of what it knows; this node knows what it runs.

use super::Allocated;
use crate::model::needs::PodNeeds;
use crate::runtime::Capacity;

/// A pod that takes of this node.
pub(super) struct Tenant<'a> {
    pub(super) needs: &'a PodNeeds,
    /// Whether it will be gone soon.
    pub(super) stopping: bool,
}

/// The answer to a pod that wants to run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It fits.
    Admitted,
    /// It will fit when pods that are being stopped are gone.
    Later,
    /// It does not fit.
    Refused {
        /// Kubernetes' reason.
        reason: &'static str,
        /// For a person.
        message: String,
    },
}

/// Whether a pod fits.
pub(super) fn admit(capacity: &Capacity, tenants: &[Tenant<'_>], needs: &PodNeeds) -> Answer {
    let staying = tenants.iter().filter(|tenant| !tenant.stopping);
    if let Err((reason, message)) = fits(capacity, staying, needs) {
        return Answer::Refused { reason, message };
    }
    if fits(capacity, tenants.iter(), needs).is_ok() { Answer::Admitted } else { Answer::Later }
}

/// What all of them take together.
pub(super) fn sum<'a>(tenants: impl Iterator<Item = &'a Tenant<'a>>) -> Allocated {
    tenants.fold(Allocated::default(), |sum, tenant| Allocated {
        cpu_millis: sum.cpu_millis.saturating_add(tenant.needs.cpu_millis),
        memory_bytes: sum.memory_bytes.saturating_add(tenant.needs.memory_bytes),
        pods: sum.pods.saturating_add(1),
    })
}

fn fits<'a>(
    capacity: &Capacity,
    tenants: impl Iterator<Item = &'a Tenant<'a>> + Clone,
    needs: &PodNeeds,
) -> Result<(), (&'static str, String)> {
    let used = sum(tenants.clone());
    let lacks = |what: &str, wanted: u64, used: u64, capacity: u64| {
        format!("Node didn't have enough resource: {what}, requested: {wanted}, used: {used}, capacity: {capacity}")
    };
    if used.pods >= capacity.max_pods {
        return Err(("OutOfpods", lacks("pods", 1, u64::from(used.pods), u64::from(capacity.max_pods))));
    }
    // What asks for nothing fits also where more was promised than there is.
    if needs.cpu_millis > 0 && used.cpu_millis.saturating_add(needs.cpu_millis) > capacity.cpu_millis {
        return Err(("OutOfcpu", lacks("cpu", needs.cpu_millis, used.cpu_millis, capacity.cpu_millis)));
    }
    if needs.memory_bytes > 0 && used.memory_bytes.saturating_add(needs.memory_bytes) > capacity.memory_bytes {
        return Err(("OutOfmemory", lacks("memory", needs.memory_bytes, used.memory_bytes, capacity.memory_bytes)));
    }
    let mut taken = tenants.flat_map(|tenant| &tenant.needs.host_ports);
    match taken.find_map(|taken| needs.host_ports.iter().find(|port| port.collides(taken))) {
        Some(port) => {
            Err(("NodePorts", format!("Node didn't have free ports for the requested pod ports: {}", port.port)))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn needs(containers: &Value) -> PodNeeds {
        PodNeeds::of(&json!({"containers": containers}))
    }

    fn capacity() -> Capacity {
        Capacity { cpu_millis: 1000, memory_bytes: 1 << 20, max_pods: 2, ..Capacity::default() }
    }

    fn reason(answer: &Answer) -> &'static str {
        match answer {
            Answer::Admitted => "admitted",
            Answer::Later => "later",
            Answer::Refused { reason, .. } => reason,
        }
    }

    #[test]
    fn a_pod_is_refused_for_what_it_lacks() {
        let cpu = needs(&json!([{"name": "a", "resources": {"requests": {"cpu": "600m"}}}]));
        let memory = needs(&json!([{"name": "a", "resources": {"limits": {"memory": "2Mi"}}}]));
        let port = needs(&json!([{"name": "a", "ports": [{"containerPort": 80, "hostPort": 80}]}]));
        let none = needs(&json!([{"name": "a"}]));
        let one = |needs| [Tenant { needs, stopping: false }];
        assert_eq!(reason(&admit(&capacity(), &[], &cpu)), "admitted");
        assert_eq!(reason(&admit(&capacity(), &one(&cpu), &cpu)), "OutOfcpu");
        assert_eq!(reason(&admit(&capacity(), &[], &memory)), "OutOfmemory");
        assert_eq!(reason(&admit(&capacity(), &one(&port), &port)), "NodePorts");
        let full = [Tenant { needs: &none, stopping: false }, Tenant { needs: &none, stopping: false }];
        assert_eq!(reason(&admit(&capacity(), &full, &none)), "OutOfpods");
    }

    #[test]
    fn a_pod_waits_for_what_a_stopping_pod_gives_back() {
        let port = needs(&json!([{"name": "a", "ports": [{"containerPort": 80, "hostPort": 80}]}]));
        let stopping = [Tenant { needs: &port, stopping: true }];
        assert_eq!(reason(&admit(&capacity(), &stopping, &port)), "later");
    }
}
