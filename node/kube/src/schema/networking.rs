//! Ingresses with their classes, and network policies.

use super::claim::TYPED_LOCAL_OBJECT_REFERENCE;
use super::meta::{LABEL_SELECTOR, OBJECT_META};
use super::{Check, Field, Ty, TypeSchema};

const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];

/// An Ingress.
pub static INGRESS: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.Ingress",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&INGRESS_SPEC)).required(),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// Which requests lead to which Services.
pub static INGRESS_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.IngressSpec",
    fields: &[
        Field::new("ingressClassName", 4, Ty::Str).explicit().check(Check::DnsSubdomain),
        Field::new("defaultBackend", 1, Ty::Object(&INGRESS_BACKEND)),
        Field::new("tls", 2, Ty::List(&Ty::Object(&INGRESS_TLS))),
        Field::new("rules", 3, Ty::List(&Ty::Object(&INGRESS_RULE))),
    ],
};

/// Where the requests to one host lead.
pub static INGRESS_RULE: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.IngressRule",
    fields: &[Field::new("host", 1, Ty::Str), Field::new("http", 1, Ty::Object(&HTTP_INGRESS_RULE_VALUE)).within(2)],
};

/// Where its paths lead.
pub static HTTP_INGRESS_RULE_VALUE: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.HTTPIngressRuleValue",
    fields: &[Field::new("paths", 1, Ty::List(&Ty::Object(&HTTP_INGRESS_PATH))).required()],
};

/// Where one path leads.
pub static HTTP_INGRESS_PATH: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.HTTPIngressPath",
    fields: &[
        Field::new("path", 1, Ty::Str),
        Field::new("pathType", 3, Ty::Str).explicit().required().check(Check::OneOf(PATH_TYPES)),
        Field::new("backend", 2, Ty::Object(&INGRESS_BACKEND)).required(),
    ],
};

/// A Service or something else that answers requests.
pub static INGRESS_BACKEND: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.IngressBackend",
    fields: &[
        Field::new("service", 4, Ty::Object(&INGRESS_SERVICE_BACKEND)),
        Field::new("resource", 3, Ty::Object(&TYPED_LOCAL_OBJECT_REFERENCE)),
    ],
};

/// A Service's port.
pub static INGRESS_SERVICE_BACKEND: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.IngressServiceBackend",
    fields: &[
        Field::new("name", 1, Ty::Str).required(),
        Field::new("port", 2, Ty::Object(&SERVICE_BACKEND_PORT)).default("{}"),
    ],
};

/// By its name or by its number.
pub static SERVICE_BACKEND_PORT: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.ServiceBackendPort",
    fields: &[
        Field::new("name", 1, Ty::Str).check(Check::PortName),
        Field::new("number", 2, Ty::Int32).check(Check::Range(0, 65535)),
    ],
};

/// Which certificate is shown to whom asks for which hosts.
pub static INGRESS_TLS: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.IngressTLS",
    fields: &[Field::new("hosts", 1, Ty::List(&Ty::Str)), Field::new("secretName", 2, Ty::Str)],
};

/// A class of Ingresses.
pub static INGRESS_CLASS: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.IngressClass",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&INGRESS_CLASS_SPEC)),
    ],
};

/// Who serves a class.
pub static INGRESS_CLASS_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.IngressClassSpec",
    fields: &[
        Field::new("controller", 1, Ty::Str).required().immutable("field is immutable"),
        Field::new("parameters", 2, Ty::Object(&INGRESS_CLASS_PARAMETERS)),
    ],
};

/// An object with what a class's controller wants to know.
pub static INGRESS_CLASS_PARAMETERS: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.IngressClassParametersReference",
    fields: &[
        Field::new("apiGroup", 1, Ty::Str).explicit(),
        Field::new("kind", 2, Ty::Str).required(),
        Field::new("name", 3, Ty::Str).required(),
        Field::new("scope", 4, Ty::Str).default("\"Cluster\"").check(Check::OneOf(&["Cluster", "Namespace"])),
        Field::new("namespace", 5, Ty::Str).explicit(),
    ],
};

/// A network policy.
pub static NETWORK_POLICY: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.NetworkPolicy",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&NETWORK_POLICY_SPEC)).default("{}"),
    ],
};

/// Who may talk with which pods.
pub static NETWORK_POLICY_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.NetworkPolicySpec",
    fields: &[
        Field::new("podSelector", 1, Ty::Object(&LABEL_SELECTOR)).default("{}"),
        Field::new("ingress", 2, Ty::List(&Ty::Object(&NETWORK_POLICY_INGRESS_RULE))),
        Field::new("egress", 3, Ty::List(&Ty::Object(&NETWORK_POLICY_EGRESS_RULE))),
        Field::new("policyTypes", 4, Ty::List(&Ty::Str)).check(Check::OneOf(&["Egress", "Ingress"])),
    ],
};

/// Who may reach the pods at which ports.
pub static NETWORK_POLICY_INGRESS_RULE: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.NetworkPolicyIngressRule",
    fields: &[
        Field::new("ports", 1, Ty::List(&Ty::Object(&NETWORK_POLICY_PORT))),
        Field::new("from", 2, Ty::List(&Ty::Object(&NETWORK_POLICY_PEER))),
    ],
};

/// Whom the pods may reach at which ports.
pub static NETWORK_POLICY_EGRESS_RULE: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.NetworkPolicyEgressRule",
    fields: &[
        Field::new("ports", 1, Ty::List(&Ty::Object(&NETWORK_POLICY_PORT))),
        Field::new("to", 2, Ty::List(&Ty::Object(&NETWORK_POLICY_PEER))),
    ],
};

/// A port, or a range of them.
pub static NETWORK_POLICY_PORT: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.NetworkPolicyPort",
    fields: &[
        Field::new("protocol", 1, Ty::Str).default("\"TCP\"").check(Check::OneOf(&["SCTP", "TCP", "UDP"])),
        Field::new("port", 2, Ty::IntOrString).check(Check::PortOrName),
        Field::new("endPort", 3, Ty::Int32).explicit().check(Check::Port),
    ],
};

/// Pods, namespaces or addresses.
pub static NETWORK_POLICY_PEER: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.NetworkPolicyPeer",
    fields: &[
        Field::new("podSelector", 1, Ty::Object(&LABEL_SELECTOR)),
        Field::new("namespaceSelector", 2, Ty::Object(&LABEL_SELECTOR)),
        Field::new("ipBlock", 3, Ty::Object(&IP_BLOCK)),
    ],
};

/// A range of addresses with holes.
pub static IP_BLOCK: TypeSchema = TypeSchema {
    name: "io.k8s.api.networking.v1.IPBlock",
    fields: &[
        Field::new("cidr", 1, Ty::Str).required().check(Check::Cidr),
        Field::new("except", 2, Ty::List(&Ty::Str)).check(Check::Cidr),
    ],
};
