//! The images that the lab's pods run: busybox and its links, packed as a tar that every engine imports, and the same with a
//! program that stands in for others. No registry is asked for anything.

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

/// What an image runs that stands in for one of a public project: it waits, whatever its arguments are, and answers on the ports
/// that the variable `LISTEN` names, separated by commas.
pub const STAND_IN: &str = "/bin/stand-in";

const STAND_IN_SCRIPT: &str = r#"#!/bin/sh
trap 'exit 0' TERM INT
echo "$0 $* stands in"
for port in $(echo "$LISTEN" | tr , ' '); do nc -ll -p "$port" -e /bin/stand-in-answer & done
while :; do sleep 1 & wait $!; done
"#;

/// What answers a connection: Redis' greeting, a call of gRPC's health protocol, or anything by HTTP. The frames of HTTP/2 are
/// settings, their acknowledgement, and on stream 1 the headers, the message that all is served, and the status 0.
const ANSWER_SCRIPT: &str = r#"#!/bin/sh
IFS= read -r line
case "$line" in
PING*) printf '+PONG\r\n' ;;
PRI*)
  sleep 0.2
  printf '\000\000\000\004\000\000\000\000\000\000\000\000\004\001\000\000\000\000'
  printf '\000\000\023\001\004\000\000\000\001\210\137\020application/grpc'
  printf '\000\000\007\000\000\000\000\000\001\000\000\000\000\002\010\001'
  printf '\000\000\017\001\005\000\000\000\001\000\013grpc-status\0010'
  sleep 0.5 ;;
*)
  while IFS= read -r header && [ "${#header}" -gt 1 ]; do :; done
  printf 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n' ;;
esac
"#;

/// Writes the image's file system to `path`.
///
/// # Errors
/// When there is no static busybox, or the disk is full.
pub fn write_tar(path: &Path) -> Outcome<()> {
    write(path, &[], &[])
}

/// Writes the file system of an image that stands in for others to `path`. It is run as well by each of `names`, which are paths.
///
/// # Errors
/// As [`write_tar`].
pub fn write_stand_in(path: &Path, names: &[&str]) -> Outcome<()> {
    write(path, &[(STAND_IN, STAND_IN_SCRIPT), ("/bin/stand-in-answer", ANSWER_SCRIPT)], names)
}

/// Writes busybox, `scripts`, each a path and its text, and links to the stand-in.
fn write(path: &Path, scripts: &[(&str, &str)], stand_ins: &[&str]) -> Outcome<()> {
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
    for (name, text) in scripts {
        let mut header = entry(tar::EntryType::Regular, 0o755, text.len() as u64);
        tar.append_data(&mut header, name.trim_start_matches('/'), text.as_bytes())?;
    }
    for name in stand_ins {
        let mut header = entry(tar::EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut header, name.trim_start_matches('/'), STAND_IN)?;
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
