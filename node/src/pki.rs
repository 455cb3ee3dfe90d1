//! What the members of a cluster hold in common, as one set (an epoch): the certificate authority, the administrator's
//! token, the key of the data; and the kubeconfig that is made of it. Which sets there are and which of them count is in
//! `epochs`, what a node shows and believes in `server`, how it is kept on disk in `file` and `seal`. Other users' tokens
//! and certificates are in the modules below.
//!
//! A set is made by the founder of a cluster, and another by each rotation. Sets travel from member to member alone: in
//! the admission reply and over streams between linked members; they are never an object.
//! Peers authenticate each other by their own keys (Noise), not by these certificates.

use std::io;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skein_crdt_state::keyring::{DataKey, EpochId};

pub mod client;
pub mod epochs;
pub mod file;
pub mod seal;
pub mod server;
pub mod token;

pub use server::ServerIdentity;

/// The largest secrets document that is read, from a peer or from disk, in bytes.
const MAX_SECRETS_BYTES: usize = 16 << 10;
/// The longest name of an authority, in bytes.
const MAX_AUTHORITY_NAME_BYTES: usize = 256;
/// How many earlier authorities vouch for the current one, one for the next, in the chain that a server shows. Clients that
/// trust an older one than these must be given the current one.
pub const MAX_VOUCHING: u8 = 4;
/// Certificates are valid from here on: a machine without a battery wakes up in the past, and must still be believed.
const FIRST_YEAR: i32 = 2020;
/// The authority lives until a rotation ends it.
const LAST_YEAR: i32 = 2119;
/// What the hashes are for that are made of a set.
const ID_PURPOSE: &[u8] = b"skein epoch 1\0";
const DATA_PURPOSE: &[u8] = b"skein data key 1\0";

/// What every member of a cluster knows so that each can serve the API and read the cluster's data.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSecrets {
    /// The authority's certificate, PEM. Not a secret: it is in every kubeconfig.
    pub ca_certificate: String,
    /// The authority's private key, PKCS#8 PEM.
    pub ca_key: String,
    /// The administrator's bearer token, 64 hexadecimal digits.
    pub admin_token: String,
    /// What values are sealed with, 64 hexadecimal digits. Sets that versions before it made have none; there it follows
    /// from the authority's key.
    #[serde(default)]
    pub data_key: String,
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
    /// What is on disk cannot be opened.
    #[error(transparent)]
    Seal(#[from] seal::SealError),
}

