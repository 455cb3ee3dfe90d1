//! Manifests of public projects, of which nothing is changed but the images: applied, updated, rolled back and deleted with kubectl,
//! each time at another peer. `tests/install` puts them where they are read here; the images stand in for the projects' own.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use skein_tests::cluster::Cluster;
use skein_tests::engine::Container;
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::image;
use skein_tests::lab::Lab;
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

/// Where `tests/install` puts Kubernetes' manifests, out of Debian's sources of it (Apache-2.0).
const KUBERNETES: &str = "/usr/local/lib/skein/manifests/kubernetes";
const SOON: Duration = Duration::from_secs(20);
const ROLLED_OUT: Duration = Duration::from_secs(60);
/// What may be left behind. The account and the ConfigMap that each namespace has stay.
const KINDS: &str = "pods,replicasets,deployments,services,endpoints,endpointslices,configmaps,secrets,serviceaccounts";
/// The programs that the manifests name.
const PROGRAMS: [&str; 1] = ["/bin/redis-server"];

/// What a project wants applied.
struct Project {
    name: &'static str,
    namespace: &'static str,
    /// Below [`KUBERNETES`].
    files: &'static [&'static str],
    /// What the project itself wants filled in, and with what.
    fill: &'static [(&'static str, &'static str)],
    /// Its images, and the ports that stand-ins for them answer on.
    images: &'static [(&'static str, &'static str)],
    /// Its Deployments, each with how many pods and how many containers in each.
    deployments: &'static [(&'static str, usize, usize)],
    /// Which container of the first Deployment gets another image. `None`: all of them do, by an edited manifest.
    updated: Option<&'static str>,
}

/// As the addon manager fills them in.
const DNS: [(&str, &str); 3] =
    [("dns_domain", "cluster.local"), ("dns_server", "10.96.0.10"), ("dns_memory_limit", "170Mi")];

const PROJECTS: [Project; 3] = [
    Project {
        name: "the guestbook",
        namespace: "guestbook",
        files: &[
            "test/e2e/testing-manifests/guestbook/frontend-deployment.yaml.in",
            "test/e2e/testing-manifests/guestbook/frontend-service.yaml",
            "test/e2e/testing-manifests/guestbook/redis-master-deployment.yaml.in",
            "test/e2e/testing-manifests/guestbook/redis-master-service.yaml",
            "test/e2e/testing-manifests/guestbook/redis-slave-deployment.yaml.in",
            "test/e2e/testing-manifests/guestbook/redis-slave-service.yaml",
        ],
        fill: &[],
        images: &[("{{.AgnhostImage}}", "80"), ("{{.RedisImage}}", "6379")],
        deployments: &[("frontend", 3, 1), ("redis-master", 1, 1), ("redis-slave", 2, 1)],
        updated: Some("guestbook-frontend"),
    },
    // Three containers with probes, settings of users and powers, and files out of a ConfigMap.
    Project {
        name: "kube-dns",
        namespace: "kube-system",
        files: &["cluster/addons/dns/kube-dns/kube-dns.yaml.in"],
        fill: &DNS,
        images: &[
            ("k8s.gcr.io/k8s-dns-kube-dns:1.15.10", "8081,10053,10055"),
            ("k8s.gcr.io/k8s-dns-dnsmasq-nanny:1.15.10", "53"),
            ("k8s.gcr.io/k8s-dns-sidecar:1.15.10", "10054"),
        ],
        deployments: &[("kube-dns", 1, 3)],
        updated: None,
    },
    // Roles, a ConfigMap with a file, and a container that may write nothing.
    Project {
        name: "CoreDNS",
        namespace: "kube-system",
        files: &["cluster/addons/dns/coredns/coredns.yaml.in"],
        fill: &DNS,
        images: &[("k8s.gcr.io/coredns:1.7.0", "8080,8181,9153")],
        deployments: &[("coredns", 1, 1)],
        updated: Some("coredns"),
    },
];

#[test]
fn manifests_of_public_projects_work_as_they_are() -> Outcome<()> {
    let mut steps = Steps::of("manifests of public projects");
    let mut cluster = Cluster::form(Lab::with_engines(3)?, 3)?;
    stand_ins(&cluster)?;
    let shared = std::cell::RefCell::new(&mut cluster);
    for (turn, project) in PROJECTS.iter().enumerate() {
        let mut before = Vec::new();
        for (name, step) in STEPS {
            let run = || step(&Bench { cluster: &shared.borrow(), project, turn }, &mut before);
            steps.run(&format!("{}: {name}", project.name), run, || shared.borrow_mut().evidence());
        }
    }
    steps.end()
}

struct Bench<'a> {
    cluster: &'a Cluster,
    project: &'a Project,
    /// Begins at another peer than the project before.
    turn: usize,
}

