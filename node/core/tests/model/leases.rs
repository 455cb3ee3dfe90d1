//! The leases: at most one container of a slot under the policy `quorum`, by clocks that drift. The product does not do this
//! yet; the rules are those that it is to follow.
//!
//! Time goes by in ticks of true time. Of four ticks a slow clock misses one and a fast clock counts one twice. The voters
//! are three nodes that stay; how their set changes is the model of the voters. Two of the nodes want to run the slot.

use std::fmt;

use super::checker::Model;

mod tests;

const NODES: usize = 3;
/// The first of the nodes: those that may run the slot.
const RUNNERS: usize = 2;
/// The most terms.
const MAX_TERMS: usize = 3;
/// How long a lease lasts by its holder's clock, in ticks.
const LEASE: u8 = 2;
/// How long a container takes to stop at most, in ticks of true time.
const STOP: u8 = 1;
/// By how much the clocks of two nodes differ at most over a lease and a stop.
const DRIFT: u8 = 2;
/// Ticks after which a clock's fault comes again.
const PERIOD: u8 = 4;
const NOBODY: u8 = u8::MAX;

/// A rule that is made weaker, to see that it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weaker {
    /// A leader grants without asking the voters again: it was elected by most of them.
    ConfirmsNothing,
    /// Voters confirm a leader although they have voted in a later term.
    ConfirmsLate,
    /// A lease runs from when the grant arrives.
    RunsFromGrant,
    /// A new leader grants at once.
    WaitsForNothing,
    /// A leader grants to another without waiting after its last grant.
    WaitsOnceOnly,
    /// The wait does not count the drift of clocks.
    WaitsWithoutDrift,
    /// The wait does not count the time that a container takes to stop.
    WaitsWithoutStop,
    /// A new leader renews a node because the object names it, whether or not its lease goes on.
    BelievesTheObject,
    /// A new leader that has renewed a lease once grants to the same node again without proof.
    RenewsUnproved,
    /// A renewal counts although the lease that it renews has ended meanwhile.
    RenewsWhatEnded,
    /// Only the daemon stops containers.
    NoWatchdog,
    /// A restarted daemon begins its lease anew.
    RestartExtends,
    /// The lease is counted by a clock that stands still while the machine sleeps.
    SleepStopsTheClock,
}

/// The model's scope, and the weaker rule if there is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leases {
    /// The most terms; the first has its leader at the start.
    pub(super) terms: u8,
    /// How often a daemon dies.
    pub(super) crashes: u8,
    /// How often a machine sleeps.
    pub(super) sleeps: u8,
    /// Whether any clocks may be fast and any slow. If not, that of C is fast, which leads first, and those of A and B slow.
    pub(super) all_clocks: bool,
    pub(super) weaker: Option<Weaker>,
}

/// A candidate, or a leader once most of the voters have voted for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Reign {
    node: u8,
    leads: bool,
    /// To whom it has granted last.
    holder: u8,
    /// How long it must wait by its own clock before it grants to another than that.
    wait: u8,
    /// How long it must wait, since it was elected, before it grants to who proves no lease.
    young: u8,
}

/// A reign that is over; nothing depends on whose it was.
const OVER: Reign = Reign { node: NOBODY, leads: false, holder: NOBODY, wait: 0, young: 0 };

