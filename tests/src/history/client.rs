//! The clients of a history: at every peer one that works on ConfigMaps and one that works on Deployments. What they ask is
//! drawn from the seed; each asks one thing after the other and never twice.
//!
//! Every value is written once only, so that it tells who wrote it. Numbers of replicas cannot be: each peer has some of its
//! own, and takes one that the object cannot have now. To set what is there already is no write, and would not count as a
//! later one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::chance::Chance;
use super::check::exact::REPLICAS;
use super::entry::{Answer, Ask, Fields, Line, Op};
use super::record::Record;
use crate::api::{Api, MERGE_PATCH};
use crate::http::Response;
use crate::manifests::{apps, core, sleeper};

/// The namespace that the clients work in.
pub const NAMESPACE: &str = "judged";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many ConfigMaps and Deployments are there from the beginning and stay.
pub const KEPT_MAPS: u64 = 4;
/// As [`KEPT_MAPS`].
pub const KEPT_WORKLOADS: u64 = 2;
/// How many names are created and deleted by all.
const CHURNED_MAPS: u64 = 3;
/// The annotation of a Deployment that each edit sets.
const MARK: &str = "judge";

/// A client of one peer.
pub struct Client<'a> {
    record: &'a Record,
    api: Api,
    peer: usize,
    peers: usize,
    name: String,
    chance: Chance,
    /// A ConfigMap that it created, will delete, and never creates again.
    passing: Option<String>,
    /// Which of this peer's own numbers of replicas each Deployment may have now.
    replicas: BTreeMap<String, BTreeSet<usize>>,
}

impl<'a> Client<'a> {
    /// The client called `name` of a peer, one of `peers`.
    pub fn new(record: &'a Record, api: Api, (peer, peers): (usize, usize), name: &str, seed: u64) -> Self {
        let name = format!("{name}-{peer}");
        let chance = Chance::new(seed, &name);
        Self { record, api, peer, peers, name, chance, passing: None, replicas: BTreeMap::new() }
    }

    /// Creates what stays to the end.
    pub fn create_kept(&mut self) {
        for number in 1..=KEPT_MAPS {
            let fields = self.field("data.begun");
            self.ask(Ask::Create, &format!("configmaps/keep-{number}"), fields);
        }
        for number in 1..=KEPT_WORKLOADS {
            self.scale(Ask::Create, &format!("deployments/web-{number}"));
        }
    }

    /// Works on ConfigMaps until `stop`.
    pub fn work_on_maps(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let kept = format!("configmaps/keep-{}", self.chance.between(1, KEPT_MAPS));
            let churned = format!("configmaps/churn-{}", self.chance.between(1, CHURNED_MAPS));
            let field = format!("data.k{}", self.chance.between(1, 4));
            match self.chance.between(0, 99) {
                0..34 => self.set(&kept, &field),
                34..40 => self.create_or_delete_passing(),
                40..55 => drop(self.ask(Ask::Read, &kept, Fields::new())),
                55..65 => {
                    // A name of its own: nobody ever deletes it.
                    let name = format!("configmaps/made-{}-{}", self.peer, self.record.number());
                    let fields = self.field("data.k1");
                    self.ask(Ask::Create, &name, fields);
                }
                65..75 => {
                    let fields = self.field(&field);
                    self.ask(Ask::Create, &churned, fields);
                }
                75..85 => self.set(&churned, &field),
                85..92 => drop(self.ask(Ask::Read, &churned, Fields::new())),
                _ => drop(self.ask(Ask::Delete, &churned, Fields::new())),
            }
            self.rest(50, 150);
        }
    }

    /// Works on Deployments until `stop`.
    pub fn work_on_workloads(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let kept = format!("deployments/web-{}", self.chance.between(1, KEPT_WORKLOADS));
            let churned = "deployments/job-1";
            match self.chance.between(0, 99) {
                0..50 => self.scale(Ask::Set, &kept),
                50..70 => drop(self.ask(Ask::Read, &kept, Fields::new())),
                70..80 => self.scale(Ask::Create, churned),
                80..88 => self.scale(Ask::Set, churned),
                88..94 => drop(self.ask(Ask::Read, churned, Fields::new())),
                _ => drop(self.ask(Ask::Delete, churned, Fields::new())),
            }
            self.rest(700, 1500);
        }
    }

    fn rest(&mut self, from: u64, to: u64) {
        std::thread::sleep(Duration::from_millis(self.chance.between(from, to)));
    }

    fn set(&mut self, object: &str, field: &str) {
        let fields = self.field(field);
        self.ask(Ask::Set, object, fields);
    }

    /// A field with a value that was never written.
    fn field(&self, name: &str) -> Fields {
        Fields::from([(name.to_owned(), format!("v{}", self.record.number()))])
    }

    /// Creates what it will delete the next time, under a name that never comes again, so that nothing hides a deletion that is
    /// lost.
    fn create_or_delete_passing(&mut self) {
        if let Some(name) = self.passing.take() {
            self.ask(Ask::Delete, &name, Fields::new());
            return;
        }
        let name = format!("configmaps/passing-{}-{}", self.peer, self.record.number());
        let fields = self.field("data.k1");
        self.ask(Ask::Create, &name, fields);
        self.passing = Some(name);
    }

    /// Sets or creates a Deployment with one of the peer's own numbers of replicas and a mark.
    fn scale(&mut self, ask: Ask, object: &str) {
        let current = self.replicas.get(object).cloned().unwrap_or_default();
        let mut own = (0..=current.len()).map(|round| self.peer + self.peers * round);
        let replicas = own.find(|number| !current.contains(number)).unwrap_or(self.peer);
        let mut fields = self.field(&format!("annotations.{MARK}"));
        fields.insert(REPLICAS.to_owned(), replicas.to_string());
        match self.ask(ask, object, fields) {
            Answer::Ok | Answer::Warned => drop(self.replicas.insert(object.to_owned(), BTreeSet::from([replicas]))),
            Answer::Unknown => drop(self.replicas.entry(object.to_owned()).or_default().insert(replicas)),
            Answer::Refused => {}
        }
    }

    /// Asks, and writes down what came of it.
    fn ask(&self, ask: Ask, object: &str, fields: Fields) -> Answer {
        let (id, start) = (self.record.number(), self.record.now());
        let sent = self.send(ask, object, &fields);
        let mut op = Op {
            id,
            client: self.name.clone(),
            peer: self.peer,
            start,
            end: self.record.now(),
            ask,
            object: object.to_owned(),
            fields,
            uid: String::new(),
            answer: Answer::Refused,
            code: 0,
            detail: String::new(),
        };
        match sent {
            Ok(response) => understand(&mut op, &response),
            Err(Lost::Unsent(error)) => op.detail = format!("never sent: {error}"),
            Err(Lost::Unanswered(error)) => {
                op.answer = Answer::Unknown;
                op.detail = error.to_string();
            }
        }
        let answer = op.answer;
        self.record.add(Line::Op(op));
        answer
    }

    fn send(&self, ask: Ask, object: &str, fields: &Fields) -> Result<Response, Lost> {
        let begun = Instant::now();
        let mut connection = self.api.connect(PATIENCE).map_err(Lost::Unsent)?;
        let (path, collection) = paths(object);
        let (request, content_type, body) = match ask {
            Ask::Create => (("POST", collection), "application/json", body_of(object, fields)),
            Ask::Set => (("PATCH", path), MERGE_PATCH, body_of(object, fields)),
            Ask::Delete => (("DELETE", path), "application/json", json!({"propagationPolicy": "Background"})),
            Ask::Read => (("GET", path), "", Value::Null),
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let left = PATIENCE.saturating_sub(begun.elapsed());
        let asked = (request.0, request.1.as_str());
        self.api.call_on(&mut connection, asked, (content_type, body.as_bytes()), left).map_err(Lost::Unanswered)
    }
}

