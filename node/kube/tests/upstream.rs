//! The schema beside types that were generated from Kubernetes' own description: no field of theirs is missing here, since a
//! client that sends it would be told that there is no such field, none is invented, and each is of the same type.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    apps, authentication, authorization, autoscaling, batch, coordination, core, discovery, events, networking, policy,
    rbac, scheduling, storage,
};
use serde::de::value::Error;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use skein_kube::resource;
use skein_kube::schema::{Ty, TypeSchema};

/// Differences that are meant: the probe does not ask a whole object within another what it says of its type.
const OTHERS: &[&str] = &[
    "spec.volumeClaimTemplates[].apiVersion is a string here and None there",
    "spec.volumeClaimTemplates[].kind is a string here and None there",
];

/// The fields of a type and of all that it holds: by its path the names of the fields, and the types of plain values.
#[derive(Debug, Default)]
struct Shape {
    fields: BTreeMap<String, BTreeSet<&'static str>>,
    plain: BTreeMap<String, &'static str>,
}

/// A reader that is asked for a type's fields, and remembers what it was asked for.
#[derive(Clone)]
struct Probe<'a> {
    shape: &'a RefCell<Shape>,
    path: String,
    /// What is read where a text is wanted.
    text: &'static str,
}

impl Probe<'_> {
    fn plain(&self, what: &'static str) {
        // The outermost type counts: a Quantity, and not the text that it is made of.
        self.shape.borrow_mut().plain.entry(self.path.clone()).or_insert(what);
    }

    fn at(&self, step: &str) -> Self {
        let dot = if self.path.is_empty() || !step.starts_with(char::is_alphanumeric) { "" } else { "." };
        Probe { shape: self.shape, path: format!("{}{dot}{step}", self.path), text: TEXT }
    }
}

/// A text that is base64 as well.
const TEXT: &str = "aaaa";
const TIME: &str = "2026-01-31T12:00:00Z";

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.plain("any");
        visitor.visit_str(self.text)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.plain("bool");
        visitor.visit_bool(true)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.plain("int32");
        visitor.visit_i32(1)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.plain("int64");
        visitor.visit_i64(1)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.plain("string");
        visitor.visit_str(self.text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.plain(name);
        let text = if name.ends_with("Time") { TIME } else { TEXT };
        visitor.visit_newtype_struct(Probe { text, ..self })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Steps { keys: vec!["[]"], probe: self, key: "" })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Steps { keys: vec!["{}"], probe: self, key: "" })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.shape.borrow_mut().fields.insert(self.path.clone(), fields.iter().copied().collect());
        // What a whole object says of its type is compared with its type, and would be wrong.
        let is_object = fields.contains(&"metadata");
        let keys = fields.iter().copied().filter(|field| !is_object || !matches!(*field, "apiVersion" | "kind"));
        visitor.visit_map(Steps { keys: keys.collect(), probe: self, key: "" })
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
        ignored_any
    }
}

/// What a struct, a map or a list holds: one value for each key.
struct Steps<'a> {
    probe: Probe<'a>,
    keys: Vec<&'static str>,
    key: &'static str,
}

impl<'de> MapAccess<'de> for Steps<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(key) = self.keys.pop() else { return Ok(None) };
        self.key = key;
        let text = if key == "{}" { TEXT } else { key };
        seed.deserialize(serde::de::value::StrDeserializer::new(text)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.probe.at(self.key))
    }
}

impl<'de> SeqAccess<'de> for Steps<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(key) = self.keys.pop() else { return Ok(None) };
        seed.deserialize(self.probe.at(key)).map(Some)
    }
}

fn shape_of<'de, T: Deserialize<'de>>() -> Shape {
    let shape = RefCell::new(Shape::default());
    let probe = Probe { shape: &shape, path: String::new(), text: TEXT };
    if let Err(error) = T::deserialize(probe) {
        panic!("the probe does not fit the type: {error}");
    }
    shape.into_inner()
}

/// What differs between a type of the schema and the same type of Kubernetes.
fn differences(of: &'static TypeSchema, path: &str, shape: &Shape, found: &mut BTreeSet<String>) {
    let Some(theirs) = shape.fields.get(path) else {
        found.insert(format!("{path}: {} is no type of its own", of.name));
        return;
    };
    let ours: BTreeSet<&str> = of.fields.iter().map(|field| field.name).collect();
    let dot = if path.is_empty() { "" } else { "." };
    for missing in
        theirs.difference(&ours).filter(|field| !path.is_empty() || !matches!(**field, "apiVersion" | "kind"))
    {
        found.insert(format!("{path}{dot}{missing} is missing"));
    }
    for invented in ours.difference(theirs) {
        found.insert(format!("{path}{dot}{invented} is invented"));
    }
    for field in of.fields.iter().filter(|field| theirs.contains(field.name)) {
        compare(&field.ty, &format!("{path}{dot}{}", field.name), shape, found);
    }
}

fn compare(ty: &'static Ty, path: &str, shape: &Shape, found: &mut BTreeSet<String>) {
    let plain = match ty {
        Ty::Any => return,
        Ty::Object(of) => return differences(of, path, shape, found),
        Ty::List(of) => return compare(of, &format!("{path}[]"), shape, found),
        Ty::Map(of) => return compare(of, &format!("{path}{{}}"), shape, found),
        Ty::Str => "string",
        Ty::Bool => "bool",
        Ty::Int32 => "int32",
        Ty::Int64 => "int64",
        Ty::Quantity => "Quantity",
        Ty::IntOrString => "any",
        Ty::Time => "Time",
        Ty::MicroTime => "MicroTime",
        Ty::Bytes => "string",
        Ty::Raw => "RawExtension",
    };
    let theirs = shape.plain.get(path).copied();
    if theirs != Some(plain) {
        found.insert(format!("{path} is a {plain} here and {theirs:?} there"));
    }
}

