//! What a daemon runs with: each setting from its flag, else from the environment, else from the settings' file, else a
//! default. Flags and most of the environment are read by clap; the file is read here, and of the environment what opens a data
//! directory: a flag takes the place of whatever variable says how, and clap would call the two a conflict.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::ValueEnum as _;
use skein_node::daemon::DaemonConfig;
use skein_node::pki::seal::Opener;
use toml::{Table, Value};

use crate::args::{DaemonFlags, OpenerFlags, Runtime};
use crate::failure::Failure;
use crate::units;

/// The ports when nothing is said.
const PEER_PORT: u16 = 7311;
const API_PORT: u16 = 7443;
/// Where a node keeps everything that runs as root.
pub(crate) const ROOT_DATA_DIR: &str = "/var/lib/skein";
/// The file in the data directory that is read if it is there.
const FILE_NAME: &str = "skein.toml";
/// What the file may hold.
const KEYS: &str = "listen, api, advertise, runtime, docker-host, name, log, seal-key, passphrase-file";
/// Where a passphrase may stand that no file holds.
const PASSPHRASE: &str = "SKEIN_PASSPHRASE";
/// The variables for the flags of the same names.
const PASSPHRASE_FILE: &str = "SKEIN_PASSPHRASE_FILE";
const SEAL_KEY: &str = "SKEIN_SEAL_KEY";

/// All settings of a daemon.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What the daemon itself is told.
    pub(crate) daemon: DaemonConfig,
    /// How much it logs.
    pub(crate) log: String,
}

/// The data directory: as asked for, or where this user's data belongs.
///
/// # Errors
/// When nothing was asked for and the user has no home.
pub(crate) fn data_dir(asked: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let dir = match asked {
        Some(dir) => dir,
        None => {
            let env = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
            let root = nix::unistd::geteuid().is_root();
            usual_data_dir(root, env("XDG_DATA_HOME"), env("HOME")).ok_or_else(|| {
                Failure::usage("there is no home directory to keep the node in").next("say where with --data-dir DIR")
            })?
        }
    };
    // The daemon's children have other working directories.
    std::path::absolute(&dir).map_err(|error| Failure::usage(format!("data directory {}: {error}", dir.display())))
}

/// Puts the settings together.
///
/// # Errors
/// When the file cannot be read or holds what no setting is.
pub(crate) fn resolve(flags: DaemonFlags, data_dir: PathBuf) -> Result<Settings, Failure> {
    let file = read_file(flags.config.as_deref(), &data_dir)?;
    let opener = opener(&flags.opener, &OpenerVars::read(), &file)?;
    let on_all = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let advertise = if flags.advertise.is_empty() { file.advertise } else { flags.advertise };
    let daemon = DaemonConfig {
        data_dir,
        listen: flags.listen.or(file.listen).unwrap_or_else(|| on_all(PEER_PORT)),
        api: flags.api.or(file.api).unwrap_or_else(|| on_all(API_PORT)),
        advertise,
        runtime: flags.runtime.or(file.runtime).unwrap_or(Runtime::Auto).into(),
        docker_host: flags.docker_host.or(file.docker_host),
        name: flags.name.or(file.name),
        join: None,
        discard: false,
        opener,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        planted: None,
    };
    Ok(Settings { daemon, log: flags.log.or(file.log).unwrap_or_else(|| "info".to_owned()) })
}

/// What opens a data directory, of what was said in flags, in the environment or in the settings' file; the key beside it
/// if nothing was.
///
/// # Errors
/// When a file cannot be read, or there is no place beside the directory.
pub(crate) fn opener_of(flags: &OpenerFlags, config: Option<&Path>, data_dir: &Path) -> Result<Opener, Failure> {
    let file = read_file(config, data_dir)?;
    match opener(flags, &OpenerVars::read(), &file)? {
        Some(opener) => Ok(opener),
        None => Opener::beside(data_dir).map_err(|error| failure(&error)),
    }
}

