#![allow(clippy::unwrap_used)]
use super::*;
use skein_core::runtime::{FileSpec, TokenSpec};
use std::collections::BTreeMap;

fn files(files: &[(&str, &str, u32)]) -> VolumeKind {
    let files =
        files.iter().map(|(path, text, mode)| ((*path).to_owned(), FileSpec::of(text.as_bytes().to_vec(), *mode)));
    VolumeKind::Files { files: files.collect::<BTreeMap<_, _>>(), memory: false }
}

fn volume(name: &str, kind: VolumeKind) -> VolumeSpec {
    VolumeSpec { name: name.to_owned(), kind, group: None }
}

fn mount(volume: &str, sub_path: &str) -> Mount {
    Mount {
        volume: volume.to_owned(),
        place: Place::Disk,
        path: "/v".to_owned(),
        sub_path: sub_path.to_owned(),
        read_only: false,
    }
}

#[test]
fn files_change_all_at_once_and_stay_as_they_are_when_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let store = VolumeStore::new(dir.path(), "n");
    store.write("u1", &[volume("v", files(&[("a", "1", 0o644), ("d/b", "2", 0o400)]))]).unwrap();
    let at = store.source("u1", &mount("v", "")).unwrap();
    assert_eq!(fs::read_to_string(at.join("a")).unwrap(), "1");
    assert_eq!(fs::metadata(at.join("d/b")).unwrap().permissions().mode() & 0o777, 0o400);
    let version = fs::read_link(at.join("..data")).unwrap();
    store.write("u1", &[volume("v", files(&[("a", "1", 0o644), ("d/b", "2", 0o400)]))]).unwrap();
    assert_eq!(fs::read_link(at.join("..data")).unwrap(), version, "nothing was touched");
    store.write("u1", &[volume("v", files(&[("a", "3", 0o644), ("c", "4", 0o644)]))]).unwrap();
    let mut names: Vec<String> =
        fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let now = fs::read_link(at.join("..data")).unwrap();
    assert_eq!(names, ["..".to_owned() + &now.to_str().unwrap()[2..], "..data".into(), "a".into(), "c".into()]);
    assert_eq!(fs::read_to_string(at.join("a")).unwrap(), "3");
    for path in ["../x", "/x", "a/../../x", "..x", ""] {
        assert!(store.write("u1", &[volume("v", files(&[(path, "x", 0o644)]))]).is_err(), "{path}");
    }
    assert_eq!(fs::read_to_string(at.join("c")).unwrap(), "4", "what cannot be written leaves what is there");
}

#[test]
fn a_directory_is_kept_until_its_pod_is_gone_and_leftovers_go_with_the_next_list() {
    let dir = tempfile::tempdir().unwrap();
    let store = VolumeStore::new(dir.path(), "n");
    let empty = || [volume("v", VolumeKind::Empty { memory: false })];
    store.write("u1", &empty()).unwrap();
    let at = store.source("u1", &mount("v", "")).unwrap();
    assert_eq!(fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o777);
    fs::write(at.join("f"), "x").unwrap();
    store.write("u1", &empty()).unwrap();
    store.sweep(&BTreeSet::new());
    assert!(at.join("f").exists());
    let later = VolumeStore::new(dir.path(), "n");
    later.sweep(&["u1"].into());
    assert!(at.join("f").exists(), "its containers are there");
    later.sweep(&BTreeSet::new());
    assert!(!at.exists());
    store.write("u1", &empty()).unwrap();
    store.remove("u1").unwrap();
    store.remove("u1").unwrap();
    assert!(!at.exists());
    assert!(store.write("..", &empty()).is_err() && store.remove("a/b").is_err());
}

#[test]
fn a_sub_path_is_made_and_cannot_lead_out_of_its_volume() {
    let dir = tempfile::tempdir().unwrap();
    let store = VolumeStore::new(dir.path(), "n");
    store
        .write("u1", &[volume("v", VolumeKind::Empty { memory: false }), volume("c", files(&[("k", "1", 0o644)]))])
        .unwrap();
    let sub = store.source("u1", &mount("v", "a/b")).unwrap();
    assert!(sub.ends_with("u1/v/a/b") && sub.is_dir());
    let file = store.source("u1", &mount("c", "k")).unwrap();
    assert_eq!(fs::read_to_string(file).unwrap(), "1");
    assert!(store.source("u1", &mount("v", "../c")).is_err());
    let base = store.source("u1", &mount("v", "")).unwrap();
    std::os::unix::fs::symlink("/etc", base.join("out")).unwrap();
    for path in ["out", "out/passwd", "out/new-directory"] {
        assert!(store.source("u1", &mount("v", path)).unwrap_err().contains("leads out"), "{path}");
    }
    assert!(!Path::new("/etc/new-directory").exists());
}