/// The second is what there was before the project.
type Step = fn(&Bench<'_>, &mut Vec<String>) -> Outcome<String>;

const STEPS: [(&str, Step); 6] = [
    ("applied as it is, it gets ready", |bench, before| {
        *before = objects_before(bench)?;
        applied(bench)
    }),
    ("updated, it rolls out", |bench, _| updated(bench)),
    ("undone, it is as before", |bench, _| undone(bench)),
    ("applied once more, it is unchanged", |bench, _| unchanged(bench)),
    ("diff finds nothing", |bench, _| same(bench)),
    ("deleted, nothing of it is left", |bench, before| deleted(bench, before)),
];

/// Makes the images on every host: each of every project's under a name of its own and with two tags.
fn stand_ins(cluster: &Cluster) -> Outcome<()> {
    let path = cluster.lab().directory().join("stand-in.tar");
    image::write_stand_in(&path, &PROGRAMS)?;
    let tar = std::fs::read(path)?;
    let entrypoint = format!("ENTRYPOINT [\"{}\"]", image::STAND_IN);
    for (project, number) in PROJECTS.iter().flat_map(|project| (0..project.images.len()).map(move |n| (project, n))) {
        let listen = format!("ENV LISTEN={}", project.images[number].1);
        for host in cluster.lab().hosts() {
            for edition in [1, 2] {
                host.engine()?.import(&project.image(number, edition), &tar, &[&entrypoint, &listen])?;
            }
        }
    }
    Ok(())
}

impl Project {
    /// What stands in for one of its images.
    fn image(&self, number: usize, edition: usize) -> String {
        format!("stand-in/{}-{number}:{edition}", self.deployments[0].0)
    }

    /// Its manifest with other images, and with what it wants filled in.
    fn manifest(&self, edition: usize) -> Outcome<String> {
        let mut manifest = String::new();
        for file in self.files {
            let path = Path::new(KUBERNETES).join(file);
            let missing = || Failure::new(format!("{} is missing; `tests/run` installs it", path.display()));
            let mut text = std::fs::read_to_string(&path).map_err(|_| missing())?;
            for (name, value) in self.fill {
                text = text.replace(name, value);
            }
            for line in text.lines() {
                manifest.push_str(&self.with_image(line, edition)?);
                manifest.push('\n');
            }
            manifest.push_str("---\n");
        }
        Ok(manifest)
    }

    fn with_image(&self, line: &str, edition: usize) -> Outcome<String> {
        let content = line.trim_start().trim_start_matches("- ");
        let Some(original) = content.strip_prefix("image:").map(str::trim) else { return Ok(line.to_owned()) };
        let number = self.images.iter().position(|(name, _)| *name == original);
        let number = number.ok_or_else(|| Failure::new(format!("nothing stands in for the image {original}")))?;
        Ok(line.replace(original, &self.image(number, edition)))
    }

    fn pods(&self) -> usize {
        self.deployments.iter().map(|(_, pods, _)| pods).sum()
    }

    fn containers(&self) -> usize {
        self.deployments.iter().map(|(_, pods, containers)| pods * containers).sum()
    }
}

impl Bench<'_> {
    /// Runs kubectl at the peer that is `turn` further.
    fn kubectl(&self, turn: usize, line: &str, input: &str) -> Outcome<String> {
        let mut arguments = vec!["-n", self.project.namespace];
        arguments.extend(line.split_whitespace());
        self.cluster.kubectl_says((self.turn + turn) % 3 + 1, &arguments, input)
    }

    fn get(&self, turn: usize, line: &str) -> Outcome<Value> {
        Ok(serde_json::from_str(&self.kubectl(turn, &format!("get {line} -o json"), "")?)?)
    }

    /// All Deployments are rolled out, as many pods are ready and as many containers run as the manifest says, and those of the
    /// first Deployment with images of that edition.
    fn rolled_out(&self, turn: usize, edition: usize) -> Outcome<()> {
        for (name, ..) in self.project.deployments {
            let line = format!("rollout status deployment/{name} --timeout={}s", ROLLED_OUT.as_secs());
            self.kubectl(turn, &line, "")?;
        }
        eventually("the pods that were asked for", SOON, || self.as_asked(turn, edition)).map(|_| ())
    }

    fn as_asked(&self, turn: usize, edition: usize) -> Outcome<()> {
        let pods = self.get(turn, "pods")?;
        let pods: Vec<&Value> = pods["items"].as_array().into_iter().flatten().collect();
        let is_ready = |pod: &&&Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        let (ready, wanted) = (pods.iter().filter(is_ready).count(), self.project.pods());
        ensure(ready == wanted && pods.len() == wanted, || {
            format!("{ready} of {} pods are ready, {wanted} were asked for", pods.len())
        })?;
        let containers = self.containers()?;
        let running = containers.iter().filter(|container| container.is_running()).count();
        let wanted = self.project.containers();
        ensure(running == wanted, || format!("{running} containers run, {wanted} were asked for"))?;
        let first = format!("{}-", self.project.deployments[0].0);
        let of_first = |container: &&Container| container.label("io.kubernetes.pod.name").starts_with(&first);
        let (is_of, tag) = (Container::is_running, format!(":{edition}"));
        let other =
            containers.iter().filter(of_first).find(|container| is_of(container) && !container.image.ends_with(&tag));
        ensure(other.is_none(), || format!("{other:?} has another image"))
    }

    /// The containers of the namespace's pods on all hosts, running or not, as the engines say.
    fn containers(&self) -> Outcome<Vec<Container>> {
        let label = format!("io.kubernetes.pod.namespace={}", self.project.namespace);
        let mut all = Vec::new();
        for host in self.cluster.lab().hosts() {
            all.extend(host.engine()?.containers(&label)?);
        }
        Ok(all)
    }

    /// The directories of volumes on all hosts.
    fn volumes(&self) -> Vec<String> {
        let directories = self.cluster.lab().hosts().iter().map(|host| host.directory.join("skein/volumes"));
        let entries = directories.flat_map(|directory| std::fs::read_dir(directory).into_iter().flatten().flatten());
        entries.map(|entry| entry.path().display().to_string()).collect()
    }

    /// All that a manifest could have made, by kind and name.
    fn objects(&self, turn: usize) -> Outcome<Vec<String>> {
        let all = self.kubectl(turn, &format!("get {KINDS} -o name"), "")?;
        let roles = self.kubectl(turn, "get clusterroles,clusterrolebindings -o name", "")?;
        let mut all: Vec<String> = all.lines().chain(roles.lines()).map(str::to_owned).collect();
        all.sort();
        Ok(all)
    }
}

