//! Who may ask for admission now: so many in a second and at a time, from one address and in all. What is asked does not live
//! here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use skein_gossip::Instant;
use skein_gossip::bucket::{Bucket, Buckets};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::Refusal;
use crate::{ADMISSION_RATE, ADMISSION_RATE_OF_ADDRESS, ADMISSIONS_AT_ONCE, ADMISSIONS_AT_ONCE_OF_ADDRESS};

/// How many addresses are told apart; beyond it those that asked for the longest time ago are not.
const ADDRESSES: usize = 1024;

/// What is held while a request is served.
pub(super) type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

#[derive(Debug)]
pub(super) struct Door {
    rate: Bucket,
    rates: Buckets<IpAddr>,
    room: Arc<Semaphore>,
    rooms: BTreeMap<IpAddr, Arc<Semaphore>>,
}

impl Door {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            rate: Bucket::new(ADMISSION_RATE, now),
            rates: Buckets::new(ADMISSION_RATE_OF_ADDRESS, ADDRESSES),
            room: Arc::new(Semaphore::new(ADMISSIONS_AT_ONCE)),
            rooms: BTreeMap::new(),
        }
    }

    /// Lets one request in. What its address may not have costs the others nothing.
    pub(super) fn enter(&mut self, now: Instant, address: IpAddr) -> Result<Permits, Refusal> {
        if !self.rates.take(now, &address) {
            return Err(Refusal::AdmissionsOfAddress);
        }
        self.rooms.retain(|_, room| room.available_permits() < ADMISSIONS_AT_ONCE_OF_ADDRESS);
        let room = self.rooms.entry(address).or_insert_with(|| Arc::new(Semaphore::new(ADMISSIONS_AT_ONCE_OF_ADDRESS)));
        let own = room.clone().try_acquire_owned().map_err(|_| Refusal::AdmissionsOfAddress)?;
        let shared = self.room.clone().try_acquire_owned().map_err(|_| Refusal::Admissions)?;
        if !self.rate.take(now) {
            return Err(Refusal::Admissions);
        }
        Ok((own, shared))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn address(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    #[test]
    fn one_address_that_asks_all_the_time_does_not_keep_another_out() {
        let mut door = Door::new(Instant::ZERO);
        for ms in 0..60_000 {
            let now = Instant::from_millis(ms);
            let greedy = door.enter(now, address(1)).map(drop);
            assert!(greedy.is_ok() || greedy == Err(Refusal::AdmissionsOfAddress));
            if ms % 5_000 == 0 {
                assert!(door.enter(now, address(2)).is_ok(), "after {ms} ms");
            }
        }
    }

    #[test]
    fn one_address_that_never_ends_its_requests_does_not_keep_another_out() {
        let mut door = Door::new(Instant::ZERO);
        let held: Vec<_> =
            (0..100).filter_map(|s| door.enter(Instant::from_millis(s * 1000), address(1)).ok()).collect();
        assert_eq!(held.len(), ADMISSIONS_AT_ONCE_OF_ADDRESS);
        assert!(door.enter(Instant::from_millis(100_000), address(2)).is_ok());
    }

    #[test]
    fn all_addresses_together_have_a_limit_too() {
        let mut door = Door::new(Instant::ZERO);
        let entered = (0..100).filter(|n| door.enter(Instant::ZERO, address(*n)).is_ok()).count();
        assert_eq!(entered, ADMISSION_RATE.burst as usize);
    }
}