/// The type of Kubernetes that each row stands for. Versions that are no more are compared with what became of them.
fn upstream(group: &str, kind: &str, version: &str) -> Option<Shape> {
    Some(match (group, kind) {
        ("", "ConfigMap") => shape_of::<core::v1::ConfigMap>(),
        ("", "Endpoints") => shape_of::<core::v1::Endpoints>(),
        ("", "Event") => shape_of::<core::v1::Event>(),
        ("", "LimitRange") => shape_of::<core::v1::LimitRange>(),
        ("", "Namespace") => shape_of::<core::v1::Namespace>(),
        ("", "Node") => shape_of::<core::v1::Node>(),
        ("", "PersistentVolumeClaim") => shape_of::<core::v1::PersistentVolumeClaim>(),
        ("", "Pod") => shape_of::<core::v1::Pod>(),
        ("", "ResourceQuota") => shape_of::<core::v1::ResourceQuota>(),
        ("", "Secret") => shape_of::<core::v1::Secret>(),
        ("", "Service") => shape_of::<core::v1::Service>(),
        ("", "ServiceAccount") => shape_of::<core::v1::ServiceAccount>(),
        ("apps", "ControllerRevision") => shape_of::<apps::v1::ControllerRevision>(),
        ("apps", "DaemonSet") => shape_of::<apps::v1::DaemonSet>(),
        ("apps", "Deployment") => shape_of::<apps::v1::Deployment>(),
        ("apps", "ReplicaSet") => shape_of::<apps::v1::ReplicaSet>(),
        ("apps", "StatefulSet") => shape_of::<apps::v1::StatefulSet>(),
        ("autoscaling", _) if version == "v1" => shape_of::<autoscaling::v1::HorizontalPodAutoscaler>(),
        ("autoscaling", _) => shape_of::<autoscaling::v2::HorizontalPodAutoscaler>(),
        ("batch", "CronJob") => shape_of::<batch::v1::CronJob>(),
        ("batch", "Job") => shape_of::<batch::v1::Job>(),
        ("coordination.k8s.io", _) => shape_of::<coordination::v1::Lease>(),
        ("discovery.k8s.io", _) => shape_of::<discovery::v1::EndpointSlice>(),
        ("events.k8s.io", _) => shape_of::<events::v1::Event>(),
        ("networking.k8s.io", "Ingress") => shape_of::<networking::v1::Ingress>(),
        ("networking.k8s.io", "IngressClass") => shape_of::<networking::v1::IngressClass>(),
        ("networking.k8s.io", _) => shape_of::<networking::v1::NetworkPolicy>(),
        ("policy", _) => shape_of::<policy::v1::PodDisruptionBudget>(),
        ("rbac.authorization.k8s.io", "ClusterRole") => shape_of::<rbac::v1::ClusterRole>(),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => shape_of::<rbac::v1::ClusterRoleBinding>(),
        ("rbac.authorization.k8s.io", "Role") => shape_of::<rbac::v1::Role>(),
        ("rbac.authorization.k8s.io", _) => shape_of::<rbac::v1::RoleBinding>(),
        ("scheduling.k8s.io", _) => shape_of::<scheduling::v1::PriorityClass>(),
        ("storage.k8s.io", _) => shape_of::<storage::v1::StorageClass>(),
        ("authentication.k8s.io", "TokenReview") => shape_of::<authentication::v1::TokenReview>(),
        ("authentication.k8s.io", _) => shape_of::<authentication::v1::SelfSubjectReview>(),
        ("authorization.k8s.io", "SelfSubjectRulesReview") => shape_of::<authorization::v1::SelfSubjectRulesReview>(),
        ("authorization.k8s.io", "SubjectAccessReview") => shape_of::<authorization::v1::SubjectAccessReview>(),
        ("authorization.k8s.io", "LocalSubjectAccessReview") => {
            shape_of::<authorization::v1::LocalSubjectAccessReview>()
        }
        ("authorization.k8s.io", _) => shape_of::<authorization::v1::SelfSubjectAccessReview>(),
        _ => return None,
    })
}

#[test]
fn every_field_of_every_kind_is_known_by_its_name_and_type() {
    let mut found = BTreeSet::new();
    // What is measured is no part of Kubernetes' own types.
    for resource in resource::all().filter(|resource| !resource::MEASURED.contains(resource)) {
        let Some(shape) = upstream(resource.group, resource.kind_name, resource.version) else {
            found.insert(format!("{} has nothing to be compared with", resource.qualified()));
            continue;
        };
        let mut own = BTreeSet::new();
        differences(resource.schema, "", &shape, &mut own);
        found.extend(own.into_iter().filter(|difference| !OTHERS.contains(&difference.as_str())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_request_for_a_token_is_known_by_its_fields() {
    let mut found = BTreeSet::new();
    let shape = shape_of::<authentication::v1::TokenRequest>();
    differences(&skein_kube::schema::review::TOKEN_REQUEST, "", &shape, &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_probe_sees_into_lists_maps_and_options() {
    let shape = shape_of::<apps::v1::Deployment>();
    assert!(shape.fields["spec.template.spec.containers[].ports[]"].contains("containerPort"));
    assert_eq!(shape.plain["spec.template.spec.containers[].resources.limits{}"], "Quantity");
    assert_eq!(shape.plain["spec.replicas"], "int32");
}