#[test]
fn nothing_is_made_among_files_and_what_stands_in_their_way_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = VolumeStore::new(dir.path(), "n");
    store.write("u1", &[volume("c", files(&[("k", "1", 0o644)]))]).unwrap();
    let why = store.source("u1", &mount("c", "later")).unwrap_err();
    assert!(why.contains("there is no such file"), "{why}");
    let at = store.source("u1", &mount("c", "")).unwrap();
    assert!(!at.join("later").exists());
    fs::create_dir_all(at.join("later/x")).unwrap();
    fs::create_dir(at.join("stray")).unwrap();
    store.write("u1", &[volume("c", files(&[("k", "1", 0o644), ("later", "2", 0o644)]))]).unwrap();
    assert_eq!(fs::read_to_string(store.source("u1", &mount("c", "later")).unwrap()).unwrap(), "2");
    assert!(!at.join("stray").exists());
}

#[test]
fn a_path_of_the_host_is_what_its_type_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    host(&path("d"), "DirectoryOrCreate").unwrap();
    host(&path("f"), "FileOrCreate").unwrap();
    assert!(path("d").is_dir() && path("f").is_file());
    host(&path("d"), "Directory").unwrap();
    let why = host(&path("d"), "File").unwrap_err();
    assert_eq!(why, format!("hostPath type check failed: {} is not a file", path("d").display()));
    assert!(host(&path("f"), "Socket").is_err() && host(&path("x"), "Directory").is_err());
    host(Path::new("/dev/null"), "CharDevice").unwrap();
    assert!(host(Path::new("d"), "").is_err());
}

#[test]
fn what_belongs_in_memory_is_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let node = format!("test{}", std::process::id());
    let store = VolumeStore::new(dir.path(), &node);
    store.write("u1", &[volume("m", VolumeKind::Empty { memory: true })]).unwrap();
    let at = store.source("u1", &Mount { place: Place::Memory, ..mount("m", "") }).unwrap();
    assert!(at.starts_with("/dev/shm") && at.is_dir());
    store.remove("u1").unwrap();
    fs::remove_dir(at.parent().unwrap().parent().unwrap()).unwrap();
}

/// Signs each token with a number of its own, as long as it has any.
#[derive(Debug, Default)]
struct Numbers(std::sync::atomic::AtomicU32);

impl TokenSigner for Numbers {
    fn sign(&self, token: &TokenSpec) -> Result<String, String> {
        match self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            2 => Err("out of numbers".to_owned()),
            number => Ok(format!("{} {number}", token.account)),
        }
    }
}

fn with_token(memory: bool) -> VolumeSpec {
    let token = TokenSpec {
        namespace: "shop".to_owned(),
        account: "robot".to_owned(),
        account_uid: "u".to_owned(),
        pod: "web".to_owned(),
        pod_uid: "u1".to_owned(),
        audience: String::new(),
        seconds: 3600,
    };
    let files = [
        ("token".to_owned(), FileSpec { token: Some(token), ..FileSpec::of(Vec::new(), 0o644) }),
        ("ca.crt".to_owned(), FileSpec::of(b"PEM".to_vec(), 0o644)),
    ];
    volume("kube-api-access-abcde", VolumeKind::Files { files: files.into(), memory })
}

#[test]
fn tokens_are_signed_each_time_swapped_at_once_and_kept_from_disks() {
    let dir = tempfile::tempdir().unwrap();
    let node = format!("tokens-{}", std::process::id());
    let unsigned = VolumeStore::new(dir.path(), &node);
    assert!(unsigned.write("u1", &[with_token(true)]).unwrap_err().ends_with("this node signs no tokens"));
    let store = VolumeStore::new(dir.path(), &node).signed_by(Some(Arc::new(Numbers::default())));
    let why = store.write("u1", &[with_token(false)]).unwrap_err();
    assert!(why.ends_with("a token is not written to a disk"), "{why}");
    store.write("u1", &[with_token(true)]).unwrap();
    let mount = Mount { place: Place::Memory, ..mount("kube-api-access-abcde", "") };
    let at = store.source("u1", &mount).unwrap();
    let read = |file: &str| fs::read_to_string(at.join(file)).unwrap();
    assert_eq!((read("token"), read("ca.crt")), ("robot 0".to_owned(), "PEM".to_owned()));
    assert_eq!(fs::metadata(at.join("token")).unwrap().permissions().mode() & 0o777, 0o644);
    let version = fs::read_link(at.join("..data")).unwrap();
    store.write("u1", &[with_token(true)]).unwrap();
    assert_eq!(read("token"), "robot 1");
    assert_ne!(fs::read_link(at.join("..data")).unwrap(), version, "all files are swapped together");
    assert!(store.write("u1", &[with_token(true)]).unwrap_err().ends_with("out of numbers"));
    assert_eq!(read("token"), "robot 1", "one that cannot be signed leaves the one that is there");
    assert!(!dir.path().join("volumes").exists(), "nothing was made on the disk");
    store.remove("u1").unwrap();
    assert!(!at.exists());
    let _ = fs::remove_dir(&store.memory);
}
