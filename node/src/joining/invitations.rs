//! The invitations that a member has open, in its memory alone: which codes count, how many tries are left, and which exchanges
//! are under way. It sends nothing and reads no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use skein_core::node::TokenRole;
use skein_gossip::NodeId;

use super::code::{Code, NUMBERS};
use super::exchange::{Ends, Keys, SessionId, answer};
use super::wire::{Began, Refusal};
use crate::daemon::token::JoinToken;

/// How many wrong guesses end an invitation, from whoever they come.
pub const TRIES: u8 = 3;
/// The most invitations that one member has open at a time; one more is refused.
pub const MAX_INVITATIONS: usize = 16;
/// How long an exchange may take. One that is not proved by then was a wrong guess.
pub const SESSION_LIFE: Duration = Duration::from_secs(30);
/// The most names that are remembered of those who came with one code.
const MAX_CAME: usize = 64;

/// What somebody is invited with.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// What is handed over to whoever has the code.
    pub(crate) token: JoinToken,
    /// How many may come.
    pub(crate) uses: u32,
}

/// How an invitation stands, for the person who made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its number, which the code begins with.
    pub number: u8,
    /// What whoever comes with the code becomes.
    pub role: String,
    /// For how long it still counts, in seconds.
    pub seconds_left: u64,
    /// How many more wrong guesses end it, those that are under way not counted.
    pub tries_left: u8,
    /// Who has shown the code, by the ends of their ids.
    pub came: Vec<String>,
    /// Why it does not count any more, if it does not.
    pub over: Option<Over>,
}

/// Why an invitation does not count any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// As many came as were invited.
    UsedUp,
    /// Its time was over.
    Expired,
    /// There were as many wrong guesses as it stands.
    Guessed,
}

struct Invitation {
    code: Code,
    offer: Offer,
    until: Instant,
    tries_left: u8,
    came: BTreeSet<NodeId>,
    over: Option<Over>,
}

struct Session {
    number: u8,
    joiner: NodeId,
    keys: Keys,
    until: Instant,
}

/// All invitations of one member.
#[derive(Default)]
pub(crate) struct Invitations {
    open: BTreeMap<u8, Invitation>,
    sessions: BTreeMap<SessionId, Session>,
    /// Ended by guesses and not yet told.
    guessed: Vec<(u8, JoinToken)>,
    /// Of which invitations exchanges were not proved in time, each once and not yet told.
    unproved: Vec<u8>,
}

