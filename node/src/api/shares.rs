//! Places for answers that go on, such as watches and logs: so many in all, and a share of them for each user. When all are
//! taken, whoever has fewer than another gets the place that the other has had for the longest time: who holds all that can be
//! held keeps out nobody but itself. What an answer is does not live here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skein_kube::authorize::User;
use tokio_util::sync::CancellationToken;

/// Places of one sort.
#[derive(Debug)]
pub struct Shares {
    in_all: usize,
    of_user: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    count: usize,
    /// Who holds what; a user's oldest place has the lowest number.
    held: BTreeMap<Arc<str>, BTreeMap<u64, CancellationToken>>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The user has as many as one may have.
    OfUser,
    /// All are taken, and nobody has more of them than the user.
    InAll,
}

/// A place. It is free again when this is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    user: Arc<str>,
    number: u64,
    out: CancellationToken,
}

impl Shares {
    /// So many in all, and so many for each user but administrators.
    #[must_use]
    pub fn new(in_all: usize, of_user: usize) -> Arc<Self> {
        Arc::new(Shares { in_all, of_user, state: Mutex::default() })
    }

    /// A place for a user.
    ///
    /// # Errors
    /// When there is none for them.
    pub fn take(self: &Arc<Self>, user: &User) -> Result<Share, Full> {
        let mut state = self.lock();
        let own = state.held.get(user.name.as_str()).map_or(0, BTreeMap::len);
        if own >= self.of_user && !user.is_master() {
            return Err(Full::OfUser);
        }
        if state.count >= self.in_all && !state.give_way(own) {
            return Err(Full::InAll);
        }
        let (number, out, name) = (state.next, CancellationToken::new(), Arc::from(user.name.as_str()));
        state.next += 1;
        state.count += 1;
        state.held.entry(Arc::clone(&name)).or_default().insert(number, out.clone());
        Ok(Share { shares: self.clone(), user: name, number, out })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the oldest place of whoever has most, if that is more than somebody else would then have. So two that are alike do
    /// not take one place from each other in turn.
    fn give_way(&mut self, own: usize) -> bool {
        let most = self.held.iter().max_by_key(|(_, places)| places.len());
        let Some((user, places)) = most.filter(|(_, places)| places.len() > own + 1) else { return false };
        let (user, number) = (user.clone(), places.first_key_value().map(|(number, _)| *number));
        number.and_then(|number| self.free(&user, number)).is_some_and(|out| {
            out.cancel();
            true
        })
    }

    fn free(&mut self, user: &Arc<str>, number: u64) -> Option<CancellationToken> {
        let places = self.held.get_mut(user)?;
        let out = places.remove(&number)?;
        if places.is_empty() {
            self.held.remove(user);
        }
        self.count -= 1;
        Some(out)
    }
}

impl Share {
    /// Cancelled when the place was given to another.
    #[must_use]
    pub fn out(&self) -> &CancellationToken {
        &self.out
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.lock().free(&self.user, self.number);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_kube::authorize::MASTERS;

    fn user(name: &str) -> User {
        User::new(name, [])
    }

    fn all(shares: &Arc<Shares>, user: &User) -> Vec<Share> {
        std::iter::from_fn(|| shares.take(user).ok()).collect()
    }

    #[test]
    fn one_user_gets_a_share_and_an_administrator_all() {
        let shares = Shares::new(8, 2);
        let alice = all(&shares, &user("alice"));
        assert_eq!((alice.len(), shares.take(&user("alice")).err()), (2, Some(Full::OfUser)));
        let admin = all(&shares, &User::new("admin", [MASTERS.to_owned()]));
        assert_eq!(admin.len(), 6);
        drop(alice);
        assert!(shares.take(&user("alice")).is_ok(), "what was given back can be taken again");
        drop(admin);
        let state = shares.lock();
        assert_eq!((state.count, state.held.len()), (0, 0));
    }

    #[test]
    fn when_all_are_taken_the_oldest_of_who_has_most_gives_way_to_who_has_fewer() {
        let shares = Shares::new(8, 4);
        let (alice, bob) = (all(&shares, &user("alice")), all(&shares, &user("bob")));
        assert_eq!(alice.len() + bob.len(), 8);
        let carol = all(&shares, &user("carol"));
        assert_eq!(shares.take(&user("carol")).err(), Some(Full::InAll), "nobody has more than a place more");
        let stay = |shares: &[Share]| shares.iter().filter(|share| !share.out().is_cancelled()).count();
        assert_eq!((stay(&alice), stay(&bob), stay(&carol)), (3, 3, 2));
        assert!(alice[0].out().is_cancelled() && bob[0].out().is_cancelled());
        // What was taken away is given back once.
        drop((alice, bob, carol));
        assert_eq!(shares.lock().count, 0);
    }

    #[test]
    fn an_administrator_makes_room_and_does_not_take_it_back() {
        let shares = Shares::new(8, 2);
        let admin = User::new("admin", [MASTERS.to_owned()]);
        let held = all(&shares, &admin);
        let alice = shares.take(&user("alice")).unwrap();
        assert!(held[0].out().is_cancelled());
        assert_eq!(shares.take(&admin).err(), Some(Full::InAll));
        assert!(!alice.out().is_cancelled());
    }
}
