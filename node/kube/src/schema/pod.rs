//! Pods and what they are made from: the pod's own fields. Those of its containers live in `container`.

use super::affinity::AFFINITY;
use super::container::{CONTAINER, EPHEMERAL_CONTAINER};
use super::endpoints::LOCAL_OBJECT_REFERENCE;
use super::meta::OBJECT_META;
use super::security::{HOST_ALIAS, POD_SECURITY_CONTEXT};
use super::volume::VOLUME;
use super::{Check, Field, Ty, TypeSchema};

const LIST: Ty = Ty::List(&Ty::Any);
const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

/// A pod.
pub static POD: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Pod",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&POD_SPEC)).required().immutable(
            "a pod's spec cannot be changed; change its workload's template, or delete the pod and create it anew",
        ),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// What a workload makes its pods from.
pub static POD_TEMPLATE_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.PodTemplateSpec",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&POD_SPEC)).required(),
    ],
};

/// What a pod runs, and how.
pub static POD_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.PodSpec",
    fields: &[
        Field::new("volumes", 1, Ty::List(&Ty::Object(&VOLUME))).keyed(&["name"]),
        Field::new("initContainers", 20, Ty::List(&Ty::Object(&CONTAINER))).keyed(&["name"]),
        Field::new("containers", 2, Ty::List(&Ty::Object(&CONTAINER))).keyed(&["name"]).required(),
        Field::new("ephemeralContainers", 34, Ty::List(&Ty::Object(&EPHEMERAL_CONTAINER))).keyed(&["name"]),
        Field::new("restartPolicy", 3, Ty::Str).default("\"Always\"").check(Check::OneOf(RESTART_POLICIES)),
        Field::new("terminationGracePeriodSeconds", 4, Ty::Int64)
            .explicit()
            .default("30")
            .check(Check::Range(0, u32::MAX as i64)),
        Field::new("activeDeadlineSeconds", 5, Ty::Int64).explicit().check(Check::Range(1, i32::MAX as i64)),
        Field::new("dnsPolicy", 6, Ty::Str).default("\"ClusterFirst\"").check(Check::OneOf(DNS_POLICIES)),
        Field::new("nodeSelector", 7, Ty::Map(&Ty::Str)).key_check(Check::LabelKey).check(Check::LabelValue),
        Field::new("serviceAccountName", 8, Ty::Str).check(Check::DnsSubdomain),
        Field::new("serviceAccount", 9, Ty::Str).check(Check::DnsSubdomain),
        Field::new("automountServiceAccountToken", 21, Ty::Bool).explicit(),
        Field::new("nodeName", 10, Ty::Str).check(Check::DnsSubdomain),
        Field::new("hostNetwork", 11, Ty::Bool),
        Field::new("hostPID", 12, Ty::Bool),
        Field::new("hostIPC", 13, Ty::Bool),
        Field::new("shareProcessNamespace", 27, Ty::Bool).explicit(),
        Field::new("securityContext", 14, Ty::Object(&POD_SECURITY_CONTEXT)).default("{}"),
        Field::new("imagePullSecrets", 15, Ty::List(&Ty::Object(&LOCAL_OBJECT_REFERENCE))).keyed(&["name"]),
        Field::new("hostname", 16, Ty::Str).check(Check::DnsLabel),
        Field::new("subdomain", 17, Ty::Str).not_yet(),
        Field::new("affinity", 18, Ty::Object(&AFFINITY)),
        Field::new("schedulerName", 19, Ty::Str).default("\"default-scheduler\""),
        Field::new("tolerations", 22, Ty::List(&Ty::Object(&TOLERATION))),
        Field::new("hostAliases", 23, Ty::List(&Ty::Object(&HOST_ALIAS))).keyed(&["ip"]),
        Field::new("priorityClassName", 24, Ty::Str).check(Check::DnsSubdomain),
        Field::new("priority", 25, Ty::Int32).explicit(),
        Field::new("dnsConfig", 26, Ty::Any).not_yet(),
        Field::new("readinessGates", 28, LIST).not_yet(),
        Field::new("runtimeClassName", 29, Ty::Str).not_yet(),
        Field::new("enableServiceLinks", 30, Ty::Bool).explicit(),
        Field::new("preemptionPolicy", 31, Ty::Str).check(Check::OneOf(&["Never", "PreemptLowerPriority"])),
        Field::new("overhead", 32, Ty::Any).not_yet(),
        Field::new("topologySpreadConstraints", 33, LIST).not_yet(),
        Field::new("setHostnameAsFQDN", 35, Ty::Bool).explicit().not_yet(),
        Field::new("os", 36, Ty::Object(&POD_OS)),
        Field::new("hostUsers", 37, Ty::Bool).explicit(),
        Field::new("schedulingGates", 38, LIST).not_yet(),
        Field::new("resourceClaims", 39, LIST).not_yet(),
        Field::new("resources", 40, Ty::Any).not_yet(),
        Field::new("hostnameOverride", 41, Ty::Str).not_yet(),
        Field::new("workloadRef", 42, Ty::Any).not_yet(),
    ],
};

