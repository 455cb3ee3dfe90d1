//! What becomes of creations, and of the pods of a host that was away, when hosts that were apart meet again.
#![allow(clippy::unwrap_used)]

use skein_core::request::WriteOp;
use skein_crdt_state::{Edit, Kind, NameKey, ObjectKey, Scalar};
use skein_netsim::Knobs;
use skein_netsim::workload::{current, deployment, manifest, write};
use skein_netsim::world::World;

const SECOND_US: u64 = 1_000_000;

/// A cluster that has formed, and in which nothing happens by itself.
fn formed(nodes: usize) -> World {
    let mut world = World::new(Knobs::calm(1, nodes), false);
    world.run_to(5 * SECOND_US);
    world
}

fn pass(world: &mut World, seconds: u64) {
    world.run_to(world.now_us + seconds * SECOND_US);
    assert_eq!(world.violation, None);
}

/// Cuts the first host off from all others, in both directions.
fn cut_off_the_first(world: &mut World) {
    for other in 1..world.hosts.len() {
        world.cut(0, other);
        world.cut(other, 0);
    }
}

fn in_default(world: &World, kind: &str, name: &str) -> NameKey {
    let default = current(world, 1, &NameKey::root(&Kind::new("Namespace"), "default")).unwrap();
    default.name_of_child(&Kind::new(kind), name)
}

fn create(world: &mut World, peer: usize, name: &NameKey, path: &str) {
    let edits = vec![Edit::set(path, Scalar::Int(1))];
    write(world, peer, WriteOp::Create { name: name.clone(), edits });
}

fn delete(world: &mut World, peer: usize, name: &NameKey) {
    let key = current(world, peer, name).unwrap();
    write(world, peer, WriteOp::Delete { key, if_heads: None });
}

fn lives(world: &World, name: &NameKey) -> Vec<Option<ObjectKey>> {
    (0..world.hosts.len()).map(|peer| current(world, peer, name)).collect()
}

#[test]
fn what_was_created_apart_from_its_deleter_goes_on_as_the_next_life() {
    let mut world = formed(4);
    let name = in_default(&world, "ConfigMap", "settings");
    cut_off_the_first(&mut world);
    pass(&mut world, 5);
    create(&mut world, 0, &name, "data.here");
    create(&mut world, 1, &name, "data.there");
    pass(&mut world, 1);
    delete(&mut world, 0, &name);
    pass(&mut world, 1);
    world.heal();
    pass(&mut world, 25);
    assert_eq!(lives(&world, &name), vec![Some(name.life(2)); 4]);
    for host in &world.hosts {
        let object = host.node.as_ref().unwrap().store().object(&name.life(2)).unwrap();
        let paths: Vec<&str> = object.leaves().keys().map(|path| &**path).collect();
        assert_eq!(paths, ["data.there"], "{}", host.name);
        assert_eq!(object.births().count(), 1, "one peer made it again, not each");
    }
}

/// A deletion gets to a third peer before what its deleter had not seen does, and somebody there writes the next life before
/// the older creation is made again as that life. What was written last stands, not what was made again last.
#[test]
fn what_is_made_again_does_not_replace_what_was_written_after_it() {
    let mut world = formed(3);
    let name = in_default(&world, "ConfigMap", "settings");
    let set = |world: &mut World, peer: usize, value: i64| {
        let edits = vec![Edit::set("data.x", Scalar::Int(value))];
        write(world, peer, WriteOp::Create { name: name.clone(), edits });
    };
    cut_off_the_first(&mut world);
    pass(&mut world, 5);
    set(&mut world, 0, 1);
    set(&mut world, 1, 2);
    pass(&mut world, 1);
    delete(&mut world, 1, &name);
    pass(&mut world, 1);
    [(1, 2), (2, 1)].into_iter().for_each(|(from, to)| world.cut(from, to));
    pass(&mut world, 1);
    set(&mut world, 2, 3);
    pass(&mut world, 1);
    // The two that were first apart meet, and the third hears neither.
    world.heal();
    [0, 1].into_iter().for_each(|one| [(one, 2), (2, one)].into_iter().for_each(|(from, to)| world.cut(from, to)));
    pass(&mut world, 10);
    let value = |world: &World, peer: usize| {
        let store = world.hosts[peer].node.as_ref().unwrap().store();
        store.object(&store.current_life(&name).unwrap()).unwrap().get("data.x").and_then(Scalar::as_int)
    };
    assert_eq!((value(&world, 0), value(&world, 1)), (Some(1), Some(1)), "it was made again");
    world.heal();
    pass(&mut world, 25);
    for peer in 0..3 {
        assert_eq!(value(&world, peer), Some(3), "at h{peer}");
    }
}

