//! Seeds that once showed a mistake, each with what it was.

use skein_netsim::knobs::Faults;
use skein_netsim::run::End;
use skein_netsim::{Knobs, run};

fn holds(seed: u64) {
    let outcome = run(&Knobs::draw(seed));
    assert_eq!(outcome.end, End::Clean, "replay: cargo run -p skein-netsim -- run --seed {seed} --trace");
}

/// A seed from before users deleted ConfigMaps.
fn holds_without_deleted_configs(seed: u64) {
    let outcome = run(&Knobs { config_deletes_permille: 0, ..Knobs::draw(seed) });
    let replay = format!("cargo run -p skein-netsim -- run --seed {seed} --set config_deletes_permille=0 --trace");
    assert_eq!(outcome.end, End::Clean, "replay: {replay}");
}

/// A restarted node said nothing of its pods again, though its new boot ended what it had said: a displaced pod that had
/// claimed its slot back never looked ready to the node of its replacement, and both ran for ever.
#[test]
fn a_restarted_node_says_again_how_its_pods_are() {
    for seed in [2, 3, 4] {
        holds(seed);
    }
}

/// Writing the value of one side of a dispute again only struck out the other sides, so that an edit made apart took the
/// acknowledged write along without a trace.
#[test]
fn settling_a_dispute_with_one_of_its_values_is_a_write() {
    for seed in [5, 89, 100] {
        holds(seed);
    }
}

/// A node that left and came back with an empty disk while its clock was behind took the boot after that of its departure, which
/// it had said two starts before it was gone: what it said anew had the numbers of what it had said in between.
#[test]
fn who_comes_back_with_an_empty_disk_and_a_clock_that_is_behind_says_nothing_twice() {
    holds(7092);
}

/// A pod was displaced while its container was being started, and ran for as long as it took to stop it: its slot was not served.
#[test]
fn a_container_that_runs_only_until_it_is_stopped_serves_no_slot() {
    holds(8556);
}

/// Of two that were left one had a full disk and so could not vote, and the other waited for its vote: nobody led.
#[test]
fn a_full_disk_keeps_nobody_else_from_leading() {
    holds(100_389);
}

/// Who knew only that a node had once left let it in again before its removal was heard of, which the check took for a return.
#[test]
fn a_node_that_left_may_be_let_in_until_its_removal_is_heard_of() {
    let knobs = Knobs { candidate_every_ms: 0, ..Knobs::without_removals(7_145_657_296) };
    assert_eq!(run(&knobs).end, End::Clean);
}

/// A container that an earlier daemon had left behind carried the value of a displaced pod as its label and another uid. It was taken
/// for that pod and claimed the slot; its replacement waited for the pod of that value to be ready, and both ran for ever.
#[test]
fn what_only_looks_like_a_displaced_pod_claims_nothing() {
    for seed in [200_331, 300_618] {
        holds(seed);
    }
}

/// A voter whose disk had damaged the decisions that it had upheld upheld another that was made without them.
#[test]
fn a_voter_that_has_lost_what_it_upheld_does_not_count() {
    holds(301_605);
}

/// An observer was removed: for a moment the leader took it for a member, and made it a voter.
#[test]
fn an_observer_that_is_removed_becomes_no_voter() {
    holds(500_064);
}

/// A peer answered what a node had asked before it was started again, and the answer counted for a write of the new start.
#[test]
fn a_late_answer_counts_for_no_write_of_a_later_start() {
    holds(600_057);
}

/// A node was removed by one that was removed itself before anybody else had heard of it: the removed one had stopped for good, and all
/// others waited for it.
#[test]
fn a_removed_node_tells_of_its_removal_that_nobody_else_knows_of() {
    holds(600_153);
}

/// The only copy of a ReplicaSet was damaged, and its slot, which counted for no workload, lived on.
#[test]
fn a_slot_whose_replica_set_was_damaged_is_collected() {
    holds(301_510);
}

