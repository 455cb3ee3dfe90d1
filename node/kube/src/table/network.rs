//! The cells of endpoints, slices, service accounts, Leases, Ingresses and network policies.

use serde_json::Value;

use super::{AGE, Cells, Column, NAME, count, elements, labels, text_or};

/// How many of several values a cell names.
const SHOWN: usize = 3;

pub(super) const ENDPOINTS: &[Column] = &[NAME, Column::text("Endpoints", addresses), AGE];

pub(super) const ENDPOINT_SLICE: &[Column] = &[
    NAME,
    Column::text("AddressType", |slice, _| text_or(&slice["addressType"], "")),
    Column::text("Ports", |slice, _| {
        let ports = elements(&slice["ports"]).map(|port| match port["port"].as_i64() {
            Some(port) => port.to_string(),
            None => "*".to_owned(),
        });
        some_of(&ports.collect::<Vec<_>>(), "<unset>")
    }),
    Column::text("Endpoints", |slice, _| {
        let endpoints = elements(&slice["endpoints"]).flat_map(|endpoint| elements(&endpoint["addresses"]));
        some_of(&endpoints.filter_map(|address| Some(address.as_str()?.to_owned())).collect::<Vec<_>>(), "<unset>")
    }),
    AGE,
];

pub(super) const SERVICE_ACCOUNT: &[Column] =
    &[NAME, Column::text("Secrets", |account, _| elements(&account["secrets"]).count().to_string().into()), AGE];

pub(super) const LEASE: &[Column] =
    &[NAME, Column::text("Holder", |lease, _| text_or(&lease["spec"]["holderIdentity"], "")), AGE];

pub(super) const INGRESS: &[Column] = &[
    NAME,
    Column::text("Class", |ingress, _| text_or(&ingress["spec"]["ingressClassName"], "<none>")),
    Column::text("Hosts", |ingress, _| {
        let hosts = elements(&ingress["spec"]["rules"]).filter_map(|rule| rule["host"].as_str());
        some_of(&hosts.filter(|host| !host.is_empty()).map(str::to_owned).collect::<Vec<_>>(), "*")
    }),
    Column::text("Address", |_, _| "".into()),
    Column::text("Ports", |ingress, _| {
        if elements(&ingress["spec"]["tls"]).next().is_some() { "80, 443".into() } else { "80".into() }
    }),
    AGE,
];

pub(super) const INGRESS_CLASS: &[Column] = &[
    NAME,
    Column::text("Controller", |class, _| text_or(&class["spec"]["controller"], "")),
    Column::text("Parameters", |class, _| {
        let parameters = &class["spec"]["parameters"];
        let Some(name) = parameters["name"].as_str() else { return "<none>".into() };
        let group = parameters["apiGroup"].as_str().map(|group| format!(".{group}")).unwrap_or_default();
        format!("{}{group}/{name}", parameters["kind"].as_str().unwrap_or_default()).into()
    }),
    AGE,
];

pub(super) const NETWORK_POLICY: &[Column] =
    &[NAME, Column::text("Pod-Selector", |policy, _| labels(&policy["spec"]["podSelector"]["matchLabels"])), AGE];

/// Some of many, and how many more there are.
fn some_of(values: &[String], none: &str) -> Value {
    let shown = values.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    match values.len() {
        0 => none.into(),
        all if all > SHOWN => format!("{shown} + {} more...", all - SHOWN).into(),
        _ => shown.into(),
    }
}

fn addresses(endpoints: &Value, _: &Cells) -> Value {
    let mut all = Vec::new();
    for subset in elements(&endpoints["subsets"]) {
        for address in elements(&subset["addresses"]).filter_map(|address| address["ip"].as_str()) {
            let ports: Vec<i64> = elements(&subset["ports"]).map(|port| count(&port["port"])).collect();
            let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
            all.extend(ports.iter().map(|port| format!("{host}:{port}")));
            if ports.is_empty() {
                all.push(address.to_owned());
            }
        }
    }
    some_of(&all, "<none>")
}
