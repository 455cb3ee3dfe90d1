//! What clients of Kubernetes' API send: manifests, protobuf, patches.

use serde_json::{Value, json};
use skein_kube::admission::{WriteOptions, prepare_create, prepare_patch, prepare_update};
use skein_kube::resource::{self, Resource};
use skein_kube::status::Status;
use skein_kube::{body, protobuf};

use super::Target;

/// How a manifest is written.
const TYPES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const PATCH_TYPES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

fn served(number: u8) -> &'static Resource {
    resource::SERVED[usize::from(number) % resource::SERVED.len()]
}

fn number_of(plural: &str) -> u8 {
    let at = resource::SERVED.iter().position(|resource| resource.plural == plural);
    at.and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}

fn said(outcome: Result<impl Sized, Status>) -> String {
    outcome.map_or_else(|status| status.message.clone(), |_| "taken".into())
}

fn pod_spec() -> Value {
    json!({
        "containers": [{
            "name": "main", "image": "web:1", "command": ["sh", "-c", "sleep 1"],
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "env": [{"name": "A", "value": "$(B)"}, {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}},
            "livenessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 3},
            "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a/b"}],
        }],
        "volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "nodeSelector": {"a": "b"},
    })
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default", "labels": {"a": "b"}},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec()},
        },
    })
}

fn samples() -> Vec<(u8, Value)> {
    let core = |kind: &str, rest: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "namespace": "default"}});
        if let (Value::Object(object), Value::Object(rest)) = (&mut object, rest) {
            object.extend(rest);
        }
        object
    };
    vec![
        (number_of("deployments"), deployment()),
        (number_of("pods"), core("Pod", json!({"spec": pod_spec()}))),
        (number_of("configmaps"), core("ConfigMap", json!({"data": {"a": "b"}, "binaryData": {"c": "AAAA"}}))),
        (
            number_of("secrets"),
            core("Secret", json!({"type": "Opaque", "data": {"a": "AAAA"}, "stringData": {"b": "c"}})),
        ),
        (
            number_of("services"),
            core("Service", json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}], "selector": {"a": "b"}}})),
        ),
    ]
}

/// Manifests: the first byte says of what, the second how it is written.
pub(super) struct Manifests;

impl Target for Manifests {
    fn name(&self) -> &'static str {
        "manifests"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let text = |(kind, object): &(u8, Value)| {
            let json = [&[*kind, 0], object.to_string().as_bytes()].concat();
            let yaml = [&[*kind, 1], &b"# one\n"[..], object.to_string().as_bytes()].concat();
            [json, yaml]
        };
        let block = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: &x |\n    b\n  c: *x\n";
        let block = [&[number_of("configmaps"), 1], &block[..]].concat();
        samples().iter().flat_map(text).chain([block]).collect()
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let [kind, form, rest @ ..] = input else { return "short".into() };
        let (resource, form) = (served(*kind), TYPES[usize::from(*form) % 2]);
        let namespace = if resource.namespaced { "default" } else { "" };
        said(prepare_create(resource, namespace, rest, Some(form), &WriteOptions::default(), "xxxxx"))
    }
}

/// Protobuf bodies, as client-go sends them.
pub(super) struct Protobuf;

impl Target for Protobuf {
    fn name(&self) -> &'static str {
        "protobuf"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        // The envelope of `runtime.Unknown`: type, raw object, content encoding and type.
        let field = |tag: u8, bytes: &[u8]| [&[tag << 3 | 2, u8::try_from(bytes.len()).unwrap_or(0)], bytes].concat();
        let kind = |version: &str, kind: &str| [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
        let metadata =
            [field(1, b"a"), field(3, b"default"), field(11, &[field(1, b"k"), field(2, b"v")].concat())].concat();
        let container = [
            field(1, b"main"),
            field(2, b"web:1"),
            field(3, b"sh"),
            field(7, &[field(1, b"A"), field(2, b"b")].concat()),
        ]
        .concat();
        let template = field(2, &[field(2, &container), field(3, b"Always")].concat());
        let spec =
            [vec![1 << 3, 2], field(2, &field(1, &[field(1, b"app"), field(2, b"web")].concat())), field(3, &template)]
                .concat();
        let objects = [
            (
                kind("v1", "ConfigMap"),
                [field(1, &metadata), field(2, &[field(1, b"a"), field(2, b"b")].concat())].concat(),
            ),
            (
                kind("v1", "Secret"),
                [field(1, &metadata), field(2, &[field(1, b"a"), field(2, b"\0\xff")].concat())].concat(),
            ),
            (kind("apps/v1", "Deployment"), [field(1, &metadata), field(2, &spec)].concat()),
            (kind("meta.k8s.io/v1", "DeleteOptions"), [vec![1 << 3, 5], field(4, b"Background")].concat()),
        ];
        let whole = |(kind, raw): (Vec<u8>, Vec<u8>)| {
            [&b"k8s\0"[..], &field(1, &kind), &field(2, &raw), &field(3, b""), &field(4, b"")].concat()
        };
        objects.into_iter().map(whole).collect()
    }

