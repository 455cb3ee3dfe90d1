//! Volumes of a pod: where they come from, and where containers see them.

use super::container::RESOURCE_FIELD_SELECTOR;
use super::{Check, Field, Ty, TypeSchema};

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// What the elements of such a list are.
static KEY: Ty = Ty::Object(&KEY_TO_PATH);
/// Which keys become files; empty: all.
const KEYS: Field = Field::new("items", 2, Ty::List(&KEY));
/// Whether the pod does without the source.
const OPTIONAL: Field = Field::new("optional", 4, Ty::Bool).explicit();
/// The name of the source.
const SOURCE_NAME: Field = Field::new("name", 1, Ty::Str).within(1).required();

/// The permissions of files that have none of their own.
const fn default_mode(tag: u32) -> Field {
    Field::new("defaultMode", tag, Ty::Int32).explicit().default("420").check(Check::FileMode)
}

/// The permissions of one file.
const fn mode(tag: u32) -> Field {
    Field::new("mode", tag, Ty::Int32).explicit().check(Check::FileMode)
}

/// A directory that the containers of a pod may share.
pub static VOLUME: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Volume",
    fields: &[
        Field::new("name", 1, Ty::Str).required().check(Check::DnsLabel),
        Field::new("hostPath", 1, Ty::Object(&HOST_PATH)).within(2),
        Field::new("emptyDir", 2, Ty::Object(&EMPTY_DIR)).within(2),
        Field::new("gcePersistentDisk", 3, Ty::Any).within(2).not_yet(),
        Field::new("awsElasticBlockStore", 4, Ty::Any).within(2).not_yet(),
        Field::new("gitRepo", 5, Ty::Any).within(2).not_yet(),
        Field::new("secret", 6, Ty::Object(&SECRET)).within(2),
        Field::new("nfs", 7, Ty::Any).within(2).not_yet(),
        Field::new("iscsi", 8, Ty::Any).within(2).not_yet(),
        Field::new("glusterfs", 9, Ty::Any).within(2).not_yet(),
        Field::new("persistentVolumeClaim", 10, Ty::Any).within(2).not_yet(),
        Field::new("rbd", 11, Ty::Any).within(2).not_yet(),
        Field::new("flexVolume", 12, Ty::Any).within(2).not_yet(),
        Field::new("cinder", 13, Ty::Any).within(2).not_yet(),
        Field::new("cephfs", 14, Ty::Any).within(2).not_yet(),
        Field::new("flocker", 15, Ty::Any).within(2).not_yet(),
        Field::new("downwardAPI", 16, Ty::Object(&DOWNWARD_API)).within(2),
        Field::new("fc", 17, Ty::Any).within(2).not_yet(),
        Field::new("azureFile", 18, Ty::Any).within(2).not_yet(),
        Field::new("configMap", 19, Ty::Object(&CONFIG_MAP)).within(2),
        Field::new("vsphereVolume", 20, Ty::Any).within(2).not_yet(),
        Field::new("quobyte", 21, Ty::Any).within(2).not_yet(),
        Field::new("azureDisk", 22, Ty::Any).within(2).not_yet(),
        Field::new("photonPersistentDisk", 23, Ty::Any).within(2).not_yet(),
        Field::new("portworxVolume", 24, Ty::Any).within(2).not_yet(),
        Field::new("scaleIO", 25, Ty::Any).within(2).not_yet(),
        Field::new("projected", 26, Ty::Object(&PROJECTED)).within(2),
        Field::new("storageos", 27, Ty::Any).within(2).not_yet(),
        Field::new("csi", 28, Ty::Any).within(2).not_yet(),
        Field::new("ephemeral", 29, Ty::Any).within(2).not_yet(),
        Field::new("image", 30, Ty::Any).within(2).not_yet(),
    ],
};

/// A file or a directory of the host.
pub static HOST_PATH: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.HostPathVolumeSource",
    fields: &[
        Field::new("path", 1, Ty::Str).required(),
        Field::new("type", 2, Ty::Str).explicit().default("\"\"").check(Check::OneOf(HOST_PATH_TYPES)),
    ],
};

/// A directory that begins empty and goes with the pod.
pub static EMPTY_DIR: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.EmptyDirVolumeSource",
    fields: &[
        Field::new("medium", 1, Ty::Str).check(Check::OneOf(&["", "Memory"])),
        Field::new("sizeLimit", 2, Ty::Quantity).not_yet(),
    ],
};