/// Why there is no answer.
enum Lost {
    Unsent(io::Error),
    Unanswered(io::Error),
}

/// Enters an answer.
fn understand(op: &mut Op, response: &Response) {
    op.code = response.status;
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    op.answer = match response.status {
        200..300 if response.header("warning").is_some() => Answer::Warned,
        200..300 => Answer::Ok,
        // A peer that says 5xx does not promise that nothing was done.
        500.. => Answer::Unknown,
        _ => Answer::Refused,
    };
    if !op.was_done() {
        op.detail = body["message"].as_str().unwrap_or_default().to_owned();
        return;
    }
    op.detail = response.header("warning").unwrap_or_default().to_owned();
    // A deletion is answered with a status that names whose life ended.
    let uid = body["metadata"]["uid"].as_str().or(body["details"]["uid"].as_str());
    op.uid = uid.unwrap_or_default().to_owned();
    if op.ask == Ask::Read {
        op.fields = fields_of(&body);
    }
}

/// The fields of an object that clients of the judge write.
pub(super) fn fields_of(object: &Value) -> Fields {
    let mut fields = Fields::new();
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        fields.insert(format!("data.{key}"), value.as_str().unwrap_or_default().to_owned());
    }
    if let Some(replicas) = object["spec"]["replicas"].as_u64() {
        fields.insert(REPLICAS.to_owned(), replicas.to_string());
    }
    if let Some(mark) = object["metadata"]["annotations"][MARK].as_str() {
        fields.insert(format!("annotations.{MARK}"), mark.to_owned());
    }
    fields
}

/// A whole object for a creation, or what an edit sets: an edit may name all of it but what makes it whole.
fn body_of(object: &str, fields: &Fields) -> Value {
    let (collection, name) = object.split_once('/').unwrap_or((object, ""));
    let replicas = fields.get(REPLICAS).and_then(|text| text.parse::<usize>().ok());
    let data: serde_json::Map<String, Value> = fields
        .iter()
        .filter_map(|(field, value)| Some((field.strip_prefix("data.")?.to_owned(), json!(value))))
        .collect();
    let mut body = if collection == "deployments" {
        sleeper(name, replicas.unwrap_or(0))
    } else {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
    };
    if let Some(mark) = fields.get(&format!("annotations.{MARK}")) {
        body["metadata"]["annotations"] = json!({MARK: mark});
    }
    body
}

/// The paths of an object and of its collection.
fn paths(object: &str) -> (String, String) {
    let collection = object.split_once('/').map_or(object, |(collection, _)| collection);
    let path = if collection == "deployments" { apps } else { core };
    (path(NAMESPACE, object), path(NAMESPACE, collection))
}
