//! The cluster's common secrets while the daemon runs: keeping them on disk, making new ones, asking linked members for
//! those that are missing, and giving them to members. Which sets count is decided in `pki::epochs`, which rotations there
//! are by the core.
//!
//! A set is asked for over a stream whose header is `{"keys":{"wanted":[ID, ..]}}`; the answer is one document of JSON until
//! the end of the stream. An id is a hash of the set, so that nobody can give another set for it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skein_core::node::{self, Input, MAX_REMOVALS_BYTES, Node, push_frame};
use skein_crdt_state::keyring::{EpochId, Keyring, MAX_EPOCHS};
use skein_crdt_state::{ClusterId, Envelope};
use skein_gossip::NodeId;
use skein_net::NetHandle;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use super::core_task::Access;
use crate::api::backend::{AdminError, PeerStream, Rotated};
use crate::api::shell::now_ms;
use crate::core_handle::CoreHandle;
use crate::pki::epochs::{Epochs, MAX_SETS_BYTES, Turn};
use crate::pki::seal::Seal;
use crate::pki::{ClusterSecrets, PkiError, ServerIdentity, file};

/// What the header of a stream begins with that asks for sets.
const HEADER_START: &[u8] = br#"{"keys":"#;
/// The longest header, in bytes: all ids that can be asked for at once.
const HEADER_LIMIT: usize = 64 + MAX_EPOCHS * 80;
/// How many peers are answered at once; further ones are closed at once and ask again.
const ANSWERS_AT_ONCE: usize = 16;
/// How long a peer may take to answer, and to read an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long to wait after all linked members were asked in vain: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes. Statements are a third longer in it than they are.
const MAX_ANSWER_BYTES: usize = MAX_SETS_BYTES + 2 * MAX_REMOVALS_BYTES;
/// How long rotations that were told with the sets count though the core has not heard of them: it hears of them from a
/// peer. After that they never were, or their author was removed.
const HEARSAY_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked at the longest whether what was issued has ended.
const LAPSE_LOOK: Duration = Duration::from_secs(60);
/// How long a rotation may take to be shown by this node after it is written.
const SHOWN_WAIT: Duration = Duration::from_secs(5);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    keys: Wanted,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    wanted: Vec<EpochId>,
}

#[derive(Default, Serialize, Deserialize)]
struct Answer {
    sets: Vec<ClusterSecrets>,
    /// The removals that the answering member knows of, as their authors have signed them, in base64: whoever hears of a rotation
    /// before it hears of the removal that it was made for must not pass its secrets on to that node.
    removals: Vec<String>,
}

/// Keeps the common secrets of this node.
pub(crate) struct Keeper {
    dir: PathBuf,
    seal: Seal,
    cluster: ClusterId,
    me: NodeId,
    identity: Arc<ServerIdentity>,
    core: CoreHandle,
    net: NetHandle,
    access: Access,
    /// Held while sets change, so that the file has all of them.
    changing: tokio::sync::Mutex<()>,
    /// Whom this node has removed: they get nothing, whatever the core says.
    removed: Mutex<BTreeSet<NodeId>>,
    answering: Semaphore,
    /// The current set.
    current: watch::Sender<EpochId>,
    /// What the core was told last.
    said: Mutex<Option<(Keyring, String)>>,
}

/// Whether a stream that begins like this asks for sets.
pub(crate) fn takes(header: &[u8]) -> bool {
    header.starts_with(HEADER_START)
}

impl Keeper {
    #[expect(clippy::too_many_arguments, reason = "it is made in one place, of what that place has")]
    pub(crate) fn new(
        dir: PathBuf,
        seal: Seal,
        cluster: ClusterId,
        me: NodeId,
        identity: Arc<ServerIdentity>,
        core: CoreHandle,
        net: NetHandle,
        access: Access,
    ) -> Self {
        let current = watch::Sender::new(identity.epochs().current());
        Keeper {
            dir,
            seal,
            cluster,
            me,
            identity,
            core,
            net,
            access,
            changing: tokio::sync::Mutex::default(),
            removed: Mutex::default(),
            answering: Semaphore::new(ANSWERS_AT_ONCE),
            current,
            said: Mutex::default(),
        }
    }

