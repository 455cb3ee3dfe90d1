//! Nodes that leave and come back.

use skein_netsim::Script;
use skein_netsim::host::Standing;
use skein_netsim::world::World;

fn knows(world: &World, host: usize, member: usize) -> bool {
    let id = world.hosts[member].keys.node_id();
    world.hosts[host].node.as_ref().is_some_and(|node| node.store().members().is_active(&id))
}

fn leaves(script: &mut Script, host: usize) {
    // Nobody asks to be let in again but by the script.
    script.world.busy = false;
    script.world.leave(host);
    script.until("it has left", 30_000, |world| world.hosts[host].standing == Standing::Out);
    script.world.busy = true;
}

/// chitchat #155: members that are gone come back as ghosts, since peers that had not heard tell each other of them.
#[test]
fn who_has_left_does_not_come_back_as_a_ghost() {
    let mut script = Script::new(5);
    script.cut(&[4], &[0, 1, 2, 3]);
    script.pass(5_000);
    leaves(&mut script, 3);
    assert!(knows(&script.world, 4, 3), "the one that was cut off has not heard");
    script.world.heal();
    script.until("all have heard", 20_000, |world| (0..5).all(|host| host == 3 || !knows(world, host, 3)));
    let ghost = script.world.hosts[3].keys.node_id();
    for _ in 0..60 {
        script.pass(1_000);
        let seen = |host: usize| script.node(host).alive().contains(&ghost) || knows(&script.world, host, 3);
        assert_eq!([0, 1, 2, 4].map(seen), [false; 4]);
    }
    script.settles();
}

/// A departure counts though the clock of the one that leaves is far behind, and an admission after it though the clock of the
/// one that admits is: both ended with a node that was in for some and out for others.
#[test]
fn clocks_that_are_far_apart_do_not_decide_who_is_a_member() {
    for (leaver_ms, others_ms) in [(3_600_000, 0), (0, 3_600_000)] {
        let mut script = Script::new(4);
        for host in 0..4 {
            script.world.hosts[host].clock.wall_offset_ms += if host == 3 { leaver_ms } else { others_ms };
        }
        for _ in 0..2 {
            leaves(&mut script, 3);
            script.until("all know that it is out", 10_000, |world| (0..3).all(|host| !knows(world, host, 3)));
            script.world.at(0, skein_netsim::world::Event::Join { host: 3 });
            script.until("all know that it is in", 10_000, |world| (0..4).all(|host| knows(world, host, 3)));
        }
        script.settles();
    }
}

/// A node that leaves hands on what it alone holds: a write that was acknowledged with a warning went with it.
#[test]
fn who_leaves_takes_nothing_along() {
    let mut script = Script::new(4);
    script.cut(&[3], &[0, 1, 2]);
    script.pass(5_000);
    script.configure(3, "only-here", "x", 9);
    script.pass(1_000);
    script.world.heal();
    leaves(&mut script, 3);
    script.pass(2_000);
    assert_eq!(script.configured(0, "only-here", "x"), Some(9));
    script.settles();
}

/// A node that can ask nobody whether its writes are safe elsewhere does not leave: what was acknowledged with a warning would
/// go with it.
#[test]
fn who_is_alone_does_not_leave() {
    let mut script = Script::new(4);
    script.cut(&[3], &[0, 1, 2]);
    script.pass(5_000);
    script.configure(3, "only-here", "x", 9);
    script.world.busy = false;
    script.world.leave(3);
    script.pass(10_000);
    assert_eq!(script.standing(3), Standing::Member);
    script.world.heal();
    script.until("it is heard", 20_000, |world| {
        knows(world, 0, 3) && world.hosts[0].node.as_ref().is_some_and(|node| node.alive().len() == 4)
    });
    leaves(&mut script, 3);
    assert_eq!(script.configured(0, "only-here", "x"), Some(9));
    script.settles();
}

/// What a peer holds in memory alone it loses with the power: a node left all to one whose disk was full, and a write went with both.
#[test]
fn who_leaves_leaves_nothing_to_a_disk_that_does_not_take_it() {
    let mut script = Script::new(4);
    script.cut(&[2, 3], &[0, 1]);
    script.pass(5_000);
    script.world.hosts[2].disk.fail(Some("no space left on device"));
    script.configure(3, "only-here", "x", 9);
    script.world.busy = false;
    script.world.leave(3);
    script.pass(15_000);
    assert_eq!(script.standing(3), Standing::Member, "nobody has said that it is on disk");
    script.world.hosts[2].disk.fail(None);
    script.pass(2_000);
    leaves(&mut script, 3);
    script.world.power_off(2);
    script.world.heal();
    script.world.boot(2);
    script.settles();
    assert_eq!(script.configured(0, "only-here", "x"), Some(9));
}

/// Two that are asked to leave at one time would each leave all to the other.
#[test]
fn two_that_leave_at_once_do_not_leave_all_to_each_other() {
    let mut script = Script::new(4);
    script.cut(&[2, 3], &[0, 1]);
    script.pass(5_000);
    script.configure(3, "only-here", "x", 9);
    script.pass(2_000);
    script.world.busy = false;
    script.world.leave(2);
    script.world.leave(3);
    script.pass(15_000);
    let stays = |host: &usize| script.standing(*host) == Standing::Member;
    assert!([2, 3].iter().any(stays), "nobody else holds what both hold");
    script.world.heal();
    script.settles();
    assert_eq!(script.configured(0, "only-here", "x"), Some(9));
}

/// A node that leaves while nobody hears it must not be forgotten: told again, all let it go.
#[test]
fn who_leaves_unheard_is_let_go_when_it_is_heard() {
    let mut script = Script::new(4);
    let web = script.deploy(0, "web", 4, 1, "alive");
    script.runs(&web, 4);
    script.world.lose_news.extend((0..3).map(|host| ((3, host), usize::MAX)));
    script.world.busy = false;
    script.world.leave(3);
    script.pass(25_000);
    assert!(knows(&script.world, 0, 3), "nobody could hear it");
    script.world.lose_news.clear();
    script.until("it has left", 60_000, |world| world.hosts[3].standing == Standing::Out);
    script.until("all know", 10_000, |world| (0..3).all(|host| !knows(world, host, 3)));
    script.settles();
    assert_eq!(script.places(&web).len(), 4);
}

/// What a node that has left once claimed is nobody's any more: its claims on slots outlived it, and nothing ran there.
#[test]
fn the_claims_of_who_has_left_hold_nothing() {
    let mut script = Script::new(5);
    let web = script.deploy(0, "web", 5, 1, "alive");
    script.runs(&web, 5);
    script.cut(&[4], &[0, 1, 2, 3]);
    script.until("its pods run elsewhere too", 20_000, |world| {
        world.hosts.iter().take(4).flat_map(|host| host.engine.running()).count() == 5
    });
    script.world.heal();
    script.pass(300);
    leaves(&mut script, 4);
    script.settles();
    assert_eq!(script.places(&web).len(), 5);
}
