//! Disks that refuse or change what they hold, and objects that make no sense.

use skein_core::request::{WriteError, WriteOp};
use skein_crdt_state::{Edit, Kind, NameKey, Scalar};
use skein_netsim::Script;
use skein_netsim::oracle::Answer;

/// On a full disk writes are refused with the reason, running pods stay and are served, and all that was learned meanwhile is
/// on the disk once it takes it.
#[test]
fn a_full_disk_refuses_writes_and_keeps_pods() {
    let mut script = Script::new(3);
    let web = script.deploy(0, "web", 3, 1, "alive");
    let before = script.runs(&web, 3);
    script.pass(2_000);
    script.world.hosts[1].disk.fail(Some("no space left on device"));
    let first = script.configure(1, "settings", "x", 1);
    script.pass(3_000);
    let second = script.configure(1, "settings", "x", 2);
    script.pass(1_000);
    for id in [first, second] {
        let refused =
            matches!(script.answer(id), Some(Answer::Refused(WriteError::Disk(why))) if why.contains("no space"));
        assert!(refused, "{:?}", script.answer(id));
    }
    script.configure(0, "elsewhere", "x", 3);
    script.pass(10_000);
    assert_eq!(script.places(&web), before);
    assert_eq!(script.configured(1, "elsewhere", "x"), Some(3), "it learns on");
    script.world.hosts[1].disk.fail(None);
    script.pass(3_000);
    let third = script.configure(1, "settings", "x", 4);
    script.pass(1_000);
    assert!(matches!(script.answer(third), Some(Answer::Done(_))), "{:?}", script.answer(third));
    // What was learned while it refused is on it now: without its peers the node knows it still.
    script.world.power_off(1);
    script.cut(&[1], &[0, 2]);
    script.world.boot(1);
    script.pass(1_000);
    assert_eq!(script.configured(1, "elsewhere", "x"), Some(3));
    script.settles();
}

/// Each record of a disk is changed in turn: the node starts, names it, and has it again from its peers.
#[test]
fn any_record_that_a_disk_changes_is_named_and_comes_back() {
    let mut script = Script::new(3);
    let web = script.deploy(0, "web", 2, 1, "alive");
    script.runs(&web, 2);
    script.configure(2, "settings", "x", 1);
    script.pass(2_000);
    for _ in 0..25 {
        script.world.kill(2);
        let changed = script.world.hosts[2].disk.corrupt(&mut script.world.chance.disks);
        assert!(changed.is_some());
        script.world.boot(2);
        script.pass(4_000);
    }
    script.settles();
    assert_eq!(script.configured(2, "settings", "x"), Some(1));
}

/// A leader that does not hold a node's object, since its disk has changed it, took the object for deleted and the pods of
/// that node for lost.
#[test]
fn a_node_whose_object_is_damaged_is_not_given_up() {
    let mut script = Script::new(3);
    let leader = script.leader(0).unwrap();
    let held = script.deploy(leader, "held", 3, 1, "hold");
    let before = script.runs(&held, 3);
    let away = (0..3).find(|host| *host != leader).unwrap();
    let node = NameKey::root(&Kind::new("Node"), &format!("h{away}"));
    script.cut(&[leader], &[away]);
    script.world.pause(away);
    script.world.kill(leader);
    script.world.hosts[leader]
        .disk
        .corrupt_rows(|table, key| table == "changes" && key.starts_with(node.life(1).to_string().as_bytes()));
    script.world.boot(leader);
    script.pass(20_000);
    assert_eq!(script.places(&held), before, "nothing of it may move");
    script.world.resume(away);
    script.settles();
}

/// An object that makes no sense must not take down the peers it reaches, nor hold up what does.
#[test]
fn a_poisoned_object_harms_nobody() {
    let mut script = Script::new(3);
    let web = script.deploy(0, "web", 2, 1, "alive");
    script.runs(&web, 2);
    let owner = NameKey::root(&Kind::new("Namespace"), "default").life(1);
    let poison: [&[(&str, Scalar)]; 5] = [
        &[("spec.replicas", Scalar::str("many")), ("spec.template", Scalar::Json("[]".into()))],
        &[("spec.replicas", Scalar::Int(i64::MAX)), ("spec.selector", Scalar::Int(3))],
        &[("spec.replicas", Scalar::Int(-5)), ("spec.template.spec.containers", Scalar::Json("\"none\"".into()))],
        &[("metadata.labels", Scalar::Json("7".into())), ("metadata.annotations", Scalar::Bool(true))],
        &[("spec", Scalar::Json("{\"spec\":{\"spec\":1}}".into())), ("placement", Scalar::Json("{".into()))],
    ];
    for (number, leaves) in poison.into_iter().enumerate() {
        for kind in ["Deployment.apps", "ReplicaSet.apps", "Pod", "Slot.skein.dev", "Node", "ConfigMap"] {
            let name = match kind {
                "Node" => NameKey::root(&Kind::new(kind), &format!("poison-{number}")),
                _ => owner.name_of_child(&Kind::new(kind), &format!("poison-{number}")),
            };
            let edits = leaves.iter().map(|(path, value)| Edit::set(path, value.clone())).collect();
            script.write(number % 3, WriteOp::Create { name, edits });
        }
    }
    script.pass(5_000);
    for host in 0..3 {
        script.world.kill(host);
        script.world.boot(host);
    }
    script.pass(10_000);
    script.deploy(1, "web", 4, 2, "alive");
    script.pass(15_000);
    assert_eq!(script.places(&web).len(), 4);
    let hashes: Vec<[u8; 32]> = (0..3).map(|host| script.node(host).store().state_hash()).collect();
    assert!(hashes[0] == hashes[1] && hashes[1] == hashes[2]);
}
