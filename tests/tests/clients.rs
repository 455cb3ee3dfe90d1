//! Clients that are not kubectl, unmodified, each with a program of its own in `tests/clients`.

#![allow(clippy::unwrap_used)]

use std::process::Stdio;

use skein_tests::cluster::Cluster;
use skein_tests::failure::{Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::steps::{Steps, say};

/// Where `tests/install` puts a Python with Kubernetes' client.
const PYTHON: &str = "/usr/local/lib/skein/python/bin/python";
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python_client.py");

#[test]
fn programs_on_the_python_client_find_what_they_expect() -> Outcome<()> {
    let mut steps = Steps::of("clients");
    let mut cluster = Cluster::form(Lab::with_engines(3)?, 3)?;
    let outcome = python(&cluster);
    let mut outcome = Some(outcome);
    steps.run("the Python client", || outcome.take().unwrap_or_else(|| Ok(String::new())), || cluster.evidence());
    steps.end()
}

/// The pods run on h3; h1 and h2 are asked.
fn python(cluster: &Cluster) -> Outcome<String> {
    ensure(std::path::Path::new(PYTHON).is_file(), || {
        "the test needs Python with Kubernetes' client; `tests/run` installs it".to_owned()
    })?;
    let kubeconfig = |host: usize| -> Outcome<std::ffi::OsString> {
        let command = cluster.kubectl(host)?;
        let found = command.get_envs().find(|(name, _)| *name == "KUBECONFIG").and_then(|(_, value)| value);
        Ok(found.unwrap_or_default().to_owned())
    };
    let mut command = cluster.lab().host(1).netns.command(PYTHON);
    command.arg(PROGRAM).arg(kubeconfig(1)?).arg(kubeconfig(2)?);
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().for_each(say);
    ensure(output.status.success(), || format!("{said}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(String::new())
}
