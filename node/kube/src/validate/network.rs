//! Endpoints, slices of them, Ingresses and network policies.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{elements, is_empty, workload};
use crate::check;
use crate::status::Problem;

/// The most endpoints and ports of a slice, and the most addresses of one of them.
const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 100;
const MAX_ADDRESSES: usize = 100;

pub(super) fn endpoints(object: &Value, problems: &mut Vec<Problem>) {
    for (i, subset) in elements(&object["subsets"]).enumerate() {
        let here = format!("subsets[{i}]");
        if is_empty(&subset["addresses"]) && is_empty(&subset["notReadyAddresses"]) {
            problems.push(Problem::required(here.as_str(), "must specify `addresses` or `notReadyAddresses`"));
        }
        for list in ["addresses", "notReadyAddresses"] {
            for (k, address) in elements(&subset[list]).enumerate() {
                reachable(&address["ip"], &format!("{here}.{list}[{k}].ip"), problems);
            }
        }
        port_names(&subset["ports"], &format!("{here}.ports"), true, problems);
    }
}

pub(super) fn endpoint_slice(object: &Value, problems: &mut Vec<Problem>) {
    at_most(&object["endpoints"], MAX_ENDPOINTS, "endpoints", problems);
    at_most(&object["ports"], MAX_PORTS, "ports", problems);
    port_names(&object["ports"], "ports", false, problems);
    let kind = object["addressType"].as_str().unwrap_or_default();
    for (i, endpoint) in elements(&object["endpoints"]).enumerate() {
        at_most(&endpoint["addresses"], MAX_ADDRESSES, &format!("endpoints[{i}].addresses"), problems);
        for (k, address) in elements(&endpoint["addresses"]).enumerate() {
            let here = format!("endpoints[{i}].addresses[{k}]");
            let text = address.as_str().unwrap_or_default();
            match (kind, text.parse::<IpAddr>()) {
                ("IPv4", Ok(IpAddr::V4(_))) | ("IPv6", Ok(IpAddr::V6(_))) => reachable(address, &here, problems),
                ("IPv4", _) => problems.push(Problem::invalid(here, address, "must be a valid IPv4 address")),
                ("IPv6", _) => problems.push(Problem::invalid(here, address, "must be a valid IPv6 address")),
                _ => {
                    if let Some(why) = check::dns_subdomain(text) {
                        problems.push(Problem::invalid(here, address, &why));
                    }
                }
            }
        }
    }
}

fn at_most(list: &Value, limit: usize, path: &str, problems: &mut Vec<Problem>) {
    let count = list.as_array().map_or(0, Vec::len);
    if count > limit {
        problems.push(Problem::too_many(path, count, limit));
    }
}

/// Several ports are told apart by their names.
fn port_names(ports: &Value, path: &str, required: bool, problems: &mut Vec<Problem>) {
    let mut names = BTreeSet::new();
    let several = ports.as_array().is_some_and(|ports| ports.len() > 1);
    for (i, port) in elements(ports).enumerate() {
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() && several && required {
            problems.push(Problem::required(format!("{path}[{i}].name"), ""));
        } else if !names.insert(name) && !required {
            problems.push(Problem::duplicate(format!("{path}[{i}].name"), &name.into()));
        }
    }
}

