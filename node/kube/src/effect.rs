//! What writing an object of a kind brings about, where that is less than its author may think: kinds that are stored and
//! that nothing acts on yet. The status that says the same of a workload is made where objects are shown.

use crate::resource::Resource;

/// What a client is told that creates such an object.
#[must_use]
pub fn warning_of_create(resource: &Resource) -> Option<String> {
    let kind = resource.kind_name;
    let nothing = match kind {
        "StatefulSet" | "DaemonSet" | "Job" | "CronJob" => "has no controller for it yet; nothing is run",
        "HorizontalPodAutoscaler" => "has no controller for it yet; nothing is scaled",
        "PodDisruptionBudget" => "does not heed it yet; evictions go on as without it",
        "PersistentVolumeClaim" | "StorageClass" => "provides no volumes yet",
        "Service" | "Ingress" => "does not route to it yet",
        "IngressClass" => "has nothing that serves it yet",
        "Endpoints" | "EndpointSlice" => "does not route by it yet",
        "NetworkPolicy" => "does not enforce it yet; nothing is cut off",
        "ResourceQuota" | "LimitRange" => "does not enforce it yet; nothing is limited",
        "PriorityClass" => "does not heed it yet; no pod goes before another",
        _ => return None,
    };
    Some(format!("skein stores this {kind} but {nothing}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource;

    #[test]
    fn who_creates_what_nothing_acts_on_is_told() {
        let said = warning_of_create(&resource::STATEFUL_SETS).unwrap_or_default();
        assert_eq!(said, "skein stores this StatefulSet but has no controller for it yet; nothing is run");
        let plain = [
            &resource::DEPLOYMENTS,
            &resource::CONFIG_MAPS,
            &resource::SERVICE_ACCOUNTS,
            &resource::NAMESPACES,
            &resource::LEASES,
        ];
        assert!(plain.iter().all(|resource| warning_of_create(resource).is_none()));
    }
}
