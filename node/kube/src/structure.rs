//! Whether a body has the fields that its type has, each of the right type; and its normal form: no nulls, amounts in
//! their canonical form. What values may be does not live here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use crate::body::kind_of;
use crate::quantity::Quantity;
use crate::schema::{Support, Ty, TypeSchema};
use crate::status::{Fault, Problem};
use crate::time;

/// How fields that do not exist are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Refused. Also when a client does not say: a typo is an error here.
    #[default]
    Strict,
    /// Dropped, with a warning.
    Warn,
    /// Dropped.
    Ignore,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// What makes the object unreadable.
    pub problems: Vec<Problem>,
    /// What the client should know.
    pub warnings: Vec<String>,
}

/// Brings an object of a type into its normal form. Fields that do not exist are dropped; whether that is a problem,
/// `unknown` says.
pub fn normalise(of: &'static TypeSchema, object: &mut Map<String, Value>, unknown: FieldValidation) -> Findings {
    let mut walk = Walk { unknown, found: Findings::default() };
    walk.fields(of, object, "", true);
    walk.found
}

struct Walk {
    unknown: FieldValidation,
    found: Findings,
}

impl Walk {
    fn fields(&mut self, of: &'static TypeSchema, object: &mut Map<String, Value>, path: &str, root: bool) {
        object.retain(|_, value| !value.is_null());
        let names: Vec<String> = object.keys().cloned().collect();
        for name in names {
            let here = joined(path, &name);
            let Some(field) = of.field(&name) else {
                if !(root && (name == "apiVersion" || name == "kind")) {
                    object.remove(&name);
                    self.unknown_field(of, &here, &name);
                }
                continue;
            };
            // What the system keeps may come back in any shape that it was given out in.
            if field.support == Support::System {
                continue;
            }
            if let Some(value) = object.get_mut(&name) {
                self.value(&field.ty, value, &here);
            }
        }
    }

    fn unknown_field(&mut self, of: &'static TypeSchema, path: &str, name: &str) {
        let hint = of.closest(name).map(|near| format!(" (did you mean \"{near}\"?)")).unwrap_or_default();
        let message = format!("unknown field \"{path}\"{hint}");
        match self.unknown {
            FieldValidation::Strict => {
                self.found.problems.push(Problem { field: path.to_owned(), fault: Fault::Unknown, message });
            }
            FieldValidation::Warn => self.found.warnings.push(message),
            FieldValidation::Ignore => {}
        }
    }

    fn value(&mut self, ty: &'static Ty, value: &mut Value, path: &str) {
        let fits = match (ty, &mut *value) {
            (Ty::Any, _) | (Ty::Raw, Value::Object(_)) | (Ty::Str, Value::String(_)) | (Ty::Bool, Value::Bool(_)) => {
                true
            }
            (Ty::Int32, Value::Number(number)) => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Ty::Int64, Value::Number(number)) => number.is_i64(),
            (Ty::IntOrString, Value::String(_)) => true,
            (Ty::IntOrString, Value::Number(number)) => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Ty::Quantity, Value::String(_) | Value::Number(_)) => canonical_amount(value),
            (Ty::Time | Ty::MicroTime, Value::String(text)) => time::parse_rfc3339(text).is_some(),
            (Ty::Bytes, Value::String(text)) => BASE64.decode(text.as_bytes()).is_ok(),
            (Ty::Object(of), Value::Object(fields)) => {
                self.fields(of, fields, path, false);
                true
            }
            (Ty::List(of), Value::Array(elements)) => {
                for (i, element) in elements.iter_mut().enumerate() {
                    self.value(of, element, &format!("{path}[{i}]"));
                }
                true
            }
            (Ty::Map(of), Value::Object(entries)) => {
                entries.retain(|_, value| !value.is_null());
                for (key, entry) in entries {
                    self.value(of, entry, &format!("{path}[{key}]"));
                }
                true
            }
            _ => false,
        };
        if !fits {
            let message = format!("{path}: expected {}, got {}", expectation(ty), kind_of(value));
            self.found.problems.push(Problem { field: path.to_owned(), fault: Fault::WrongType, message });
        }
    }
}

/// A field's path below another.
pub(crate) fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn canonical_amount(value: &mut Value) -> bool {
    let text = match &*value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.parse::<Quantity>() {
        Ok(amount) => {
            *value = amount.to_string().into();
            true
        }
        Err(_) => false,
    }
}

