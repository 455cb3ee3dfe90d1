//! A member's side: the invitations with a clock, randomness and a log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skein_crdt_state::ClusterId;
use skein_gossip::NodeId;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::code::Code;
use super::exchange::{Ends, SessionId};
use super::invitations::{Invitations, Offer, SESSION_LIFE, Standing, as_whom};
use super::wire::{Began, Refusal};
use crate::daemon::token::JoinToken;
use crate::metrics::Metrics;

/// Tokens that wait to be revoked, since their codes were guessed at too often; there are fewer invitations than that.
const GUESSED_WAITING: usize = 64;

/// The invitations of this node.
pub(crate) struct Host {
    me: NodeId,
    cluster: ClusterId,
    invitations: Mutex<Invitations>,
    guessed: mpsc::Sender<JoinToken>,
    /// The daemon's numbers.
    pub(crate) metrics: Arc<Metrics>,
}

impl Host {
    /// A host without invitations, and the tokens of those that guesses end.
    pub(crate) fn new(me: NodeId, cluster: ClusterId, metrics: Arc<Metrics>) -> (Arc<Self>, mpsc::Receiver<JoinToken>) {
        let (guessed, ended) = mpsc::channel(GUESSED_WAITING);
        (Arc::new(Host { me, cluster, invitations: Mutex::default(), guessed, metrics }), ended)
    }

    /// Opens an invitation.
    ///
    /// # Errors
    /// When as many are open as may be, or the system gives no randomness.
    pub(crate) fn open(&self, offer: Offer, life: Duration) -> Result<Code, Refusal> {
        let mut random = [0; 5];
        getrandom::fill(&mut random).map_err(|_| Refusal::Busy)?;
        let role = offer.token.role;
        let code = self.book().open(Instant::now(), offer, life, random)?;
        info!(number = code.number(), seconds = life.as_secs(), "invited {}", as_whom(role));
        Ok(code)
    }

    /// How an invitation stands.
    pub(crate) fn standing(&self, number: u8) -> Option<Standing> {
        let standing = self.book().standing(Instant::now(), number);
        self.tell_guessed();
        standing
    }

    /// Whether an invitation of this number is open, and then the cluster's id, which both sides must know.
    pub(crate) fn find(&self, number: u8) -> Option<ClusterId> {
        let is_open = self.book().is_open(Instant::now(), number);
        self.tell_guessed();
        is_open.then_some(self.cluster)
    }

    /// Somebody begins to show a code.
    pub(crate) fn begin(self: &Arc<Self>, stranger: NodeId, number: u8, hello: &[u8]) -> Result<Began, Refusal> {
        let mut session = SessionId([0; 16]);
        getrandom::fill(&mut session.0).map_err(|_| Refusal::Busy)?;
        let ends = Ends { joiner: stranger, member: self.me, cluster: self.cluster };
        let began = self.book().begin(Instant::now(), &ends, number, session, hello);
        self.tell_guessed();
        if began.is_ok() {
            // Whether it was proved is looked at once its time is over, also when nobody asks again.
            let host = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(SESSION_LIFE + Duration::from_millis(100)).await;
                host.tell_guessed();
            });
        }
        began
    }

    /// Somebody shows a code; what it is for, closed up.
    pub(crate) fn prove(&self, stranger: NodeId, session: SessionId, proof: &[u8]) -> Result<Vec<u8>, Refusal> {
        let given = self.book().prove(Instant::now(), stranger, session, proof);
        match &given {
            Ok(_) => info!(%stranger, "a machine has shown the code that it was invited with"),
            Err(Refusal::OtherCode { tries_left }) => {
                self.metrics.wrong_codes.increment();
                warn!(%stranger, tries_left, "a wrong code was tried");
            }
            Err(_) => {}
        }
        self.tell_guessed();
        given
    }

    /// Says once of each invitation that guesses have ended it, and has its token revoked.
    fn tell_guessed(&self) {
        let (guessed, unproved) = {
            let mut book = self.book();
            (book.take_guessed(Instant::now()), book.take_unproved())
        };
        for number in unproved {
            self.metrics.wrong_codes.increment();
            warn!(number, "an exchange about a code was begun and not proved: it counts as a wrong code");
        }
        for (number, token) in guessed {
            warn!(number, "an invitation is over: wrong codes were tried as often as it stands");
            if self.guessed.try_send(token).is_err() {
                warn!(number, "its token stays, which nobody was told");
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Invitations> {
        self.invitations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
