//! What a pod and its containers may do on their node.

use super::{Check, Field, Ty, TypeSchema};

const ID: Check = Check::Range(0, 2_147_483_647);
const SECCOMP_TYPES: &[&str] = &["RuntimeDefault", "Unconfined"];

/// For all containers of a pod.
pub static POD_SECURITY_CONTEXT: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.PodSecurityContext",
    fields: &[
        Field::new("seLinuxOptions", 1, Ty::Any).not_yet(),
        Field::new("windowsOptions", 8, Ty::Any).not_yet(),
        Field::new("runAsUser", 2, Ty::Int64).explicit().check(ID),
        Field::new("runAsGroup", 6, Ty::Int64).explicit().check(ID),
        Field::new("runAsNonRoot", 3, Ty::Bool).explicit(),
        Field::new("supplementalGroups", 4, Ty::List(&Ty::Int64)).check(ID),
        Field::new("supplementalGroupsPolicy", 12, Ty::Str).explicit().not_yet(),
        Field::new("fsGroup", 5, Ty::Int64).explicit().check(ID),
        Field::new("sysctls", 7, Ty::List(&Ty::Any)).not_yet(),
        Field::new("fsGroupChangePolicy", 9, Ty::Str).explicit().check(Check::OneOf(&["Always", "OnRootMismatch"])),
        Field::new("seccompProfile", 10, Ty::Object(&SECCOMP_PROFILE)),
        Field::new("appArmorProfile", 11, Ty::Any).not_yet(),
        Field::new("seLinuxChangePolicy", 13, Ty::Str).explicit().not_yet(),
    ],
};

/// For one container; what it says counts more than what its pod says.
pub static SECURITY_CONTEXT: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.SecurityContext",
    fields: &[
        Field::new("capabilities", 1, Ty::Object(&CAPABILITIES)),
        Field::new("privileged", 2, Ty::Bool).explicit(),
        Field::new("seLinuxOptions", 3, Ty::Any).not_yet(),
        Field::new("windowsOptions", 10, Ty::Any).not_yet(),
        Field::new("runAsUser", 4, Ty::Int64).explicit().check(ID),
        Field::new("runAsGroup", 8, Ty::Int64).explicit().check(ID),
        Field::new("runAsNonRoot", 5, Ty::Bool).explicit(),
        Field::new("readOnlyRootFilesystem", 6, Ty::Bool).explicit(),
        Field::new("allowPrivilegeEscalation", 7, Ty::Bool).explicit(),
        Field::new("procMount", 9, Ty::Str).explicit().not_yet(),
        Field::new("seccompProfile", 11, Ty::Object(&SECCOMP_PROFILE)),
        Field::new("appArmorProfile", 12, Ty::Any).not_yet(),
    ],
};

/// Powers of the superuser that a container has beyond the usual, or lacks.
pub static CAPABILITIES: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Capabilities",
    fields: &[Field::new("add", 1, Ty::List(&Ty::Str)), Field::new("drop", 2, Ty::List(&Ty::Str))],
};

/// Which calls of the kernel a container may make.
pub static SECCOMP_PROFILE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.SeccompProfile",
    fields: &[
        Field::new("type", 1, Ty::Str).required().check(Check::OneOf(SECCOMP_TYPES)),
        Field::new("localhostProfile", 2, Ty::Str).explicit().not_yet(),
    ],
};

/// A line of the file `/etc/hosts`.
pub static HOST_ALIAS: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.HostAlias",
    fields: &[
        Field::new("ip", 1, Ty::Str).required().check(Check::Ip),
        Field::new("hostnames", 2, Ty::List(&Ty::Str)).check(Check::DnsSubdomain),
    ],
};
