//! One host's Docker engine: started in the host's namespace on directories of its own, and asked over its socket what
//! it runs. What the tests say about containers they have from here, never from skein.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome, ensure};
use crate::http::{Connection, Request, Response};
use crate::image;
use crate::netns::Netns;
use crate::process::Process;
use crate::wait::eventually;

/// How long one question to an engine may take on a busy machine.
const ANSWER: Duration = Duration::from_secs(30);
/// How long an engine may take to start.
const START: Duration = Duration::from_secs(90);
/// How long an engine gets to end in peace before it is killed.
const PEACE: Duration = Duration::from_secs(8);

/// A running dockerd; killed when dropped, unless it was let go.
pub struct Engine {
    process: Process,
    directory: PathBuf,
    stands: bool,
}

/// A container as its engine describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's id.
    pub id: String,
    /// Its name, without the slash.
    pub name: String,
    /// `created`, `running`, `exited` ..
    pub state: String,
    /// The image, by the name that it was made with.
    pub image: String,
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

impl Container {
    /// Whether its process runs now.
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }

    /// The value of a label, empty when it has none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Engine {
    /// Starts an engine for the host whose files are in `directory`. It takes some seconds until it answers.
    ///
    /// # Errors
    /// When dockerd cannot be started.
    pub fn start(netns: &Netns, directory: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(directory)?;
        let config = directory.join("daemon.json");
        std::fs::write(&config, "{}")?;
        let log = File::create(directory.join("engine.log"))?;
        let process = netns
            .command("dockerd")
            .arg("--config-file")
            .arg(&config)
            .arg("--data-root")
            .arg(directory.join("data"))
            .arg("--exec-root")
            .arg(directory.join("exec"))
            .arg("--pidfile")
            .arg(directory.join("engine.pid"))
            .arg("--host")
            .arg(format!("unix://{}", socket(directory).display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // An interrupt at the terminal is for whoever holds the lab.
            .process_group(0)
            .spawn()?;
        let process = Process::of(process);
        process.note(&noted(directory))?;
        Ok(Self { process, directory: directory.to_owned(), stands: false })
    }

    /// The engine that an earlier program started for the host whose files are in `directory` and let go; `None` when there
    /// is none, or it runs no more.
    pub fn find(directory: &Path) -> Option<Self> {
        let mut process = Process::noted(&noted(directory))?;
        process.is_running().then(|| Self { process, directory: directory.to_owned(), stands: true })
    }

    /// Whether the host whose files are in `directory` was ever given an engine.
    pub fn was_started(directory: &Path) -> bool {
        noted(directory).exists()
    }

    /// From now on it stays when this is dropped.
    pub fn let_go(&mut self) {
        self.stands = true;
    }

    /// Waits until the engine answers, and gives it the image.
    ///
    /// # Errors
    /// When it does not answer in time: the end of its log.
    pub fn prepare(&mut self, image: &[u8]) -> Outcome<()> {
        self.wait_ready()?;
        self.import(image::NAME, image, &[image::COMMAND])?;
        let (repository, tag) = image::SECOND_NAME.split_once(':').unwrap_or((image::SECOND_NAME, "latest"));
        let path = format!("/images/{}/tag?repo={repository}&tag={tag}", image::NAME);
        accepted(self.call("POST", &path, None)?, "naming the image").map(|_| ())
    }

    /// Makes an image called `name` of a packed file system, with what the lines of a Dockerfile in `changes` say.
    ///
    /// # Errors
    /// What the engine says.
    pub fn import(&self, name: &str, image: &[u8], changes: &[&str]) -> Outcome<()> {
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        let changes: String = changes.iter().map(|change| format!("&changes={}", encode(change))).collect();
        let path = format!("/images/create?fromSrc=-&repo={}&tag={tag}{changes}", encode(repository));
        let headers = [("Content-Type", "application/x-tar")];
        let request = Request { method: "POST", path: &path, headers: &headers, body: image };
        accepted(Connection::unix(&self.socket())?.call(&request, ANSWER)?, "importing the image").map(|_| ())
    }

    /// Waits until the engine answers.
    ///
    /// # Errors
    /// When it does not answer in time: the end of its log.
    pub fn wait_ready(&mut self) -> Outcome<()> {
        let begun = Instant::now();
        loop {
            if let Some(end) = self.process.ended()? {
                return Err(Failure::new(format!("dockerd ended with {end}: {}", self.log_end())));
            }
            if self.call("GET", "/_ping", None).is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            ensure(begun.elapsed() < START, || format!("dockerd does not answer: {}", self.log_end()))?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The socket that the engine listens on.
    pub fn socket(&self) -> PathBuf {
        socket(&self.directory)
    }

    /// The URL that other programs take for it.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// All containers, running or not, that carry `label` (`name` or `name=value`).
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn containers(&self, label: &str) -> Outcome<Vec<Container>> {
        list(&self.socket(), label)
    }

    /// What the engine knows about one container.
    ///
    /// # Errors
    /// When there is none with that id.
    pub fn inspect(&self, id: &str) -> Outcome<Value> {
        let answer = accepted(self.call("GET", &format!("/containers/{id}/json"), None)?, "inspecting")?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Starts a container of the lab's image that skein knows nothing about. Returns its id.
    ///
    /// # Errors
    /// What the engine says.
    pub fn run(&self, name: &str, command: &[&str], labels: &[(&str, &str)]) -> Outcome<String> {
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let body = json!({"Image": image::NAME, "Cmd": command, "Labels": labels});
        let answer = self.call("POST", &format!("/containers/create?name={name}"), Some(&body))?;
        let created: Value = serde_json::from_slice(&accepted(answer, "creating")?.body)?;
        let id = created["Id"].as_str().ok_or_else(|| Failure::new("the engine gave no id"))?.to_owned();
        accepted(self.call("POST", &format!("/containers/{id}/start"), None)?, "starting")?;
        Ok(id)
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    /// What the engine says.
    pub fn signal(&self, id: &str, signal: &str) -> Outcome<()> {
        let path = format!("/containers/{id}/kill?signal={signal}");
        accepted(self.call("POST", &path, None)?, "signalling").map(|_| ())
    }

    /// Asks the engine anything of its API. Null for an answer without a body.
    ///
    /// # Errors
    /// What the engine says, or when it does not answer in time.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>, within: Duration) -> Outcome<Value> {
        let answer = accepted(call(&self.socket(), method, path, body, within)?, path)?;
        Ok(if answer.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
        })
    }

    /// Removes all containers that carry `label` (`name` or `name=value`), running or not.
    ///
    /// # Errors
    /// What the engine says.
    pub fn remove_containers(&self, label: &str) -> Outcome<()> {
        for container in self.containers(label)? {
            let answer = self.call("DELETE", &format!("/containers/{}?force=1&v=1", container.id), None)?;
            // One that is being removed already is as good as gone.
            ensure(answer.status < 300 || [404, 409].contains(&answer.status), || {
                format!("removing: {}", answer.text())
            })?;
        }
        Ok(())
    }

    /// Ends the engine and everything it runs at once, as a power cut would.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// The last lines that the engine logged.
    pub fn log_end(&self) -> String {
        let log = std::fs::read_to_string(self.directory.join("engine.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Response> {
        call(&self.socket(), method, path, body, ANSWER)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.stands {
            self.kill9();
        }
    }
}

/// Takes away what the engine of the host in `directory` keeps where a machine's restart empties it: its sockets, its pids and
/// what its containers ran in. Pids that it found there again might be somebody else's.
pub fn empty_runtime_directory(directory: &Path) {
    for file in [directory.join("engine.pid"), socket(directory)] {
        // What is not there need not be taken away.
        let _ = std::fs::remove_file(file);
    }
    let _ = std::fs::remove_dir_all(directory.join("exec"));
}

/// Ends the engines of all hosts of the lab in `directory`, their containers first, as far as that goes in peace. The
/// engines are found by their sockets, so that it works for a lab whose test is dead.
pub fn stop_gently(directory: &Path) {
    std::thread::scope(|scope| {
        for host in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            scope.spawn(move || stop_engine(&host.path()));
        }
    });
}

/// The control groups of all containers that the lab's engines ever made and have not removed.
pub fn control_groups(directory: &Path) -> Vec<PathBuf> {
    let hosts = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let containers =
        hosts.flat_map(|host| std::fs::read_dir(host.path().join("data/containers")).into_iter().flatten());
    let ids: Vec<_> = containers.flatten().map(|entry| entry.file_name()).collect();
    let controllers: Vec<_> = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().collect();
    let groups = controllers.iter().flat_map(|c| ids.iter().map(move |id| c.path().join("docker").join(id)));
    groups.filter(|group| group.is_dir()).collect()
}

fn stop_engine(host: &Path) {
    let socket = socket(host);
    if !socket.exists() {
        return;
    }
    for container in list(&socket, "").unwrap_or_default().into_iter().filter(Container::is_running) {
        let _ = call(&socket, "POST", &format!("/containers/{}/kill", container.id), None, PEACE);
    }
    let pid = std::fs::read_to_string(host.join("engine.pid")).ok().and_then(|text| text.trim().parse().ok());
    let Some(pid) = pid.map(Pid::from_raw) else { return };
    // The pid in the file may belong to somebody else by now, unless the process says that this is its directory.
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if !command.contains(&*host.to_string_lossy()) || kill(pid, Signal::SIGTERM).is_err() {
        return;
    }
    let gone = || ensure(!socket.exists(), || "it is still there".to_owned());
    let _ = eventually("the engine's end", PEACE, gone);
}

fn list(socket: &Path, label: &str) -> Outcome<Vec<Container>> {
    let filters = if label.is_empty() { json!({}) } else { json!({"label": [label]}) };
    let path = format!("/containers/json?all=1&filters={}", encode(&filters.to_string()));
    let answer = accepted(call(socket, "GET", &path, None, ANSWER)?, "listing containers")?;
    let listed: Vec<Value> = serde_json::from_slice(&answer.body)?;
    Ok(listed.iter().map(container).collect())
}

fn container(listed: &Value) -> Container {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = listed["Labels"].as_object().into_iter().flatten();
    Container {
        id: text(&listed["Id"]),
        name: text(&listed["Names"][0]).trim_start_matches('/').to_owned(),
        state: text(&listed["State"]),
        image: text(&listed["Image"]),
        labels: labels.map(|(key, value)| (key.clone(), text(value))).collect(),
    }
}

fn call(socket: &Path, method: &str, path: &str, body: Option<&Value>, within: Duration) -> io::Result<Response> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let headers = [("Content-Type", "application/json")];
    let headers = if body.is_empty() { &headers[..0] } else { &headers[..] };
    Connection::unix(socket)?.call(&Request { method, path, headers, body: body.as_bytes() }, within)
}

fn accepted(answer: Response, what: &str) -> Outcome<Response> {
    ensure(answer.status < 300, || format!("{what}: the engine says {}: {}", answer.status, answer.text().trim()))?;
    Ok(answer)
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("docker.sock")
}

/// Where it is written down which process a host's engine is.
fn noted(directory: &Path) -> PathBuf {
    directory.join("engine.process")
}

/// Percent-encodes what a query's value cannot hold.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