/// Nothing breaks where nothing is broken, and it settles at once.
#[test]
fn a_calm_cluster_settles_at_once() {
    for nodes in [1, 2, 3, 7] {
        let outcome = run(&Knobs::calm(nodes as u64, nodes));
        assert_eq!(outcome.end, End::Clean, "{nodes} nodes");
        // A rollout that began last pulls its images one after another.
        assert!(outcome.settled_ms < 20_000, "{nodes} nodes settled after {} ms", outcome.settled_ms);
        assert!(outcome.acknowledged > 5, "{} writes were acknowledged", outcome.acknowledged);
    }
}

/// A node left within a second of a start whose forerunner had asked for a container: that one came to be after the list, and ran on.
#[test]
fn a_node_that_leaves_right_after_a_restart_leaves_no_container_behind() {
    holds(7_000_286);
}

/// The simulated engine ran an attempt a second time that had ended, as no real one does.
#[test]
fn an_attempt_that_ended_while_its_start_was_asked_for_again_does_not_run_again() {
    let knobs = Knobs::without_removals(8_269_233_206);
    assert_eq!(run(&knobs).end, End::Clean);
}

/// Of five voters two had removed each other and one had lost the record of its votes, so that no leader could change the voters: the
/// check wanted it all the same.
#[test]
fn removed_voters_stay_where_too_few_have_a_vote_to_change_them() {
    holds(7_000_116);
}

/// Two starts with an empty disk that knew as little of what had been said before took the same boot, and with it the same numbers.
#[test]
fn who_begins_anew_twice_knowing_as_little_says_nothing_twice() {
    for seed in [7_100_776, 7_100_829] {
        holds(seed);
    }
}

/// A node left once a peer held all that it held, and of that peer nobody else had heard: it had been let in by the one that left.
#[test]
fn who_leaves_does_not_leave_all_to_somebody_whom_nobody_else_knows() {
    holds(7_100_963);
}

/// A removed host whose disk had gone back voted a second time in a term, at a peer that had not heard of the removal; and a host that
/// was down was not asked whether it knew of a removal. Neither is promised.
#[test]
fn the_removed_are_told_from_the_others_by_what_all_know() {
    for seed in [7_100_684, 7_100_754] {
        holds(seed);
    }
}

/// A node was let in by one whose disk was full, which forgot it with the power.
#[test]
fn nobody_is_let_in_before_that_is_on_disk() {
    holds(7_100_171);
}

/// A node left all that it held to a peer whose disk took nothing, and which was killed: a removal that had been acknowledged with a
/// warning was known to nobody any more.
#[test]
fn who_leaves_does_not_leave_all_to_a_memory() {
    holds(14_518_843_275);
}

/// A node had left all that it held to a peer that it then heard was removed.
#[test]
fn who_leaves_does_not_leave_all_to_somebody_who_was_removed() {
    holds(7_100_043);
}

/// A removed node told others of its removal by somebody of whom they had not heard either, and who left.
#[test]
fn whoever_hears_of_a_removal_hears_what_makes_its_author_a_member() {
    holds(7_100_329);
}

/// A removed host with an old backup of its disk numbered its words again, and let in one that had to begin anew: nothing promises
/// against that. Two that removed each other, of whom nobody else had heard, were out for the simulator and in again by turns.
#[test]
fn what_the_removed_do_among_themselves_counts_for_nobody() {
    holds(7_100_989);
    let drawn = Knobs::draw(3_202_501_234);
    let (nodes, busy_ms) = (drawn.nodes.max(6), drawn.busy_ms + 20_000);
    let knobs = Knobs { removal_every_ms: 28_078, config_deletes_permille: 0, observers: 0, nodes, busy_ms, ..drawn };
    assert_eq!(run(&knobs).end, End::Clean);
}

