//! Sealing what is secret in a data directory, so that a copy of the directory tells nothing: each file is sealed by the
//! directory's own key, and that key, in `seal.json`, by a key file that is kept elsewhere or by a passphrase. So either
//! can be changed without writing the other files anew. What is in the files does not live here.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{hex, unhex};

/// The file in the data directory that holds the directory's key, sealed.
pub const SEAL_FILE: &str = "seal.json";
/// What a sealed file begins with; no file that this program writes in clear does.
const MAGIC: &[u8; 8] = b"skeinS1\n";
const NONCE_BYTES: usize = 24;
/// The name under which the directory's own key is sealed.
const OWN_KEY: &str = "the directory's key";
/// What the hash is for that names a key.
const NAME_PURPOSE: &[u8] = b"skein seal key 1\0";
/// The largest file of this module, and the largest file with a passphrase, in bytes.
const MAX_SEAL_BYTES: u64 = 4 << 10;
/// What a passphrase costs to try: memory in KiB (64 MiB) and passes over it. Written down beside the salt.
const ARGON_KIB: u32 = 64 << 10;
const ARGON_PASSES: u32 = 3;
/// The most of both that is read from a file: one that somebody changed must not take all memory.
const MAX_ARGON_KIB: u32 = 1 << 20;
const MAX_ARGON_PASSES: u32 = 64;

/// What opens a data directory.
#[derive(Clone)]
pub enum Opener {
    /// A file with 32 random bytes, made if the directory is not sealed yet and it is not there.
    KeyFile(PathBuf),
    /// A passphrase.
    Passphrase(Zeroizing<String>),
}

/// Passphrases never show in a log.
impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Opener::KeyFile(path) => f.debug_tuple("KeyFile").field(path).finish(),
            Opener::Passphrase(_) => f.write_str("Passphrase(..)"),
        }
    }
}

/// Why a data directory cannot be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file cannot be made.
    #[error("the sealing key {path} cannot be made: {source}; say where it is to be with --seal-key FILE", path = path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file is not there.
    #[error("{dir} is sealed, and its sealing key is not at {path} (if it is lost, only another --data-dir and a new join help); put the key back there, or say where it is with --seal-key FILE", dir = dir.display(), path = path.display())]
    NoKey {
        /// The data directory.
        dir: PathBuf,
        /// Where the key was looked for.
        path: PathBuf,
    },
    /// The key file is another directory's.
    #[error("{path} is not the key that {dir} is sealed with (it is key {found}, and key {wanted} is needed); say where that one is with --seal-key FILE", path = path.display(), dir = dir.display())]
    WrongKey {
        /// The data directory.
        dir: PathBuf,
        /// The key file.
        path: PathBuf,
        /// What names its key.
        found: String,
        /// What names the directory's.
        wanted: String,
    },
    /// The key file is no key.
    #[error("{path} is no sealing key: a key has 32 bytes, it has {bytes}; put the key back there, or say where it is with --seal-key FILE", path = path.display())]
    NotAKey {
        /// The key file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// A passphrase is needed.
    #[error("{dir} is sealed with a passphrase; give it with --passphrase-file FILE or in SKEIN_PASSPHRASE", dir = dir.display())]
    NeedsPassphrase {
        /// The data directory.
        dir: PathBuf,
    },
    /// A key file is needed.
    #[error("{dir} is sealed with a key file, not with a passphrase; leave the passphrase out, or change to it with skein seal", dir = dir.display())]
    NeedsKey {
        /// The data directory.
        dir: PathBuf,
    },
    /// The passphrase is another one.
    #[error("the passphrase is not the one that {dir} is sealed with; give the right one with --passphrase-file FILE or in SKEIN_PASSPHRASE", dir = dir.display())]
    WrongPassphrase {
        /// The data directory.
        dir: PathBuf,
    },
    /// There is nothing in the passphrase.
    #[error("the passphrase is empty; write one of several words")]
    EmptyPassphrase,
    /// The data directory has no place beside it.
    #[error("there is no place beside {dir} for its sealing key; say where it is to be with --seal-key FILE", dir = dir.display())]
    NoPlace {
        /// The data directory.
        dir: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{path} is damaged: {why}; restore it from a backup, or start with another --data-dir and join again", path = path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There is nothing to change.
    #[error("{dir} is not sealed yet; start its daemon once, or say with --data-dir which directory is meant", dir = dir.display())]
    NotSealed {
        /// The data directory.
        dir: PathBuf,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Random(getrandom::Error),
}

/// An opened data directory: seals and unseals its files.
#[derive(Clone)]
pub struct Seal(Zeroizing<[u8; 32]>);

/// Keys never show in a log.
impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(..)")
    }
}

