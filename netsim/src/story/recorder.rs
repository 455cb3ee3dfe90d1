//! Watches a run and writes down its story. It looks at the world between events and takes the trace's lines as they
//! come; the world knows nothing of it, and a run that nobody watches costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use skein_core::request::{RequestId, WriteOp};
use skein_core::runtime::{ContainerInfo, ContainerRef};
use skein_crdt_state::ObjectKey;

use super::{Follows, Idle, Lane, Moment, Pod, Span, Story, Told, Write};
use crate::host::Host;
use crate::oracle::Answer;
use crate::run::Observer;
use crate::trace::Line;
use crate::world::World;

/// How much time passes between two looks at least, in virtual microseconds. What is shorter cannot be seen on a page.
const LOOK_US: u64 = 2_000;
/// The most other moments that are kept; those after it are only counted.
const MAX_MOMENTS: usize = 20_000;

/// Watches a run.
#[derive(Debug, Default)]
pub struct Recorder {
    story: Story,
    looked_us: Option<u64>,
    /// Whether faults and users were at work at the last look.
    was_busy: bool,
    /// What the trace said last of each lane.
    said: BTreeMap<usize, String>,
    idle: BTreeMap<usize, Open<Idle>>,
    follows: BTreeMap<usize, Open<Follows>>,
    pods: BTreeMap<(usize, ContainerRef), Open<Pod>>,
    cuts: BTreeMap<(usize, usize), Open<()>>,
    partition: Option<Open<Vec<usize>>>,
    /// Where the writes are that wait for their answers.
    writes: BTreeMap<RequestId, usize>,
    waiting: BTreeSet<RequestId>,
}

/// Something that holds since a while.
#[derive(Debug, Clone, PartialEq)]
struct Open<T> {
    since_us: u64,
    what: T,
}

impl<T> Open<T> {
    fn close(self, at_us: u64) -> Span<T> {
        Span { from_us: self.since_us, to_us: at_us, what: self.what }
    }
}

impl Observer for Recorder {
    fn line(&mut self, line: &Line) {
        self.story.end_us = self.story.end_us.max(line.at_us);
        let lane = host_in(&line.what);
        // What users ask and who leads is seen in the world itself.
        let told_elsewhere = [" request ", " leader "].iter().any(|word| line.what.contains(word));
        if told_elsewhere && lane.is_some() {
            return;
        }
        if let Some(lane) = lane {
            self.said.insert(lane, line.what.clone());
        }
        if self.story.moments.len() < MAX_MOMENTS && !line.what.starts_with("seed ") {
            self.story.moments.push(Moment { at_us: line.at_us, lane, what: line.what.clone() });
        }
    }

    fn look(&mut self, world: &World) {
        self.story.end_us = world.now_us;
        let due = self.looked_us.is_none_or(|looked| world.now_us >= looked + LOOK_US);
        if !due && world.violation.is_none() {
            return;
        }
        self.looked_us = Some(world.now_us);
        if self.was_busy && !world.busy && world.violation.is_none() {
            self.story.mended_us = Some(world.now_us);
        }
        self.was_busy = world.busy;
        for host in &world.hosts {
            self.look_at_host(world, host);
        }
        self.look_at_links(world);
        self.look_at_writes(world);
    }
}

impl Recorder {
    /// The story, once the run is over: what held last held until then.
    #[must_use]
    pub fn finish(mut self) -> Story {
        let end_us = self.story.end_us;
        for (lane, open) in std::mem::take(&mut self.idle) {
            self.story.lanes[lane].idle.push(open.close(end_us));
        }
        for (lane, open) in std::mem::take(&mut self.follows) {
            self.story.lanes[lane].follows.push(open.close(end_us));
        }
        for ((lane, _), open) in std::mem::take(&mut self.pods) {
            self.story.lanes[lane].pods.push(open.close(end_us));
        }
        for lane in &mut self.story.lanes {
            lane.pods.sort_by(|a, b| (a.from_us, &a.what.slot).cmp(&(b.from_us, &b.what.slot)));
        }
        for (pair, open) in std::mem::take(&mut self.cuts) {
            self.story.cuts.push(Span { from_us: open.since_us, to_us: end_us, what: pair });
        }
        if let Some(open) = self.partition.take() {
            self.story.partitions.push(open.close(end_us));
        }
        for id in std::mem::take(&mut self.waiting) {
            self.story.writes[self.writes[&id]].answered_us = end_us;
        }
        self.story
    }

