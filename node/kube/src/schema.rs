//! The schema: for each type of the API its fields with their types, list keys, defaults, checks and protobuf tags.
//!
//! It is plain data, split by family below, and the one source of validation, defaulting, the layout of leaves, merge
//! keys of patches, protobuf and OpenAPI. What these do with it does not live here.

use std::collections::BTreeMap;

use skein_crdt_state::{Kind, Layout};

use crate::resource;

pub mod affinity;
pub mod autoscaling;
pub mod batch;
pub mod claim;
pub mod cluster;
pub mod container;
pub mod endpoints;
pub mod event;
pub mod meta;
pub mod metrics;
pub mod networking;
pub mod pod;
pub mod policy;
pub mod rbac;
pub mod review;
pub mod secret;
pub mod security;
pub mod service;
pub mod stateful;
pub mod status;
pub mod volume;
pub mod workload;

/// The version of the layout. It is wire format: a change to list keys of fields that can be stored needs a new one. A new
/// kind needs none: nobody has stored an object of it.
pub const LAYOUT_VERSION: u16 = 1;
/// The tag of a field that only JSON has; protobuf has none as high.
const NO_TAG: u32 = u32::MAX;
/// The same for the second one of a type.
const NO_TAG_EITHER: u32 = u32::MAX - 1;

/// The maps whose texts are kept beside an object's document, so that its history keeps none of them. `kubectl apply` writes the
/// whole of a Secret into an annotation.
const KEPT_ASIDE: [(&str, &str); 2] = [("Secret", "data"), ("Secret", "metadata.annotations")];

/// A type of the API.
#[derive(Debug)]
pub struct TypeSchema {
    /// OpenAPI's name for it: `io.k8s.api.core.v1.PodSpec`.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum Ty {
    /// A text.
    Str,
    /// A truth value.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// An amount: `500m`, `64Mi`.
    Quantity,
    /// A whole number, or a text such as a port's name or a percentage.
    IntOrString,
    /// A time in seconds.
    Time,
    /// A time in microseconds.
    MicroTime,
    /// Bytes, as base64.
    Bytes,
    /// Anything; not looked into.
    Any,
    /// An object of any type, which protobuf holds as JSON.
    Raw,
    /// A type of its own.
    Object(&'static TypeSchema),
    /// A list.
    List(&'static Ty),
    /// A map from texts.
    Map(&'static Ty),
}

/// How a strategic merge patch treats a list or a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The patch's list takes the place of the old one.
    Replace,
    /// Elements are matched by this field.
    By(&'static str),
    /// A list of plain values, as a set.
    Set,
}

/// How far a field is honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It does what Kubernetes says, or has no effect that would be missed.
    Full,
    /// It is known, and refused unless it is empty.
    NotYet,
    /// The system sets it; what a client sends is dropped.
    System,
}

/// What a value must look like, beyond its type. For lists and maps it is about each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Anything.
    None,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// From this to that.
    Range(i64, i64),
    /// A number of a port.
    Port,
    /// A port's number or name.
    PortOrName,
    /// A port's name: at most 15 letters, digits and dashes.
    PortName,
    /// A number from 0 on, or a percentage.
    CountOrPercent,
    /// A label of RFC 1123.
    DnsLabel,
    /// A subdomain of RFC 1123.
    DnsSubdomain,
    /// A qualified name: a label's key.
    LabelKey,
    /// A label's value.
    LabelValue,
    /// An annotation's key: a label's key in any case.
    AnnotationKey,
    /// A variable's name.
    EnvName,
    /// A key of a ConfigMap.
    ConfigKey,
    /// A resource that can be asked for.
    ComputeResource,
    /// An IP address.
    Ip,
    /// A range of IP addresses.
    Cidr,
    /// Not empty.
    NonEmpty,
    /// A path that begins with `/`.
    AbsolutePath,
    /// An amount from 0 on.
    AmountFromZero,
    /// The permissions of a file.
    FileMode,
    /// A path below a directory, which may not lead out of it.
    PathWithin,
    /// The same for a file that the system writes: it may not begin with `..`, which is its own.
    FileWithin,
    /// What a header may be called.
    HeaderName,
    /// A field that a container may see of its pod.
    PodField,
    /// How a selector compares.
    SelectorOperator,
}

/// A field of a type.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its tag in protobuf.
    pub tag: u32,
    /// In protobuf it sits in a message of its own with this tag, which JSON does without.
    pub envelope: Option<u32>,
    /// What it holds.
    pub ty: Ty,
    /// The keys of a list whose elements merge one by one.
    pub keys: &'static [&'static str],
    /// How a strategic merge patch treats it.
    pub merge: Merge,
    /// A strategic merge patch may name all fields that stay (`$retainKeys`).
    pub retain_keys: bool,
    /// The default as JSON.
    pub default: Option<&'static str>,
    /// Whether it must be there and not be empty.
    pub required: bool,
    /// Whether it may never change, and what to say then.
    pub immutable: Option<&'static str>,
    /// Whether a zero in protobuf was meant: the field is a pointer for Go's clients.
    pub explicit_zero: bool,
    /// What its value must look like.
    pub check: Check,
    /// What the keys of a map must look like.
    pub key_check: Check,
    /// How far it is honoured.
    pub support: Support,
}

