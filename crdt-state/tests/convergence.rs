//! Whatever is written where, in any order, with any loss, doubling and partition: all replicas end in the same state, what
//! was written is kept or reported, and what was deleted stays deleted.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use skein_crdt_state::exchange::Exchange;
use skein_crdt_state::keyring::{DataKey, EpochId, Keyring};
use skein_crdt_state::memo::MemoLimits;
use skein_crdt_state::{
    ClusterId, Edit, Envelope, Identity, Kind, Memo, NameKey, ObjectKey, Received, Scalar, Store, WriteId, members,
};
use skein_gossip::{Instant, Keypair, Now};

const REPLICAS: usize = 4;
const NONCE: [u8; 32] = [5; 32];

#[derive(Debug, Clone, Copy)]
enum Op {
    /// Replica, name, path, value.
    Edit(usize, u8, u8, i64),
    /// Replica, name.
    Delete(usize, u8),
    /// Replica, name of the namespace.
    DeleteNamespace(usize),
    /// Replica, section, value.
    Report(usize, u8, u8),
    /// From, to, which envelope: a single push that may come late, doubled and out of order.
    Push(usize, usize, usize),
    /// Both ends of one exchange, cut off after so many messages.
    Exchange(usize, usize, usize),
    /// Replica: a restart from what its disk holds.
    Restart(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let replica = 0..REPLICAS;
    let op = prop_oneof![
        8 => (replica.clone(), 0..3u8, 0..3u8, any::<i64>()).prop_map(|(r, n, p, v)| Op::Edit(r, n, p, v)),
        2 => (replica.clone(), 0..3u8).prop_map(|(r, n)| Op::Delete(r, n)),
        1 => replica.clone().prop_map(Op::DeleteNamespace),
        2 => (replica.clone(), 0..2u8, any::<u8>()).prop_map(|(r, s, v)| Op::Report(r, s, v)),
        6 => (replica.clone(), replica.clone(), any::<usize>()).prop_map(|(a, b, i)| Op::Push(a, b, i)),
        3 => (replica.clone(), replica.clone(), 0..12usize).prop_map(|(a, b, n)| Op::Exchange(a, b, n)),
        1 => replica.prop_map(Op::Restart),
    ];
    prop::collection::vec(op, 1..60)
}

type Disk = BTreeMap<(String, Vec<u8>), Vec<u8>>;

struct Replica {
    store: Store,
    disk: Disk,
    said: Vec<Arc<Envelope>>,
    starts: u64,
    wall_ms: u64,
}

struct World {
    replicas: Vec<Replica>,
    cluster: ClusterId,
    memo: Memo,
    clock: u64,
    /// What was written: object, path, by which change.
    written: Vec<(ObjectKey, String, WriteId)>,
    deleted: BTreeSet<ObjectKey>,
}

fn keys(replica: usize) -> Keypair {
    Keypair::from_secret([replica as u8 + 1; 32])
}

fn identity(cluster: ClusterId, replica: usize, start: u64) -> Identity {
    let keyring = Keyring::new(EpochId([1; 16]), DataKey::new([1; 32]));
    Identity {
        keys: keys(replica),
        cluster,
        boot: start + 1,
        nonce: start * 100 + replica as u64,
        layout_version: 1,
        keyring,
    }
}

impl World {
    fn new() -> Self {
        let cluster = members::cluster_id(&keys(0).node_id(), &NONCE);
        let memo = Memo::new(MemoLimits::SIMULATOR);
        let replica = |r| Replica {
            store: Store::new(identity(cluster, r, 0), memo.clone()),
            disk: Disk::new(),
            said: Vec::new(),
            starts: 0,
            // Clocks start up to ten minutes apart.
            wall_ms: 1_700_000_000_000 + 200_000 * r as u64,
        };
        let replicas = (0..REPLICAS).map(replica).collect();
        let mut world =
            World { replicas, cluster, memo: memo.clone(), clock: 0, written: Vec::new(), deleted: BTreeSet::new() };
        let now = world.now(0);
        let mut first = vec![world.replicas[0].store.found(now, NONCE, "n0")];
        for r in 1..REPLICAS {
            first.push(world.replicas[0].store.admit(now, keys(r).node_id(), &format!("n{r}"), [1; 32]));
        }
        let namespace = ObjectKey::root(&Kind::new("Namespace"), "a", 1);
        let created =
            world.replicas[0].store.edit(now, &namespace, &[Edit::set("spec.a", Scalar::Int(1))], "t").unwrap();
        first.extend(created);
        for r in 0..REPLICAS {
            for envelope in &first {
                let now = world.now(r);
                world.replicas[r].store.receive(now, envelope);
            }
            world.save(r);
        }
        world
    }

