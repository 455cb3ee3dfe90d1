//! Clients that are not kubectl, unmodified, each with a program of its own in `tests/clients`.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Stdio;

use skein_tests::cluster::{Cluster, kubeconfig_path};
use skein_tests::failure::{Outcome, ensure};
use skein_tests::image;
use skein_tests::lab::Lab;
use skein_tests::steps::{Steps, say};

/// Where `tests/install` puts a Python with Kubernetes' client.
const PYTHON: &str = "/usr/local/lib/skein/python/bin/python";
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python_client.py");
const HELM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/helm_client.py");

type Program = fn(&Cluster) -> Outcome<()>;

const PROGRAMS: [(&str, Program); 2] = [("the Python client", client), ("Helm", helm)];

#[test]
fn programs_on_other_clients_find_what_they_expect() -> Outcome<()> {
    let mut steps = Steps::of("clients");
    let mut cluster = Cluster::form(Lab::with_engines(3)?, 3)?;
    let shared = std::cell::RefCell::new(&mut cluster);
    for (name, program) in PROGRAMS {
        let run = || program(&shared.borrow()).map(|()| String::new());
        steps.run(name, run, || shared.borrow_mut().evidence());
    }
    steps.end()
}

/// The pods run on h3; h1 and h2 are asked.
fn client(cluster: &Cluster) -> Outcome<()> {
    python(cluster, CLIENT, &[kubeconfig_path(cluster.lab(), 1), kubeconfig_path(cluster.lab(), 2)])
}

/// Its commands are given to all three.
fn helm(cluster: &Cluster) -> Outcome<()> {
    let directory = cluster.lab().directory().join("helm");
    std::fs::create_dir_all(&directory)?;
    let tar = directory.join("stand-in.tar");
    image::write_stand_in(&tar, &[])?;
    let tar = std::fs::read(tar)?;
    let entrypoint = format!("ENTRYPOINT [\"{}\"]", image::STAND_IN);
    for host in cluster.lab().hosts() {
        for name in ["stand-in/helm:1", "stand-in/helm:2"] {
            host.engine()?.import(name, &tar, &[&entrypoint, "ENV LISTEN=8080"])?;
        }
    }
    let kubeconfigs = cluster.members().into_iter().map(|number| kubeconfig_path(cluster.lab(), number));
    python(cluster, HELM, &[directory].into_iter().chain(kubeconfigs).collect::<Vec<_>>())
}

/// Runs a program on h1.
fn python(cluster: &Cluster, program: &str, arguments: &[PathBuf]) -> Outcome<()> {
    ensure(Path::new(PYTHON).is_file(), || {
        "the test needs Python with Kubernetes' client and Helm's library; `tests/run` installs them".to_owned()
    })?;
    let host = cluster.lab().host(1);
    let mut command = host.netns.command(PYTHON);
    // Nothing of this machine's settings is seen.
    command.arg(program).args(arguments).env("HOME", &host.directory);
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().for_each(say);
    ensure(output.status.success(), || format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
}
