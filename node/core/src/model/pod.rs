//! A pod's spec, typed: what the agent needs to run it. Which fields clients may write is checked elsewhere
//! (`skein-kube`), how a pod is placed looks at the same JSON with eyes of its own.
//!
//! Reading is strict in types and lenient in absence: `null` is the same as not there, unknown fields are passed over.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::account::DEFAULT_ACCOUNT;
use super::needs::PodNeeds;
use super::quantity::Quantity;
use super::source::SourceName;

pub mod lifecycle;
mod named;
mod probe;
pub mod security;
pub mod volume;

use lifecycle::Lifecycle;
use security::{HostAlias, PodSecurityContext, SecurityContext};
use volume::{Volume, VolumeMount};

pub use probe::{ExecAction, HttpGetAction, HttpHeader, PortRef, Probe, TcpSocketAction};

/// A spec that cannot be read, with the reason for a person. Only a merge of edits made apart can leave one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pod's spec cannot be read: {0}; edit the workload to mend it")]
pub struct PodSpecError(pub String);

/// What a pod is made from: a workload's `spec.template`, or a pod itself.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplateSpec {
    /// Labels and annotations.
    #[serde(deserialize_with = "or_default")]
    pub metadata: PodMetadata,
    /// What to run.
    #[serde(deserialize_with = "or_default")]
    pub spec: PodSpec,
    /// What it asks of its node, read from the same spec as the scheduler reads it.
    #[serde(skip)]
    pub needs: PodNeeds,
    /// The ConfigMaps and Secrets that it names.
    #[serde(skip)]
    pub sources: BTreeSet<SourceName>,
}

impl PodTemplateSpec {
    /// Reads a template, or a whole pod.
    ///
    /// # Errors
    /// When a field has a type that it cannot have, or when there is no container.
    pub fn of(template: &Value) -> Result<Self, PodSpecError> {
        let mut read = PodTemplateSpec::deserialize(template).map_err(|error| PodSpecError(error.to_string()))?;
        read.needs = template.get("spec").map(PodNeeds::of).unwrap_or_default();
        read.sources = named::sources(&read.spec);
        match read.spec.containers.as_slice() {
            [] => Err(PodSpecError("it has no containers".into())),
            _ => Ok(read),
        }
    }

    /// With labels and annotations laid over it: what a slot's own document says of its pod.
    #[must_use]
    pub fn with(mut self, labels: BTreeMap<String, String>, annotations: BTreeMap<String, String>) -> Self {
        self.metadata.labels.extend(labels);
        self.metadata.annotations.extend(annotations);
        self
    }
}

/// The part of a pod's metadata that its containers can see.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMetadata {
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
}

/// A pod's spec.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// What runs to its end, one after the other, before the others start.
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Vec<Container>,
    /// Its volumes.
    #[serde(deserialize_with = "or_default")]
    pub volumes: Vec<Volume>,
    /// Its containers; they share a network.
    #[serde(deserialize_with = "or_default")]
    pub containers: Vec<Container>,
    /// What to do when one ends.
    #[serde(deserialize_with = "or_default")]
    pub restart_policy: RestartPolicy,
    /// Whether it uses the host's network.
    #[serde(deserialize_with = "or_default")]
    pub host_network: bool,
    /// How long it may be active at most, in seconds; then it has failed.
    pub active_deadline_seconds: Option<u32>,
    /// Whether it sees the host's processes.
    #[serde(rename = "hostPID", deserialize_with = "or_default")]
    pub host_pid: bool,
    /// Whether its containers see each other's processes.
    #[serde(deserialize_with = "or_default")]
    pub share_process_namespace: bool,
    /// Whether it shares the host's memory segments and queues.
    #[serde(rename = "hostIPC", deserialize_with = "or_default")]
    pub host_ipc: bool,
    /// What it calls itself; empty: by its name.
    #[serde(deserialize_with = "or_default")]
    pub hostname: String,
    /// Lines of its file `/etc/hosts`.
    #[serde(deserialize_with = "or_default")]
    pub host_aliases: Vec<HostAlias>,
    /// Secrets with logins at the registries of its images.
    #[serde(deserialize_with = "or_default")]
    pub image_pull_secrets: Vec<ObjectRef>,
    /// What its containers may do on their node.
    pub security_context: Option<PodSecurityContext>,
    /// How long to wait after asking it to end; `None`: Kubernetes' 30 seconds.
    pub termination_grace_period_seconds: Option<u32>,
    /// Who its containers are at the API; empty: the account `default`.
    #[serde(deserialize_with = "or_default")]
    pub service_account_name: String,
}

impl PodSpec {
    /// How long to wait between asking a container to end and killing it, in seconds.
    #[must_use]
    pub fn grace_seconds(&self) -> u32 {
        self.termination_grace_period_seconds.unwrap_or(30)
    }

