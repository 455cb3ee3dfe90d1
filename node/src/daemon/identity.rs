//! Who this node is, on disk: its key, its cluster, and where its peers were last seen.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skein_crdt_state::ClusterId;
use skein_gossip::{Keypair, NodeId};

use crate::pki::seal::{self, Opener, Seal, SealError};

const KEY_FILE: &str = "node.key";
const CLUSTER_FILE: &str = "cluster.json";
const PEERS_FILE: &str = "peers.json";
/// The layout of the data directory that this version writes and reads.
const DIRECTORY_VERSION: u32 = 1;

/// Which cluster a data directory belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFile {
    /// The layout of the data directory.
    pub version: u32,
    /// The cluster's id.
    pub cluster: String,
    /// The node's name in it.
    pub name: String,
    /// What the cluster's id was derived from, in hexadecimal, on the node that founded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub founding: Option<String>,
}

/// Where peers were last known to be.
pub type AddressBook = BTreeMap<NodeId, Vec<SocketAddr>>;

/// Why the data directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("{path} cannot be used: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} is damaged: {reason}; restore it from a backup, or start with another --data-dir")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Others could read what is written there, or change it.
    #[error("{path} cannot be a data directory: {why}; {remedy} it, or use another --data-dir")]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// Why.
        why: &'static str,
        /// What would help.
        remedy: &'static str,
    },
    /// It is sealed, and cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The directory was written by another version.
    #[error(
        "{path} was written by a newer skein (directory version {found}, this one reads {DIRECTORY_VERSION}); upgrade skein"
    )]
    Version {
        /// Which.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
}

impl ClusterFile {
    /// A new directory's.
    #[must_use]
    pub fn new(cluster: &ClusterId, name: &str, founding: Option<[u8; 32]>) -> Self {
        let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        ClusterFile {
            version: DIRECTORY_VERSION,
            cluster: cluster.to_string(),
            name: name.to_owned(),
            founding: founding.map(hex),
        }
    }

    /// Reads a directory's; `None`: it belongs to no cluster yet.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join(CLUSTER_FILE);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let damaged = |reason: String| IdentityError::Damaged { path: path.clone(), reason };
        let file: ClusterFile = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if file.version != DIRECTORY_VERSION {
            return Err(IdentityError::Version { path, found: file.version });
        }
        file.id().map_err(|reason| damaged(reason.to_owned()))?;
        Ok(Some(file))
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn store(&self, dir: &Path) -> Result<(), IdentityError> {
        write(&dir.join(CLUSTER_FILE), &serde_json::to_vec_pretty(self).unwrap_or_default(), 0o644)
    }

    /// The cluster's id.
    pub fn id(&self) -> Result<ClusterId, &'static str> {
        self.cluster.parse().map_err(|_| "its cluster id cannot be read")
    }

    /// What the id was derived from, if this node founded the cluster.
    #[must_use]
    pub fn founding_nonce(&self) -> Option<[u8; 32]> {
        let text = self.founding.as_deref()?;
        let mut nonce = [0; 32];
        for (i, byte) in nonce.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(nonce)
    }
}

/// The node's key, made at the first start, and sealed. One that an earlier version kept in clear is sealed.
///
/// # Errors
/// When the file cannot be read or written, or holds no key of this directory's.
pub fn keypair(dir: &Path, seal: &Seal) -> Result<Keypair, IdentityError> {
    let path = dir.join(KEY_FILE);
    let damaged = |reason: String| IdentityError::Damaged { path: path.clone(), reason };
    let found = read(&path)?;
    let sealed = found.as_deref().is_some_and(seal::is_sealed);
    let secret: [u8; 32] = match &found {
        Some(bytes) => {
            let opened = if sealed { seal.unseal(KEY_FILE, bytes) } else { None };
            let bytes = if sealed {
                opened
                    .as_ref()
                    .map(|opened| opened.as_slice())
                    .ok_or_else(|| damaged("it is not as it was sealed".into()))?
            } else {
                bytes
            };
            bytes.try_into().map_err(|_| damaged(format!("a key has 32 bytes, it has {}", bytes.len())))?
        }
        None => random_bytes(&path)?,
    };
    if !sealed {
        write(&path, &seal.seal(KEY_FILE, &secret)?, 0o600)?;
    }
    Ok(Keypair::from_secret(secret))
}

