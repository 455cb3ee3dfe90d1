//! Scripted scenarios over a [`World`]: a story that is told step by step rather than drawn from a seed. Whatever must hold at
//! all times is watched as in every run, and a step that finds it broken panics with what was found.

use skein_core::node::Node;
use skein_core::request::{RequestId, WriteOp};
use skein_crdt_state::{Edit, Kind, NameKey, ObjectKey, Scalar};

use crate::checks::{self, quiet::Calm};
use crate::faults;
use crate::host::Standing;
use crate::knobs::Knobs;
use crate::oracle::Answer;
use crate::workload::{self, manifest};
use crate::world::{Event, World};

/// How long a cluster has to form, and to settle in the end, in virtual milliseconds.
const FORM_MS: u64 = 5_000;
const SETTLE_MS: u64 = 180_000;
/// How often a condition is asked for, in virtual milliseconds.
const ASK_MS: u64 = 50;

/// A scenario.
pub struct Script {
    /// Its world.
    pub world: World,
}

impl Script {
    /// A cluster of so many nodes on a LAN, in which nothing breaks and nobody writes but by the script.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        let knobs =
            Knobs { user_every_ms: 0, disk_us: 2_000, pull_ms: 50, tenure_ms: 600_000, ..Knobs::calm(1, nodes) };
        let mut script = Script { world: World::new(knobs, false) };
        script.pass(FORM_MS);
        script.world.after(0, Event::Look);
        script
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// When something is broken meanwhile.
    pub fn pass(&mut self, ms: u64) {
        let until = self.world.now_us + ms * 1000;
        self.world.run_to(until);
        if let Some(violation) = &self.world.violation {
            let last: Vec<String> = self.world.trace.last().map(ToString::to_string).collect();
            panic!("{}\nbroken: {}: {}", last.join("\n"), violation.check, violation.what);
        }
    }

    /// Lets time pass until something is so; how long it took, in milliseconds.
    ///
    /// # Panics
    /// When it is not so after `limit_ms`, or something is broken.
    pub fn until(&mut self, what: &str, limit_ms: u64, is_so: impl Fn(&World) -> bool) -> u64 {
        let began_us = self.world.now_us;
        while !is_so(&self.world) {
            let ms = (self.world.now_us - began_us) / 1000;
            assert!(ms < limit_ms, "{what}: not so after {ms} ms; {:?}", checks::unsettled(&self.world));
            self.pass(ASK_MS);
        }
        (self.world.now_us - began_us) / 1000
    }

    /// Mends everything and waits until all that must hold in the end does, and stays so.
    ///
    /// # Panics
    /// When it does not in three minutes, or something is broken.
    pub fn settles(&mut self) {
        self.world.busy = false;
        faults::mend(&mut self.world);
        let began_us = self.world.now_us;
        let mut calm: Option<Calm> = None;
        while calm.as_ref().is_none_or(|calm| self.world.now_us < calm.since_us() + 3_000_000) {
            self.pass(500);
            checks::mended(&mut self.world);
            let unquiet = calm.as_ref().and_then(|calm| calm.broken(&self.world));
            let amiss = checks::unsettled(&self.world).map(|amiss| amiss.what).or(unquiet);
            let late = self.world.now_us > began_us + SETTLE_MS * 1000;
            assert!(!late || amiss.is_none(), "not settled: {amiss:?}");
            calm = if amiss.is_some() { None } else { calm.or_else(|| Some(Calm::now(&self.world))) };
        }
        assert_eq!(checks::broken(&self.world), None);
        self.world.busy = true;
    }

    /// Cuts all ways between two groups of hosts.
    pub fn cut(&mut self, one: &[usize], other: &[usize]) {
        for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
            self.world.cut(a, b);
            self.world.cut(b, a);
        }
    }

    /// A daemon.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn node(&self, host: usize) -> &Node {
        let node = self.world.hosts[host].node.as_ref();
        node.unwrap_or_else(|| panic!("h{host} does not run"))
    }

    /// The host that leads in the eyes of another.
    #[must_use]
    pub fn leader(&self, host: usize) -> Option<usize> {
        self.world.host_of(self.node(host).leadership().leader.as_ref()?)
    }

    /// A user writes at a peer.
    pub fn write(&mut self, peer: usize, op: WriteOp) -> RequestId {
        workload::write(&mut self.world, peer, op)
    }

    /// A user creates or changes a Deployment in the namespace "default"; its key.
    pub fn deploy(&mut self, peer: usize, name: &str, replicas: i64, version: u32, policy: &str) -> ObjectKey {
        let owner = NameKey::root(&Kind::new("Namespace"), "default").life(1);
        let name = owner.name_of_child(&Kind::new("Deployment.apps"), name);
        let op = workload::deployment(&self.world, peer, name.clone(), &manifest(replicas, version, policy));
        self.write(peer, op);
        let key = workload::current(&self.world, peer, &name);
        key.unwrap_or_else(|| panic!("h{peer} did not take {name}"))
    }

    /// A user sets one value of a ConfigMap in the namespace "default".
    pub fn configure(&mut self, peer: usize, name: &str, key: &str, value: i64) -> RequestId {
        let owner = NameKey::root(&Kind::new("Namespace"), "default").life(1);
        let name = owner.name_of_child(&Kind::new("ConfigMap"), name);
        let edits = vec![Edit::set(&format!("data.{key}"), Scalar::Int(value))];
        let op = match workload::current(&self.world, peer, &name) {
            Some(key) => WriteOp::Edit { key, edits, if_heads: None },
            None => WriteOp::Create { name, edits },
        };
        self.write(peer, op)
    }

    /// What a peer shows of a ConfigMap's value.
    #[must_use]
    pub fn configured(&self, peer: usize, name: &str, key: &str) -> Option<i64> {
        let owner = NameKey::root(&Kind::new("Namespace"), "default").life(1);
        let name = owner.name_of_child(&Kind::new("ConfigMap"), name);
        let store = self.node(peer).store();
        store.object(&store.current_life(&name)?)?.get(&format!("data.{key}"))?.as_int()
    }

    /// What the user was told of a write.
    #[must_use]
    pub fn answer(&self, id: RequestId) -> Option<&Answer> {
        self.world.oracle.all().find(|(asked, _)| **asked == id).map(|(_, asked)| &asked.answer)
    }

    /// On which hosts a workload's containers run, a host for each.
    #[must_use]
    pub fn places(&self, workload: &ObjectKey) -> Vec<usize> {
        let within = format!("{workload}/");
        let on = |host: &crate::host::Host| {
            host.engine.running().filter(|info| info.slot.starts_with(&within)).map(|_| host.number).collect::<Vec<_>>()
        };
        self.world.hosts.iter().flat_map(on).collect()
    }

    /// Waits until as many containers of a workload run as it asks for; where.
    ///
    /// # Panics
    /// When they do not in half a minute.
    pub fn runs(&mut self, workload: &ObjectKey, replicas: usize) -> Vec<usize> {
        let within = format!("{workload}/");
        let count = |world: &World| {
            let all = world.hosts.iter().flat_map(|host| host.engine.running());
            all.filter(|info| info.slot.starts_with(&within)).count()
        };
        self.until(&format!("{replicas} of {workload} run"), 30_000, |world| count(world) == replicas);
        self.places(workload)
    }

    /// Whether a host belongs to the cluster, as its user sees it.
    #[must_use]
    pub fn standing(&self, host: usize) -> Standing {
        self.world.hosts[host].standing
    }
}