/// What `seal.json` says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// What opens it.
    by: By,
    /// The directory's key, sealed by that, in hexadecimal.
    sealed: String,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum By {
    /// A key file: what names its key.
    KeyFile(String),
    /// A passphrase, by Argon2id.
    Passphrase { salt: String, kib: u32, passes: u32 },
}

impl Opener {
    /// The key file that is taken when nothing is said: beside the directory, so that no copy of the directory has it.
    ///
    /// # Errors
    /// When the directory has no name.
    pub fn beside(dir: &Path) -> Result<Self, SealError> {
        let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let name = absolute.file_name().ok_or_else(|| SealError::NoPlace { dir: dir.to_owned() })?;
        let mut name = name.to_owned();
        name.push(".seal");
        Ok(Opener::KeyFile(absolute.with_file_name(name)))
    }

    /// The passphrase in a file, without the end of its line.
    ///
    /// # Errors
    /// When the file cannot be read, or holds none.
    pub fn passphrase_file(path: &Path) -> Result<Self, SealError> {
        let text = read_limited(path).and_then(|bytes| {
            let text = String::from_utf8(bytes).map_err(|_| io::Error::other("a passphrase is text in UTF-8"))?;
            Ok(Zeroizing::new(text))
        });
        let text = text.map_err(|source| SealError::File { path: path.to_owned(), source })?;
        Self::passphrase(&text)
    }

    /// A passphrase, without the end of its line.
    ///
    /// # Errors
    /// When it is empty.
    pub fn passphrase(text: &str) -> Result<Self, SealError> {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.trim().is_empty() {
            return Err(SealError::EmptyPassphrase);
        }
        Ok(Opener::Passphrase(Zeroizing::new(text.to_owned())))
    }
}

impl Seal {
    /// Opens a data directory, which is given a key of its own if it has none yet.
    ///
    /// # Errors
    /// When what is given does not open it, or a file cannot be read or written.
    pub fn open(dir: &Path, opener: &Opener) -> Result<Self, SealError> {
        match Document::load(dir)? {
            Some(document) => document.open(dir, opener),
            None => {
                let seal = Seal(Zeroizing::new(random()?));
                Document::make(dir, opener, &seal)?.store(dir)?;
                Ok(seal)
            }
        }
    }

    /// Changes what opens a data directory. The files in it stay as they are: who has an earlier copy of `seal.json` and
    /// what opened it can open them still.
    ///
    /// # Errors
    /// When the old does not open it; then all stays as it was. When the new key file cannot be made.
    pub fn change(dir: &Path, old: &Opener, new: &Opener) -> Result<(), SealError> {
        let document = Document::load(dir)?.ok_or_else(|| SealError::NotSealed { dir: dir.to_owned() })?;
        let seal = document.open(dir, old)?;
        Document::make(dir, new, &seal)?.store(dir)
    }

    /// The sealed form of a file's text. Its name in the directory is sealed with it: no file can take another's place.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn seal(&self, name: &str, text: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let payload = Payload { msg: text, aad: name.as_bytes() };
        // It fails only for texts of many gigabytes.
        let sealed = cipher(&self.0).encrypt(XNonce::from_slice(&nonce), payload);
        let sealed = sealed.map_err(|_| SealError::Damaged { path: name.into(), why: "it is too long".to_owned() })?;
        Ok([&MAGIC[..], &nonce, &sealed].concat())
    }

    /// The text of a sealed file. `None`: it is not as this directory's key sealed it under that name.
    #[must_use]
    pub fn unseal(&self, name: &str, bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = bytes.strip_prefix(MAGIC)?.split_at_checked(NONCE_BYTES)?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        cipher(&self.0).decrypt(XNonce::from_slice(nonce), payload).ok().map(Zeroizing::new)
    }
}

/// Whether a file is a sealed one, be it this directory's or not.
#[must_use]
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Writes a file whole or not at all, for its owner alone: beside it, synced, renamed, and the directory synced.
///
/// # Errors
/// When the disk refuses; the file is then what it was.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}

