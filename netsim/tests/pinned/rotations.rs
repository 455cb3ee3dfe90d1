//! The cluster's secrets are rotated while a part of it is apart, and while a node is off.

use std::collections::BTreeMap;

use skein_core::request::WriteOp;
use skein_crdt_state::{Edit, EpochId, Kind, NameKey, Scalar};
use skein_netsim::Script;

/// A Secret in the namespace "default".
fn secret(name: &str) -> NameKey {
    let owner = NameKey::root(&Kind::new("Namespace"), "default").life(1);
    owner.name_of_child(&Kind::new("Secret"), name)
}

fn keep(script: &mut Script, peer: usize, name: &str, text: &str) {
    let edits = vec![Edit::set("data.password", Scalar::Aside(text.into()))];
    script.write(peer, WriteOp::Create { name: secret(name), edits });
    script.pass(500);
}

fn kept(script: &Script, peer: usize, name: &str) -> Option<String> {
    let store = script.node(peer).store();
    let object = store.object(&store.current_life(&secret(name))?)?;
    store.json_of(object)["data"]["password"].as_str().map(str::to_owned)
}

fn sealed_under(script: &Script, peer: usize) -> BTreeMap<EpochId, usize> {
    script.node(peer).store().sealed_under()
}

fn epoch(number: u8) -> EpochId {
    EpochId([number; 16])
}

#[test]
fn a_rotation_reaches_who_was_apart_and_every_value_is_sealed_anew() {
    let mut script = Script::new(4);
    keep(&mut script, 0, "before", "old text");
    assert_eq!(sealed_under(&script, 3), BTreeMap::from([(epoch(1), 1)]));
    script.cut(&[3], &[0, 1, 2]);
    script.world.rotate(1);
    script.until("all three seal under the new epoch", 30_000, |world| {
        let under = |host: usize| world.hosts[host].node.as_ref().map(|node| node.store().sealed_under());
        (0..3).all(|host| under(host) == Some(BTreeMap::from([(epoch(2), 1)])))
    });
    keep(&mut script, 0, "meanwhile", "new text");
    keep(&mut script, 3, "apart", "of another");
    assert_eq!(sealed_under(&script, 3), BTreeMap::from([(epoch(1), 2)]));
    script.settles();
    for host in 0..4 {
        assert_eq!(sealed_under(&script, host), BTreeMap::from([(epoch(2), 3)]));
        for (name, text) in [("before", "old text"), ("meanwhile", "new text"), ("apart", "of another")] {
            assert_eq!(kept(&script, host, name).as_deref(), Some(text), "{name} at h{host}");
        }
    }
}

#[test]
fn a_node_that_was_off_through_two_rotations_reads_everything_when_it_is_back() {
    let mut script = Script::new(3);
    keep(&mut script, 0, "one", "first");
    script.world.kill(2);
    for (peer, name) in [(0, "two"), (1, "three")] {
        script.world.rotate(peer);
        script.pass(5_000);
        keep(&mut script, peer, name, name);
    }
    script.world.boot(2);
    script.settles();
    assert_eq!(sealed_under(&script, 2), BTreeMap::from([(epoch(3), 3)]));
    assert_eq!(["one", "two", "three"].map(|name| kept(&script, 2, name).is_some()), [true; 3]);
}
