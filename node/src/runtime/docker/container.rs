//! Between the agent's words for a container and the engine's: what is created, and how what is there is read.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerState as EngineState, ContainerStateStatusEnum, HostConfig,
    HostConfigLogConfig, PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};
use skein_core::runtime::{ContainerInfo, ContainerRef, ContainerSpec, ContainerState, Exit};

use super::super::{LABEL_CLUSTER, LABEL_NODE, boot, timestamp};

const LABEL_UID: &str = "skein.dev/uid";
const LABEL_CONTAINER: &str = "skein.dev/container";
const LABEL_ATTEMPT: &str = "skein.dev/attempt";
const LABEL_SLOT: &str = "skein.dev/slot";
const LABEL_WRITE: &str = "skein.dev/write";
/// Which start of the machine it was made in.
const LABEL_BOOT: &str = "skein.dev/boot";
const LABEL_POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const LABEL_POD_NAME: &str = "io.kubernetes.pod.name";
/// The longest host name that Linux takes, in bytes.
const HOSTNAME_BYTES: usize = 63;

/// Whose containers are meant. Nothing without both labels is ever listed or touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) cluster: String,
    pub(super) node: String,
    /// This start of the machine.
    pub(super) boot: String,
}

impl Owner {
    /// A filter for the engine's lists: ours alone, and `id` alone if it is given.
    pub(super) fn filter(&self, id: Option<&ContainerRef>) -> HashMap<String, Vec<String>> {
        let mut labels = vec![format!("{LABEL_CLUSTER}={}", self.cluster), format!("{LABEL_NODE}={}", self.node)];
        if let Some(id) = id {
            labels.push(format!("{LABEL_UID}={}", id.uid));
            labels.push(format!("{LABEL_CONTAINER}={}", id.container));
            labels.push(format!("{LABEL_ATTEMPT}={}", id.attempt));
        }
        HashMap::from([("label".to_owned(), labels)])
    }

    /// Which of our containers these labels name; `None` for what is not ours.
    pub(super) fn container(&self, labels: Option<&HashMap<String, String>>) -> Option<ContainerRef> {
        let labels = labels?;
        let is = |name: &str, value: &str| labels.get(name).is_some_and(|found| found == value);
        if !is(LABEL_CLUSTER, &self.cluster) || !is(LABEL_NODE, &self.node) {
            return None;
        }
        let (uid, container) = (labels.get(LABEL_UID)?.as_str(), labels.get(LABEL_CONTAINER)?.as_str());
        let attempt = labels.get(LABEL_ATTEMPT)?.parse().ok()?;
        Some(ContainerRef { uid: uid.into(), container: container.into(), attempt })
    }

