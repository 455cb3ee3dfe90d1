//! Stories of removals: a network that is cut in two, and in the middle of it somebody removes the leader, one node twice, each
//! other, a remover, or one that lets somebody in meanwhile; then it heals. Once all is mended the removed come back as they
//! were, some with an old backup, and knock. What must hold then lives in the check `removed`.
//!
//! All is drawn from a stream of its own, and only by seeds whose knob asks for it: the others stay what they were.

use rand::RngExt;
use rand::seq::SliceRandom;
use skein_core::request::WriteOp;

use crate::faults::{Cuts, Fault, MIN_MEMBERS};
use crate::host::Standing;
use crate::workload;
use crate::world::{Event, World};

const MS: u64 = 1000;
/// How long the removed knock once all is mended, in virtual microseconds.
pub(crate) const KNOCKING_US: u64 = 25_000_000;

/// Something that happens in a story. Hosts go by their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// The next story begins.
    Story,
    /// A user at one member removes another.
    Remove {
        /// At whom.
        by: usize,
        /// Whom.
        host: usize,
    },
    /// A host that is outside asks one member to let it in.
    Admit {
        /// Who asks.
        host: usize,
        /// Whom.
        via: usize,
    },
}

/// What the stories are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plot {
    /// The leader is removed, by its own side or the other.
    Leader,
    /// Two that are apart remove one.
    Twice,
    /// Two that are apart remove each other.
    EachOther,
    /// One is removed while it is away and lets somebody in.
    AdmitsAway,
    /// One is removed that has just let somebody in, or is about to.
    AdmitsNow,
    /// Who has removed one is removed by somebody apart who has not heard of it.
    Remover,
}

const PLOTS: [Plot; 6] = [Plot::Leader, Plot::Twice, Plot::EachOther, Plot::AdmitsAway, Plot::AdmitsNow, Plot::Remover];

/// Puts the first story into the queue.
pub(crate) fn begin(world: &mut World) {
    let every_ms = world.knobs.removal_every_ms;
    if every_ms > 0 {
        let delay = world.chance.removals.random_range(every_ms / 4..every_ms);
        world.after(delay * MS, Event::Removal(Act::Story));
    }
}

impl Act {
    /// Lets it happen.
    pub(crate) fn happen(self, world: &mut World) {
        if !world.busy {
            return;
        }
        match self {
            Act::Story => {
                let every_ms = world.knobs.removal_every_ms;
                let delay = world.chance.removals.random_range(every_ms / 2..every_ms * 3 / 2);
                world.after(delay * MS, Event::Removal(Act::Story));
                story(world);
            }
            Act::Remove { by, host } => remove(world, by, host),
            Act::Admit { host, via } => {
                if world.hosts[host].standing == Standing::Out && !world.hosts[host].gone_for_good {
                    world.hosts[host].standing = Standing::Joining;
                    world.ask(host, via);
                    world.after(3_000 * MS, Event::Join { host });
                }
            }
        }
    }
}

/// A removal that is still to be had: its story may have been overtaken by others.
fn remove(world: &mut World, by: usize, host: usize) {
    let members = world.hosts.iter().filter(|host| host.standing == Standing::Member).count();
    let may_go = members > MIN_MEMBERS && world.hosts[host].standing == Standing::Member;
    // Who was removed and does not know yet removes others like anybody.
    if may_go && world.hosts[by].answers() {
        let node = world.hosts[host].keys.node_id();
        workload::write(world, by, WriteOp::Remove { node });
    }
}

fn story(world: &mut World) {
    let mut members: Vec<usize> = world.up().into_iter().filter(|host| world.hosts[*host].answers()).collect();
    members.shuffle(&mut world.chance.removals);
    let plot = PLOTS[world.chance.removals.random_range(0..PLOTS.len())];
    let outside = world.hosts.iter().find(|host| host.standing == Standing::Out && !host.gone_for_good);
    let outside = outside.map(|host| host.number);
    let leads = |host: &usize| world.hosts[*host].node.as_ref().is_some_and(|node| node.leadership().mine);
    if let Some(leader) = members.iter().position(leads).filter(|_| plot == Plot::Leader) {
        members.swap(0, leader);
    }
    let (Some(&first), Some(&second), Some(&third)) = (members.first(), members.get(1), members.get(2)) else { return };
    if members.len() <= MIN_MEMBERS {
        return;
    }
    world.trace.line(world.now_us, format_args!("a story of removals: {plot:?}"));
    for host in [first, second, third] {
        world.back_up(host);
    }
    // The first is on the side `true`.
    let mut sides: Vec<bool> = (0..world.hosts.len()).map(|_| world.chance.removals.random_bool(0.5)).collect();
    let rng = &mut world.chance.removals;
    let (sooner, later) = (rng.random_range(1_500..4_000), rng.random_range(1_500..4_000));
    let alone = rng.random_bool(0.5);
    let is_cut = plot != Plot::AdmitsNow || alone;
    (sides[first], sides[second]) = (true, false);
    let remove = |by, host, at| (at, Act::Remove { by, host });
    let acts = match (plot, outside) {
        (Plot::Leader, _) => {
            sides[second] = alone;
            vec![remove(second, first, sooner)]
        }
        (Plot::Twice, _) => {
            sides[third] = true;
            vec![remove(second, first, sooner), remove(third, first, later)]
        }
        (Plot::EachOther, _) => vec![remove(first, second, sooner), remove(second, first, later)],
        (Plot::Remover, _) => vec![remove(first, third, sooner), remove(second, first, later)],
        (Plot::AdmitsAway | Plot::AdmitsNow, Some(host)) => {
            if alone {
                sides.fill(false);
                sides[first] = true;
            }
            sides[host] = true;
            let later = if plot == Plot::AdmitsNow { sooner + later / 20 } else { later };
            vec![(sooner, Act::Admit { host, via: first }), remove(second, first, later)]
        }
        (Plot::AdmitsAway | Plot::AdmitsNow, None) => vec![remove(second, first, sooner)],
    };
    if is_cut {
        cut(world, &sides);
    }
    for (at, act) in acts {
        world.after(at * MS, Event::Removal(act));
    }
}

/// Cuts all ways between the two sides for a while that outlasts the story.
fn cut(world: &mut World, sides: &[bool]) {
    let pairs = (0..sides.len()).flat_map(|a| (0..sides.len()).map(move |b| (a, b)));
    let cuts: Cuts = pairs.filter(|(a, b)| sides[*a] != sides[*b]).collect();
    for (from, to) in &cuts {
        world.cut(*from, *to);
    }
    let one: Vec<usize> = (0..sides.len()).filter(|host| sides[*host]).collect();
    world.trace.line(world.now_us, format_args!("partition (removal) keeps {one:?} apart"));
    let delay = world.chance.removals.random_range(5_000..14_000);
    world.after(delay * MS, Event::Fault(Fault::Heal(cuts)));
}

/// All is mended, and those that were removed start again: as they were, or from a disk as it was before.
pub(crate) fn knock(world: &mut World) {
    world.knocking = true;
    for number in 0..world.hosts.len() {
        if world.hosts[number].standing != Standing::Removed {
            continue;
        }
        world.kill(number);
        if world.chance.removals.random_bool(0.5) && world.restore_backup(number) {
            world.trace.line(world.now_us, format_args!("h{number} was removed and comes with an old backup"));
        }
        world.boot(number);
    }
}

/// Those that were removed have knocked for long enough.
pub(crate) fn stop_knocking(world: &mut World) {
    world.knocking = false;
    // Who was removed by somebody that nobody had heard, and that does not know it any more, stays.
    world.note_removals();
    world.take_away_removed();
}
