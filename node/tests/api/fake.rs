//! A node in memory behind the API: objects that are written are there at once, Deployments are always complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use skein_core::request::{WriteError, WriteOp, WriteReply, WriteRequest};
use skein_core::slot::PLACEMENT_LEAF;
use skein_crdt_state::layout::{changes, unflatten};
use skein_crdt_state::{Edit, Hlc, Kind, Layout, Leaf, LeafPath, Message, NameKey, ObjectKey, WriteId};
use skein_gossip::NodeId;
use skein_kube::time::rfc3339;
use skein_node::api::backend::{
    AdminError, ApiRef, Authored, Backend, Known, LeaderInfo, LogError, LogRequest, LogSource, LogStream, NodeUsage,
    PeerInfo, PeerStream, ProjectedChange, Removal, Rendered, Rotated, Stopped, TokenAsk, TokenInfo, UsageSource,
};
use skein_node::api::remote_logs::LogServer;
use skein_node::api::streams::node_side::SessionServer;
use skein_node::api::usage::peers;
use skein_node::joining::Standing;
use skein_node::metrics::Metrics;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::host::Host;

/// This node, and the one peer that it can reach.
pub const ME: NodeId = NodeId([1; 32]);
pub const PEER: NodeId = NodeId([2; 32]);
/// A time that objects are born at.
const BORN_MS: u64 = 1_795_478_400_000;

#[path = "fake/here.rs"]
mod here;

use here::{Busy, Lines};

pub struct Fake {
    inner: Arc<Mutex<Inner>>,
    changes: broadcast::Sender<Arc<Vec<ProjectedChange>>>,
    layout: Layout,
    /// What runs in pods, wherever they are said to be.
    sessions: Arc<SessionServer>,
    /// Held by a test, writes are done and not answered.
    pub answering: tokio::sync::RwLock<()>,
    /// Ends them, as the end of the node that has the pods would.
    pub node_stops: CancellationToken,
    /// How many removals were begun, and how many rotations were made.
    pub removals: AtomicUsize,
    pub rotations: AtomicUsize,
    /// Whether the node's disk was lost, and it has heard of nobody since.
    pub is_lost: AtomicBool,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<ApiRef, Stored>,
    /// What is shown in the place of objects.
    held_back: BTreeMap<ApiRef, Option<Stored>>,
    /// What was set apart.
    contested: BTreeSet<ApiRef>,
    lives: BTreeMap<NameKey, u32>,
    clock: u64,
    /// What each change says of who asked for it.
    messages: BTreeMap<WriteId, Arc<str>>,
    /// What the change says that is being made.
    message: Arc<str>,
    /// All writes, for tests that look at them.
    writes: Vec<WriteRequest>,
    /// Whether a peer's deletion and its next life arrive before the next edit is answered.
    next_life_comes: bool,
}

#[derive(Clone)]
struct Stored {
    key: ObjectKey,
    leaves: BTreeMap<LeafPath, Leaf>,
    rendered: Arc<Rendered>,
    generation: u64,
}

pub fn kind(text: &str) -> Kind {
    Kind::new(text)
}

pub fn reference(kind_text: &str, namespace: &str, name: &str) -> ApiRef {
    ApiRef { kind: kind(kind_text), namespace: namespace.into(), name: name.into() }
}

impl Fake {
    pub fn new() -> Arc<Self> {
        Fake::with_sessions(|sessions| sessions)
    }

    /// One whose sessions are served in another way.
    pub fn with_sessions(change: impl FnOnce(SessionServer) -> SessionServer) -> Arc<Self> {
        let inner = Inner { clock: 1 << 46, message: "test\troot".into(), ..Inner::default() };
        let node_stops = CancellationToken::new();
        let fake = Fake {
            inner: Arc::new(Mutex::new(inner)),
            changes: broadcast::channel(1024).0,
            layout: skein_kube::schema::layout(),
            sessions: Arc::new(change(SessionServer::new(Arc::new(Host), node_stops.clone()))),
            answering: tokio::sync::RwLock::default(),
            node_stops,
            removals: AtomicUsize::new(0),
            rotations: AtomicUsize::new(0),
            is_lost: AtomicBool::new(false),
        };
        fake.put("Namespace", "", "default", &json!({"spec": {"finalizers": ["kubernetes"]}}));
        for (name, id) in [("goose", ME), ("gander", PEER)] {
            fake.put("Node", "", name, &json!({"spec": {"providerID": format!("skein://{id}")}}));
        }
        Arc::new(fake)
    }