impl Document {
    fn load(dir: &Path) -> Result<Option<Self>, SealError> {
        let path = dir.join(SEAL_FILE);
        let bytes = match read_limited(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SealError::File { path, source }),
        };
        let read = serde_json::from_slice(&bytes);
        read.map(Some).map_err(|error| SealError::Damaged { path, why: error.to_string() })
    }

    fn store(&self, dir: &Path) -> Result<(), SealError> {
        let path = dir.join(SEAL_FILE);
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        write_private(&path, &bytes).map_err(|source| SealError::File { path, source })
    }

    fn make(dir: &Path, opener: &Opener, seal: &Seal) -> Result<Self, SealError> {
        let (by, key) = match opener {
            Opener::KeyFile(path) => {
                let key = match read_key(path)? {
                    Some(key) => key,
                    None => make_key(path)?,
                };
                (By::KeyFile(named(&key)), key)
            }
            Opener::Passphrase(text) => {
                let salt: [u8; 32] = random()?;
                let by = By::Passphrase { salt: hex(&salt), kib: ARGON_KIB, passes: ARGON_PASSES };
                let key = stretched(text, &salt, ARGON_KIB, ARGON_PASSES);
                let path = dir.join(SEAL_FILE);
                (by, key.ok_or(SealError::Damaged { path, why: "the passphrase cannot be used".to_owned() })?)
            }
        };
        let sealed = Seal(key).seal(OWN_KEY, &*seal.0)?;
        Ok(Document { by, sealed: hex(&sealed) })
    }

    fn open(&self, dir: &Path, opener: &Opener) -> Result<Seal, SealError> {
        let damaged = |why: &str| SealError::Damaged { path: dir.join(SEAL_FILE), why: why.to_owned() };
        let dir = dir.to_owned();
        let (key, wrong) = match (&self.by, opener) {
            (By::KeyFile(wanted), Opener::KeyFile(path)) => {
                let path = path.clone();
                let Some(key) = read_key(&path)? else { return Err(SealError::NoKey { dir, path }) };
                let found = named(&key);
                if found != *wanted {
                    return Err(SealError::WrongKey { dir, path, found, wanted: wanted.clone() });
                }
                (key, damaged("it is not as it was sealed"))
            }
            (By::Passphrase { salt, kib, passes }, Opener::Passphrase(text)) => {
                let salt = unhex(salt).ok_or_else(|| damaged("its salt cannot be read"))?;
                let key = stretched(text, &salt, *kib, *passes).ok_or_else(|| damaged("its costs cannot be"))?;
                (key, SealError::WrongPassphrase { dir })
            }
            (By::KeyFile(_), Opener::Passphrase(_)) => return Err(SealError::NeedsKey { dir }),
            (By::Passphrase { .. }, Opener::KeyFile(_)) => return Err(SealError::NeedsPassphrase { dir }),
        };
        let sealed = unhex_any(&self.sealed).ok_or_else(|| damaged("its key cannot be read"))?;
        let own = Seal(key).unseal(OWN_KEY, &sealed).and_then(|own| <[u8; 32]>::try_from(own.as_slice()).ok());
        own.map(|own| Seal(Zeroizing::new(own))).ok_or(wrong)
    }
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(SealError::Random)?;
    Ok(bytes)
}

/// What names a key without telling it.
fn named(key: &[u8; 32]) -> String {
    let mut hash = Sha256::new();
    hash.update(NAME_PURPOSE);
    hash.update(key);
    hex(hash.finalize().get(..8).unwrap_or_default())
}

/// The key that follows from a passphrase; `None` when the costs cannot be.
fn stretched(text: &str, salt: &[u8; 32], kib: u32, passes: u32) -> Option<Zeroizing<[u8; 32]>> {
    if kib > MAX_ARGON_KIB || passes > MAX_ARGON_PASSES {
        return None;
    }
    let params = Params::new(kib, passes, 1, Some(32)).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(text.as_bytes(), salt, &mut *key).ok()?;
    Some(key)
}

fn read_key(path: &Path) -> Result<Option<Zeroizing<[u8; 32]>>, SealError> {
    let bytes = match read_limited(path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SealError::File { path: path.to_owned(), source }),
    };
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others on this machine may read the sealing key: chmod 600 it");
    }
    let key = <[u8; 32]>::try_from(bytes.as_slice());
    key.map(|key| Some(Zeroizing::new(key)))
        .map_err(|_| SealError::NotAKey { path: path.to_owned(), bytes: bytes.len() })
}

fn make_key(path: &Path) -> Result<Zeroizing<[u8; 32]>, SealError> {
    let key = Zeroizing::new(random()?);
    write_private(path, &*key).map_err(|source| SealError::Make { path: path.to_owned(), source })?;
    Ok(key)
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_SEAL_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SEAL_BYTES {
        return Err(io::Error::other(format!("it is longer than {MAX_SEAL_BYTES} bytes")));
    }
    Ok(bytes)
}

