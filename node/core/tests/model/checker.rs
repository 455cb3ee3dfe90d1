//! A search through all states of a model, breadth first, so that the first violation found has the shortest trace. What is
//! modelled does not live here.

use std::fmt::{Display, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The most states of one search. Beyond it the model is too large to be checked with every test run, and the test fails.
const MAX_STATES: usize = 8_000_000;
/// No state: the parent of a start, and an empty place of the table.
const NONE: u32 = u32::MAX;

/// What is searched.
pub(super) trait Model {
    /// All that matters at one instant. Equal states are visited once.
    type State: Clone + Eq + Hash;
    /// One thing that may happen, in words.
    type Step: Display;

    /// Where it may begin.
    fn starts(&self) -> Vec<Self::State>;

    /// All that may happen next, each with what is then.
    fn steps(&self, state: &Self::State, into: &mut Vec<(Self::Step, Self::State)>);

    /// What must not be so, if it is.
    fn broken(&self, state: &Self::State) -> Option<String>;

    /// Whether a step is something that the protocol itself does, sooner or later: no fault, and no user's doing.
    fn is_own(&self, _: &Self::Step) -> bool {
        true
    }

    /// What must not be so when nothing is left for the protocol to do, if it is.
    fn unsettled(&self, _: &Self::State) -> Option<String> {
        None
    }

    /// One of the states that are the same but for the names of nodes. The search visits that one alone.
    fn canonical(&self, state: Self::State) -> Self::State {
        state
    }
}

/// What a search found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Findings {
    /// How many different states were visited.
    pub(super) states: usize,
    /// How many steps the farthest of them is away from a start.
    pub(super) depth: usize,
    /// The first violation, if there is one.
    pub(super) violation: Option<Violation>,
}

/// A violation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// What is broken.
    pub(super) what: String,
    /// A shortest way there, in words.
    pub(super) trace: Vec<String>,
}

impl Violation {
    /// What is broken, and the way there.
    pub(super) fn tell(&self) -> String {
        let mut text = format!("{}, after {} steps\n", self.what, self.trace.len());
        for (n, step) in self.trace.iter().enumerate() {
            let _ = writeln!(text, "{:>3}. {step}", n + 1);
        }
        text
    }
}

/// Visits every state that can be reached, until one is broken.
pub(super) fn search<M: Model>(model: &M) -> Findings {
    let mut seen = Seen::default();
    for start in model.starts() {
        seen.add(model.canonical(start), NONE);
    }
    let (mut next, mut depth, mut end_of_level) = (0, 0, seen.states.len());
    let mut steps = Vec::new();
    while next < seen.states.len() {
        if next == end_of_level {
            (depth, end_of_level) = (depth + 1, seen.states.len());
        }
        let state = seen.states[next].clone();
        model.steps(&state, &mut steps);
        let is_settled = !steps.iter().any(|(step, _)| model.is_own(step));
        let what = model.broken(&state).or_else(|| model.unsettled(&state).filter(|_| is_settled));
        if let Some(what) = what {
            let (trace, state) = trace(model, &seen, next);
            let what = model.broken(&state).unwrap_or(what);
            let violation = Some(Violation { what, trace });
            return Findings { states: seen.states.len(), depth, violation };
        }
        for (_, state) in steps.drain(..) {
            seen.add(model.canonical(state), u32::try_from(next).unwrap_or(NONE));
        }
        next += 1;
    }
    Findings { states: seen.states.len(), depth, violation: None }
}

