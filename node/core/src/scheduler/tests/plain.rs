//! The scheduler looks at few nodes for each pod; a plain rule looks at all. Both choose alike.

use std::cmp::Reverse;

use proptest::prelude::*;
use proptest::sample::Index;
use skein_crdt_state::{ObjectState, WriteId};

use super::super::{Leaving, NodeRoom, filter, images::Wanted, score, takes_room};
use super::*;
use crate::model::workload::{DeploymentSpec, ReplicaSetSpec};
use crate::status::{Phase, PodStatus};
use crate::view::{DeploymentView, PodView, ReplicaSetView, SlotView};

/// How many Deployments there are, each with two ReplicaSets; and one ReplicaSet that nothing owns.
const DEPLOYMENTS: usize = 2;
const SETS: usize = 2 * DEPLOYMENTS + 1;

/// A pod that is there: of which ReplicaSet, where, whether it has ended and whether it leaves.
#[derive(Debug, Clone)]
struct There {
    set: usize,
    node: Index,
    ended: bool,
    leaves: bool,
}

/// A pod to place: of which ReplicaSet, and which node is better avoided.
#[derive(Debug, Clone)]
struct Wish {
    set: usize,
    avoid: Option<Index>,
}

fn nodes() -> impl Strategy<Value = Vec<NodeView>> {
    let one = (0..8_u64, 1..6_u32, any::<u8>(), 0..3_usize);
    prop::collection::vec(one, 1..12).prop_map(|nodes| {
        let made = nodes.into_iter().zip(0..).map(|((cores, max_pods, bits, taint), n)| {
            let mut node = node(n);
            let capacity = Arc::make_mut(&mut node.capacity);
            (capacity.cpu_millis, capacity.max_pods) = (cores * 500, max_pods);
            capacity.ready = bits % 16 != 1;
            (node.lost, node.unschedulable) = (bits % 16 == 2, bits % 16 == 3);
            let effect = ["NoSchedule", "PreferNoSchedule", "NoExecute"][taint];
            if bits & 32 > 0 {
                let taints = Taint::list(&json!([{"key": "a", "effect": effect}]));
                node.taints = taints.into_iter().map(|taint| (taint, Instant::ZERO)).collect();
            }
            if bits & 64 > 0 {
                node.labels = Arc::new([("disk".into(), "ssd".into())].into());
            }
            if bits & 128 > 0 {
                node.images = Images::of(&[("i:latest".to_owned(), u64::from(bits) << 22)].into());
            }
            node
        });
        made.collect()
    })
}

