//! Nodes that are removed: they stay out, whoever heals with whom, and so does whoever only they let in.

use skein_core::request::WriteOp;
use skein_netsim::Script;
use skein_netsim::host::Standing;
use skein_netsim::world::{Event, World};

fn removes(script: &mut Script, by: usize, host: usize) {
    let node = script.world.hosts[host].keys.node_id();
    script.write(by, WriteOp::Remove { node });
}

fn is_in(world: &World, at: usize, host: usize) -> bool {
    let id = world.hosts[host].keys.node_id();
    world.hosts[at].node.as_ref().is_some_and(|node| node.store().members().is_active(&id))
}

fn is_out_everywhere(world: &World, at: &[usize], host: usize) -> bool {
    at.iter().all(|at| !is_in(world, *at, host))
}

/// Whoever is removed hears of it while it is connected, and stops what it runs; its pods run elsewhere.
#[test]
fn who_is_removed_stops_its_pods_and_others_run_them() {
    let mut script = Script::new(4);
    let web = script.deploy(0, "web", 4, 1, "alive");
    assert!(script.runs(&web, 4).contains(&3));
    removes(&mut script, 0, 3);
    script.until("its pods have ended", 10_000, |world| world.hosts[3].engine.running().count() == 0);
    script.until("all know", 5_000, |world| is_out_everywhere(world, &[0, 1, 2, 3], 3));
    assert!(!script.runs(&web, 4).contains(&3));
    script.settles();
}

/// Removed while nobody on the other side of a cut could hear it, it is out there too after the heal, though its side went on
/// with it meanwhile, and it may ask as often as it likes.
#[test]
fn who_was_removed_during_a_partition_is_out_after_the_heal() {
    let mut script = Script::new(5);
    script.cut(&[3, 4], &[0, 1, 2]);
    script.pass(5_000);
    removes(&mut script, 0, 4);
    script.until("its own side knows nothing", 5_000, |world| is_out_everywhere(world, &[0, 1, 2], 4));
    script.configure(4, "theirs", "x", 4);
    script.pass(5_000);
    assert!(is_in(&script.world, 3, 4), "they hear each other and nobody else");
    script.world.heal();
    script.until("all know", 20_000, |world| is_out_everywhere(world, &[0, 1, 2, 3], 4));
    for _ in 0..20 {
        script.world.at(0, Event::Join { host: 4 });
        script.pass(1_000);
        assert!(is_out_everywhere(&script.world, &[0, 1, 2, 3], 4));
    }
    // What it wrote with somebody who is still in is part of what all have.
    assert_eq!(script.configured(0, "theirs", "x"), Some(4));
    script.settles();
}

/// A removed node that does not know goes on admitting. Whom it alone lets in since is out after the heal, and in again once
/// somebody else has let it in.
#[test]
fn whom_a_removed_node_alone_has_let_in_since_is_out_after_the_heal() {
    let mut script = Script::new(5);
    script.world.busy = false;
    script.world.leave(4);
    script.until("one is free to join", 20_000, |world| world.hosts[4].standing == Standing::Out);
    script.world.busy = true;
    script.cut(&[3, 4], &[0, 1, 2]);
    script.pass(5_000);
    removes(&mut script, 0, 3);
    script.until("it is out where that can be heard", 5_000, |world| is_out_everywhere(world, &[0, 1, 2], 3));
    script.world.at(0, Event::Join { host: 4 });
    script.until("the removed one lets it in", 10_000, |world| is_in(world, 3, 4) && is_in(world, 4, 3));
    assert!(is_out_everywhere(&script.world, &[0, 1, 2], 4));
    script.world.heal();
    let others = |world: &World| (0..3).all(|at| is_in(world, at, 4));
    script.until("it has seen that it is alone, and somebody else lets it in", 60_000, others);
    assert!(is_out_everywhere(&script.world, &[0, 1, 2], 3));
    script.settles();
}

/// The leader can be removed like anybody else: there is another at once, and what it decides afterwards reaches nobody.
#[test]
fn a_leader_that_is_removed_leads_nobody() {
    let mut script = Script::new(5);
    let web = script.deploy(0, "web", 5, 1, "alive");
    script.runs(&web, 5);
    let leader = script.leader(0).unwrap_or(0);
    let rest: Vec<usize> = (0..5).filter(|host| *host != leader).collect();
    // It cannot hear of it: the strictest case.
    script.cut(&[leader], &rest);
    removes(&mut script, rest[0], leader);
    let led = |world: &World| {
        let leaders = rest.iter().map(|host| world.hosts[*host].node.as_ref()?.leadership().leader);
        leaders.collect::<Option<Vec<_>>>().is_some_and(|all| {
            all.iter().all(|led| world.host_of(led).is_some_and(|host| host != leader) && *led == all[0])
        })
    };
    script.until("the others follow another", 10_000, led);
    script.world.heal();
    script.pass(20_000);
    assert!(led(&script.world) && is_out_everywhere(&script.world, &rest, leader));
    script.settles();
    assert_eq!(script.places(&web).iter().filter(|host| **host != leader).count(), 5);
}

