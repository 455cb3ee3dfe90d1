//! A cluster on a lab: a daemon on each of its first hosts, all members of one cluster, and the ways to ask them things.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Api, Credentials};
use crate::daemon::{self, Daemon, Start};
use crate::engine::Container;
use crate::failure::{Failure, Outcome, ensure};
use crate::lab::Lab;
use crate::manifests;
use crate::requirements;
use crate::steps::say;
use crate::wait::eventually;

/// How long all members may take to show up as ready at all peers.
const FORMED: Duration = Duration::from_secs(60);
/// How long new keys may take to a member that hears the others.
const KEYS_TRAVEL: Duration = Duration::from_secs(10);

/// The members' daemons and the lab below them; all gone when dropped.
pub struct Cluster {
    // Dropped before the lab, so that no daemon sees its engine die.
    daemons: BTreeMap<usize, Daemon>,
    lab: Lab,
    credentials: Credentials,
}

impl Cluster {
    /// Founds a cluster on the first host of `lab`, lets the next ones join up to `members`, and waits until all peers
    /// show all members as ready.
    ///
    /// # Errors
    /// When a daemon does not start or the members do not find each other: the ends of their logs.
    pub fn form(lab: Lab, members: usize) -> Outcome<Self> {
        // Building it is no part of forming.
        daemon::binary()?;
        let begun = Instant::now();
        let founder = Start::on(lab.host(1));
        let mut daemons = BTreeMap::from([(1, founder.up()?)]);
        daemons.values_mut().try_for_each(|daemon| daemon.wait_ready().map(|_| ()))?;
        let kubeconfig = serde_yaml_ng::from_str(&founder.skein_says(&["kubeconfig"])?)?;
        let credentials = Credentials::from_kubeconfig(&kubeconfig)?;
        if members > 1 {
            let uses = (members - 1).to_string();
            let token = founder.skein_says(&["token", "create", "--uses", &uses, "--ttl", "1h"])?;
            for number in 2..=members {
                daemons.insert(number, Start::on(lab.host(number)).join(&token)?);
            }
        }
        for number in 1..=members {
            write_kubeconfig(&lab, number, &kubeconfig)?;
        }
        let mut cluster = Self { daemons, lab, credentials };
        cluster.wait_formed().map_err(|failure| Failure::new(format!("{failure}\n{}", cluster.evidence())))?;
        say(&format!("   {members} hosts formed a cluster in {:.1} s", begun.elapsed().as_secs_f64()));
        Ok(cluster)
    }

    /// The cluster that another process formed on `lab` and let go; its daemons stay when this is dropped.
    ///
    /// # Errors
    /// When the lab holds no daemon, or no kubeconfig.
    pub fn find(lab: Lab) -> Outcome<Self> {
        let found = lab.hosts().iter().filter_map(|host| Some((host.number, Start::on(host).find()?)));
        let daemons: BTreeMap<usize, Daemon> = found.collect();
        ensure(!daemons.is_empty(), || "no daemon was ever started on it".to_owned())?;
        let path = kubeconfig_path(&lab, 1);
        let kubeconfig = std::fs::read(&path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        let credentials = Credentials::from_kubeconfig(&serde_json::from_slice(&kubeconfig)?)?;
        Ok(Self { daemons, lab, credentials })
    }

    /// Ends the daemons and takes their containers and files away, so that the hosts are as before they formed a cluster.
    ///
    /// # Errors
    /// When an engine does not answer, or a directory cannot be removed.
    pub fn dissolve(self) -> Outcome<Lab> {
        let Self { daemons, lab, .. } = self;
        let members: Vec<usize> = daemons.keys().copied().collect();
        drop(daemons);
        for number in members {
            let host = lab.host(number);
            if let Ok(engine) = host.engine() {
                engine.remove_containers("io.kubernetes.pod.name")?;
            }
            std::fs::remove_dir_all(host.directory.join("skein"))?;
        }
        Ok(lab)
    }

    /// From now on daemons, engines and hosts stay when this is dropped and when this process ends.
    pub fn let_go(&mut self) {
        self.daemons.values_mut().for_each(Daemon::let_go);
        self.lab.let_go();
    }

    /// The hosts below.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The numbers of all members.
    pub fn members(&self) -> Vec<usize> {
        self.daemons.keys().copied().collect()
    }

    /// A member's daemon.
    ///
    /// # Panics
    /// When that host is no member: the test is wrong.
    pub fn daemon(&mut self, number: usize) -> &mut Daemon {
        self.daemons.get_mut(&number).unwrap_or_else(|| panic!("host {number} is no member"))
    }

    /// Starts a member's daemon again, which was killed or stopped, and waits for it.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_again(&mut self, number: usize) -> Outcome<Duration> {
        let daemon = self.daemon(number);
        let start = daemon.start().clone();
        daemon.start_again(&start)?;
        daemon.wait_ready()
    }

