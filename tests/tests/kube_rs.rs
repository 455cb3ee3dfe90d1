//! kube-rs, the client that programs in Rust use, unmodified: what such programs do, each call at another peer.

#![allow(clippy::unwrap_used)]

#[path = "kube_rs/objects.rs"]
mod objects;
#[path = "kube_rs/sessions.rs"]
mod sessions;
#[path = "kube_rs/watches.rs"]
mod watches;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use skein_tests::cluster::{Cluster, kubeconfig_path};
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::netns::Netns;
use skein_tests::steps::Steps;

/// How long a step may take.
const WITHIN: Duration = Duration::from_secs(40);
/// How long news may take from peer to peer.
const SOON: Duration = Duration::from_secs(10);
const NAMESPACE: &str = "programs";

type Step = fn(&mut Cluster) -> Outcome<String>;

const STEPS: [(&str, Step); 10] = [
    ("create, get and list at three peers", objects::created),
    ("merge patch, strategic merge patch, replace", objects::patched),
    ("server-side apply, its conflict, and force", objects::applied),
    ("delete with preconditions, and by labels", objects::deleted),
    ("exec with its input and its exit code", sessions::executed),
    ("logs, also as they come", sessions::logged),
    ("port-forward", sessions::forwarded),
    ("a program waits until a Deployment is rolled out", watches::awaited),
    ("a reflector goes on when its peer dies", watches::reflected),
    ("two programs elect a leader by a Lease", watches::elected),
];

#[test]
fn programs_on_kube_rs_find_what_they_expect() -> Outcome<()> {
    let mut steps = Steps::of("kube-rs");
    let mut cluster = Cluster::form(Lab::with_engines(3)?, 3)?;
    cluster.namespace(NAMESPACE)?;
    let shared = std::cell::RefCell::new(&mut cluster);
    for (name, step) in STEPS {
        steps.run(name, || step(&mut shared.borrow_mut()), || shared.borrow_mut().evidence());
    }
    steps.end()
}

/// Where programs run, and how they find the peers.
#[derive(Clone)]
struct Programs {
    netns: Netns,
    kubeconfigs: Vec<PathBuf>,
}

impl Programs {
    /// All of them run on h1.
    fn on(cluster: &Cluster) -> Self {
        let kubeconfigs = cluster.members().into_iter().map(|number| kubeconfig_path(cluster.lab(), number));
        Self { netns: cluster.lab().host(1).netns.clone(), kubeconfigs: kubeconfigs.collect() }
    }

    /// Runs a program to its end.
    fn run<T: Send>(&self, program: impl AsyncFnOnce() -> Outcome<T> + Send) -> Outcome<T> {
        self.netns.inside(|| {
            // All of its sockets are opened by this thread, in the namespace.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let late = || Failure::new(format!("it did not end within {} s", WITHIN.as_secs()));
                tokio::time::timeout(WITHIN, program()).await.map_err(|_| late())?
            })
        })?
    }

    /// How to reach a peer.
    async fn config(&self, peer: usize) -> Outcome<Config> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfigs[peer - 1])?;
        Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }

    /// The objects of a kind in the tests' namespace, at a peer.
    async fn api<K>(&self, peer: usize) -> Outcome<Api<K>>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Ok(Api::namespaced(Client::try_from(self.config(peer).await?)?, NAMESPACE))
    }

    /// The same at all three peers.
    async fn everywhere<K>(&self) -> Outcome<[Api<K>; 3]>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Ok([self.api(1).await?, self.api(2).await?, self.api(3).await?])
    }
}

/// Looks again and again until `look` succeeds.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Outcome<T>) -> Outcome<T> {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(reason) if begun.elapsed() >= SOON => return Err(reason.while_doing(format!("{what} is not soon"))),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Fails unless the server refused with that code. Returns what it said.
fn refused<T: std::fmt::Debug>(answer: kube::Result<T>, code: u16) -> Outcome<String> {
    match answer {
        Err(kube::Error::Api(status)) => {
            ensure(status.code == code, || format!("refused with {}: {status:?}", status.code))?;
            Ok(status.message)
        }
        other => Err(Failure::new(format!("it was to be refused with {code}, and there is {other:?}"))),
    }
}
