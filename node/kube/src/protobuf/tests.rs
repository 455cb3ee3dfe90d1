//! Tests of protobuf: bodies built by hand as Go's clients build them.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

fn bytes(tag: u64, content: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn number(tag: u64, value: i64) -> Vec<u8> {
    [varint(tag << 3), varint(value.cast_unsigned())].concat()
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), bytes(1, &meta), bytes(2, raw), bytes(3, b""), bytes(4, b"")].concat()
}

/// What kubectl sends of metadata: every text that is no pointer, and a creation time that is not set.
fn metadata(name: &str) -> Vec<u8> {
    [
        bytes(1, name.as_bytes()),
        bytes(2, b""),
        bytes(3, b""),
        bytes(4, b""),
        bytes(5, b""),
        bytes(6, b""),
        number(7, 0),
        bytes(8, b""),
    ]
    .concat()
}

#[test]
fn a_config_map_is_read_as_kubectl_creates_it() {
    let entry = |key: &str, value: &[u8]| [bytes(1, key.as_bytes()), bytes(2, value)].concat();
    let raw = [
        bytes(1, &metadata("settings")),
        bytes(2, &entry("colour", b"green")),
        bytes(2, &entry("empty", b"")),
        bytes(3, &entry("bin", &[0, 255])),
    ];
    assert_eq!(
        decode(&body("v1", "ConfigMap", &raw.concat())).unwrap(),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
            "data": {"colour": "green", "empty": ""}, "binaryData": {"bin": "AP8="},
        })
    );
}

#[test]
fn zeros_count_only_where_they_were_meant() {
    let port = [bytes(1, b""), number(2, 0), number(3, 80), bytes(4, b"TCP"), bytes(5, b"")].concat();
    let probe_port = [number(1, 1), number(2, 0), bytes(3, b"http")].concat();
    let get = [bytes(1, b"/"), bytes(2, &probe_port)].concat();
    let probe = [bytes(1, &bytes(2, &get)), number(2, 5), number(3, 0)].concat();
    let container =
        [bytes(1, b"web"), bytes(2, b"web:1"), bytes(6, &port), bytes(8, b""), bytes(11, &probe), number(16, 0)]
            .concat();
    let template = [bytes(1, &metadata("")), bytes(2, &bytes(2, &container))].concat();
    let surge = [bytes(2, &[number(1, 0), number(2, 2), bytes(3, b"")].concat())].concat();
    let strategy = [bytes(1, b""), bytes(2, &surge)].concat();
    let spec = [number(1, 0), bytes(3, &template), bytes(4, &strategy), number(5, 0)].concat();
    let read =
        decode(&body("apps/v1", "Deployment", &[bytes(1, &metadata("web")), bytes(2, &spec), bytes(3, b"")].concat()));
    assert_eq!(
        read.unwrap()["spec"],
        json!({
            "replicas": 0,
            "strategy": {"rollingUpdate": {"maxSurge": 2}},
            "template": {"spec": {"containers": [{
                "name": "web", "image": "web:1", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "initialDelaySeconds": 5},
            }]}},
        })
    );
}

#[test]
fn a_review_and_delete_options_are_read() {
    let attributes = [bytes(1, b"default"), bytes(2, b"create"), bytes(3, b""), bytes(5, b"pods")].concat();
    let raw = [bytes(1, &metadata("")), bytes(2, &bytes(1, &attributes)), bytes(3, &number(1, 0))].concat();
    let review = decode(&body("authorization.k8s.io/v1", "SelfSubjectAccessReview", &raw)).unwrap();
    assert_eq!(
        review["spec"],
        json!({"resourceAttributes": {"namespace": "default", "verb": "create", "resource": "pods"}})
    );
    let options = decode(&body("v1", "DeleteOptions", &[number(1, 0), bytes(4, b"Background")].concat())).unwrap();
    assert_eq!((&options["gracePeriodSeconds"], &options["propagationPolicy"]), (&json!(0), &json!("Background")));
}

#[test]
fn an_object_of_any_type_within_another_is_json() {
    let data = |json: &[u8]| [bytes(1, &metadata("a")), bytes(2, &bytes(1, json)), number(3, 7)].concat();
    let read = decode(&body("apps/v1", "ControllerRevision", &data(br#"{"spec":{"a":[1]}}"#))).unwrap();
    assert_eq!((&read["data"], &read["revision"]), (&json!({"spec": {"a": [1]}}), &json!(7)));
    let damaged = decode(&body("apps/v1", "ControllerRevision", &data(b"{")));
    assert_eq!(damaged, Err(ProtobufError::Json("data".into())));
}

#[test]
fn what_is_damaged_or_not_served_is_refused() {
    let whole = body("v1", "Namespace", &bytes(1, &metadata("shop")));
    assert!(decode(&whole).is_ok());
    assert_eq!(decode(&whole[1..]), Err(ProtobufError::Magic));
    for cut in 5..whole.len() - 4 {
        // A cut between two fields is no damage; then the kind or the name is missing.
        if let Ok(read) = decode(&whole[..cut]) {
            assert_ne!(read, decode(&whole).unwrap());
        }
    }
    let other = decode(&body("batch/v2", "Job", b"")).unwrap_err();
    assert!(other.to_string().contains("Job of batch/v2"), "{other}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(raw in prop::collection::vec(any::<u8>(), 0..300), whole in prop::collection::vec(any::<u8>(), 0..100)) {
        for (api_version, kind) in [("v1", "Pod"), ("apps/v1", "Deployment"), ("v1", "DeleteOptions"), ("apps/v1", "ControllerRevision")] {
            let _ = decode(&body(api_version, kind, &raw));
        }
        let _ = decode(&[MAGIC, &whole].concat());
    }
}
