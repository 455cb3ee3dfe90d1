//! Who may speak to the API, and how a client knows whom it speaks to: the cluster's certificate authority, the server
//! certificates that it signs for this node, the administrator's token and the kubeconfig that holds them. Other users'
//! tokens and certificates are in the modules below.
//!
//! The secrets are made by the founder of a cluster and travel in the admission reply alone; they are never an object.
//! Peers authenticate each other by their own keys (Noise), not by these certificates.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

pub mod client;
pub mod token;

use token::TokenKey;

/// The file in the data directory that holds [`ClusterSecrets`].
pub const SECRETS_FILE: &str = "api-secrets.json";
/// The most names and addresses in one server certificate; further ones are not added.
pub const MAX_SUBJECT_NAMES: usize = 64;
/// The largest secrets document that is read, from a peer or from disk, in bytes.
const MAX_SECRETS_BYTES: usize = 16 << 10;
/// Certificates are valid from here on: a machine without a battery wakes up in the past, and must still be believed.
const FIRST_YEAR: i32 = 2020;
/// The authority lives as long as the cluster. There is no revocation: who may not be trusted any more never gets the key.
const LAST_YEAR: i32 = 2119;
/// A server certificate is valid to the end of the year after next; it is made anew at each start and each renewal.
const SERVER_YEARS: i32 = 3;

/// What every member of a cluster knows so that each can serve the API: the authority's key and the administrator's token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSecrets {
    /// The authority's certificate, PEM. Not a secret: it is in every kubeconfig.
    pub ca_certificate: String,
    /// The authority's private key, PKCS#8 PEM.
    pub ca_key: String,
    /// The administrator's bearer token, 64 hexadecimal digits.
    pub admin_token: String,
}

/// Secrets never show in a log.
impl std::fmt::Debug for ClusterSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterSecrets(..)")
    }
}

/// Why secrets could not be made, read or used. Nothing was changed, unless a file operation failed halfway: then the old
/// file is still in place.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The certificate library refused.
    #[error("{doing}: {source}")]
    Certificate {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: rcgen::Error,
    },
    /// The secrets are not what a founder makes.
    #[error("the cluster's API secrets in {from} cannot be used: {why}")]
    Malformed {
        /// The file, or "the admission reply".
        from: String,
        /// What is wrong.
        why: String,
    },
    /// The file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Random(getrandom::Error),
    /// The TLS library refused the key.
    #[error("the server's key cannot be used for TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl ClusterSecrets {
    /// Makes the secrets of a new cluster.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn found(cluster: &str) -> Result<Self, PkiError> {
        let key = KeyPair::generate().map_err(certificate("making the authority's key"))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("skein cluster {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date_time_ymd(FIRST_YEAR, 1, 1);
        params.not_after = date_time_ymd(LAST_YEAR, 1, 1);
        let signed = params.self_signed(&key).map_err(certificate("signing the authority's certificate"))?;
        let mut token = [0; 32];
        getrandom::fill(&mut token).map_err(PkiError::Random)?;
        let admin_token = token.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(ClusterSecrets { ca_certificate: signed.pem(), ca_key: key.serialize_pem(), admin_token })
    }

    /// The form that travels in the admission reply.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Three texts always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`ClusterSecrets::to_bytes`] wrote, and checks that a server could be run with it.
    ///
    /// # Errors
    /// When it is too long, not JSON, or the key does not belong to the certificate.
    pub fn from_bytes(bytes: &[u8], from: &str) -> Result<Self, PkiError> {
        let malformed = |why: String| PkiError::Malformed { from: from.to_owned(), why };
        if bytes.len() > MAX_SECRETS_BYTES {
            return Err(malformed(format!("{} bytes are more than {MAX_SECRETS_BYTES}", bytes.len())));
        }
        let secrets: Self = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if secrets.admin_token.len() != 64 || !secrets.admin_token.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(malformed("the token is not 64 hexadecimal digits".into()));
        }
        secrets.issuer().map_err(|error| malformed(error.to_string()))?;
        if !secrets.belong_together() {
            return Err(malformed("the key does not belong to the certificate".into()));
        }
        Ok(secrets)
    }

    /// Reads the secrets of a data directory; `None` when it has none yet.
    ///
    /// # Errors
    /// When the file cannot be read or does not hold secrets.
    pub fn load(dir: &Path) -> Result<Option<Self>, PkiError> {
        let path = dir.join(SECRETS_FILE);
        match fs::read(&path) {
            Ok(bytes) => Self::from_bytes(&bytes, &path.display().to_string()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PkiError::File { path, source }),
        }
    }

    /// Writes the secrets into a data directory, mode 0600, and waits until they are on disk.
    ///
    /// # Errors
    /// When the file cannot be written; an older one is then still there.
    pub fn store(&self, dir: &Path) -> Result<(), PkiError> {
        let path = dir.join(SECRETS_FILE);
        write_private(dir, &path, &self.to_bytes()).map_err(|source| PkiError::File { path, source })
    }

    /// Whether a client's token is the administrator's. Takes the same time wherever they differ.
    #[must_use]
    pub fn is_admin(&self, token: &[u8]) -> bool {
        let expected = self.admin_token.as_bytes();
        let differences = expected.iter().zip(token).fold(0, |sum, (a, b)| sum | (a ^ b));
        expected.len() == token.len() && differences == 0
    }

    /// A kubeconfig for the administrator, as YAML. `server` is a URL such as `https://192.0.2.7:7443`.
    #[must_use]
    pub fn kubeconfig(&self, cluster: &str, server: &str) -> String {
        let user = format!("{cluster}-admin");
        kubeconfig(cluster, server, &self.ca_certificate, (&user, &Credential::Token(&self.admin_token)), "")
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, PkiError> {
        let key = KeyPair::from_pem(&self.ca_key).map_err(certificate("reading the authority's key"))?;
        Issuer::from_ca_cert_pem(&self.ca_certificate, key).map_err(certificate("reading the authority's certificate"))
    }

    /// Whether the authority's certificate was made for the authority's key: the certificate holds the public half as
    /// it is.
    fn belong_together(&self) -> bool {
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};
        let key = KeyPair::from_pem(&self.ca_key);
        let certificate = CertificateDer::from_pem_slice(self.ca_certificate.as_bytes());
        let (Ok(key), Ok(certificate)) = (key, certificate) else { return false };
        let public = rcgen::PublicKeyData::der_bytes(&key);
        certificate.windows(public.len()).any(|window| window == public)
    }
}