    /// The init containers, then the others.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// A container of either kind by its name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.all_containers().find(|container| container.name == name)
    }

    /// The names of the Secrets with logins for its images.
    #[must_use]
    pub fn pull_secrets(&self) -> Vec<String> {
        self.image_pull_secrets.iter().map(|of| of.name.clone()).filter(|name| !name.is_empty()).collect()
    }

    /// The name of its account.
    #[must_use]
    pub fn account(&self) -> &str {
        if self.service_account_name.is_empty() { DEFAULT_ACCOUNT } else { &self.service_account_name }
    }

    /// The volumes that a container mounts, each once; kubelets leave the others alone too.
    pub fn mounted_volumes(&self) -> impl Iterator<Item = &Volume> {
        let is_mounted = |volume: &&Volume| {
            let mounts = self.all_containers().flat_map(|container| &container.volume_mounts);
            mounts.into_iter().any(|mount| mount.name == volume.name)
        };
        self.volumes.iter().filter(is_mounted)
    }
}

impl Default for PodSpec {
    fn default() -> Self {
        PodSpec {
            init_containers: Vec::new(),
            volumes: Vec::new(),
            containers: Vec::new(),
            restart_policy: RestartPolicy::Always,
            host_network: false,
            active_deadline_seconds: None,
            host_pid: false,
            host_ipc: false,
            share_process_namespace: false,
            hostname: String::new(),
            host_aliases: Vec::new(),
            image_pull_secrets: Vec::new(),
            security_context: None,
            termination_grace_period_seconds: None,
            service_account_name: String::new(),
        }
    }
}

/// What to do when a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum RestartPolicy {
    /// Start it again.
    #[default]
    Always,
    /// Start it again unless it ended well.
    OnFailure,
    /// Leave it.
    Never,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Its name in the pod.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// The image.
    #[serde(deserialize_with = "or_default")]
    pub image: String,
    /// When to pull; empty: `Always` for the tag `latest`, else `IfNotPresent`.
    #[serde(deserialize_with = "or_default")]
    pub image_pull_policy: String,
    /// Replaces the image's entry point.
    #[serde(deserialize_with = "or_default")]
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// Where it starts.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// Ports it listens on.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<ContainerPort>,
    /// Environment.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<EnvVar>,
    /// Objects all of whose keys are variables; what [`Container::env`] says counts more.
    #[serde(deserialize_with = "or_default")]
    pub env_from: Vec<EnvFromSource>,
    /// Which volumes it sees where.
    #[serde(deserialize_with = "or_default")]
    pub volume_mounts: Vec<VolumeMount>,
    /// What it asks for and may take at most.
    #[serde(deserialize_with = "or_default")]
    pub resources: ResourceRequirements,
    /// Whether it is ready to serve.
    pub readiness_probe: Option<Probe>,
    /// Whether it should be restarted.
    pub liveness_probe: Option<Probe>,
    /// Whether it has started up; the other probes wait for that.
    pub startup_probe: Option<Probe>,
    /// What is run when it has started and before it is stopped.
    pub lifecycle: Option<Lifecycle>,
    /// What it may do on its node.
    pub security_context: Option<SecurityContext>,
    /// Whether it gets a terminal.
    #[serde(deserialize_with = "or_default")]
    pub tty: bool,
    /// Whether its standard input stays open.
    #[serde(deserialize_with = "or_default")]
    pub stdin: bool,
    /// Whether its standard input ends with that of the first client that was attached to it.
    #[serde(deserialize_with = "or_default")]
    pub stdin_once: bool,
}

impl Container {
    /// A request by resource name; what has a limit and no request asks for its limit.
    #[must_use]
    pub fn request(&self, resource: &str) -> Option<Quantity> {
        self.resources.requests.get(resource).or_else(|| self.resources.limits.get(resource)).copied()
    }
}

/// A container that is added to a pod while it runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EphemeralContainer {
    /// What it is.
    pub container: Container,
    /// The container whose processes it sees; empty: nobody's but its own.
    pub target: String,
}

impl EphemeralContainer {
    /// Reads one; `None` when it is none.
    #[must_use]
    pub fn of(json: &Value) -> Option<Self> {
        let container = Container::deserialize(json).ok()?;
        let target = json.get("targetContainerName").and_then(Value::as_str).unwrap_or_default();
        Some(EphemeralContainer { container, target: target.to_owned() })
    }

    /// The ConfigMaps and Secrets that its variables name.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<SourceName> {
        named::of(&self.container)
    }
}

