//! What clients get wrong, case by case: each is refused with the code, the reason and the causes that a Kubernetes API server
//! gives, and nothing is written. The cases are in tests/fixtures, where the tests against real daemons take them from, too.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::World;

const CASES: &str = include_str!("../../../tests/fixtures/refusals.json");
const DEFAULT: &str = "/api/v1/namespaces/default/";

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

/// One request. The body is `raw`, or one of the sound objects with some fields set and some removed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    what: String,
    ask: String,
    of: Option<String>,
    #[serde(default)]
    set: Map<String, Value>,
    #[serde(default)]
    remove: Vec<String>,
    raw: Option<String>,
    r#type: Option<String>,
    code: u16,
    reason: String,
    #[serde(default)]
    causes: Vec<String>,
    #[serde(default)]
    says: String,
}

/// An object that nobody would refuse.
fn sound(kind: &str) -> Value {
    let labels = json!({"app": "w"});
    let container = json!({"name": "main", "image": "image:1"});
    match kind {
        "map" => json!({"metadata": {"name": "n"}, "data": {"a": "1"}}),
        "secret" => json!({"metadata": {"name": "n"}, "data": {"a": "AA=="}}),
        "service" => json!({"metadata": {"name": "n"}, "spec": {"ports": [{"port": 80}]}}),
        "pod" => json!({"metadata": {"name": "n"}, "spec": {"containers": [container]}}),
        "web" => json!({
            "metadata": {"name": "n"},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }),
        other => panic!("no object is called {other}"),
    }
}

/// A text of many letters is written as `@` and their number.
fn long(value: &Value) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix('@').and_then(|count| count.parse().ok()) {
            Some(count) => Value::String("a".repeat(count)),
            None => value.clone(),
        },
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), long(value))).collect(),
        other => other.clone(),
    }
}

impl Case {
    fn body(&self) -> String {
        let Some(kind) = &self.of else { return self.raw.clone().unwrap_or_default() };
        let mut object = sound(kind);
        for path in &self.remove {
            let (parent, field) = path.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field);
        }
        for (path, value) in &self.set {
            let (parent, field) = path.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap_or_else(|| panic!("{}: {path}", self.what))[field] = long(value);
        }
        object.to_string()
    }

    /// What is wrong with an answer.
    fn differs(&self, code: u16, text: &str) -> Option<String> {
        let status: Value = serde_json::from_str(text).unwrap_or_default();
        let found: Vec<String> = status["details"]["causes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|cause| {
                format!("{} {}", cause["reason"].as_str().unwrap_or("-"), cause["field"].as_str().unwrap_or("-"))
            })
            .collect();
        let is_status = status["kind"] == "Status" && status["status"] == "Failure" && status["code"] == code;
        let says =
            status["message"].as_str().is_some_and(|message| !message.is_empty() && message.contains(&self.says));
        let has_causes = self.causes.iter().all(|cause| found.contains(cause));
        let is_it = code == self.code && status["reason"] == *self.reason && is_status && says && has_causes;
        (!is_it).then(|| format!("{}: {} {text}", self.what, self.ask))
    }
}

#[tokio::test]
async fn mistakes_are_refused_as_kubernetes_refuses_them_and_change_nothing() {
    let world = World::new().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments".to_owned();
    for (path, kind, name) in [
        (format!("{DEFAULT}configmaps"), "map", "there"),
        (deployments, "web", "there"),
        (format!("{DEFAULT}pods"), "pod", "solo"),
    ] {
        let mut object = sound(kind);
        object["metadata"]["name"] = json!(name);
        let made = world.request("POST", &path).json(&object).send().await;
        assert_eq!(made.status.as_u16(), 201, "{}", made.text);
    }
    let before = world.fake.all();
    let cases: Cases = serde_json::from_str(CASES).unwrap();
    assert!(cases.cases.len() >= 100);
    let mut wrong = Vec::new();
    for case in &cases.cases {
        let (method, path) = case.ask.split_once(' ').unwrap();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("{DEFAULT}{path}") };
        let content_type = case.r#type.as_deref().unwrap_or("application/json");
        let request = world.request(method, &path).header("content-type", content_type).body(case.body());
        let got = request.send().await;
        wrong.extend(case.differs(got.status.as_u16(), &got.text));
        assert!(world.fake.all() == before, "{} was written: {}", case.what, got.text);
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.cases.len(), wrong.join("\n"));
}