/// The steps that lead to a state, and the state. They are found again from the start on, so that nodes keep their names on
/// the way even where the search went on with other names.
fn trace<M: Model>(model: &M, seen: &Seen<M::State>, to: usize) -> (Vec<String>, M::State) {
    let mut way = vec![to];
    while let Some(parent) = way.last().map(|n| seen.parents[*n]).filter(|parent| *parent != NONE) {
        way.push(parent as usize);
    }
    let first = &seen.states[way.pop().unwrap_or(to)];
    let begins = |start: &M::State| &model.canonical(start.clone()) == first;
    let mut state = model.starts().into_iter().find(begins).expect("every way begins at a start");
    let mut told = Vec::new();
    let mut steps = Vec::new();
    while let Some(n) = way.pop() {
        model.steps(&state, &mut steps);
        let found = steps.drain(..).find(|(_, then)| model.canonical(then.clone()) == seen.states[n]);
        let (step, then) = found.expect("states that are alike have steps that are alike");
        told.push(step.to_string());
        state = then;
    }
    (told, state)
}

/// The states visited, in the order of their visit, and a table that finds them by hash. Nothing is decided by a hash
/// alone: states are compared.
struct Seen<S> {
    states: Vec<S>,
    parents: Vec<u32>,
    table: Vec<u32>,
}

impl<S> Default for Seen<S> {
    fn default() -> Self {
        Seen { states: Vec::new(), parents: Vec::new(), table: vec![NONE; 1 << 10] }
    }
}

impl<S: Eq + Hash> Seen<S> {
    fn add(&mut self, state: S, parent: u32) {
        if self.states.len() * 2 >= self.table.len() {
            self.grow();
        }
        let mut place = place(&state, self.table.len());
        while self.table[place] != NONE {
            if self.states[self.table[place] as usize] == state {
                return;
            }
            place = (place + 1) % self.table.len();
        }
        assert!(self.states.len() < MAX_STATES, "more than {MAX_STATES} states: the model's scope is too large");
        self.table[place] = u32::try_from(self.states.len()).unwrap_or(NONE);
        self.states.push(state);
        self.parents.push(parent);
    }

    fn grow(&mut self) {
        self.table = vec![NONE; self.table.len() * 4];
        for (n, state) in self.states.iter().enumerate() {
            let mut place = place(state, self.table.len());
            while self.table[place] != NONE {
                place = (place + 1) % self.table.len();
            }
            self.table[place] = u32::try_from(n).unwrap_or(NONE);
        }
    }
}

fn place(state: &impl Hash, places: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    // A power of two fits any number.
    usize::try_from(hasher.finish() % places as u64).unwrap_or(0)
}

mod tests {
    use super::*;

    /// A number that is raised by 1 or 3 up to 9, and set back to 0 by a fault.
    struct Count {
        forbidden: u8,
    }

    impl Model for Count {
        type State = u8;
        type Step = &'static str;

        fn starts(&self) -> Vec<u8> {
            vec![0]
        }

        fn steps(&self, state: &u8, into: &mut Vec<(&'static str, u8)>) {
            into.extend([("one", state + 1), ("three", state + 3)].into_iter().filter(|(_, then)| *then <= 9));
            into.push(("fault", 0));
        }

        fn broken(&self, state: &u8) -> Option<String> {
            (*state == self.forbidden).then(|| format!("it is {state}"))
        }

        fn is_own(&self, step: &&'static str) -> bool {
            *step != "fault"
        }

        fn unsettled(&self, state: &u8) -> Option<String> {
            (self.forbidden == 99).then(|| format!("it ends at {state}"))
        }
    }

    #[test]
    fn all_states_are_visited_once() {
        assert_eq!(search(&Count { forbidden: 50 }), Findings { states: 10, depth: 4, violation: None });
    }

    #[test]
    fn the_trace_of_a_violation_is_a_shortest_one() {
        let violation = search(&Count { forbidden: 7 }).violation;
        assert_eq!(
            violation.map(|v| (v.what, v.trace)),
            Some(("it is 7".into(), vec!["one".into(), "three".into(), "three".into()]))
        );
    }

    #[test]
    fn what_is_left_when_only_faults_may_follow_is_judged_there_alone() {
        let violation = search(&Count { forbidden: 99 }).violation;
        assert_eq!(violation.map(|v| (v.what, v.trace.len())), Some(("it ends at 9".into(), 3)));
    }
}
