//! One request as a line of the audit log: who asked, from where, for what, and what came of it. What it asked for is read as
//! the routes read it, decoded and in parts, so that no way of writing a path hides an object.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{Request, header};
use serde_json::{Map, Value, json};
use skein_gossip::NodeId;
use skein_kube::authorize::User;
use skein_kube::time::rfc3339_micro;

use super::super::access::Caller;
use super::super::paths;
use super::super::query::Query;
use super::super::shell::{Origin, now_ms};

/// The longest path and user agent that are kept, in characters.
const TEXT_LIMIT: usize = 512;
/// The same of who does not show who they are.
const STRANGER_LIMIT: usize = 64;
/// The longest part of a path that is kept of what it is about: the longest name that an object can have.
const PART_LIMIT: usize = 253;
/// The longest method that is kept: clients may send any word.
const METHOD_LIMIT: usize = 16;
/// What is said of a request whose client went away before it was answered, as nginx says it.
pub const HUNG_UP: u16 = 499;

/// One request, as it will be written down.
#[derive(Debug, Default)]
pub struct Entry {
    received_ms: u64,
    origin: Origin,
    method: String,
    path: String,
    reference: Option<Reference>,
    watches: bool,
    agent: String,
    user: Option<User>,
    by: Option<User>,
    is_about_health: bool,
    code: u16,
    took: Duration,
    /// How many requests of strangers were not written down before it.
    unsaid: u64,
}

/// Which object or resource a path is about.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reference {
    group: String,
    version: String,
    namespace: String,
    resource: String,
    name: String,
    subresource: String,
}

impl Entry {
    /// A request that has just arrived.
    #[must_use]
    pub fn begin<B>(origin: Origin, request: &Request<B>) -> Self {
        let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let path = request.uri().path();
        Entry {
            received_ms: now_ms(),
            origin,
            method: cut(request.method().as_str(), METHOD_LIMIT),
            // The path alone: a query holds commands that are run in containers.
            path: both_ends(path),
            reference: Reference::of(path),
            watches: Query::parse(request.uri().query()).is_ok_and(|query| query.flag("watch") == Ok(true)),
            agent: cut(agent.unwrap_or_default(), TEXT_LIMIT),
            user: None,
            by: None,
            is_about_health: false,
            code: 0,
            took: Duration::ZERO,
            unsaid: 0,
        }
    }

    /// Somebody who becomes a client by a token, of which this is what `skein token list` shows.
    #[must_use]
    pub fn of_client(stranger: NodeId, token: &str, user: &str, role: &str) -> Self {
        Entry {
            received_ms: now_ms(),
            origin: Origin::Peer(stranger),
            method: "POST".to_owned(),
            path: format!("/skein/v1/clients/{}/{}", cut(user, PART_LIMIT), cut(role, PART_LIMIT)),
            user: Some(User::new(format!("system:token:{token}"), [])),
            ..Entry::default()
        }
    }

    /// Says who it is from.
    pub fn is_from(&mut self, caller: &Caller) {
        self.user = Some(caller.user.clone());
        self.by.clone_from(&caller.by);
    }

    /// Says that it asked for the node's health, and got it.
    pub fn was_about_health(&mut self) {
        self.is_about_health = true;
    }

    /// The request, answered, or given up by its client ([`HUNG_UP`]).
    #[must_use]
    pub fn end(self, code: u16, took: Duration) -> Self {
        Entry { code, took, ..self }
    }

    /// The request of a stranger, before which so many were not written down. It led nowhere, so that little is kept of it.
    #[must_use]
    pub fn in_short(self, unsaid: u64) -> Self {
        let (path, agent) = (cut(&self.path, STRANGER_LIMIT), cut(&self.agent, STRANGER_LIMIT));
        Entry { unsaid, path, agent, reference: None, ..self }
    }

    /// Whether it only asks for the node's health.
    #[must_use]
    pub fn is_about_health(&self) -> bool {
        self.is_about_health
    }

    /// Where it came from, if it did not show who it is from.
    #[must_use]
    pub fn stranger(&self) -> Option<IpAddr> {
        match (&self.user, self.origin) {
            (None, Origin::Network(address)) => Some(address.ip().to_canonical()),
            _ => None,
        }
    }

