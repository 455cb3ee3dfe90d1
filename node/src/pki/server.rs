//! What this node shows to clients and what it believes of them: the server's certificate with the word of earlier
//! authorities for the current one, and which set's authority or key stands behind what a client shows. It changes while
//! the daemon runs, when a rotation is heard of. Which sets count is decided in `epochs`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType, date_time_ymd};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use skein_crdt_state::keyring::EpochId;
use tokio::sync::watch;

use super::epochs::{Epochs, Turn};
use super::token::{Claims, TokenError, TokenKey};
use super::{ClusterSecrets, FIRST_YEAR, LAST_YEAR, PkiError, certificate, name};

/// The most names and addresses in one server certificate; further ones are not added.
pub const MAX_SUBJECT_NAMES: usize = 64;
/// A server certificate is valid to the end of the year after next; it is made anew at each start and each renewal.
const SERVER_YEARS: i32 = 3;

/// The certificate that this node shows, made anew when a client arrives at an address that it does not name yet, and
/// what it verifies clients by.
///
/// A laptop changes its address while the daemon runs; a certificate made at start would then be refused.
pub struct ServerIdentity {
    known: RwLock<Arc<Known>>,
    shown: Mutex<Shown>,
    /// Says that what counts may have changed, with the generation.
    changed: watch::Sender<u64>,
}

/// All that follows from the sets and rotations that this node knows of.
struct Known {
    epochs: Epochs,
    /// The current one first.
    by_age: Vec<Arc<Held>>,
    /// What stands behind the server's certificate: earlier authorities' words, one for the next, the latest first.
    chain: Vec<CertificateDer<'static>>,
    /// Verifies by all authorities; which one it was, and whether it counts, is asked for each request.
    verifier: Arc<dyn ClientCertVerifier>,
    /// Rises with each change.
    generation: u64,
}

/// A set with what is made of it.
struct Held {
    id: EpochId,
    secrets: Arc<ClusterSecrets>,
    tokens: Arc<TokenKey>,
    verifier: Arc<dyn ClientCertVerifier>,
}

struct Shown {
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    key: Arc<CertifiedKey>,
}

impl ServerIdentity {
    /// A certificate for `names` and `addresses`, and for localhost.
    ///
    /// # Errors
    /// When the secrets cannot sign one.
    pub fn new(
        epochs: Epochs,
        names: impl IntoIterator<Item = String>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Self, PkiError> {
        let local = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
        let names = ["localhost".to_owned()].into_iter().chain(names).take(MAX_SUBJECT_NAMES).collect();
        let addresses = local.into_iter().chain(addresses.into_iter().map(|a| a.to_canonical()));
        let addresses = addresses.filter(|a| !a.is_unspecified()).take(MAX_SUBJECT_NAMES).collect();
        let known = Known::of(epochs, 0)?;
        let key = certify(&known, &names, &addresses)?;
        let shown = Mutex::new(Shown { names, addresses, key });
        Ok(ServerIdentity { known: RwLock::new(Arc::new(known)), shown, changed: watch::Sender::new(0) })
    }

    /// Makes sure that the certificate names an address at which a client arrived.
    ///
    /// # Errors
    /// When it could not be signed; the old one stays in use.
    pub fn cover(&self, address: IpAddr) -> Result<(), PkiError> {
        let address = address.to_canonical();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.addresses.contains(&address) || shown.addresses.len() >= MAX_SUBJECT_NAMES {
            return Ok(());
        }
        let addresses = shown.addresses.iter().copied().chain([address]).collect();
        shown.key = certify(&self.known(), &shown.names, &addresses)?;
        shown.addresses = addresses;
        Ok(())
    }

    /// Makes the certificate anew, with a later end.
    ///
    /// # Errors
    /// When it could not be signed; the old one stays in use.
    pub fn renew(&self) -> Result<(), PkiError> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.key = certify(&self.known(), &shown.names, &shown.addresses)?;
        Ok(())
    }