/// What a node has asked for and not got yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Request {
    /// How long ago it was sent, by the sender's clock; it does not grow beyond a lease.
    age: u8,
    /// Whether it shows a lease that went on when it was sent.
    proof: bool,
    /// The term of the leader that has it now.
    at: Option<u8>,
    /// The voters that have confirmed that leader since.
    confirmed: u8,
    grant: Option<Grant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Grant {
    /// Nobody else can hold a lease.
    Full,
    /// Whoever receives this holds a lease, or must not use it.
    Renewal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Runner {
    request: Option<Request>,
    /// What is left of its lease by its own clock.
    lease: u8,
    runs: bool,
    /// For how long it has run beyond its lease.
    over: u8,
    is_up: bool,
    sleeps: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct State {
    phase: u8,
    /// Whose clock is fast; the others' are slow.
    fast: [bool; NODES],
    /// The latest term in which each node has voted.
    voted: [u8; NODES],
    reigns: [Option<Reign>; MAX_TERMS],
    runners: [Runner; RUNNERS],
    crashes: u8,
    sleeps: u8,
}

/// One thing that may happen.
#[derive(Debug)]
pub(super) enum Step {
    Tick,
    Asks { node: usize, term: u8 },
    Votes { node: usize, term: u8 },
    Requests { node: usize, proof: bool },
    Arrives { node: usize, term: u8 },
    Confirms { voter: usize, node: usize, term: u8 },
    Grants { node: usize, term: u8, grant: Grant },
    Takes { node: usize },
    Dies { node: usize },
    Restarts { node: usize },
    Sleeps { node: usize },
    Wakes { node: usize },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Tick => write!(f, "a tick goes by"),
            Step::Asks { node, term } => write!(f, "{} asks for votes in term {term}", name(*node)),
            Step::Votes { node, term } => write!(f, "{} votes in term {term}", name(*node)),
            Step::Requests { node, proof: true } => write!(f, "{} asks for its lease to be renewed", name(*node)),
            Step::Requests { node, proof: false } => write!(f, "{} asks for a lease", name(*node)),
            Step::Arrives { node, term } => write!(f, "the leader of term {term} hears what {} asks", name(*node)),
            Step::Confirms { voter, node, term } => {
                write!(f, "{} confirms the leader of term {term}, for {}", name(*voter), name(*node))
            }
            Step::Grants { node, term, grant: Grant::Full } => {
                write!(f, "the leader of term {term} grants {} a lease", name(*node))
            }
            Step::Grants { node, term, grant: Grant::Renewal } => {
                write!(f, "the leader of term {term} renews the lease of {}", name(*node))
            }
            Step::Takes { node } => {
                write!(f, "{} receives its grant, and runs the container if that gives it a lease", name(*node))
            }
            Step::Dies { node } => write!(f, "the daemon of {} dies", name(*node)),
            Step::Restarts { node } => write!(f, "the daemon of {} is restarted", name(*node)),
            Step::Sleeps { node } => write!(f, "{} falls asleep", name(*node)),
            Step::Wakes { node } => write!(f, "{} wakes up", name(*node)),
        }
    }
}

impl Model for Leases {
    type State = State;
    type Step = Step;

    /// C leads the first term, elected this moment.
    fn starts(&self) -> Vec<State> {
        let mut reigns = [None; MAX_TERMS];
        reigns[0] = Some(Reign { node: 2, leads: true, holder: NOBODY, wait: 0, young: self.first_wait() });
        let runner = Runner { request: None, lease: 0, runs: false, over: 0, is_up: true, sleeps: false };
        let runners = [runner; RUNNERS];
        let fast = |code: usize| std::array::from_fn(|n| code >> n & 1 == 1);
        let start =
            |code| State { phase: 0, fast: fast(code), voted: [1; NODES], reigns, runners, crashes: 0, sleeps: 0 };
        if self.all_clocks { (0..1 << NODES).map(start).collect() } else { vec![start(0b100)] }
    }

    fn steps(&self, state: &State, into: &mut Vec<(Step, State)>) {
        into.push((Step::Tick, self.tick(state)));
        self.elections(state, into);
        for node in 0..RUNNERS {
            self.requests(state, node, into);
            self.runs(state, node, into);
            self.faults(state, node, into);
        }
    }

    fn canonical(&self, mut state: State) -> State {
        self.forget_what_cannot_matter(&mut state);
        // A is not like B where the object names it.
        let alike = self.weaker != Some(Weaker::BelievesTheObject);
        if alike { state.min(with_runners_swapped(&state)) } else { state }
    }

    fn broken(&self, state: &State) -> Option<String> {
        let runs = |runner: &&Runner| runner.runs && !runner.sleeps;
        if state.runners.iter().filter(runs).count() > 1 {
            return Some("two containers of the slot run".into());
        }
        let holds = state.runners.iter().filter(|runner| runner.lease > 0 && self.weaker.is_none());
        (holds.count() > 1).then(|| "two nodes hold a lease".into())
    }
}

impl Leases {
    /// Requests that would give no lease, leaders that nobody confirms any more, and what depends on them alone.
    fn forget_what_cannot_matter(&self, state: &mut State) {
        let voted = state.voted;
        for runner in &mut state.runners {
            let keeps = |request: &mut Request| request.age >= LEASE && self.weaker != Some(Weaker::RunsFromGrant);
            runner.request.take_if(keeps);
        }
        for (n, term) in (0..MAX_TERMS).zip(1_u8..) {
            let Some(reign) = state.reigns[n].filter(|reign| *reign != OVER) else { continue };
            let votes = mask((0..NODES).filter(|n| voted[*n] <= term));
            let may_win = |request: &Request| request.at == Some(term) && is_majority(request.confirmed | votes);
            let asked = state.runners.iter().flat_map(|runner| &runner.request).any(may_win);
            let unasked = matches!(self.weaker, Some(Weaker::ConfirmsLate | Weaker::ConfirmsNothing));
            let matters = is_majority(votes) || asked || (reign.leads && unasked);
            let holder = if reign.wait == 0 { NOBODY } else { reign.holder };
            state.reigns[n] = Some(if matters { Reign { holder, ..reign } } else { OVER });
        }
        let reigns = state.reigns;
        for request in state.runners.iter_mut().flat_map(|runner| &mut runner.request) {
            let leads = |term: &u8| reigns[usize::from(*term) - 1].is_some_and(|reign| reign.leads);
            request.at = request.at.filter(leads);
            if request.at.is_none() {
                request.confirmed = 0;
            } else if is_majority(request.confirmed) {
                request.confirmed = (1 << NODES) - 1;
            }
        }
    }