impl Field {
    pub(crate) const fn new(name: &'static str, tag: u32, ty: Ty) -> Self {
        Field {
            name,
            tag,
            envelope: None,
            ty,
            keys: &[],
            merge: Merge::Replace,
            retain_keys: false,
            default: None,
            required: false,
            immutable: None,
            explicit_zero: false,
            check: Check::None,
            key_check: Check::None,
            support: Support::Full,
        }
    }

    /// Its elements are told apart by these; patches match by the first.
    pub(crate) const fn keyed(mut self, keys: &'static [&'static str]) -> Self {
        self.keys = keys;
        self.merge = Merge::By(keys[0]);
        self
    }

    /// Its elements are told apart by these, but a patch replaces the list.
    pub(crate) const fn stored_by(mut self, keys: &'static [&'static str]) -> Self {
        self.keys = keys;
        self
    }

    pub(crate) const fn merged_as_set(mut self) -> Self {
        self.merge = Merge::Set;
        self
    }

    pub(crate) const fn retaining_keys(mut self) -> Self {
        self.retain_keys = true;
        self
    }

    pub(crate) const fn within(mut self, envelope: u32) -> Self {
        self.envelope = Some(envelope);
        self
    }

    pub(crate) const fn default(mut self, json: &'static str) -> Self {
        self.default = Some(json);
        self
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) const fn immutable(mut self, why: &'static str) -> Self {
        self.immutable = Some(why);
        self
    }

    pub(crate) const fn explicit(mut self) -> Self {
        self.explicit_zero = true;
        self
    }

    pub(crate) const fn check(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    pub(crate) const fn key_check(mut self, check: Check) -> Self {
        self.key_check = check;
        self
    }

    pub(crate) const fn not_yet(mut self) -> Self {
        self.support = Support::NotYet;
        self
    }

    pub(crate) const fn system(mut self) -> Self {
        self.support = Support::System;
        self
    }
}

impl TypeSchema {
    /// A field by its name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The name that a misspelt one was probably meant to be.
    #[must_use]
    pub fn closest(&self, misspelt: &str) -> Option<&'static str> {
        let limit = (misspelt.chars().count() / 3).clamp(1, 3);
        let distance = |name: &str| edit_distance(&misspelt.to_ascii_lowercase(), &name.to_ascii_lowercase());
        let near = self.fields.iter().map(|field| (distance(field.name), field.name));
        near.filter(|(distance, _)| *distance <= limit).min().map(|(_, name)| name)
    }
}

