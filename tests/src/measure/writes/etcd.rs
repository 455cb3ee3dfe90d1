//! etcd's side: Debian's etcd-server, its JSON gateway over HTTPS, members speaking TLS among themselves as skein's do Noise.

use std::fs::File;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::unistd::Pid;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use super::Store;
use crate::failure::{Failure, Outcome, ensure};
use crate::http::{Connection, Request, Response};
use crate::lab::{Host, Lab};
use crate::netns::Netns;
use crate::process::Process;
use crate::requirements;
use crate::wait::eventually;

const WITHIN: Duration = Duration::from_secs(5);
const STARTED: Duration = Duration::from_secs(30);

/// An etcd cluster; killed when dropped.
pub struct Etcd {
    members: Vec<Member>,
    tls: Arc<ClientConfig>,
}

struct Member {
    netns: Netns,
    address: std::net::IpAddr,
    process: Process,
}

impl Etcd {
    /// Starts members on the first hosts of a lab, and waits until each takes writes.
    ///
    /// # Errors
    /// When there is no etcd, or it does not start.
    pub fn start(lab: &Lab, members: usize) -> Outcome<Self> {
        let etcd = requirements::find("etcd").ok_or_else(|| Failure::new("there is no etcd; install etcd-server"))?;
        let hosts = &lab.hosts()[..members];
        let (tls, files) = certificates(lab, hosts)?;
        let peers: Vec<String> =
            hosts.iter().map(|host| format!("{}=https://{}:2380", host.name, host.address())).collect();
        let mut this = Self { members: Vec::new(), tls };
        for host in hosts {
            let address = host.address();
            let log = File::create(host.directory.join("etcd.log"))?;
            let mut command = host.netns.command(&etcd);
            command.arg("--data-dir").arg(host.directory.join("etcd")).args(["--name", &host.name, "--peer-auto-tls"]);
            command.args(["--cert-file", &files.0, "--key-file", &files.1]);
            command.args(["--initial-cluster", &peers.join(","), "--initial-cluster-state", "new"]);
            for (flag, port) in [("client", 2379), ("peer", 2380)] {
                command.arg(format!("--listen-{flag}-urls=https://{address}:{port}"));
            }
            command.arg(format!("--advertise-client-urls=https://{address}:2379"));
            command.arg(format!("--initial-advertise-peer-urls=https://{address}:2380"));
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            let process = Process::of(command.spawn()?);
            this.members.push(Member { netns: host.netns.clone(), address, process });
        }
        for member in 0..members {
            let write = || this.put(member, &mut this.connect(member)?, "first", "value", true);
            eventually(&format!("etcd on {}", this.members[member].address), STARTED, write)?;
        }
        Ok(this)
    }

    fn call(&self, connection: &mut Connection, path: &str, body: &Value) -> Outcome<Response> {
        let body = body.to_string();
        let headers = [("Content-Type", "application/json")];
        Ok(connection.call(&Request { method: "POST", path, headers: &headers, body: body.as_bytes() }, WITHIN)?)
    }
}

impl Store for Etcd {
    const NAME: &'static str = "etcd";

    fn members(&self) -> Vec<(Netns, Pid)> {
        self.members.iter().map(|member| (member.netns.clone(), member.process.pid())).collect()
    }

    fn connect(&self, member: usize) -> Outcome<Connection> {
        let Member { netns, address, .. } = &self.members[member];
        let tcp = netns.connect((*address, 2379).into(), WITHIN)?;
        Ok(Connection::tls(tcp, &address.to_string(), Arc::clone(&self.tls))?)
    }

    fn put(&self, _: usize, connection: &mut Connection, key: &str, value: &str, _: bool) -> Outcome<()> {
        let body = json!({"key": STANDARD.encode(key), "value": STANDARD.encode(value)});
        let answer = self.call(connection, "/v3/kv/put", &body)?;
        ensure(answer.status == 200, || format!("{}: {}", answer.status, answer.text()))
    }

    fn watch(&self, _: usize, connection: &mut Connection) -> Outcome<()> {
        // From the first key to the end: a zero byte stands for no end.
        let body =
            json!({"create_request": {"key": STANDARD.encode([0]), "range_end": STANDARD.encode([0])}}).to_string();
        let headers = [("Content-Type", "application/json")];
        let request = Request { method: "POST", path: "/v3/watch", headers: &headers, body: body.as_bytes() };
        let answer = connection.open(&request, WITHIN)?;
        ensure(answer.status == 200, || format!("{}: {}", answer.status, answer.text()))?;
        // Its first piece says that the watch is there.
        let created = connection.more(WITHIN)?.unwrap_or_default();
        let created = String::from_utf8_lossy(&created).into_owned();
        ensure(created.contains("created"), || format!("the watch was not created: {created}"))
    }

    fn sign_of(&self, key: &str) -> String {
        format!("\"{}\"", STANDARD.encode(key))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.members.iter_mut().for_each(|member| member.process.kill9());
    }
}

/// A certificate for all members, which clients trust as it is. Returns what clients need, and the files for the members.
fn certificates(lab: &Lab, hosts: &[Host]) -> Outcome<(Arc<ClientConfig>, (String, String))> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = hosts.iter().map(|host| SanType::IpAddress(host.address())).collect();
    let certificate = params.self_signed(&key)?;
    let files = ["etcd.crt", "etcd.key"].map(|name| lab.directory().join(name));
    std::fs::write(&files[0], certificate.pem())?;
    std::fs::write(&files[1], key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate.der().to_vec()))?;
    let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let [certificate, key] = files.map(|file| file.to_string_lossy().into_owned());
    Ok((Arc::new(tls), (certificate, key)))
}