    /// Stores an object as it is, without the API.
    pub fn put(&self, kind_text: &str, namespace: &str, name: &str, value: &Value) -> ApiRef {
        let object = reference(kind_text, namespace, name);
        let owner = (!namespace.is_empty()).then(|| ObjectKey::root(&kind("Namespace"), namespace, 1));
        let name = match owner {
            Some(owner) => owner.name_of_child(&object.kind, name),
            None => NameKey::root(&object.kind, name),
        };
        let edits = self.edits_between(&BTreeMap::new(), &object.kind, &json!({}), value).unwrap();
        self.inner.lock().unwrap().create(&self.changes, &name, &edits).unwrap();
        object
    }

    /// Changes a stored object's status, as a node's report would.
    pub fn report(&self, object: &ApiRef, status: &Value) {
        let mut inner = self.inner.lock().unwrap();
        let stamp = inner.tick();
        let stored = inner.objects.get_mut(object).unwrap();
        let old = stored.rendered.clone();
        let mut value = (*old.value).clone();
        value["status"] = status.clone();
        value["metadata"]["resourceVersion"] = json!(stamp.to_string());
        stored.rendered = Arc::new(Rendered { value: Arc::new(value), stamp, ..(*old).clone() });
        let new = Some(stored.rendered.clone());
        let change = ProjectedChange { object: object.clone(), old: Some(old), new };
        let _ = self.changes.send(Arc::new(vec![change]));
    }

    /// Makes a pod one that fills a slot, as a ReplicaSet's is.
    pub fn fill_slot(&self, pod: &ApiRef) -> ObjectKey {
        let mut inner = self.inner.lock().unwrap();
        let stored = inner.objects.get_mut(pod).unwrap();
        let set = stored.key.owner().unwrap().child(&kind("ReplicaSet.apps"), "web", 1);
        stored.key = set.child(&kind("Slot.skein.dev"), "0", 1);
        stored.rendered = Arc::new(Rendered { key: Some(stored.key.clone()), ..(*stored.rendered).clone() });
        stored.key.clone()
    }

    /// Makes an object one that nobody wrote.
    pub fn derive(&self, object: &ApiRef) {
        let mut inner = self.inner.lock().unwrap();
        let stored = inner.objects.get_mut(object).unwrap();
        stored.rendered = Arc::new(Rendered { key: None, ..(*stored.rendered).clone() });
    }

    /// Somebody else deletes what is created or edited next, and creates it again, before the write is answered.
    pub fn next_life_comes(&self) {
        self.inner.lock().unwrap().next_life_comes = true;
    }

    /// An object is shown as it is now until it is shown anew, as one is whose texts have not come yet.
    pub fn hold_back(&self, object: &ApiRef) {
        let mut inner = self.inner.lock().unwrap();
        let now = inner.objects.get(object).cloned();
        inner.held_back.insert(object.clone(), now);
    }

    /// Different values of an object were set apart. Whoever asked before is told of a change.
    pub fn contest(&self, object: &ApiRef) {
        self.inner.lock().unwrap().contested.insert(object.clone());
    }

    /// What was held back is shown.
    pub fn show(&self, object: &ApiRef) {
        let mut inner = self.inner.lock().unwrap();
        let old = inner.held_back.remove(object).flatten().map(|stored| stored.rendered);
        let new = inner.objects.get(object).map(|stored| stored.rendered.clone());
        let _ = self.changes.send(Arc::new(vec![ProjectedChange { object: object.clone(), old, new }]));
    }

    pub fn writes(&self) -> Vec<WriteRequest> {
        self.inner.lock().unwrap().writes.clone()
    }