/// The keys of a Secret as files.
pub static SECRET: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.SecretVolumeSource",
    fields: &[Field::new("secretName", 1, Ty::Str).required(), KEYS, default_mode(3), OPTIONAL],
};

/// The keys of a ConfigMap as files.
pub static CONFIG_MAP: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ConfigMapVolumeSource",
    fields: &[SOURCE_NAME, KEYS, default_mode(3), OPTIONAL],
};

/// Which key becomes which file.
pub static KEY_TO_PATH: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.KeyToPath",
    fields: &[
        Field::new("key", 1, Ty::Str).required(),
        Field::new("path", 2, Ty::Str).required().check(Check::FileWithin),
        mode(3),
    ],
};

/// What a pod is, as files.
pub static DOWNWARD_API: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.DownwardAPIVolumeSource",
    fields: &[Field::new("items", 1, Ty::List(&Ty::Object(&DOWNWARD_API_FILE))), default_mode(2)],
};

/// One file that says something of the pod.
pub static DOWNWARD_API_FILE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.DownwardAPIVolumeFile",
    fields: &[
        Field::new("path", 1, Ty::Str).required().check(Check::FileWithin),
        Field::new("fieldRef", 2, Ty::Object(&FILE_FIELD_SELECTOR)),
        Field::new("resourceFieldRef", 3, Ty::Object(&RESOURCE_FIELD_SELECTOR)),
        mode(4),
    ],
};

/// A field of the pod, or a whole map of its metadata: unlike a variable a file can hold that.
pub static FILE_FIELD_SELECTOR: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ObjectFieldSelector",
    fields: &[Field::new("apiVersion", 1, Ty::Str).default("\"v1\""), Field::new("fieldPath", 2, Ty::Str).required()],
};

/// Several sources in one directory.
pub static PROJECTED: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ProjectedVolumeSource",
    fields: &[Field::new("sources", 1, Ty::List(&Ty::Object(&PROJECTION))), default_mode(2)],
};

/// One of several sources.
pub static PROJECTION: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.VolumeProjection",
    fields: &[
        Field::new("secret", 1, Ty::Object(&SECRET_PROJECTION)),
        Field::new("downwardAPI", 2, Ty::Object(&DOWNWARD_API_PROJECTION)),
        Field::new("configMap", 3, Ty::Object(&CONFIG_MAP_PROJECTION)),
        Field::new("serviceAccountToken", 4, Ty::Object(&TOKEN_PROJECTION)),
        Field::new("clusterTrustBundle", 5, Ty::Any).not_yet(),
        Field::new("podCertificate", 6, Ty::Any).not_yet(),
    ],
};

/// A token of the pod's account.
pub static TOKEN_PROJECTION: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ServiceAccountTokenProjection",
    fields: &[
        Field::new("audience", 1, Ty::Str),
        Field::new("expirationSeconds", 2, Ty::Int64).explicit().default("3600"),
        Field::new("path", 3, Ty::Str).required().check(Check::FileWithin),
    ],
};

/// A Secret among several sources.
pub static SECRET_PROJECTION: TypeSchema =
    TypeSchema { name: "io.k8s.api.core.v1.SecretProjection", fields: &[SOURCE_NAME, KEYS, OPTIONAL] };

/// A ConfigMap among several sources.
pub static CONFIG_MAP_PROJECTION: TypeSchema =
    TypeSchema { name: "io.k8s.api.core.v1.ConfigMapProjection", fields: &[SOURCE_NAME, KEYS, OPTIONAL] };

/// What a pod is, among several sources.
pub static DOWNWARD_API_PROJECTION: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.DownwardAPIProjection",
    fields: &[Field::new("items", 1, Ty::List(&Ty::Object(&DOWNWARD_API_FILE)))],
};

/// Where a container sees a volume.
pub static VOLUME_MOUNT: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.VolumeMount",
    fields: &[
        Field::new("name", 1, Ty::Str).required(),
        Field::new("readOnly", 2, Ty::Bool),
        Field::new("mountPath", 3, Ty::Str).required(),
        Field::new("subPath", 4, Ty::Str).check(Check::PathWithin),
        Field::new("mountPropagation", 5, Ty::Str).explicit().not_yet(),
        Field::new("subPathExpr", 6, Ty::Str).not_yet(),
        Field::new("recursiveReadOnly", 7, Ty::Str).explicit().not_yet(),
    ],
};
