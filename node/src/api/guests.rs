//! Connections: how many strangers may have, by address and in all, and for how long; and how many those have whose client has
//! shown who they are, by user, by address and in all. A newcomer finds a place, if need be that of the oldest of who holds
//! most: who holds all that can be held keeps out nobody but itself. What is proved is decided in `shell`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use skein_gossip::places::{Full, Places};
use skein_kube::authorize::User;
use tokio_util::sync::CancellationToken;

use super::server::CONNECTIONS_LIMIT;

/// How many connections may be open at once that have not carried a request of somebody known yet.
pub(super) const GUESTS_LIMIT: usize = 1024;
/// The same from one address.
pub(super) const GUESTS_OF_ADDRESS_LIMIT: usize = 256;
/// How long a connection may go on without such a request.
pub(super) const GUEST_LIFE: Duration = Duration::from_secs(30);
/// How many connections of known clients one address may have. A thousand watches from one machine are no attack, and others must
/// find room within [`CONNECTIONS_LIMIT`].
pub(super) const CONNECTIONS_OF_ADDRESS_LIMIT: usize = 1500;
/// How many connections one user may have who is no administrator.
pub(super) const CONNECTIONS_OF_USER_LIMIT: usize = CONNECTIONS_LIMIT / 4;

/// All connections over the network.
#[derive(Debug)]
pub(super) struct Guests(Mutex<State>);

#[derive(Debug)]
struct State {
    places: Places<IpAddr, u64>,
    guests: BTreeMap<u64, Arc<Open>>,
    /// Those of known clients, in the order in which they were opened.
    known: BTreeMap<u64, Known>,
    next: u64,
}

#[derive(Debug)]
struct Known {
    user: Arc<str>,
    is_master: bool,
    address: IpAddr,
    open: Arc<Open>,
}

/// What is shared with the task that serves a connection.
#[derive(Debug, Default)]
struct Open {
    /// Cancelled when it has to go.
    out: CancellationToken,
    why: OnceLock<&'static str>,
    /// How many requests are being answered, watches among them.
    busy: AtomicUsize,
}

/// A connection. It gives its place free when it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Arc<Guests>,
    id: u64,
    address: IpAddr,
    open: Arc<Open>,
    is_known: AtomicBool,
}

/// A request that is being answered, until the end of the answer.
#[derive(Debug)]
pub(super) struct Busy(Arc<Open>);

/// There is no place for one more connection of this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowded;

impl Guests {
    pub(super) fn new() -> Arc<Self> {
        let places = Places::new(GUESTS_OF_ADDRESS_LIMIT, GUESTS_LIMIT);
        Arc::new(Self(Mutex::new(State { places, guests: BTreeMap::new(), known: BTreeMap::new(), next: 0 })))
    }

