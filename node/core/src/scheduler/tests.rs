//! What the scheduler promises, on views made by hand.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use skein_crdt_state::{ClusterId, Kind, ObjectKey};
use skein_gossip::{Instant, NodeId, Now};

use super::images::Images;
use super::used::Used;
use super::{Ask, Room};
use crate::model::needs::PodNeeds;
use crate::model::taint::Taint;
use crate::runtime::Capacity;
use crate::view::{NodeView, View};

mod plain;

fn node(n: u16) -> NodeView {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    NodeView {
        id: NodeId(id),
        name: format!("n{n}").into(),
        object: None,
        given_up: false,
        free_name: None,
        reported: true,
        labels: Arc::default(),
        taints: Arc::default(),
        unschedulable: false,
        observes: false,
        capacity: Capacity {
            ready: true,
            cpu_millis: 4000,
            memory_bytes: 8 << 30,
            max_pods: 110,
            ..Capacity::default()
        }
        .into(),
        images: Images::default(),
        used: Used::default(),
        engine_down_since: None,
        alive: true,
        last_contact: Instant::ZERO,
        lost: false,
    }
}

fn view(nodes: impl IntoIterator<Item = NodeView>) -> View {
    let nodes: BTreeMap<NodeId, NodeView> = nodes.into_iter().map(|node| (node.id, node)).collect();
    View {
        now: Now::default(),
        cluster: ClusterId([1; 16]),
        me: NodeId([0; 32]),
        quorate: true,
        here: nodes.len(),
        seen: nodes.len(),
        nodes,
        left: BTreeSet::new(),
        stale_nodes: Vec::new(),
        deployments: Vec::new(),
        replica_sets: Vec::new(),
        pods: Vec::new(),
        lingering: BTreeSet::new(),
        orphans: Vec::new(),
        closing: Vec::new(),
        next_orphan: None,
    }
}

fn group(name: &str) -> ObjectKey {
    ObjectKey::root(&Kind::new("Namespace"), "a", 1).child(&Kind::new("ReplicaSet.apps"), name, 1)
}

fn pod(spec: Value) -> PodNeeds {
    let mut whole = json!({"containers": [{"name": "a", "image": "i"}]});
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    PodNeeds::of(&whole)
}

fn asks(resources: Value) -> PodNeeds {
    pod(json!({"containers": [{"name": "a", "image": "i", "resources": {"requests": resources}}]}))
}

/// Places so many pods of one group; the names of the nodes, or the message of the first that was refused.
fn place(view: &View, needs: &PodNeeds, count: usize) -> Result<Vec<String>, Arc<str>> {
    let mut room = Room::new(view, Vec::new());
    place_in(&mut room, view, "web", needs, count)
}

fn place_in(
    room: &mut Room<'_>,
    view: &View,
    of: &str,
    needs: &PodNeeds,
    count: usize,
) -> Result<Vec<String>, Arc<str>> {
    let group = group(of);
    (0..count)
        .map(|n| {
            let name = format!("{group}/Slot:{n}");
            let ask = Ask { name: &name, needs, group: &group, workload: &group, avoid: None };
            room.place(&ask).map(|id| view.node_name(&id)).ok_or_else(|| room.why_not(&ask))
        })
        .collect()
}

fn message(view: &View, needs: &PodNeeds) -> String {
    place(view, needs, 1).map_or_else(|message| message.to_string(), |node| format!("placed on {node:?}"))
}

#[test]
fn pods_of_a_workload_are_spread_before_anything_else() {
    // One node has far more room, and the images; still each gets its share.
    let mut large = node(0);
    let capacity = Arc::make_mut(&mut large.capacity);
    capacity.cpu_millis = 64_000;
    capacity.memory_bytes = 1 << 40;
    large.images = Images::of(&[("i:latest".to_owned(), 1 << 31)].into());
    let view = view([large, node(1), node(2)]);
    let placed = place(&view, &pod(json!({})), 9).unwrap_or_default();
    for name in ["n0", "n1", "n2"] {
        assert_eq!(placed.iter().filter(|node| *node == name).count(), 3);
    }
    assert_eq!(placed[0], "n0", "which gets the first is decided by room and images");
}

