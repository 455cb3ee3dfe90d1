//! Tests of the protobuf form: it is read back by a reader that knows nothing of the writer.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::encode;

/// The fields of a message: tag and content, numbers as their text.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        number
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let number = varint(&mut bytes);
        match key & 7 {
            0 => found.push((key >> 3, number.to_string().into_bytes())),
            2 => {
                let (content, rest) = bytes.split_at(usize::try_from(number).unwrap());
                bytes = rest;
                found.push((key >> 3, content.to_vec()));
            }
            other => panic!("wire type {other}"),
        }
    }
    found
}

/// The contents of one field, by its way through messages.
fn at(bytes: &[u8], path: &[u64]) -> Vec<Vec<u8>> {
    let Some((tag, rest)) = path.split_first() else { return vec![bytes.to_vec()] };
    fields(bytes).iter().filter(|(found, _)| found == tag).flat_map(|(_, content)| at(content, rest)).collect()
}

fn texts(bytes: &[u8], path: &[u64]) -> Vec<String> {
    at(bytes, path).into_iter().map(|content| String::from_utf8(content).unwrap()).collect()
}

#[test]
fn a_document_is_read_back() {
    let written = encode(&json!({
        "swagger": "2.0",
        "info": {"title": "t", "version": "v"},
        "paths": {"/a/{name}": {
            "patch": {
                "parameters": [
                    {"name": "dryRun", "in": "query", "type": "string", "uniqueItems": true},
                    {"name": "body", "in": "body", "required": true, "schema": {"type": "object"}},
                ],
                "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/A"}}},
                "x-kubernetes-group-version-kind": {"group": "g", "version": "v1", "kind": "A"},
            },
            "parameters": [{"name": "name", "in": "path", "type": "string", "required": true}],
        }},
        "definitions": {"A": {
            "type": "object", "required": ["b"],
            "properties": {
                "b": {"type": "array", "items": {"type": "string"}, "default": []},
                "c": {"type": "object", "additionalProperties": {"type": "integer", "format": "int32"}},
            },
        }},
    }));
    assert_eq!(texts(&written, &[1]), ["2.0"]);
    assert_eq!(texts(&written, &[2, 1]), ["t"]);
    assert_eq!(texts(&written, &[8, 2, 1]), ["/a/{name}"]);
    let patch = at(&written, &[8, 2, 2, 8]).remove(0);
    assert_eq!(texts(&patch, &[8, 1, 2, 3, 4]), ["dryRun"]);
    assert_eq!(texts(&patch, &[8, 1, 1, 2]), ["body"]);
    assert_eq!(texts(&patch, &[9, 1, 2, 1, 2, 1, 1]), ["#/definitions/A"]);
    assert_eq!(texts(&patch, &[13, 1]), ["x-kubernetes-group-version-kind"]);
    let kind: Value = serde_json::from_slice(&at(&patch, &[13, 2, 2]).remove(0)).unwrap();
    assert_eq!(kind["kind"], "A");
    assert_eq!(texts(&written, &[8, 2, 2, 9, 1, 2, 4, 4]), ["name"]);
    let definition = at(&written, &[9, 1, 2]).remove(0);
    assert_eq!(texts(&definition, &[22, 1]), ["object"]);
    assert_eq!(texts(&definition, &[19]), ["b"]);
    assert_eq!(texts(&definition, &[25, 1, 1]), ["b", "c"]);
    assert_eq!(texts(&definition, &[25, 1, 2, 23, 1, 22, 1]), ["string"]);
    assert_eq!(texts(&definition, &[25, 1, 2, 21, 1, 2]), ["int32"]);
}

#[test]
fn the_whole_document_names_every_definition_and_path() {
    let document = crate::openapi::v2();
    let written = encode(&document);
    let names = |field: &str| document[field].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(texts(&written, &[9, 1, 1]), names("definitions"));
    assert_eq!(texts(&written, &[8, 2, 1]), names("paths"));
    let dry_runs = texts(&written, &[8, 2, 2, 8, 8, 1, 2, 3, 4]).iter().filter(|name| *name == "dryRun").count();
    assert!(dry_runs > 25, "{dry_runs}");
}
