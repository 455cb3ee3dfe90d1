//! What a container of the `process` runtime was given, whole: in memory, since it may hold values of Secrets, which are on
//! no disk in clear. The daemon writes it, the shim and later daemons read it; a restart of the machine ends it, and the
//! container as well. What else is known of a container is in `state`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// Where Linux keeps files in memory.
const MEMORY_ROOT: &str = "/dev/shm";

/// Where it is of a container with this directory.
pub(super) fn place(dir: &Path) -> PathBuf {
    let (root, name) = (dir.parent().unwrap_or(dir), dir.file_name().unwrap_or_default());
    // Short, and no other's: many nodes may share one machine.
    let digest = Sha256::digest(root.as_os_str().as_encoded_bytes());
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Path::new(MEMORY_ROOT).join(format!("skein-process-{hash}")).join(name)
}

/// Writes it for this user alone.
///
/// # Errors
/// When there is no memory to write it to that is this user's: it is not written to a disk instead.
pub(super) fn write<T: Serialize>(dir: &Path, value: &T) -> io::Result<()> {
    let place = place(dir);
    let kind = nix::sys::statfs::statfs(MEMORY_ROOT)?;
    if kind.filesystem_type() != nix::sys::statfs::TMPFS_MAGIC {
        let why = format!("{MEMORY_ROOT} is not in memory, and what may hold secrets is not written to a disk");
        return Err(io::Error::other(why));
    }
    let parent = place.parent().unwrap_or(Path::new(MEMORY_ROOT));
    match DirBuilder::new().mode(0o700).create(parent) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = parent.symlink_metadata()?;
    if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() || found.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!("{} is somebody else's", parent.display())));
    }
    let bytes = serde_json::to_vec(value).map_err(io::Error::other)?;
    let beside = place.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&bytes)?;
    fs::rename(&beside, &place)
}

/// Reads it; `None` when it is not there any more.
pub(super) fn read<T: DeserializeOwned>(dir: &Path) -> Option<T> {
    let file = fs::File::open(place(dir)).ok()?;
    // Everybody may write beside the directory in memory, and nobody else may have written this.
    let own = file.metadata().ok()?.uid() == nix::unistd::geteuid().as_raw();
    if own { serde_json::from_reader(io::BufReader::new(file)).ok() } else { None }
}

/// Removes it, and with the last one what held them.
///
/// # Errors
/// When it is there and stays.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    let place = place(dir);
    match fs::remove_file(&place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Others that are there keep it.
    let _ = place.parent().map(fs::remove_dir);
    Ok(())
}