    /// Changes what is known of sets and rotations, and shows a certificate of the current authority from now on.
    ///
    /// # Errors
    /// When a set cannot be used; then all stays as it was.
    pub fn change(&self, change: impl FnOnce(&mut Epochs)) -> Result<(), PkiError> {
        // Held throughout, so that of two changes none is lost.
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.known();
        let mut epochs = before.epochs.clone();
        change(&mut epochs);
        let known = Known::of(epochs, before.generation + 1)?;
        shown.key = certify(&known, &shown.names, &shown.addresses)?;
        let generation = known.generation;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        self.changed.send_replace(generation);
        Ok(())
    }

    /// Whether a change could be made: for whoever writes it down first.
    ///
    /// # Errors
    /// As [`ServerIdentity::change`], which would end with it.
    pub fn try_change(&self, change: impl FnOnce(&mut Epochs)) -> Result<(), PkiError> {
        let before = self.known();
        let mut epochs = before.epochs.clone();
        change(&mut epochs);
        let (names, addresses) = {
            let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            (shown.names.clone(), shown.addresses.clone())
        };
        certify(&Known::of(epochs, before.generation + 1)?, &names, &addresses).map(drop)
    }

    /// Tells of each change of sets and rotations.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes over what rotations there are, the earliest first.
    ///
    /// # Errors
    /// As [`ServerIdentity::change`].
    pub fn set_turns(&self, turns: Vec<Turn>) -> Result<(), PkiError> {
        self.change(|epochs| epochs.set_turns(turns))
    }

    /// A copy of what is known.
    #[must_use]
    pub fn epochs(&self) -> Epochs {
        self.known().epochs.clone()
    }

    /// Rises whenever sets or rotations change: what was made of them before is to be made anew.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.known().generation
    }

    /// Signs the tokens of users and accounts that are made now.
    #[must_use]
    pub fn tokens(&self) -> Arc<TokenKey> {
        let known = self.known();
        known.current().tokens.clone()
    }

    /// The current set, for what is issued now.
    #[must_use]
    pub fn secrets(&self) -> Arc<ClusterSecrets> {
        let known = self.known();
        known.current().secrets.clone()
    }

    /// The certificates by which the cluster is known at a time, PEM, the current authority's first.
    #[must_use]
    pub fn authorities(&self, now_ms: u64) -> String {
        self.known().epochs.authorities(now_ms)
    }

    /// Of which set a token is the administrator's, if that set counts. Which it is may show in the time that it takes.
    #[must_use]
    pub fn admin_of(&self, token: &[u8], now_ms: u64) -> Option<EpochId> {
        let known = self.known();
        let is_admin = |held: &&Arc<Held>| held.secrets.is_admin(token) && known.epochs.counts(&held.id, now_ms);
        known.by_age.iter().find(is_admin).map(|held| held.id)
    }

    /// Reads a token that a set signed which counts, and says which.
    ///
    /// # Errors
    /// When it is another text, or it or its set has ended.
    pub fn verify_token(&self, token: &str, now_ms: u64) -> Result<(Claims, EpochId), TokenError> {
        let known = self.known();
        for held in &known.by_age {
            match held.tokens.verify(token, now_ms / 1000) {
                Err(TokenError::Foreign) => {}
                Ok(_) if !known.epochs.counts(&held.id, now_ms) => return Err(TokenError::Lapsed),
                other => return other.map(|claims| (claims, held.id)),
            }
        }
        Err(TokenError::Foreign)
    }

    /// Which set's authority signed a client's certificate.
    #[must_use]
    pub fn signer_of(&self, certificate: &CertificateDer<'_>) -> Option<EpochId> {
        let by = |held: &&Arc<Held>| held.verifier.verify_client_cert(certificate, &[], UnixTime::now()).is_ok();
        self.known().by_age.iter().find(by).map(|held| held.id)
    }

    /// Whether what a set gave out counts at a time.
    #[must_use]
    pub fn counts(&self, epoch: &EpochId, now_ms: u64) -> bool {
        self.known().epochs.counts(epoch, now_ms)
    }

    /// When what a set gave out ends, as far as is known now; `None`: it counts no more, or never did.
    #[must_use]
    pub fn lapse_ms(&self, epoch: &EpochId) -> Option<u64> {
        self.known().epochs.lapse_ms(epoch)
    }

    /// How TLS is spoken from now on. Connections that are open go on as they began.
    ///
    /// # Errors
    /// When the TLS library refuses.
    pub fn tls(self: &Arc<Self>) -> Result<rustls::ServerConfig, rustls::Error> {
        let builder = rustls::ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        // A certificate of the cluster's authority says who a client is; who shows none must bring a token.
        let verifier = self.known().verifier.clone();
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(self.clone());
        // HTTP/1.1 is what upgrades (exec, port-forward) need; all else may share one connection.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerIdentity(..)")
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.lock().unwrap_or_else(PoisonError::into_inner).key.clone())
    }
}