    /// What this node shows to clients.
    pub(crate) fn identity(&self) -> Arc<ServerIdentity> {
        self.identity.clone()
    }

    /// The sets that are held.
    pub(crate) fn epochs(&self) -> Epochs {
        self.identity.epochs()
    }

    /// Follows the rotations that the core knows of until the daemon stops: asks for sets that are missing, and says when
    /// something ends.
    pub(crate) async fn run(self: Arc<Self>, mut turns: watch::Receiver<Option<Vec<Turn>>>) {
        let hearsay_until = Instant::now() + HEARSAY_LIMIT;
        let (mut pause, mut ask_at) = (FIRST_PAUSE, None);
        loop {
            let told = turns.borrow_and_update().clone();
            let is_over = Instant::now() >= hearsay_until;
            let hearsay = told.as_ref().is_some_and(|told| !is_over && !self.knows_all(told));
            if let (Some(told), false) = (told, hearsay) {
                self.follow(told).await;
            }
            if ask_at.is_none() && !self.identity.epochs().lacking().is_empty() {
                ask_at = Some(Instant::now());
            }
            // News of rotations end what is under way: they may be of what ends at once.
            let at = ask_at;
            let pull = async {
                until(at).await;
                self.pull().await
            };
            tokio::select! {
                changed = turns.changed() => match changed {
                    Ok(()) => (pause, ask_at) = (FIRST_PAUSE, None),
                    Err(_) => return,
                },
                lacks = pull => {
                    ask_at = lacks.then(|| Instant::now() + pause);
                    pause = (2 * pause).min(LAST_PAUSE);
                }
                () = until(hearsay.then_some(hearsay_until)) => {}
                () = until(self.next_lapse()) => self.tell_core().await,
            }
        }
    }

    /// Serves a stream that asks for sets. Whoever is no active member, or is known to be removed, gets nothing.
    pub(crate) async fn serve(&self, peer: NodeId, header: &[u8], mut stream: PeerStream) {
        let Ok(_permit) = self.answering.try_acquire() else { return };
        let header = if header.len() > HEADER_LIMIT { None } else { serde_json::from_slice::<Header>(header).ok() };
        let Some(Header { keys: Wanted { wanted } }) = header else { return };
        let question = move |node: &mut Node, _| {
            let members = node.store().members();
            (members.is_active(&peer), node::removals(members))
        };
        let Ok((active, removals)) = self.core.query(question).await else { return };
        let refused = self.removed.lock().unwrap_or_else(PoisonError::into_inner).contains(&peer);
        if !active || refused {
            warn!(%peer, "a node that is no member asked for the cluster's keys");
            return;
        }
        let epochs = self.identity.epochs();
        let sets = wanted.iter().take(MAX_EPOCHS).filter_map(|id| epochs.get(id)).map(|set| (**set).clone()).collect();
        let removals = removals.iter().map(|said| BASE64.encode(said.encode())).collect();
        let answer = serde_json::to_vec(&Answer { sets, removals }).unwrap_or_default();
        // An error means that whoever asked is gone.
        let _ = timeout(ANSWER_WAIT, async {
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        })
        .await;
    }

    /// This node gives nothing to a member that it has just removed.
    pub(crate) fn has_removed(&self, peer: NodeId) {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
    }

