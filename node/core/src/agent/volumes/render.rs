//! What a pod's volumes hold, file by file, and where its containers see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::agent::environment::{PodFields, field_value, resource_value};
use crate::model::pod::volume::TokenProjection;
use crate::model::pod::volume::{ConfigMapVolume, DEFAULT_MODE, DownwardApi, DownwardApiFile, KeyToPath, Volume};
use crate::model::pod::{Container, PodSpec};
use crate::model::source::{SourceKind, SourceName};
use crate::runtime::{FileSpec, Mount, Place, TokenSpec, VolumeKind, VolumeSpec};

/// The most files of one volume.
const MAX_FILES: usize = 4096;
/// The most bytes of all files of one volume: what a few ConfigMaps hold together.
const MAX_BYTES: usize = 4 * 1024 * 1024;

type Files = BTreeMap<String, FileSpec>;

/// All volumes that containers mount.
///
/// # Errors
/// When a source is missing or too large, in the words of the kubelet.
pub(in crate::agent) fn volumes(pod: &PodFields<'_>) -> Result<Arc<[VolumeSpec]>, String> {
    let group = pod.template.spec.security_context.as_ref().and_then(|context| context.fs_group);
    let volumes = pod.template.spec.mounted_volumes().map(|volume| {
        let failed = |why: String| format!("MountVolume.SetUp failed for volume \"{}\" : {why}", volume.name);
        Ok(VolumeSpec { name: volume.name.clone(), kind: kind(volume, pod).map_err(failed)?, group })
    });
    volumes.collect()
}

/// What a container mounts.
///
/// # Errors
/// When it names a volume that the pod does not have; only a merge of edits made apart can leave that.
pub(in crate::agent) fn mounts(container: &Container, spec: &PodSpec) -> Result<Vec<Mount>, String> {
    let mount = |mount: &crate::model::pod::volume::VolumeMount| {
        let volume = spec.volumes.iter().find(|volume| volume.name == mount.name);
        let volume =
            volume.ok_or_else(|| format!("it mounts a volume \"{}\" that the pod does not have", mount.name))?;
        let is_files = is_files(volume);
        Ok(Mount {
            volume: mount.name.clone(),
            place: place(volume),
            path: mount.mount_path.clone(),
            sub_path: mount.sub_path.clone(),
            // What the system writes it may write anew at any time.
            read_only: mount.read_only || is_files,
        })
    };
    container.volume_mounts.iter().map(mount).collect()
}

fn is_files(volume: &Volume) -> bool {
    volume.host_path.is_none()
        && (volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.downward_api.is_some()
            || volume.projected.is_some())
}

fn place(volume: &Volume) -> Place {
    if let Some(host) = &volume.host_path {
        return Place::Host(host.path.clone());
    }
    let secret = |volume: &Volume| {
        let mut sources = volume.projected.iter().flat_map(|projected| &projected.sources);
        volume.secret.is_some()
            || sources.any(|source| source.secret.is_some() || source.service_account_token.is_some())
    };
    let memory = match is_files(volume) {
        true => secret(volume),
        false => volume.empty_dir.as_ref().is_some_and(|dir| dir.medium == "Memory"),
    };
    if memory { Place::Memory } else { Place::Disk }
}

fn kind(volume: &Volume, pod: &PodFields<'_>) -> Result<VolumeKind, String> {
    if let Some(host) = &volume.host_path {
        return Ok(VolumeKind::Host { path: host.path.clone(), kind: host.kind.clone() });
    }
    let memory = place(volume) == Place::Memory;
    let mut files = Files::new();
    if let Some(of) = &volume.config_map {
        keys(SourceKind::ConfigMap, of, of.default_mode, pod, &mut files)?;
    } else if let Some(of) = &volume.secret {
        let (name, items) = (of.secret_name.clone(), of.items.clone());
        let same = ConfigMapVolume { name, items, default_mode: of.default_mode, optional: of.optional };
        keys(SourceKind::Secret, &same, of.default_mode, pod, &mut files)?;
    } else if let Some(of) = &volume.downward_api {
        downward(of, of.default_mode, pod, &mut files)?;
    } else if let Some(of) = &volume.projected {
        for source in &of.sources {
            if let Some(of_source) = &source.config_map {
                keys(SourceKind::ConfigMap, of_source, of.default_mode, pod, &mut files)?;
            }
            if let Some(of_source) = &source.secret {
                keys(SourceKind::Secret, of_source, of.default_mode, pod, &mut files)?;
            }
            if let Some(of_source) = &source.downward_api {
                downward(of_source, of.default_mode, pod, &mut files)?;
            }
            if let Some(of_source) = &source.service_account_token {
                let (bytes, mode) = (Vec::new(), of.default_mode.unwrap_or(DEFAULT_MODE));
                let token = Some(token(of_source, pod)?);
                files.insert(of_source.path.clone(), FileSpec { bytes, mode, token });
            }
        }
    } else {
        return Ok(VolumeKind::Empty { memory });
    }
    let bytes: usize = files.values().map(|file| file.bytes.len()).sum();
    if files.len() > MAX_FILES || bytes > MAX_BYTES {
        let count = files.len();
        return Err(format!(
            "{count} files of {bytes} bytes are more than the {MAX_FILES} of {MAX_BYTES} that a volume may hold"
        ));
    }
    Ok(VolumeKind::Files { files, memory })
}

