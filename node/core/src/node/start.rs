//! Starting: from settings and from what the disk holds to a node that runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::RngExt;
use skein_crdt_state::store::Damaged;
use skein_crdt_state::{ClusterId, Edit, Identity, Kind, NameKey, Scalar, Store};
use skein_gossip::membership::{Membership, MembershipConfig};
use skein_gossip::planted::{self, Bug};
use skein_gossip::{Now, Timers};

use super::admission::check_name;
use super::catch_up::HEARS_AGAIN;
use super::meta::{self, META, Meta};
use super::{Effect, Node, NodeConfig, Peers, durability, rng_for};
use crate::agent::{Agent, AgentConfig};
use crate::controllers::Notes;
use crate::election::{Election, ElectionConfig, VoteRecord};
use crate::project::{Projection, Sources};
use crate::request::LOST_STATE;
use crate::slot::Claims;
use crate::status::{Events, NodeStatus};
use crate::view::ViewCache;

/// The namespaces that every cluster has from the start.
const FIRST_NAMESPACES: [&str; 2] = ["default", "kube-system"];

/// Why a node cannot start on a disk. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The disk belongs to another cluster.
    #[error(
        "the data directory belongs to cluster {found}, not to {wanted}; use another directory, or --discard to give it up"
    )]
    OtherCluster {
        /// What the disk says.
        found: String,
        /// What the settings say.
        wanted: ClusterId,
    },
    /// The disk was written by a version that this one does not read.
    #[error(
        "the data directory's \"{0}\" was written by a version of skein that this one does not read; upgrade skein"
    )]
    Unreadable(String),
    /// The node's name is not one that a node can have.
    #[error("{0}")]
    Name(String),
}

pub(super) type Row = (String, Vec<u8>, Vec<u8>);

pub(super) fn start(config: NodeConfig, now: Now, records: Vec<Row>) -> Result<(Node, Vec<Damaged>), StartError> {
    check_name(&config.name).map_err(|error| StartError::Name(error.to_string()))?;
    let (meta, said): (Vec<Row>, Vec<Row>) = records.into_iter().partition(|(table, _, _)| table == META);
    let meta = Meta::read(meta);
    meta.check_cluster(config.cluster)?;
    let identity = Identity {
        keys: config.keys.clone(),
        cluster: config.cluster,
        boot: meta.next_boot(now, config.seed)?,
        nonce: config.seed,
        layout_version: config.layout.version(),
        keyring: config.keyring.clone(),
    };
    let mut store = Store::new(identity, config.memo.clone());
    let mut damaged = store.restore(now, said);
    let mut vote = meta.vote()?;
    // Nobody else can have seen a vote of the only member. Who has founded and knows nobody has lost its disk.
    let me = config.keys.node_id();
    let founds = meta.is_founders_first() || (planted::is(Bug::FoundsAgain) && store.members().active().is_empty());
    let is_alone = founds || (!meta.lacks_state() && store.members().active().iter().eq([&me]));
    if config.found.is_some() && is_alone && vote.unseated {
        vote = VoteRecord::founder(me);
    }
    let knows_nobody = store.members().active().is_empty() && !store.members().is_known(&me);
    let lacks_state = meta.lacks_state() || (knows_nobody && (config.found.is_none() || vote.unseated));
    damaged.extend(meta.damaged());
    let boot = store.boot();
    let mut node = assemble(config, store, vote, boot);
    node.catch_up.lacks_state = lacks_state;
    if lacks_state {
        node.status.disk = HEARS_AGAIN.to_owned();
    }
    node.first_records(boot);
    // Before anything that is known otherwise, such as by a copy, is written in its place.
    node.set_aside(&damaged);
    node.first_words(now);
    node.name_damage(now, &damaged);
    node.settle(now);
    Ok((node, damaged))
}