/// A port that a container listens on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// A name that probes may use.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// The port inside.
    #[serde(deserialize_with = "or_default")]
    pub container_port: u16,
    /// The port of the host; 0: none.
    #[serde(deserialize_with = "or_default")]
    pub host_port: u16,
    /// The host's address; empty: all.
    #[serde(rename = "hostIP", deserialize_with = "or_default")]
    pub host_ip: String,
    /// `TCP`, `UDP` or `SCTP`; empty: `TCP`.
    #[serde(deserialize_with = "or_default")]
    pub protocol: String,
}

impl ContainerPort {
    /// The protocol, with its default.
    #[must_use]
    pub fn protocol(&self) -> &str {
        if self.protocol.is_empty() { "TCP" } else { &self.protocol }
    }
}

/// One variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    /// Its name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Its value; `$(NAME)` is expanded.
    #[serde(deserialize_with = "or_default")]
    pub value: String,
    /// Where else the value comes from.
    pub value_from: Option<EnvVarSource>,
}

/// An object all of whose keys are variables.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvFromSource {
    /// What comes before each name.
    #[serde(deserialize_with = "or_default")]
    pub prefix: String,
    /// A ConfigMap.
    pub config_map_ref: Option<ObjectRef>,
    /// A Secret.
    pub secret_ref: Option<ObjectRef>,
}

/// A ConfigMap or a Secret as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// The object.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Whether it may be missing.
    #[serde(deserialize_with = "or_default")]
    pub optional: bool,
}

/// Where a variable's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVarSource {
    /// A field of the pod.
    pub field_ref: Option<ObjectFieldSelector>,
    /// A limit or a request of a container.
    pub resource_field_ref: Option<ResourceFieldSelector>,
    /// A key of a ConfigMap.
    pub config_map_key_ref: Option<KeySelector>,
    /// A key of a Secret.
    pub secret_key_ref: Option<KeySelector>,
}

/// A field of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectFieldSelector {
    /// Such as `metadata.name`.
    #[serde(deserialize_with = "or_default")]
    pub field_path: String,
}

/// A limit or a request of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceFieldSelector {
    /// The container; empty: the one whose variable it is.
    #[serde(deserialize_with = "or_default")]
    pub container_name: String,
    /// Such as `limits.memory`.
    #[serde(deserialize_with = "or_default")]
    pub resource: String,
    /// What to divide by, rounding up.
    pub divisor: Option<Quantity>,
}

/// A key of a ConfigMap or a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeySelector {
    /// The object.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// The key.
    #[serde(deserialize_with = "or_default")]
    pub key: String,
    /// Whether it may be missing.
    #[serde(deserialize_with = "or_default")]
    pub optional: bool,
}

/// What a container asks for and may take at most, by resource name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceRequirements {
    /// At most this.
    #[serde(deserialize_with = "or_default")]
    pub limits: BTreeMap<String, Quantity>,
    /// At least this.
    #[serde(deserialize_with = "or_default")]
    pub requests: BTreeMap<String, Quantity>,
}

/// `null` is the same as not there.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_read_from_its_json() {
        let pod = PodTemplateSpec::of(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"labels": {"app": "web"}, "annotations": null},
            "spec": {"containers": [{
                "name": "web", "image": "web:1", "command": ["serve"],
                "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"}],
                "env": [{"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"limits": {"memory": "64Mi", "cpu": 1}},
                "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
            }], "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 3, "schedulerName": "default"},
        }))
        .unwrap();
        let web = &pod.spec.containers[0];
        assert_eq!((pod.spec.restart_policy, pod.spec.grace_seconds()), (RestartPolicy::OnFailure, 3));
        assert_eq!(
            (web.ports[0].host_port, web.ports[0].protocol(), &*web.ports[0].host_ip),
            (8080, "TCP", "127.0.0.1")
        );
        assert_eq!(web.request("memory").map(Quantity::units), Some(64 << 20));
        assert_eq!(web.readiness_probe.as_ref().map(|probe| probe.period_seconds()), Some(1));
    }

    #[test]
    fn a_spec_of_the_wrong_type_or_without_containers_is_an_error() {
        for wrong in [
            json!({"spec": {"containers": []}}),
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 99999}]}]}}),
            json!({"spec": {"containers": "a"}}),
            json!({"spec": {"containers": [{"name": "a", "command": "sleep 1"}]}}),
            json!([]),
        ] {
            assert!(PodTemplateSpec::of(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_slot_says_lies_over_the_template() {
        let template = PodTemplateSpec::of(&json!({
            "metadata": {"labels": {"app": "web", "tier": "front"}}, "spec": {"containers": [{"name": "a"}]}
        }))
        .unwrap();
        let pod = template.with([("tier".to_owned(), "back".to_owned())].into(), BTreeMap::new());
        assert_eq!(pod.metadata.labels["tier"], "back");
        assert_eq!(pod.metadata.labels["app"], "web");
    }
}
