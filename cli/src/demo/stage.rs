//! What the story is told on: the nodes, what runs their containers, the screen and the clock. And how all of it is
//! removed again.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::containers::Containers;
use super::look::Look;
use super::nodes::{Common, Node, free_addresses};
use crate::failure::Failure;
use crate::screen::Screen;

/// The names of the nodes.
const NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// How the program is called in the manifest.
const PROGRAM: &str = "skein";
/// How often it is looked at the cluster.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(150);
/// How many lines of each log are shown when the story failed.
const LOG_LINES: usize = 6;

/// The stage.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The three nodes.
    pub(crate) nodes: Vec<Node>,
    containers: Containers,
    image: Option<String>,
    base: TempDir,
    screen: Screen,
    begun: Instant,
    /// What was last shown of the cluster: drawn in place below what is said, or said in a line.
    block: Vec<String>,
    last_line: String,
}

impl Stage {
    /// Makes a directory for everything. Nothing runs yet.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(crate) fn set(containers: Containers) -> Result<Self, Failure> {
        let refused = |error: std::io::Error| {
            Failure::new(format!("no directory can be made in {}: {error}", std::env::temp_dir().display()))
                .next("say where there is room with TMPDIR")
        };
        let base = tempfile::Builder::new().prefix("skein-demo-").tempdir().map_err(refused)?;
        // The program under the name that the manifest has for it, whatever it is called here.
        let bin = base.path().join("bin");
        let executable = bin.join(PROGRAM);
        let linked = std::fs::create_dir(&bin).and_then(|()| symlink(std::env::current_exe()?, &executable));
        linked.map_err(refused)?;
        let mut path = OsString::from(&bin);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()));
        let common = Common { base: base.path(), executable: &executable, path, runtime: containers.runtime() };
        let addresses = free_addresses(2 * NAMES.len())?;
        let nodes = NAMES.iter().zip(addresses.chunks(2)).map(|(name, at)| Node::new(name, &common, at[0], at[1]));
        let nodes = nodes.collect();
        let (screen, begun) = (Screen::stdout(), Instant::now());
        Ok(Stage { nodes, containers, image: None, base, screen, begun, block: Vec::new(), last_line: String::new() })
    }

    /// What runs the containers.
    pub(crate) fn containers(&self) -> &Containers {
        &self.containers
    }

    /// The program.
    pub(crate) fn executable(&self) -> PathBuf {
        self.bin().join(PROGRAM)
    }

    /// From now on the image is removed at the end.
    pub(crate) fn owns_image(&mut self, image: &str) {
        self.image = Some(image.to_owned());
    }

    /// Says what will happen, before the clock begins.
    ///
    /// # Errors
    /// When nobody reads.
    pub(crate) fn open(&mut self, why: &str) -> Result<(), Failure> {
        let place = self.base.path().display();
        self.screen.say([
            "skein demo: three nodes on this machine, and the loss of the leader".to_owned(),
            String::new(),
            why.to_owned(),
            format!("Everything is kept in {place} and removed at the end."),
            String::new(),
        ])?;
        self.begun = Instant::now();
        Ok(())
    }

    /// Says one thing, with the time.
    ///
    /// # Errors
    /// When nobody reads.
    pub(crate) fn say(&mut self, what: &str) -> Result<(), Failure> {
        let at = self.begun.elapsed().as_secs_f64();
        self.screen.say([format!("{at:5.1} s  {what}")])?;
        if self.block.is_empty() { Ok(()) } else { self.screen.draw(&self.block) }
    }

    /// Says lines as they are.
    ///
    /// # Errors
    /// When nobody reads.
    pub(crate) fn say_plain(&mut self, lines: &[String]) -> Result<(), Failure> {
        self.screen.say(lines)
    }

    /// Leaves what is drawn as it is.
    pub(crate) fn keep(&mut self) {
        self.screen.keep();
    }

    /// Shows the cluster: in place on a terminal, elsewhere in a line whenever it has changed.
    ///
    /// # Errors
    /// When nobody reads.
    pub(crate) fn show(&mut self, look: &Look) -> Result<(), Failure> {
        if look.nodes.is_empty() {
            return Ok(());
        }
        if self.screen.is_terminal() {
            let lines = look.lines().into_iter().map(|line| format!("         {line}"));
            self.block = std::iter::once(String::new()).chain(lines).collect();
            return self.screen.draw(&self.block);
        }
        let line = look.line();
        if line == self.last_line {
            return Ok(());
        }
        self.say(&format!("   {line}"))?;
        self.last_line = line;
        Ok(())
    }

    /// Waits a moment, and fails if a node's daemon has ended by itself.
    ///
    /// # Errors
    /// Which one did.
    pub(crate) async fn wait(&mut self) -> Result<(), Failure> {
        tokio::time::sleep(LOOK_EVERY).await;
        self.nodes.iter_mut().try_for_each(Node::check)
    }

    /// Shows the ends of the nodes' logs, which are about to be removed.
    pub(crate) fn show_logs(&mut self) {
        let mut lines = vec![String::new()];
        for node in &self.nodes {
            lines.push(format!("The end of the log of {}:", node.name));
            lines.extend(node.log_end(LOG_LINES).into_iter().map(|line| format!("  {line}")));
        }
        // Whoever went away does not read them.
        let _ = self.screen.say(lines);
    }

    /// Ends and removes everything.
    ///
    /// # Errors
    /// What is left.
    pub(crate) async fn clear(mut self) -> Result<(), Failure> {
        for node in &mut self.nodes {
            node.kill().await;
        }
        let mut cleared = self.containers.clear(&self.nodes, &self.bin()).await;
        if let (Containers::Docker(client), Some(image)) = (&self.containers, &self.image) {
            let removed = client.remove_image(image).await;
            let removed = removed.map_err(|why| {
                Failure::new(format!("the image {image} is left: {why}")).next(format!("remove it: docker rmi {image}"))
            });
            cleared = cleared.and(removed);
        }
        let place = self.base.path().to_owned();
        let removed = self.base.close();
        let removed = removed.map_err(|error| {
            Failure::new(format!("{} is left: {error}", place.display()))
                .next(format!("remove it: rm -r {}", place.display()))
        });
        cleared.and(removed)
    }

    fn bin(&self) -> PathBuf {
        self.base.path().join("bin")
    }
}
