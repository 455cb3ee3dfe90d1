//! From a pod's typed spec to what the runtime is asked to create.

use super::environment::{PodFields, environment, expand};
use super::security::security;
use super::volumes::mounts;
use crate::model::pod::{Container, ContainerPort, PodSpec};
use crate::runtime::{ContainerRef, ContainerSpec, Port};

/// Which container to create.
pub(super) struct Wish<'a> {
    pub(super) id: ContainerRef,
    pub(super) slot: &'a str,
    /// The placement's write; empty for a pod without an owner.
    pub(super) write: &'a str,
    pub(super) container: &'a Container,
    pub(super) network_of: Option<ContainerRef>,
    /// Whose processes it sees.
    pub(super) pid_of: Option<ContainerRef>,
    /// Whether it holds the pod's network, and so publishes the ports of all its containers.
    pub(super) holds_network: bool,
}

/// The spec of one attempt.
///
/// # Errors
/// When a variable of its environment refers to what does not exist, in words for a person.
pub(super) fn container_spec(wish: Wish<'_>, pod: &PodFields<'_>) -> Result<ContainerSpec, String> {
    let container = wish.container;
    let env = environment(container, pod)?;
    let expanded = |texts: &[String]| texts.iter().map(|text| expand(text, &env)).collect();
    let limit = |name: &str| container.resources.limits.get(name).copied();
    Ok(ContainerSpec {
        namespace: pod.namespace.to_owned(),
        pod: pod.name.to_owned(),
        slot: wish.slot.to_owned(),
        write: wish.write.to_owned(),
        image: container.image.clone(),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone(),
        ports: ports(&pod.template.spec, container, wish.holds_network),
        cpu_limit_millis: limit("cpu").map(|cpu| cpu.millis()),
        cpu_request_millis: container.request("cpu").map(|cpu| cpu.millis()),
        memory_limit_bytes: limit("memory").map(|memory| memory.units()),
        network_of: wish.network_of,
        pid_of: wish.pid_of,
        host_network: pod.template.spec.host_network,
        tty: container.tty,
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        hostname: pod.template.spec.hostname.clone(),
        host_aliases: host_aliases(&pod.template.spec),
        security: security(container, &pod.template.spec, pod.name)?,
        mounts: mounts(container, &pod.template.spec)?,
        id: wish.id,
        env,
    })
}

fn host_aliases(spec: &PodSpec) -> Vec<(String, String)> {
    let pairs = spec.host_aliases.iter().flat_map(|alias| alias.hostnames.iter().map(|name| (name, &alias.ip)));
    pairs.map(|(name, ip)| (name.clone(), ip.clone())).collect()
}

/// An engine publishes ports of a network where it is made: with the container that the others join.
fn ports(spec: &PodSpec, container: &Container, holds_network: bool) -> Vec<Port> {
    let port = |port: &ContainerPort, publish: bool| Port {
        container_port: port.container_port,
        host_port: Some(port.host_port).filter(|port| *port > 0 && publish),
        host_ip: Some(port.host_ip.clone()).filter(|ip| !ip.is_empty()),
        protocol: port.protocol().to_owned(),
    };
    let own = container.ports.iter().map(|own| port(own, holds_network));
    let others = spec.containers.iter().filter(|other| holds_network && other.name != container.name);
    let published = others.flat_map(|other| &other.ports).filter(|port| port.host_port > 0);
    own.chain(published.map(|other| port(other, true))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::pod::PodTemplateSpec;
    use serde_json::json;

    #[test]
    fn the_first_container_publishes_the_ports_of_all() {
        let pod = PodTemplateSpec::of(&json!({"spec": {"containers": [
            {"name": "a", "ports": [{"containerPort": 80}]},
            {"name": "b", "ports": [{"containerPort": 81, "hostPort": 8081}, {"containerPort": 82}]},
        ]}}))
        .unwrap();
        let ports_of = |n: usize, holds| -> Vec<(u16, Option<u16>)> {
            let all = ports(&pod.spec, &pod.spec.containers[n], holds);
            all.iter().map(|port| (port.container_port, port.host_port)).collect()
        };
        assert_eq!(ports_of(0, true), [(80, None), (81, Some(8081))]);
        assert_eq!(ports_of(1, false), [(81, None), (82, None)]);
    }
}