    pub(super) fn to_value(&self, number: u64) -> Value {
        let describe = |user: &User| json!({"username": user.name, "groups": user.groups});
        let from = match self.origin {
            Origin::Network(address) => address.ip().to_canonical().to_string(),
            Origin::Socket => "unix socket".to_owned(),
            Origin::Peer(node) => format!("peer {node}"),
        };
        let took_ms = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        // Of somebody who acts as another, `user` is themselves and `impersonatedUser` the other.
        let (user, acts_as) = match &self.by {
            Some(by) => (Some(by), self.user.as_ref()),
            None => (self.user.as_ref(), None),
        };
        let mut event = json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": format!("{:x}-{number:x}", self.received_ms),
            // A watch, a log and a session go on after their answer has begun. What is given up has none.
            "stage": if self.code == HUNG_UP { "ResponseComplete" } else { "ResponseStarted" },
            "requestURI": self.path,
            "verb": self.verb(),
            "user": user.map_or_else(|| json!({}), describe),
            "sourceIPs": [from],
            "userAgent": self.agent,
            "responseStatus": {"code": self.code},
            "requestReceivedTimestamp": rfc3339_micro(self.received_ms),
            "stageTimestamp": rfc3339_micro(self.received_ms.saturating_add(took_ms)),
            "annotations": {"skein.dev/duration-ms": took_ms.to_string()},
        });
        if self.code == HUNG_UP {
            event["responseStatus"]["message"] =
                "the client went away before it was answered; what it asked for may have been done".into();
        }
        if self.unsaid > 0 {
            event["annotations"]["skein.dev/not-written"] = self.unsaid.to_string().into();
        }
        if let Some(other) = acts_as {
            event["impersonatedUser"] = describe(other);
        }
        if let Some(reference) = &self.reference {
            event["objectRef"] = reference.to_value();
        }
        event
    }

    fn verb(&self) -> String {
        let named = self.reference.as_ref().map(|reference| !reference.name.is_empty());
        match (named, self.method.as_str()) {
            (None, method) => method.to_ascii_lowercase(),
            (Some(true), "GET" | "HEAD") => "get".to_owned(),
            (Some(false), "GET" | "HEAD") => if self.watches { "watch" } else { "list" }.to_owned(),
            (Some(_), "POST") => "create".to_owned(),
            (Some(_), "PUT") => "update".to_owned(),
            (Some(false), "DELETE") => "deletecollection".to_owned(),
            (Some(_), method) => method.to_ascii_lowercase(),
        }
    }
}

impl Reference {
    /// `None`: the path is about no resource, or cannot be read, and then leads nowhere.
    fn of(path: &str) -> Option<Self> {
        let parts = paths::parts(path.trim_end_matches('/')).ok()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, resource, ..] if *resource != "status" => (*namespace, rest.get(2..)?),
            ["namespaces", namespace, ..] => (*namespace, rest),
            rest => ("", rest),
        };
        let resource = rest.first()?;
        let part = |at: usize| cut(rest.get(at).copied().unwrap_or_default(), PART_LIMIT);
        Some(Reference {
            group: cut(group, PART_LIMIT),
            version: cut(version, PART_LIMIT),
            namespace: cut(namespace, PART_LIMIT),
            resource: cut(resource, PART_LIMIT),
            name: part(1),
            subresource: part(2),
        })
    }

    fn to_value(&self) -> Value {
        let fields = [
            ("resource", &self.resource),
            ("apiVersion", &self.version),
            ("apiGroup", &self.group),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("subresource", &self.subresource),
        ];
        let said = fields.into_iter().filter(|(_, text)| !text.is_empty());
        Value::Object(said.map(|(field, text)| (field.to_owned(), text.as_str().into())).collect::<Map<_, _>>())
    }
}

fn cut(text: &str, limit: usize) -> String {
    text.chars().take(limit).collect()
}