    /// All objects as they are now.
    pub fn all(&self) -> Vec<(ApiRef, Value)> {
        let inner = self.inner.lock().unwrap();
        inner.objects.iter().map(|(object, stored)| (object.clone(), (*stored.rendered.value).clone())).collect()
    }

    pub fn value(&self, object: &ApiRef) -> Option<Value> {
        let inner = self.inner.lock().unwrap();
        inner.objects.get(object).map(|stored| (*stored.rendered.value).clone())
    }

    fn edits_between(
        &self,
        leaves: &BTreeMap<LeafPath, Leaf>,
        kind: &Kind,
        old: &Value,
        new: &Value,
    ) -> Result<Vec<Edit>, String> {
        let flat = |value: &Value| self.layout.flatten(kind, value, leaves).map_err(|error| error.to_string());
        Ok(changes(&flat(old)?, &flat(new)?))
    }
}

impl Inner {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn write(
        &mut self,
        changes: &broadcast::Sender<Arc<Vec<ProjectedChange>>>,
        request: WriteRequest,
    ) -> Result<WriteReply, WriteError> {
        self.writes.push(request.clone());
        let (manager, user) = (request.manager.as_str(), request.user.as_str());
        self.message = Message { manager, user, operation: request.operation, decided: None }.to_string().into();
        match request.op {
            WriteOp::Create { name, edits } => self.create(changes, &name, &edits),
            WriteOp::Edit { key, edits, if_heads } => self.edit(changes, key, &edits, if_heads.as_deref()),
            WriteOp::Delete { key, .. } => self.remove(changes, key),
            WriteOp::Remove { node } => Err(WriteError::NoSuchMember(node)),
        }
    }

    fn shown(&self, object: &ApiRef) -> Option<&Stored> {
        self.held_back.get(object).map_or_else(|| self.objects.get(object), Option::as_ref)
    }

    fn find(&self, key: &ObjectKey) -> Option<ApiRef> {
        self.objects.iter().find(|(_, stored)| stored.key == *key).map(|(object, _)| object.clone())
    }

    fn create(
        &mut self,
        changes: &broadcast::Sender<Arc<Vec<ProjectedChange>>>,
        name: &NameKey,
        edits: &[Edit],
    ) -> Result<WriteReply, WriteError> {
        let life = self.lives.get(name).copied().unwrap_or(1);
        let key = name.life(life);
        let object = ApiRef {
            kind: key.kind().clone(),
            namespace: key.namespace().unwrap_or_default().into(),
            name: key.name().into(),
        };
        if self.objects.contains_key(&object) {
            return Err(WriteError::AlreadyExists(key));
        }
        if let Some(owner) = key.owner()
            && self.find(&owner).is_none()
        {
            return Err(WriteError::OwnerGone(owner));
        }
        let stored = self.apply(&key, BTreeMap::new(), edits, 0);
        let (heads, new) = (stored.rendered.heads.clone(), Some(stored.rendered.clone()));
        self.objects.insert(object.clone(), stored);
        let _ = changes.send(Arc::new(vec![ProjectedChange { object, old: None, new }]));
        if std::mem::take(&mut self.next_life_comes) {
            self.remove(changes, key.clone())?;
            self.create(changes, &key.name_key(), &[])?;
        }
        Ok(WriteReply { key, heads, warnings: vec!["only this disk has it".into()], changed: true })
    }

    fn edit(
        &mut self,
        changes: &broadcast::Sender<Arc<Vec<ProjectedChange>>>,
        key: ObjectKey,
        edits: &[Edit],
        if_heads: Option<&[WriteId]>,
    ) -> Result<WriteReply, WriteError> {
        let Some(object) = self.find(&key) else { return Err(WriteError::NotFound(key)) };
        let stored = self.objects[&object].clone();
        if if_heads.is_some_and(|heads| heads != stored.rendered.heads) {
            return Err(WriteError::Conflict(key));
        }
        if edits.iter().any(|edit| &*edit.path == PLACEMENT_LEAF) {
            return self.remove(changes, key);
        }
        let next = self.apply(&key, stored.leaves, edits, stored.generation);
        let change =
            ProjectedChange { object: object.clone(), old: Some(stored.rendered), new: Some(next.rendered.clone()) };
        let heads = next.rendered.heads.clone();
        self.objects.insert(object, next);
        let _ = changes.send(Arc::new(vec![change]));
        if std::mem::take(&mut self.next_life_comes) {
            self.remove(changes, key.clone())?;
            self.create(changes, &key.name_key(), &[])?;
        }
        Ok(WriteReply { key, heads, warnings: Vec::new(), changed: true })
    }