impl ClusterSecrets {
    /// Makes the secrets of a new cluster.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn found(cluster: &str) -> Result<Self, PkiError> {
        let key = KeyPair::generate().map_err(certificate("making the authority's key"))?;
        // A name of its own for each: clients look for an issuer by its name.
        let public = Sha256::digest(rcgen::PublicKeyData::der_bytes(&key));
        let params = authority(&format!("skein cluster {cluster} {}", hex(public.get(..4).unwrap_or_default())));
        let signed = params.self_signed(&key).map_err(certificate("signing the authority's certificate"))?;
        let random = || {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map(|()| hex(&bytes)).map_err(PkiError::Random)
        };
        let (admin_token, data_key) = (random()?, random()?);
        Ok(ClusterSecrets { ca_certificate: signed.pem(), ca_key: key.serialize_pem(), admin_token, data_key })
    }

    /// Which set it is. Whoever knows the id and is given a set knows whether it is the one.
    #[must_use]
    pub fn epoch(&self) -> EpochId {
        let mut hash = Sha256::new();
        hash.update(ID_PURPOSE);
        for part in [&self.ca_certificate, &self.ca_key, &self.admin_token, &self.data_key] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = [0; 16];
        id.copy_from_slice(digest.first_chunk::<16>().unwrap_or(&[0; 16]));
        EpochId(id)
    }

    /// What the cluster's values are sealed with in this epoch.
    #[must_use]
    pub fn data_key(&self) -> DataKey {
        // A set was checked when it was read.
        DataKey::new(unhex(&self.data_key).unwrap_or_default())
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
        let mut secrets: Self = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if unhex(&secrets.admin_token).is_none() {
            return Err(malformed("the token is not 64 hexadecimal digits".into()));
        }
        if secrets.data_key.is_empty() {
            let mut hash = Sha256::new();
            hash.update(DATA_PURPOSE);
            hash.update(secrets.ca_key.as_bytes());
            secrets.data_key = hex(&hash.finalize());
        }
        if unhex(&secrets.data_key).is_none() {
            return Err(malformed("the data key is not 64 hexadecimal digits".into()));
        }
        secrets.issuer().map_err(|error| malformed(error.to_string()))?;
        if !secrets.belong_together() {
            return Err(malformed("the key does not belong to the certificate".into()));
        }
        secrets.check_use().map_err(|error| malformed(error.to_string()))?;
        Ok(secrets)
    }

    /// Does once what a server does with a set: a set that a member made up is not to be found out when it is needed.
    fn check_use(&self) -> Result<(), PkiError> {
        let authority = self.authority_der()?;
        let named = client::Subject::of(&authority).map_or(0, |subject| subject.user.len());
        if !(1..=MAX_AUTHORITY_NAME_BYTES).contains(&named) {
            let why = format!("its name has {named} bytes and not 1 to {MAX_AUTHORITY_NAME_BYTES}");
            return Err(PkiError::Malformed { from: "the authority's certificate".to_owned(), why });
        }
        rustls::RootCertStore::empty().add(authority)?;
        self.vouch_for(self).map(drop)
    }

    /// Whether a client's token is the administrator's. Takes the same time wherever they differ.
    #[must_use]
    pub fn is_admin(&self, token: &[u8]) -> bool {
        let expected = self.admin_token.as_bytes();
        let differences = expected.iter().zip(token).fold(0, |sum, (a, b)| sum | (a ^ b));
        expected.len() == token.len() && differences == 0
    }

    /// A kubeconfig for the administrator, as YAML. `server` is a URL such as `https://192.0.2.7:7443`, `authorities` are
    /// the certificates by which it is known.
    #[must_use]
    pub fn kubeconfig(&self, cluster: &str, server: &str, authorities: &str) -> String {
        let user = format!("{cluster}-admin");
        kubeconfig(cluster, server, authorities, (&user, &Credential::Token(&self.admin_token)), "")
    }

    /// This authority's word for another's key: whoever trusts this one can go on to what the other one signed.
    fn vouch_for(&self, next: &Self) -> Result<CertificateDer<'static>, PkiError> {
        let doing = || certificate("vouching for the next authority");
        let key = KeyPair::from_pem(&next.ca_key).map_err(doing())?;
        let own = next.authority_der()?;
        let named = client::Subject::of(&own).ok_or_else(|| PkiError::Malformed {
            from: "the next authority's certificate".to_owned(),
            why: "it has no name".to_owned(),
        })?;
        let mut params = authority(&named.user);
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&key, &self.issuer()?).map_err(doing())?;
        Ok(signed.der().clone())
    }

    fn authority_der(&self) -> Result<CertificateDer<'static>, PkiError> {
        CertificateDer::from_pem_slice(self.ca_certificate.as_bytes()).map_err(|error| PkiError::Malformed {
            from: "the authority's certificate".to_owned(),
            why: error.to_string(),
        })
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, PkiError> {
        let key = KeyPair::from_pem(&self.ca_key).map_err(certificate("reading the authority's key"))?;
        Issuer::from_ca_cert_pem(&self.ca_certificate, key).map_err(certificate("reading the authority's certificate"))
    }

    /// Whether the authority's certificate was made for the authority's key: the certificate holds the public half as
    /// it is.
    fn belong_together(&self) -> bool {
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

/// What an authority's certificate says, its own and what an earlier one says of it.
fn authority(named: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(named);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(MAX_VOUCHING));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(FIRST_YEAR, 1, 1);
    params.not_after = date_time_ymd(LAST_YEAR, 1, 1);
    params
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 32 bytes of 64 hexadecimal digits.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn certificate(doing: &'static str) -> impl FnOnce(rcgen::Error) -> PkiError {
    move |source| PkiError::Certificate { doing, source }
}

/// A set as only a hostile member makes it: its authority has no name.
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "it is for tests")]
pub(crate) fn nameless() -> ClusterSecrets {
    let key = KeyPair::generate().unwrap();
    let mut params = authority("");
    params.distinguished_name = DistinguishedName::new();
    let ca_certificate = params.self_signed(&key).unwrap().pem();
    ClusterSecrets { ca_certificate, ca_key: key.serialize_pem(), ..ClusterSecrets::found("home").unwrap() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_that_no_founder_made_are_refused_with_a_reason() {
        let good = ClusterSecrets::found("home").unwrap();
        let other = ClusterSecrets { ca_key: "-----BEGIN nonsense".into(), ..good.clone() };
        let foreign = ClusterSecrets { ca_key: ClusterSecrets::found("home").unwrap().ca_key, ..good.clone() };
        let short = ClusterSecrets { admin_token: "abc".into(), ..good.clone() };
        let keyless = ClusterSecrets { data_key: "é".repeat(32), ..good.clone() };
        for bytes in [
            b"".to_vec(),
            b"{}".to_vec(),
            vec![b' '; 1 << 20],
            other.to_bytes(),
            foreign.to_bytes(),
            short.to_bytes(),
            keyless.to_bytes(),
            nameless().to_bytes(),
        ] {
            let error = ClusterSecrets::from_bytes(&bytes, "the admission reply").unwrap_err();
            assert!(error.to_string().contains("the admission reply"), "{error}");
        }
        assert_eq!(ClusterSecrets::from_bytes(&good.to_bytes(), "a test").unwrap(), good);
    }

    #[test]
    fn a_set_of_an_earlier_version_has_the_same_data_key_and_id_at_every_member() {
        let good = ClusterSecrets::found("home").unwrap();
        let old = ClusterSecrets { data_key: String::new(), ..good.clone() }.to_bytes();
        let text = String::from_utf8(old).unwrap().replace(",\"data_key\":\"\"", "");
        assert!(!text.contains("data_key"), "{text}");
        let read = || ClusterSecrets::from_bytes(text.as_bytes(), "a test").unwrap();
        assert_eq!((read().epoch(), read().data_key), (read().epoch(), read().data_key));
        assert_eq!(read().data_key.len(), 64);
        assert_ne!(read().epoch(), good.epoch(), "another key is another set");
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
    fn a_kubeconfig_survives_a_name_that_yaml_would_misread() {
        let user = ("a: \"b\"-admin", &Credential::Token("00ff"));
        let text = kubeconfig("a: \"b\"", "https://[::1]:7443", "PEM", user, "shop");
        assert!(text.contains("    user: \"a: \\\"b\\\"-admin\"\n    namespace: \"shop\"\n"), "{text}");
        assert!(text.contains("server: \"https://[::1]:7443\"\n"), "{text}");
        assert!(text.contains("current-context: \"a: \\\"b\\\"\"\n"), "{text}");
        assert!(text.contains("certificate-authority-data: UEVN\n"), "{text}");
    }
}
