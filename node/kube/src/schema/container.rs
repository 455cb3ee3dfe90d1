//! Containers: what they run, what they see, what they may take, and how they are looked at.

use super::security::SECURITY_CONTEXT;
use super::volume::VOLUME_MOUNT;
use super::{Check, Field, Ty, TypeSchema};

const LIST: Ty = Ty::List(&Ty::Any);
const RESOURCE_FIELDS: &[&str] = &["limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];

/// One container of a pod.
pub static CONTAINER: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Container",
    fields: &[
        Field::new("name", 1, Ty::Str).required().check(Check::DnsLabel),
        Field::new("image", 2, Ty::Str).required(),
        Field::new("command", 3, Ty::List(&Ty::Str)),
        Field::new("args", 4, Ty::List(&Ty::Str)),
        Field::new("workingDir", 5, Ty::Str),
        Field::new("ports", 6, Ty::List(&Ty::Object(&CONTAINER_PORT))).keyed(&["containerPort", "protocol"]),
        Field::new("envFrom", 19, Ty::List(&Ty::Object(&ENV_FROM_SOURCE))),
        Field::new("env", 7, Ty::List(&Ty::Object(&ENV_VAR))).keyed(&["name"]),
        Field::new("resources", 8, Ty::Object(&RESOURCE_REQUIREMENTS)).default("{}"),
        Field::new("resizePolicy", 23, LIST).not_yet(),
        Field::new("restartPolicy", 24, Ty::Str).not_yet(),
        Field::new("restartPolicyRules", 25, LIST).not_yet(),
        Field::new("volumeMounts", 9, Ty::List(&Ty::Object(&VOLUME_MOUNT))).keyed(&["mountPath"]),
        Field::new("volumeDevices", 21, LIST).not_yet(),
        Field::new("livenessProbe", 10, Ty::Object(&PROBE)),
        Field::new("readinessProbe", 11, Ty::Object(&PROBE)),
        Field::new("startupProbe", 22, Ty::Object(&PROBE)),
        Field::new("lifecycle", 12, Ty::Object(&LIFECYCLE)),
        Field::new("terminationMessagePath", 13, Ty::Str).default("\"/dev/termination-log\""),
        Field::new("terminationMessagePolicy", 20, Ty::Str)
            .default("\"File\"")
            .check(Check::OneOf(&["File", "FallbackToLogsOnError"])),
        Field::new("imagePullPolicy", 14, Ty::Str).check(Check::OneOf(PULL_POLICIES)),
        Field::new("securityContext", 15, Ty::Object(&SECURITY_CONTEXT)),
        Field::new("stdin", 16, Ty::Bool),
        Field::new("stdinOnce", 17, Ty::Bool),
        Field::new("tty", 18, Ty::Bool),
    ],
};

/// A container that is added to a pod while it runs.
pub static EPHEMERAL_CONTAINER: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.EphemeralContainer",
    fields: &[
        Field::new("name", 1, Ty::Str).within(1).required().check(Check::DnsLabel),
        Field::new("image", 2, Ty::Str).within(1).required(),
        Field::new("command", 3, Ty::List(&Ty::Str)).within(1),
        Field::new("args", 4, Ty::List(&Ty::Str)).within(1),
        Field::new("workingDir", 5, Ty::Str).within(1),
        Field::new("ports", 6, Ty::List(&Ty::Object(&CONTAINER_PORT))).within(1).keyed(&["containerPort", "protocol"]),
        Field::new("envFrom", 19, Ty::List(&Ty::Object(&ENV_FROM_SOURCE))).within(1),
        Field::new("env", 7, Ty::List(&Ty::Object(&ENV_VAR))).within(1).keyed(&["name"]),
        Field::new("resources", 8, Ty::Object(&RESOURCE_REQUIREMENTS)).within(1),
        Field::new("resizePolicy", 23, LIST).within(1).not_yet(),
        Field::new("restartPolicy", 24, Ty::Str).within(1).not_yet(),
        Field::new("restartPolicyRules", 25, LIST).within(1).not_yet(),
        Field::new("volumeMounts", 9, Ty::List(&Ty::Object(&VOLUME_MOUNT))).within(1).keyed(&["mountPath"]),
        Field::new("volumeDevices", 21, LIST).within(1).not_yet(),
        Field::new("livenessProbe", 10, Ty::Object(&PROBE)).within(1),
        Field::new("readinessProbe", 11, Ty::Object(&PROBE)).within(1),
        Field::new("startupProbe", 22, Ty::Object(&PROBE)).within(1),
        Field::new("lifecycle", 12, Ty::Object(&LIFECYCLE)).within(1),
        Field::new("terminationMessagePath", 13, Ty::Str).within(1).default("\"/dev/termination-log\""),
        Field::new("terminationMessagePolicy", 20, Ty::Str)
            .within(1)
            .default("\"File\"")
            .check(Check::OneOf(&["File", "FallbackToLogsOnError"])),
        Field::new("imagePullPolicy", 14, Ty::Str).within(1).check(Check::OneOf(PULL_POLICIES)),
        Field::new("securityContext", 15, Ty::Object(&SECURITY_CONTEXT)).within(1),
        Field::new("stdin", 16, Ty::Bool).within(1),
        Field::new("stdinOnce", 17, Ty::Bool).within(1),
        Field::new("tty", 18, Ty::Bool).within(1),
        Field::new("targetContainerName", 2, Ty::Str),
    ],
};