    /// Makes a new set and has the cluster turn to it.
    pub(crate) async fn rotate(&self, grace: Duration) -> Result<Rotated, AdminError> {
        let failed = |error: PkiError| AdminError(format!("the keys were not rotated: {error}"));
        let set = ClusterSecrets::found(&self.cluster.to_string()).map_err(failed)?;
        let epoch = set.epoch();
        // It must be on this disk before anybody hears of it.
        self.take(vec![set]).await.map_err(failed)?;
        let lapse_ms = lapse_of(now_ms(), grace);
        let stopped = |error: crate::core_handle::Stopped| AdminError(error.to_string());
        let said = self.core.rotate(epoch, lapse_ms).await.map_err(stopped)?;
        let mut warnings = said.map_err(|error| AdminError(format!("the keys were not rotated: {error}")))?;
        let shown = self.current.subscribe();
        if timeout(SHOWN_WAIT, shown_to(shown, epoch)).await.is_err() {
            warnings.push(
                "this node does not show the new certificate yet; a kubeconfig that is made now may be of the old keys"
                    .to_owned(),
            );
        }
        info!(%epoch, grace_s = grace.as_secs(), "the cluster's keys were rotated");
        Ok(Rotated { epoch: epoch.to_string(), lapse_ms, warnings })
    }

    /// Takes sets in: to disk first, then to use, and neither if they cannot be used.
    async fn take(&self, sets: Vec<ClusterSecrets>) -> Result<(), PkiError> {
        let _alone = self.changing.lock().await;
        let insert = |epochs: &mut Epochs| {
            for set in &sets {
                epochs.insert(set.clone());
            }
        };
        // What is on disk is what the next start has to go by.
        self.identity.try_change(insert)?;
        let mut epochs = self.identity.epochs();
        insert(&mut epochs);
        self.store(epochs).await?;
        self.identity.change(insert)?;
        self.tell_core().await;
        Ok(())
    }

    /// Takes over what rotations there are.
    async fn follow(&self, turns: Vec<Turn>) {
        let _alone = self.changing.lock().await;
        let mut epochs = self.identity.epochs();
        if epochs.turns() != turns {
            epochs.set_turns(turns.clone());
            if let Err(error) = self.store(epochs).await {
                warn!(%error, "rotations could not be written down; the core knows them all the same");
            }
            if let Err(error) = self.identity.set_turns(turns) {
                error!(%error, "the cluster's keys were rotated, and this node cannot use the new ones");
            }
            self.tell_core().await;
        }
    }

    /// Asks linked members for what is missing, until nothing is. Whether something is missing still.
    async fn pull(&self) -> bool {
        let members: Vec<NodeId> = {
            let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
            // Not all begin with the same one.
            let (before, after): (Vec<NodeId>, Vec<NodeId>) = access.iter().partition(|id| **id < self.me);
            after.into_iter().chain(before).filter(|id| *id != self.me).collect()
        };
        for peer in members {
            let lacking = self.identity.epochs().lacking();
            if lacking.is_empty() {
                return false;
            }
            match timeout(ANSWER_WAIT, self.ask(peer, &lacking)).await {
                Ok(Ok(sets)) if !sets.is_empty() => {
                    info!(%peer, sets = sets.len(), "took new keys of the cluster over");
                    if let Err(error) = self.take(sets).await {
                        error!(%error, "new keys of the cluster cannot be kept");
                    }
                }
                Ok(Ok(_)) => debug!(%peer, "it lacks the keys as well"),
                Ok(Err(why)) => debug!(%peer, %why, "it gives no keys"),
                Err(_) => debug!(%peer, "it does not answer"),
            }
        }
        !self.identity.epochs().lacking().is_empty()
    }

    async fn ask(&self, peer: NodeId, lacking: &BTreeSet<EpochId>) -> Result<Vec<ClusterSecrets>, String> {
        let header = Header { keys: Wanted { wanted: lacking.iter().copied().collect() } };
        let header = serde_json::to_vec(&header).map_err(|error| error.to_string())?;
        let stream = self.net.open(peer, Bytes::from(header)).await.map_err(|error| error.to_string())?;
        let mut text = Vec::new();
        stream.take(MAX_ANSWER_BYTES as u64).read_to_end(&mut text).await.map_err(|error| error.to_string())?;
        self.hear(peer, &text, lacking).await
    }