/// What such a binding gives nobody was ever allowed to give; one that is made again would give it, in the name of who makes it.
#[test]
fn a_binding_whose_role_was_set_apart_is_not_made_again() {
    let mut world = formed(4);
    let name = in_default(&world, "RoleBinding.rbac.authorization.k8s.io", "team");
    let create = |world: &mut World, peer: usize, role: &str| {
        let edits = vec![Edit::set("roleRef.name", Scalar::str(role))];
        write(world, peer, WriteOp::Create { name: name.clone(), edits });
    };
    let apart = |world: &mut World, host: usize| {
        (0..4).filter(|other| *other != host).for_each(|other| {
            world.cut(host, other);
            world.cut(other, host);
        });
    };
    apart(&mut world, 1);
    pass(&mut world, 5);
    create(&mut world, 0, "view");
    create(&mut world, 1, "admin");
    pass(&mut world, 2);
    // Whoever deletes it has seen one of the two, and those that made them have met.
    world.heal();
    apart(&mut world, 3);
    pass(&mut world, 10);
    let contested = world.hosts[2].node.as_ref().unwrap().store().object(&current(&world, 2, &name).unwrap()).unwrap();
    assert!(skein_core::conflicts::is_contested(contested, "roleRef"));
    delete(&mut world, 3, &name);
    world.heal();
    pass(&mut world, 20);
    assert_eq!(lives(&world, &name), vec![None; 4]);
}

#[test]
fn what_its_deleter_had_seen_stays_deleted() {
    let mut world = formed(4);
    let name = in_default(&world, "ConfigMap", "settings");
    create(&mut world, 1, &name, "data.x");
    pass(&mut world, 2);
    cut_off_the_first(&mut world);
    pass(&mut world, 5);
    let key = current(&world, 1, &name).unwrap();
    write(&mut world, 1, WriteOp::Edit { key, edits: vec![Edit::set("data.y", Scalar::Int(2))], if_heads: None });
    delete(&mut world, 0, &name);
    pass(&mut world, 1);
    world.heal();
    pass(&mut world, 25);
    assert_eq!(lives(&world, &name), vec![None; 4]);
}

/// A machine that loses its power and returns finds its containers ended, and on its disk that they should run. By then they
/// run elsewhere: it must ask before it starts them, or it would start them, call them ready, and claim their slots back.
#[test]
fn a_host_that_returns_starts_nothing_that_runs_elsewhere_by_now() {
    let mut world = formed(3);
    let name = in_default(&world, "Deployment.apps", "web");
    let op = deployment(&world, 1, name.clone(), &manifest(6, 0, "full"));
    write(&mut world, 1, op);
    pass(&mut world, 25);
    let running = |world: &World, host: usize| world.hosts[host].engine.running().count();
    assert_eq!((0..3).map(|host| running(&world, host)).sum::<usize>(), 6);
    let started = |world: &World| world.hosts[0].engine.started();
    assert!(running(&world, 0) > 0);
    world.power_off(0);
    pass(&mut world, 25);
    assert_eq!(running(&world, 1) + running(&world, 2), 6);
    let before = started(&world);
    world.boot(0);
    pass(&mut world, 25);
    assert_eq!(started(&world), before, "containers were started on the host that returned");
    assert_eq!(running(&world, 1) + running(&world, 2), 6);
    assert_eq!(running(&world, 0), 0);
}

/// With nobody to ask it goes by its own disk.
#[test]
fn a_host_that_returns_alone_starts_its_own_pods() {
    let mut world = formed(3);
    let name = in_default(&world, "Deployment.apps", "web");
    let op = deployment(&world, 1, name.clone(), &manifest(6, 0, "full"));
    write(&mut world, 1, op);
    pass(&mut world, 25);
    let running = |world: &World| world.hosts[0].engine.running().count();
    let before = running(&world);
    assert!(before > 0);
    for host in 0..3 {
        world.power_off(host);
    }
    pass(&mut world, 1);
    world.boot(0);
    pass(&mut world, 20);
    assert!(running(&world) >= before, "{} run, {before} did", running(&world));
}
