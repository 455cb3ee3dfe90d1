//! What the handle, the tasks and the swarm have in common: who is a member, where frames for whom go, the counters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use bytes::Bytes;
use skein_gossip::NodeId;
use tokio::sync::mpsc;

use crate::metrics::Counters;
use crate::refusal::{Guard, Refusal};
use crate::{Lane, NetMetrics};

type Access = dyn Fn(&NodeId) -> bool + Send + Sync;

/// The queues of the newest connection with a member.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub control: mpsc::Sender<Bytes>,
    pub bulk: mpsc::Sender<Bytes>,
}

pub(crate) struct Shared {
    pub me: NodeId,
    pub counters: Counters,
    pub guard: Guard,
    /// The origin of [`Shared::now_ms`].
    start: Instant,
    access: Box<Access>,
    routes: RwLock<BTreeMap<NodeId, Route>>,
    announced: RwLock<BTreeSet<SocketAddr>>,
}

impl Shared {
    pub(crate) fn new(me: NodeId, access: impl Fn(&NodeId) -> bool + Send + Sync + 'static) -> Self {
        Self {
            me,
            counters: Counters::default(),
            guard: Guard::default(),
            start: Instant::now(),
            access: Box::new(access),
            routes: RwLock::default(),
            announced: RwLock::default(),
        }
    }

    /// Milliseconds since the start, for comparing when something was heard.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The same for the pure parts.
    pub(crate) fn now(&self) -> skein_gossip::Instant {
        skein_gossip::Instant(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Whether the peer is a member now, and not one that is refused for a while.
    pub(crate) fn is_member(&self, peer: &NodeId) -> bool {
        (self.access)(peer) && !self.is_refused(peer)
    }

    /// Whether the peer broke rules so often that it is not heard for a while.
    pub(crate) fn is_refused(&self, peer: &NodeId) -> bool {
        self.guard.is_refused(self.now(), peer)
    }

    /// Counts what was refused to somebody, and logs it unless it was logged lately.
    pub(crate) fn refuse(&self, source: impl Display, refusal: Refusal) {
        self.counters.refused.add(1);
        self.guard.refuse(self.now(), &source, refusal);
    }

    /// The numbers of now.
    pub(crate) fn metrics(&self) -> NetMetrics {
        let (refusals, offences) = self.guard.counts();
        let offenders = self.guard.refused(self.now()).len() as u64;
        NetMetrics { refusals, offences, offenders, ..self.counters.read() }
    }

    /// Queues a frame. One that cannot be queued is dropped and counted.
    pub(crate) fn send(&self, peer: &NodeId, lane: Lane, bytes: Bytes) {
        let fits = !bytes.is_empty() && bytes.len() <= lane.max_frame();
        let queued = fits && {
            let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            routes.get(peer).is_some_and(|route| {
                let queue = match lane {
                    Lane::Control => &route.control,
                    Lane::Bulk => &route.bulk,
                };
                queue.try_send(bytes).is_ok()
            })
        };
        if !queued {
            self.counters.frames_dropped.add(1);
        }
    }

    pub(crate) fn set_route(&self, peer: NodeId, route: Option<Route>) {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        match route {
            Some(route) => routes.insert(peer, route),
            None => routes.remove(&peer),
        };
        self.counters.links.set(routes.len());
    }

    pub(crate) fn clear_routes(&self) {
        self.routes.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn announce(&self, addr: SocketAddr) -> bool {
        self.announced.write().unwrap_or_else(PoisonError::into_inner).insert(addr)
    }

    pub(crate) fn withdraw(&self, addr: &SocketAddr) {
        self.announced.write().unwrap_or_else(PoisonError::into_inner).remove(addr);
    }

    pub(crate) fn announced(&self) -> Vec<SocketAddr> {
        self.announced.read().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}
