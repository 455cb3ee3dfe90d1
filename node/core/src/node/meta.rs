//! What a disk holds besides what is said to peers: the vote, the boot, the cluster. Each row carries a check of its own,
//! since no signature tells whether the disk has changed it.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use skein_crdt_state::store::Damaged;
use skein_crdt_state::{ClusterId, Record};
use skein_gossip::Now;

use super::start::{Row, StartError};
use crate::election::VoteRecord;

/// The table.
pub(super) const META: &str = "meta";
const VOTE: &[u8] = b"vote";
const BOOT: &[u8] = b"boot";
const CLUSTER: &[u8] = b"cluster";
const LOST: &[u8] = b"lost";
/// How many numbers of starts fall on a millisecond.
const BOOTS_PER_MS: u64 = 1000;
/// How long a row's check is, in bytes.
const CHECK_BYTES: usize = 8;

/// The rows of the table.
pub(super) struct Meta {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    damaged: Vec<Damaged>,
}

impl Meta {
    /// Reads the rows; what the disk has changed is set apart.
    pub(super) fn read(rows: Vec<Row>) -> Self {
        let mut meta = Meta { rows: BTreeMap::new(), damaged: Vec::new() };
        for (table, key, value) in rows {
            match opened(&key, &value) {
                Some(body) => drop(meta.rows.insert(key, body.to_vec())),
                None => meta.damaged.push(Damaged {
                    table,
                    key: String::from_utf8_lossy(&key).into_owned(),
                    reason: "the disk has changed it".into(),
                    record: (key, value),
                }),
            }
        }
        meta
    }

    /// What was damaged.
    pub(super) fn damaged(self) -> Vec<Damaged> {
        self.damaged
    }

    pub(super) fn check_cluster(&self, wanted: ClusterId) -> Result<(), StartError> {
        match self.rows.get(CLUSTER) {
            Some(found) if **found != wanted.0 => {
                let id = <[u8; 16]>::try_from(found.as_slice());
                let found = id.map_or_else(|_| "?".to_owned(), |id| ClusterId(id).to_string());
                Err(StartError::OtherCluster { found, wanted })
            }
            _ => Ok(()),
        }
    }

    /// Greater than that of every earlier start: the wall clock usually is, also when the disk was restored from a backup.
    /// Where a clock went back and the disk is a new one, the last digits, by `chance`, keep it from being the same as an
    /// earlier one, under which other things were said.
    pub(super) fn next_boot(&self, now: Now, chance: u64) -> Result<u64, StartError> {
        let by_clock = now.wall_ms.saturating_mul(BOOTS_PER_MS).saturating_add(chance % BOOTS_PER_MS);
        let Some(bytes) = self.rows.get(BOOT) else { return Ok(by_clock) };
        let bytes: [u8; 8] = bytes.as_slice().try_into().map_err(|_| StartError::Unreadable("boot".into()))?;
        Ok((u64::from_be_bytes(bytes) + 1).max(by_clock))
    }

    /// The vote. Whoever has lost its vote cannot know whom it voted for, and a disk that holds none is a new one or one that
    /// came in the place of another.
    pub(super) fn vote(&self) -> Result<VoteRecord, StartError> {
        match self.rows.get(VOTE) {
            Some(bytes) => postcard::from_bytes(bytes).map_err(|_| StartError::Unreadable("vote".into())),
            None => Ok(VoteRecord::newcomer()),
        }
    }

    /// Whether an earlier start lacked the state and did not hear all of it again, as far as can be told.
    pub(super) fn lacks_state(&self) -> bool {
        self.rows.contains_key(LOST) || self.damaged.iter().any(|row| row.record.0 == LOST)
    }

    /// Whether no start has written anything yet on the disk of who is to found this cluster.
    pub(super) fn is_founders_first(&self) -> bool {
        self.rows.contains_key(CLUSTER) && self.rows.len() == 1 && self.damaged.is_empty()
    }
}

/// What the disk of a founder holds before its first start. Without it the disk is not the one on which it was to found its cluster.
#[must_use]
pub fn founding_record(cluster: ClusterId) -> Record {
    cluster_row(cluster)
}

