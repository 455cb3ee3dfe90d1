//! Services. They are stored, and nothing serves them yet.

use super::meta::OBJECT_META;
use super::{Check, Field, Ty, TypeSchema};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const TEXTS: Ty = Ty::List(&Ty::Str);

/// A Service.
pub static SERVICE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Service",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&SERVICE_SPEC)).required(),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// Which pods a Service reaches, and how.
pub static SERVICE_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ServiceSpec",
    fields: &[
        Field::new("ports", 1, Ty::List(&Ty::Object(&SERVICE_PORT))).keyed(&["port", "protocol"]),
        Field::new("selector", 2, Ty::Map(&Ty::Str)).key_check(Check::LabelKey).check(Check::LabelValue),
        Field::new("clusterIP", 3, Ty::Str),
        Field::new("clusterIPs", 18, TEXTS),
        Field::new("type", 4, Ty::Str).default("\"ClusterIP\"").check(Check::OneOf(TYPES)),
        Field::new("externalIPs", 5, TEXTS).check(Check::Ip),
        Field::new("sessionAffinity", 7, Ty::Str).default("\"None\"").check(Check::OneOf(&["ClientIP", "None"])),
        Field::new("loadBalancerIP", 8, Ty::Str),
        Field::new("loadBalancerSourceRanges", 9, TEXTS),
        Field::new("externalName", 10, Ty::Str).check(Check::DnsSubdomain),
        Field::new("externalTrafficPolicy", 11, Ty::Str).check(Check::OneOf(&["Cluster", "Local"])),
        Field::new("healthCheckNodePort", 12, Ty::Int32).check(Check::Range(0, 65535)),
        Field::new("publishNotReadyAddresses", 13, Ty::Bool),
        Field::new("sessionAffinityConfig", 14, Ty::Object(&SESSION_AFFINITY_CONFIG)),
        Field::new("ipFamilies", 19, TEXTS).check(Check::OneOf(&["IPv4", "IPv6"])),
        Field::new("ipFamilyPolicy", 17, Ty::Str).explicit().check(Check::OneOf(&[
            "PreferDualStack",
            "RequireDualStack",
            "SingleStack",
        ])),
        Field::new("allocateLoadBalancerNodePorts", 20, Ty::Bool).explicit(),
        Field::new("loadBalancerClass", 21, Ty::Str).explicit(),
        Field::new("internalTrafficPolicy", 22, Ty::Str).check(Check::OneOf(&["Cluster", "Local"])),
        Field::new("trafficDistribution", 23, Ty::Str),
    ],
};

/// One port of a Service.
pub static SERVICE_PORT: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ServicePort",
    fields: &[
        Field::new("name", 1, Ty::Str).check(Check::DnsLabel),
        Field::new("protocol", 2, Ty::Str).default("\"TCP\"").check(Check::OneOf(&["SCTP", "TCP", "UDP"])),
        Field::new("appProtocol", 6, Ty::Str).explicit(),
        Field::new("port", 3, Ty::Int32).required().check(Check::Port),
        Field::new("targetPort", 4, Ty::IntOrString).check(Check::PortOrName),
        Field::new("nodePort", 5, Ty::Int32).check(Check::Range(0, 65535)),
    ],
};

/// How long a client stays with a pod.
pub static SESSION_AFFINITY_CONFIG: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.SessionAffinityConfig",
    fields: &[Field::new("clientIP", 1, Ty::Object(&CLIENT_IP_CONFIG))],
};

/// How long a client's address stays with a pod.
pub static CLIENT_IP_CONFIG: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ClientIPConfig",
    fields: &[Field::new("timeoutSeconds", 1, Ty::Int32).explicit().check(Check::Range(1, 86_400))],
};