/// The keys of a ConfigMap or a Secret.
fn keys(
    kind: SourceKind,
    of: &ConfigMapVolume,
    mode: Option<u32>,
    pod: &PodFields<'_>,
    files: &mut Files,
) -> Result<(), String> {
    let name = SourceName::new(kind, &of.name);
    let mode = mode.unwrap_or(DEFAULT_MODE);
    let Some(source) = pod.sources.get(&name) else {
        return if of.optional { Ok(()) } else { Err(name.not_found()) };
    };
    if of.items.is_empty() {
        files.extend(source.files().map(|(key, bytes)| (key.clone(), FileSpec::of(bytes.clone(), mode))));
        return Ok(());
    }
    for KeyToPath { key, path, mode: own } in &of.items {
        match source.file(key) {
            Some(bytes) => {
                drop(files.insert(path.clone(), FileSpec::of(bytes.clone(), own.unwrap_or(mode))));
            }
            None if of.optional => {}
            None => {
                let kind = if kind == SourceKind::Secret { "secret" } else { "config" };
                return Err(format!("references non-existent {kind} key: {key}"));
            }
        }
    }
    Ok(())
}

/// The token of the pod's account.
fn token(of: &TokenProjection, pod: &PodFields<'_>) -> Result<TokenSpec, String> {
    let name = pod.template.spec.account();
    let account = pod.sources.account(name);
    let account = account.ok_or_else(|| format!("failed to fetch token: serviceaccounts \"{name}\" not found"))?;
    Ok(TokenSpec {
        namespace: pod.namespace.to_owned(),
        account: name.to_owned(),
        account_uid: account.uid.clone(),
        pod: pod.name.to_owned(),
        pod_uid: pod.uid.to_owned(),
        audience: of.audience.clone(),
        seconds: of.seconds(),
    })
}

fn downward(of: &DownwardApi, mode: Option<u32>, pod: &PodFields<'_>, files: &mut Files) -> Result<(), String> {
    for file in &of.items {
        let bytes = downward_value(file, pod)?.into_bytes();
        let mode = file.mode.or(mode).unwrap_or(DEFAULT_MODE);
        files.insert(file.path.clone(), FileSpec::of(bytes, mode));
    }
    Ok(())
}

fn downward_value(file: &DownwardApiFile, pod: &PodFields<'_>) -> Result<String, String> {
    let metadata = &pod.template.metadata;
    if let Some(field) = &file.field_ref {
        return match field.field_path.as_str() {
            "metadata.labels" => Ok(lines(&metadata.labels)),
            "metadata.annotations" => Ok(lines(&metadata.annotations)),
            _ => field_value(field, pod).map(Option::unwrap_or_default),
        };
    }
    let resource = file.resource_field_ref.as_ref().ok_or("a file of the downward API names no source")?;
    let of = pod.template.spec.container(&resource.container_name);
    let of = of.ok_or_else(|| format!("no container \"{}\"", resource.container_name))?;
    resource_value(resource, of, pod)
}

