//! Certificates of clients: who somebody is, as the certificate's subject says (the common name is the user, each
//! organization a group), signed by the cluster's authority. TLS has verified the signature before a subject is read.

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd};
use skein_crdt_state::keyring::EpochId;
use skein_kube::time::parse_rfc3339;

use super::token::MAX_TTL_S;
use super::{ClusterSecrets, PkiError, certificate, name};

/// Common names and organizations, as their object identifiers are encoded.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
/// The most groups of one certificate; further ones are not read.
const MAX_GROUPS: usize = 64;
/// How long before its making a certificate is valid already, in seconds: the clocks of peers differ.
const BACKDATED_S: u64 = 300;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 6;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Who a certificate is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The user.
    pub user: String,
    /// The groups.
    pub groups: Vec<String>,
    /// Since when it is valid, in seconds since the Unix epoch.
    pub since_s: u64,
    /// The last second in which it is valid. TLS looks when a connection is opened; connections may be open for longer.
    pub until_s: u64,
}

/// A certificate that was shown when a connection was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Who it is of.
    pub subject: Subject,
    /// Which set's authority signed it. Whether that counts is asked at each request, however old the connection is.
    pub epoch: EpochId,
}

/// A certificate and its key, both PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// Makes a certificate for a user, valid from now on for so many seconds, at most [`MAX_TTL_S`].
///
/// # Errors
/// When it could not be signed.
pub fn issue(
    secrets: &ClusterSecrets,
    user: &str,
    group: Option<&str>,
    now_s: u64,
    ttl_s: u64,
) -> Result<Issued, PkiError> {
    let key = KeyPair::generate().map_err(certificate("making the client's key"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name(user);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let at = |seconds: u64| date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds);
    params.not_before = at(now_s.saturating_sub(BACKDATED_S));
    params.not_after = at(now_s.saturating_add(ttl_s.min(MAX_TTL_S)));
    let signed = params.signed_by(&key, &secrets.issuer()?).map_err(certificate("signing the client's certificate"))?;
    Ok(Issued { certificate: signed.pem(), key: key.serialize_pem() })
}

impl Subject {
    /// When it was made, which is later than since when it is valid.
    #[must_use]
    pub fn issued_s(&self) -> u64 {
        self.since_s.saturating_add(BACKDATED_S)
    }

    /// Reads who a certificate is of. `None`: it is damaged, or names no user.
    #[must_use]
    pub fn of(der: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).within(SEQUENCE)?);
        let mut signed = Der(certificate.within(SEQUENCE)?);
        // The version is not there in old certificates; then the serial number comes first.
        let (tag, _) = signed.next()?;
        if tag == 0xa0 {
            signed.next()?;
        }
        let (_algorithm, _issuer) = (signed.within(SEQUENCE)?, signed.within(SEQUENCE)?);
        let mut validity = Der(signed.within(SEQUENCE)?);
        let (since_s, until_s) = (validity.time()?, validity.time()?);
        let mut subject = Der(signed.within(SEQUENCE)?);
        let (mut user, mut groups) = (String::new(), Vec::new());
        while let Some(set) = subject.within(SET) {
            let mut set = Der(set);
            while let Some(attribute) = set.within(SEQUENCE) {
                let mut attribute = Der(attribute);
                let (kind, (_, value)) = (attribute.within(OBJECT_IDENTIFIER)?, attribute.next()?);
                match (kind, std::str::from_utf8(value)) {
                    (COMMON_NAME, Ok(name)) => name.clone_into(&mut user),
                    (ORGANIZATION, Ok(group)) if groups.len() < MAX_GROUPS => groups.push(group.to_owned()),
                    (COMMON_NAME | ORGANIZATION, Err(_)) => return None,
                    _ => {}
                }
            }
        }
        (!user.is_empty()).then_some(Subject { user, groups, since_s, until_s })
    }
}

/// What is left of a piece of DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let mut length = usize::from(*first);
        if length >= 0x80 {
            let (digits, after) = rest.split_at_checked(length - 0x80).filter(|(digits, _)| digits.len() <= 3)?;
            length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
            rest = after;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The content of the next value, if it has this tag.
    fn within(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// A time, in seconds since the Unix epoch.
    fn time(&mut self) -> Option<u64> {
        let (tag, content) = self.next()?;
        let text = std::str::from_utf8(content).ok().filter(|text| text.is_ascii())?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                (if year < "50" { format!("20{year}") } else { format!("19{year}") }, rest)
            }
            GENERALIZED_TIME => text.split_at_checked(4).map(|(year, rest)| (year.to_owned(), rest))?,
            _ => return None,
        };
        let part = |at: usize| rest.get(at..at + 2);
        let text = format!("{year}-{}-{}T{}:{}:{}Z", part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
        // What is older than 1970 is as old as that.
        Some(parse_rfc3339(&text).unwrap_or(0) / 1000)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    const NOW: u64 = 1_800_000_000;

    fn der(group: Option<&str>) -> Vec<u8> {
        let secrets = ClusterSecrets::found("home").unwrap();
        let issued = issue(&secrets, "alice", group, NOW, 3600).unwrap();
        CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap().to_vec()
    }

    #[test]
    fn a_certificate_says_who_it_is_of() {
        let alice = |groups: &[&str]| Subject {
            user: "alice".into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            since_s: NOW - BACKDATED_S,
            until_s: NOW + 3600,
        };
        assert_eq!(Subject::of(&der(Some("dev"))), Some(alice(&["dev"])));
        assert_eq!(Subject::of(&der(None)), Some(alice(&[])));
        assert_eq!(alice(&[]).issued_s(), NOW, "the moment that a revocation is compared with");
    }

    #[test]
    fn a_damaged_certificate_is_nobodys() {
        let whole = der(Some("dev"));
        for end in 0..whole.len() {
            assert_eq!(Subject::of(&whole[..end]), None, "cut off at {end}");
        }
    }

    proptest! {
        #[test]
        fn reading_a_certificate_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..400) {
            let _ = Subject::of(&bytes);
            static WHOLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let mut changed = WHOLE.get_or_init(|| der(Some("dev"))).clone();
            let at = at % changed.len();
            changed.splice(at..at, bytes);
            let _ = Subject::of(&changed);
        }
    }
}
