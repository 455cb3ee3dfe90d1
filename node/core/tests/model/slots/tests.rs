//! What is checked of the slots, in which scopes, and which rules are seen to be needed. The model
//! itself does not live here.

use super::super::checker::search;
use super::super::page::{assert_sound, assert_weaker};
use super::*;

#[test]
fn a_slot_with_a_pod_is_refilled_twice_in_one_cut() {
    assert_sound("a pod, 3 values, 1 cut, 1 failure", &search(&Slots::new(true, 3, 1, 1, 0)));
}

#[test]
fn a_slot_with_a_pod_is_refilled_twice_in_two_cuts() {
    assert_sound("a pod, 3 values, 2 cuts, 1 failure", &search(&Slots::new(true, 3, 2, 1, 0)));
}

#[test]
fn a_slot_with_a_pod_is_refilled_once_in_three_cuts_with_a_restart() {
    assert_sound("a pod, 2 values, 3 cuts, 1 failure, 1 restart", &search(&Slots::new(true, 2, 3, 1, 1)));
}

#[test]
fn a_slot_is_filled_by_two_leaders_apart() {
    assert_sound("no pod, 2 values, 2 cuts, 1 failure", &search(&Slots::new(false, 2, 2, 1, 0)));
}

fn weaker(weaker: Weaker, model: Slots) -> Slots {
    Slots { weaker: Some(weaker), ..model }
}

#[test]
fn old_reports_do_no_harm_within_one_cut() {
    let model = weaker(Weaker::BelievesOldReports, Slots::new(true, 3, 1, 1, 0));
    assert_sound("a pod, 3 values, 1 cut, 1 failure, old reports are believed", &search(&model));
}

#[test]
fn what_was_heard_before_a_cut_does_not_count_after_it() {
    let model = weaker(Weaker::BelievesOldReports, Slots::new(true, 2, 2, 1, 0));
    assert_weaker("old reports are believed after a cut", &search(&model));
}

#[test]
fn a_slot_with_a_pod_is_refilled_at_the_node_that_fills_it() {
    assert_sound("a pod, 3 values, 3 cuts, 1 failure", &search(&Slots::new(true, 3, 3, 1, 0)));
}

#[test]
fn a_slot_is_not_emptied_to_be_filled_again() {
    let model = weaker(Weaker::Empties, Slots::new(true, 3, 3, 1, 0));
    assert_weaker("a slot is emptied so that it can be filled again", &search(&model));
}

#[test]
fn a_loser_runs_on_until_the_winner_is_ready() {
    let model = weaker(Weaker::StopsAtOnce, Slots::new(true, 2, 2, 1, 0));
    assert_weaker("a loser stops at once", &search(&model));
}

#[test]
fn a_displaced_pod_is_named_and_may_claim() {
    let model = weaker(Weaker::GreatestStamp, Slots::new(true, 2, 1, 0, 0));
    assert_weaker("the greatest stamp wins and nobody is named as displaced", &search(&model));
}

#[test]
fn all_nodes_come_to_one_answer() {
    let model = weaker(Weaker::MostReady, Slots::new(true, 3, 1, 1, 0));
    assert_weaker("each node keeps what is most ready by its own view", &search(&model));
}
