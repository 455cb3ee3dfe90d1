//! What befalls a machine, its clocks and its containers.

use rand::RngExt;
use rand::seq::IndexedRandom;
use skein_core::request::WriteOp;
use skein_core::runtime::{ContainerInfo, RuntimeEvent};

use super::{Fault, MS, any_host};
use crate::host::{Host, Standing};
use crate::workload;
use crate::world::{Event, World, hears};

/// The fewest members that are left when one leaves: fewer could not carry what users ask for.
pub(crate) const MIN_MEMBERS: usize = 3;

pub(super) fn crash(world: &mut World) {
    let host = any_host(world);
    world.trace.line(world.now_us, format_args!("h{host} is killed"));
    world.kill(host);
    start_later(world, host, 200..6_000);
}

pub(super) fn power(world: &mut World) {
    let host = any_host(world);
    if world.hosts[host].node.is_some() {
        world.trace.line(world.now_us, format_args!("h{host} loses its power"));
        world.power_off(host);
        start_later(world, host, 1_000..12_000);
    }
}

pub(super) fn pause(world: &mut World) {
    let host = any_host(world);
    if world.hosts[host].paused || world.hosts[host].node.is_none() {
        return;
    }
    let ms = world.chance.faults.random_range(500..12_000);
    world.trace.line(world.now_us, format_args!("h{host} stands still for {ms} ms"));
    world.pause(host);
    world.after(ms * MS, Event::Resume { host });
}

pub(super) fn leave(world: &mut World) {
    let host = any_host(world);
    let members = members(world);
    if (members > MIN_MEMBERS || world.observes(host))
        && world.hosts[host].standing == Standing::Member
        && world.hosts[host].node.is_some()
    {
        world.after(0, Event::Leave { host });
    }
}

/// How many belong to the cluster as members, not as observers.
fn members(world: &World) -> usize {
    let is_member = |host: &&Host| host.standing == Standing::Member && !world.observes(host.number);
    world.hosts.iter().filter(is_member).count()
}

/// A user at one member removes another.
pub(super) fn remove(world: &mut World) {
    let (host, by) = (any_host(world), any_host(world));
    let members = members(world);
    let is_member = |host: usize| world.hosts[host].standing == Standing::Member;
    if members <= MIN_MEMBERS || host == by || !is_member(host) || !is_member(by) || !world.hosts[by].answers() {
        return;
    }
    let node = world.hosts[host].keys.node_id();
    workload::write(world, by, WriteOp::Remove { node });
}

pub(super) fn disk_refuses(world: &mut World) {
    let host = any_host(world);
    let why = if world.chance.faults.random_bool(0.5) { "no space left on device" } else { "input/output error" };
    let ms = world.chance.faults.random_range(500..10_000);
    world.trace.line(world.now_us, format_args!("the disk of h{host} refuses for {ms} ms: {why}"));
    world.hosts[host].disk.fail(Some(why));
    world.after(ms * MS, Event::Fault(Fault::DiskTakes(host)));
}

pub(super) fn corrupt(world: &mut World) {
    let host = any_host(world);
    if world.hosts[host].standing != Standing::Member {
        return;
    }
    world.kill(host);
    if let Some((table, key)) = world.hosts[host].disk.corrupt(&mut world.chance.faults) {
        let key = String::from_utf8_lossy(key.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
        let key = if table.starts_with("members") { "a statement" } else { &key };
        world.trace.line(world.now_us, format_args!("h{host} is killed and its disk changes {table} {key}"));
    }
    start_later(world, host, 200..3_000);
}

/// Its node's key and the file that names its cluster are elsewhere. One at a time: those who are left must be able to give it its vote
/// again.
pub(super) fn lose_disk(world: &mut World) {
    let host = any_host(world);
    let votes = |host: &Host| {
        host.node.as_ref().is_some_and(|node| node.has_state() && !node.has_lost_vote() && node.voters().count() > 2)
    };
    let mut members = world.hosts.iter().filter(|host| host.standing == Standing::Member);
    let are_well = members.all(|host| votes(host) || world.observes(host.number));
    if world.hosts[host].standing != Standing::Member || !are_well {
        return;
    }
    world.trace.line(world.now_us, format_args!("h{host} loses its power and its disk"));
    world.power_off(host);
    world.lose_disk(host);
    start_later(world, host, 1_000..12_000);
}

/// By a second, a minute or an hour, there or back.
pub(super) fn jump(world: &mut World) {
    let host = any_host(world);
    let rng = &mut world.chance.faults;
    let most_ms: i64 = [1_000, 60_000, 3_600_000][rng.random_range(0..3)];
    let by_ms = rng.random_range(-most_ms..=most_ms);
    world.trace.line(world.now_us, format_args!("the clock of h{host} jumps by {by_ms} ms"));
    world.hosts[host].clock.wall_offset_ms += by_ms;
}

pub(super) fn exit(world: &mut World) {
    let host = any_host(world);
    let Some(info) = any_container(world, host) else { return };
    let (id, wall_ms) = (info.id, world.hosts[host].wall_ms(world.now_us));
    let code = world.chance.faults.random_range(0..4);
    world.trace.line(world.now_us, format_args!("h{host} container {} of {} ends, {code}", id.container, id.uid));
    let engine = &mut world.hosts[host].engine;
    let exit = if code == 3 { engine.vanish(wall_ms, &id) } else { engine.end(wall_ms, &id, Some(code)) };
    if let Some(exit) = exit {
        let start = world.hosts[host].start;
        world.after(MS, hears(host, start, RuntimeEvent::Exited { id, exit }));
    }
}

pub(super) fn orphan(world: &mut World) {
    let host = any_host(world);
    let Some(mut info) = any_container(world, host) else { return };
    let number: u64 = world.chance.faults.random();
    if world.chance.faults.random_bool(0.5) {
        info.slot = info.slot.replace("/Slot.skein.dev:", "/Slot.skein.dev:9");
    }
    world.trace.line(world.now_us, format_args!("h{host} is killed and leaves a container behind for {}", info.slot));
    world.kill(host);
    let uid = format!("{:08x}-0000-5000-8000-{:012x}", number >> 32, number & 0xffff_ffff);
    world.hosts[host].engine.orphan(&info, &uid);
    start_later(world, host, 200..3_000);
}

fn any_container(world: &mut World, host: usize) -> Option<ContainerInfo> {
    let running: Vec<ContainerInfo> = world.hosts[host].engine.running().cloned().collect();
    running.choose(&mut world.chance.faults).cloned()
}

fn start_later(world: &mut World, host: usize, ms: std::ops::Range<u64>) {
    let delay = world.chance.faults.random_range(ms);
    world.after(delay * MS, Event::Fault(Fault::Start(host)));
}
