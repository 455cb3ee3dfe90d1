//! Daemons and machines that stop and start.

use skein_core::request::WriteOp;
use skein_netsim::Script;
use skein_netsim::host::Standing;
use skein_netsim::oracle::Answer;

/// k3s #2316: a server must come up although another is down, whichever two they are.
#[test]
fn any_node_restarts_while_any_other_is_down() {
    for down in 0..3 {
        for restarted in (0..3).filter(|host| *host != down) {
            let mut script = Script::new(3);
            let web = script.deploy(0, "web", 3, 1, "full");
            script.runs(&web, 3);
            script.world.power_off(down);
            script.pass(1_000);
            script.world.kill(restarted);
            script.pass(1_000);
            script.world.boot(restarted);
            script.until("the two lead themselves", 15_000, |world| {
                let leader = |host: usize| world.hosts[host].node.as_ref().and_then(|node| node.leadership().leader);
                let both: Vec<_> = (0..3).filter(|host| *host != down).map(leader).collect();
                both[0].is_some() && both[0] == both[1]
            });
            let id = script.configure(restarted, "settings", "x", 5);
            script.pass(2_000);
            assert!(matches!(script.answer(id), Some(Answer::Done(_))), "{:?}", script.answer(id));
            script.runs(&web, 3);
            script.settles();
        }
    }
}

/// A node that returns after a month brings nothing back: not what was deleted, not who left.
#[test]
fn a_node_that_returns_after_a_month_brings_nothing_back() {
    const MONTH_MS: u64 = 30 * 24 * 3600 * 1000;
    let mut script = Script::new(4);
    let old = script.deploy(0, "old", 4, 1, "alive");
    let kept = script.deploy(0, "kept", 2, 1, "alive");
    script.runs(&old, 4);
    script.runs(&kept, 2);
    script.world.power_off(3);
    script.pass(8_000);
    script.write(0, WriteOp::Delete { key: old.clone(), if_heads: None });
    script.pass(3_000);
    let again = script.deploy(0, "old", 1, 2, "alive");
    assert_ne!(old, again);
    // Nobody asks to be let in again.
    script.world.busy = false;
    script.world.leave(2);
    script.until("it has left", 20_000, |world| world.hosts[2].standing == Standing::Out);
    // The others sleep through the month, or their every heartbeat would be lived through.
    for host in [0, 1] {
        script.world.kill(host);
    }
    script.pass(MONTH_MS);
    for host in [0, 1] {
        script.world.boot(host);
    }
    script.runs(&again, 1);
    script.world.boot(3);
    script.settles();
    let store = script.node(3).store();
    assert!(!store.is_live(&old) && store.is_live(&again));
    assert_eq!(store.members().active().len(), 3);
    assert!(script.places(&old).is_empty(), "the second life alone runs");
    assert_eq!((script.places(&again).len(), script.places(&kept).len()), (1, 2));
}

/// A small node that was away for long has much to learn. It starts nothing by what its disk says before it knows what
/// became of its own pods.
#[test]
fn a_node_that_reconnects_asks_for_its_own_pods_first() {
    let mut script = Script::new(3);
    let web = script.deploy(0, "web", 6, 1, "alive");
    let places = script.runs(&web, 6);
    let small = *places.iter().find(|host| script.leader(0) != Some(**host)).unwrap();
    let other = (0..3).find(|host| *host != small).unwrap();
    script.world.power_off(small);
    script.until("its pods are replaced", 20_000, |world| {
        let running = world.hosts.iter().filter(|host| host.number != small).flat_map(|host| host.engine.running());
        running.count() == 6
    });
    for number in 0..300 {
        script.configure(other, &format!("c{number}"), "x", number);
        script.pass(5);
    }
    script.world.boot(small);
    for _ in 0..200 {
        script.pass(20);
        let started = script.world.hosts[small].engine.running().count();
        assert_eq!(started, 0, "it has started what runs elsewhere by now");
    }
    script.settles();
}
