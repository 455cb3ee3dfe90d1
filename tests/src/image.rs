//! The image that the lab's pods run: busybox and its links, packed as a tar that every engine imports. No registry is
//! asked for anything.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Outcome};

/// The image's name in every engine.
pub const NAME: &str = "bb:1";
/// Another name of the same image: a pod template that names it is another version.
pub const SECOND_NAME: &str = "bb:2";
/// What the image runs when the pod names no command: a web server on port 8080.
pub const COMMAND: &str = r#"CMD ["httpd","-f","-p","8080","-h","/www"]"#;

/// Writes the image's file system to `path`.
///
/// # Errors
/// When there is no static busybox, or the disk is full.
pub fn write_tar(path: &Path) -> Outcome<()> {
    let listed = Command::new(BUSYBOX).arg("--list").output();
    let listed = listed.map_err(|e| Failure::new(format!("{BUSYBOX}: {e}; install busybox-static")))?;
    let mut tar = tar::Builder::new(BufWriter::new(File::create(path)?));
    for directory in ["bin/", "www/", "tmp/", "etc/", "proc/", "sys/", "dev/"] {
        let mut header = entry(tar::EntryType::Directory, 0o755, 0);
        tar.append_data(&mut header, directory, std::io::empty())?;
    }
    let busybox = std::fs::read(BUSYBOX)?;
    let mut header = entry(tar::EntryType::Regular, 0o755, busybox.len() as u64);
    tar.append_data(&mut header, "bin/busybox", busybox.as_slice())?;
    for applet in String::from_utf8_lossy(&listed.stdout).lines().filter(|name| *name != "busybox") {
        let mut header = entry(tar::EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    for (name, text) in [("www/index.html", "ok\n"), ("etc/passwd", "root:x:0:0:root:/:/bin/sh\n")] {
        let mut header = entry(tar::EntryType::Regular, 0o644, text.len() as u64);
        tar.append_data(&mut header, name, text.as_bytes())?;
    }
    tar.into_inner()?;
    Ok(())
}

const BUSYBOX: &str = "/bin/busybox";

fn entry(kind: tar::EntryType, mode: u32, bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