    /// Lets a connection in.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Arc<Guest> {
        let mut state = self.lock();
        let (id, open) = (state.next, Arc::<Open>::default());
        state.next += 1;
        state.guests.insert(id, open.clone());
        if let Some((gone, why)) = state.places.take(id, address)
            && let Some(gone) = state.guests.remove(&gone)
        {
            gone.must_go(if why == Full::All { "guests" } else { "guests-of-address" });
        }
        Arc::new(Guest { guests: self.clone(), id, address, open, is_known: AtomicBool::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Makes room for one more of a user's, if there is none.
    fn make_room(&mut self, user: &User, address: IpAddr) -> Result<(), Crowded> {
        let own = |known: &Known| *known.user == *user.name;
        if !user.is_master() && self.count(own) >= CONNECTIONS_OF_USER_LIMIT {
            // Somebody's own oldest makes room whatever it does.
            let gone = self.oldest(own).ok_or(Crowded)?;
            self.send_away(gone, "connections-of-user");
        }
        let here = |known: &Known| known.address == address;
        if self.count(here) >= CONNECTIONS_OF_ADDRESS_LIMIT {
            let gone = self.spare(user, here).ok_or(Crowded)?;
            self.send_away(gone, "connections-of-address");
        }
        if self.known.len() >= CONNECTIONS_LIMIT {
            let gone = self.spare(user, |_| true).ok_or(Crowded)?;
            self.send_away(gone, "connections");
        }
        Ok(())
    }

    fn count(&self, which: impl Fn(&Known) -> bool) -> usize {
        self.known.values().filter(|known| which(known)).count()
    }

    /// The oldest of some that answers nothing now, or else the oldest.
    fn oldest(&self, which: impl Fn(&Known) -> bool) -> Option<u64> {
        let mut of = self.known.iter().filter(|(_, known)| which(known));
        let first = of.clone().next();
        of.find(|(_, known)| known.is_idle()).or(first).map(|(id, _)| *id)
    }

    /// Which of some gives way to a user: the oldest of whoever has most. What an administrator is being answered goes on, and so
    /// does what those are being answered who have no more than the user would have then.
    fn spare(&self, user: &User, which: impl Fn(&Known) -> bool) -> Option<u64> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for known in self.known.values().filter(|known| which(known)) {
            *counts.entry(&known.user).or_default() += 1;
        }
        let own = counts.get(user.name.as_str()).copied().unwrap_or(0);
        let count_of = |known: &Known| counts.get(&*known.user).copied().unwrap_or(0);
        let may_go = |known: &Known| which(known) && (known.is_idle() || !known.is_master && count_of(known) > own + 1);
        let most = self.known.values().filter(|known| may_go(known)).max_by_key(|known| count_of(known))?;
        self.oldest(|known| known.user == most.user && may_go(known))
    }

    fn send_away(&mut self, id: u64, why: &'static str) {
        if let Some(gone) = self.known.remove(&id) {
            gone.open.must_go(why);
        }
    }
}

impl Known {
    fn is_idle(&self) -> bool {
        self.open.busy.load(Ordering::Relaxed) == 0
    }
}

impl Open {
    fn must_go(&self, why: &'static str) {
        // Of two reasons the first is the one.
        let _ = self.why.set(why);
        self.out.cancel();
    }
}

impl Guest {
    /// Its client has shown who it is: it stays as long as it likes, unless others need its place.
    ///
    /// # Errors
    /// When there is no place for one more; then it is still a guest.
    pub(super) fn is_known_now(&self, user: &User) -> Result<(), Crowded> {
        if self.is_known.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut state = self.guests.lock();
        // Another request on the same connection may have been faster.
        if self.is_known.load(Ordering::Relaxed) {
            return Ok(());
        }
        state.make_room(user, self.address)?;
        self.is_known.store(true, Ordering::Relaxed);
        state.places.free(&self.id);
        state.guests.remove(&self.id);
        let (name, is_master) = (user.name.as_str().into(), user.is_master());
        let known = Known { user: name, is_master, address: self.address, open: self.open.clone() };
        state.known.insert(self.id, known);
        Ok(())
    }

    /// A request is being answered until what this returns is dropped.
    pub(super) fn busy(&self) -> Busy {
        self.open.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.open.clone())
    }

    /// Waits until it has to go; why, as metrics name it.
    pub(super) async fn must_go(&self) -> &'static str {
        let out = self.open.out.cancelled();
        tokio::pin!(out);
        tokio::select! {
            () = &mut out => {}
            () = tokio::time::sleep(GUEST_LIFE) => {
                if !self.is_known.load(Ordering::Relaxed) {
                    return "guest-stayed";
                }
                out.await;
            }
        }
        self.open.why.get().copied().unwrap_or("connections")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.guests.lock();
        state.places.free(&self.id);
        state.guests.remove(&self.id);
        state.known.remove(&self.id);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use skein_kube::authorize::MASTERS;

    fn address(n: usize) -> IpAddr {
        [10, 0, 0, u8::try_from(n).unwrap()].into()
    }

    fn user(name: &str) -> User {
        User::new(name, [])
    }

    fn admin() -> User {
        User::new("admin", [MASTERS.to_owned()])
    }

    fn enter(guests: &Arc<Guests>, from: usize, user: &User) -> Option<Arc<Guest>> {
        let guest = guests.enter(address(from));
        guest.is_known_now(user).ok().map(|()| guest)
    }

    fn staying(guests: &[Arc<Guest>]) -> usize {
        guests.iter().filter(|guest| !guest.open.out.is_cancelled()).count()
    }