impl Invitations {
    /// Opens an invitation. `random` picks its number and its words.
    ///
    /// # Errors
    /// When as many are open as may be.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        offer: Offer,
        life: Duration,
        random: [u8; 5],
    ) -> Result<Code, Refusal> {
        self.sweep(now);
        while self.open.len() >= MAX_INVITATIONS {
            let over = self.open.iter().find(|(_, known)| known.over.is_some()).map(|(number, _)| *number);
            self.open.remove(&over.ok_or(Refusal::Busy)?);
        }
        let [first, words @ ..] = random;
        let mut numbers = (0..NUMBERS).map(|step| (first % NUMBERS + step) % NUMBERS);
        let number = numbers.find(|number| !self.open.contains_key(number)).ok_or(Refusal::Busy)?;
        let code = Code::new(number, words);
        let (until, came) = (now + life, BTreeSet::new());
        self.open.insert(number, Invitation { code, offer, until, tries_left: TRIES, came, over: None });
        Ok(code)
    }

    /// Whether an invitation of this number is open.
    pub(crate) fn is_open(&mut self, now: Instant, number: u8) -> bool {
        self.sweep(now);
        self.open.get(&number).is_some_and(|known| known.over.is_none())
    }

    /// How an invitation stands, if it is known still.
    pub(crate) fn standing(&mut self, now: Instant, number: u8) -> Option<Standing> {
        self.sweep(now);
        let known = self.open.get(&number)?;
        // An exchange that is under way has taken a try, and may give it back.
        let under_way = self.sessions.values().filter(|session| session.number == number).count();
        let tries_left = usize::from(known.tries_left) + under_way;
        Some(Standing {
            number,
            role: known.offer.token.role.as_str().to_owned(),
            seconds_left: known.until.saturating_duration_since(now).as_secs(),
            tries_left: u8::try_from(tries_left).unwrap_or(TRIES).min(TRIES),
            came: known.came.iter().map(NodeId::short).collect(),
            over: known.over,
        })
    }

    /// Somebody says hello: a guess, until it is proved to be none.
    ///
    /// # Errors
    /// When there is no such invitation, no try is left, or the hello is none.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        ends: &Ends,
        number: u8,
        session: SessionId,
        hello: &[u8],
    ) -> Result<Began, Refusal> {
        self.sweep(now);
        let known = self.open.get_mut(&number).filter(|known| known.over.is_none()).ok_or(Refusal::None)?;
        // Those that are under way may all turn out to be wrong.
        known.tries_left = known.tries_left.checked_sub(1).ok_or(Refusal::Busy)?;
        let Ok((keys, hello)) = answer(&known.code, ends, &session, hello) else {
            // Nothing was said that a guess could be compared with.
            known.tries_left += 1;
            return Err(Refusal::Malformed);
        };
        let until = now + SESSION_LIFE;
        self.sessions.insert(session, Session { number, joiner: ends.joiner, keys, until });
        Ok(Began { session, hello })
    }

    /// Somebody proves to have the code, and is given what the invitation is for. A session is over after this, whatever comes
    /// of it.
    ///
    /// # Errors
    /// When the code was another, or there is no such session of this node's.
    pub(crate) fn prove(
        &mut self,
        now: Instant,
        joiner: NodeId,
        session: SessionId,
        proof: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        self.sweep(now);
        if self.sessions.get(&session).is_none_or(|known| known.joiner != joiner) {
            return Err(Refusal::NoSession);
        }
        let Some(known) = self.sessions.remove(&session) else { return Err(Refusal::NoSession) };
        let invitation = self.open.get_mut(&known.number).ok_or(Refusal::None)?;
        if known.keys.check(proof).is_err() {
            let tries_left = invitation.tries_left;
            self.end_if_guessed(known.number);
            return Err(Refusal::OtherCode { tries_left });
        }
        invitation.tries_left = (invitation.tries_left + 1).min(TRIES);
        // Who comes once more, since what followed went wrong, is no other guest.
        let is_room = invitation.came.len() < MAX_CAME.min(invitation.offer.uses as usize);
        if invitation.over.is_some() || !(invitation.came.contains(&joiner) || is_room) {
            return Err(Refusal::None);
        }
        invitation.came.insert(joiner);
        let given = postcard::to_stdvec(&invitation.offer.token).map_err(|_| Refusal::Malformed)?;
        Ok(known.keys.give(&given))
    }

    /// The invitations that guesses have ended since this was last asked, each once: their tokens are to be revoked.
    pub(crate) fn take_guessed(&mut self, now: Instant) -> Vec<(u8, JoinToken)> {
        self.sweep(now);
        std::mem::take(&mut self.guessed)
    }

    /// The invitations of which exchanges were not proved in time since this was last asked, once for each.
    pub(crate) fn take_unproved(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unproved)
    }

    /// Ends what has lasted too long. An exchange that was not proved in time was a wrong guess.
    fn sweep(&mut self, now: Instant) {
        let late: Vec<SessionId> =
            self.sessions.iter().filter(|(_, session)| session.until <= now).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(session) = self.sessions.remove(&id) {
                self.unproved.push(session.number);
                self.end_if_guessed(session.number);
            }
        }
        for invitation in self.open.values_mut().filter(|known| known.until <= now && known.over.is_none()) {
            let all_came = invitation.came.len() >= invitation.offer.uses as usize;
            invitation.over = Some(if all_came { Over::UsedUp } else { Over::Expired });
        }
    }

    /// Ends an invitation that has no try left, once no exchange is under way that could still prove to be none.
    fn end_if_guessed(&mut self, number: u8) {
        let is_under_way = self.sessions.values().any(|session| session.number == number);
        let Some(known) = self.open.get_mut(&number) else { return };
        if known.tries_left == 0 && !is_under_way && known.over.is_none() {
            known.over = Some(Over::Guessed);
            self.guessed.push((number, known.offer.token.clone()));
        }
    }
}

/// What a token lets people be, in words for the log and for people.
pub(crate) fn as_whom(role: TokenRole) -> &'static str {
    match role {
        TokenRole::Member => "a member",
        TokenRole::Observer => "an observer",
        TokenRole::Client => "a client",
    }
}

#[cfg(test)]
mod tests;