fn expectation(ty: &Ty) -> &'static str {
    match ty {
        Ty::Str => "a string",
        Ty::Bool => "a boolean (true or false)",
        Ty::Int32 => "an integer (int32)",
        Ty::Int64 => "an integer (int64)",
        Ty::Quantity => "an amount such as 500m, 1.5 or 64Mi",
        Ty::IntOrString => "an integer or a string",
        Ty::Time | Ty::MicroTime => "a time such as 2026-01-31T12:00:00Z",
        Ty::Bytes => "bytes as a base64 string",
        Ty::Any => "anything",
        Ty::Object(_) | Ty::Map(_) | Ty::Raw => "an object",
        Ty::List(_) => "a list",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::schema::{cluster, workload};
    use serde_json::json;

    fn run(of: &'static TypeSchema, mut value: Value, unknown: FieldValidation) -> (Value, Findings) {
        let findings = normalise(of, value.as_object_mut().unwrap(), unknown);
        (value, findings)
    }

    fn messages(findings: &Findings) -> Vec<&str> {
        findings.problems.iter().map(|problem| problem.message.as_str()).collect()
    }

    #[test]
    fn every_misspelt_field_is_named_with_its_path() {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replcas": 3, "template": {"spec": {
            "containers": [{"name": "a", "imagee": "x", "resources": {"limits": {"cpu": "1"}, "limit": {}}}]}}}});
        let (_, findings) = run(&workload::DEPLOYMENT, deployment.clone(), FieldValidation::Strict);
        assert_eq!(
            messages(&findings),
            [
                "unknown field \"spec.replcas\" (did you mean \"replicas\"?)",
                "unknown field \"spec.template.spec.containers[0].imagee\" (did you mean \"image\"?)",
                "unknown field \"spec.template.spec.containers[0].resources.limit\" (did you mean \"limits\"?)",
            ]
        );
        let (value, findings) = run(&workload::DEPLOYMENT, deployment.clone(), FieldValidation::Warn);
        assert_eq!((findings.problems.len(), findings.warnings.len()), (0, 3));
        assert!(value["spec"].get("replcas").is_none());
        let (_, findings) = run(&workload::DEPLOYMENT, deployment, FieldValidation::Ignore);
        assert_eq!(findings, Findings::default());
    }

    #[test]
    fn a_wrong_type_is_named_with_what_was_expected() {
        let (_, findings) = run(
            &workload::DEPLOYMENT,
            json!({"metadata": {"labels": {"a": 1}}, "spec": {"replicas": "three", "paused": "no", "template": {"spec": {
                "containers": [{"name": 1, "args": "x", "ports": [{"containerPort": 80.5}], "resources": {"limits": {"cpu": "much"}}}]}}}}),
            FieldValidation::Ignore,
        );
        assert_eq!(
            messages(&findings),
            [
                "metadata.labels[a]: expected a string, got the number 1",
                "spec.paused: expected a boolean (true or false), got the string \"no\"",
                "spec.replicas: expected an integer (int32), got the string \"three\"",
                "spec.template.spec.containers[0].args: expected a list, got the string \"x\"",
                "spec.template.spec.containers[0].name: expected a string, got the number 1",
                "spec.template.spec.containers[0].ports[0].containerPort: expected an integer (int32), got the number 80.5",
                "spec.template.spec.containers[0].resources.limits[cpu]: expected an amount such as 500m, 1.5 or 64Mi, got the string \"much\"",
            ]
        );
    }

    #[test]
    fn nulls_go_and_amounts_become_canonical() {
        let (value, findings) = run(
            &workload::DEPLOYMENT,
            json!({"metadata": {"creationTimestamp": null}, "spec": {"paused": null, "template": {"metadata": {"creationTimestamp": null},
                "spec": {"containers": [{"resources": {"requests": {"cpu": 0.5, "memory": "1024Mi"}}}]}}}}),
            FieldValidation::Strict,
        );
        assert_eq!(findings, Findings::default());
        assert_eq!(
            value,
            json!({"metadata": {}, "spec": {"template": {"metadata": {}, "spec": {"containers": [
                {"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}]}}}})
        );
    }

    #[test]
    fn bytes_are_base64() {
        let (_, findings) =
            run(&cluster::CONFIG_MAP, json!({"binaryData": {"a": "AP8=", "b": "!"}}), FieldValidation::Strict);
        assert_eq!(messages(&findings), ["binaryData[b]: expected bytes as a base64 string, got the string \"!\""]);
    }
}