    /// Switches a member's host off as a power cut would.
    ///
    /// # Errors
    /// As [`Lab::power_off`].
    pub fn power_off(&mut self, number: usize) -> Outcome<()> {
        self.lab.cut(number)?;
        self.daemon(number).kill9();
        self.lab.power_off(number)
    }

    /// Switches a member's host on again and waits for its daemon.
    ///
    /// # Errors
    /// As [`Lab::power_on`], or when the daemon does not get ready.
    pub fn power_on(&mut self, number: usize) -> Outcome<Duration> {
        self.lab.power_on(number)?;
        // Its engine may be another process than the one that it knew.
        let start = Start::on(self.lab.host(number));
        let daemon = self.daemon(number);
        daemon.start_again(&start)?;
        daemon.wait_ready()
    }

    /// The credentials of the founder's user.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Takes the administrator's credentials anew from a member, since a removal ends those of before, and waits until these hosts
    /// answer to them.
    ///
    /// # Errors
    /// When the member gives none, or a host does not know them in time.
    pub fn take_credentials(&mut self, from: usize, hosts: &[usize]) -> Outcome<()> {
        let kubeconfig = serde_yaml_ng::from_str(&self.daemon(from).start().skein_says(&["kubeconfig"])?)?;
        self.credentials = Credentials::from_kubeconfig(&kubeconfig)?;
        for number in hosts {
            write_kubeconfig(&self.lab, *number, &kubeconfig)?;
            let look = || self.api(*number).get("/api/v1/namespaces/default").map(|_| ());
            eventually(&format!("h{number} to take the new keys over"), KEYS_TRAVEL, look)?;
        }
        Ok(())
    }

    /// The API of a member, spoken to from its own host.
    pub fn api(&self, number: usize) -> Api {
        let host = self.lab.host(number);
        Api::new(&host.netns, host.api_socket(), &self.credentials)
    }

    /// A kubectl on a member's host that speaks to that member: the one that `SKEIN_KUBECTL` names, or that of the PATH.
    ///
    /// # Errors
    /// When there is no kubectl on this machine.
    pub fn kubectl(&self, number: usize) -> Outcome<Command> {
        let named = std::env::var_os("SKEIN_KUBECTL").map(PathBuf::from);
        let kubectl = named.or_else(|| requirements::find("kubectl"));
        let kubectl = kubectl.ok_or_else(|| Failure::new("the test needs kubectl; `tests/run` installs it"))?;
        let host = self.lab.host(number);
        let mut command = host.netns.command(kubectl);
        // Its cache of what the server offers is the host's own, and nothing of this machine's settings is seen.
        command.env("HOME", &host.directory).env("KUBECONFIG", kubeconfig_path(&self.lab, number));
        Ok(command)
    }