/// What skein-node says in one sentence: what is wrong and, after a semicolon, what to do.
pub(crate) fn failure(error: &dyn std::error::Error) -> Failure {
    let text = error.to_string();
    match text.rsplit_once("; ") {
        Some((what, next)) => Failure::new(what).next(next),
        None => Failure::new(text),
    }
}

/// What the environment says of what opens a data directory.
#[derive(Debug, Default)]
struct OpenerVars {
    seal_key: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    passphrase: Option<String>,
}

impl OpenerVars {
    fn read() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        OpenerVars {
            seal_key: path(SEAL_KEY),
            passphrase_file: path(PASSPHRASE_FILE),
            passphrase: std::env::var(PASSPHRASE).ok(),
        }
        .settled()
    }

    /// The same without an empty passphrase where something else opens the directory: in a unit's file that is one left out.
    fn settled(self) -> Self {
        let is_else = self.seal_key.is_some() || self.passphrase_file.is_some();
        OpenerVars { passphrase: self.passphrase.filter(|text| !(is_else && text.is_empty())), ..self }
    }
}

fn opener(flags: &OpenerFlags, vars: &OpenerVars, file: &FileSettings) -> Result<Option<Opener>, Failure> {
    let said = [
        (&flags.seal_key, &flags.passphrase_file, None, "--seal-key, --passphrase-file"),
        (
            &vars.seal_key,
            &vars.passphrase_file,
            vars.passphrase.as_deref(),
            "SKEIN_SEAL_KEY, SKEIN_PASSPHRASE_FILE, SKEIN_PASSPHRASE",
        ),
        (&file.seal_key, &file.passphrase_file, None, "seal-key, passphrase-file (in the settings' file)"),
    ];
    for (seal_key, passphrase_file, passphrase, names) in said {
        let opener = match (seal_key, passphrase_file, passphrase) {
            (None, None, None) => continue,
            // The daemon may be started elsewhere than where the path was written.
            (Some(path), None, None) => Ok(Opener::KeyFile(std::path::absolute(path).unwrap_or_else(|_| path.clone()))),
            (None, Some(path), None) => Opener::passphrase_file(path),
            (None, None, Some(text)) => Opener::passphrase(text),
            _ => {
                let what = format!("more than one of these says what opens the data directory: {names}");
                return Err(Failure::usage(what).next("leave all but one out"));
            }
        };
        return opener.map(Some).map_err(|error| failure(&error));
    }
    Ok(None)
}

fn usual_data_dir(root: bool, xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    if root {
        return Some(PathBuf::from(ROOT_DATA_DIR));
    }
    // The convention says that a relative path there counts as none.
    let base = xdg.filter(|path| path.is_absolute()).or_else(|| Some(home?.join(".local/share")));
    base.map(|base| base.join("skein"))
}