/// What the pods of a ReplicaSet ask for.
fn needs(set: usize) -> PodNeeds {
    let port = json!([{"containerPort": 80, "hostPort": 80}]);
    match set {
        0 => disk("ssd", false),
        1 => asks(json!({"cpu": "400m", "memory": "1Gi"})),
        2 => pod(json!({"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "a", "operator": "Exists"}]})),
        3 => pod(json!({"containers": [{"name": "a", "image": "i", "ports": port}]})),
        _ => pod(json!({"tolerations": [{"key": "a", "effect": "NoSchedule"}]})),
    }
}

fn deployment(n: usize) -> ObjectKey {
    ObjectKey::root(&Kind::new("Namespace"), "a", 1).child(&Kind::new("Deployment.apps"), &format!("d{n}"), 1)
}

/// The keys of a ReplicaSet and of its workload.
fn keys(set: usize) -> (ObjectKey, ObjectKey) {
    if set == SETS - 1 {
        return (group("alone"), group("alone"));
    }
    let owner = deployment(set / 2);
    (owner.child(&Kind::new("ReplicaSet.apps"), &format!("s{}", set % 2), 1), owner)
}

fn pod_view(n: usize, node: NodeId, ended: bool) -> PodView {
    let status = PodStatus { phase: Phase::Failed, ..PodStatus::default() };
    PodView {
        node,
        write: WriteId([u8::try_from(n).unwrap(); 32]),
        uid: n.to_string().into(),
        claimed: false,
        status: ended.then(|| Arc::new(status)),
        first_seen: Instant::ZERO,
        ready_since: None,
    }
}

/// A view in which these pods are on these nodes.
fn view_of(nodes: Vec<NodeView>, there: &[There]) -> View {
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.id).collect();
    let mut view = view(nodes);
    let mut sets: Vec<ReplicaSetView> = (0..SETS)
        .map(|set| {
            let key = keys(set).0;
            let mut spec = ReplicaSetSpec::of(&ObjectState::empty(key.clone()));
            spec.template.needs = needs(set);
            ReplicaSetView { key, spec: spec.into(), slots: Vec::new() }
        })
        .collect();
    for (n, there) in there.iter().enumerate() {
        let (node, set) = (*there.node.get(&ids), &mut sets[there.set]);
        let pod = pod_view(n, node, there.ended);
        if takes_room(&pod) {
            view.nodes.get_mut(&node).unwrap().used.add(&set.spec.template.needs);
        }
        let key = set.key.child(&Kind::new("Slot.skein.dev"), &n.to_string(), 1);
        let number = u32::try_from(n).unwrap();
        set.slots.push(SlotView { key, number, pod: Some(pod), value: None, sole: None, not_before: None });
    }
    view.replica_sets.push(sets.pop().unwrap().into());
    for n in 0..DEPLOYMENTS {
        let key = deployment(n);
        let spec = DeploymentSpec::of(&ObjectState::empty(key.clone())).into();
        let (current, replica_sets) = (sets[0].key.clone(), sets.drain(..2).collect());
        view.deployments.push(DeploymentView { key, spec, current, replica_sets }.into());
    }
    view
}

/// Looks at all nodes and all pods, each as (ReplicaSet, node), for one more pod: its node.
fn plainly(view: &View, placed: &[(usize, NodeId)], set: usize, name: &str, avoid: Option<NodeId>) -> Option<NodeId> {
    let needs = needs(set);
    let wanted = Wanted::of(&needs.images);
    let rank = |node: &NodeView| {
        let on = || placed.iter().filter(|(_, on)| *on == node.id).map(|(set, _)| *set);
        let mut used = Used::default();
        on().for_each(|set| used.add(&super::plain::needs(set)));
        let room = NodeRoom::new(node, used);
        if filter::refusal(&room, &needs).is_some() {
            return None;
        }
        let of_group = on().filter(|other| *other == set).count();
        let of_workload = on().filter(|other| keys(*other).1 == keys(set).1).count();
        let count = |count: usize| u32::try_from(count).unwrap();
        let standing = score::standing(&room, &needs, &wanted, count(of_group), count(of_workload));
        let tie_break = score::tie_break(score::seed(name.as_bytes()), score::seed(&node.id.0));
        Some(((avoid != Some(node.id), Reverse(standing), tie_break), node.id))
    };
    view.nodes.values().filter_map(rank).max_by(|a, b| a.0.cmp(&b.0)).map(|(_, id)| id)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_pod_goes_where_a_look_at_all_nodes_would_put_it(
        nodes in nodes(),
        there in prop::collection::vec((0..SETS, any::<Index>(), any::<bool>(), any::<bool>()), 0..24),
        wishes in prop::collection::vec((0..SETS, prop::option::of(any::<Index>())), 1..40),
        in_order in any::<bool>(),
    ) {
        let there: Vec<There> =
            there.into_iter().map(|(set, node, ended, leaves)| There { set, node, ended, leaves }).collect();
        let mut wishes: Vec<Wish> = wishes.into_iter().map(|(set, avoid)| Wish { set, avoid }).collect();
        if in_order {
            wishes.sort_by_key(|wish| wish.set);
        }
        let ids: Vec<NodeId> = nodes.iter().map(|node| node.id).collect();
        let view = view_of(nodes, &there);
        let (all_needs, all_keys): (Vec<PodNeeds>, Vec<_>) = (0..SETS).map(|set| (needs(set), keys(set))).unzip();
        let taking = there.iter().filter(|there| !there.ended);
        let leaving = taking.clone().filter(|there| there.leaves).map(|there| Leaving {
            node: *there.node.get(&ids),
            needs: &all_needs[there.set],
            group: &all_keys[there.set].0,
            workload: &all_keys[there.set].1,
        });
        let mut room = Room::new(&view, leaving.collect());
        let mut placed: Vec<(usize, NodeId)> =
            taking.filter(|there| !there.leaves).map(|there| (there.set, *there.node.get(&ids))).collect();
        let mut refused = BTreeSet::new();
        for (n, Wish { set, avoid }) in wishes.into_iter().enumerate() {
            let (name, avoid) = (format!("pod-{n}"), avoid.map(|avoid| *avoid.get(&ids)));
            let (group, workload) = &all_keys[set];
            let found = room.place(&Ask { name: &name, needs: &all_needs[set], group, workload, avoid });
            let plain = plainly(&view, &placed, set, &name, avoid);
            prop_assert_eq!(found, plain);
            prop_assert!(!refused.contains(&set) || found.is_none(), "room only shrinks");
            match found {
                Some(node) => placed.push((set, node)),
                None => drop(refused.insert(set)),
            }
        }
    }
}