    /// Runs kubectl on a member's host to its end, with `input` on its stdin. Returns its exit code, stdout and stderr.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_kubectl(&self, number: usize, arguments: &[&str], input: &str) -> Outcome<(i32, String, String)> {
        let mut command = self.kubectl(number)?;
        let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let stdin = process.stdin.take();
        let output = std::thread::scope(|scope| {
            // Beside the reading, since what goes in may come out again. A kubectl that fails before it has read everything
            // says so by its exit code.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
            process.wait_with_output()
        })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
    }

    /// As [`Cluster::run_kubectl`] for a command that must succeed; returns its stdout.
    ///
    /// # Errors
    /// When it exits with anything but 0: what it said.
    pub fn kubectl_says(&self, number: usize, arguments: &[&str], input: &str) -> Outcome<String> {
        let (code, said, error) = self.run_kubectl(number, arguments, input)?;
        ensure(code == 0, || format!("h{number}: kubectl {}: exit {code}: {said} {error}", arguments.join(" ")))?;
        Ok(said)
    }

    /// Who leads, as a member sees it.
    ///
    /// # Errors
    /// When it knows of no leader or does not answer.
    pub fn leader(&self, number: usize) -> Outcome<usize> {
        let daemon = self.daemons.get(&number).ok_or_else(|| Failure::new(format!("h{number} is no member")))?;
        let said = daemon.start().skein_says(&["leader"])?;
        let name = said.split_whitespace().next().unwrap_or_default();
        let host = self.lab.hosts().iter().find(|host| host.name == name);
        host.map(|host| host.number).ok_or_else(|| Failure::new(format!("`skein leader` on h{number} says {said:?}")))
    }

    /// Waits until all of `among` name the same leader, one of themselves. Returns who, and how long that took.
    ///
    /// # Errors
    /// When they do not agree in time.
    pub fn agreed_leader(&self, among: &[usize], within: Duration) -> Outcome<(usize, Duration)> {
        eventually("an agreed leader", within, || {
            let mut leader = None;
            for number in among {
                let named = self.leader(*number)?;
                ensure(among.contains(&named), || format!("h{number} still names h{named}"))?;
                let agreed = *leader.get_or_insert(named);
                ensure(agreed == named, || format!("h{number} names h{named}, another one h{agreed}"))?;
            }
            leader.ok_or_else(|| Failure::new("nobody was asked"))
        })
    }

    /// The containers of a workload's pods that run on `hosts`, as their engines say, with the host of each.
    ///
    /// # Errors
    /// When an engine does not answer.
    pub fn running(&self, hosts: &[usize], namespace: &str, workload: &str) -> Outcome<Vec<(usize, Container)>> {
        let mut running = Vec::new();
        for number in hosts {
            let engine = self.lab.host(*number).engine()?;
            let listed = engine.containers(&format!("io.kubernetes.pod.namespace={namespace}"))?;
            let of_workload = |container: &Container| {
                let pod = container.label("io.kubernetes.pod.name");
                pod.strip_prefix(workload).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            };
            running.extend(listed.into_iter().filter(Container::is_running).filter(of_workload).map(|c| (*number, c)));
        }
        Ok(running)
    }

    /// Fails unless exactly `count` containers of a workload run on `hosts`.
    ///
    /// # Errors
    /// How many run where.
    pub fn exactly(&self, count: usize, hosts: &[usize], namespace: &str, workload: &str) -> Outcome<()> {
        let running = self.running(hosts, namespace, workload)?;
        let on = |number: &usize| running.iter().filter(|(host, _)| host == number).count();
        let each: Vec<String> = hosts.iter().map(|number| format!("h{number}: {}", on(number))).collect();
        ensure(running.len() == count, || {
            format!("{} containers of {workload} run, not {count} ({})", running.len(), each.join(", "))
        })
    }

    /// The hash of everything that a member holds, as it reports it itself.
    ///
    /// # Errors
    /// When it does not answer or says none.
    pub fn state_hash(&self, number: usize) -> Outcome<String> {
        let answer = self.api(number).get("/skein/v1/state-hash")?;
        let hash = answer["hash"].as_str().filter(|hash| !hash.is_empty());
        hash.map(str::to_owned).ok_or_else(|| Failure::new(format!("h{number} reports no state hash: {answer}")))
    }

    /// One of a member's own numbers.
    ///
    /// # Errors
    /// When it does not answer, or has no such number.
    pub fn metric(&self, number: usize, name: &str) -> Outcome<f64> {
        let metrics = self.api(number).get_text("/metrics")?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.ok_or_else(|| Failure::new(format!("h{number} has no metric {name}")))
    }

    /// What a reader of a failed test wants to see: the ends of all logs, and where the whole of them was copied to.
    pub fn evidence(&mut self) -> String {
        let kept = keep_logs(&self.lab);
        let mut text = String::new();
        for (number, daemon) in &mut self.daemons {
            let state = if daemon.is_running() { "runs" } else { "does not run" };
            text.push_str(&format!("   h{number} {state}; the end of its log:\n{}\n", daemon.log_end(12)));
        }
        text.push_str(&format!("   whole logs: {kept}"));
        text
    }

    fn wait_formed(&mut self) -> Outcome<()> {
        let members = self.members();
        let look =
            |daemon: &mut Daemon| ensure(daemon.is_running(), || format!("a daemon ended: {}", daemon.log_end(5)));
        for number in members.clone() {
            look(self.daemon(number))?;
            let api = self.api(number);
            eventually(&format!("h{number} shows {} nodes as ready", members.len()), FORMED, || {
                let nodes = api.get("/api/v1/nodes")?;
                let ready = ready_nodes(&nodes);
                ensure(ready.len() == members.len(), || format!("ready are {ready:?}"))
            })?;
        }
        Ok(())
    }

    /// Creates a namespace of the test's own at the first member, and waits until all members have it.
    ///
    /// # Errors
    /// When it is refused, or does not spread.
    pub fn namespace(&self, name: &str) -> Outcome<()> {
        self.api(1).create("/api/v1/namespaces", &manifests::namespace(name))?;
        for number in self.members() {
            let path = format!("/api/v1/namespaces/{name}");
            let look = || ensure(self.api(number).exists(&path)?, || "it is not there".to_owned());
            eventually(&format!("namespace {name} at h{number}"), Duration::from_secs(10), look)?;
        }
        Ok(())
    }
}