/// The key of a directory whose sealing key is beside it, for programs that look at directories.
///
/// # Errors
/// As [`keypair`], and when the directory is not sealed by the key beside it.
pub fn keypair_beside(dir: &Path) -> Result<Keypair, IdentityError> {
    keypair(dir, &Seal::open(dir, &Opener::beside(dir)?)?)
}

/// The node's key, if there is one already.
///
/// # Errors
/// When the file cannot be read, or holds no key of this directory's.
pub fn known_keypair(dir: &Path, opener: &Opener) -> Result<Option<Keypair>, IdentityError> {
    if dir.join(KEY_FILE).exists() { keypair(dir, &Seal::open(dir, opener)?).map(Some) } else { Ok(None) }
}

/// Makes a key the node's, unless it has one.
///
/// # Errors
/// When the directory or the file cannot be written.
pub fn adopt(dir: &Path, opener: &Opener, keys: &Keypair) -> Result<(), IdentityError> {
    create_directory(dir)?;
    let path = dir.join(KEY_FILE);
    if path.exists() {
        return Ok(());
    }
    let seal = Seal::open(dir, opener)?;
    write(&path, &seal.seal(KEY_FILE, &keys.secret())?, 0o600)
}

/// Bytes from the operating system; `path` is what they are for.
///
/// # Errors
/// When it has none to give.
pub fn random_bytes<const N: usize>(path: &Path) -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| IdentityError::File {
        path: path.to_owned(),
        source: io::Error::other(format!("the operating system gives no random bytes: {error}")),
    })?;
    Ok(bytes)
}

/// Where peers were when this node last ran; empty when that is not known.
#[must_use]
pub fn load_addresses(dir: &Path) -> AddressBook {
    let bytes = read(&dir.join(PEERS_FILE)).ok().flatten().unwrap_or_default();
    let texts: BTreeMap<String, Vec<SocketAddr>> = serde_json::from_slice(&bytes).unwrap_or_default();
    texts.into_iter().filter_map(|(id, addresses)| Some((id.parse().ok()?, addresses))).collect()
}

/// Remembers where peers are, for the next start.
///
/// # Errors
/// When the disk refuses; what was remembered before stays.
pub fn store_addresses(dir: &Path, book: &AddressBook) -> Result<(), IdentityError> {
    let texts: BTreeMap<String, &Vec<SocketAddr>> = book.iter().map(|(id, at)| (id.to_string(), at)).collect();
    write(&dir.join(PEERS_FILE), &serde_json::to_vec_pretty(&texts).unwrap_or_default(), 0o600)
}

/// Forgets the cluster that a data directory belonged to. The node's key stays.
///
/// # Errors
/// When a file cannot be removed; those before it are gone.
pub fn discard(dir: &Path) -> Result<(), IdentityError> {
    let names = fs::read_dir(dir).map_err(|source| IdentityError::File { path: dir.to_owned(), source })?;
    let own = |name: &str| [CLUSTER_FILE, PEERS_FILE, "state.redb"].contains(&name) || name.starts_with("api-");
    for entry in names.flatten().filter(|entry| entry.file_name().to_str().is_some_and(own)) {
        fs::remove_file(entry.path()).map_err(|source| IdentityError::File { path: entry.path(), source })?;
    }
    Ok(())
}

/// Creates the data directory for its owner alone, or makes one that is there already the owner's alone.
///
/// # Errors
/// When it cannot be created or changed, is somebody else's, or holds what is not skein's and is open to others.
pub fn create_directory(dir: &Path) -> Result<(), IdentityError> {
    let failed = |source| IdentityError::File { path: dir.to_owned(), source };
    let private = fs::Permissions::from_mode(0o700);
    let found = match fs::metadata(dir) {
        Ok(found) if found.is_dir() => found,
        _ => {
            fs::create_dir_all(dir).map_err(failed)?;
            return fs::set_permissions(dir, private).map_err(failed);
        }
    };
    let open_to_others = found.mode() & 0o077 != 0;
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(IdentityError::Unsafe { path: dir.to_owned(), why: "it belongs to another user", remedy: "chown" });
    }
    // A directory that is used for other things as well is not closed to those.
    if open_to_others && !is_skeins(dir).map_err(failed)? {
        let why = "others may open it, and it holds what is not skein's";
        return Err(IdentityError::Unsafe { path: dir.to_owned(), why, remedy: "chmod 0700" });
    }
    if open_to_others { fs::set_permissions(dir, private).map_err(failed) } else { Ok(()) }
}