/// An affinity to nodes with the label `disk` of that value.
fn disk(value: &str, required: bool) -> PodNeeds {
    let term = json!({"matchExpressions": [{"key": "disk", "operator": "In", "values": [value]}]});
    let nodes = if required {
        json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}})
    } else {
        json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term}]})
    };
    pod(json!({"affinity": {"nodeAffinity": nodes}}))
}

#[test]
fn pods_go_where_their_affinity_wants_them() {
    let fast = NodeView { labels: Arc::new([("disk".into(), "ssd".into())].into()), ..node(2) };
    let view = view([node(0), node(1), fast]);
    assert_eq!(place(&view, &disk("ssd", true), 3).unwrap(), ["n2"; 3]);
    let text = message(&view, &disk("tape", true));
    assert!(
        text.starts_with("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."),
        "{text}"
    );
    let placed = place(&view, &disk("ssd", false), 3).unwrap();
    assert_eq!(placed[0], "n2", "the first of them goes where they would rather be");
    assert_eq!(placed.iter().collect::<BTreeSet<_>>().len(), 3, "and they are spread all the same");
    assert_eq!(place(&view, &disk("tape", false), 3).unwrap().len(), 3);
}

#[test]
fn single_pods_of_many_workloads_are_spread_by_room() {
    let view = view((0..4).map(node));
    let mut room = Room::new(&view, Vec::new());
    let needs = asks(json!({"cpu": "900m", "memory": "1Gi"}));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..16 {
        for node in place_in(&mut room, &view, &format!("w{n}"), &needs, 1).unwrap_or_default() {
            *counts.entry(node).or_default() += 1;
        }
    }
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [4; 4]);
}

#[test]
fn what_was_placed_in_the_same_plan_takes_room() {
    let view = view([node(0), node(1)]);
    let placed = place(&view, &asks(json!({"cpu": "3"})), 3);
    let text = placed.unwrap_err();
    assert!(text.starts_with("0/2 nodes are available: 2 Insufficient cpu."), "{text}");
}

#[test]
fn each_refusal_is_said_in_kubernetes_words_and_with_its_reason() {
    let tainted = |effect: &str| {
        let taints = Taint::list(&json!([{"key": "a", "value": "b", "effect": effect}]));
        NodeView { taints: taints.into_iter().map(|taint| (taint, Instant::ZERO)).collect(), ..node(1) }
    };
    let lost = NodeView { lost: true, alive: false, ..node(1) };
    let mut silent = node(1);
    let capacity = Arc::make_mut(&mut silent.capacity);
    capacity.ready = false;
    capacity.message = "connection refused".into();
    let mut full = node(1);
    Arc::make_mut(&mut full.capacity).max_pods = 0;
    let cordoned = NodeView { unschedulable: true, ..node(1) };
    let cases: Vec<(NodeView, PodNeeds, &str, &str)> = vec![
        (lost, pod(json!({})), "node(s) had untolerated taint {node.kubernetes.io/unreachable: }", "it is unreachable"),
        (
            silent,
            pod(json!({})),
            "node(s) had untolerated taint {node.kubernetes.io/not-ready: }",
            "connection refused",
        ),
        (cordoned, pod(json!({})), "node(s) were unschedulable", "cordoned"),
        (tainted("NoSchedule"), pod(json!({})), "node(s) had untolerated taint {a: b}", "does not tolerate"),
        (tainted("NoExecute"), pod(json!({})), "node(s) had untolerated taint {a: b}", "does not tolerate"),
        (full, pod(json!({})), "Too many pods", "0 of at most 0"),
        (
            node(1),
            pod(json!({"nodeSelector": {"disk": "ssd"}})),
            "node(s) didn't match Pod's node affinity/selector",
            "disk=ssd",
        ),
        (node(1), pod(json!({"nodeName": "n7"})), "node(s) didn't match the requested node name", "n7"),
        (
            node(1),
            asks(json!({"memory": "9Gi"})),
            "Insufficient memory",
            "9216Mi memory asked for, 8192Mi of 8192Mi free",
        ),
        (node(1), asks(json!({"vendor.example/gpu": 1})), "Insufficient vendor.example/gpu", "no vendor.example/gpu"),
    ];
    for (node, needs, reason, detail) in cases {
        let text = message(&view([node]), &needs);
        assert!(text.starts_with(&format!("0/1 nodes are available: 1 {reason}.")), "{text}");
        assert!(text.contains(detail), "{text}");
    }
    assert_eq!(message(&view([]), &pod(json!({}))), "0/0 nodes are available: no node has joined.");
}

