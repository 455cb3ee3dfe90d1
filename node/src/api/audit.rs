//! The audit log: who asked for what, from where, and what came of it; one line of JSON for each request, in the form of
//! Kubernetes' audit events of level Metadata. Bodies, queries and credentials are never in it.
//!
//! A thread of its own writes. A request waits for no disk: what finds the queue full is dropped, counted, and the log says
//! how many are missing. Clients' own health checks are not written down.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use axum::http::{Method, Request, header};
use serde_json::{Value, json};
use skein_kube::authorize::User;
use skein_kube::time::rfc3339_micro;

use super::access::Caller;
use super::shell::{Origin, now_ms};
use crate::metrics::Metrics;

/// The log's name in the data directory. Older parts have a number behind it, the higher the older.
pub const AUDIT_FILE: &str = "audit.log";
/// How long one file may grow, in bytes.
pub const FILE_BYTES_LIMIT: u64 = 16 << 20;
/// How many files there are, with the one that is written to.
pub const FILES_LIMIT: u32 = 4;
/// How many requests may wait to be written down.
const QUEUE_LIMIT: usize = 4096;
/// The longest path and user agent that are kept, in characters.
const TEXT_LIMIT: usize = 512;

/// One request, as it will be written down.
#[derive(Debug)]
pub struct Entry {
    received_ms: u64,
    origin: Origin,
    method: Method,
    path: String,
    watches: bool,
    agent: String,
    user: Option<User>,
    by: Option<User>,
    code: u16,
    took: Duration,
}

impl Entry {
    /// A request that has just arrived.
    #[must_use]
    pub fn begin<B>(origin: Origin, request: &Request<B>) -> Self {
        let short = |text: &str| text.chars().take(TEXT_LIMIT).collect::<String>();
        let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let query = request.uri().query().unwrap_or_default();
        Entry {
            received_ms: now_ms(),
            origin,
            method: request.method().clone(),
            // The path alone: a query holds commands that are run in containers.
            path: short(request.uri().path()),
            watches: query.split('&').any(|field| matches!(field, "watch=1" | "watch=true")),
            agent: short(agent.unwrap_or_default()),
            user: None,
            by: None,
            code: 0,
            took: Duration::ZERO,
        }
    }

    /// Says who it is from.
    pub fn is_from(&mut self, caller: &Caller) {
        self.user = Some(caller.user.clone());
        self.by.clone_from(&caller.by);
    }

    /// The request, answered.
    #[must_use]
    pub fn end(self, code: u16, took: Duration) -> Self {
        Entry { code, took, ..self }
    }

    /// Whether it only asks for the node's health.
    #[must_use]
    pub fn is_about_health(&self) -> bool {
        ["/healthz", "/livez", "/readyz"].iter().any(|path| self.path.starts_with(path))
    }

    fn to_value(&self, number: u64) -> Value {
        let describe = |user: &User| json!({"username": user.name, "groups": user.groups});
        let from = match self.origin {
            Origin::Network(address) => address.ip().to_canonical().to_string(),
            Origin::Socket => "unix socket".to_owned(),
        };
        let reference = reference(&self.path);
        let named = reference.as_ref().is_some_and(|reference| reference["name"].is_string());
        let verb = match (reference.is_some(), self.method.as_str()) {
            (false, method) => method.to_ascii_lowercase(),
            (true, "GET" | "HEAD") if named => "get".to_owned(),
            (true, "GET" | "HEAD") => if self.watches { "watch" } else { "list" }.to_owned(),
            (true, "POST") => "create".to_owned(),
            (true, "PUT") => "update".to_owned(),
            (true, "DELETE") if !named => "deletecollection".to_owned(),
            (true, method) => method.to_ascii_lowercase(),
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
            // A watch, a log and a session go on after their answer has begun.
            "stage": "ResponseStarted",
            "requestURI": self.path,
            "verb": verb,
            "user": user.map_or_else(|| json!({}), describe),
            "sourceIPs": [from],
            "userAgent": self.agent,
            "responseStatus": {"code": self.code},
            "requestReceivedTimestamp": rfc3339_micro(self.received_ms),
            "stageTimestamp": rfc3339_micro(self.received_ms.saturating_add(took_ms)),
            "annotations": {"skein.dev/duration-ms": took_ms.to_string()},
        });
        if let Some(other) = acts_as {
            event["impersonatedUser"] = describe(other);
        }
        if let Some(reference) = reference {
            event["objectRef"] = reference;
        }
        event
    }
}

