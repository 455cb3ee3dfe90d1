//! Connections of who has not proved yet who they are: how many an address and all together may have, and for how long. A
//! newcomer always finds a place, if need be that of the oldest of who holds most. What is proved is decided in `shell`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skein_gossip::places::{Full, Places};
use tokio_util::sync::CancellationToken;

/// How many connections may be open at once that have not carried a request of somebody known yet.
pub(super) const GUESTS_LIMIT: usize = 1024;
/// The same from one address.
pub(super) const GUESTS_OF_ADDRESS_LIMIT: usize = 256;
/// How long a connection may go on without such a request.
pub(super) const GUEST_LIFE: Duration = Duration::from_secs(30);
/// How many connections one address may have in all; further ones are closed at once. A thousand watches from one machine are no
/// attack, and others must find room within [`CONNECTIONS_LIMIT`](super::server::CONNECTIONS_LIMIT).
pub(super) const CONNECTIONS_OF_ADDRESS_LIMIT: usize = 1500;

/// All guests, and how many connections of known clients each address has.
#[derive(Debug)]
pub(super) struct Guests(Mutex<State>);

#[derive(Debug)]
struct State {
    places: Places<IpAddr, u64>,
    outs: BTreeMap<u64, Out>,
    known_of: BTreeMap<IpAddr, usize>,
    next: u64,
}

/// How a guest is told to go, and why.
#[derive(Debug, Clone, Default)]
struct Out {
    token: CancellationToken,
    full: Arc<AtomicBool>,
}

/// A connection. It gives its place free when it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Arc<Guests>,
    id: u64,
    address: IpAddr,
    out: Out,
    is_known: AtomicBool,
}

impl Guests {
    pub(super) fn new() -> Arc<Self> {
        let places = Places::new(GUESTS_OF_ADDRESS_LIMIT, GUESTS_LIMIT);
        Arc::new(Self(Mutex::new(State { places, outs: BTreeMap::new(), known_of: BTreeMap::new(), next: 0 })))
    }

    /// Lets a connection in, unless its address has as many as one may.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Guest>> {
        let mut state = self.lock();
        let known = state.known_of.get(&address).copied().unwrap_or(0);
        if known + state.places.count(&address) >= CONNECTIONS_OF_ADDRESS_LIMIT {
            return None;
        }
        let (id, out) = (state.next, Out::default());
        state.next += 1;
        state.outs.insert(id, out.clone());
        if let Some((gone, why)) = state.places.take(id, address)
            && let Some(gone) = state.outs.remove(&gone)
        {
            gone.full.store(why == Full::All, Ordering::Relaxed);
            gone.token.cancel();
        }
        Some(Arc::new(Guest { guests: self.clone(), id, address, out, is_known: AtomicBool::new(false) }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Its client has proved who it is: it stays as long as it likes.
    pub(super) fn is_known_now(&self) {
        if self.is_known.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut state = self.guests.lock();
        state.places.free(&self.id);
        state.outs.remove(&self.id);
        *state.known_of.entry(self.address).or_default() += 1;
    }

    /// Waits until it has to go; why, as metrics name it.
    pub(super) async fn must_go(&self) -> &'static str {
        tokio::select! {
            () = self.out.token.cancelled() => {}
            () = tokio::time::sleep(GUEST_LIFE) => {
                if self.is_known.load(Ordering::Relaxed) {
                    return std::future::pending().await;
                }
                return "guest-stayed";
            }
        }
        // Who was known by then has left its place before it was taken from it.
        if self.out.full.load(Ordering::Relaxed) { "guests" } else { "guests-of-address" }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.guests.lock();
        state.places.free(&self.id);
        state.outs.remove(&self.id);
        if self.is_known.load(Ordering::Relaxed)
            && let Some(count) = state.known_of.get_mut(&self.address)
        {
            *count -= 1;
            if *count == 0 {
                state.known_of.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::api::server::CONNECTIONS_LIMIT;

    #[test]
    fn one_machine_may_hold_a_thousand_watches_and_ask_beside_them_and_others_have_room() {
        let (guests, address) = (Guests::new(), IpAddr::from([10, 0, 0, 1]));
        let enter = || {
            let guest = guests.enter(address)?;
            guest.is_known_now();
            Some(guest)
        };
        let watches: Vec<_> = (0..1000).map(|_| enter().unwrap()).collect();
        let asking = enter().unwrap();
        drop(asking);
        let more = std::iter::from_fn(enter).take(CONNECTIONS_LIMIT).collect::<Vec<_>>();
        assert_eq!(watches.len() + more.len(), CONNECTIONS_OF_ADDRESS_LIMIT);
        const { assert!(CONNECTIONS_LIMIT - CONNECTIONS_OF_ADDRESS_LIMIT >= 500) };
    }

    fn address(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    #[tokio::test]
    async fn the_oldest_of_an_address_makes_room_and_who_is_known_stays() {
        let guests = Guests::new();
        let known = guests.enter(address(1)).unwrap();
        known.is_known_now();
        let first = guests.enter(address(1)).unwrap();
        let others: Vec<_> = (0..GUESTS_OF_ADDRESS_LIMIT).map(|_| guests.enter(address(1)).unwrap()).collect();
        assert_eq!(first.must_go().await, "guests-of-address");
        assert!(others.iter().all(|guest| !guest.out.token.is_cancelled()));
        assert!(!known.out.token.is_cancelled());
    }

    #[tokio::test]
    async fn when_all_places_are_taken_a_newcomer_gets_that_of_the_oldest_of_who_has_most() {
        let guests = Guests::new();
        let held: Vec<_> =
            (0..GUESTS_LIMIT).map(|n| guests.enter(address(if n % 3 == 0 { 1 } else { (n % 50) as u8 }))).collect();
        let held: Vec<_> = held.into_iter().flatten().collect();
        // Of the address that has most, places were given up before all were taken.
        let newcomer: Vec<_> = (0..150).map(|_| guests.enter(address(99)).unwrap()).collect();
        assert!(newcomer.iter().all(|guest| !guest.out.token.is_cancelled()));
        let gone: Vec<_> = held.iter().filter(|guest| guest.out.token.is_cancelled()).collect();
        assert!(!gone.is_empty() && gone.iter().all(|guest| guest.address == address(1)));
        assert!(guests.lock().places.len() <= GUESTS_LIMIT);
    }

    #[test]
    fn one_address_holds_all_it_can_and_others_get_in() {
        let guests = Guests::new();
        let held: Vec<_> =
            std::iter::from_fn(|| guests.enter(address(1)).inspect(|guest| guest.is_known_now())).collect();
        assert_eq!(held.len(), CONNECTIONS_OF_ADDRESS_LIMIT);
        assert!(guests.enter(address(1)).is_none());
        assert!(guests.enter(address(2)).is_some());
        drop(held);
        assert!(guests.enter(address(1)).is_some());
        assert!(guests.lock().known_of.is_empty());
    }
}
