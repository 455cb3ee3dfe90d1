//! Which of a host's addresses peers are told: those at which they could reach it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

/// Interfaces that container engines and hypervisors make. Their addresses exist on every such host, so a peer that
/// dials one reaches a container of its own.
const BRIDGES: [&str; 10] = ["docker", "br-", "veth", "cni", "virbr", "podman", "flannel", "cali", "lxc", "lxdbr"];

/// Whether peers may be told this listen address. `asked` are the IP addresses that the configuration named.
pub(crate) fn is_announced(ip: IpAddr, asked: &BTreeSet<IpAddr>) -> bool {
    is_announced_given(ip, asked, &bridge_addresses())
}

fn is_announced_given(ip: IpAddr, asked: &BTreeSet<IpAddr>, bridges: &BTreeSet<IpAddr>) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if ip.is_unspecified() || link_local || bridges.contains(&ip) || is_docker_default(ip) {
        return false;
    }
    // A loopback address reaches this host alone, which is what who names one wants.
    !ip.is_loopback() || asked.contains(&ip)
}

/// 172.17.0.0/16, Docker's default bridge, also when its interface cannot be seen from here.
fn is_docker_default(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[..2] == [172, 17])
}

fn bridge_addresses() -> BTreeSet<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return BTreeSet::new() };
    interfaces
        .filter(|interface| BRIDGES.iter().any(|prefix| interface.interface_name.starts_with(prefix)))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bridges_and_loopback_are_not_announced_unless_loopback_was_asked_for() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let bridges = BTreeSet::from([ip("172.18.0.1")]);
        let wildcard = BTreeSet::from([ip("0.0.0.0")]);
        let announced = |text| is_announced_given(ip(text), &wildcard, &bridges);
        assert!(announced("10.99.0.1") && announced("192.168.1.2") && announced("2001:db8::1"));
        for hidden in ["172.17.0.1", "172.18.0.1", "127.0.0.1", "::1", "fe80::1", "169.254.1.1", "0.0.0.0"] {
            assert!(!announced(hidden), "{hidden}");
        }
        let loopback = BTreeSet::from([ip("127.0.0.2")]);
        assert!(is_announced_given(ip("127.0.0.2"), &loopback, &bridges));
    }
}