/// Two that remove each other apart are both out, as both asked for; the rest goes on.
#[test]
fn two_that_remove_each_other_apart_are_both_out() {
    let mut script = Script::new(6);
    script.cut(&[0, 1, 2], &[3, 4, 5]);
    script.pass(5_000);
    removes(&mut script, 0, 5);
    removes(&mut script, 5, 0);
    script.pass(3_000);
    script.world.heal();
    script.until("the rest knows", 30_000, |world| {
        [0, 5].iter().all(|host| is_out_everywhere(world, &[1, 2, 3, 4], *host))
    });
    assert!((1..5).all(|at| (1..5).all(|host| is_in(&script.world, at, host))));
    script.settles();
}

/// Whoever was removed has no vote, so that those who are left are a majority, however few they are.
#[test]
fn the_last_voter_leads_with_a_majority_though_it_has_removed_all_others_apart() {
    let mut script = Script::new(5);
    script.cut(&[0], &[1, 2, 3, 4]);
    script.pass(5_000);
    for host in 1..5 {
        removes(&mut script, 0, host);
    }
    let leads = |world: &World| {
        let node = world.hosts[0].node.as_ref();
        node.is_some_and(|node| node.leadership().mine && node.leadership().quorate && node.voters().count() == 1)
    };
    script.until("it leads with its own vote alone", 10_000, leads);
    script.world.heal();
    script.pass(20_000);
    assert!(leads(&script.world) && (1..5).all(|host| is_out_everywhere(&script.world, &[0], host)));
}

/// A removal stands though who made it is removed by somebody who has not heard of it, as long as somebody who stays has.
#[test]
fn what_a_remover_said_stands_though_it_is_removed_itself_apart() {
    let mut script = Script::new(6);
    script.cut(&[0, 1, 2], &[3, 4, 5]);
    script.pass(5_000);
    removes(&mut script, 0, 1);
    removes(&mut script, 3, 0);
    script.pass(3_000);
    script.world.heal();
    let both = |world: &World| [0, 1].iter().all(|host| is_out_everywhere(world, &[2, 3, 4, 5], *host));
    script.until("both are out", 30_000, both);
    script.settles();
}

/// Of whom nobody heard before it was out itself, the removals are nobody's.
#[test]
fn what_a_remover_said_to_nobody_before_it_was_removed_does_not_count() {
    let mut script = Script::new(5);
    script.cut(&[0], &[1, 2, 3, 4]);
    script.pass(5_000);
    removes(&mut script, 1, 0);
    script.pass(1_000);
    removes(&mut script, 0, 4);
    script.pass(3_000);
    script.world.heal();
    script.pass(30_000);
    assert!(is_out_everywhere(&script.world, &[1, 2, 3, 4], 0));
    assert!((1..5).all(|at| is_in(&script.world, at, 4)));
}

/// A removed node comes with the disk that it had before, on which it is a member and may vote.
#[test]
fn an_old_backup_brings_nobody_back() {
    let mut script = Script::new(5);
    let backup = script.world.hosts[4].disk.clone();
    removes(&mut script, 0, 4);
    script.until("all know", 5_000, |world| is_out_everywhere(world, &[0, 1, 2, 3, 4], 4));
    script.pass(1_000);
    script.world.kill(4);
    script.world.hosts[4].disk = backup;
    script.world.knocking = true;
    script.world.boot(4);
    assert!(is_in(&script.world, 4, 4), "by its own disk it belongs");
    for _ in 0..20 {
        script.world.at(0, Event::Join { host: 4 });
        script.pass(1_000);
        assert!(is_out_everywhere(&script.world, &[0, 1, 2, 3], 4));
        assert!((0..4).all(|at| script.world.links.connection(at, 4).is_none()));
    }
    script.world.knocking = false;
    script.settles();
}

/// Whoever hears of a removal by another tells the removed one before it lets go of it.
#[test]
fn who_is_removed_hears_of_it_from_others_too() {
    let mut script = Script::new(3);
    script.cut(&[0], &[2]);
    script.pass(5_000);
    removes(&mut script, 0, 2);
    script.until("it knows", 5_000, |world| !is_in(world, 2, 2));
}
