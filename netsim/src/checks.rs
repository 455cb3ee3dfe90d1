//! The promises, one file each, with the property in a sentence. Some are watched at every step, the others are asked for
//! once the faults have stopped.

use skein_core::election::Leadership;

use crate::run::Violation;
use crate::world::World;

mod acknowledged;
mod agreement;
mod deleted;
mod leader;
mod replicas;
pub mod traffic;
mod votes;

/// What is amiss, if anything is.
type Check = fn(&World) -> Option<String>;

/// What is watched while a run goes on.
#[derive(Debug, Default)]
pub struct Watch {
    /// What went over the network.
    pub traffic: traffic::Traffic,
    votes: votes::Votes,
    leaders: leader::Leaders,
}

impl Watch {
    /// A vote that has come to a host's disk; what is broken by it.
    pub fn vote(&mut self, host: usize, row: &[u8]) -> Option<String> {
        self.votes.seen(host, row)
    }

    /// A host begins anew with an empty disk.
    pub fn begins_anew(&mut self, host: usize) {
        self.votes.forget(host);
    }

    /// What a host says of who leads; what is broken by it.
    pub fn leadership(&mut self, host: usize, leadership: &Leadership) -> Option<String> {
        self.leaders.seen(host, leadership)
    }
}

/// What must hold in the end and does not hold yet: a run goes on until there is none of it, or its deadline has come.
#[must_use]
pub fn unsettled(world: &World) -> Option<Violation> {
    let checks: [(&'static str, Check); 4] = [
        ("agreement", agreement::check),
        ("leader", leader::check),
        ("replicas", replicas::check),
        ("rollout", replicas::check_rollouts),
    ];
    checks.iter().find_map(|(check, ask)| Some(Violation { check, what: ask(world)?, at_us: world.now_us }))
}

/// What must hold once all is settled.
#[must_use]
pub fn broken(world: &World) -> Option<Violation> {
    let checks: [(&'static str, Check); 2] = [("acknowledged", acknowledged::check), ("deleted", deleted::check)];
    checks.iter().find_map(|(check, ask)| Some(Violation { check, what: ask(world)?, at_us: world.now_us }))
}
