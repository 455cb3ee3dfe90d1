//! The volumes of this node's pods: a directory for each pod below the daemon's data directory, and one in memory for what
//! must not be written to a disk. What they hold is decided by the agent; how files are swapped at once is in `files`, and how
//! a path is kept within its volume in `beneath`.

mod beneath;
mod files;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use skein_core::runtime::{FileSpec, Mount, Place, VolumeKind, VolumeSpec};

use super::tokens::TokenSigner;

/// Where Linux keeps files in memory.
const MEMORY_ROOT: &str = "/dev/shm";

/// Where the volumes are.
#[derive(Debug)]
pub(super) struct VolumeStore {
    disk: PathBuf,
    memory: PathBuf,
    /// The pods whose volumes this life of the daemon has laid out.
    touched: Mutex<BTreeSet<String>>,
    signer: Option<Arc<dyn TokenSigner>>,
}

impl VolumeStore {
    /// The volumes of one node. Makes nothing yet.
    pub(super) fn new(data_dir: &Path, node: &str) -> VolumeStore {
        // Short, and no other's: many nodes may share one machine.
        let digest = Sha256::new().chain_update(data_dir.as_os_str().as_encoded_bytes()).chain_update(node).finalize();
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let memory = Path::new(MEMORY_ROOT).join(format!("skein-{name}"));
        VolumeStore { disk: data_dir.join("volumes"), memory, touched: Mutex::default(), signer: None }
    }

    /// The same, with somebody who signs the tokens among the files.
    pub(super) fn signed_by(self, signer: Option<Arc<dyn TokenSigner>>) -> VolumeStore {
        VolumeStore { signer, ..self }
    }

    /// Lays out all volumes of a pod. What is there already stays, other than files that are different now.
    ///
    /// # Errors
    /// In words for a person.
    pub(super) fn write(&self, uid: &str, volumes: &[VolumeSpec]) -> Result<(), String> {
        let uid = sound(uid)?;
        self.touched().insert(uid.to_owned());
        volumes.iter().try_for_each(|volume| {
            self.write_one(uid, volume)
                .map_err(|why| format!("MountVolume.SetUp failed for volume \"{}\" : {why}", volume.name))
        })
    }

    /// Removes what there is of a pod.
    ///
    /// # Errors
    /// In words for a person.
    pub(super) fn remove(&self, uid: &str) -> Result<(), String> {
        let uid = sound(uid)?;
        for root in [&self.disk, &self.memory] {
            remove_all(&root.join(uid))?;
        }
        self.touched().remove(uid);
        Ok(())
    }

