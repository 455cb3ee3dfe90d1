//! Files of a volume that change all at once, as the kubelet does it: they are in a directory of their own, the link `..data`
//! leads to it, and each file's name leads through that link. A new directory is written beside the old one, and the link
//! is replaced by a rename.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, symlink};
use std::path::{Component, Path, PathBuf};

use skein_core::runtime::FileSpec;

/// The link to the directory that counts.
const DATA: &str = "..data";
/// Where the next one is made.
const NEXT: &str = "..data_tmp";

/// Makes a volume hold exactly these files. If it does already nothing is touched.
///
/// # Errors
/// When the file system says so, or a path leads out of the volume. Then the volume holds what it held.
pub(super) fn write(dir: &Path, files: &BTreeMap<String, FileSpec>, group: Option<u32>) -> io::Result<()> {
    if files.keys().any(|path| !is_within(path)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file's path leads out of the volume"));
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
        Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o755))?,
    }
    let before = fs::read_link(dir.join(DATA)).ok();
    if before.as_ref().is_some_and(|before| holds(&dir.join(before), files, group)) {
        return links(dir, files);
    }
    let fresh = fresh_directory(dir)?;
    let path = dir.join(&fresh);
    if let Err(error) = fill(&path, files, group) {
        let _ = fs::remove_dir_all(&path);
        return Err(error);
    }
    let next = dir.join(NEXT);
    if let Err(error) = fs::remove_file(&next)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    symlink(&fresh, &next)?;
    fs::rename(&next, dir.join(DATA))?;
    links(dir, files)?;
    remove_old(dir, &fresh)
}

/// Whether a directory is a volume of files, which are what the system writes and nothing else.
pub(super) fn is_of_files(dir: &Path) -> bool {
    dir.join(DATA).symlink_metadata().is_ok()
}

fn is_within(path: &str) -> bool {
    let parts: Vec<Component<'_>> = Path::new(path).components().collect();
    !path.starts_with("..") && !parts.is_empty() && parts.iter().all(|part| matches!(part, Component::Normal(_)))
}

fn holds(data: &Path, files: &BTreeMap<String, FileSpec>, group: Option<u32>) -> bool {
    let same = |(path, file): (&String, &FileSpec)| {
        let path = data.join(path);
        let mode = path.metadata().ok().map(|found| found.permissions().mode() & 0o777);
        mode == Some(mode_of(file, group)) && fs::read(&path).is_ok_and(|bytes| bytes == file.bytes)
    };
    files.iter().all(same) && count(data).is_ok_and(|count| count == files.len())
}

/// The group may read whatever the user may, or the volume would be of no use to it.
fn mode_of(file: &FileSpec, group: Option<u32>) -> u32 {
    let read = if group.is_some() { 0o440 } else { 0 };
    (file.mode & 0o777) | read
}

fn count(dir: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { self::count(&entry.path())? } else { 1 };
    }
    Ok(count)
}

/// A directory whose name nothing has yet.
fn fresh_directory(dir: &Path) -> io::Result<PathBuf> {
    let now = crate::runtime::timestamp::now_ms();
    for number in 0..1000_u32 {
        let name = PathBuf::from(format!("..{now}_{number}"));
        match DirBuilder::new().mode(0o755).create(dir.join(&name)) {
            Ok(()) => {
                fs::set_permissions(dir.join(&name), Permissions::from_mode(0o755))?;
                return Ok(name);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "no name is free for a new version"))
}

fn fill(data: &Path, files: &BTreeMap<String, FileSpec>, group: Option<u32>) -> io::Result<()> {
    for (name, file) in files {
        let path = data.join(name);
        let parents = Path::new(name).ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
        let mut parents: Vec<PathBuf> = parents.map(|parent| data.join(parent)).collect();
        parents.reverse();
        for parent in parents.iter().filter(|parent| !parent.exists()) {
            fs::create_dir(parent)?;
            fs::set_permissions(parent, Permissions::from_mode(0o755))?;
        }
        let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        open.write_all(&file.bytes)?;
        if let Some(group) = group {
            fchown(&open, None, Some(group))?;
        }
        open.set_permissions(Permissions::from_mode(mode_of(file, group)))?;
    }
    Ok(())
}

/// Makes the names that people see lead through the link, and removes those of files that are gone.
fn links(dir: &Path, files: &BTreeMap<String, FileSpec>) -> io::Result<()> {
    let first = |path: &str| path.split('/').find(|part| !part.is_empty()).map(str::to_owned);
    let names: BTreeSet<String> = files.keys().filter_map(|path| first(path)).collect();
    for name in &names {
        let (link, target) = (dir.join(name), Path::new(DATA).join(name));
        if fs::read_link(&link).is_ok_and(|found| found == target) {
            continue;
        }
        remove_any(&link)?;
        symlink(&target, &link)?;
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_named = entry.file_name().to_str().is_some_and(|name| names.contains(name) || name.starts_with(".."));
        if !is_named {
            remove_any(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file, a link or a directory, or nothing.
fn remove_any(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn remove_old(dir: &Path, fresh: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_old = entry.file_type()?.is_dir() && entry.file_name() != fresh.as_os_str();
        if is_old {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