/// How a client shows who it is.
pub enum Credential<'a> {
    /// By a token.
    Token(&'a str),
    /// By a certificate.
    Certificate(&'a client::Issued),
}

/// A kubeconfig as YAML: one cluster, one user, one context, in a namespace unless that is empty.
#[must_use]
pub fn kubeconfig(
    cluster: &str,
    server: &str,
    ca_certificate: &str,
    (user, credential): (&str, &Credential<'_>),
    namespace: &str,
) -> String {
    use base64::Engine as _;
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    // JSON strings are YAML strings: a name with a quote or a colon in it stays one scalar.
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let credential = match credential {
        Credential::Token(token) => format!("token: {}", quote(token)),
        Credential::Certificate(issued) => format!(
            "client-certificate-data: {}\n    client-key-data: {}",
            base64(&issued.certificate),
            base64(&issued.key)
        ),
    };
    let (ca, user) = (base64(ca_certificate), quote(user));
    let (cluster, server) = (quote(cluster), quote(server));
    let namespace = if namespace.is_empty() { String::new() } else { format!("\n    namespace: {}", quote(namespace)) };
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: {cluster}\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {ca}\nusers:\n- name: {user}\n  user:\n    {credential}\ncontexts:\n\
         - name: {cluster}\n  context:\n    cluster: {cluster}\n    user: {user}{namespace}\n\
         current-context: {cluster}\n"
    )
}

/// The certificate that this node shows, made anew when a client arrives at an address that it does not name yet.
///
/// A laptop changes its address while the daemon runs; a certificate made at start would then be refused.
pub struct ServerIdentity {
    secrets: ClusterSecrets,
    tokens: TokenKey,
    current: Mutex<Current>,
}

struct Current {
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
        secrets: ClusterSecrets,
        names: impl IntoIterator<Item = String>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Self, PkiError> {
        let local = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
        let names = ["localhost".to_owned()].into_iter().chain(names).take(MAX_SUBJECT_NAMES).collect();
        let addresses = local.into_iter().chain(addresses.into_iter().map(|a| a.to_canonical()));
        let addresses = addresses.filter(|a| !a.is_unspecified()).take(MAX_SUBJECT_NAMES).collect();
        let key = certify(&secrets, &names, &addresses)?;
        let tokens = TokenKey::of(&secrets);
        Ok(ServerIdentity { secrets, tokens, current: Mutex::new(Current { names, addresses, key }) })
    }

    /// Makes sure that the certificate names an address at which a client arrived.
    ///
    /// # Errors
    /// When it could not be signed; the old one stays in use.
    pub fn cover(&self, address: IpAddr) -> Result<(), PkiError> {
        let address = address.to_canonical();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.addresses.contains(&address) || current.addresses.len() >= MAX_SUBJECT_NAMES {
            return Ok(());
        }
        let addresses = current.addresses.iter().copied().chain([address]).collect();
        current.key = certify(&self.secrets, &current.names, &addresses)?;
        current.addresses = addresses;
        Ok(())
    }

    /// Makes the certificate anew, with a later end.
    ///
    /// # Errors
    /// When it could not be signed; the old one stays in use.
    pub fn renew(&self) -> Result<(), PkiError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.key = certify(&self.secrets, &current.names, &current.addresses)?;
        Ok(())
    }

    /// What signs and verifies the tokens of users and accounts.
    #[must_use]
    pub fn tokens(&self) -> &TokenKey {
        &self.tokens
    }

    /// The secrets that this identity was made from.
    #[must_use]
    pub fn secrets(&self) -> &ClusterSecrets {
        &self.secrets
    }
}