    fn labels(&self, spec: &ContainerSpec) -> HashMap<String, String> {
        let attempt = spec.id.attempt.to_string();
        let labels = [
            (LABEL_CLUSTER, self.cluster.as_str()),
            (LABEL_NODE, &self.node),
            (LABEL_UID, &spec.id.uid),
            (LABEL_CONTAINER, &spec.id.container),
            (LABEL_ATTEMPT, &attempt),
            (LABEL_SLOT, &spec.slot),
            (LABEL_WRITE, &spec.write),
            (LABEL_BOOT, &self.boot),
            (LABEL_POD_NAMESPACE, &spec.namespace),
            (LABEL_POD_NAME, &spec.pod),
        ];
        labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// The engine's name for a container: for people, and so that it cannot be created twice.
pub(super) fn name(spec: &ContainerSpec) -> String {
    let uid: String = spec.id.uid.chars().take(8).collect();
    format!("skein_{}_{}_{uid}_{}", spec.id.container, spec.pod, spec.id.attempt)
}

/// What the engine is asked to create. `network_of` is the engine's id of the container whose network is shared.
pub(super) fn create_body(owner: &Owner, spec: &ContainerSpec, network_of: Option<&str>) -> ContainerCreateBody {
    let filled = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let own_network = network_of.is_none() && !spec.host_network;
    let (exposed, bindings) = if own_network { ports(spec) } else { (Vec::new(), PortMap::new()) };
    ContainerCreateBody {
        // A shared network brings its host name along; engines refuse another.
        hostname: own_network.then(|| hostname(if spec.hostname.is_empty() { &spec.pod } else { &spec.hostname })),
        user: user(spec),
        image: Some(spec.image.clone()),
        entrypoint: filled(&spec.command),
        // With an entrypoint of its own it does not get the image's arguments, with Docker as with Kubernetes.
        cmd: filled(&spec.args),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        working_dir: Some(spec.working_dir.clone()).filter(|dir| !dir.is_empty()),
        labels: Some(owner.labels(spec)),
        exposed_ports: Some(exposed).filter(|ports| !ports.is_empty()),
        tty: Some(spec.tty),
        open_stdin: Some(spec.stdin),
        stdin_once: Some(spec.stdin_once),
        host_config: Some(host_config(spec, network_of, bindings)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &ContainerSpec, network_of: Option<&str>, bindings: PortMap) -> HostConfig {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let network_mode = match network_of {
        Some(other) => Some(format!("container:{other}")),
        None => spec.host_network.then(|| "host".to_owned()),
    };
    let rotation = [("max-size", "10m"), ("max-file", "3")];
    let rotation = rotation.map(|(name, value)| (name.to_owned(), value.to_owned()));
    HostConfig {
        network_mode,
        port_bindings: Some(bindings).filter(|bindings| !bindings.is_empty()),
        // The agent decides about restarts: the engine cannot know that a pod has moved.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from(rotation)),
        }),
        nano_cpus: spec.cpu_limit_millis.map(|millis| signed(millis.saturating_mul(1_000_000))),
        // The kernel's shares: 1024 for a core, at least 2.
        cpu_shares: spec.cpu_request_millis.map(|millis| signed(millis.saturating_mul(1024) / 1000).clamp(2, 262_144)),
        memory: spec.memory_limit_bytes.map(signed),
        // The same limit with swap: what is over it is killed, not swapped.
        memory_swap: spec.memory_limit_bytes.map(signed),
        ..powers(spec, network_of.is_none())
    }
}

fn hostname(name: &str) -> String {
    name.chars().take(HOSTNAME_BYTES).collect()
}

/// The user and the group to run as. A group alone goes with the image's user, which the engine fills in.
fn user(spec: &ContainerSpec) -> Option<String> {
    match (spec.security.user, spec.security.group) {
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (Some(user), None) => Some(user.to_string()),
        (None, _) => None,
    }
}

/// The image's user with a group of the pod's choice.
pub(super) fn with_group(of_image: &str, group: u32) -> String {
    let user = of_image.split(':').next().filter(|user| !user.is_empty()).unwrap_or("0");
    format!("{user}:{group}")
}

/// Whether the image's user is surely not the superuser; if not, why, in the words of the kubelet.
pub(super) fn check_non_root(spec: &ContainerSpec, of_image: &str) -> Result<(), String> {
    let about =
        format!("(pod: \"{}_{}({})\", container: {})", spec.pod, spec.namespace, spec.id.uid, spec.id.container);
    let user = of_image.split(':').next().unwrap_or_default();
    match (user, user.parse::<u32>()) {
        ("", _) | (_, Ok(0)) => Err(format!("container has runAsNonRoot and image will run as root {about}")),
        (_, Ok(_)) => Ok(()),
        (name, Err(_)) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {about}"
        )),
    }
}

/// What it may do on its node. What it does not ask for is left to the engine.
fn powers(spec: &ContainerSpec, own_hosts: bool) -> HostConfig {
    let security = &spec.security;
    let words = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let groups: Vec<String> = security.groups.iter().map(u32::to_string).collect();
    let no_new_privileges = security.no_new_privileges.then(|| "no-new-privileges:true".to_owned());
    let seccomp = security.seccomp_unconfined.then(|| "seccomp=unconfined".to_owned());
    let options: Vec<String> = no_new_privileges.into_iter().chain(seccomp).collect();
    let hosts = spec.host_aliases.iter().filter(|_| own_hosts).map(|(name, ip)| format!("{name}:{ip}"));
    HostConfig {
        privileged: security.privileged.then_some(true),
        cap_add: words(&security.add_capabilities),
        cap_drop: words(&security.drop_capabilities),
        readonly_rootfs: security.read_only_root.then_some(true),
        security_opt: words(&options),
        group_add: words(&groups),
        pid_mode: security.host_pid.then(|| "host".to_owned()),
        ipc_mode: security.host_ipc.then(|| "host".to_owned()),
        extra_hosts: words(&hosts.collect::<Vec<_>>()),
        ..HostConfig::default()
    }
}

fn ports(spec: &ContainerSpec) -> (Vec<String>, PortMap) {
    let mut exposed = Vec::new();
    let mut bindings: BTreeMap<String, Vec<PortBinding>> = BTreeMap::new();
    for port in &spec.ports {
        let key = format!("{}/{}", port.container_port, port.protocol.to_ascii_lowercase());
        exposed.push(key.clone());
        if let Some(host_port) = port.host_port {
            let binding = PortBinding { host_ip: port.host_ip.clone(), host_port: Some(host_port.to_string()) };
            bindings.entry(key).or_default().push(binding);
        }
    }
    (exposed, bindings.into_iter().map(|(key, bindings)| (key, Some(bindings))).collect())
}