fn read_file(config: Option<&Path>, data_dir: &Path) -> Result<FileSettings, Failure> {
    let path = config.map_or_else(|| data_dir.join(FILE_NAME), Path::to_owned);
    match std::fs::read_to_string(&path) {
        Ok(text) => FileSettings::read(&path, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && config.is_none() => Ok(FileSettings::default()),
        Err(error) => Err(Failure::usage(format!("the settings' file {}: {error}", path.display()))
            .next("say which one to read with --config FILE")),
    }
}

/// What a settings' file says.
#[derive(Debug, Default, PartialEq)]
struct FileSettings {
    listen: Option<SocketAddr>,
    api: Option<SocketAddr>,
    advertise: Vec<SocketAddr>,
    runtime: Option<Runtime>,
    docker_host: Option<String>,
    name: Option<String>,
    log: Option<String>,
    seal_key: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
}

impl FileSettings {
    fn read(path: &Path, text: &str) -> Result<Self, Failure> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            Failure::usage(format!("{}, line {line}: {}", path.display(), error.message()))
                .next("it is a TOML file: one setting on each line, such as name = \"node-1\"")
        })?;
        let mut settings = FileSettings::default();
        for (key, value) in &table {
            settings.set(key, value).map_err(|wrong| {
                Failure::usage(format!("{}: {key}: {wrong}", path.display())).next(format!("settings are: {KEYS}"))
            })?;
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match key {
            "listen" => self.listen = Some(address(value)?),
            "api" => self.api = Some(address(value)?),
            "advertise" => {
                let list = value.as_array().ok_or_else(|| expected("a list of \"IP:PORT\"", value))?;
                self.advertise = list.iter().map(address).collect::<Result<_, _>>()?;
            }
            "runtime" => {
                let known = Runtime::from_str(text(value, "\"docker\", \"process\" or \"auto\"")?, false);
                self.runtime = Some(known.map_err(|_| expected("\"docker\", \"process\" or \"auto\"", value))?);
            }
            "docker-host" => {
                let wanted = "a URL such as \"unix:///run/docker.sock\"";
                self.docker_host = Some(text(value, wanted)?.to_owned());
            }
            "name" => self.name = Some(units::node_name(text(value, "a name such as \"node-1\"")?)?),
            "log" => self.log = Some(text(value, "a level such as \"info\"")?.to_owned()),
            "seal-key" => self.seal_key = Some(text(value, "a path such as \"/media/stick/skein.seal\"")?.into()),
            "passphrase-file" => {
                self.passphrase_file = Some(text(value, "a path such as \"/run/skein.words\"")?.into());
            }
            _ => return Err("there is no such setting".to_owned()),
        }
        Ok(())
    }
}

fn address(value: &Value) -> Result<SocketAddr, String> {
    let wanted = "an address such as \"192.0.2.7:7311\"";
    text(value, wanted)?.parse().map_err(|_| expected(wanted, value))
}

fn text<'a>(value: &'a Value, wanted: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| expected(wanted, value))
}