/// A port that a container listens on.
pub static CONTAINER_PORT: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ContainerPort",
    fields: &[
        Field::new("name", 1, Ty::Str).check(Check::PortName),
        Field::new("hostPort", 2, Ty::Int32).check(Check::Range(0, 65535)),
        Field::new("containerPort", 3, Ty::Int32).required().check(Check::Port),
        Field::new("protocol", 4, Ty::Str).default("\"TCP\"").check(Check::OneOf(&["SCTP", "TCP", "UDP"])),
        Field::new("hostIP", 5, Ty::Str).check(Check::Ip),
    ],
};

/// One variable of the environment.
pub static ENV_VAR: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.EnvVar",
    fields: &[
        Field::new("name", 1, Ty::Str).required().check(Check::EnvName),
        Field::new("value", 2, Ty::Str),
        Field::new("valueFrom", 3, Ty::Object(&ENV_VAR_SOURCE)),
    ],
};

/// Where else a variable's value comes from.
pub static ENV_VAR_SOURCE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.EnvVarSource",
    fields: &[
        Field::new("fieldRef", 1, Ty::Object(&OBJECT_FIELD_SELECTOR)),
        Field::new("resourceFieldRef", 2, Ty::Object(&RESOURCE_FIELD_SELECTOR)),
        Field::new("configMapKeyRef", 3, Ty::Object(&CONFIG_MAP_KEY_SELECTOR)),
        Field::new("secretKeyRef", 4, Ty::Object(&SECRET_KEY_SELECTOR)),
        Field::new("fileKeyRef", 5, Ty::Any).not_yet(),
    ],
};

const KEY_SELECTOR_FIELDS: &[Field] = &[
    Field::new("name", 1, Ty::Str).within(1).required(),
    Field::new("key", 2, Ty::Str).required().check(Check::ConfigKey),
    Field::new("optional", 3, Ty::Bool).explicit(),
];

/// A key of a ConfigMap.
pub static CONFIG_MAP_KEY_SELECTOR: TypeSchema =
    TypeSchema { name: "io.k8s.api.core.v1.ConfigMapKeySelector", fields: KEY_SELECTOR_FIELDS };

/// A key of a Secret.
pub static SECRET_KEY_SELECTOR: TypeSchema =
    TypeSchema { name: "io.k8s.api.core.v1.SecretKeySelector", fields: KEY_SELECTOR_FIELDS };

/// Many variables at once: the keys of a ConfigMap or a Secret.
pub static ENV_FROM_SOURCE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.EnvFromSource",
    fields: &[
        Field::new("prefix", 1, Ty::Str).check(Check::EnvName),
        Field::new("configMapRef", 2, Ty::Object(&CONFIG_MAP_ENV_SOURCE)),
        Field::new("secretRef", 3, Ty::Object(&SECRET_ENV_SOURCE)),
    ],
};

const ENV_SOURCE_FIELDS: &[Field] =
    &[Field::new("name", 1, Ty::Str).within(1).required(), Field::new("optional", 2, Ty::Bool).explicit()];

/// All keys of a ConfigMap.
pub static CONFIG_MAP_ENV_SOURCE: TypeSchema =
    TypeSchema { name: "io.k8s.api.core.v1.ConfigMapEnvSource", fields: ENV_SOURCE_FIELDS };

/// All keys of a Secret.
pub static SECRET_ENV_SOURCE: TypeSchema =
    TypeSchema { name: "io.k8s.api.core.v1.SecretEnvSource", fields: ENV_SOURCE_FIELDS };

/// A field of the pod.
pub static OBJECT_FIELD_SELECTOR: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ObjectFieldSelector",
    fields: &[
        Field::new("apiVersion", 1, Ty::Str).default("\"v1\""),
        Field::new("fieldPath", 2, Ty::Str).required().check(Check::PodField),
    ],
};

