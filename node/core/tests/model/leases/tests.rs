//! What is checked of the leases, in which scopes, and which rules are seen to be needed. The model itself does not live
//! here.

use super::super::checker::search;
use super::super::page::{assert_sound, assert_weaker};
use super::*;

const ONE: Leases = Leases { terms: 1, crashes: 0, sleeps: 0, all_clocks: true, weaker: None };
const TWO: Leases = Leases { terms: 2, all_clocks: false, ..ONE };

#[test]
fn two_nodes_want_the_slot_under_one_leader() {
    assert_sound("1 term, any clocks, 1 crash, 1 sleep", &search(&Leases { crashes: 1, sleeps: 1, ..ONE }));
}

#[test]
fn two_nodes_want_the_slot_while_one_leader_follows_another() {
    assert_sound("2 terms", &search(&TWO));
}

#[test]
#[ignore = "takes a minute"]
fn two_nodes_want_the_slot_while_one_leader_follows_another_by_any_clocks() {
    assert_sound("2 terms, any clocks", &search(&Leases { all_clocks: true, ..TWO }));
}

#[test]
#[ignore = "takes a minute"]
fn a_daemon_dies_while_one_leader_follows_another() {
    assert_sound("2 terms, any clocks, 1 crash", &search(&Leases { all_clocks: true, crashes: 1, ..TWO }));
}

fn assert_needed(rule: &str, weaker: Weaker, model: Leases) {
    assert_weaker(rule, &search(&Leases { weaker: Some(weaker), ..model }));
}

#[test]
fn a_grant_is_confirmed_anew() {
    assert_needed("a leader grants because it was elected", Weaker::ConfirmsNothing, TWO);
}

#[test]
fn who_has_voted_later_confirms_nothing() {
    assert_needed("voters confirm that have voted in a later term", Weaker::ConfirmsLate, TWO);
}

#[test]
fn a_lease_runs_from_its_request() {
    assert_needed("a lease runs from the arrival of its grant", Weaker::RunsFromGrant, ONE);
}

#[test]
fn a_new_leader_waits() {
    assert_needed("a new leader does not wait", Weaker::WaitsForNothing, TWO);
}

#[test]
fn a_leader_waits_after_a_grant_to_another() {
    assert_needed("a leader does not wait after a grant to another", Weaker::WaitsOnceOnly, ONE);
}

#[test]
fn the_wait_counts_the_drift_of_clocks() {
    assert_needed("the wait leaves out the drift of clocks", Weaker::WaitsWithoutDrift, ONE);
}

#[test]
fn the_wait_counts_the_time_to_stop() {
    assert_needed("the wait leaves out the time to stop", Weaker::WaitsWithoutStop, ONE);
}

#[test]
fn the_object_is_no_evidence() {
    assert_needed("a new leader believes what the object says of its node", Weaker::BelievesTheObject, TWO);
}

#[test]
fn whom_a_new_leader_has_renewed_proves_its_lease_again() {
    assert_needed("a new leader renews the same node again without proof", Weaker::RenewsUnproved, TWO);
}

#[test]
fn a_renewal_revives_no_lease() {
    assert_needed("a renewal revives a lease that has ended meanwhile", Weaker::RenewsWhatEnded, TWO);
}

#[test]
fn a_watchdog_outlives_the_daemon() {
    assert_needed("only the daemon stops containers", Weaker::NoWatchdog, Leases { crashes: 1, ..ONE });
}

#[test]
fn a_restart_extends_nothing() {
    assert_needed("a restart begins the lease anew", Weaker::RestartExtends, Leases { crashes: 1, ..ONE });
}

#[test]
fn the_clock_goes_on_while_the_machine_sleeps() {
    assert_needed("the clock stands still in sleep", Weaker::SleepStopsTheClock, Leases { sleeps: 1, ..ONE });
}