/// How stored objects become leaves: which lists have which keys.
#[must_use]
pub fn layout() -> Layout {
    let mut patterns: BTreeMap<(&'static str, String), &'static [&'static str]> = BTreeMap::new();
    for resource in resource::SERVED.iter().filter(|r| resource::of_kind(&r.kind()) == Some(**r)) {
        keyed_lists(resource.schema, "", &mut |pattern, keys| {
            patterns.insert((resource.stored_kind, pattern.to_owned()), keys);
        });
    }
    let entries = patterns.iter().map(|((kind, pattern), keys)| (Kind::new(kind), pattern.as_str(), *keys));
    let aside = KEPT_ASIDE.iter().map(|(kind, path)| (Kind::new(kind), *path));
    Layout::new(LAYOUT_VERSION, entries).keeping_aside(aside)
}

fn keyed_lists(of: &'static TypeSchema, path: &str, found: &mut impl FnMut(&str, &'static [&'static str])) {
    for field in of.fields.iter().filter(|field| field.support == Support::Full) {
        let dot = if path.is_empty() { "" } else { "." };
        let mut here = format!("{path}{dot}{}", field.name);
        if !field.keys.is_empty() {
            found(&here, field.keys);
        }
        let mut ty = field.ty;
        loop {
            match ty {
                Ty::List(of) if !field.keys.is_empty() => ty = *of,
                Ty::Map(of) => {
                    here.push_str(".*");
                    ty = *of;
                }
                Ty::Object(of) => break keyed_lists(of, &here, found),
                _ => break,
            }
        }
    }
}

/// The number of letters to insert, remove or replace.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    fn visit(of: &'static TypeSchema, seen: &mut BTreeSet<&'static str>) {
        if !seen.insert(of.name) {
            return;
        }
        let names: BTreeSet<_> = of.fields.iter().map(|field| field.name).collect();
        let tags: BTreeSet<_> = of.fields.iter().map(|field| (field.envelope, field.tag)).collect();
        assert_eq!(names.len(), of.fields.len(), "a name twice in {}", of.name);
        assert_eq!(tags.len(), of.fields.len(), "a tag twice in {}", of.name);
        for field in of.fields {
            if let Some(default) = field.default {
                assert!(serde_json::from_str::<serde_json::Value>(default).is_ok(), "{}.{}", of.name, field.name);
            }
            let mut ty = field.ty;
            while let Ty::List(inner) | Ty::Map(inner) = ty {
                ty = *inner;
            }
            if let Ty::Object(inner) = ty {
                assert!(field.keys.iter().all(|key| inner.field(key).is_some()), "{}.{}", of.name, field.name);
                visit(inner, seen);
            }
        }
    }

    #[test]
    fn every_type_is_consistent() {
        let mut seen = BTreeSet::new();
        resource::all().for_each(|resource| visit(resource.schema, &mut seen));
        assert!(seen.len() > 30);
    }

    #[test]
    fn a_misspelt_field_is_recognised() {
        assert_eq!(container::CONTAINER.closest("imagee"), Some("image"));
        assert_eq!(workload::DEPLOYMENT_SPEC.closest("replcas"), Some("replicas"));
        assert_eq!(container::CONTAINER.closest("readinessprobe"), Some("readinessProbe"));
        assert_eq!(container::CONTAINER.closest("frobnicate"), None);
    }

    #[test]
    fn lists_with_keys_are_in_the_layout() {
        let layout = layout();
        let deployment = serde_json::json!({"spec": {"template": {"spec": {"containers": [
            {"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}], "env": [{"name": "A", "value": "b"}]}
        ]}}}});
        let leaves = layout.flatten(&Kind::new("Deployment.apps"), &deployment, &BTreeMap::new()).unwrap();
        let paths: Vec<&str> = leaves.keys().map(|path| &**path).collect();
        assert_eq!(
            paths,
            [
                r#"spec.template.spec.containers[name="a"]"#,
                r#"spec.template.spec.containers[name="a"].env[name="A"]"#,
                r#"spec.template.spec.containers[name="a"].env[name="A"].value"#,
                r#"spec.template.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"]"#,
                r#"spec.template.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"].name"#,
            ]
        );
        assert_eq!(layout.version(), LAYOUT_VERSION);
    }
}