/// A decision on a Lease was known to two of three voters, who were removed apart before anybody else had heard of it: the third led
/// without it, as all who are left do. Another was known to one that was removed, and to one whose disk then damaged it.
#[test]
fn what_only_the_removed_had_decided_goes_with_them() {
    for seed in [4_674_531_081, 8_339_508_163] {
        holds_without_deleted_configs(seed);
    }
}

/// Somebody apart removed one, was removed itself, and came back with a backup of before: nobody knew of its removal any more, and
/// the simulator took away whom it had removed.
#[test]
fn whom_a_forgotten_removal_meant_stays() {
    holds_without_deleted_configs(4_674_531_145);
}

/// A node left all that it held to one that had been removed apart, by somebody who counted as removed himself just then: the simulator
/// asked for what went with both, which nothing promises.
#[test]
fn what_is_left_to_the_removed_goes_with_them() {
    holds(11_000_051);
}

/// A write was on the disk of its author and of one that was about to leave; then the author's damaged it. Nobody promises more than
/// that it was on two.
#[test]
fn what_was_on_two_disks_may_be_gone_once_one_has_left_and_the_other_was_damaged() {
    holds(13_002_186);
}

/// Pods of slots that were over went on for a while after their daemon was restarted, beside what was placed there meanwhile.
#[test]
fn what_runs_for_no_slot_that_is_known_counts_for_no_load() {
    holds(13_001_921);
}

/// One of two voters weighed two and decided alone, as its user was told; then its disk damaged that. And a node asked one again to let it
/// in that had been removed since, with its first admission seen by the remover. And a node left all to one that was removed apart, and was
/// restarted before it was gone. None of them breaks a promise.
#[test]
fn what_one_disk_had_may_be_gone_and_what_a_remover_had_seen_counts() {
    for seed in [15_001_760, 17_000_001, 17_000_806] {
        holds(seed);
    }
}

/// A removal by somebody whom nobody had heard was taken for the one that counted, and a leader for none whose removal nobody had heard
/// of: mistakes of the checks. So was to ask a start for what the disk had refused to keep of the one before.
#[test]
fn only_what_somebody_has_heard_is_asked_of_the_others() {
    for seed in [8_100_530, 8_101_427, 8_100_916, 8_101_367, 9_200_332] {
        holds(seed);
    }
}

/// A Deployment under which pods move was made otherwise before the check of policies had looked at it once.
#[test]
fn what_moved_before_it_was_to_stay_has_broken_no_policy() {
    let faults = Faults { partition_every_ms: 3_000, ..Knobs::draw(80).faults };
    let (nodes, busy_ms, user_every_ms, config_deletes_permille) = (4, 15_000, 50, 300);
    let knobs = Knobs { faults, nodes, busy_ms, user_every_ms, config_deletes_permille, ..Knobs::draw(80) };
    assert_eq!(run(&knobs).end, End::Clean);
}

/// A leader whose disk had lost the record of its votes was still a voter, so it could change nothing of the voters for its whole tenure:
/// a node that was removed stayed one of them.
#[test]
fn a_leader_without_a_vote_lets_another_lead_that_can_change_the_voters() {
    holds(11_001_122);
}

/// One of three voters that were left had damaged what nobody else ever had of a Lease, and could not say that it knew the same.
#[test]
fn a_voter_that_has_lost_what_nobody_knows_does_not_keep_the_removed_among_the_voters() {
    for seed in [13_001_327, 13_002_779, 13_002_807, 15_001_471, 17_001_867] {
        holds(seed);
    }
}

/// A request of long ago let a node in after it had left, and its departure, told again, was older than that.
#[test]
fn who_leaves_again_is_let_go_though_somebody_let_it_in_since() {
    holds(13_002_393);
}

/// Who left was known to have left by those alone who were out themselves, or took itself for out though the others knew better: what
/// their users did was not what a user does.
#[test]
fn who_is_known_to_have_left_by_nobody_who_counts_says_it_again_and_who_takes_itself_for_out_joins_anew() {
    for seed in [18_000_409, 18_001_989] {
        holds(seed);
    }
}