#[test]
fn equal_reasons_are_counted_together() {
    let cordoned = |n| NodeView { unschedulable: true, ..node(n) };
    let text = message(&view([node(0), cordoned(1), cordoned(2), node(3), node(4)]), &asks(json!({"cpu": "5"})));
    assert!(text.starts_with("0/5 nodes are available: 2 node(s) were unschedulable, 3 Insufficient cpu."), "{text}");
}

#[test]
fn tolerations_selectors_and_names_let_pods_in() {
    let mut special = node(1);
    special.labels = Arc::new([("disk".into(), "ssd".into())].into());
    special.taints =
        Taint::list(&json!([{"key": "a", "effect": "NoSchedule"}])).into_iter().map(|t| (t, Instant::ZERO)).collect();
    let cordoned = NodeView { unschedulable: true, ..node(2) };
    let view = view([node(0), special, cordoned]);
    let tolerant = json!({"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "a", "operator": "Exists"}]});
    assert_eq!(place(&view, &pod(tolerant), 1).unwrap_or_default(), ["n1"]);
    assert_eq!(place(&view, &pod(json!({"nodeName": "n2"})), 1).unwrap_or_default(), ["n2"]);
}

#[test]
fn an_observer_gets_no_pod_whatever_the_pod_asks_for() {
    let observer = NodeView { observes: true, labels: Arc::new([("disk".into(), "ssd".into())].into()), ..node(1) };
    let view = view([node(0), observer]);
    assert_eq!(place(&view, &pod(json!({})), 3).unwrap_or_default(), ["n0", "n0", "n0"]);
    for asked in [json!({"nodeName": "n1"}), json!({"nodeSelector": {"disk": "ssd"}})] {
        let asked = pod(asked);
        assert!(place(&view, &asked, 1).is_err());
        assert!(Room::new(&view, Vec::new()).explain(&asked).contains("1 node(s) were observers"));
    }
}

#[test]
fn a_node_that_is_better_avoided_is_the_last_choice() {
    let mut worse = node(0);
    worse.taints = Taint::list(&json!([{"key": "a", "effect": "PreferNoSchedule"}]))
        .into_iter()
        .map(|t| (t, Instant::ZERO))
        .collect();
    let mut small = node(1);
    Arc::make_mut(&mut small.capacity).max_pods = 2;
    assert_eq!(place(&view([worse, small]), &pod(json!({})), 3).unwrap_or_default(), ["n1", "n1", "n0"]);
}

#[test]
fn two_pods_that_want_one_host_port_never_share_a_node() {
    let needs =
        pod(json!({"containers": [{"name": "a", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80}]}]}));
    let view = view([node(0), node(1)]);
    let mut placed = place(&view, &needs, 2).unwrap_or_default();
    placed.sort();
    assert_eq!(placed, ["n0", "n1"]);
    let text = place(&view, &needs, 3).unwrap_err();
    assert!(text.contains("2 node(s) didn't have free ports for the requested pod ports"), "{text}");
    assert!(text.contains("n0: host port 80 is taken"), "{text}");
}

#[test]
fn a_pod_that_failed_on_a_node_goes_back_there_only_if_no_other_will_do() {
    let view = view([node(0), node(1)]);
    let (group, needs) = (group("web"), pod(json!({})));
    let avoid = |room: &mut Room<'_>, avoid| {
        let ask = Ask { name: "x", needs: &needs, group: &group, workload: &group, avoid: Some(avoid) };
        room.place(&ask).map(|id| view.node_name(&id)).unwrap_or_default()
    };
    assert_eq!(avoid(&mut Room::new(&view, Vec::new()), node(0).id), "n1");
    assert_eq!(avoid(&mut Room::new(&view, Vec::new()), node(1).id), "n0");
}

#[test]
fn a_thousand_pods_find_their_places_on_five_hundred_nodes() {
    let view = view((0..500).map(node));
    let placed = place(&view, &asks(json!({"cpu": "100m", "memory": "64Mi"})), 1000).unwrap_or_default();
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    placed.iter().for_each(|node| *counts.entry(node).or_default() += 1);
    assert!(counts.len() == 500 && counts.values().all(|count| *count == 2));
}