/// What there was before, so that it is known what of it is the project's.
fn objects_before(bench: &Bench<'_>) -> Outcome<Vec<String>> {
    let name = bench.project.namespace;
    if !bench.cluster.api(1).exists(&format!("/api/v1/namespaces/{name}"))? {
        bench.cluster.namespace(name)?;
    }
    bench.objects(0)
}

fn applied(bench: &Bench<'_>) -> Outcome<String> {
    let said = bench.kubectl(0, "apply -f -", &bench.project.manifest(1)?)?;
    let other = said.lines().find(|line| !line.ends_with(" created"));
    ensure(other.is_none(), || format!("not all of it was created: {said}"))?;
    bench.rolled_out(1, 1)?;
    Ok(format!("{} objects, {} containers", said.lines().count(), bench.project.containers()))
}

fn updated(bench: &Bench<'_>) -> Outcome<String> {
    let project = bench.project;
    let (deployment, image) = (project.deployments[0].0, project.image(0, 2));
    match project.updated {
        Some(container) => bench.kubectl(2, &format!("set image deployment/{deployment} {container}={image}"), "")?,
        None => bench.kubectl(2, "apply -f -", &project.manifest(2)?)?,
    };
    bench.rolled_out(0, 2)?;
    Ok(String::new())
}

fn undone(bench: &Bench<'_>) -> Outcome<String> {
    let deployment = bench.project.deployments[0].0;
    let line = format!("deployment/{deployment}");
    let said = bench.kubectl(1, &format!("rollout undo {line}"), "")?;
    ensure(said.contains("rolled back"), || said.clone())?;
    bench.rolled_out(2, 1)?;
    let sets = bench.get(0, "replicasets")?;
    let sets = sets["items"].as_array().into_iter().flatten();
    let own = sets.filter(|set| set["metadata"]["ownerReferences"][0]["name"] == deployment).count();
    ensure(own == 2, || format!("{own} ReplicaSets belong to it: the former one was not taken again"))?;
    Ok(String::new())
}

fn unchanged(bench: &Bench<'_>) -> Outcome<String> {
    let manifest = bench.project.manifest(1)?;
    if bench.project.updated.is_none() {
        // What was applied last was the edited manifest.
        bench.kubectl(1, "apply -f -", &manifest)?;
    }
    let said = bench.kubectl(0, "apply -f -", &manifest)?;
    let other = said.lines().find(|line| !line.ends_with(" unchanged"));
    ensure(other.is_none(), || format!("not all of it is unchanged: {said}"))?;
    Ok(String::new())
}

fn same(bench: &Bench<'_>) -> Outcome<String> {
    let said = bench.kubectl(2, "diff -f -", &bench.project.manifest(1)?)?;
    ensure(said.is_empty(), || said.clone())?;
    Ok(String::new())
}

fn deleted(bench: &Bench<'_>, before: &[String]) -> Outcome<String> {
    bench.kubectl(1, "delete --timeout=60s -f -", &bench.project.manifest(1)?)?;
    let (_, took) = eventually("the end of all that it made", SOON, || {
        for turn in 0..3 {
            let now = bench.objects(turn)?;
            ensure(now == before, || format!("there are {now:?}, before it there were {before:?}"))?;
        }
        let containers = bench.containers()?;
        ensure(containers.is_empty(), || format!("there are {containers:?}"))?;
        let volumes = bench.volumes();
        ensure(volumes.is_empty(), || format!("there are {volumes:?}"))
    })?;
    Ok(format!("{:.1} s after kubectl's end", took.as_secs_f64()))
}