impl Known {
    fn of(epochs: Epochs, generation: u64) -> Result<Self, PkiError> {
        let mut by_age = Vec::new();
        for (id, secrets) in epochs.newest_first().into_iter().filter_map(|id| Some((id, epochs.get(&id)?.clone()))) {
            let verifier = verifier([&secrets])?;
            let tokens = Arc::new(TokenKey::of(&secrets));
            by_age.push(Arc::new(Held { id, secrets, tokens, verifier }));
        }
        let vouching = epochs.vouching();
        let words = vouching.windows(2).filter_map(|pair| match pair {
            [next, earlier] => Some(earlier.vouch_for(next)),
            _ => None,
        });
        let chain = words.collect::<Result<_, _>>()?;
        let verifier = verifier(by_age.iter().map(|held| &held.secrets))?;
        Ok(Known { epochs, by_age, chain, verifier, generation })
    }

    /// The set that is the cluster's now.
    #[expect(clippy::indexing_slicing, reason = "the founding set is always among them")]
    fn current(&self) -> &Held {
        &self.by_age[0]
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn verifier<'a>(
    sets: impl IntoIterator<Item = &'a Arc<ClusterSecrets>>,
) -> Result<Arc<dyn ClientCertVerifier>, PkiError> {
    let mut roots = RootCertStore::empty();
    for set in sets {
        roots.add(set.authority_der()?)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).allow_unauthenticated();
    verifier.build().map_err(|error| PkiError::Tls(rustls::Error::General(error.to_string())))
}

fn certify(
    known: &Known,
    names: &BTreeSet<String>,
    addresses: &BTreeSet<IpAddr>,
) -> Result<Arc<CertifiedKey>, PkiError> {
    let key = KeyPair::generate().map_err(certificate("making the server's key"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name("skein");
    // A name that no certificate can hold (not ASCII) is left out: the addresses still work.
    params.subject_alt_names = names
        .iter()
        .filter_map(|name| name.as_str().try_into().ok().map(SanType::DnsName))
        .chain(addresses.iter().copied().map(SanType::IpAddress))
        .collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(FIRST_YEAR, 1, 1);
    params.not_after = date_time_ymd((this_year() + SERVER_YEARS).min(LAST_YEAR), 1, 1);
    let issuer = known.current().secrets.issuer()?;
    let signed = params.signed_by(&key, &issuer).map_err(certificate("signing the server's certificate"))?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signer = rustls::crypto::ring::sign::any_supported_type(&private)?;
    let chain = [signed.der().clone()].into_iter().chain(known.chain.iter().cloned()).collect();
    Ok(Arc::new(CertifiedKey::new(chain, signer)))
}

/// The year by the wall clock, never before the year this was written: a clock that says 1970 is wrong.
fn this_year() -> i32 {
    const SECONDS_PER_YEAR: u64 = 31_556_952;
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let years = i32::try_from(since_epoch.as_secs() / SECONDS_PER_YEAR).unwrap_or(0);
    (1970 + years).max(2026)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pki::client;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::ServerName;
    use rustls::pki_types::pem::PemObject as _;

    /// Far enough from the present that a lapse can be before and after.
    const NOW: u64 = 1_800_000_000_000;

    fn identity(epochs: Epochs) -> ServerIdentity {
        ServerIdentity::new(epochs, ["n1".to_owned()], []).unwrap()
    }

    /// An identity after so many rotations that lapse at NOW, and its sets.
    fn rotated(times: usize) -> (ServerIdentity, Vec<ClusterSecrets>) {
        let sets: Vec<ClusterSecrets> = (0..=times).map(|_| ClusterSecrets::found("home").unwrap()).collect();
        let identity = identity(Epochs::founded(sets[0].clone()));
        let turns = sets[1..].iter().map(|set| Turn { epoch: set.epoch(), lapse_ms: NOW }).collect();
        identity
            .change(|epochs| {
                for set in &sets[1..] {
                    assert!(epochs.insert(set.clone()));
                }
                epochs.set_turns(turns);
            })
            .unwrap();
        (identity, sets)
    }

    fn is_believed(identity: &ServerIdentity, trusted: &ClusterSecrets) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.authority_der().unwrap()).unwrap();
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier = verifier.build().unwrap();
        let key = identity.shown.lock().unwrap().key.clone();
        let (leaf, chain) = key.cert.split_first().unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        verifier.verify_server_cert(leaf, chain, &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn the_certificate_grows_by_the_address_at_which_a_client_arrives() {
        let identity = identity(Epochs::founded(ClusterSecrets::found("home").unwrap()));
        let before = identity.shown.lock().unwrap().key.cert[0].clone();
        identity.cover(IpAddr::from([127, 0, 0, 1])).unwrap();
        assert_eq!(identity.shown.lock().unwrap().key.cert[0], before);
        identity.cover(IpAddr::from([192, 0, 2, 7])).unwrap();
        assert_ne!(identity.shown.lock().unwrap().key.cert[0], before);
    }

    #[test]
    fn a_client_that_trusts_an_earlier_authority_believes_the_server_after_rotations() {
        let (identity, sets) = rotated(5);
        let believed: Vec<bool> = sets.iter().map(|set| is_believed(&identity, set)).collect();
        assert_eq!(believed, [false, true, true, true, true, true], "four earlier ones vouch");
        assert!(!is_believed(&identity, &ClusterSecrets::found("home").unwrap()));
        assert_eq!(identity.secrets().epoch(), sets[5].epoch());
    }

    #[test]
    fn tokens_of_an_earlier_set_count_until_the_rotation_lapses_and_new_ones_are_of_the_current_set() {
        let (identity, sets) = rotated(2);
        let (before, after) = (NOW - 1, NOW);
        for (at, set) in sets.iter().enumerate() {
            let claims = Claims::of_user("alice", Vec::new(), NOW / 1000, 3600);
            let token = TokenKey::of(set).sign(claims).unwrap();
            assert!(identity.verify_token(&token, before).is_ok(), "set {at}");
            assert!(identity.admin_of(set.admin_token.as_bytes(), before).is_some(), "set {at}");
            let lapsed = at < 2;
            assert_eq!(identity.verify_token(&token, after).err(), lapsed.then_some(TokenError::Lapsed), "set {at}");
            assert_eq!(
                identity.admin_of(set.admin_token.as_bytes(), after),
                (!lapsed).then_some(set.epoch()),
                "set {at}"
            );
        }
        let new = identity.tokens().sign(Claims::of_user("alice", Vec::new(), NOW / 1000, 3600)).unwrap();
        assert!(TokenKey::of(&sets[2]).verify(&new, NOW / 1000).is_ok());
    }

    #[test]
    fn a_set_that_no_rotation_led_to_lets_nobody_in() {
        let (identity, _) = rotated(1);
        let stray = ClusterSecrets::found("home").unwrap();
        identity.change(|epochs| assert!(epochs.insert(stray.clone()))).unwrap();
        assert_eq!(identity.admin_of(stray.admin_token.as_bytes(), NOW - 1), None);
        let token = TokenKey::of(&stray).sign(Claims::of_user("alice", Vec::new(), NOW / 1000, 60)).unwrap();
        assert_eq!(identity.verify_token(&token, NOW - 1).err(), Some(TokenError::Foreign));
    }

    #[test]
    fn a_certificate_is_known_by_the_authority_that_signed_it() {
        let (identity, sets) = rotated(2);
        let der = |set: &ClusterSecrets| {
            let now_s = UnixTime::now().as_secs();
            let issued = client::issue(set, "alice", None, now_s, 3600).unwrap();
            CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()
        };
        for set in &sets {
            assert_eq!(identity.signer_of(&der(set)), Some(set.epoch()));
        }
        assert_eq!(identity.signer_of(&der(&ClusterSecrets::found("home").unwrap())), None);
        assert!(identity.counts(&sets[0].epoch(), NOW - 1) && !identity.counts(&sets[0].epoch(), NOW));
    }
}