/// What the agent is told of a container. `None` for one that is not ours.
pub(super) fn info(owner: &Owner, found: &ContainerInspectResponse, ip: Option<String>) -> Option<ContainerInfo> {
    let config = found.config.as_ref()?;
    let id = owner.container(config.labels.as_ref())?;
    let label = |name: &str| config.labels.as_ref().and_then(|labels| labels.get(name)).cloned().unwrap_or_default();
    let state = state(found.state.as_ref());
    let started = found.state.as_ref().and_then(|state| state.started_at.as_deref());
    Some(ContainerInfo {
        id,
        namespace: label(LABEL_POD_NAMESPACE),
        pod: label(LABEL_POD_NAME),
        slot: label(LABEL_SLOT),
        write: label(LABEL_WRITE),
        before_boot: state != ContainerState::Running && boot::is_before(&label(LABEL_BOOT), &owner.boot),
        ip: ip.filter(|_| state == ContainerState::Running),
        state,
        runtime_id: format!("docker://{}", found.id.as_deref().unwrap_or_default()),
        image: config.image.clone().unwrap_or_default(),
        image_id: found.image.clone().unwrap_or_default(),
        started_at_ms: started.and_then(timestamp::parse_ms).unwrap_or(0),
    })
}

/// What it does now.
pub(super) fn state(state: Option<&EngineState>) -> ContainerState {
    let Some(state) = state else { return ContainerState::Exited(Exit::default()) };
    match state.status {
        Some(ContainerStateStatusEnum::CREATED) => ContainerState::Created,
        Some(
            ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::PAUSED | ContainerStateStatusEnum::RESTARTING,
        ) => ContainerState::Running,
        _ => ContainerState::Exited(Exit {
            code: state.exit_code.and_then(|code| i32::try_from(code).ok()),
            oom_killed: state.oom_killed.unwrap_or(false),
            finished_at_ms: state.finished_at.as_deref().and_then(timestamp::parse_ms).unwrap_or(0),
            message: state.error.clone().unwrap_or_default(),
        }),
    }
}

