//! The failure detector alone: deaths are seen in time, nodes that live are not called down, and local health is worth
//! something. The figures that it is known by are in `docs/detection.md`; here are bounds that hold for any seed.
#![allow(clippy::unwrap_used)]

use skein_netsim::detect::{Figures, Plan, run};

const MINUTE_US: u64 = 60_000_000;

fn plan(nodes: usize) -> Plan {
    Plan { nodes, watch_us: 0, deaths: 0, loss_permille: 0, slow_percent: 0, local_health: true, seed: 1 }
}

fn slowest_ms(figures: &Figures) -> u64 {
    figures.deaths.iter().map(|death| death.last_us / 1000).max().unwrap()
}

#[test]
fn a_silent_death_among_five_is_seen_by_all_within_four_seconds_and_nobody_is_suspected_without_need() {
    let figures = run(&Plan { deaths: 30, watch_us: 30 * MINUTE_US, ..plan(5) }).unwrap();
    assert!(slowest_ms(&figures) <= 4_000, "{:?}", figures.deaths);
    assert!(figures.deaths.iter().all(|death| death.first_us <= death.median_us && death.median_us <= death.last_us));
    assert_eq!((figures.alarms, figures.words, figures.suspicions), (0, 0, 0));
    assert!(figures.frames > 0 && figures.bytes > figures.frames);
}

#[test]
fn a_large_cluster_sees_a_death_within_eight_seconds_though_frames_are_lost_and_raises_no_false_alarm() {
    for local_health in [true, false] {
        let trouble = Plan { loss_permille: 50, local_health, ..plan(60) };
        let figures = run(&Plan { deaths: 10, watch_us: 5 * MINUTE_US, ..trouble }).unwrap();
        assert!(slowest_ms(&figures) <= 8_000, "{:?}", figures.deaths);
        assert!(figures.suspicions > 0, "with losses there are suspicions");
        assert_eq!((figures.alarms, figures.words), (0, 0));
    }
}

#[test]
fn slow_nodes_are_called_down_without_local_health_and_not_with_it() {
    let slow = Plan { slow_percent: 5, watch_us: 180 * MINUTE_US, ..plan(5) };
    assert_eq!(slow.slow(), 1);
    let (with, without) = (run(&slow).unwrap(), run(&Plan { local_health: false, ..slow }).unwrap());
    assert!(without.alarms >= 10, "{without:?}");
    assert_eq!(with.alarms, 0, "{with:?}");
    assert_eq!(without.alarms_of_well, 0, "it is the slow one that is called down: {without:?}");
}

#[test]
fn a_seed_gives_the_same_figures_again_and_another_one_others() {
    let some = Plan { deaths: 2, watch_us: MINUTE_US, loss_permille: 50, slow_percent: 20, ..plan(10) };
    assert_eq!(run(&some).unwrap(), run(&some).unwrap());
    assert_ne!(run(&some).unwrap(), run(&Plan { seed: 2, ..some }).unwrap());
}