/// Whether pods can speak to this node's API: without an authority they could not know it.
pub(super) fn has_api(config: &NodeConfig) -> bool {
    !config.ca_certificate.is_empty()
}

fn assemble(config: NodeConfig, store: Store, vote: VoteRecord, boot: u64) -> Node {
    let me = config.keys.node_id();
    let seed = config.seed;
    let election_config = ElectionConfig { tenure: config.tenure, ..ElectionConfig::default() };
    let agent_config = AgentConfig {
        me,
        cluster: config.cluster,
        node_name: config.name.clone(),
        node_address: config.address.clone(),
        api: config.api_address.parse().ok().filter(|_| has_api(&config)),
    };
    let status = NodeStatus {
        name: config.name.clone(),
        address: config.address.clone(),
        peer_addresses: config.peer_addresses.clone(),
        api_address: config.api_address.clone(),
        version: config.version.clone(),
        labels: config.labels.clone(),
        ..NodeStatus::default()
    };
    Node {
        me,
        rng: rng_for(seed, 1),
        timers: Timers::default(),
        membership: Membership::new(MembershipConfig::default(), me, boot, rng_for(seed, 2)),
        election: Election::new(election_config, me, vote, rng_for(seed, 3)),
        agent: Agent::new(agent_config, rng_for(seed, 4)),
        projection: Projection::with_built_in(config.built_in.clone()),
        view_cache: ViewCache::default(),
        notes: Notes::default(),
        peers: Peers::default(),
        claims: Claims::default(),
        claims_by_node: BTreeMap::new(),
        status,
        events: Events::default(),
        events_unsaid: false,
        retiring: None,
        said_unschedulable: BTreeMap::new(),
        durable: durability::Pending::new(rng_for(seed ^ boot, 9).random()),
        decisions: super::decision::Decisions::new(rng_for(seed ^ boot, 5).random()),
        pods: super::pods::PodIndex::default(),
        catch_up: super::catch_up::CatchUp::default(),
        handovers: BTreeMap::new(),
        rebirths: BTreeMap::new(),
        reach: super::reach::Reach::default(),
        leaving: None,
        departure_told: 0,
        inheritance: super::departure::Inheritance::default(),
        known_elsewhere: BTreeSet::new(),
        left: false,
        outbox: super::disk::Outbox::default(),
        election_batches: BTreeMap::new(),
        effects: VecDeque::new(),
        reconcile_wanted: false,
        known_members: BTreeSet::new(),
        reports: super::spread::UnpushedReports::default(),
        link_exchanges: 0,
        introductions: super::introduction::Introductions::default(),
        store,
        config,
    }
}

impl Node {
    fn first_records(&mut self, boot: u64) {
        self.outbox.add([meta::boot_row(boot), meta::cluster_row(self.config.cluster)]);
        self.outbox.add([meta::vote_row(self.election.record())]);
        if !self.has_state() {
            self.outbox.add([meta::lost_row(true)]);
        }
    }

