//! Finds what a `subPath` names without ever leaving its volume. Containers write there, and one may put a link in the way of
//! any part of a path between two looks at it. So the kernel resolves paths beneath the volume's root in one call, and what
//! is made is made in a directory that was opened so.
//!
//! The engine mounts by path: what is found is handed over as the path that the opened file has, once more compared with it.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};

/// Why a path below a volume cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum BeneathError {
    /// It, or a link in it, leads elsewhere.
    #[error("it leads out of the volume")]
    LeadsOut,
    /// It is not there, and may not be made.
    #[error("there is no such file")]
    Missing,
    /// It was replaced while it was looked at.
    #[error("it is changed while it is mounted")]
    Changes,
    /// The kernel is older than Linux 5.6.
    #[error("this node's kernel cannot keep a path within its volume: it needs Linux 5.6 or later")]
    OldKernel,
    /// The file system says no.
    #[error(transparent)]
    System(#[from] Errno),
}

/// Where the file or directory is that a path names below a volume's root. Directories that are not there are made, as
/// accessible as the root, if they may be.
///
/// # Errors
/// When the path leads out of the volume, or cannot be had.
pub(super) fn find(root: &Path, path: &Path, may_make: bool) -> Result<PathBuf, BeneathError> {
    let root = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    match beneath(&root, path, OFlag::O_PATH) {
        Ok(found) => path_of(&found),
        Err(BeneathError::Missing) if may_make => path_of(&make(&root, path)?),
        Err(error) => Err(error),
    }
}

/// Opens a path that may lead through links, all of it below `root`.
fn beneath(root: &OwnedFd, path: &Path, flags: OFlag) -> Result<OwnedFd, BeneathError> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    openat2(root, path, how).map_err(|error| match error {
        // That of links that lead nowhere but to themselves, or through `/proc`.
        Errno::EXDEV | Errno::ELOOP => BeneathError::LeadsOut,
        Errno::ENOENT => BeneathError::Missing,
        // A path above it was moved meanwhile.
        Errno::EAGAIN => BeneathError::Changes,
        Errno::ENOSYS => BeneathError::OldKernel,
        error => error.into(),
    })
}

/// Makes the directories of a path that are not there, and opens the last one.
fn make(root: &OwnedFd, path: &Path) -> Result<OwnedFd, BeneathError> {
    // A directory may belong to a group that what is made in it is to belong to as well.
    let mode = Mode::from_bits_truncate(fstat(root)?.st_mode & 0o2777);
    let mut at = root.try_clone().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    let mut so_far = PathBuf::new();
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        so_far.push(name);
        at = match beneath(root, &so_far, OFlag::O_PATH) {
            Err(BeneathError::Missing) => {
                match mkdirat(&at, name, mode) {
                    // Somebody else made it, or a link stands there that leads nowhere.
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                let made = beneath(root, &so_far, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
                // The daemon's mask does not count.
                fchmod(&made, mode)?;
                made
            }
            other => other?,
        };
    }
    Ok(at)
}

/// The path that an open file has.
fn path_of(file: &OwnedFd) -> Result<PathBuf, BeneathError> {
    let system =
        |error: io::Error| error.raw_os_error().map_or(BeneathError::Changes, |raw| Errno::from_raw(raw).into());
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(system)?;
    let (opened, named) = (fstat(file)?, fs::symlink_metadata(&path));
    match named.is_ok_and(|named| (named.dev(), named.ino()) == (opened.st_dev, opened.st_ino)) {
        true => Ok(path),
        false => Err(BeneathError::Changes),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn links_within_the_volume_are_followed_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("root");
        fs::create_dir_all(root.join("real")).unwrap();
        fs::write(root.join("real/file"), "x").unwrap();
        symlink("real", root.join("link")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        let found = |path: &str| find(&root, Path::new(path), true);
        assert_eq!(found("link/file").unwrap(), root.join("real/file"));
        assert_eq!(found("link/new/./er").unwrap(), root.join("real/new/er"));
        for path in ["up", "up/x", "up/root/real"] {
            assert!(matches!(found(path), Err(BeneathError::LeadsOut)), "{path}");
        }
        assert!(matches!(found("dangling"), Err(BeneathError::Missing)));
        assert!(matches!(find(&root, Path::new("no"), false), Err(BeneathError::Missing)));
        assert!(matches!(found("link/file/x"), Err(BeneathError::System(Errno::ENOTDIR))));
    }

    #[test]
    fn what_is_made_is_as_accessible_as_the_volume() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o2777)).unwrap();
        let made = find(dir.path(), Path::new("a/b"), true).unwrap();
        for path in [made.as_path(), made.parent().unwrap()] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o2777);
        }
    }

    #[test]
    fn nothing_is_made_elsewhere_while_a_container_swaps_a_directory_and_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a")).unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(&outside, root.join("evil")).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (one, other) = (root.join("a"), root.join("evil"));
                while !done.load(Ordering::Relaxed) {
                    renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).unwrap();
                }
            });
            let mut made = 0;
            for number in 0..20_000 {
                match find(&root, Path::new(&format!("a/{number}/x")), true) {
                    Ok(_) => made += 1,
                    Err(BeneathError::LeadsOut | BeneathError::Changes | BeneathError::Missing) => {}
                    // It was moved to between being missed and being made.
                    Err(BeneathError::System(Errno::ENOTDIR | Errno::ENOENT)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(made > 0);
        });
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}