/// Whether a directory was made for skein: nothing else is in it, or it was a data directory before.
fn is_skeins(dir: &Path) -> io::Result<bool> {
    let names: Vec<_> = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    let is_own = |name: &std::ffi::OsString| [KEY_FILE, CLUSTER_FILE, seal::SEAL_FILE].iter().any(|own| name == own);
    // A file system of its own has that from its beginning, and the settings may be there before the first start.
    let is_prepared = |name: &std::ffi::OsString| name == "lost+found" || name == "skein.toml";
    Ok(names.iter().all(is_prepared) || names.iter().any(is_own))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, IdentityError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::File { path: path.to_owned(), source }),
    }
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), IdentityError> {
    let failed = |source| IdentityError::File { path: path.to_owned(), source };
    let beside = path.with_extension("new");
    // What an interrupted write left behind may have another mode.
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    let directory = path.parent().and_then(|parent| fs::File::open(parent).ok());
    directory.map_or(Ok(()), |directory| directory.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn opened() -> (tempfile::TempDir, PathBuf, Seal) {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("node");
        create_directory(&dir).unwrap();
        let seal = Seal::open(&dir, &Opener::beside(&dir).unwrap()).unwrap();
        (place, dir, seal)
    }

    #[test]
    fn the_key_is_made_once_and_nobody_else_can_read_it() {
        let (_place, dir, seal) = opened();
        let first = keypair(&dir, &seal).unwrap();
        assert_eq!(keypair(&dir, &seal).unwrap().node_id(), first.node_id());
        assert_eq!(keypair_beside(&dir).unwrap().node_id(), first.node_id());
        let (path, bytes) = (dir.join(KEY_FILE), fs::read(dir.join(KEY_FILE)).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!bytes.windows(32).any(|window| window == first.secret()), "it is sealed");
        fs::write(&path, b"short").unwrap();
        assert!(matches!(keypair(&dir, &seal), Err(IdentityError::Damaged { .. })));
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(matches!(keypair(&dir, &seal), Err(IdentityError::Damaged { .. })));
    }

    #[test]
    fn a_key_that_an_earlier_version_kept_in_clear_is_sealed_at_the_first_start() {
        let (_place, dir, seal) = opened();
        fs::write(dir.join(KEY_FILE), [5; 32]).unwrap();
        for _ in 0..2 {
            assert_eq!(keypair(&dir, &seal).unwrap().node_id(), Keypair::from_secret([5; 32]).node_id());
            assert!(seal::is_sealed(&fs::read(dir.join(KEY_FILE)).unwrap()));
        }
    }

    #[test]
    fn a_directory_that_was_open_to_others_is_closed_and_one_that_holds_other_things_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("node");
        let mode = |of: &Path| fs::metadata(of).unwrap().mode() & 0o777;
        for before in ["empty", "skein.toml", KEY_FILE] {
            fs::create_dir_all(&dir).unwrap();
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
            if before != "empty" {
                fs::write(dir.join(before), "").unwrap();
            }
            create_directory(&dir).unwrap();
            assert_eq!(mode(&dir), 0o700, "{before}");
        }
        let shared = place.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::write(shared.join("letter"), "").unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).unwrap();
        let error = create_directory(&shared).unwrap_err();
        assert!(error.to_string().contains("chmod 0700"), "{error}");
        assert_eq!(mode(&shared), 0o755, "it stays as it was");
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o700)).unwrap();
        create_directory(&shared).unwrap();
    }

    #[test]
    fn a_directory_of_a_newer_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ClusterFile::load(dir.path()).unwrap(), None);
        let mut file = ClusterFile::new(&ClusterId([1; 16]), "a", Some([0xab; 32]));
        file.store(dir.path()).unwrap();
        assert_eq!(ClusterFile::load(dir.path()).unwrap(), Some(file.clone()));
        assert_eq!(file.founding_nonce(), Some([0xab; 32]));
        file.version = 9;
        file.store(dir.path()).unwrap();
        assert!(matches!(ClusterFile::load(dir.path()), Err(IdentityError::Version { found: 9, .. })));
    }
}