    /// What a node does before its first input: a founder founds, everybody takes up what it knows.
    fn first_words(&mut self, now: Now) {
        let has_none = !self.store.members().is_known(&self.me) && self.has_state();
        let founds = has_none && !self.election.record().unseated;
        if let Some(nonce) = self.config.found.filter(|_| founds) {
            let name = self.config.name.clone();
            self.store.found(now, nonce, &name);
            for namespace in FIRST_NAMESPACES {
                let name = NameKey::root(&Kind::new("Namespace"), namespace);
                let label = r#"metadata.labels["kubernetes.io/metadata.name"]"#;
                let edits = [
                    Edit::set(label, Scalar::str(namespace)),
                    Edit::set("spec.finalizers", Scalar::Json(r#"["kubernetes"]"#.into())),
                ];
                // A new store refuses no namespace.
                let _ = self.store.edit(now, &name.life(1), &edits, "skein\tsystem:founder");
            }
        }
        self.status.started_at_ms = now.wall_ms;
        let before = self.store.report(&self.me, "node");
        let before = before.and_then(|report| postcard::from_bytes::<NodeStatus>(&report.body).ok());
        self.status.claims = before.map(|before| before.claims).unwrap_or_default();
        if let Some(report) = self.store.report(&self.me, "events") {
            self.events = postcard::from_bytes(&report.body).unwrap_or_default();
        }
        if let Some(why) = self.store.members().get(&self.me).and_then(|member| member.ended) {
            self.left = true;
            let text = self.why_out(&why);
            self.effects.push_back(Effect::Notice(text));
        }
        if !self.has_state() {
            self.effects.push_back(Effect::Notice(LOST_STATE.to_owned()));
        }
        self.effects.push_back(Effect::Rotations(self.store.rotations()));
        self.members_changed(now);
        self.restore_pods(now);
        if self.left {
            self.agent.handle(now, crate::agent::Input::Leave);
        }
        self.begin_catching_up(now);
        if self.config.serves_api {
            let ca_certificate = self.config.ca_certificate.as_str();
            let sources =
                Sources { store: &self.store, alive: &self.peers.alive, wall_ms: now.wall_ms, ca_certificate };
            // Nobody listens yet.
            self.projection.rebuild(&sources);
        }
        self.set_exchange_timer(now);
        self.settle(now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::desk::{Host, TOKEN, config, keys, now};
    use super::*;
    use crate::request::{WriteError, WriteOp};
    use skein_crdt_state::exchange::{Exchange, Outcome, Table};
    use skein_crdt_state::store::tables;

    type Disk = BTreeMap<(String, Vec<u8>), Vec<u8>>;

    /// Starts on a disk, and writes to it what the start asks for.
    fn start_on(disk: &mut Disk) -> Vec<Damaged> {
        start(disk).1
    }

    fn start(disk: &mut Disk) -> (Node, Vec<Damaged>) {
        let rows = disk.iter().map(|((table, key), value)| (table.clone(), key.clone(), value.clone())).collect();
        let (mut node, damaged) = Node::start(config(0), now(0), rows).unwrap();
        write(&mut node, disk);
        (node, damaged)
    }

    /// Writes what a node asks for.
    fn write(node: &mut Node, disk: &mut Disk) {
        while let Some(effect) = node.poll_effect() {
            let Effect::Persist { batch, records, .. } = effect else { continue };
            for record in &*records {
                let row = (record.table.to_owned(), record.key.to_vec());
                match &record.value {
                    Some(value) => drop(disk.insert(row, value.to_vec())),
                    None => drop(disk.remove(&row)),
                }
            }
            node.handle(now(0), crate::node::Input::Persisted(batch));
        }
    }

    fn founders_disk() -> Disk {
        let (table, key, value) = meta::founding_row(config(0).cluster);
        [((table, key), value)].into()
    }

    #[test]
    fn a_node_tells_nobody_how_it_is_before_the_number_of_its_start_is_on_disk() {
        let (mut node, _) = Node::start(config(0), now(0), vec![meta::founding_row(config(0).cluster)]).unwrap();
        let told = |node: &mut Node| {
            while node.poll_effect().is_some() {}
            let frame = super::super::Frame::Reports { envelopes: Vec::new(), last: true };
            node.send(super::super::desk::keys(1).node_id(), &frame, None);
            match node.poll_effect() {
                Some(Effect::Send { after, .. }) => after,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(told(&mut node), Some(1), "with its power it would be told otherwise under that number");
        node.handle(now(0), crate::node::Input::Persisted(1));
        assert_eq!(told(&mut node), None);
    }

    #[test]
    fn of_a_damaged_statement_both_copies_are_on_disk_again_after_the_start() {
        for table in [tables::MEMBERS, tables::MEMBERS_COPY] {
            let mut disk = founders_disk();
            start_on(&mut disk);
            let count = |disk: &Disk| disk.keys().filter(|(of, _)| of == table).count();
            assert_eq!(count(&disk), 1);
            disk.iter_mut().filter(|((of, _), _)| of == table).for_each(|(_, value)| value.truncate(20));
            assert_eq!(start_on(&mut disk).len(), 1);
            assert_eq!(count(&disk), 1, "{table}");
            assert_eq!(start_on(&mut disk), [], "it is sound");
        }
    }
    #[test]
    fn a_founder_founds_on_the_disk_that_was_made_for_it_and_on_no_other() {
        let mut disk = founders_disk();
        for _ in 0..2 {
            let (node, damaged) = start(&mut disk);
            assert!(node.store().members().is_active(&node.me()) && !node.has_lost_vote() && damaged.is_empty());
        }
        // What it said before it is gone, and so is what it voted for: also after another start.
        let mut empty = Disk::new();
        for _ in 0..2 {
            let (node, _) = start(&mut empty);
            assert!(!node.store().members().is_known(&node.me()) && node.has_lost_vote());
        }
        let (mut node, _) = start(&mut empty);
        let op = WriteOp::Create { name: NameKey::root(&Kind::new("Namespace"), "shop"), edits: Vec::new() };
        let request = durability::statement_write(op);
        node.handle(now(1), crate::node::Input::Write(1, Box::new(request)));
        let mut answers = std::iter::from_fn(|| node.poll_effect());
        assert!(answers.any(|effect| matches!(effect, Effect::Written(1, Err(WriteError::Lost)))));
    }

    #[test]
    fn the_only_member_whose_vote_is_damaged_has_it_again_since_nobody_else_has_seen_it() {
        let mut disk = founders_disk();
        start_on(&mut disk);
        disk.iter_mut().filter(|((_, key), _)| key == b"vote").for_each(|(_, value)| value.truncate(3));
        let (node, damaged) = start(&mut disk);
        assert_eq!(damaged.len(), 1);
        assert!(!node.has_lost_vote() && node.voters().eq([&node.me()]));
    }
    /// A peer says that it holds the same.
    fn hears_that_all_is_alike(node: &mut Node) {
        let alike = Exchange::Items { table: Table::Wanted, buckets: Vec::new(), items: Vec::new() };
        let heard = node.heard(&alike);
        node.catch_up_by(now(1), keys(1).node_id(), heard, &Outcome::default());
    }

    #[test]
    fn who_lost_its_disk_lacks_its_state_until_all_was_heard_also_after_another_start() {
        let mut founder = Host::founder(9, "member");
        let statements = founder.answer(1, "n1", TOKEN).unwrap();
        let mut disk = Disk::new();
        let (mut node, _) = start(&mut disk);
        assert!(!node.has_state());
        node.store.exchange(now(1), Exchange::Give { envelopes: statements, answer: true });
        node.members_changed(now(1));
        for _ in 0..2 {
            node.settle(now(1));
            write(&mut node, &mut disk);
            let knows_itself = node.store().members().is_active(&node.me());
            assert!(knows_itself && !node.has_state(), "it knows who there is, and no more");
            assert!(node.has_lost_vote(), "it founds nothing");
            hears_that_all_is_alike(&mut node);
            assert!(!node.has_state(), "who knows nothing either is no proof");
            (node, _) = start(&mut disk);
        }
        let namespaces =
            FIRST_NAMESPACES.map(|name| (NameKey::root(&Kind::new("Namespace"), name).life(1), Vec::new()));
        let want = Exchange::Want { objects: namespaces.into(), items: Vec::new(), last: true };
        for given in founder.node.store.exchange(now(1), want).replies {
            node.store.exchange(now(1), given);
        }
        hears_that_all_is_alike(&mut node);
        assert!(node.has_state());
        node.settle(now(1));
        write(&mut node, &mut disk);
        assert!(start(&mut disk).0.has_state());
    }
}
