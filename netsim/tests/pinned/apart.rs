//! Hosts that do not hear each other, or hear each other one way, or now and then.

use skein_netsim::Script;
use skein_netsim::oracle::Answer;
use skein_netsim::world::World;

/// An even split: both sides take writes and have a leader, at most one of which is quorate, and all of it is there afterwards.
#[test]
fn both_halves_of_an_even_split_go_on_and_nothing_of_either_is_lost() {
    let mut script = Script::new(4);
    let web = script.deploy(0, "web", 4, 1, "alive");
    script.runs(&web, 4);
    script.cut(&[0, 1], &[2, 3]);
    script.until("both halves have a leader of their own", 10_000, |world| {
        let leads = |host: usize| world.hosts[host].node.as_ref().is_some_and(|node| node.leadership().mine);
        (leads(0) || leads(1)) && (leads(2) || leads(3))
    });
    let quorate: Vec<u64> =
        (0..4).map(|host| script.node(host).leadership()).filter(|l| l.mine && l.quorate).map(|l| l.term).collect();
    assert!(quorate.len() <= 1, "{quorate:?}");
    let here = script.configure(0, "here", "x", 1);
    let there = script.configure(3, "there", "x", 2);
    script.pass(2_000);
    for id in [here, there] {
        assert!(matches!(script.answer(id), Some(Answer::Done(_))), "each half has two disks: {:?}", script.answer(id));
    }
    script.settles();
    for peer in 0..4 {
        assert_eq!((script.configured(peer, "here", "x"), script.configured(peer, "there", "x")), (Some(1), Some(2)));
    }
}

/// A minority of one: it keeps its pods, takes writes with a warning, starts no more than one of what it lacks, and has its
/// say afterwards.
#[test]
fn a_minority_of_one_goes_on_alone_and_has_its_say_afterwards() {
    let mut script = Script::new(5);
    let web = script.deploy(0, "web", 5, 1, "alive");
    let before = script.runs(&web, 5);
    let own = before.iter().filter(|host| **host == 4).count();
    script.cut(&[4], &[0, 1, 2, 3]);
    script.until("the others have replaced its pods", 20_000, |world| others(world, &web.to_string()) == 5);
    let id = script.configure(4, "alone", "x", 7);
    script.pass(5_000);
    assert!(matches!(script.answer(id), Some(Answer::DoneWithWarning(_))), "{:?}", script.answer(id));
    let alone = script.places(&web).into_iter().filter(|host| *host == 4).count();
    assert!(alone >= own.max(1) && alone <= own.max(1), "{own} before, {alone} alone");
    script.settles();
    assert_eq!(script.configured(0, "alone", "x"), Some(7));
    assert_eq!(script.places(&web).len(), 5);
}

fn others(world: &World, workload: &str) -> usize {
    let running = world.hosts.iter().take(4).flat_map(|host| host.engine.running());
    running.filter(|info| info.slot.starts_with(&format!("{workload}/"))).count()
}

/// A one-way link for a minute moves no pod and does not make the leadership change for ever.
#[test]
fn a_one_way_link_moves_nothing_for_long() {
    for (from, to) in [(0, 1), (1, 0), (2, 0)] {
        let mut script = Script::new(3);
        let web = script.deploy(0, "web", 3, 1, "alive");
        script.runs(&web, 3);
        let term = script.node(0).leadership().term;
        script.world.cut(from, to);
        script.pass(60_000);
        assert!(script.places(&web).len() >= 3, "{from}>{to}");
        let terms = (0..3).map(|host| script.node(host).leadership().term).max().unwrap() - term;
        assert!(terms < 30, "{terms} terms in a minute of {from}>{to}");
        script.settles();
    }
}

/// Nomad #12503: a client that disconnects in a rollout and comes back must not add to the replicas for good.
#[test]
fn replicas_are_bounded_across_a_disconnect_in_a_rollout() {
    let mut script = Script::new(4);
    let web = script.deploy(0, "web", 4, 1, "alive");
    script.runs(&web, 4);
    script.deploy(0, "web", 4, 2, "alive");
    script.pass(300);
    script.cut(&[3], &[0, 1, 2]);
    for _ in 0..40 {
        script.pass(250);
        // Four and one more on the larger side, and on the smaller what was there.
        let count = script.places(&web).len();
        assert!(count <= 5 + 3, "{count} run");
    }
    script.world.heal();
    let at_heal = script.places(&web).len();
    for _ in 0..80 {
        script.pass(250);
        let count = script.places(&web).len();
        assert!(count <= at_heal + 1 && count >= 3, "{at_heal} ran at the heal, {count} do now");
    }
    script.settles();
    assert_eq!(script.places(&web).len(), 4);
}

/// A node that flaps every few seconds: what it does not hold stays where it is, and leadership does not follow it.
#[test]
fn a_node_that_flaps_disturbs_nobody_else() {
    let mut script = Script::new(4);
    let web = script.deploy(0, "web", 6, 1, "alive");
    script.runs(&web, 6);
    let flapping = (0..4).find(|host| script.leader(0) != Some(*host)).unwrap();
    let steady: Vec<usize> = (0..4).filter(|host| *host != flapping).collect();
    let uids = |script: &Script| -> Vec<String> {
        let running = steady.iter().flat_map(|host| script.world.hosts[*host].engine.running());
        running.map(|info| info.id.uid.to_string()).collect()
    };
    let before = uids(&script);
    let terms = script.node(steady[0]).leadership().term;
    for _ in 0..15 {
        script.cut(&[flapping], &steady);
        script.pass(3_000);
        script.world.heal();
        script.pass(3_000);
        let now = uids(&script);
        let moved: Vec<&String> = before.iter().filter(|uid| !now.contains(uid)).collect();
        // A node that leads itself when it is heard again may take a slot at that very moment; the pod that serves it goes on
        // until another does. That must stay the exception.
        assert!(moved.len() <= 3, "{moved:?} of hosts that were there all the time were replaced");
        assert!(script.places(&web).len() >= 6, "a slot is not served");
    }
    assert!(script.node(steady[0]).leadership().term - terms < 15, "the leader changed with each flap");
    script.settles();
}

/// Kairos provider PR #909: a node that missed the one message that gave it work must find out all the same.
#[test]
fn exactly_one_lost_assignment_is_made_up_for() {
    for victim in 0..3 {
        let mut script = Script::new(3);
        let leader = script.leader(0).unwrap();
        if victim == leader {
            continue;
        }
        script.world.lose_news.insert((leader, victim), 1);
        let web = script.deploy(leader, "web", 3, 1, "alive");
        script.runs(&web, 3);
        script.world.lose_news.insert((leader, victim), 1);
        script.deploy(leader, "web", 6, 1, "alive");
        let places = script.runs(&web, 6);
        assert!(places.contains(&victim), "{places:?}");
        assert_eq!(script.world.lose_news[&(leader, victim)], 0, "nothing was lost");
        script.settles();
    }
}