/// Which object or resource a path is about.
fn reference(path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').skip(1).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, resource, rest @ ..] if *resource != "status" => {
            (*namespace, [&[*resource], rest].concat())
        }
        ["namespaces", namespace, ..] => (*namespace, rest.to_vec()),
        rest => ("", rest.to_vec()),
    };
    let resource = rest.first()?;
    let mut reference = json!({"resource": resource, "apiVersion": version});
    for (field, value) in [
        ("apiGroup", Some(&group)),
        ("namespace", Some(&namespace)),
        ("name", rest.get(1)),
        ("subresource", rest.get(2)),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            reference[field] = (*value).into();
        }
    }
    Some(reference)
}

/// Where requests are written down.
#[derive(Debug)]
pub struct Audit {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

impl Audit {
    /// Opens the log of a data directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn start(dir: &Path, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (queue, entries) = sync_channel(QUEUE_LIMIT);
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Log::open(dir.join(AUDIT_FILE), FILE_BYTES_LIMIT)?;
        let (missing, counted) = (dropped.clone(), metrics.clone());
        let thread = std::thread::Builder::new().name("audit".to_owned());
        thread.spawn(move || write_all(log, &entries, &missing, &counted))?;
        Ok(Audit { queue, dropped, metrics })
    }

    /// Has a request written down, if there is room. Never waits.
    pub fn write(&self, entry: Entry) {
        if self.queue.try_send(entry).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.metrics.audit_dropped.increment();
        }
    }
}

/// Writes until nobody sends any more.
fn write_all(mut log: Log, entries: &Receiver<Entry>, dropped: &AtomicU64, metrics: &Metrics) {
    let mut number = 0;
    let mut fails = false;
    loop {
        let entry = match entries.try_recv() {
            Ok(entry) => entry,
            Err(TryRecvError::Disconnected) => return log.flush(),
            Err(TryRecvError::Empty) => {
                // Whoever looks at the log sees all that there is once nothing more comes.
                log.flush();
                match entries.recv() {
                    Ok(entry) => entry,
                    Err(_) => return,
                }
            }
        };
        number += 1;
        let missing = dropped.swap(0, Ordering::Relaxed);
        let gap = (missing > 0).then(|| {
            json!({"kind": "Gap", "at": rfc3339_micro(now_ms()), "message": format!("{missing} requests are missing here")})
        });
        let mut lines = gap.into_iter().chain([entry.to_value(number)]);
        let written: io::Result<()> = lines.try_for_each(|line| log.line(&line));
        if let Err(error) = &written {
            metrics.audit_dropped.increment();
            dropped.fetch_add(missing + 1, Ordering::Relaxed);
            if !fails {
                tracing::error!(%error, "the audit log cannot be written; requests go on without it");
            }
        }
        fails = written.is_err();
    }
}

/// The file that is written to, and those before it.
struct Log {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    limit: u64,
}

impl Log {
    fn open(path: PathBuf, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Log { path, file: BufWriter::new(file), bytes, limit })
    }

    fn line(&mut self, value: &Value) -> io::Result<()> {
        let mut line = value.to_string();
        line.push('\n');
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.limit {
            self.rotate()?;
        }
        self.bytes += length;
        self.file.write_all(line.as_bytes())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let part =
            |n: u32| if n == 0 { self.path.clone() } else { PathBuf::from(format!("{}.{n}", self.path.display())) };
        for n in (0..FILES_LIMIT - 1).rev() {
            match fs::rename(part(n), part(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        *self = Log::open(self.path.clone(), self.limit)?;
        Ok(())
    }

    fn flush(&mut self) {
        if let Err(error) = self.file.flush() {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(method: &str, uri: &str) -> Entry {
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
    fn the_log_is_bounded_and_keeps_the_latest() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path().join(AUDIT_FILE), 1000).unwrap();
        for number in 0..500 {
            log.line(&json!({"number": number})).unwrap();
        }
        log.flush();
        let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap()).collect();
        assert_eq!(files.len(), FILES_LIMIT as usize);
        assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 1000));
        let latest = fs::read_to_string(dir.path().join(AUDIT_FILE)).unwrap();
        assert!(latest.ends_with("{\"number\":499}\n"), "{latest}");
    }

    #[test]
    fn what_is_too_much_is_dropped_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, entries) = sync_channel(1);
        let metrics = Arc::new(Metrics::default());
        let audit = Audit { queue, dropped: Arc::default(), metrics: metrics.clone() };
        for _ in 0..4 {
            audit.write(entry("GET", "/version"));
        }
        assert_eq!(metrics.audit_dropped.get(), 3);
        let dropped = audit.dropped.clone();
        drop(audit);
        write_all(Log::open(dir.path().join(AUDIT_FILE), 1000).unwrap(), &entries, &dropped, &metrics);
        let text = fs::read_to_string(dir.path().join(AUDIT_FILE)).unwrap();
        assert!(text.lines().count() == 2 && text.contains("3 requests are missing here"), "{text}");
    }
}
