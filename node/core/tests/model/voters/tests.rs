//! What is checked of the voters, in which scopes, and which rules are seen to be needed. The model
//! itself does not live here.

use super::super::checker::search;
use super::super::page::{assert_sound, assert_weaker};
use super::*;
use skein_core::election::VoterSet;
use skein_gossip::NodeId;

const SOUND: Voters =
    Voters { first: [1, 1, 1, 0], elections: 2, changes: 2, restarts: false, decides: false, weaker: None };
const DECIDES: Voters = Voters { decides: true, ..SOUND };

#[test]
fn three_voters_and_a_stranger_change_twice_under_two_leaders() {
    assert_sound("voters A B C, 2 elections, 2 changes", &search(&SOUND));
}

#[test]
fn three_voters_and_a_stranger_change_once_under_three_leaders() {
    let model = Voters { elections: 3, changes: 1, ..SOUND };
    assert_sound("voters A B C, 3 elections, 1 change", &search(&model));
}

#[test]
fn two_voters_one_of_which_weighs_two_change_twice_under_two_leaders() {
    let model = Voters { first: [2, 1, 0, 0], ..SOUND };
    assert_sound("voters A(2) B, 2 elections, 2 changes", &search(&model));
}

#[test]
fn four_voters_change_twice_under_two_leaders() {
    let model = Voters { first: [1, 1, 1, 1], ..SOUND };
    assert_sound("voters A B C D, 2 elections, 2 changes", &search(&model));
}

#[test]
fn nodes_that_are_restarted_change_once_under_two_leaders() {
    let model = Voters { changes: 1, restarts: true, ..SOUND };
    assert_sound("voters A B C, restarts, 2 elections, 1 change", &search(&model));
}

#[test]
fn a_set_that_raises_no_term_breaks_nothing_here() {
    let model = Voters { weaker: Some(Weaker::RaisesNoTerm), ..SOUND };
    assert_sound("voters A B C, a newer set raises no term, 2 elections, 2 changes", &search(&model));
}

#[test]
#[ignore = "takes a minute"]
fn three_voters_and_a_stranger_change_three_times_under_two_leaders() {
    assert_sound("voters A B C, 2 elections, 3 changes", &search(&Voters { changes: 3, ..SOUND }));
}

#[test]
fn what_three_voters_have_decided_is_known_after_two_changes_under_two_leaders() {
    assert_sound("voters A B C, a decision, 2 elections, 2 changes", &search(&DECIDES));
}

#[test]
#[ignore = "takes a minute"]
fn what_two_voters_have_decided_one_of_which_weighs_two_is_known_after_two_changes_under_two_leaders() {
    let model = Voters { first: [2, 1, 0, 0], ..DECIDES };
    assert_sound("voters A(2) B, a decision, 2 elections, 2 changes", &search(&model));
}

fn assert_needed(rule: &str, model: Voters) {
    assert_weaker(rule, &search(&model));
}

#[test]
fn a_change_is_by_one_unit_of_weight() {
    assert_needed("a leader changes two weights at once", Voters { weaker: Some(Weaker::ChangesByTwo), ..SOUND });
}

#[test]
fn a_leader_first_writes_the_set_again() {
    let (first, elections) = ([1, 1, 1, 1], 3);
    let model = Voters { first, elections, weaker: Some(Weaker::ChangesAtOnce), ..SOUND };
    assert_needed("a leader changes the set without writing it again first", model);
}

#[test]
fn a_change_waits_until_a_majority_holds_the_last() {
    let model = Voters { weaker: Some(Weaker::ChangesUnheld), ..SOUND };
    assert_needed("a leader does not wait until a majority holds the set", model);
}

#[test]
fn who_holds_the_set_counts_only_while_it_backs_the_leader() {
    let model = Voters { weaker: Some(Weaker::HoldsWithoutBacking), ..SOUND };
    assert_needed("a voter that has gone over to a later term counts as holding the set", model);
}

#[test]
fn voters_compare_sets() {
    let model = Voters { weaker: Some(Weaker::ComparesNoSets), ..SOUND };
    assert_needed("a voter votes for candidates with an older set", model);
}

#[test]
fn a_vote_is_on_disk() {
    let model = Voters { restarts: true, weaker: Some(Weaker::ForgetsItsVote), ..SOUND };
    assert_needed("a restart forgets the vote", model);
}

#[test]
fn the_set_is_on_disk() {
    let model = Voters { restarts: true, weaker: Some(Weaker::ForgetsItsSet), ..SOUND };
    assert_needed("a restart forgets the newest set", model);
}

#[test]
fn half_is_no_majority() {
    assert_needed("half of the weight is enough", Voters { weaker: Some(Weaker::HalfIsEnough), ..SOUND });
}

#[test]
fn voters_and_leader_compare_decisions_before_a_change() {
    let model = Voters { weaker: Some(Weaker::ComparesNoDecisions), ..DECIDES };
    assert_needed("a leader changes the set whatever its voters have decided", model);
}

#[test]
fn they_compare_decisions_before_each_change() {
    let model = Voters { weaker: Some(Weaker::ComparesOnce), ..DECIDES };
    assert_needed("they compare decisions before the first change alone", model);
}

#[test]
fn a_leader_hears_of_decisions_before_a_change() {
    let model = Voters { weaker: Some(Weaker::OnlyHears), ..DECIDES };
    assert_needed("voters need not tell the leader of decisions", model);
}

#[test]
fn voters_hear_of_decisions_before_a_change() {
    let model = Voters { weaker: Some(Weaker::OnlyTells), ..DECIDES };
    assert_needed("the leader need not tell voters of decisions", model);
}

#[test]
fn the_models_majority_is_the_products() {
    for code in 0..3_u32.pow(NODES as u32) {
        let weights = std::array::from_fn(|n| (code / 3_u32.pow(n as u32) % 3) as u8);
        let ours = Set { term: 0, version: 0, weights };
        let id = |n: usize| NodeId([n as u8; 32]);
        let voters = (0..NODES).filter(|n| weights[*n] > 0).map(|n| (id(n), weights[n])).collect();
        let theirs = VoterSet { weights: voters, ..VoterSet::default() };
        for nodes in 0..1_u8 << NODES {
            let ids: Vec<NodeId> = (0..NODES).filter(|n| has(nodes, *n)).map(id).collect();
            let weight = theirs.weight_of(&ids);
            assert_eq!(SOUND.is_majority(&ours, nodes), theirs.is_majority(weight), "{ours} {nodes:b}");
        }
    }
}