    fn wait(&self) -> u8 {
        match self.weaker {
            Some(Weaker::WaitsWithoutDrift) => LEASE + STOP,
            Some(Weaker::WaitsWithoutStop) => LEASE + DRIFT,
            _ => LEASE + STOP + DRIFT,
        }
    }

    fn first_wait(&self) -> u8 {
        if self.weaker == Some(Weaker::WaitsForNothing) { 0 } else { self.wait() }
    }

    fn tick(&self, state: &State) -> State {
        let mut then = *state;
        then.phase = (state.phase + 1) % PERIOD;
        let passes = |node: usize| match (state.fast[node], then.phase == 0) {
            (_, false) => 1,
            (true, true) => 2,
            (false, true) => 0,
        };
        for reign in then.reigns.iter_mut().flatten().filter(|reign| **reign != OVER) {
            let passed = passes(reign.node.into());
            reign.wait = reign.wait.saturating_sub(passed);
            reign.young = reign.young.saturating_sub(passed);
        }
        for (n, runner) in then.runners.iter_mut().enumerate() {
            if let Some(request) = &mut runner.request {
                request.age = (request.age + passes(n)).min(LEASE);
            }
            let ended = runner.lease == 0;
            let stands_still = runner.sleeps && self.weaker == Some(Weaker::SleepStopsTheClock);
            if !stands_still {
                runner.lease = runner.lease.saturating_sub(passes(n));
            }
            let is_stopped = runner.is_up || self.weaker != Some(Weaker::NoWatchdog);
            if runner.runs && ended && is_stopped && !runner.sleeps {
                runner.over += 1;
                if runner.over >= STOP {
                    (runner.runs, runner.over) = (false, 0);
                }
            }
        }
        then
    }

    fn elections(&self, state: &State, into: &mut Vec<(Step, State)>) {
        let term = state.reigns.iter().flatten().count() as u8 + 1;
        for node in 0..NODES {
            if term <= self.terms {
                let mut then = *state;
                let reign = Reign { node: node as u8, leads: false, holder: NOBODY, wait: 0, young: 0 };
                then.reigns[usize::from(term) - 1] = Some(reign);
                then.voted[node] = term;
                into.push((Step::Asks { node, term }, then));
            }
            for term in state.voted[node] + 1..term {
                let mut then = *state;
                then.voted[node] = term;
                if let Some(reign) =
                    then.reigns[usize::from(term) - 1].as_mut().filter(|reign| !reign.leads && **reign != OVER)
                    && is_majority(mask((0..NODES).filter(|n| then.voted[*n] == term)))
                {
                    (reign.leads, reign.young) = (true, self.first_wait());
                }
                into.push((Step::Votes { node, term }, then));
            }
        }
    }

    /// What becomes of a request, up to the grant.
    fn requests(&self, state: &State, node: usize, into: &mut Vec<(Step, State)>) {
        let me = &state.runners[node];
        let mut becomes = |step: Step, request: Request| {
            let mut then = *state;
            then.runners[node].request = Some(request);
            into.push((step, then));
        };
        if me.is_up && !me.sleeps && me.request.is_none_or(|request| request.age > 0 || request.at.is_some()) {
            // The object goes on to name A, whatever became of its lease.
            let proof = me.lease > 0 || (node == 0 && self.weaker == Some(Weaker::BelievesTheObject));
            let new = Request { age: 0, proof, at: None, confirmed: 0, grant: None };
            becomes(Step::Requests { node, proof }, new);
        }
        let Some(request) = me.request.filter(|request| request.grant.is_none()) else { return };
        for (term, reign) in (1_u8..).zip(&state.reigns) {
            let Some(reign) = reign.filter(|reign| reign.leads) else { continue };
            if request.at.is_none_or(|at| at < term) {
                becomes(Step::Arrives { node, term }, Request { at: Some(term), confirmed: 0, ..request });
            }
            if request.at != Some(term) {
                continue;
            }
            let is_confirmed = is_majority(request.confirmed) || self.weaker == Some(Weaker::ConfirmsNothing);
            for voter in (0..NODES).filter(|n| !is_confirmed && request.confirmed >> n & 1 == 0) {
                let later = self.weaker == Some(Weaker::ConfirmsLate) && state.voted[voter] > term;
                if state.voted[voter] == term || later {
                    let confirmed = request.confirmed | 1 << voter;
                    becomes(Step::Confirms { voter, node, term }, Request { confirmed, ..request });
                }
            }
            let may = reign.wait == 0 || usize::from(reign.holder) == node;
            let again = self.weaker == Some(Weaker::RenewsUnproved) && usize::from(reign.holder) == node;
            let believes = self.weaker == Some(Weaker::BelievesTheObject);
            let renewal = if believes { Grant::Full } else { Grant::Renewal };
            let grant = if reign.young == 0 || again { Some(Grant::Full) } else { request.proof.then_some(renewal) };
            let grant = grant.filter(|_| may);
            if let Some(grant) = grant.filter(|_| is_confirmed) {
                let mut then = *state;
                let wait = if self.weaker == Some(Weaker::WaitsOnceOnly) { reign.wait } else { self.wait() };
                then.reigns[usize::from(term) - 1] = Some(Reign { holder: node as u8, wait, ..reign });
                let granted = Request { at: None, confirmed: 0, grant: Some(grant), ..request };
                then.runners[node].request = Some(granted);
                into.push((Step::Grants { node, term, grant }, then));
                return;
            }
        }
    }