/// A map as the kubelet writes it.
fn lines(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::pod::PodTemplateSpec;
    use crate::model::source::{SourceData, Sources};
    use crate::runtime::Capacity;
    use serde_json::{Value, json};

    fn rendered(volume: &Value) -> Result<Vec<(String, String, u32)>, String> {
        let template = PodTemplateSpec::of(&json!({
            "metadata": {"labels": {"app": "web", "b": "c\"d"}},
            "spec": {"volumes": [volume], "containers": [
                {"name": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}], "resources": {"limits": {"cpu": "2"}}}]}}))
        .unwrap();
        let source =
            |kind, name: &str, json: Value| (SourceName::new(kind, name), Arc::new(SourceData::of(kind, &json)));
        let sources: Sources = [
            source(SourceKind::ConfigMap, "c", json!({"data": {"a": "1", "b": "2"}, "binaryData": {"x": "eA=="}})),
            source(SourceKind::ConfigMap, "big", json!({"data": {"a": "x".repeat(MAX_BYTES + 1)}})),
            source(SourceKind::Secret, "s", json!({"data": {"a": "cw=="}})),
        ]
        .into_iter()
        .collect();
        let pod = PodFields {
            name: "web-1",
            namespace: "shop",
            uid: "u",
            node_name: "n1",
            host_ip: "",
            pod_ip: None,
            template: &template,
            sources: &sources,
            capacity: &Capacity::default(),
            api: None,
        };
        let volumes = volumes(&pod)?;
        let VolumeKind::Files { files, .. } = &volumes[0].kind else { return Ok(Vec::new()) };
        let text = |file: &FileSpec| String::from_utf8(file.bytes.clone()).unwrap();
        Ok(files.iter().map(|(path, file)| (path.clone(), text(file), file.mode)).collect())
    }

    fn file(path: &str, text: &str, mode: u32) -> (String, String, u32) {
        (path.into(), text.into(), mode)
    }

    #[test]
    fn a_config_map_becomes_files_all_or_those_that_are_named() {
        let all = rendered(&json!({"name": "v", "configMap": {"name": "c"}})).unwrap();
        assert_eq!(all, [file("a", "1", 0o644), file("b", "2", 0o644), file("x", "x", 0o644)]);
        let items = json!([{"key": "b", "path": "d/b.txt", "mode": 0o400}]);
        let some = rendered(&json!({"name": "v", "configMap": {"name": "c", "items": items, "defaultMode": 0o600}}));
        assert_eq!(some.unwrap(), [file("d/b.txt", "2", 0o400)]);
        let missing = json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "z", "path": "z"}]}});
        let why = "MountVolume.SetUp failed for volume \"v\" : references non-existent config key: z";
        assert_eq!(rendered(&missing).unwrap_err(), why);
        let gone = rendered(&json!({"name": "v", "secret": {"secretName": "t"}})).unwrap_err();
        assert_eq!(gone, "MountVolume.SetUp failed for volume \"v\" : secret \"t\" not found");
        assert_eq!(rendered(&json!({"name": "v", "secret": {"secretName": "t", "optional": true}})), Ok(vec![]));
        assert!(rendered(&json!({"name": "v", "configMap": {"name": "big"}})).unwrap_err().contains("may hold"));
    }

    #[test]
    fn a_projected_volume_holds_all_its_sources() {
        let volume = json!({"name": "v", "projected": {"defaultMode": 0o440, "sources": [
            {"configMap": {"name": "c", "items": [{"key": "a", "path": "a"}]}}, {"secret": {"name": "s"}},
            {"downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "cpu", "resourceFieldRef": {"containerName": "a", "resource": "limits.cpu"}}]}}]}});
        let wanted =
            [file("a", "s", 0o440), file("cpu", "2", 0o440), file("labels", "app=\"web\"\nb=\"c\\\"d\"", 0o440)];
        assert_eq!(rendered(&volume).unwrap(), wanted, "of two files of one name the later one counts");
    }

    #[test]
    fn secrets_and_directories_in_memory_are_kept_from_disks() {
        let place_of = |json: Value| {
            let pod = PodTemplateSpec::of(&json!({"spec": {"volumes": [json], "containers": [
                {"name": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}}))
            .unwrap();
            let mount = mounts(&pod.spec.containers[0], &pod.spec).unwrap().remove(0);
            (mount.place, mount.read_only)
        };
        assert_eq!(place_of(json!({"name": "v", "secret": {"secretName": "s"}})), (Place::Memory, true));
        assert_eq!(place_of(json!({"name": "v", "configMap": {"name": "s"}})), (Place::Disk, true));
        assert_eq!(place_of(json!({"name": "v", "emptyDir": {"medium": "Memory"}})), (Place::Memory, false));
        assert_eq!(place_of(json!({"name": "v", "emptyDir": {}})), (Place::Disk, false));
        assert_eq!(place_of(json!({"name": "v", "hostPath": {"path": "/h"}})), (Place::Host("/h".into()), false));
    }
}