    /// What a member has answered. The core judges what it says of removals, as it judges whatever a member says, before anybody is
    /// given the sets that came with it.
    async fn hear(
        &self,
        peer: NodeId,
        answer: &[u8],
        lacking: &BTreeSet<EpochId>,
    ) -> Result<Vec<ClusterSecrets>, String> {
        let (sets, removals) = read_answer(answer, lacking)?;
        if !removals.is_empty() {
            let bytes = Arc::from(push_frame(removals));
            let told = self.core.input(Input::Frame { from: peer, bytes }).await;
            told.map_err(|error| error.to_string())?;
        }
        Ok(sets)
    }

    /// Tells the core which keys are here and what clients are to trust, if that is not what it was told last.
    async fn tell_core(&self) {
        let epochs = self.identity.epochs();
        let current = epochs.current();
        if self.current.send_if_modified(|shown| std::mem::replace(shown, current) != current) {
            // What pods hold ends with the grace.
            let _ = self.core.input(Input::SignAnew).await;
        }
        let said = (epochs.keyring(), epochs.authorities(now_ms()));
        let is_new =
            self.said.lock().unwrap_or_else(PoisonError::into_inner).replace(said.clone()) != Some(said.clone());
        if is_new {
            let (keyring, ca_certificate) = said;
            // A core that stops needs no keys.
            let _ = self.core.input(Input::Keys { keyring, ca_certificate }).await;
        }
    }

    async fn store(&self, epochs: Epochs) -> Result<(), PkiError> {
        let (dir, seal) = (self.dir.clone(), self.seal.clone());
        let stored = tokio::task::spawn_blocking(move || file::store(&dir, &seal, &epochs)).await;
        stored.unwrap_or_else(|error| {
            Err(PkiError::File { path: self.dir.clone(), source: std::io::Error::other(error.to_string()) })
        })
    }

    /// When to look whether something has ended. Seldom too late, since the wall clock may be set.
    fn next_lapse(&self) -> Option<Instant> {
        let now = now_ms();
        let lapse_ms = self.identity.epochs().next_lapse_ms(now)?;
        let left = Duration::from_millis(lapse_ms.saturating_sub(now).saturating_add(1));
        Some(Instant::now() + left.min(LAPSE_LOOK))
    }

    /// Whether all rotations that this node was told of are among those that the core knows.
    fn knows_all(&self, told: &[Turn]) -> bool {
        self.identity.epochs().turns().iter().all(|turn| told.contains(turn))
    }
}

/// The sets of an answer that were asked for and can be used, and the removals that came with them.
fn read_answer(text: &[u8], wanted: &BTreeSet<EpochId>) -> Result<(Vec<ClusterSecrets>, Vec<Arc<Envelope>>), String> {
    let Answer { sets, removals } = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut usable = Vec::new();
    for set in sets.into_iter().take(MAX_EPOCHS) {
        let epoch = set.epoch();
        match ClusterSecrets::from_bytes(&set.to_bytes(), "a member's answer") {
            Ok(set) if wanted.contains(&set.epoch()) => usable.push(set),
            Ok(_) => {}
            Err(error) => warn!(%epoch, %error, "a member gives keys that cannot be used"),
        }
    }
    let removal = |text: &String| Some(Arc::new(Envelope::decode(&BASE64.decode(text).ok()?).ok()?));
    let removals = removals.iter().map(removal).collect::<Option<_>>();
    Ok((usable, removals.ok_or("it holds a statement that cannot be read")?))
}