/// An address that means the same to all who read it.
fn reachable(address: &Value, path: &str, problems: &mut Vec<Problem>) {
    let Some(parsed) = address.as_str().and_then(|text| text.parse::<IpAddr>().ok()) else { return };
    let link_local = match parsed {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let why = match parsed {
        _ if parsed.is_unspecified() => "may not be unspecified (0.0.0.0 or ::)",
        _ if parsed.is_loopback() => "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        _ if parsed.is_multicast() => "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        _ if link_local => "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        _ => return,
    };
    problems.push(Problem::invalid(path, address, why));
}

pub(super) fn ingress(object: &Value, problems: &mut Vec<Problem>) {
    let spec = &object["spec"];
    if is_empty(&spec["rules"]) && !spec["defaultBackend"].is_object() {
        problems.push(Problem::invalid("spec", spec, "either `defaultBackend` or `rules` must be specified"));
    }
    if spec["defaultBackend"].is_object() {
        backend(&spec["defaultBackend"], "spec.defaultBackend", problems);
    }
    for (i, rule) in elements(&spec["rules"]).enumerate() {
        let here = format!("spec.rules[{i}]");
        host(&rule["host"], &format!("{here}.host"), problems);
        for (k, path) in elements(&rule["http"]["paths"]).enumerate() {
            ingress_path(path, &format!("{here}.http.paths[{k}]"), problems);
        }
    }
    for (i, tls) in elements(&spec["tls"]).enumerate() {
        for (k, name) in elements(&tls["hosts"]).enumerate() {
            host(name, &format!("spec.tls[{i}].hosts[{k}]"), problems);
        }
    }
}

/// A host, whose first label may be `*`.
fn host(value: &Value, path: &str, problems: &mut Vec<Problem>) {
    let Some(text) = value.as_str().filter(|text| !text.is_empty()) else { return };
    if text.parse::<IpAddr>().is_ok() {
        problems.push(Problem::invalid(path, value, "must be a DNS name, not an IP address"));
    } else if let Some(why) = check::dns_subdomain(text.strip_prefix("*.").unwrap_or(text)) {
        problems.push(Problem::invalid(path, value, &why));
    }
}

fn ingress_path(path: &Value, here: &str, problems: &mut Vec<Problem>) {
    let text = path["path"].as_str().unwrap_or_default();
    if matches!(path["pathType"].as_str(), Some("Exact" | "Prefix")) || !text.is_empty() {
        let field = format!("{here}.path");
        if !text.starts_with('/') {
            problems.push(Problem::invalid(field, &text.into(), "must be an absolute path"));
        } else if path["pathType"] != "ImplementationSpecific" {
            for part in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| text.contains(part)) {
                problems.push(Problem::invalid(&*field, &text.into(), &format!("must not contain '{part}'")));
            }
        }
    }
    if path["backend"].is_object() {
        backend(&path["backend"], &format!("{here}.backend"), problems);
    }
}

fn backend(backend: &Value, path: &str, problems: &mut Vec<Problem>) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_object(), resource.is_object()) {
        (true, true) => {
            let why = "cannot set both resource and service backends";
            problems.push(Problem::invalid(path, &"".into(), why));
        }
        (false, false) => problems.push(Problem::invalid(path, &"".into(), "resource or service backend is required")),
        (false, true) => {}
        (true, false) => {
            let (name, number) = (!is_empty(&service["port"]["name"]), !is_empty(&service["port"]["number"]));
            let field = format!("{path}.service.port");
            if name && number {
                problems.push(Problem::invalid(field, &"".into(), "cannot set both port name & port number"));
            } else if !name && !number {
                problems.push(Problem::required(field, "port name or number is required"));
            }
        }
    }
}

pub(super) fn policy(object: &Value, problems: &mut Vec<Problem>) {
    let spec = &object["spec"];
    workload::selector_expressions(&spec["podSelector"], "spec.podSelector", problems);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, rule) in elements(&spec[rules]).enumerate() {
            for (k, port) in elements(&rule["ports"]).enumerate() {
                policy_port(port, &format!("spec.{rules}[{i}].ports[{k}]"), problems);
            }
            for (k, peer) in elements(&rule[peers]).enumerate() {
                policy_peer(peer, &format!("spec.{rules}[{i}].{peers}[{k}]"), problems);
            }
        }
    }
}

fn policy_port(port: &Value, path: &str, problems: &mut Vec<Problem>) {
    let Some(end) = port["endPort"].as_i64() else { return };
    let field = format!("{path}.endPort");
    match (&port["port"], port["port"].as_i64()) {
        (Value::Null, _) => {
            problems.push(Problem::required(format!("{path}.port"), "must be specified when `endPort` is specified"));
        }
        (_, None) => {
            problems.push(Problem::invalid(field, &end.into(), "may not be specified when `port` is non-numeric"));
        }
        (_, Some(first)) if end < first => {
            problems.push(Problem::invalid(field, &end.into(), "must be greater than or equal to `port`"));
        }
        _ => {}
    }
}

fn policy_peer(peer: &Value, path: &str, problems: &mut Vec<Problem>) {
    let selects = peer["podSelector"].is_object() || peer["namespaceSelector"].is_object();
    let block = &peer["ipBlock"];
    if block.is_object() && selects {
        problems.push(Problem::forbidden(path, "may not specify both ipBlock and another peer"));
    } else if !block.is_object() && !selects {
        problems.push(Problem::required(path, "must specify a peer"));
    }
    for selector in ["podSelector", "namespaceSelector"] {
        workload::selector_expressions(&peer[selector], &format!("{path}.{selector}"), problems);
    }
}
