//! What this peer knows of roles, bindings and revoked credentials, compiled once for each change of them. A decision is a
//! lookup; a request that comes after a write of a binding was answered is decided by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use skein_crdt_state::Kind;
use skein_kube::authorize::{Objects, Policy};
use skein_kube::resource::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, CONFIG_MAPS, ROLE_BINDINGS, ROLES, Resource};
use skein_kube::time::parse_rfc3339;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use super::super::backend::{ApiRef, Backend, ProjectedChange, Rendered, Stopped};

/// Where revocations are kept: a ConfigMap, whose every value is `TIME USER`.
pub const REVOKED: (&str, &str) = ("kube-system", "skein-revoked");

/// What is known at one moment.
#[derive(Debug, Default)]
pub struct Known {
    /// Who may do what.
    pub policy: Policy,
    /// Bindings that were made apart with one name and different roles. Their roles and subjects merge one by one, so what they say
    /// together nobody was ever allowed to say: they give nothing until somebody settles it who may.
    contested: BTreeSet<ApiRef>,
    /// Users, and the moment (in seconds since the Unix epoch) up to which what was issued to them counts no more.
    revoked_s: BTreeMap<String, u64>,
}

impl Known {
    /// Whether a binding gives nothing since its role was set apart.
    #[must_use]
    pub fn is_contested(&self, binding: &ApiRef) -> bool {
        self.contested.contains(binding)
    }

    /// Whether what was issued to a user then counts no more.
    #[must_use]
    pub fn is_revoked(&self, user: &str, issued_s: u64) -> bool {
        self.revoked_s.get(user).is_some_and(|until_s| issued_s <= *until_s)
    }
}

/// The latest that is known, and what may have changed since.
#[derive(Debug)]
pub struct Cache {
    state: Mutex<State>,
    /// Held by who compiles, so that many requests after a change do it once.
    compiling: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    changes: broadcast::Receiver<Arc<Vec<ProjectedChange>>>,
    current: Option<Arc<Known>>,
}

impl Cache {
    /// Knows nothing yet. `changes` must be what the backend says from now on.
    #[must_use]
    pub fn new(changes: broadcast::Receiver<Arc<Vec<ProjectedChange>>>) -> Self {
        Cache { state: Mutex::new(State { changes, current: None }), compiling: tokio::sync::Mutex::default() }
    }

    /// What is known now.
    ///
    /// # Errors
    /// When the daemon stops.
    pub async fn now(&self, backend: &dyn Backend) -> Result<Arc<Known>, Stopped> {
        if let Some(known) = self.current() {
            return Ok(known);
        }
        let _alone = self.compiling.lock().await;
        if let Some(known) = self.current() {
            return Ok(known);
        }
        let known = Arc::new(compile(backend).await?);
        let mut state = self.lock();
        // What changed meanwhile may or may not be in it: it serves this request, which came before, and no later one.
        if state.take_in() {
            state.current = Some(known.clone());
        }
        Ok(known)
    }

    /// Takes in what changed, so that a peer that nobody but the administrator asks holds no old changes.
    pub fn settle(&self) {
        self.lock().take_in();
    }

    fn current(&self) -> Option<Arc<Known>> {
        let mut state = self.lock();
        state.take_in();
        state.current.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether nothing of what came since the last call matters here; otherwise what was known is forgotten.
    fn take_in(&mut self) -> bool {
        let mut same = true;
        loop {
            match self.changes.try_recv() {
                Ok(batch) => same &= !batch.iter().any(|change| matters(&change.object)),
                Err(TryRecvError::Lagged(_)) => same = false,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if !same {
            self.current = None;
        }
        same
    }
}

fn matters(object: &ApiRef) -> bool {
    let kind = object.kind.as_str();
    let is_revocation = || (&*object.namespace, &*object.name) == REVOKED && kind == CONFIG_MAPS.stored_kind;
    [&ROLES, &CLUSTER_ROLES, &ROLE_BINDINGS, &CLUSTER_ROLE_BINDINGS].iter().any(|row| row.stored_kind == kind)
        || is_revocation()
}

async fn compile(backend: &dyn Backend) -> Result<Known, Stopped> {
    let all = |resource: &Resource| backend.list(resource.kind(), None);
    let cluster_roles = all(&CLUSTER_ROLES).await?;
    let cluster_role_bindings = all(&CLUSTER_ROLE_BINDINGS).await?;
    let roles = all(&ROLES).await?;
    let role_bindings = all(&ROLE_BINDINGS).await?;
    let revoked =
        ApiRef { kind: Kind::new(CONFIG_MAPS.stored_kind), namespace: REVOKED.0.into(), name: REVOKED.1.into() };
    let revoked_s = backend.get(revoked).await?.map(|map| revocations(&map.value)).unwrap_or_default();
    let mut contested = BTreeSet::new();
    for resource in [&CLUSTER_ROLE_BINDINGS, &ROLE_BINDINGS] {
        contested.extend(backend.contested(resource.kind(), "roleRef").await?);
    }
    // A binding of the whole cluster has no namespace, so the two kinds are told apart by it.
    let names: BTreeSet<(&str, &str)> = contested.iter().map(|other| (&*other.namespace, &*other.name)).collect();
    let counts = |binding: &&Value| {
        let text = |field: &str| binding["metadata"][field].as_str().unwrap_or_default();
        !names.contains(&(text("namespace"), text("name")))
    };
    let policy = Policy::new(Objects {
        cluster_roles: &values(&cluster_roles),
        cluster_role_bindings: &values(&cluster_role_bindings).into_iter().filter(counts).collect::<Vec<_>>(),
        roles: &values(&roles),
        role_bindings: &values(&role_bindings).into_iter().filter(counts).collect::<Vec<_>>(),
    });
    Ok(Known { policy, contested, revoked_s })
}

fn values(objects: &[Arc<Rendered>]) -> Vec<&Value> {
    objects.iter().map(|object| &*object.value).collect()
}

/// Reads revocations. A value without a time that can be read revokes all that was ever issued: a mistake locks out, and
/// never lets in.
fn revocations(map: &Value) -> BTreeMap<String, u64> {
    let mut revoked_s = BTreeMap::new();
    for value in map["data"].as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str()) {
        let (time, user) = value.trim().split_once(' ').unwrap_or(("", value.trim()));
        let until_s = parse_rfc3339(time).map_or(u64::MAX, |ms| ms / 1000);
        let known: &mut u64 = revoked_s.entry(user.trim().to_owned()).or_default();
        *known = until_s.max(*known);
    }
    revoked_s
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_issued_before_a_revocation_counts_no_more() {
        let data = json!({"data": {
            "a": "2026-01-31T12:00:00Z alice", "b": "2025-01-31T12:00:00Z alice", "c": "soon bob", "d": "carol",
        }});
        let known = Known { revoked_s: revocations(&data), ..Known::default() };
        let at_s = parse_rfc3339("2026-01-31T12:00:00Z").unwrap_or_default() / 1000;
        assert!(known.is_revoked("alice", at_s) && !known.is_revoked("alice", at_s + 1));
        assert!(known.is_revoked("bob", u64::MAX) && known.is_revoked("carol", at_s));
        assert!(!known.is_revoked("dave", 0));
    }
}