    fn look_at_host(&mut self, world: &World, host: &Host) {
        let (lane, now_us) = (host.number, world.now_us);
        while self.story.lanes.len() <= lane {
            let name = world.hosts[self.story.lanes.len()].name.clone();
            self.story.lanes.push(Lane { name, ..Lane::default() });
        }
        let idle = if host.node.is_none() {
            // Before its first start it is not down.
            (host.start > 0).then(|| Idle::Down(self.said.get(&lane).cloned().unwrap_or_default()))
        } else {
            host.paused.then_some(Idle::Paused)
        };
        // Why a node is down is what was said when it went down.
        let same = |known: &Idle, idle: &Idle| std::mem::discriminant(known) == std::mem::discriminant(idle);
        turn(&mut self.idle, lane, now_us, idle, same, |span| self.story.lanes[lane].idle.push(span));
        let leadership = host.node.as_ref().map(skein_core::node::Node::leadership);
        let follows = leadership.and_then(|said| {
            let leader = if said.mine { lane } else { world.host_of(said.leader.as_ref()?)? };
            Some(Follows { leader, term: said.term, quorate: said.quorate })
        });
        let pushed = |span| self.story.lanes[lane].follows.push(span);
        turn(&mut self.follows, lane, now_us, follows, PartialEq::eq, pushed);
        self.look_at_pods(host, now_us);
    }

    fn look_at_pods(&mut self, host: &Host, now_us: u64) {
        let lane = host.number;
        let mut runs = BTreeSet::new();
        for info in host.engine.running() {
            let key = (lane, info.id.clone());
            self.pods.entry(key.clone()).or_insert_with(|| Open { since_us: now_us, what: pod(info) });
            runs.insert(key);
        }
        let over: Vec<(usize, ContainerRef)> =
            self.pods.keys().filter(|key| key.0 == lane && !runs.contains(*key)).cloned().collect();
        for key in over {
            if let Some(open) = self.pods.remove(&key) {
                self.story.lanes[lane].pods.push(open.close(now_us));
            }
        }
    }

    fn look_at_links(&mut self, world: &World) {
        let (count, now_us) = (world.hosts.len(), world.now_us);
        let sides = sides(count, |from, to| world.links.passes(from, to));
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                let cut = (sides[from] == sides[to] && !world.links.passes(from, to)).then_some(());
                let pushed = |span: Span<()>| {
                    self.story.cuts.push(Span { from_us: span.from_us, to_us: span.to_us, what: (from, to) });
                };
                turn(&mut self.cuts, (from, to), now_us, cut, PartialEq::eq, pushed);
            }
        }
        let parted = sides.iter().any(|side| *side != sides[0]);
        if self.partition.as_ref().map(|open| &open.what) == parted.then_some(&sides) {
            return;
        }
        if let Some(open) = self.partition.take() {
            self.story.partitions.push(open.close(now_us));
        }
        self.partition = parted.then_some(Open { since_us: now_us, what: sides });
    }

    fn look_at_writes(&mut self, world: &World) {
        for (id, asked) in world.oracle.all() {
            let at = *self.writes.entry(*id).or_insert_with(|| {
                self.waiting.insert(*id);
                self.story.writes.push(Write {
                    lane: asked.peer,
                    asked_us: world.now_us,
                    answered_us: world.now_us,
                    what: sentence(&asked.op),
                    told: Told::Nothing,
                    answer: String::new(),
                });
                self.story.writes.len() - 1
            });
            if asked.answer != Answer::Unknown && self.waiting.remove(id) {
                let write = &mut self.story.writes[at];
                write.answered_us = world.now_us;
                (write.told, write.answer) = told(&asked.answer);
            }
        }
    }
}

/// Goes on with what holds, or closes it and begins another.
fn turn<K: Ord, T: Clone>(
    open: &mut BTreeMap<K, Open<T>>,
    key: K,
    now_us: u64,
    holds: Option<T>,
    same: impl Fn(&T, &T) -> bool,
    closed: impl FnOnce(Span<T>),
) {
    match (open.get(&key), &holds) {
        (None, None) => return,
        (Some(known), Some(now)) if same(&known.what, now) => return,
        _ => {}
    }
    if let Some(known) = open.remove(&key) {
        closed(known.close(now_us));
    }
    if let Some(what) = holds {
        open.insert(key, Open { since_us: now_us, what });
    }
}

/// On which side each is, if nothing passes between sides in either direction. The greatest side is 0.
fn sides(count: usize, passes: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut side: Vec<Option<usize>> = vec![None; count];
    let mut sizes = Vec::new();
    for first in 0..count {
        if side[first].is_some() {
            continue;
        }
        let (number, mut open) = (sizes.len(), vec![first]);
        sizes.push(0);
        side[first] = Some(number);
        while let Some(one) = open.pop() {
            sizes[number] += 1;
            for (other, side) in side.iter_mut().enumerate().filter(|(_, side)| side.is_none()) {
                if passes(one, other) || passes(other, one) {
                    *side = Some(number);
                    open.push(other);
                }
            }
        }
    }
    let mut by_size: Vec<usize> = (0..sizes.len()).collect();
    by_size.sort_by_key(|number| std::cmp::Reverse(sizes[*number]));
    let rank = |number: usize| by_size.iter().position(|other| *other == number).unwrap_or(0);
    side.into_iter().map(|number| rank(number.unwrap_or(0))).collect()
}

