//! Which addresses this machine has, and which of them others can use.

use std::net::{IpAddr, SocketAddr};

/// The addresses at which others reach a socket that listens on `listen`: itself, or those of all interfaces when it
/// listens on all of them. Addresses of container bridges are left out: every machine has the same ones. The one to
/// prefer comes first.
#[must_use]
pub fn reachable(listen: SocketAddr) -> Vec<SocketAddr> {
    if !listen.ip().is_unspecified() {
        return vec![listen];
    }
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let mut addresses: Vec<IpAddr> = interfaces
        .filter(|interface| !is_bridge(&interface.interface_name))
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .filter(|address| is_global_enough(*address) && (listen.is_ipv6() || address.is_ipv4()))
        .collect();
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() {
        // A machine without a network still talks to itself.
        addresses.push(IpAddr::from([127, 0, 0, 1]));
    }
    addresses.into_iter().map(|address| SocketAddr::new(address, listen.port())).collect()
}

/// Whether an interface belongs to a container engine.
fn is_bridge(name: &str) -> bool {
    ["docker", "br-", "veth", "podman", "cni", "flannel", "virbr"].iter().any(|prefix| name.starts_with(prefix))
}

fn is_global_enough(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        // A link-local address means nothing without its interface.
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unspecified() && (v6.segments()[0] & 0xffc0) != 0xfe80,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_socket_on_one_address_is_reached_there() {
        let listen = "10.1.2.3:7311".parse().unwrap();
        assert_eq!(reachable(listen), [listen]);
    }

    #[test]
    fn a_socket_on_all_addresses_is_reached_at_some_real_one() {
        let all = reachable("0.0.0.0:7311".parse().unwrap());
        assert!(!all.is_empty());
        assert!(all.iter().all(|address| !address.ip().is_unspecified() && address.port() == 7311), "{all:?}");
    }

    #[test]
    fn a_container_bridge_is_no_address_of_the_machine() {
        assert!(is_bridge("docker0") && is_bridge("br-12ab") && !is_bridge("eth0") && !is_bridge("wlan0"));
    }
}