async fn shown_to(mut shown: watch::Receiver<EpochId>, epoch: EpochId) {
    // An end of the channel is an end of the daemon.
    let _ = shown.wait_for(|current| *current == epoch).await;
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// When what was issued before ends. At once is at no time: other peers' clocks may be behind.
fn lapse_of(now_ms: u64, grace: Duration) -> u64 {
    if grace.is_zero() { 0 } else { now_ms.saturating_add(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{World, id};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_brings_the_sets_that_were_asked_for_and_no_others() {
        let (wanted, other) = (ClusterSecrets::found("home").unwrap(), ClusterSecrets::found("home").unwrap());
        let nameless = crate::pki::nameless();
        let ids = BTreeSet::from([wanted.epoch(), nameless.epoch()]);
        let answer = Answer { sets: vec![other, nameless, wanted.clone()], removals: Vec::new() };
        let text = serde_json::to_vec(&answer).unwrap();
        assert_eq!(read_answer(&text, &ids).unwrap(), (vec![wanted], Vec::new()), "one of them cannot be used");
    }

    #[tokio::test]
    async fn a_set_that_cannot_be_used_is_not_written_down() {
        let world = World::new().await;
        let (file, nameless) = (world.dir().join(crate::pki::file::EPOCHS_FILE), crate::pki::nameless());
        world.keeper.follow(vec![Turn { epoch: nameless.epoch(), lapse_ms: 0 }]).await;
        let before = std::fs::read(&file).unwrap();
        assert!(world.keeper.take(vec![nameless]).await.is_err());
        assert_eq!(std::fs::read(&file).unwrap(), before);
        let set = ClusterSecrets::found("home").unwrap();
        world.keeper.take(vec![set.clone()]).await.unwrap();
        assert!(world.keeper.epochs().get(&set.epoch()).is_some(), "another one is taken");
    }

    /// What a node is given that asks for the current set.
    async fn given(world: &World, asks: u8) -> String {
        let wanted = vec![world.keeper.epochs().current()];
        let header = serde_json::to_vec(&Header { keys: Wanted { wanted } }).unwrap();
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        world.keeper.serve(id(asks), &header, Box::pin(ours)).await;
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn who_is_removed_a_member_proves_and_gets_no_keys_from_then_on() {
        let world = World::new().await;
        for of in [2, 3, 4] {
            world.admit(of, &format!("n{of}")).await.unwrap();
        }
        let hear = async |answer: serde_json::Value| {
            world.keeper.hear(id(3), answer.to_string().as_bytes(), &BTreeSet::new()).await
        };
        // A bare word counts for nothing, nor does what a stranger has signed.
        let word: Vec<String> = [2, 4].iter().map(|of| id(*of).to_string()).collect();
        hear(serde_json::json!({"sets": [], "removals": [], "removed": word})).await.unwrap();
        let removal = |by: u8| BASE64.encode(world.removal(by, 2).encode());
        hear(serde_json::json!({"sets": [], "removals": [removal(9)]})).await.unwrap();
        hear(serde_json::json!({"sets": [], "removals": ["AAAA"]})).await.unwrap_err();
        assert!(given(&world, 2).await.contains("admin_token") && given(&world, 4).await.contains("admin_token"));
        hear(serde_json::json!({"sets": [], "removals": [removal(3)]})).await.unwrap();
        assert_eq!(given(&world, 2).await, "");
        let told = given(&world, 4).await;
        assert!(told.contains(&removal(3)), "it is passed on as it was signed: {told}");
    }

    #[test]
    fn the_header_that_asks_is_known_and_fits() {
        let wanted = (0..MAX_EPOCHS as u8).map(|n| EpochId([n | 0xc0; 16])).collect();
        let header = serde_json::to_vec(&Header { keys: Wanted { wanted } }).unwrap();
        assert!(takes(&header) && header.len() <= HEADER_LIMIT, "{}", header.len());
        assert!(!takes(br#"{"usage":{}}"#));
    }

    proptest! {
        #[test]
        fn reading_an_answer_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read_answer(&bytes, &BTreeSet::new()).is_err());
        }
    }
}
