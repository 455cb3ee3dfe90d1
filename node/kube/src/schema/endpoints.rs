//! Endpoints in both forms, service accounts, and Leases: what controllers and clients keep beside Services and pods.

use super::event::OBJECT_REFERENCE;
use super::meta::OBJECT_META;
use super::{Check, Field, Ty, TypeSchema};

const PROTOCOLS: Check = Check::OneOf(&["SCTP", "TCP", "UDP"]);

/// Where a Service leads, in one object.
pub static ENDPOINTS: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Endpoints",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("subsets", 2, Ty::List(&Ty::Object(&ENDPOINT_SUBSET))),
    ],
};

/// Addresses with the same ports.
pub static ENDPOINT_SUBSET: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.EndpointSubset",
    fields: &[
        Field::new("addresses", 1, Ty::List(&Ty::Object(&ENDPOINT_ADDRESS))),
        Field::new("notReadyAddresses", 2, Ty::List(&Ty::Object(&ENDPOINT_ADDRESS))),
        Field::new("ports", 3, Ty::List(&Ty::Object(&ENDPOINT_PORT))),
    ],
};

/// One address.
pub static ENDPOINT_ADDRESS: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.EndpointAddress",
    fields: &[
        Field::new("ip", 1, Ty::Str).required().check(Check::Ip),
        Field::new("hostname", 3, Ty::Str).check(Check::DnsLabel),
        Field::new("nodeName", 4, Ty::Str).explicit().check(Check::DnsSubdomain),
        Field::new("targetRef", 2, Ty::Object(&OBJECT_REFERENCE)),
    ],
};

/// One port.
pub static ENDPOINT_PORT: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.EndpointPort",
    fields: &[
        Field::new("name", 1, Ty::Str).check(Check::DnsLabel),
        Field::new("port", 2, Ty::Int32).required().check(Check::Port),
        Field::new("protocol", 3, Ty::Str).default("\"TCP\"").check(PROTOCOLS),
        Field::new("appProtocol", 4, Ty::Str).explicit().check(Check::LabelKey),
    ],
};

/// Some of where a Service leads.
pub static ENDPOINT_SLICE: TypeSchema = TypeSchema {
    name: "io.k8s.api.discovery.v1.EndpointSlice",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("addressType", 4, Ty::Str)
            .required()
            .check(Check::OneOf(&["FQDN", "IPv4", "IPv6"]))
            .immutable("field is immutable"),
        Field::new("endpoints", 2, Ty::List(&Ty::Object(&ENDPOINT))),
        Field::new("ports", 3, Ty::List(&Ty::Object(&SLICE_PORT))),
    ],
};

/// One place that a Service leads to.
pub static ENDPOINT: TypeSchema = TypeSchema {
    name: "io.k8s.api.discovery.v1.Endpoint",
    fields: &[
        Field::new("addresses", 1, Ty::List(&Ty::Str)).required(),
        Field::new("conditions", 2, Ty::Object(&ENDPOINT_CONDITIONS)).default("{}"),
        Field::new("hostname", 3, Ty::Str).explicit().check(Check::DnsLabel),
        Field::new("targetRef", 4, Ty::Object(&OBJECT_REFERENCE)),
        Field::new("deprecatedTopology", 5, Ty::Map(&Ty::Str)).key_check(Check::LabelKey).check(Check::LabelValue),
        Field::new("nodeName", 6, Ty::Str).explicit().check(Check::DnsSubdomain),
        Field::new("zone", 7, Ty::Str).explicit(),
        Field::new("hints", 8, Ty::Object(&ENDPOINT_HINTS)),
    ],
};

/// Whether it takes connections.
pub static ENDPOINT_CONDITIONS: TypeSchema = TypeSchema {
    name: "io.k8s.api.discovery.v1.EndpointConditions",
    fields: &[
        Field::new("ready", 1, Ty::Bool).explicit(),
        Field::new("serving", 2, Ty::Bool).explicit(),
        Field::new("terminating", 3, Ty::Bool).explicit(),
    ],
};

/// From where it should be used.
pub static ENDPOINT_HINTS: TypeSchema = TypeSchema {
    name: "io.k8s.api.discovery.v1.EndpointHints",
    fields: &[
        Field::new("forZones", 1, Ty::List(&Ty::Object(&FOR_ZONE))),
        Field::new("forNodes", 2, Ty::List(&Ty::Object(&FOR_NODE))),
    ],
};

/// A zone.
pub static FOR_ZONE: TypeSchema = TypeSchema {
    name: "io.k8s.api.discovery.v1.ForZone",
    fields: &[Field::new("name", 1, Ty::Str).required().check(Check::LabelValue)],
};

/// A node.
pub static FOR_NODE: TypeSchema = TypeSchema {
    name: "io.k8s.api.discovery.v1.ForNode",
    fields: &[Field::new("name", 1, Ty::Str).required().check(Check::DnsSubdomain)],
};

/// One port of a slice. One without a number stands for all ports.
pub static SLICE_PORT: TypeSchema = TypeSchema {
    name: "io.k8s.api.discovery.v1.EndpointPort",
    fields: &[
        Field::new("name", 1, Ty::Str).explicit().default("\"\"").check(Check::DnsLabel),
        Field::new("protocol", 2, Ty::Str).default("\"TCP\"").check(PROTOCOLS),
        Field::new("port", 3, Ty::Int32).explicit().check(Check::Port),
        Field::new("appProtocol", 4, Ty::Str).explicit().check(Check::LabelKey),
    ],
};

/// Whom pods are at the API.
pub static SERVICE_ACCOUNT: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ServiceAccount",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("secrets", 2, Ty::List(&Ty::Object(&OBJECT_REFERENCE))).keyed(&["name"]),
        Field::new("imagePullSecrets", 3, Ty::List(&Ty::Object(&LOCAL_OBJECT_REFERENCE))),
        Field::new("automountServiceAccountToken", 4, Ty::Bool).explicit(),
    ],
};

/// An object of a known kind in the same namespace.
pub static LOCAL_OBJECT_REFERENCE: TypeSchema =
    TypeSchema { name: "io.k8s.api.core.v1.LocalObjectReference", fields: &[Field::new("name", 1, Ty::Str)] };

/// A Lease.
pub static LEASE: TypeSchema = TypeSchema {
    name: "io.k8s.api.coordination.v1.Lease",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&LEASE_SPEC)).default("{}"),
    ],
};

/// Who holds a Lease, since when, and for how long.
pub static LEASE_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.coordination.v1.LeaseSpec",
    fields: &[
        Field::new("holderIdentity", 1, Ty::Str).explicit(),
        Field::new("leaseDurationSeconds", 2, Ty::Int32).explicit().check(Check::Range(1, i32::MAX as i64)),
        Field::new("acquireTime", 3, Ty::MicroTime),
        Field::new("renewTime", 4, Ty::MicroTime),
        Field::new("leaseTransitions", 5, Ty::Int32).explicit().check(Check::Range(0, i32::MAX as i64)),
        Field::new("strategy", 6, Ty::Str).explicit(),
        Field::new("preferredHolder", 7, Ty::Str).explicit(),
    ],
};