/// [`founding_record`] as a start reads it.
#[must_use]
pub fn founding_row(cluster: ClusterId) -> Row {
    let Record { table, key, value } = founding_record(cluster);
    (table.to_owned(), key.to_vec(), value.unwrap_or_default().to_vec())
}

/// Whether a row is the [`founding_record`] of whichever cluster.
#[must_use]
pub fn is_founding_row(table: &str, key: &[u8]) -> bool {
    table == META && key == CLUSTER
}

/// The row that holds a vote.
pub(super) fn vote_row(vote: &VoteRecord) -> Record {
    row(VOTE, postcard::to_stdvec(vote).unwrap_or_default())
}

/// The row that holds the number of this start.
pub(super) fn boot_row(boot: u64) -> Record {
    row(BOOT, boot.to_be_bytes().to_vec())
}

/// The row that says which cluster the disk belongs to.
pub(super) fn cluster_row(cluster: ClusterId) -> Record {
    row(CLUSTER, cluster.0.to_vec())
}

/// The vote that a disk's row of the table "meta" with the key "vote" holds; `None`: it is damaged.
#[must_use]
pub fn read_vote(value: &[u8]) -> Option<VoteRecord> {
    postcard::from_bytes(opened(VOTE, value)?).ok()
}

/// The row that says that this node lacks its state, and no such row.
pub(super) fn lost_row(lacks_state: bool) -> Record {
    if lacks_state { row(LOST, Vec::new()) } else { Record { table: META, key: LOST.into(), value: None } }
}

fn row(key: &[u8], mut value: Vec<u8>) -> Record {
    let check = check(key, &value);
    value.extend(check);
    Record { table: META, key: key.into(), value: Some(value.into()) }
}

fn opened<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (body, found) = value.split_at_checked(value.len().checked_sub(CHECK_BYTES)?)?;
    (found == check(key, body)).then_some(body)
}

fn check(key: &[u8], body: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Sha256::new().chain_update(key).chain_update([0]).chain_update(body).finalize();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_gossip::Instant;

    fn rows(records: impl IntoIterator<Item = Record>) -> Vec<Row> {
        records
            .into_iter()
            .map(|record| (record.table.to_owned(), record.key.to_vec(), record.value.unwrap().to_vec()))
            .collect()
    }

    #[test]
    fn two_starts_on_new_disks_at_one_instant_are_told_apart_and_later_ones_count_on() {
        let at = |wall_ms| Now { mono: Instant::ZERO, wall_ms };
        let new = Meta::read(Vec::new());
        let before = new.next_boot(at(1_750_000_000_000), 1).unwrap();
        assert_ne!(new.next_boot(at(1_750_000_000_000), 2).unwrap(), before);
        // Also where the clock went back.
        let known = Meta::read(rows([boot_row(before)]));
        assert_eq!(known.next_boot(at(5), 999).unwrap(), before + 1);
        assert_eq!(known.next_boot(at(1_750_000_000_001), 7).unwrap(), 1_750_000_000_001_007);
    }

    #[test]
    fn a_row_that_the_disk_has_changed_in_any_bit_is_named() {
        let vote = VoteRecord { term: 7, ..VoteRecord::default() };
        let sound = rows([vote_row(&vote), boot_row(5), cluster_row(ClusterId([1; 16]))]);
        let now = Now { mono: Instant::ZERO, wall_ms: 0 };
        let meta = Meta::read(sound.clone());
        assert_eq!(meta.vote().unwrap(), vote);
        assert_eq!(meta.next_boot(now, 0).unwrap(), 6);
        assert!(meta.check_cluster(ClusterId([2; 16])).is_err() && meta.damaged().is_empty());
        for row in 0..sound.len() {
            for bit in 0..sound[row].2.len() * 8 {
                let mut rows = sound.clone();
                rows[row].2[bit / 8] ^= 1 << (bit % 8);
                let meta = Meta::read(rows);
                assert!(meta.check_cluster(ClusterId([1; 16])).is_ok());
                assert_eq!(meta.vote().unwrap().unseated, row == 0);
                assert!(!meta.is_founders_first());
                assert_eq!(meta.damaged().len(), 1, "row {row} bit {bit}");
            }
        }
    }
}