/// The operating system that a pod is for.
pub static POD_OS: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.PodOS",
    fields: &[Field::new("name", 1, Ty::Str).required().check(Check::OneOf(&["linux"]))],
};

/// A taint that a pod puts up with.
pub static TOLERATION: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Toleration",
    fields: &[
        Field::new("key", 1, Ty::Str).check(Check::LabelKey),
        Field::new("operator", 2, Ty::Str).check(Check::OneOf(&["Equal", "Exists"])),
        Field::new("value", 3, Ty::Str).check(Check::LabelValue),
        Field::new("effect", 4, Ty::Str).check(Check::OneOf(&["NoSchedule", "PreferNoSchedule", "NoExecute"])),
        Field::new("tolerationSeconds", 5, Ty::Int64).explicit(),
    ],
};

#[cfg(test)]
mod tests {
    use super::super::{Support, affinity, container, security, volume};
    use super::*;

    /// The lines below a heading: field and word.
    fn documented(heading: &str) -> Vec<(String, String)> {
        let text = include_str!("../../../../docs/pod-fields.md");
        let section = text.split("\n## ").find(|section| section.lines().next() == Some(heading)).unwrap_or_default();
        let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        cells.map(|(field, rest)| (field.to_owned(), rest.split(" |").next().unwrap_or_default().to_owned())).collect()
    }

    #[test]
    fn the_document_says_of_each_field_what_becomes_of_it() {
        for of in [
            &POD_SPEC,
            &affinity::AFFINITY,
            &affinity::NODE_AFFINITY,
            &affinity::POD_ANTI_AFFINITY,
            &affinity::POD_AFFINITY_TERM,
            &container::CONTAINER,
            &container::ENV_VAR_SOURCE,
            &container::RESOURCE_REQUIREMENTS,
            &container::PROBE,
            &container::LIFECYCLE,
            &container::LIFECYCLE_HANDLER,
            &volume::VOLUME,
            &volume::EMPTY_DIR,
            &volume::PROJECTION,
            &volume::VOLUME_MOUNT,
            &security::POD_SECURITY_CONTEXT,
            &security::SECURITY_CONTEXT,
            &security::SECCOMP_PROFILE,
        ] {
            let heading = of.name.rsplit('.').next().unwrap_or_default();
            let found = documented(heading);
            let fields = of.fields.iter().filter(|field| !(of.name.ends_with(".Volume") && field.name == "name"));
            let missing: Vec<&str> = fields
                .clone()
                .filter(|field| {
                    let word = found.iter().find(|(name, _)| name == field.name).map(|(_, word)| word.as_str());
                    match field.support {
                        Support::NotYet => word != Some("refused"),
                        _ => !matches!(word, Some("honoured" | "no effect")),
                    }
                })
                .map(|field| field.name)
                .collect();
            assert!(missing.is_empty(), "docs/pod-fields.md is not true of {heading}: {missing:?}");
            assert_eq!(found.len(), fields.count(), "docs/pod-fields.md names fields of {heading} that are not there");
        }
    }
}