/// The names of the nodes in a list that are ready.
pub fn ready_nodes(nodes: &Value) -> Vec<&str> {
    let is_ready = |node: &&Value| {
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    let items = nodes["items"].as_array().into_iter().flatten();
    items.filter(is_ready).filter_map(|node| node["metadata"]["name"].as_str()).collect()
}

/// Where a member's kubeconfig is.
pub fn kubeconfig_path(lab: &Lab, number: usize) -> PathBuf {
    lab.host(number).directory.join("kubeconfig")
}

/// The founder's kubeconfig, with the address of another peer.
fn write_kubeconfig(lab: &Lab, number: usize, kubeconfig: &Value) -> Outcome<()> {
    let mut kubeconfig = kubeconfig.clone();
    kubeconfig["clusters"][0]["cluster"]["server"] = json!(format!("https://{}", lab.host(number).api_socket()));
    std::fs::write(kubeconfig_path(lab, number), kubeconfig.to_string())?;
    Ok(())
}

/// Copies the logs to where they outlive the lab. Returns the directory, or why there is none.
fn keep_logs(lab: &Lab) -> String {
    let name = lab.directory().file_name().unwrap_or_default();
    let target = std::env::current_exe().ok().and_then(|exe| Some(exe.ancestors().nth(3)?.join("lab-logs").join(name)));
    let Some(target) = target else { return "nowhere: this test is in no target directory".to_owned() };
    if let Err(error) = std::fs::create_dir_all(&target) {
        return format!("nowhere: {}: {error}", target.display());
    }
    for host in lab.hosts() {
        for log in ["skein.log", "engine.log"] {
            // A log that is not there was never written.
            let _ = std::fs::copy(host.directory.join(log), target.join(format!("{}-{log}", host.name)));
        }
    }
    target.display().to_string()
}

/// The last lines of a daemon's log, by host, for messages of tests that hold daemons without a cluster.
pub fn log_of(lab: &Lab, number: usize) -> String {
    daemon::log_end(&lab.host(number).directory.join("skein.log"), 15)
}
