//! The judgement on one slot: which of this node's pods start, go on or stop, and which claims this node makes. A pure
//! function of what the state says and of how this node's pods are. It is public for the model that checks it.

use std::collections::BTreeSet;
use std::sync::Arc;

use skein_crdt_state::{ClusterId, WriteId};
use skein_gossip::NodeId;

use super::SlotFacts;
use crate::slot::{Displaced, Winner, pod_uid, winner};
use crate::status::Claim;

/// A pod of this node's that fills or filled the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// The pod's uid.
    pub uid: Arc<str>,
    /// Whether it has containers.
    pub started: bool,
    /// Whether it is ready to serve.
    pub ready: bool,
    /// Whether it is being stopped, which is for good.
    pub stopping: bool,
}

/// What becomes of a slot's pods on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement {
    /// The value whose pod is to start, if it is this node's and is not there yet.
    pub start: Option<WriteId>,
    /// The pods to stop.
    pub stop: BTreeSet<Arc<str>>,
    /// All claims on this slot.
    pub claims: BTreeSet<Claim>,
}

/// Judges a slot. `facts` is `None` when it is not known to the state; `claims` are those made before.
#[must_use]
pub fn judge(
    me: &NodeId,
    cluster: &ClusterId,
    facts: Option<&SlotFacts>,
    ours: &[Ours],
    claims: &BTreeSet<Claim>,
) -> Judgement {
    let Some(facts) = facts.filter(|facts| facts.live) else {
        return Judgement { stop: ours.iter().map(|pod| pod.uid.clone()).collect(), ..Judgement::default() };
    };
    let bench = Bench { me, cluster, facts };
    let claims: BTreeSet<Claim> = ours.iter().flat_map(|pod| bench.claims_of(pod, claims)).collect();
    let others = facts.claims.iter().filter(|(node, _)| node != me).cloned();
    let all: Vec<(NodeId, Claim)> = others.chain(claims.iter().map(|claim| (*me, claim.clone()))).collect();
    let won = winner(&facts.values, &all);
    let won_uid = won.filter(|won| won.node == *me).map(|won| pod_uid(cluster, &facts.slot, &won.write));
    let won_ready = won.is_some_and(|won| match &won_uid {
        Some(uid) => ours.iter().any(|pod| *pod.uid == **uid && pod.ready && !pod.stopping),
        None => facts.ready.contains(&won.write),
    });
    let is_winner = |pod: &Ours| won_uid.as_deref() == Some(&*pod.uid);
    let goes_on = |pod: &Ours| is_winner(pod) || (!won_ready && won.is_some() && bench.lingers(pod, &claims));
    Judgement {
        start: won.filter(|won| bench.starts(won, won_uid.as_deref(), ours)).map(|won| won.write),
        stop: ours.iter().filter(|pod| !goes_on(pod)).map(|pod| pod.uid.clone()).collect(),
        claims,
    }
}

struct Bench<'a> {
    me: &'a NodeId,
    cluster: &'a ClusterId,
    facts: &'a SlotFacts,
}