fn expected(wanted: &str, found: &Value) -> String {
    format!("expected {wanted}, found {} {found}", found.type_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<FileSettings, Failure> {
        FileSettings::read(Path::new("/d/skein.toml"), text)
    }

    #[test]
    fn a_flag_counts_more_than_the_file_and_the_file_more_than_the_default() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), "listen = \"10.0.0.1:1\"\nname = \"filed\"\nlog = \"debug\"\n")
            .unwrap();
        let flags = DaemonFlags { name: Some("flagged".into()), ..DaemonFlags::default() };
        let settings = resolve(flags, dir.path().to_owned()).unwrap();
        assert_eq!(settings.daemon.name.as_deref(), Some("flagged"));
        assert_eq!(settings.daemon.listen, "10.0.0.1:1".parse().unwrap());
        assert_eq!(settings.daemon.api, "0.0.0.0:7443".parse().unwrap());
        assert_eq!(settings.log, "debug");
    }

    #[test]
    fn no_file_is_no_failure_unless_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        assert!(resolve(DaemonFlags::default(), dir.path().to_owned()).is_ok());
        let flags = DaemonFlags { config: Some(dir.path().join("other.toml")), ..DaemonFlags::default() };
        assert!(resolve(flags, dir.path().to_owned()).unwrap_err().to_string().contains("other.toml"));
    }

    #[test]
    fn every_setting_can_be_in_the_file() {
        let text = "listen = \"[::]:1\"\napi = \"0.0.0.0:2\"\nadvertise = [\"192.0.2.1:3\"]\nruntime = \"docker\"\n\
                    docker-host = \"unix:///d.sock\"\nname = \"n\"\nlog = \"warn\"\n\
                    seal-key = \"/s\"\npassphrase-file = \"/p\"\n";
        let settings = read(text).unwrap();
        assert_eq!(settings.advertise, ["192.0.2.1:3".parse().unwrap()]);
        assert_eq!(settings.runtime, Some(Runtime::Docker));
        for key in KEYS.split(", ") {
            assert!(text.contains(&format!("{key} = ")), "{key}");
        }
    }

    #[test]
    fn what_opens_the_directory_is_what_was_said_last() {
        let dir = tempfile::tempdir().unwrap();
        let words = dir.path().join("words");
        std::fs::write(&words, "several words\n").unwrap();
        let none = OpenerFlags::default;
        let file = FileSettings { seal_key: Some("/s".into()), ..FileSettings::default() };
        let vars = |passphrase: Option<&str>| OpenerVars {
            passphrase: passphrase.map(str::to_owned),
            ..OpenerVars::default()
        };
        let kind = |flags, passphrase, file: &FileSettings| match opener(&flags, &vars(passphrase), file).unwrap() {
            Some(Opener::KeyFile(path)) => path.display().to_string(),
            Some(Opener::Passphrase(text)) => text.to_string(),
            None => "nothing".to_owned(),
        };
        assert_eq!(kind(none(), None, &FileSettings::default()), "nothing");
        assert_eq!(kind(none(), None, &file), "/s");
        assert_eq!(kind(none(), Some("other words"), &file), "other words");
        let flag = OpenerFlags { passphrase_file: Some(words), ..none() };
        assert_eq!(kind(flag, Some("other words"), &file), "several words");
        let flag = OpenerFlags { seal_key: Some("/k".into()), ..none() };
        assert_eq!(kind(flag, Some("other words"), &file), "/k");
        assert!(opener(&none(), &vars(Some("")), &file).is_err());
        let both = OpenerVars { seal_key: Some("/e".into()), ..vars(Some("other words")) };
        assert!(opener(&none(), &both, &file).unwrap_err().to_string().contains("SKEIN_SEAL_KEY"));
        let flag = OpenerFlags { seal_key: Some("/k".into()), ..none() };
        let empty = OpenerVars { seal_key: Some("/e".into()), ..vars(Some("")) };
        assert!(opener(&none(), &empty.settled(), &file).is_ok(), "an empty variable is none");
        assert!(opener(&flag, &both, &file).is_ok(), "a flag makes up for whatever the environment says");
    }

    #[test]
    fn what_the_daemon_says_to_do_next_gets_a_line_of_its_own() {
        let error = std::io::Error::other("the disk is full; make room");
        assert_eq!(failure(&error), Failure::new("the disk is full").next("make room"));
        assert_eq!(failure(&std::io::Error::other("no")), Failure::new("no"));
    }

    #[test]
    fn a_mistake_in_the_file_is_named_with_file_key_and_what_was_expected() {
        let cases = [
            ("lisen = \"10.0.0.1:1\"", "/d/skein.toml: lisen: there is no such setting"),
            (
                "listen = 7311",
                "/d/skein.toml: listen: expected an address such as \"192.0.2.7:7311\", found integer 7311",
            ),
            ("api = \"here\"", "/d/skein.toml: api: expected an address"),
            ("advertise = \"10.0.0.1:1\"", "/d/skein.toml: advertise: expected a list"),
            (
                "runtime = \"podman\"",
                "/d/skein.toml: runtime: expected \"docker\", \"process\" or \"auto\", found string",
            ),
            ("name = \"No\"", "/d/skein.toml: name: a node's name"),
            ("name = \"a\"\nlog = ", "/d/skein.toml, line 2: "),
        ];
        for (text, wanted) in cases {
            let said = read(text).unwrap_err().to_string();
            assert!(said.starts_with(wanted), "{said}");
        }
    }

    #[test]
    fn a_user_s_data_is_where_users_data_belong() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(usual_data_dir(true, path("/x"), path("/root")), path("/var/lib/skein"));
        assert_eq!(usual_data_dir(false, path("/x"), path("/home/a")), path("/x/skein"));
        assert_eq!(usual_data_dir(false, path("x"), path("/home/a")), path("/home/a/.local/share/skein"));
        assert_eq!(usual_data_dir(false, None, None), None);
    }
}