    fn runs(&self, state: &State, node: usize, into: &mut Vec<(Step, State)>) {
        let me = &state.runners[node];
        let mut becomes = |step: Step, runner: Runner| {
            let mut then = *state;
            then.runners[node] = runner;
            into.push((step, then));
        };
        let is_awake = me.is_up && !me.sleeps;
        if let Some(Request { age, grant: Some(grant), .. }) = me.request.filter(|_| is_awake) {
            let age = if self.weaker == Some(Weaker::RunsFromGrant) { 0 } else { age };
            let holds = grant == Grant::Full || me.lease > 0 || self.weaker == Some(Weaker::RenewsWhatEnded);
            let lease = if holds { me.lease.max(LEASE - age) } else { me.lease };
            // It starts at once, and stops as late as it may: whatever is done less eagerly runs less.
            let runs = me.runs || lease > 0;
            let over = if lease > 0 { 0 } else { me.over };
            becomes(Step::Takes { node }, Runner { request: None, lease, runs, over, ..*me });
        }
    }

    fn faults(&self, state: &State, node: usize, into: &mut Vec<(Step, State)>) {
        let me = &state.runners[node];
        let mut becomes = |step: Step, runner: Runner, crashes: u8, sleeps: u8| {
            let mut then = *state;
            then.runners[node] = runner;
            (then.crashes, then.sleeps) = (state.crashes + crashes, state.sleeps + sleeps);
            into.push((step, then));
        };
        if me.is_up && !me.sleeps && state.crashes < self.crashes {
            becomes(Step::Dies { node }, Runner { is_up: false, request: None, ..*me }, 1, 0);
        }
        if !me.is_up && !me.sleeps {
            let extended = self.weaker == Some(Weaker::RestartExtends) && me.runs;
            let lease = if extended { LEASE } else { me.lease };
            becomes(Step::Restarts { node }, Runner { is_up: true, lease, ..*me }, 0, 0);
        }
        if !me.sleeps && me.runs && state.sleeps < self.sleeps {
            becomes(Step::Sleeps { node }, Runner { sleeps: true, ..*me }, 0, 1);
        }
        if me.sleeps {
            // What the watchdog does first; see docs/model.md on what this leaves out.
            let runs = me.runs && me.lease > 0;
            becomes(Step::Wakes { node }, Runner { sleeps: false, runs, over: 0, ..*me }, 0, 0);
        }
    }
}

/// The same state with A called B and B called A.
fn with_runners_swapped(state: &State) -> State {
    let name = |node: u8| if node < 2 { 1 - node } else { node };
    let names = |nodes: u8| nodes >> 1 & 1 | (nodes & 1) << 1 | nodes & !3;
    let mut then = *state;
    then.runners.swap(0, 1);
    then.fast.swap(0, 1);
    then.voted.swap(0, 1);
    for reign in then.reigns.iter_mut().flatten() {
        (reign.node, reign.holder) = (name(reign.node), name(reign.holder));
    }
    for request in then.runners.iter_mut().flat_map(|runner| &mut runner.request) {
        request.confirmed = names(request.confirmed);
    }
    then
}

fn is_majority(nodes: u8) -> bool {
    nodes.count_ones() as usize * 2 > NODES
}

fn mask(nodes: impl Iterator<Item = usize>) -> u8 {
    nodes.fold(0, |mask, n| mask | 1 << n)
}

fn name(node: usize) -> char {
    char::from(b'A' + node as u8)
}