/// Its own address, and the engine's id of the container that has it instead, if its network is shared.
pub(super) fn address(found: &ContainerInspectResponse) -> (Option<String>, Option<String>) {
    let mode = found.host_config.as_ref().and_then(|config| config.network_mode.as_deref()).unwrap_or_default();
    if let Some(other) = mode.strip_prefix("container:") {
        return (None, Some(other.to_owned()));
    }
    let networks = found.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    // Sorted, so that it is the same one each time.
    let addresses: BTreeMap<_, _> = networks
        .into_iter()
        .flatten()
        .filter_map(|(name, network)| Some((name, network.ip_address.clone().filter(|ip| !ip.is_empty())?)))
        .collect();
    (addresses.into_values().next(), None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bollard::models::ContainerConfig;
    use skein_core::runtime::{Port, Security};

    fn owner() -> Owner {
        Owner { cluster: "c".to_owned(), node: "n".to_owned(), boot: "b".to_owned() }
    }

    fn spec() -> ContainerSpec {
        let port = |host_port| Port {
            container_port: 80,
            host_port,
            host_ip: Some("127.0.0.1".to_owned()),
            protocol: "TCP".to_owned(),
        };
        ContainerSpec {
            id: ContainerRef { uid: "01234567-89ab".into(), container: "web".into(), attempt: 2 },
            namespace: "shop".to_owned(),
            pod: "p".repeat(80),
            slot: "s".to_owned(),
            write: "w".to_owned(),
            image: "web:1".to_owned(),
            command: vec!["run".to_owned()],
            args: Vec::new(),
            env: vec![("A".to_owned(), "b=c".to_owned())],
            working_dir: String::new(),
            ports: vec![port(Some(8080)), port(Some(8081)), port(None)],
            cpu_limit_millis: Some(250),
            cpu_request_millis: Some(1),
            memory_limit_bytes: Some(1 << 26),
            network_of: None,
            pid_of: None,
            host_network: false,
            tty: false,
            stdin: false,
            stdin_once: false,
            hostname: String::new(),
            host_aliases: Vec::new(),
            mounts: Vec::new(),
            security: Security::default(),
        }
    }

    #[test]
    fn labels_lead_back_to_the_container_for_its_owner_alone() {
        let labels = owner().labels(&spec());
        assert_eq!(owner().container(Some(&labels)), Some(spec().id));
        let other = Owner { node: "m".to_owned(), ..owner() };
        assert_eq!(other.container(Some(&labels)), None);
        assert_eq!(owner().container(None), None);
    }

    #[test]
    fn what_was_made_before_the_machine_was_started_is_told_unless_it_runs() {
        let made = |boot: &str, status| {
            let labels = Owner { boot: boot.to_owned(), ..owner() }.labels(&spec());
            let config = ContainerConfig { labels: Some(labels), ..ContainerConfig::default() };
            let state = EngineState { status: Some(status), ..EngineState::default() };
            let found = ContainerInspectResponse { config: Some(config), state: Some(state), ..Default::default() };
            info(&owner(), &found, None).unwrap().before_boot
        };
        assert!(made("a", ContainerStateStatusEnum::EXITED) && made("a", ContainerStateStatusEnum::CREATED));
        assert!(!made("b", ContainerStateStatusEnum::EXITED) && !made("a", ContainerStateStatusEnum::RUNNING));
        assert!(!made("", ContainerStateStatusEnum::EXITED), "an earlier version did not say it");
    }

    #[test]
    fn limits_and_ports_are_told_in_the_units_of_the_engine() {
        let body = create_body(&owner(), &spec(), None);
        assert_eq!(body.hostname.unwrap().len(), 63);
        assert_eq!((body.entrypoint.unwrap(), body.cmd), (vec!["run".to_owned()], None));
        let host = body.host_config.unwrap();
        assert_eq!((host.nano_cpus, host.cpu_shares, host.memory), (Some(250_000_000), Some(2), Some(1 << 26)));
        assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO));
        let bindings = host.port_bindings.unwrap();
        let published: Vec<_> = bindings["80/tcp"].iter().flatten().map(|binding| binding.host_port.clone()).collect();
        assert_eq!(published, [Some("8080".to_owned()), Some("8081".to_owned())]);
    }

    #[test]
    fn powers_are_told_as_they_are_asked_for_and_what_is_not_asked_for_is_left_to_the_engine() {
        let plain = create_body(&owner(), &spec(), None);
        let host = plain.host_config.unwrap();
        assert_eq!((plain.user, host.privileged, host.security_opt, host.cap_drop), (None, None, None, None));
        let security = Security {
            user: Some(1000),
            group: Some(7),
            groups: vec![5],
            drop_capabilities: vec!["ALL".to_owned()],
            read_only_root: true,
            no_new_privileges: true,
            host_pid: true,
            ..Security::default()
        };
        let host_aliases = vec![("db".to_owned(), "10.0.0.9".to_owned())];
        let asked = ContainerSpec { security, host_aliases, hostname: "me".to_owned(), ..spec() };
        let body = create_body(&owner(), &asked, None);
        assert_eq!((body.user.as_deref(), body.hostname.as_deref()), (Some("1000:7"), Some("me")));
        let host = body.host_config.unwrap();
        assert_eq!(host.security_opt.unwrap(), ["no-new-privileges:true"]);
        assert_eq!((host.cap_drop.unwrap(), host.group_add.unwrap()), (vec!["ALL".to_owned()], vec!["5".to_owned()]));
        assert_eq!((host.readonly_rootfs, host.pid_mode.as_deref()), (Some(true), Some("host")));
        assert_eq!(host.extra_hosts.unwrap(), ["db:10.0.0.9"]);
        let beside = create_body(&owner(), &asked, Some("id")).host_config.unwrap();
        assert_eq!(beside.extra_hosts, None, "it shares that with the network");
    }

    #[test]
    fn an_image_must_say_by_number_that_it_is_not_the_superusers() {
        assert_eq!(check_non_root(&spec(), "1000:7"), Ok(()));
        assert!(check_non_root(&spec(), "").unwrap_err().contains("image will run as root"));
        assert!(check_non_root(&spec(), "0").unwrap_err().contains("image will run as root"));
        assert!(check_non_root(&spec(), "web").unwrap_err().contains("non-numeric user (web)"));
        assert_eq!((with_group("", 7), with_group("web:5", 7)), ("0:7".to_owned(), "web:7".to_owned()));
    }

    #[test]
    fn a_shared_network_brings_its_name_and_ports_along() {
        for (spec, other) in [(spec(), Some("id")), (ContainerSpec { host_network: true, ..spec() }, None)] {
            let body = create_body(&owner(), &spec, other);
            assert_eq!((body.hostname, body.exposed_ports), (None, None));
            assert!(body.host_config.unwrap().port_bindings.is_none());
        }
    }
}
