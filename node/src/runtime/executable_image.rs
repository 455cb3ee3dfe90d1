//! A container image made of one executable of this machine with its loader and shared libraries, so that something can
//! be run where no registry can be reached. Only ELF files of 64 bits, as on all machines that Docker runs on today.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A root directory as a tar archive: `exe` at `/` under its own name, without its debugging information, and at their
/// own places the loader and the libraries that it needs.
///
/// Fails if `exe` cannot be read, is no such executable, or if its loader does not find all of its libraries.
pub fn image_from_executable(exe: &Path) -> io::Result<Vec<u8>> {
    let mut program = fs::read(exe)?;
    let headers = Headers::read(&program).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} is no 64-bit ELF executable", exe.display()))
    })?;
    let mut archive = tar::Builder::new(Vec::new());
    for dir in ["tmp/", "dev/", "proc/", "sys/", "etc/"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(if dir == "tmp/" { 0o1777 } else { 0o755 });
        header.set_size(0);
        archive.append_data(&mut header, dir, io::empty())?;
    }
    if let Some(loader) = &headers.loader {
        let mut files = libraries(loader, exe)?;
        files.push(loader.clone());
        files.sort();
        files.dedup();
        for file in files {
            append(&mut archive, &file, &fs::read(&file)?)?;
        }
    }
    headers.strip(&mut program);
    let name = exe.file_name().map_or_else(|| PathBuf::from("program"), PathBuf::from);
    append(&mut archive, &name, &program)?;
    archive.into_inner()
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path.strip_prefix("/").unwrap_or(path), content)
}

/// Asks the loader, which knows best, for the files that it would load.
fn libraries(loader: &Path, exe: &Path) -> io::Result<Vec<PathBuf>> {
    let output = Command::new(loader).arg("--list").arg(exe).output()?;
    let listed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || listed.contains("not found") {
        let words = format!("{} does not find all libraries of {}: {listed}", loader.display(), exe.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, words));
    }
    Ok(listed.lines().filter_map(listed_file).collect())
}

/// The file in a line such as `libc.so.6 => /lib/libc.so.6 (0x7f..)`; the kernel's own library has none.
fn listed_file(line: &str) -> Option<PathBuf> {
    let file = line.split_once("=>").map_or(line, |(_, file)| file);
    let file = file.trim().split(" (0x").next()?;
    file.starts_with('/').then(|| PathBuf::from(file))
}

/// What matters of an ELF file's program headers.
#[derive(Debug)]
struct Headers {
    /// The loader; `None` for a static executable.
    loader: Option<PathBuf>,
    /// Where the last byte ends that is loaded or that describes what is.
    used_bytes: usize,
}

impl Headers {
    const PT_INTERP: u64 = 3;
    const FILE_HEADER_BYTES: u64 = 64;

    fn read(file: &[u8]) -> Option<Headers> {
        // Magic, 64 bits, little-endian.
        if !file.starts_with(b"\x7fELF\x02\x01") {
            return None;
        }
        let (table, size, count) = (number(file, 32, 8)?, number(file, 54, 2)?, number(file, 56, 2)?);
        let mut loader = None;
        let mut used_bytes = table.checked_add(size * count)?.max(Headers::FILE_HEADER_BYTES);
        for index in 0..count {
            let at = usize::try_from(table.checked_add(index * size)?).ok()?;
            let (kind, offset, length) = (number(file, at, 4)?, number(file, at + 8, 8)?, number(file, at + 32, 8)?);
            let end = offset.checked_add(length)?;
            used_bytes = used_bytes.max(end);
            if kind == Headers::PT_INTERP {
                let text = file.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)?;
                loader = Some(PathBuf::from(std::str::from_utf8(text).ok()?.trim_end_matches('\0')));
            }
        }
        let used_bytes = usize::try_from(used_bytes).ok()?;
        (used_bytes <= file.len()).then_some(Headers { loader, used_bytes })
    }

    /// Cuts off what only debuggers and linkers read: sections that are in no segment come last.
    fn strip(&self, file: &mut Vec<u8>) {
        file.truncate(self.used_bytes);
        // There are no section headers any more: their offset, size, number, and the index of their names.
        file[40..48].fill(0);
        file[58..64].fill(0);
    }
}

fn number(file: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = file.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| (number << 8) | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_image_runs_and_is_smaller_than_the_executable() {
        let own = std::env::current_exe().unwrap();
        let image = image_from_executable(&own).unwrap();
        let dir = tempfile::tempdir().unwrap();
        tar::Archive::new(image.as_slice()).unpack(dir.path()).unwrap();
        let name = own.file_name().unwrap();
        let stripped = dir.path().join(name);
        assert!(fs::metadata(&stripped).unwrap().len() < fs::metadata(&own).unwrap().len());
        let output = Command::new(&stripped).arg("--list").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("the_image_runs"), "the stripped program works");
        let files: Vec<_> = tar::Archive::new(image.as_slice())
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert!(files.iter().any(|file| file.contains("libc")), "{files:?}");
    }

    #[test]
    fn what_is_no_executable_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(image_from_executable(&script).unwrap_err().to_string().contains("no 64-bit ELF"));
    }

    #[test]
    fn the_loader_s_list_is_understood() {
        let file = |line| listed_file(line).map(|path| path.display().to_string());
        assert_eq!(file("\tlibc.so.6 => /lib/libc.so.6 (0x00007f1)").as_deref(), Some("/lib/libc.so.6"));
        assert_eq!(file("\t/lib64/ld-linux-x86-64.so.2 (0x00007f1)").as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(file("\tlinux-vdso.so.1 (0x00007ffd)"), None);
        assert_eq!(file("\tstatically linked"), None);
    }

    proptest! {
        #[test]
        fn reading_headers_is_total(mut file in proptest::collection::vec(any::<u8>(), 0..200)) {
            for (byte, magic) in file.iter_mut().zip(b"\x7fELF\x02\x01") {
                *byte = *magic;
            }
            if let Some(headers) = Headers::read(&file) {
                headers.strip(&mut file);
            }
        }
    }
}