impl Bench<'_> {
    /// Whether a current value is this pod.
    fn is_current(&self, pod: &Ours) -> bool {
        let mut own = self.facts.values.iter().filter(|value| value.placement.node == Some(*self.me));
        own.any(|value| pod_uid(self.cluster, &self.facts.slot, &value.write) == *pod.uid)
    }

    /// Whether this is the pod that a value gave up for lost. Its uid alone says so: all others look for the pod that a claim
    /// keeps by the uid that follows from the value, and what else carries that value as a label would never be ready to them.
    fn is(&self, pod: &Ours, displaced: &Displaced) -> bool {
        displaced.node == *self.me && pod_uid(self.cluster, &self.facts.slot, &displaced.write) == *pod.uid
    }

    /// The claims that this pod makes: it was given up for lost and was ready when that was learned, or it has claimed
    /// already. A claim lasts while the value that it contests is current and its containers are there.
    fn claims_of(&self, pod: &Ours, before: &BTreeSet<Claim>) -> BTreeSet<Claim> {
        if pod.stopping || !pod.started || self.is_current(pod) {
            return BTreeSet::new();
        }
        let named = self.facts.values.iter().filter_map(|value| {
            let displaced = value.placement.displaces.filter(|displaced| self.is(pod, displaced))?;
            Some(Claim { slot: self.facts.slot.clone(), against: value.write, kept: displaced.write })
        });
        named.filter(|claim| pod.ready || before.contains(claim)).collect()
    }

    /// Whether a pod that is not wanted goes on until the one that is wanted is ready.
    fn lingers(&self, pod: &Ours, claims: &BTreeSet<Claim>) -> bool {
        if pod.stopping || !pod.started {
            return false;
        }
        if self.is_current(pod) {
            return true;
        }
        let claimed = claims.iter().any(|claim| {
            let kept = Displaced { node: *self.me, write: claim.kept };
            self.is(pod, &kept)
        });
        // Others were lost and replaced since this pod was: nobody names it, and still it may be the only one that serves.
        // A value that displaces nobody means that somebody wanted this pod gone.
        let refill = self.facts.values.iter().any(|value| value.placement.displaces.is_some());
        claimed || (refill && pod.ready)
    }

    /// Whether the winner is to start here. A pod that claims is there already, or its claim would not be.
    fn starts(&self, won: &Winner, uid: Option<&str>, ours: &[Ours]) -> bool {
        !won.claimed && uid.is_some_and(|uid| ours.iter().all(|pod| *pod.uid != *uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::fake::{facts, node, slot, value, write};
    use crate::model::pod::PodSpecError;

    const CLUSTER: ClusterId = ClusterId([9; 16]);

    fn ours(n: u8, started: bool, ready: bool) -> Ours {
        let uid = pod_uid(&CLUSTER, &slot(0), &write(n)).as_str().into();
        Ours { uid, started, ready, stopping: false }
    }

    fn judged(facts: &SlotFacts, ours: &[Ours]) -> Judgement {
        judge(&node(1), &CLUSTER, Some(facts), ours, &BTreeSet::new())
    }

    fn claim(against: u8, kept: u8) -> Claim {
        Claim { slot: slot(0), against: write(against), kept: write(kept) }
    }

    #[test]
    fn the_winner_starts_where_it_was_placed_and_nowhere_else() {
        let here = facts(0, vec![value(1, Some(1), None)]);
        assert_eq!(judged(&here, &[]).start, Some(write(1)));
        assert_eq!(judged(&here, &[ours(1, false, false)]), Judgement::default());
        assert_eq!(judged(&facts(0, vec![value(1, Some(2), None)]), &[]), Judgement::default());
        assert_eq!(
            judged(&facts(0, vec![value(1, Some(2), None), value(2, Some(1), None)]), &[]),
            Judgement::default()
        );
    }

    #[test]
    fn a_loser_that_runs_goes_on_until_the_winner_is_ready_and_one_that_does_not_run_is_dropped() {
        let mut both = facts(0, vec![value(1, Some(2), None), value(2, Some(1), None)]);
        assert!(judged(&both, &[ours(2, true, false)]).stop.is_empty());
        assert!(!judged(&both, &[ours(2, false, false)]).stop.is_empty());
        both.ready.insert(write(1));
        assert!(!judged(&both, &[ours(2, true, true)]).stop.is_empty());
    }

    #[test]
    fn a_displaced_pod_claims_if_it_is_ready_and_stops_if_not() {
        let refilled = facts(0, vec![value(5, Some(2), Some((1, 4)))]);
        let judgement = judged(&refilled, &[ours(4, true, true)]);
        assert_eq!((judgement.claims.len(), judgement.stop.len()), (1, 0));
        let judgement = judged(&refilled, &[ours(4, true, false)]);
        assert_eq!((judgement.claims.len(), judgement.stop.len()), (0, 1));
    }

    #[test]
    fn a_claim_lasts_when_the_pod_is_not_ready_any_more_and_ends_with_the_value_it_contests() {
        let refilled = facts(0, vec![value(5, Some(2), Some((1, 4)))]);
        let before = BTreeSet::from([claim(5, 4)]);
        let judgement = judge(&node(1), &CLUSTER, Some(&refilled), &[ours(4, true, false)], &before);
        assert_eq!((judgement.claims, judgement.stop.len()), (before.clone(), 0));
        let emptied = facts(0, vec![value(6, None, None)]);
        let judgement = judge(&node(1), &CLUSTER, Some(&emptied), &[ours(4, true, true)], &before);
        assert_eq!((judgement.claims.len(), judgement.stop.len()), (0, 1));
    }

    #[test]
    fn only_the_pod_that_follows_from_the_displaced_value_claims() {
        let mut refilled = facts(0, vec![value(5, Some(2), Some((1, 4)))]);
        let stray = Ours { uid: "one that no value names".into(), ..ours(4, true, true) };
        let judgement = judged(&refilled, std::slice::from_ref(&stray));
        assert_eq!((judgement.claims.len(), judgement.stop.len()), (0, 0), "it serves until another does");
        refilled.ready.insert(write(5));
        assert_eq!(judged(&refilled, &[stray]).stop.len(), 1);
    }

    #[test]
    fn a_claim_of_another_stops_the_replacement_once_the_kept_pod_is_ready() {
        let mut refilled = facts(0, vec![value(5, Some(1), Some((2, 4)))]);
        refilled.claims = vec![(node(2), claim(5, 4))];
        assert!(judged(&refilled, &[ours(5, true, true)]).stop.is_empty());
        assert_eq!(judged(&refilled, &[]).start, None, "a loser never starts");
        refilled.ready.insert(write(4));
        assert_eq!(judged(&refilled, &[ours(5, true, true)]).stop.len(), 1);
    }

    #[test]
    fn a_pod_that_was_replaced_twice_goes_on_until_its_successor_is_ready() {
        let mut again = facts(0, vec![value(6, Some(3), Some((2, 5)))]);
        assert!(judged(&again, &[ours(4, true, true)]).stop.is_empty());
        assert_eq!(judged(&again, &[ours(4, true, false)]).stop.len(), 1, "it serves nobody");
        again.ready.insert(write(6));
        assert_eq!(judged(&again, &[ours(4, true, true)]).stop.len(), 1);
    }

    #[test]
    fn a_pod_whose_slot_is_gone_or_whose_value_was_taken_back_stops() {
        let mut gone = facts(0, vec![value(4, Some(1), None)]);
        gone.live = false;
        gone.template = Err(PodSpecError("gone".into()));
        assert_eq!(judged(&gone, &[ours(4, true, true)]).stop.len(), 1);
        assert_eq!(judge(&node(1), &CLUSTER, None, &[ours(4, true, true)], &BTreeSet::new()).stop.len(), 1);
        assert_eq!(judged(&facts(0, vec![value(5, None, None)]), &[ours(4, true, true)]).stop.len(), 1);
        assert_eq!(judged(&facts(0, vec![value(5, Some(2), None)]), &[ours(4, true, true)]).stop.len(), 1);
    }

    #[test]
    fn a_pod_that_is_being_stopped_neither_claims_nor_starts_again_before_it_is_gone() {
        let refilled = facts(0, vec![value(5, Some(2), Some((1, 4)))]);
        let stopping = Ours { stopping: true, ..ours(4, true, true) };
        assert!(judged(&refilled, &[stopping]).claims.is_empty());
        let stopping = Ours { stopping: true, ..ours(4, true, true) };
        assert_eq!(judged(&facts(0, vec![value(4, Some(1), None)]), &[stopping]).start, None);
    }
}
