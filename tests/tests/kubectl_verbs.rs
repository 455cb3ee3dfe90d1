//! Every verb of kubectl, with a recent kubectl and with that of Debian 12, at a peer that does not run the pods: what a person
//! types, its exit code, and what it must print. docs/kubectl.md is the table of them, written from this file and held against it.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use skein_tests::cluster::Cluster;
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::requirements;
use skein_tests::steps::{Steps, say};

#[path = "kubectl_verbs/rows.rs"]
mod rows;

use rows::{ROWS, Row};

/// Where `tests/install` puts the kubectl of Debian 12, if another one is on the PATH.
const OLD_KUBECTL: &str = "/usr/local/lib/skein/kubectl-1.20/usr/bin/kubectl";
/// Asked for here.
const ASKED: usize = 1;
/// How long one verb may take.
const WITHIN_S: u32 = 60;
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kubectl.md");
/// Set to write the table anew.
const REWRITE: &str = "SKEIN_WRITE_TABLE";

#[test]
fn the_table_in_the_documentation_is_that_of_these_rows() {
    let table = table();
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(TABLE, &table).unwrap();
    }
    let written = std::fs::read_to_string(TABLE).unwrap_or_default();
    assert!(
        written == table,
        "docs/kubectl.md is not up to date: {REWRITE}=1 cargo test -p skein-tests --test kubectl_verbs"
    );
}

#[test]
fn every_verb_does_what_the_table_says() -> Outcome<()> {
    let mut steps = Steps::of("kubectl's verbs");
    let mut cluster = Cluster::form(Lab::with_engines(3)?, 3)?;
    for kubectl in kubectls()? {
        let version = version_of(&kubectl)?;
        say(&format!("-- kubectl 1.{version}"));
        let bench = Bench::new(&cluster, &kubectl, version)?;
        let outcomes: Vec<_> = ROWS.iter().map(|row| (row, bench.run(row))).collect();
        for (row, outcome) in outcomes {
            let mut outcome = Some(outcome);
            let take = || outcome.take().unwrap_or_else(|| Ok(String::new()));
            steps.run(&format!("1.{version}: {}", row.title()), take, || cluster.evidence());
        }
    }
    steps.end()
}

/// The kubectl on the PATH and the old one.
fn kubectls() -> Outcome<Vec<PathBuf>> {
    let on_path = requirements::find("kubectl");
    let on_path = on_path.ok_or_else(|| Failure::new("the test needs kubectl; `tests/run` installs it"))?;
    let old = PathBuf::from(OLD_KUBECTL);
    ensure(old.is_file() || version_of(&on_path)? == 20, || {
        "the test needs the kubectl of Debian 12, too; `tests/run` installs it".to_owned()
    })?;
    Ok([on_path, old].into_iter().filter(|path| path.is_file()).collect())
}

fn version_of(kubectl: &Path) -> Outcome<u32> {
    let output = std::process::Command::new(kubectl).args(["version", "--client", "-o", "json"]).output()?;
    let version: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let minor = version["clientVersion"]["minor"].as_str().unwrap_or_default();
    Ok(minor.trim_matches(|c: char| !c.is_ascii_digit()).parse()?)
}

/// A directory with the manifests and one kubectl, in a namespace of its own.
struct Bench<'a> {
    cluster: &'a Cluster,
    version: u32,
    directory: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(cluster: &'a Cluster, kubectl: &Path, version: u32) -> Outcome<Self> {
        let directory = cluster.lab().directory().join(format!("kubectl-1.{version}"));
        std::fs::create_dir_all(directory.join("bin"))?;
        symlink(kubectl, directory.join("bin/kubectl"))?;
        for (name, text) in rows::FILES {
            std::fs::write(directory.join(name), text)?;
        }
        Ok(Self { cluster, version, directory })
    }

    fn run(&self, row: &Row) -> Outcome<String> {
        if self.version < row.since {
            return Ok(format!("comes with kubectl 1.{}", row.since));
        }
        let begun = Instant::now();
        let (code, said) = self.shell(row.script)?;
        let missing: Vec<&&str> = row.says.iter().filter(|words| !said.contains(**words)).collect();
        let works = code == 0 && missing.is_empty();
        ensure(works, || format!("exit {code}, {missing:?} missing: $ {}\n{said}", row.script))?;
        Ok(format!("{:.1} s", begun.elapsed().as_secs_f64()))
    }

    /// Runs a line as a person would who sits at the host. Returns its exit code, and all that it printed.
    fn shell(&self, script: &str) -> Outcome<(i32, String)> {
        let mut command = self.cluster.lab().host(ASKED).netns.command("timeout");
        command.args(["-k", "5", &WITHIN_S.to_string(), "bash", "-o", "pipefail", "-c", script]);
        let path = std::env::var("PATH").unwrap_or_default();
        let kubectl = self.cluster.kubectl(ASKED)?;
        let kubeconfig = kubectl.get_envs().find(|(name, _)| *name == "KUBECONFIG");
        let kubeconfig = kubeconfig.and_then(|(_, value)| value).map(PathBuf::from).unwrap_or_default();
        let own = self.directory.join("kubeconfig");
        if !own.exists() {
            std::fs::copy(&kubeconfig, &own)?;
        }
        command.env("HOME", &self.directory).env("KUBECONFIG", &own).env("NS", format!("verbs-{}", self.version));
        command.env("PATH", format!("{}:{path}", self.directory.join("bin").display())).env("KUBE_EDITOR", "./edit.sh");
        let output = command.current_dir(&self.directory).stdin(Stdio::null()).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned()))
    }
}

fn table() -> String {
    let mut text = String::from(
        "# kubectl, verb by verb\n\n\
         What works with an unmodified kubectl 1.32 and 1.20, asked of a peer that does not run the pods. Each line is run by\n\
         `tests/tests/kubectl_verbs.rs`, from which this page is written.\n\n\
         | verb | what is typed | 1.20 | 1.32 |\n|---|---|---|---|\n",
    );
    for row in ROWS {
        let works = |version: u32| if version < row.since { "(newer)" } else { "yes" };
        let script = row.script.replace('|', "\\|").replace("&&", ";");
        let _ = writeln!(text, "| {} | `{script}` | {} | {} |", row.verb, works(20), works(32));
    }
    text
}
