//! What a container may do on its node: its own word over its pod's, in the runtime's terms.

use crate::model::pod::{Container, PodSpec};
use crate::runtime::Security;

/// What a container may do.
///
/// # Errors
/// When it is to run as the superuser and must not, in the words of the kubelet. Whether an image does is seen where it is.
pub(super) fn security(container: &Container, spec: &PodSpec, pod: &str) -> Result<Security, String> {
    let (of_pod, own) = (spec.security_context.clone(), container.security_context.clone());
    let (of_pod, own) = (of_pod.unwrap_or_default(), own.unwrap_or_default());
    let user = own.run_as_user.or(of_pod.run_as_user);
    let non_root = own.run_as_non_root.or(of_pod.run_as_non_root).unwrap_or(false);
    if non_root && user == Some(0) {
        let name = &container.name;
        return Err(format!("container's runAsUser breaks non-root policy (pod: \"{pod}\", container: {name})"));
    }
    let mut groups = of_pod.supplemental_groups;
    groups.extend(of_pod.fs_group.filter(|group| !groups.contains(group)));
    let seccomp = own.seccomp_profile.or(of_pod.seccomp_profile).unwrap_or_default();
    let capabilities = own.capabilities.unwrap_or_default();
    Ok(Security {
        user,
        group: own.run_as_group.or(of_pod.run_as_group),
        non_root,
        groups,
        privileged: own.privileged.unwrap_or(false),
        add_capabilities: capabilities.add,
        drop_capabilities: capabilities.drop,
        read_only_root: own.read_only_root_filesystem.unwrap_or(false),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        seccomp_unconfined: seccomp.kind == "Unconfined",
        host_pid: spec.host_pid,
        host_ipc: spec.host_ipc,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::pod::PodTemplateSpec;
    use serde_json::{Value, json};

    fn of(pod: &Value, own: &Value) -> Result<Security, String> {
        let template = PodTemplateSpec::of(&json!({"spec": {"securityContext": pod, "hostPID": true,
            "containers": [{"name": "a", "securityContext": own}]}}))
        .unwrap();
        security(&template.spec.containers[0], &template.spec, "web-1")
    }

    #[test]
    fn a_containers_word_counts_more_than_its_pods() {
        let pod = json!({"runAsUser": 1000, "runAsGroup": 7, "runAsNonRoot": true, "fsGroup": 5, "supplementalGroups": [5, 6],
            "seccompProfile": {"type": "Unconfined"}});
        let own = json!({"runAsUser": 2000, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"}});
        let found = of(&pod, &own).unwrap();
        assert_eq!((found.user, found.group, found.groups), (Some(2000), Some(7), vec![5, 6]));
        assert!(found.non_root && found.no_new_privileges && !found.seccomp_unconfined && found.host_pid);
        assert_eq!(found.drop_capabilities, ["ALL"]);
        assert!(of(&pod, &json!(null)).unwrap().seccomp_unconfined);
    }

    #[test]
    fn the_superuser_is_refused_where_it_must_not_be() {
        let why = of(&json!({"runAsNonRoot": true}), &json!({"runAsUser": 0})).unwrap_err();
        assert_eq!(why, "container's runAsUser breaks non-root policy (pod: \"web-1\", container: a)");
        assert!(of(&json!({"runAsNonRoot": true}), &json!({"runAsUser": 0, "runAsNonRoot": false})).is_ok());
    }
}
