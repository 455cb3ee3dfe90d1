//! Any order of facts, of the runtime's answers and failures, of crashes and of restarts of the daemon ends, once the facts
//! stay as they are, with exactly the wanted containers running and nothing more asked for.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use skein_crdt_state::ObjectKey;
use skein_gossip::NodeId;

use super::fake::{CLUSTER, World, facts, node, slot, value, write};
use super::{Input, SlotFacts};
use crate::model::pod::PodTemplateSpec;
use crate::slot::{Value, pod_uid, winner};
use crate::status::Claim;

#[derive(Debug, Clone)]
enum Step {
    /// The values of a slot become these; which of the others' pods are ready; whether another node claims what it may.
    Facts { slot: u32, values: BTreeSet<u8>, ready: BTreeSet<u8>, claims: bool },
    /// A slot is gone.
    Gone(u32),
    /// The runtime answers.
    Answer { which: usize, works: bool },
    /// A container ends.
    End { which: usize, code: i32 },
    /// Time passes.
    Pass(u64),
    /// A start that an earlier life of the daemon asked for comes true.
    Late,
    /// The daemon is restarted; what was asked of the runtime is lost, or done unseen. It may know less than before.
    Restart { done: usize, behind: bool },
    /// The machine is restarted.
    Reboot { behind: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let values = || proptest::collection::btree_set(1_u8..9, 0..3);
    prop_oneof![
        3 => (0_u32..3, values(), values(), any::<bool>())
            .prop_map(|(slot, values, ready, claims)| Step::Facts { slot, values, ready, claims }),
        1 => (0_u32..3).prop_map(Step::Gone),
        8 => (0_usize..4, proptest::bool::weighted(0.85)).prop_map(|(which, works)| Step::Answer { which, works }),
        2 => (0_usize..4, 0..2).prop_map(|(which, code)| Step::End { which, code }),
        2 => (1_u64..20_000).prop_map(Step::Pass),
        1 => Just(Step::Late),
        1 => (0_usize..3, any::<bool>()).prop_map(|(done, behind)| Step::Restart { done, behind }),
        1 => any::<bool>().prop_map(|behind| Step::Reboot { behind }),
    ]
}

/// A value is the same wherever it appears: on this node, on another, or on none; every second one displaces the one before.
fn the_value(n: u8) -> Value {
    let on = |n: u8| Some(n % 3).filter(|on| *on > 0);
    let displaces = n.is_multiple_of(2).then(|| Some((on(n - 1)?, n - 1))).flatten();
    value(n, on(n), displaces)
}

fn the_facts(n: u32, values: &BTreeSet<u8>, ready: &BTreeSet<u8>, claims: bool) -> SlotFacts {
    let mut facts = facts(n, values.iter().map(|n| the_value(*n)).collect());
    facts.ready = ready.iter().map(|n| write(*n)).collect();
    if n == 2 {
        // Something has to come before its container.
        facts.template = PodTemplateSpec::of(&json!({"spec": {
            "terminationGracePeriodSeconds": 3,
            "volumes": [{"name": "v", "emptyDir": {}}],
            "initContainers": [{"name": "init", "image": "web:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "containers": [{"name": "web", "image": "web:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        }}))
        .map(Arc::new);
    }
    let claimed = facts.values.iter().filter_map(|value| {
        let displaced = value.placement.displaces.filter(|displaced| displaced.node == node(2) && claims)?;
        Some((node(2), Claim { slot: slot(n), against: value.write, kept: displaced.write }))
    });
    facts.claims = claimed.collect();
    facts
}

struct Run {
    world: World,
    facts: BTreeMap<ObjectKey, SlotFacts>,
}

impl Run {
    fn step(&mut self, step: Step) {
        match step {
            Step::Facts { slot, values, ready, claims } => self.learn(the_facts(slot, &values, &ready, claims)),
            Step::Gone(n) => {
                self.facts.remove(&slot(n));
                self.world.give(Input::Slots { changed: Vec::new(), removed: vec![slot(n)] });
            }
            Step::Late => {
                let wall_ms = self.world.now.wall_ms;
                self.world.runtime.carry_out_late(wall_ms);
            }
            Step::Answer { which, works } => {
                let many = self.world.runtime.asked.len();
                if many > 0 {
                    self.world.carry_out(which % many, works);
                }
            }
            Step::End { which, code } => {
                let running = self.world.runtime.running();
                if let Some(id) = running.get(which % running.len().max(1)) {
                    self.world.end(id, code);
                }
            }
            Step::Pass(ms) => {
                let at = self.world.now.mono + std::time::Duration::from_millis(ms);
                self.world.tick(at);
            }
            Step::Restart { done, behind } => {
                let wall_ms = self.world.now.wall_ms;
                for _ in 0..done {
                    self.world.runtime.carry_out(0, true, wall_ms);
                }
                let known = self.facts.values().filter(|_| !behind);
                self.world.restart(known.cloned().collect());
            }
            Step::Reboot { behind } => {
                let known = self.facts.values().filter(|_| !behind);
                self.world.reboot(known.cloned().collect());
            }
        }
    }

    fn learn(&mut self, facts: SlotFacts) {
        self.facts.insert(facts.slot.clone(), facts.clone());
        self.world.learn(facts);
    }

    /// The pods that are to run here in the end.
    fn wanted(&self) -> BTreeSet<String> {
        let won = |facts: &SlotFacts| {
            let own =
                self.world.claims.iter().filter(|claim| claim.slot == facts.slot).map(|claim| (node(1), claim.clone()));
            let claims: Vec<(NodeId, Claim)> = facts.claims.iter().cloned().chain(own).collect();
            let won = winner(&facts.values, &claims).filter(|won| won.node == node(1))?;
            Some(pod_uid(&CLUSTER, &facts.slot, &won.write))
        };
        self.facts.values().filter_map(won).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn exactly_the_wanted_containers_run_in_the_end_and_then_it_is_quiet(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut run = Run { world: World::ready(), facts: BTreeMap::new() };
        steps.into_iter().for_each(|step| run.step(step));
        while !run.world.runtime.late.is_empty() {
            run.step(Step::Late);
        }
        // The others' pods all become ready, so that nothing has to run on for them.
        for mut facts in run.facts.clone().into_values() {
            facts.ready = (0..9).map(write).collect();
            run.learn(facts);
        }
        run.world.pass(3_600_000);
        let running: Vec<String> = run.world.runtime.running().iter().map(|id| id.uid.to_string()).collect();
        prop_assert_eq!(&running.iter().cloned().collect::<BTreeSet<_>>(), &run.wanted());
        prop_assert_eq!(running.len(), run.wanted().len());
        prop_assert_eq!(run.world.reports.keys().cloned().collect::<BTreeSet<_>>(), run.wanted());
        prop_assert!(run.world.reports.values().all(|report| report.ready));
        let volumes: BTreeSet<String> = run.world.runtime.volumes.keys().map(ToString::to_string).collect();
        prop_assert!(volumes.is_subset(&run.wanted()));
        prop_assert_eq!(run.world.agent.poll_timeout(), None);
        let said = run.world.events.len();
        for facts in run.facts.clone().into_values() {
            run.world.learn(facts);
        }
        prop_assert!(run.world.runtime.asked.is_empty());
        prop_assert_eq!(run.world.events.len(), said);
    }

    #[test]
    fn a_slot_that_is_served_is_served_at_every_later_instant(
        values in proptest::collection::btree_set(2_u8..9, 0..3),
        answers in proptest::collection::vec((0_usize..3, 1_u64..3000), 0..20),
    ) {
        // Value 1 runs here and is ready. Whatever merges in, it goes on while no other pod of the slot is ready, unless
        // somebody took it back: then no value is left that displaces anything.
        let mut run = Run { world: World::ready(), facts: BTreeMap::new() };
        run.learn(the_facts(0, &[1].into(), &BTreeSet::new(), false));
        run.world.work();
        let mut merged = values.clone();
        if !merged.iter().any(|n| the_value(*n).placement.displaces.is_some()) {
            merged.insert(1);
        }
        run.learn(the_facts(0, &merged, &BTreeSet::new(), false));
        for (which, ms) in answers {
            let serves = run.world.reports.values().any(|report| report.ready && report.stopping_since_ms == 0);
            let waits = winner(&run.facts[&slot(0)].values, &[]).is_none();
            prop_assert!(serves || waits);
            run.step(Step::Answer { which, works: true });
            run.step(Step::Pass(ms));
        }
    }
}
