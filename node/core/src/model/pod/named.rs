//! Which ConfigMaps and Secrets a pod names.

use std::collections::BTreeSet;

use super::volume::Volume;
use super::{Container, PodSpec};
use crate::model::source::{SourceKind, SourceName};

/// All of them, each once.
pub(super) fn sources(spec: &PodSpec) -> BTreeSet<SourceName> {
    let mut named = BTreeSet::new();
    spec.all_containers().for_each(|container| of_container(container, &mut named));
    spec.mounted_volumes().for_each(|volume| of_volume(volume, &mut named));
    named.extend(spec.image_pull_secrets.iter().map(|of| SourceName::new(SourceKind::Secret, &of.name)));
    named
}

/// What the variables of one container name.
pub(super) fn of(container: &Container) -> BTreeSet<SourceName> {
    let mut named = BTreeSet::new();
    of_container(container, &mut named);
    named
}

fn of_container(container: &Container, named: &mut BTreeSet<SourceName>) {
    for from in &container.env_from {
        named.extend(from.config_map_ref.iter().map(|of| SourceName::new(SourceKind::ConfigMap, &of.name)));
        named.extend(from.secret_ref.iter().map(|of| SourceName::new(SourceKind::Secret, &of.name)));
    }
    for from in container.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
        named.extend(from.config_map_key_ref.iter().map(|of| SourceName::new(SourceKind::ConfigMap, &of.name)));
        named.extend(from.secret_key_ref.iter().map(|of| SourceName::new(SourceKind::Secret, &of.name)));
    }
}

fn of_volume(volume: &Volume, named: &mut BTreeSet<SourceName>) {
    named.extend(volume.config_map.iter().map(|of| SourceName::new(SourceKind::ConfigMap, &of.name)));
    named.extend(volume.secret.iter().map(|of| SourceName::new(SourceKind::Secret, &of.secret_name)));
    for of in volume.projected.iter().flat_map(|projected| &projected.sources) {
        named.extend(of.config_map.iter().map(|of| SourceName::new(SourceKind::ConfigMap, &of.name)));
        named.extend(of.secret.iter().map(|of| SourceName::new(SourceKind::Secret, &of.name)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::model::pod::PodTemplateSpec;
    use serde_json::json;

    #[test]
    fn what_variables_and_mounted_volumes_name_is_found_and_what_nobody_mounts_is_not() {
        let pod = PodTemplateSpec::of(&json!({"spec": {
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "b"}}]}],
            "containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "p", "mountPath": "/p"}],
                "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "d", "key": "k"}}}]}],
            "volumes": [{"name": "v", "configMap": {"name": "e"}}, {"name": "w", "configMap": {"name": "unused"}},
                {"name": "p", "projected": {"sources": [{"secret": {"name": "f"}}]}}],
        }}))
        .unwrap();
        let names: Vec<(&str, &str)> =
            pod.sources.iter().map(|source| (source.kind.as_str(), source.name.as_str())).collect();
        let wanted = [("ConfigMap", "a"), ("ConfigMap", "e"), ("Secret", "b"), ("Secret", "d"), ("Secret", "f")];
        assert_eq!(names, wanted);
    }
}