    fn remove(
        &mut self,
        changes: &broadcast::Sender<Arc<Vec<ProjectedChange>>>,
        key: ObjectKey,
    ) -> Result<WriteReply, WriteError> {
        if self.find(&key).is_none() {
            return Err(WriteError::NotFound(key));
        }
        self.lives.insert(key.name_key(), key.incarnation() + 1);
        let gone: Vec<_> =
            self.objects.iter().filter(|(_, stored)| stored.key.is_within(&key)).map(|(o, _)| o.clone()).collect();
        let change = |object: ApiRef| {
            let old = self.objects.remove(&object).map(|stored| stored.rendered);
            ProjectedChange { object, old, new: None }
        };
        let batch: Vec<_> = gone.into_iter().map(change).collect();
        let _ = changes.send(Arc::new(batch));
        Ok(WriteReply { key, heads: Vec::new(), warnings: Vec::new(), changed: true })
    }

    fn apply(
        &mut self,
        key: &ObjectKey,
        mut leaves: BTreeMap<LeafPath, Leaf>,
        edits: &[Edit],
        generation: u64,
    ) -> Stored {
        let stamp = self.tick();
        let mut write = WriteId([0; 32]);
        write.0[..8].copy_from_slice(&stamp.to_be_bytes());
        self.messages.insert(write, self.message.clone());
        for edit in edits {
            match edit.value.clone() {
                Some(value) => {
                    let leaf = Leaf { value, stamp: Hlc(stamp), author: ME, write, counter: 1, others: Vec::new() };
                    leaves.insert(edit.path.clone(), leaf);
                }
                None => {
                    leaves.remove(&edit.path);
                }
            }
        }
        let touches_spec = edits.iter().any(|edit| edit.path.starts_with("spec"));
        let generation = generation + u64::from(touches_spec);
        let value = render(key, &leaves, stamp, generation);
        let rendered = Arc::new(Rendered { value: Arc::new(value), key: Some(key.clone()), heads: vec![write], stamp });
        Stored { key: key.clone(), leaves, rendered, generation }
    }
}

fn render(key: &ObjectKey, leaves: &BTreeMap<LeafPath, Leaf>, stamp: u64, generation: u64) -> Value {
    let mut value = unflatten(leaves.iter().map(|(path, leaf)| (path, &leaf.value)));
    let (kind, group) = key.kind().as_str().split_once('.').unwrap_or((key.kind().as_str(), ""));
    value["apiVersion"] = if group.is_empty() { json!("v1") } else { json!(format!("{group}/v1")) };
    value["kind"] = json!(kind);
    value["metadata"]["name"] = json!(key.name());
    if let Some(namespace) = key.namespace() {
        value["metadata"]["namespace"] = json!(namespace);
    }
    value["metadata"]["uid"] = json!(format!("uid-{}-{}", key.name(), key.incarnation()));
    value["metadata"]["creationTimestamp"] = json!(rfc3339(BORN_MS));
    value["metadata"]["generation"] = json!(generation);
    value["metadata"]["resourceVersion"] = json!(stamp.to_string());
    match kind {
        "Deployment" => {
            let replicas = value["spec"]["replicas"].clone();
            value["status"] = json!({
                "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
                "readyReplicas": replicas, "availableReplicas": replicas,
                "conditions": [{"type": "Available", "status": "True"}],
            });
        }
        "Pod" => {
            let uid = value["metadata"]["uid"].as_str().unwrap().to_owned();
            let added = skein_core::ephemeral::shown(&value, &uid);
            value.as_object_mut().unwrap().remove("ephemeral");
            if !added.is_empty() {
                value["spec"]["ephemeralContainers"] = added.into();
            }
            let containers = value["spec"]["containers"].as_array().cloned().unwrap_or_default();
            let statuses: Vec<_> = containers
                .iter()
                .map(|container| {
                    json!({"name": container["name"], "ready": true, "restartCount": 0, "image": container["image"],
                       "state": {"running": {"startedAt": rfc3339(BORN_MS)}}})
                })
                .collect();
            value["status"] = json!({
                "phase": "Running", "containerStatuses": statuses,
                "conditions": [{"type": "Ready", "status": "True"}],
            });
        }
        "Namespace" => value["status"] = json!({"phase": "Active"}),
        "Node" => {
            value["status"] =
                json!({"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1"}});
        }
        _ => {}
    }
    value
}