    #[test]
    fn one_machine_may_hold_a_thousand_watches_and_ask_beside_them_and_others_have_room() {
        let guests = Guests::new();
        let watches: Vec<_> = (0..1000).map(|_| enter(&guests, 1, &admin()).unwrap()).collect();
        let busy: Vec<_> = watches.iter().map(|guest| guest.busy()).collect();
        // More connections of the same machine than it may have: those go that answer nothing.
        let asking: Vec<_> = (0..1000).map(|_| enter(&guests, 1, &admin()).unwrap()).collect();
        assert_eq!((staying(&watches), staying(&asking)), (1000, CONNECTIONS_OF_ADDRESS_LIMIT - 1000));
        assert!(enter(&guests, 1, &user("alice")).is_some());
        assert_eq!(staying(&watches), 1000);
        const { assert!(CONNECTIONS_LIMIT - CONNECTIONS_OF_ADDRESS_LIMIT >= 500) };
        drop(busy);
    }

    #[test]
    fn one_user_has_a_share_of_the_connections_wherever_they_come_from() {
        let guests = Guests::new();
        let first = enter(&guests, 1, &user("pod")).unwrap();
        let answered = first.busy();
        let held: Vec<_> = (0..2 * CONNECTIONS_LIMIT).map(|n| enter(&guests, n % 200, &user("pod")).unwrap()).collect();
        assert_eq!(staying(&held) + 1, CONNECTIONS_OF_USER_LIMIT, "its own oldest make room, idle ones first");
        assert!(!first.open.out.is_cancelled());
        assert_eq!(guests.lock().known.len(), CONNECTIONS_OF_USER_LIMIT);
        drop(answered);
    }

    #[test]
    fn users_who_hold_all_connections_keep_nobody_out() {
        let guests = Guests::new();
        let (mut held, mut busy) = (Vec::new(), Vec::new());
        for n in 0..CONNECTIONS_LIMIT {
            let guest = enter(&guests, n % 200, &user(&format!("pod-{}", n % 4))).unwrap();
            busy.push(guest.busy());
            held.push(guest);
        }
        // Nothing is idle, and still there is room for whoever has fewer.
        let alice: Vec<_> = (0..100).map(|_| enter(&guests, 7, &user("alice")).unwrap()).collect();
        let root: Vec<_> = (0..100).map(|_| enter(&guests, 7, &admin()).unwrap()).collect();
        assert_eq!((staying(&alice), staying(&root), staying(&held)), (100, 100, CONNECTIONS_LIMIT - 200));
        assert_eq!(guests.lock().known.len(), CONNECTIONS_LIMIT);
        drop((held, busy, alice, root));
        assert_eq!(guests.lock().known.len(), 0);
    }

    #[test]
    fn those_who_have_alike_do_not_push_each_other_out_while_they_are_answered() {
        let guests = Guests::new();
        let mut held = Vec::new();
        for n in 0..CONNECTIONS_LIMIT {
            let guest = enter(&guests, n % 200, &user(&format!("user-{n}"))).unwrap();
            held.push((guest.busy(), guest));
        }
        let late = guests.enter(address(1));
        assert_eq!(late.is_known_now(&user("late")), Err(Crowded));
        drop(held.pop());
        assert_eq!(late.is_known_now(&user("late")), Ok(()));
    }

    #[tokio::test]
    async fn the_oldest_of_an_address_makes_room_and_who_is_known_stays() {
        let guests = Guests::new();
        let known = enter(&guests, 1, &user("alice")).unwrap();
        let first = guests.enter(address(1));
        let others: Vec<_> = (0..GUESTS_OF_ADDRESS_LIMIT).map(|_| guests.enter(address(1))).collect();
        assert_eq!(first.must_go().await, "guests-of-address");
        assert_eq!(staying(&others), others.len());
        assert!(!known.open.out.is_cancelled());
    }

    #[tokio::test]
    async fn when_all_places_are_taken_a_newcomer_gets_that_of_the_oldest_of_who_has_most() {
        let guests = Guests::new();
        let from = |n: usize| address(if n.is_multiple_of(3) { 1 } else { n % 50 });
        let held: Vec<_> = (0..GUESTS_LIMIT).map(|n| guests.enter(from(n))).collect();
        // Of the address that has most, places were given up before all were taken.
        let newcomer: Vec<_> = (0..150).map(|_| guests.enter(address(99))).collect();
        assert_eq!(staying(&newcomer), newcomer.len());
        let gone: Vec<_> = held.iter().filter(|guest| guest.open.out.is_cancelled()).collect();
        assert!(!gone.is_empty() && gone.iter().all(|guest| guest.address == address(1)));
        assert!(guests.lock().places.len() <= GUESTS_LIMIT);
    }
}