/// A limit or a request of a container.
pub static RESOURCE_FIELD_SELECTOR: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ResourceFieldSelector",
    fields: &[
        Field::new("containerName", 1, Ty::Str).check(Check::DnsLabel),
        Field::new("resource", 2, Ty::Str).required().check(Check::OneOf(RESOURCE_FIELDS)),
        Field::new("divisor", 3, Ty::Quantity).check(Check::AmountFromZero),
    ],
};

/// What a container asks for, and may take at most.
pub static RESOURCE_REQUIREMENTS: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ResourceRequirements",
    fields: &[
        Field::new("limits", 1, Ty::Map(&Ty::Quantity)).key_check(Check::ComputeResource).check(Check::AmountFromZero),
        Field::new("requests", 2, Ty::Map(&Ty::Quantity))
            .key_check(Check::ComputeResource)
            .check(Check::AmountFromZero),
        Field::new("claims", 3, LIST).not_yet(),
    ],
};

/// When and how to look at a container.
pub static PROBE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Probe",
    fields: &[
        Field::new("exec", 1, Ty::Object(&EXEC_ACTION)).within(1),
        Field::new("httpGet", 2, Ty::Object(&HTTP_GET_ACTION)).within(1),
        Field::new("tcpSocket", 3, Ty::Object(&TCP_SOCKET_ACTION)).within(1),
        Field::new("grpc", 4, Ty::Object(&GRPC_ACTION)).within(1),
        Field::new("initialDelaySeconds", 2, Ty::Int32).check(Check::Range(0, i32::MAX as i64)),
        Field::new("timeoutSeconds", 3, Ty::Int32).default("1").check(Check::Range(1, i32::MAX as i64)),
        Field::new("periodSeconds", 4, Ty::Int32).default("10").check(Check::Range(1, i32::MAX as i64)),
        Field::new("successThreshold", 5, Ty::Int32).default("1").check(Check::Range(1, i32::MAX as i64)),
        Field::new("failureThreshold", 6, Ty::Int32).default("3").check(Check::Range(1, i32::MAX as i64)),
        Field::new("terminationGracePeriodSeconds", 7, Ty::Int64).explicit().check(Check::Range(1, i32::MAX as i64)),
    ],
};

/// Ask a service of gRPC's health protocol.
pub static GRPC_ACTION: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.GRPCAction",
    fields: &[
        Field::new("port", 1, Ty::Int32).required().check(Check::Port),
        Field::new("service", 2, Ty::Str).explicit().default("\"\""),
    ],
};

/// What is run when a container has started, and before it is stopped.
pub static LIFECYCLE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Lifecycle",
    fields: &[
        Field::new("postStart", 1, Ty::Object(&LIFECYCLE_HANDLER)),
        Field::new("preStop", 2, Ty::Object(&LIFECYCLE_HANDLER)),
        Field::new("stopSignal", 3, Ty::Str).explicit().not_yet(),
    ],
};

/// One of these.
pub static LIFECYCLE_HANDLER: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.LifecycleHandler",
    fields: &[
        Field::new("exec", 1, Ty::Object(&EXEC_ACTION)),
        Field::new("httpGet", 2, Ty::Object(&HTTP_GET_ACTION)),
        Field::new("tcpSocket", 3, Ty::Object(&TCP_SOCKET_ACTION)).not_yet(),
        Field::new("sleep", 4, Ty::Object(&SLEEP_ACTION)),
    ],
};

/// Wait.
pub static SLEEP_ACTION: TypeSchema =
    TypeSchema { name: "io.k8s.api.core.v1.SleepAction", fields: &[Field::new("seconds", 1, Ty::Int64)] };

/// Run a command.
pub static EXEC_ACTION: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ExecAction",
    fields: &[Field::new("command", 1, Ty::List(&Ty::Str)).required()],
};

/// Ask by HTTP.
pub static HTTP_GET_ACTION: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.HTTPGetAction",
    fields: &[
        Field::new("path", 1, Ty::Str).default("\"/\""),
        Field::new("port", 2, Ty::IntOrString).required().check(Check::PortOrName),
        Field::new("host", 3, Ty::Str),
        Field::new("scheme", 4, Ty::Str).default("\"HTTP\"").check(Check::OneOf(&["HTTP", "HTTPS"])),
        Field::new("httpHeaders", 5, Ty::List(&Ty::Object(&HTTP_HEADER))),
    ],
};

/// A header to send.
pub static HTTP_HEADER: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.HTTPHeader",
    fields: &[Field::new("name", 1, Ty::Str).required().check(Check::HeaderName), Field::new("value", 2, Ty::Str)],
};

/// Open a connection.
pub static TCP_SOCKET_ACTION: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.TCPSocketAction",
    fields: &[
        Field::new("port", 1, Ty::IntOrString).required().check(Check::PortOrName),
        Field::new("host", 2, Ty::Str),
    ],
};