    fn now(&mut self, r: usize) -> Now {
        self.clock += 7;
        Now { mono: Instant(self.clock), wall_ms: self.replicas[r].wall_ms + self.clock }
    }

    fn save(&mut self, r: usize) {
        let replica = &mut self.replicas[r];
        for record in replica.store.drain_records() {
            let key = (record.table.to_owned(), record.key.to_vec());
            match record.value {
                Some(value) => drop(replica.disk.insert(key, value.to_vec())),
                None => drop(replica.disk.remove(&key)),
            }
        }
    }

    fn name(&self, r: usize, name: u8) -> Option<NameKey> {
        let namespace = NameKey::root(&Kind::new("Namespace"), "a");
        let owner = self.replicas[r].store.current_life(&namespace)?;
        Some(owner.name_of_child(&Kind::new("ConfigMap"), &format!("c{name}")))
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Edit(r, name, path, value) => self.edit(r, name, path, value),
            Op::Delete(r, name) => {
                let Some(key) = self.name(r, name).and_then(|name| self.replicas[r].store.current_life(&name)) else {
                    return;
                };
                self.delete(r, &key);
            }
            Op::DeleteNamespace(r) => {
                let namespace = NameKey::root(&Kind::new("Namespace"), "a");
                if let Some(key) = self.replicas[r].store.current_life(&namespace) {
                    self.delete(r, &key);
                }
            }
            Op::Report(r, section, value) => {
                let now = self.now(r);
                let said = self.replicas[r].store.set_report(now, &format!("s{section}"), &[value]).unwrap();
                self.replicas[r].said.extend(said);
            }
            Op::Push(from, to, which) => {
                let said = &self.replicas[from].said;
                if let Some(envelope) = said.get(which % said.len().max(1)).cloned() {
                    let now = self.now(to);
                    let received = self.replicas[to].store.receive(now, &envelope);
                    assert!(!matches!(received, Received::Refused(_)), "{received:?}");
                }
            }
            Op::Exchange(a, b, messages) => self.exchange(a, b, messages),
            Op::Restart(r) => self.restart(r),
        }
        for r in 0..REPLICAS {
            self.save(r);
        }
    }

    fn edit(&mut self, r: usize, name: u8, path: u8, value: i64) {
        let Some(name) = self.name(r, name) else { return };
        let (key, now) = (self.replicas[r].store.next_life(&name), self.now(r));
        let path = format!("data.p{path}");
        let store = &mut self.replicas[r].store;
        if let Some(envelope) = store.edit(now, &key, &[Edit::set(&path, Scalar::Int(value))], "t").unwrap().pop() {
            let write = store.object(&key).unwrap().leaf(&path).unwrap().write;
            self.written.push((key, path, write));
            self.replicas[r].said.push(envelope);
        }
    }

    fn delete(&mut self, r: usize, key: &ObjectKey) {
        let now = self.now(r);
        let envelope = self.replicas[r].store.delete(now, key).unwrap();
        self.replicas[r].said.push(envelope);
        self.deleted.insert(key.clone());
        assert!(!self.replicas[r].store.is_live(key));
    }