impl std::fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerIdentity(..)")
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.lock().unwrap_or_else(PoisonError::into_inner).key.clone())
    }
}

fn certify(
    secrets: &ClusterSecrets,
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
    let signed = params.signed_by(&key, &secrets.issuer()?).map_err(certificate("signing the server's certificate"))?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signer = rustls::crypto::ring::sign::any_supported_type(&private)?;
    Ok(Arc::new(CertifiedKey::new(vec![signed.der().clone()], signer)))
}

/// The year by the wall clock, never before the year this was written: a clock that says 1970 is wrong.
fn this_year() -> i32 {
    const SECONDS_PER_YEAR: u64 = 31_556_952;
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let years = i32::try_from(since_epoch.as_secs() / SECONDS_PER_YEAR).unwrap_or(0);
    (1970 + years).max(2026)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn certificate(doing: &'static str) -> impl FnOnce(rcgen::Error) -> PkiError {
    move |source| PkiError::Certificate { doing, source }
}

/// Writes beside, syncs, renames, syncs the directory: after a crash the file is the old or the new one.
fn write_private(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    if let Err(error) = fs::remove_file(&beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_come_back_from_disk_and_nobody_else_can_read_them() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ClusterSecrets::load(dir.path()).unwrap().is_none());
        let secrets = ClusterSecrets::found("home").unwrap();
        secrets.store(dir.path()).unwrap();
        secrets.store(dir.path()).unwrap();
        assert_eq!(ClusterSecrets::load(dir.path()).unwrap(), Some(secrets));
        let mode = fs::metadata(dir.path().join(SECRETS_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn bytes_that_no_founder_made_are_refused_with_a_reason() {
        let good = ClusterSecrets::found("home").unwrap();
        let other = ClusterSecrets { ca_key: "-----BEGIN nonsense".into(), ..good.clone() };
        let foreign = ClusterSecrets { ca_key: ClusterSecrets::found("home").unwrap().ca_key, ..good.clone() };
        let short = ClusterSecrets { admin_token: "abc".into(), ..good.clone() };
        for bytes in
            [b"".to_vec(), b"{}".to_vec(), vec![b' '; 1 << 20], other.to_bytes(), foreign.to_bytes(), short.to_bytes()]
        {
            let error = ClusterSecrets::from_bytes(&bytes, "the admission reply").unwrap_err();
            assert!(error.to_string().contains("the admission reply"), "{error}");
        }
        assert_eq!(ClusterSecrets::from_bytes(&good.to_bytes(), "a test").unwrap(), good);
    }

    #[test]
    fn only_the_whole_token_is_the_administrators() {
        let secrets = ClusterSecrets::found("home").unwrap();
        let token = secrets.admin_token.clone();
        assert!(secrets.is_admin(token.as_bytes()));
        assert!(!secrets.is_admin(&token.as_bytes()[..63]));
        assert!(!secrets.is_admin(format!("{token}0").as_bytes()));
        assert!(!secrets.is_admin(b""));
        assert!(!format!("{secrets:?}").contains(&token));
    }

    #[test]
    fn the_certificate_grows_by_the_address_at_which_a_client_arrives() {
        let identity = ServerIdentity::new(ClusterSecrets::found("home").unwrap(), ["n1".into()], []).unwrap();
        let before = identity.current.lock().unwrap().key.cert[0].clone();
        identity.cover(IpAddr::from([127, 0, 0, 1])).unwrap();
        assert_eq!(identity.current.lock().unwrap().key.cert[0], before);
        identity.cover(IpAddr::from([192, 0, 2, 7])).unwrap();
        assert_ne!(identity.current.lock().unwrap().key.cert[0], before);
    }

    #[test]
    fn a_kubeconfig_survives_a_name_that_yaml_would_misread() {
        let user = ("a: \"b\"-admin", &Credential::Token("00ff"));
        let text = kubeconfig("a: \"b\"", "https://[::1]:7443", "PEM", user, "shop");
        assert!(text.contains("    user: \"a: \\\"b\\\"-admin\"\n    namespace: \"shop\"\n"), "{text}");
        assert!(text.contains("server: \"https://[::1]:7443\"\n"), "{text}");
        assert!(text.contains("current-context: \"a: \\\"b\\\"\"\n"), "{text}");
        assert!(text.contains("certificate-authority-data: UEVN\n"), "{text}");
    }
}