    fn execute(&mut self, input: &[u8]) -> String {
        match protobuf::decode(input) {
            Ok(value) => {
                let kind = value["kind"].as_str().unwrap_or_default().to_owned();
                let resource = resource::SERVED.iter().find(|resource| resource.kind_name == kind);
                let options = WriteOptions::default();
                resource.map_or_else(
                    || "another kind".into(),
                    |resource| said(prepare_create(resource, "default", input, Some(TYPES[2]), &options, "x")),
                )
            }
            Err(error) => error.to_string(),
        }
    }
}

/// Patches of a Deployment in all three languages, and replacements: the first byte says which.
pub(super) struct Patches(Value);

impl Patches {
    pub(super) fn new() -> Self {
        let body = deployment().to_string();
        let made = prepare_create(
            &resource::DEPLOYMENTS,
            "default",
            body.as_bytes(),
            Some(TYPES[0]),
            &WriteOptions::default(),
            "x",
        );
        let mut object = made.map(|prepared| prepared.object).unwrap_or_default();
        object["apiVersion"] = json!("apps/v1");
        object["kind"] = json!("Deployment");
        object["metadata"]["name"] = json!("web");
        object["metadata"]["namespace"] = json!("default");
        Patches(object)
    }
}

impl Target for Patches {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let texts = [
            (
                0,
                json!([{"op": "test", "path": "/spec/replicas", "value": 2}, {"op": "add", "path": "/metadata/labels/x~1y", "value": "z"}, {"op": "move", "from": "/spec/replicas", "path": "/spec/minReadySeconds"}, {"op": "remove", "path": "/spec/template/spec/containers/0/env/0"}]),
            ),
            (1, json!({"spec": {"replicas": 3, "template": {"metadata": {"annotations": {"a": null}}}}})),
            (
                2,
                json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "main"}, {"name": "b"}], "containers": [{"name": "main", "image": "x", "env": [{"name": "A", "$patch": "delete"}]}, {"name": "b", "image": "y"}], "volumes": [{"$patch": "replace"}]}}}}),
            ),
            (
                2,
                json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}, "$deleteFromPrimitiveList/finalizers": ["a"]}}),
            ),
            (3, self.0.clone()),
        ];
        texts.into_iter().map(|(form, text)| [&[form], text.to_string().as_bytes()].concat()).collect()
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let Some((form, patch)) = input.split_first() else { return "short".into() };
        let options = WriteOptions::default();
        match PATCH_TYPES.get(usize::from(*form) % 4) {
            Some(form) => said(prepare_patch(&resource::DEPLOYMENTS, &self.0, patch, Some(form), &options)),
            None => said(prepare_update(&resource::DEPLOYMENTS, &self.0, patch, Some(TYPES[0]), &options)),
        }
    }
}

/// What is applied on the server: the first byte says of what kind.
pub(super) struct Applied;

impl Target for Applied {
    fn name(&self) -> &'static str {
        "applied"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        samples().iter().map(|(kind, object)| [&[*kind], object.to_string().as_bytes()].concat()).collect()
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let Some((kind, rest)) = input.split_first() else { return "short".into() };
        let value = body::decode(Some(TYPES[1]), rest);
        let resource = served(*kind);
        match value {
            Ok(value) => {
                said(skein_kube::admission::check_new(resource, value, skein_kube::structure::FieldValidation::Strict))
            }
            Err(status) => status.message.clone(),
        }
    }
}
