//! What holds for all clusters, rollouts and partitions.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::{World, deployment};
use crate::controllers::Step;
use crate::status::Phase;

/// A Deployment of `image` that asks for so much of a core.
fn web(replicas: u32, image: &str, surge: &Value, unavailable: &Value, cpu_millis: u64) -> Value {
    let more = json!({"spec": {
        "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
        "template": {"spec": {"containers": [
            {"name": "web", "image": image, "resources": {"requests": {"cpu": format!("{cpu_millis}m")}}}]}},
    }});
    deployment(replicas, image, more)
}

fn bound() -> impl Strategy<Value = Value> {
    prop_oneof![(0..4_u32).prop_map(|n| json!(n)), (0..101_u32).prop_map(|n| json!(format!("{n}%")))]
}

/// How many more there may be and how many must serve, by Kubernetes' rounding.
fn limits(replicas: u32, surge: &Value, unavailable: &Value) -> (usize, usize) {
    let part = |value: &Value, up: bool| match value {
        Value::String(text) => {
            let percent: u32 = text.trim_end_matches('%').parse().unwrap();
            if up { (replicas * percent).div_ceil(100) } else { replicas * percent / 100 }
        }
        number => u32::try_from(number.as_u64().unwrap()).unwrap(),
    };
    let (surge, unavailable) = (part(surge, true), part(unavailable, false).min(replicas));
    let unavailable = if surge == 0 && unavailable == 0 { replicas.min(1) } else { unavailable };
    ((replicas + surge) as usize, (replicas - unavailable) as usize)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn plans_come_to_rest_with_exactly_what_was_asked_for_or_say_why_not(
        nodes in prop::collection::vec((1..8_u64).prop_map(|cores| (cores * 1000, 4_u64 << 30)), 1..6),
        replicas in prop::collection::vec(0..8_u32, 1..4),
        cpu in 1..2000_u64,
    ) {
        let mut world = World::with(&nodes);
        world.settle();
        for (n, replicas) in replicas.iter().enumerate() {
            world.create_in("Deployment.apps", &format!("d{n}"), &web(*replicas, "i", &json!(1), &json!(0), cpu));
        }
        prop_assert!(world.settle() <= 2);
        let asked: u32 = replicas.iter().sum();
        let room: u64 = nodes.iter().map(|(cores, _)| cores / cpu).sum();
        let fits = usize::try_from(u64::from(asked).min(room)).unwrap();
        prop_assert_eq!(world.counts().0, asked as usize);
        prop_assert_eq!(world.pods().len(), fits);
        prop_assert_eq!(world.unschedulable.len(), asked as usize - fits);
        for (n, pods) in world.spread().iter().enumerate() {
            prop_assert!(*pods as u64 * cpu <= nodes[n].0, "node {} is not overfilled", n);
        }
    }

    #[test]
    fn a_rollout_keeps_its_bounds_whatever_gets_ready_when(
        replicas in 0..9_u32,
        surge in bound(),
        unavailable in bound(),
        lucky in prop::collection::vec(any::<u16>(), 40),
    ) {
        let mut world = World::new(3);
        let key = world.create_in("Deployment.apps", "web", &web(replicas, "web:1", &surge, &unavailable, 10));
        world.settle_running();
        world.apply(&key, &web(replicas, "web:2", &surge, &unavailable, 10));
        let (most, fewest) = limits(replicas, &surge, &unavailable);
        for bits in lucky {
            // Some that were ready are not any more: that is not the plan's doing, but it must not make it worse.
            if bits % 5 == 0 {
                let pods = world.pods();
                if let Some((slot, pod)) = pods.get(usize::from(bits) / 5 % pods.len().max(1)) {
                    world.say_pod(slot, pod, Phase::Running, false);
                }
            }
            let before = world.counts().1;
            world.round();
            let (slots, available) = world.counts();
            prop_assert!(slots <= most, "{slots} slots, at most {most}");
            prop_assert!(available >= fewest.min(before), "{available} of {before} available, at least {fewest}");
            world.run_pods(|slot| bits >> (slot.name().parse::<u16>().unwrap_or(0) % 16) & 1 == 1);
            world.pass(Duration::from_millis(500));
        }
        world.settle_running();
        let view = world.view();
        let current = &view.deployments[0].current;
        prop_assert!(view.slots().all(|(set, _)| set.key == *current), "all are of the new template");
        prop_assert_eq!(world.counts(), (replicas as usize, replicas as usize));
    }

    #[test]
    fn the_same_plan_follows_from_the_same_state_whoever_makes_it(
        replicas in 0..9_u32,
        rounds in 0..6_usize,
        lost in any::<bool>(),
    ) {
        let mut world = World::new(4);
        let key = world.create_in("Deployment.apps", "web", &web(replicas, "web:1", &json!(2), &json!(1), 10));
        world.settle_running();
        world.apply(&key, &web(replicas + 1, "web:2", &json!(2), &json!(1), 10));
        for _ in 0..rounds {
            world.round();
            world.run_pods(|slot| slot.name() < "3");
        }
        if lost {
            world.lose(&[2]);
            world.pass(Duration::from_millis(1500));
        }
        let mut other = world.fork(1);
        let writes = |world: &mut World| {
            let items = world.plan().items.into_iter().filter(|step| !matches!(step, Step::Event(_)));
            items.collect::<Vec<_>>()
        };
        let first = writes(&mut world);
        prop_assert_eq!(&first, &writes(&mut world));
        prop_assert_eq!(first, writes(&mut other));
    }

    #[test]
    fn a_rollout_here_and_a_rollback_there_merge_to_exactly_what_is_asked_for(
        replicas in 1..6_u32,
        before in 0..4_usize,
        here in 0..12_usize,
        there in 0..12_usize,
        scaled in prop::option::of(1..6_u32),
    ) {
        let limits = (json!(1), json!(0));
        let mut a = World::new(4);
        let key = a.create_in("Deployment.apps", "web", &web(replicas, "web:1", &limits.0, &limits.1, 10));
        a.settle_running();
        a.apply(&key, &web(replicas, "web:2", &limits.0, &limits.1, 10));
        for _ in 0..before {
            a.round();
            a.run_all();
        }
        let mut b = a.fork(3);
        a.lose(&[2, 3]);
        b.lose(&[0, 1]);
        b.pass(Duration::from_millis(1500));
        b.apply(&key, &web(scaled.unwrap_or(replicas), "web:1", &limits.0, &limits.1, 10));
        a.pass(Duration::from_millis(1500));
        for (side, rounds) in [(&mut a, here), (&mut b, there)] {
            for _ in 0..rounds {
                side.round();
                side.run_all();
                side.pass(Duration::from_millis(20));
            }
        }
        let snapshot = a.fork(0);
        a.learn(&b);
        b.learn(&snapshot);
        prop_assert_eq!(a.store.state_hash(), b.store.state_hash());
        a.find(&[2, 3]);
        let wanted = scaled.unwrap_or(replicas) as usize;
        // One plan is enough for pods to be wanted again, if the merge left none.
        a.round();
        prop_assert!(!a.pods().is_empty());
        a.settle_running();
        prop_assert_eq!(a.counts(), (wanted, wanted));
        let view = a.view();
        let current = &view.deployments[0].current;
        prop_assert!(view.slots().all(|(set, _)| set.key == *current));
    }
}