    /// A restart loses what was not saved, which is nothing here, and gets a new boot and actor.
    fn restart(&mut self, r: usize) {
        self.replicas[r].starts += 1;
        let store = Store::new(identity(self.cluster, r, self.replicas[r].starts), self.memo.clone());
        self.replicas[r].store = store;
        let rows: Vec<_> = self.replicas[r].disk.iter().map(|((t, k), v)| (t.clone(), k.clone(), v.clone())).collect();
        let now = self.now(r);
        let damaged = self.replicas[r].store.restore(now, rows);
        assert_eq!(damaged, []);
    }

    /// Plays an exchange that `a` opens, cut off after so many messages.
    fn exchange(&mut self, a: usize, b: usize, limit: usize) {
        let mut queue = std::collections::VecDeque::from([(b, a, self.replicas[a].store.exchange_root())]);
        let mut count = 0;
        while let Some((to, from, message)) = queue.pop_front() {
            count += 1;
            if count > limit {
                break;
            }
            assert!(count < 500, "an exchange does not end");
            let now = self.now(to);
            let wire: Exchange = message;
            let outcome = self.replicas[to].store.exchange(now, wire);
            assert_eq!(outcome.refused, []);
            queue.extend(outcome.replies.into_iter().map(|reply| (from, to, reply)));
        }
    }

    fn converge(&mut self) {
        for _ in 0..6 {
            for a in 0..REPLICAS {
                for b in (0..REPLICAS).filter(|b| *b != a) {
                    self.exchange(a, b, usize::MAX);
                }
            }
        }
    }
}

fn visible_or_kept(store: &Store, key: &ObjectKey, path: &str, write: &WriteId) -> bool {
    let object = store.object(key).unwrap();
    let Some(change) = object.changes().get(write) else { return false };
    let Some(leaf) = object.leaf(path) else { return false };
    let shown = leaf.write == *write || leaf.others.iter().any(|other| other.write == *write);
    // Superseded: the value that is shown was written by somebody who had seen this one.
    let since: BTreeSet<WriteId> = object.changes_since(&[change.id]).iter().map(|change| change.id).collect();
    let after = |id: &WriteId| {
        let mut open = vec![*id];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if id == *write {
                return true;
            }
            if seen.insert(id) {
                open.extend(object.changes().get(&id).into_iter().flat_map(|change| change.deps.clone()));
            }
        }
        false
    };
    shown || (since.contains(&leaf.write) && after(&leaf.write)) || leaf.others.iter().any(|other| after(&other.write))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn all_replicas_end_in_the_same_state_and_nothing_is_lost_or_returns(ops in ops()) {
        let mut world = World::new();
        for op in ops {
            world.step(op);
        }
        world.converge();
        let first = &world.replicas[0].store;
        for replica in &world.replicas[1..] {
            prop_assert_eq!(first.state_hash(), replica.store.state_hash());
            prop_assert_eq!(first.reported().root(), replica.store.reported().root());
            for kind in ["Namespace", "ConfigMap"].map(Kind::new) {
                let shown = |store: &Store| store.live(&kind).map(|o| (o.key().clone(), o.leaves().clone())).collect::<Vec<_>>();
                prop_assert_eq!(shown(first), shown(&replica.store));
            }
        }
        for key in &world.deleted {
            prop_assert!(!first.is_live(key), "{} returned", key);
        }
        for (key, path, write) in &world.written {
            if first.is_live(key) {
                prop_assert!(visible_or_kept(first, key, path, write), "{} {} was lost", key, path);
            } else {
                // Only what somebody deleted, or an owner of it, is gone.
                let over = key.lineage().any(|link| (1..=u32::MAX).take(64).any(|k| {
                    k >= link.incarnation() && world.deleted.contains(&link.name_key().life(k))
                }));
                prop_assert!(over, "{} is gone though nobody deleted it", key);
            }
        }
        // One more edit shows in the hash.
        let before = first.state_hash();
        world.step(Op::Edit(1, 7, 0, 1));
        world.step(Op::Edit(1, 8, 0, 1));
        if world.name(1, 7).is_some() {
            prop_assert_ne!(before, world.replicas[1].store.state_hash());
        }
    }
}