/// One of two copies of a statement was damaged, and was set aside after it had been written anew; then the other was damaged.
#[test]
fn both_copies_of_a_statement_are_there_again_after_one_was_damaged() {
    holds(9_000_362);
}

/// A start whose disk took nothing told peers how its pods were before its number was on disk, and was cut short: the next start had the
/// same number.
#[test]
fn a_start_says_nothing_of_itself_before_its_number_is_on_disk() {
    holds(15_000_857);
}

/// Two starts with an empty disk and a clock that was behind heard of the same earlier start, and both took the boot after it.
#[test]
fn who_begins_anew_twice_and_hears_as_little_of_itself_says_nothing_twice() {
    holds(9_000_817);
}

/// Stories of removals in each other's midst. Of those that one side had let in the other side did not know, and nobody was left who
/// knew both: they were two clusters for good.
#[test]
fn sides_of_which_nobody_knows_both_find_each_other() {
    for seed in [10, 39, 77, 99, 129, 247, 261, 335] {
        let drawn = Knobs::draw(seed);
        let faults = Faults { partition_every_ms: 0, one_way_every_ms: 0, ..drawn.faults };
        let knobs = Knobs { faults, nodes: 8, busy_ms: 50_000, settle_ms: 180_000, removal_every_ms: 4_000, ..drawn };
        assert_eq!(run(&knobs).end, End::Clean, "seed {seed}");
    }
}

/// A peer said that it needed nothing of a write, since it knew of the object's deletion, and lost its power before who had written
/// was answered: the check `durable` asked what was on for what it knew, and not its disk.
#[test]
fn what_is_over_by_a_disk_is_over_though_its_machine_is_off() {
    holds(1_082_792_038);
}

/// A node whose disk was lost knew nobody, itself neither: it took writes, left at once when it was asked to, and an observer voted.
#[test]
fn a_node_that_lost_its_state_writes_nothing_and_does_not_leave() {
    for seed in [20_000_078, 20_000_010, 20_001_372, 20_001_582] {
        let drawn = Knobs::draw(seed);
        holds(seed);
        let faults = Faults { lose_disk_every_ms: 12_000, ..drawn.faults };
        assert_eq!(run(&Knobs { faults, ..drawn }).end, End::Clean, "seed {seed} with lose_disk_every_ms=12000");
    }
}

/// A peer said that its disk has a write, and lost it before who had written was answered: the check `durable` looked for it there.
#[test]
fn a_disk_that_is_lost_since_it_had_a_write_had_it() {
    for seed in [20_002_075, 20_002_309] {
        holds(seed);
    }
}

fn dense_with_lost_disks(seed: u64) -> Knobs {
    let drawn = Knobs::draw(seed);
    let faults = Faults { lose_disk_every_ms: 2_000, partition_every_ms: 1_500, ..drawn.faults };
    Knobs { faults, nodes: 3, candidate_every_ms: 20, busy_ms: 30_000, ..drawn }
}

/// The check `capacity` asked a daemon that had just started which of its containers nobody knows, before it had heard what runs.
#[test]
fn a_daemon_knows_what_is_left_behind_once_it_has_heard_what_runs() {
    assert_eq!(run(&dense_with_lost_disks(525)).end, End::Clean);
}

/// Of a write one disk was lost, and on the other what it was built on was damaged; and a removal was on a disk alone that was lost, of
/// which its user was warned. Nothing is promised of either.
#[test]
fn what_was_on_no_disk_any_more_is_not_asked_for() {
    for seed in [117, 126, 194, 217, 237, 251, 379] {
        assert_eq!(run(&dense_with_lost_disks(seed)).end, End::Clean, "seed {seed}");
    }
    let drawn = Knobs::draw(20_020_228);
    let faults = Faults { lose_disk_every_ms: 6_000, ..drawn.faults };
    assert_eq!(run(&Knobs { faults, ..drawn }).end, End::Clean);
}