    /// Removes what earlier lives of the daemon left of pods that have no container any more.
    pub(super) fn sweep(&self, with_containers: &BTreeSet<&str>) {
        for root in [&self.disk, &self.memory] {
            for entry in fs::read_dir(root).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let Some(uid) = name.to_str() else { continue };
                if with_containers.contains(uid) || self.touched().contains(uid) {
                    continue;
                }
                if let Err(why) = remove_all(&entry.path()) {
                    tracing::warn!("a volume of a pod that is gone stays: {why}");
                }
            }
        }
    }

    /// The path of the host that a container mounts. A directory that a `subPath` names is made.
    ///
    /// # Errors
    /// When the path leads out of its volume, or cannot be made; in words for a person.
    pub(super) fn source(&self, uid: &str, mount: &Mount) -> Result<PathBuf, String> {
        let base = match &mount.place {
            Place::Host(path) => PathBuf::from(path),
            Place::Disk => self.disk.join(sound(uid)?).join(sound(&mount.volume)?),
            Place::Memory => self.memory.join(sound(uid)?).join(sound(&mount.volume)?),
        };
        if mount.sub_path.is_empty() {
            return Ok(base);
        }
        // What is made among files would stand in the way of the file that comes later.
        let may_make = !files::is_of_files(&base);
        beneath::find(&base, within(&mount.sub_path)?, may_make)
            .map_err(|error| format!("subPath \"{}\" of volume \"{}\": {error}", mount.sub_path, mount.volume))
    }

    fn write_one(&self, uid: &str, volume: &VolumeSpec) -> Result<(), String> {
        let name = sound(&volume.name)?;
        let at = |memory: bool| self.pod(uid, memory).map(|dir| dir.join(name));
        match &volume.kind {
            VolumeKind::Host { path, kind } => host(Path::new(path), kind),
            VolumeKind::Empty { memory } => {
                let dir = at(*memory)?;
                if dir.is_dir() {
                    return Ok(());
                }
                let made = empty(&dir, volume.group);
                if made.is_err() {
                    let _ = fs::remove_dir(&dir);
                }
                made.map_err(|error| format!("{}: {error}", dir.display()))
            }
            VolumeKind::Files { files, memory } => {
                // Before anything is made: a token belongs in memory alone.
                let files = self.with_tokens(files, *memory)?;
                let dir = at(*memory)?;
                files::write(&dir, &files, volume.group).map_err(|error| format!("{}: {error}", dir.display()))
            }
        }
    }

    /// The files with what they hold: those that are tokens are signed now.
    fn with_tokens<'a>(
        &self,
        files: &'a BTreeMap<String, FileSpec>,
        memory: bool,
    ) -> Result<Cow<'a, BTreeMap<String, FileSpec>>, String> {
        if files.values().all(|file| file.token.is_none()) {
            return Ok(Cow::Borrowed(files));
        }
        if !memory {
            return Err("a token is not written to a disk".to_owned());
        }
        let signer = self.signer.as_ref().ok_or("this node signs no tokens")?;
        let signed = files.iter().map(|(path, file)| {
            let bytes = match &file.token {
                Some(token) => signer.sign(token)?.into_bytes(),
                None => file.bytes.clone(),
            };
            Ok((path.clone(), FileSpec::of(bytes, file.mode)))
        });
        signed.collect::<Result<_, String>>().map(Cow::Owned)
    }

    /// The pod's directory, made if it is not there.
    fn pod(&self, uid: &str, memory: bool) -> Result<PathBuf, String> {
        if memory {
            self.memory_root()?;
        }
        let dir = if memory { &self.memory } else { &self.disk }.join(uid);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map(|()| dir.clone()).map_err(|error| format!("{}: {error}", dir.display()))
    }

    /// The directory in memory must be one, and this user's: everybody may write beside it.
    fn memory_root(&self) -> Result<(), String> {
        let failed = |error: io::Error| format!("{}: {error}", self.memory.display());
        let no_memory = |why: &str| format!("{MEMORY_ROOT} {why}, and what belongs in memory is not written to a disk");
        let kind =
            nix::sys::statfs::statfs(MEMORY_ROOT).map_err(|error| no_memory(&format!("cannot be used ({error})")))?;
        if kind.filesystem_type() != nix::sys::statfs::TMPFS_MAGIC {
            return Err(no_memory("is not in memory"));
        }
        match DirBuilder::new().mode(0o700).create(&self.memory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let found = self.memory.symlink_metadata().map_err(failed)?;
        match found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o077 == 0 {
            true => Ok(()),
            false => Err(format!("{} is not this daemon's own", self.memory.display())),
        }
    }

    fn touched(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        // Single insertions and removals cannot be left half done.
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A directory that all containers of the pod may write to. What is made in it belongs to the group, if there is one.
fn empty(dir: &Path, group: Option<u32>) -> io::Result<()> {
    fs::create_dir(dir)?;
    if let Some(group) = group {
        chown(dir, None, Some(group))?;
    }
    fs::set_permissions(dir, Permissions::from_mode(if group.is_some() { 0o2777 } else { 0o777 }))
}

/// A uid or a name that is one directory and no other.
fn sound(name: &str) -> Result<&str, String> {
    let is_sound = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    match !name.is_empty() && name.len() <= 253 && name.bytes().all(is_sound) {
        true => Ok(name),
        false => Err("its name is not one that Kubernetes would allow".to_owned()),
    }
}

/// A relative path that does not lead up.
fn within(path: &str) -> Result<&Path, String> {
    let path = Path::new(path);
    let stays = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if stays { Ok(path) } else { Err(format!("\"{}\" leads out of the volume", path.display())) }
}

fn remove_all(dir: &Path) -> Result<(), String> {
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Containers write as root. A daemon that is not root cannot remove that, and its pod must not wait for it for ever.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !nix::unistd::geteuid().is_root() => {
            tracing::warn!("{} has files of another user's; remove it as root", dir.display());
            Ok(())
        }
        Err(error) => Err(format!("{}: {error}", dir.display())),
    }
}

/// Looks at what must be there, and makes what may be made.
fn host(path: &Path, kind: &str) -> Result<(), String> {
    if !path.is_absolute() {
        return Err(format!("{} is not an absolute path", path.display()));
    }
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    match kind {
        "" | "DirectoryOrCreate" if !path.exists() => {
            return DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed);
        }
        "FileOrCreate" if !path.exists() => {
            let created = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
            return created.map(drop).map_err(failed);
        }
        _ => {}
    }
    let found = path.metadata().map_err(|error| format!("hostPath type check failed: {}: {error}", path.display()))?;
    let (holds, what) = match kind {
        "Directory" | "DirectoryOrCreate" => (found.is_dir(), "a directory"),
        "File" | "FileOrCreate" => (found.is_file(), "a file"),
        "Socket" => (found.file_type().is_socket(), "a socket file"),
        "CharDevice" => (found.file_type().is_char_device(), "a character device"),
        "BlockDevice" => (found.file_type().is_block_device(), "a block device"),
        _ => (true, ""),
    };
    if holds { Ok(()) } else { Err(format!("hostPath type check failed: {} is not {what}", path.display())) }
}

#[cfg(test)]
mod tests;