/// Of which host a line of the trace speaks: the one that it begins with, or else the only one in it.
fn host_in(line: &str) -> Option<usize> {
    let mut hosts = line.split(' ').filter_map(|word| word.strip_prefix('h')?.parse().ok());
    let first = hosts.next()?;
    let begins = line.starts_with(&format!("h{first} "));
    (begins || hosts.next().is_none()).then_some(first)
}

fn pod(info: &ContainerInfo) -> Pod {
    let key: Option<ObjectKey> = info.slot.parse().ok();
    let owner = key.and_then(|key| Some(key.segments().get(1)?.clone())).map(|segment| segment.name.to_string());
    let workload = format!("{}/{}", info.namespace, owner.unwrap_or_else(|| info.pod.to_string()));
    Pod { name: info.pod.to_string(), slot: info.slot.to_string(), workload, image: info.image.to_string() }
}

fn sentence(op: &WriteOp) -> String {
    match op {
        WriteOp::Create { name, .. } => format!("create {name}"),
        WriteOp::Edit { key, edits, .. } => {
            let edits: Vec<String> = edits
                .iter()
                .map(|edit| match &edit.value {
                    Some(value) => format!("{} = {value:?}", edit.path),
                    None => format!("no {}", edit.path),
                })
                .collect();
            format!("edit {key}: {}", edits.join(", "))
        }
        WriteOp::Delete { key, .. } => format!("delete {key}"),
        WriteOp::Remove { node } => format!("remove {}", node.short()),
    }
}

fn told(answer: &Answer) -> (Told, String) {
    match answer {
        Answer::Unknown => (Told::Nothing, String::new()),
        Answer::Done(reply) => (Told::Done, format!("done: {}", reply.key)),
        Answer::DoneWithWarning(reply) => (Told::Warned, format!("done: {}; {}", reply.key, reply.warnings.join("; "))),
        Answer::Refused(error) => (Told::Refused, format!("refused: {error}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::knobs::Knobs;
    use crate::overrides;
    use crate::run::run_watched;

    fn story(knobs: &Knobs) -> Story {
        let mut recorder = Recorder::default();
        run_watched(knobs, &mut recorder);
        recorder.finish()
    }

    #[test]
    fn sides_are_what_nothing_passes_between_and_the_greatest_comes_first() {
        let cut = |pairs: &'static [(usize, usize)]| move |from, to| !pairs.contains(&(from, to));
        assert_eq!(sides(3, cut(&[])), [0, 0, 0]);
        assert_eq!(sides(3, cut(&[(0, 1), (1, 0), (0, 2), (2, 0)])), [1, 0, 0]);
        // One direction is enough to hear of each other, and so is a third who hears both.
        assert_eq!(sides(2, cut(&[(0, 1)])), [0, 0]);
        assert_eq!(sides(3, cut(&[(0, 1), (1, 0)])), [0, 0, 0]);
        assert_eq!(sides(0, cut(&[])), [0; 0]);
    }

    #[test]
    fn a_line_speaks_of_the_host_that_it_begins_with_or_names_alone() {
        assert_eq!(host_in("h12 boots, start 1"), Some(12));
        assert_eq!(host_in("h3 and h2 lose their connection"), Some(3));
        assert_eq!(host_in("the clock of h4 jumps"), Some(4));
        assert_eq!(host_in("cut from h1 to h2"), None);
        assert_eq!(host_in("hello"), None);
    }

    #[test]
    fn what_holds_goes_on_and_what_changes_is_closed() {
        let (mut open, mut closed) = (BTreeMap::new(), Vec::new());
        for (now_us, holds) in [(1, None), (2, Some(7)), (3, Some(7)), (4, Some(8)), (6, None)] {
            turn(&mut open, "x", now_us, holds, PartialEq::eq, |span| {
                closed.push((span.from_us, span.to_us, span.what));
            });
        }
        assert_eq!(closed, [(2, 4, 7), (4, 6, 8)]);
        assert!(open.is_empty());
    }

    #[test]
    fn crashes_and_cuts_and_writes_are_in_the_story() {
        let calm = Knobs::calm(4, 4);
        let quiet = story(&Knobs { busy_ms: 3_000, ..calm.clone() });
        assert!(quiet.lanes.iter().all(|lane| lane.idle.is_empty()) && quiet.cuts.is_empty());
        assert!(quiet.writes.iter().any(|write| write.told == Told::Done && write.answered_us > write.asked_us));
        let mut knobs = Knobs { busy_ms: 6_000, ..calm };
        for pair in ["crash_every_ms=1000", "one_way_every_ms=500"] {
            overrides::set(&mut knobs, pair).unwrap();
        }
        let broken = story(&knobs);
        let down = |span: &Span<Idle>| matches!(&span.what, Idle::Down(said) if said.contains("killed"));
        assert!(broken.lanes.iter().flat_map(|lane| &lane.idle).any(down), "{:?}", broken.lanes);
        assert!(!broken.cuts.is_empty() && broken.cuts.iter().all(|cut| cut.from_us < cut.to_us));
        assert!(broken.lanes.iter().flat_map(|lane| &lane.pods).all(|pod| pod.to_us <= broken.end_us));
    }
}