impl LogSource for Fake {
    fn open(&self, request: LogRequest) -> BoxFuture<'_, Result<LogStream, LogError>> {
        Lines.open(request)
    }
}

impl UsageSource for Fake {
    fn usage(&self) -> BoxFuture<'_, NodeUsage> {
        let here = Busy { inner: self.inner.clone(), cores: 1 };
        Box::pin(async move { here.usage().await })
    }
}

impl Backend for Fake {
    fn me(&self) -> NodeId {
        ME
    }

    fn get(&self, object: ApiRef) -> BoxFuture<'_, Result<Option<Arc<Rendered>>, Stopped>> {
        Box::pin(async move {
            let inner = self.inner.lock().unwrap();
            assert_ne!(&*object.name, "panic", "a defect, planted by a test");
            Ok(inner.shown(&object).map(|stored| stored.rendered.clone()))
        })
    }

    fn authored(&self, object: ApiRef) -> BoxFuture<'_, Result<Option<Known>, Stopped>> {
        Box::pin(async move {
            let rendered = self.get(object.clone()).await?;
            let inner = self.inner.lock().unwrap();
            let leaves = inner.shown(&object).map(|stored| stored.leaves.clone()).unwrap_or_default();
            let messages = inner.messages.clone();
            Ok(rendered.map(|rendered| (rendered, Authored { leaves, messages })))
        })
    }

    fn list(&self, kind: Kind, namespace: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<Arc<Rendered>>, Stopped>> {
        Box::pin(async move {
            let inner = self.inner.lock().unwrap();
            let wanted =
                |object: &&ApiRef| object.kind == kind && namespace.as_ref().is_none_or(|n| *n == object.namespace);
            Ok(inner.objects.keys().filter(wanted).map(|object| inner.objects[object].rendered.clone()).collect())
        })
    }

    fn contested(&self, kind: Kind, _: &'static str) -> BoxFuture<'_, Result<Vec<ApiRef>, Stopped>> {
        let inner = self.inner.lock().unwrap();
        let contested = inner.contested.iter().filter(|object| object.kind == kind).cloned().collect();
        Box::pin(async move { Ok(contested) })
    }

    fn edits(
        &self,
        key: Option<ObjectKey>,
        kind: Kind,
        old: Value,
        new: Value,
    ) -> BoxFuture<'_, Result<Result<Vec<Edit>, String>, Stopped>> {
        Box::pin(async move {
            let leaves = {
                let inner = self.inner.lock().unwrap();
                let object = key.and_then(|key| inner.find(&key));
                object.map(|object| inner.objects[&object].leaves.clone()).unwrap_or_default()
            };
            Ok(self.edits_between(&leaves, &kind, &old, &new))
        })
    }

    fn write(&self, request: WriteRequest) -> BoxFuture<'_, Result<Result<WriteReply, WriteError>, Stopped>> {
        Box::pin(async move {
            let reply = self.inner.lock().unwrap().write(&self.changes, request);
            let _answered = self.answering.read().await;
            Ok(reply)
        })
    }

    fn changes(&self) -> broadcast::Receiver<Arc<Vec<ProjectedChange>>> {
        self.changes.subscribe()
    }

    fn open_peer(&self, peer: NodeId, header: Bytes) -> BoxFuture<'_, Result<PeerStream, LogError>> {
        let sessions = self.sessions.clone();
        Box::pin(async move {
            if peer != PEER && !(peer == ME && SessionServer::takes(&header)) {
                return Err(LogError::Unavailable("the peer cannot be reached".into()));
            }
            let (ours, theirs) = tokio::io::duplex(1024);
            if SessionServer::takes(&header) {
                tokio::spawn(async move { sessions.serve(Box::pin(theirs)).await });
                return Ok(Box::pin(ours) as PeerStream);
            }
            if peers::takes(&header) {
                let there = Busy { inner: self.inner.clone(), cores: 2 };
                tokio::spawn(async move { peers::serve(&there, Box::pin(theirs)).await });
                return Ok(Box::pin(ours) as PeerStream);
            }
            tokio::spawn(async move { LogServer::new(Arc::new(Lines)).serve(Box::pin(theirs), &header).await });
            let ours: PeerStream = Box::pin(ours);
            Ok(ours)
        })
    }

    fn create_token(&self, ask: TokenAsk) -> BoxFuture<'_, Result<String, AdminError>> {
        Box::pin(async move { Ok(format!("token-{}-{}", ask.uses, ask.ttl.as_secs())) })
    }

    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenInfo>, AdminError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn revoke_token(&self, id: String) -> BoxFuture<'_, Result<String, AdminError>> {
        Box::pin(async move { Err(AdminError(format!("no {id}"))) })
    }

    fn invite(&self, ask: TokenAsk) -> BoxFuture<'_, Result<String, AdminError>> {
        Box::pin(async move { Ok(format!("42-{}-{}", ask.role.as_str(), ask.grant.unwrap_or_default())) })
    }

    fn invitation(&self, _: u8) -> BoxFuture<'_, Result<Option<Standing>, AdminError>> {
        Box::pin(async { Ok(None) })
    }

    fn peers(&self) -> BoxFuture<'_, Result<Vec<PeerInfo>, AdminError>> {
        Box::pin(async {
            Ok(vec![PeerInfo {
                name: "goose".into(),
                id: ME.to_string(),
                address: "127.0.0.1".into(),
                state: "alive".into(),
                leader: true,
                version: "1".into(),
                role: "member".into(),
            }])
        })
    }

    fn leader(&self) -> BoxFuture<'_, Result<Option<LeaderInfo>, AdminError>> {
        Box::pin(async { Ok(None) })
    }

    fn leave(&self) -> BoxFuture<'_, Result<(), AdminError>> {
        Box::pin(async { Ok(()) })
    }

    fn remove(&self, peer: String) -> BoxFuture<'_, Result<Removal, AdminError>> {
        self.removals.fetch_add(1, Relaxed);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(if peer == "slow" { 300 } else { 0 })).await;
            let (again, knows_keys) = (peer.ends_with("gone"), peer != "long-gone");
            Ok(Removal { name: peer, again, knows_keys, warnings: Vec::new() })
        })
    }

    fn rotate(&self, grace: Duration) -> BoxFuture<'_, Result<Rotated, AdminError>> {
        Box::pin(async move {
            let lapse_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            self.rotations.fetch_add(1, Relaxed);
            Ok(Rotated { epoch: "00ff".into(), lapse_ms, warnings: Vec::new() })
        })
    }

    fn why(&self, namespace: String, pod: String) -> BoxFuture<'_, Result<Vec<String>, AdminError>> {
        Box::pin(async move { Ok(vec![format!("{namespace}/{pod} is happy")]) })
    }

    fn state_hash(&self) -> BoxFuture<'_, Result<String, AdminError>> {
        Box::pin(async { Ok("00ff".into()) })
    }

    fn measure<'a>(&'a self, metrics: &'a Metrics) -> BoxFuture<'a, ()> {
        metrics.objects.set(self.inner.lock().unwrap().objects.len() as u64);
        Box::pin(std::future::ready(()))
    }

    fn has_state(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { !self.is_lost.load(Relaxed) })
    }

    fn ready(&self) -> BoxFuture<'_, bool> {
        self.has_state()
    }
}