fn unhex_any(text: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// A data directory with its key beside it.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Place(tempfile::tempdir().unwrap());
            fs::create_dir(place.dir()).unwrap();
            place
        }

        fn dir(&self) -> PathBuf {
            self.0.path().join("node")
        }

        fn beside(&self) -> Opener {
            Opener::beside(&self.dir()).unwrap()
        }

        fn open(&self, opener: &Opener) -> Result<Seal, SealError> {
            Seal::open(&self.dir(), opener)
        }

        fn says(&self, opener: &Opener) -> String {
            self.open(opener).unwrap_err().to_string()
        }
    }

    #[test]
    fn a_directory_is_opened_by_the_key_beside_it_which_nobody_else_can_read() {
        let place = Place::new();
        let sealed = place.open(&place.beside()).unwrap().seal("a", b"text").unwrap();
        assert_eq!(place.open(&place.beside()).unwrap().unseal("a", &sealed).unwrap().as_slice(), b"text");
        let key = place.0.path().join("node.seal");
        let metadata = fs::metadata(&key).unwrap();
        assert_eq!((metadata.permissions().mode() & 0o777, metadata.len()), (0o600, 32));
        let inside: Vec<_> = fs::read_dir(place.dir()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(inside, [SEAL_FILE], "the key is not in the directory");
    }

    #[test]
    fn a_key_that_is_missing_or_wrong_or_none_is_said_with_what_to_do() {
        let place = Place::new();
        place.open(&place.beside()).unwrap();
        let key = place.0.path().join("node.seal");
        let elsewhere = place.0.path().join("stick");
        fs::rename(&key, &elsewhere).unwrap();
        let said = place.says(&place.beside());
        assert!(said.contains("its sealing key is not at") && said.contains("--seal-key FILE"), "{said}");
        assert!(place.open(&Opener::KeyFile(elsewhere)).is_ok());
        fs::write(&key, [7; 32]).unwrap();
        let said = place.says(&place.beside());
        assert!(said.contains("is not the key that"), "{said}");
        fs::write(&key, b"short").unwrap();
        assert!(place.says(&place.beside()).contains("it has 5"));
        let said = place.says(&Opener::passphrase("open sesame").unwrap());
        assert!(said.contains("sealed with a key file"), "{said}");
    }

    #[test]
    fn a_directory_is_opened_by_its_passphrase_alone() {
        let place = Place::new();
        let right = Opener::passphrase("correct horse battery staple\n").unwrap();
        let sealed = place.open(&right).unwrap().seal("a", b"text").unwrap();
        assert!(place.open(&right).unwrap().unseal("a", &sealed).is_some());
        let said = place.says(&Opener::passphrase("correct horse battery stapler").unwrap());
        assert!(said.contains("the passphrase is not the one"), "{said}");
        let said = place.says(&place.beside());
        assert!(said.contains("SKEIN_PASSPHRASE"), "{said}");
        assert!(matches!(Opener::passphrase(" \n"), Err(SealError::EmptyPassphrase)));
        let text = fs::read_to_string(place.dir().join(SEAL_FILE)).unwrap();
        assert!(!text.contains("horse"));
        assert!(!format!("{right:?}").contains("horse"));
    }

    #[test]
    fn what_opens_a_directory_can_be_changed_and_its_files_stay() {
        let place = Place::new();
        let sealed = place.open(&place.beside()).unwrap().seal("a", b"text").unwrap();
        let words = Opener::passphrase("several words").unwrap();
        assert!(Seal::change(&place.dir(), &words, &words).is_err());
        Seal::change(&place.dir(), &place.beside(), &words).unwrap();
        assert!(place.open(&place.beside()).is_err());
        assert!(place.open(&words).unwrap().unseal("a", &sealed).is_some());
        let stick = Opener::KeyFile(place.0.path().join("stick"));
        Seal::change(&place.dir(), &words, &stick).unwrap();
        assert!(place.open(&stick).unwrap().unseal("a", &sealed).is_some());
    }

    #[test]
    fn costs_that_somebody_wrote_into_the_file_do_not_take_all_memory() {
        let place = Place::new();
        let words = Opener::passphrase("several words").unwrap();
        place.open(&words).unwrap();
        let path = place.dir().join(SEAL_FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("65536", "4294967295")).unwrap();
        assert!(matches!(place.open(&words), Err(SealError::Damaged { .. })));
    }

    #[test]
    fn a_sealed_file_is_opened_under_its_own_name_and_unchanged_alone() {
        let seal = Seal(Zeroizing::new([1; 32]));
        let sealed = seal.seal("node.key", b"secret").unwrap();
        assert!(is_sealed(&sealed) && !is_sealed(b"secret"));
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert!(seal.unseal("another", &sealed).is_none());
        assert!(Seal(Zeroizing::new([2; 32])).unseal("node.key", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(seal.unseal("node.key", &changed).is_none(), "byte {at}");
        }
        assert_ne!(seal.seal("node.key", b"secret").unwrap(), sealed);
    }

    proptest! {
        #[test]
        fn unsealing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let whole = [&MAGIC[..], &bytes].concat();
            prop_assert!(Seal(Zeroizing::new([1; 32])).unseal("a", &whole).is_none());
            prop_assert!(Seal(Zeroizing::new([1; 32])).unseal("a", &bytes).is_none());
        }

        #[test]
        fn reading_what_opens_a_directory_is_total(text in ".{0,200}") {
            let place = Place::new();
            fs::write(place.dir().join(SEAL_FILE), text).unwrap();
            prop_assert!(place.open(&place.beside()).is_err());
        }
    }
}