/// A path as it was sent. Of one that is too long both ends: what it leads to stands at the last.
fn both_ends(path: &str) -> String {
    let count = path.chars().count();
    if count <= TEXT_LIMIT {
        return path.to_owned();
    }
    let half = TEXT_LIMIT / 2;
    format!("{}...{}", cut(path, half), path.chars().skip(count - half).collect::<String>())
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(crate) fn entry(method: &str, uri: &str) -> Entry {
        let request = Request::builder().method(method).uri(uri).header("user-agent", "kubectl/1");
        let request = request.header("authorization", "Bearer canary").body("canary").unwrap();
        let mut entry = Entry::begin(Origin::Network("192.0.2.7:99".parse().unwrap()), &request);
        entry.is_from(&Caller { user: User::new("bob", []), by: Some(User::new("alice", ["dev".to_owned()])) });
        entry.end(403, Duration::from_millis(7))
    }

    #[test]
    fn a_line_says_who_asked_for_what_and_holds_no_secret() {
        let event = entry("GET", "/api/v1/namespaces/shop/pods/web/exec?command=canary").to_value(1);
        assert_eq!(event["user"], json!({"username": "alice", "groups": ["dev", "system:authenticated"]}));
        assert_eq!(event["impersonatedUser"]["username"], "bob");
        let object =
            json!({"resource": "pods", "apiVersion": "v1", "namespace": "shop", "name": "web", "subresource": "exec"});
        assert_eq!(event["objectRef"], object);
        assert_eq!((&event["verb"], &event["responseStatus"]["code"]), (&json!("get"), &json!(403)));
        assert_eq!(event["sourceIPs"], json!(["192.0.2.7"]));
        assert!(!event.to_string().contains("canary"), "{event}");
    }

    #[test]
    fn who_becomes_a_client_is_written_down_with_the_token_that_let_them_in() {
        let event = Entry::of_client(NodeId([7; 32]), "00ff", "bob", "edit").end(201, Duration::ZERO).to_value(1);
        assert_eq!(event["user"]["username"], "system:token:00ff");
        assert_eq!(event["requestURI"], "/skein/v1/clients/bob/edit");
        assert_eq!(event["sourceIPs"], json!([format!("peer {}", NodeId([7; 32]))]));
    }

    #[test]
    fn verbs_are_those_of_the_api() {
        for (method, uri, verb) in [
            ("GET", "/api/v1/pods", "list"),
            ("GET", "/apis/apps/v1/namespaces/a/deployments?watch=true&x", "watch"),
            ("DELETE", "/api/v1/namespaces/a/pods", "deletecollection"),
            ("DELETE", "/api/v1/namespaces/a", "delete"),
            ("PUT", "/api/v1/nodes/a", "update"),
            ("GET", "/version", "get"),
            ("POST", "/skein/v1/leave", "post"),
        ] {
            assert_eq!(entry(method, uri).to_value(1)["verb"], verb, "{method} {uri}");
        }
        let namespace = entry("GET", "/api/v1/namespaces/shop").to_value(1);
        let object = json!({"resource": "namespaces", "apiVersion": "v1", "namespace": "shop", "name": "shop"});
        assert_eq!(namespace["objectRef"], object);
    }

    #[test]
    fn what_a_request_is_about_is_read_as_the_routes_read_it_however_it_is_written() {
        let secret = json!({"resource": "secrets", "apiVersion": "v1", "namespace": "shop", "name": "db"});
        for uri in [
            "/api/v1/namespaces/shop/secrets/db",
            "/api/v1/namespaces/shop/%73ecrets/db",
            "/%61pi/%761/namespaces/%73hop/secrets/d%62/",
        ] {
            assert_eq!(entry("GET", uri).to_value(1)["objectRef"], secret, "{uri}");
        }
        for watch in ["watch=1", "watch=t", "watch=True", "%77atch=1", "a&watch=TRUE"] {
            let event = entry("GET", &format!("/api/v1/secrets?{watch}")).to_value(1);
            assert_eq!(event["verb"], "watch", "{watch}");
        }
        for list in ["watch=0", "watch=false", "watch=maybe", "watch=%zz", "xwatch=1"] {
            let event = entry("GET", &format!("/api/v1/secrets?{list}")).to_value(1);
            assert_eq!(event["verb"], "list", "{list}");
        }
    }

    #[test]
    fn of_what_is_long_that_is_kept_which_says_what_it_is_about() {
        let event = entry("GET", &format!("/api/v1/namespaces/{}/secrets/db", "n".repeat(2000))).to_value(1);
        assert_eq!((&event["objectRef"]["resource"], &event["objectRef"]["name"]), (&json!("secrets"), &json!("db")));
        let uri = event["requestURI"].as_str().unwrap();
        assert!(uri.starts_with("/api/v1/") && uri.ends_with("/secrets/db") && uri.len() < 600, "{uri}");
        assert!(event.to_string().len() < 2000);
        let event = entry(&"M".repeat(5000), "/api/v1/pods").to_value(1);
        assert_eq!(event["verb"], "m".repeat(METHOD_LIMIT));
    }
}
