//! The demo's containers as they really are, asked of the engine or of the process list, never of skein.

use std::path::Path;
use std::time::Duration;

use skein_node::daemon::identity::ClusterFile;
use skein_node::runtime::DockerClient;

use super::nodes::Node;
use super::processes;
use crate::failure::Failure;

/// How often it is looked for what is left, and how often in a row nothing must be found.
const SWEEPS_LIMIT: usize = 40;
const CLEAN_SWEEPS: usize = 2;
const SWEEP_PAUSE: Duration = Duration::from_millis(150);

/// What runs the containers.
#[derive(Debug, Clone)]
pub(crate) enum Containers {
    /// A Docker engine, which all nodes share.
    Docker(DockerClient),
    /// The nodes themselves.
    Processes,
}

impl Containers {
    /// The value of `--runtime`.
    pub(crate) fn runtime(&self) -> &'static str {
        match self {
            Containers::Docker(_) => "docker",
            Containers::Processes => "process",
        }
    }

    /// Who counted, for a sentence.
    pub(crate) fn witness(&self) -> &'static str {
        match self {
            Containers::Docker(_) => "counted by Docker",
            Containers::Processes => "counted in the process list",
        }
    }

    /// How many run now on each of the nodes.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn running(&self, nodes: &[Node]) -> Result<Vec<usize>, Failure> {
        match self {
            Containers::Docker(client) => {
                let Some(cluster) = cluster_of(nodes) else { return Ok(vec![0; nodes.len()]) };
                let listed = client.containers_of(&cluster).await.map_err(Failure::new)?;
                let of = |node: &Node| listed.iter().filter(|c| c.is_running && c.node == node.id).count();
                Ok(nodes.iter().map(of).collect())
            }
            Containers::Processes => {
                let of = |node: &Node| processes::held_below(node.dir()).iter().filter(|held| held.runs()).count();
                Ok(nodes.iter().map(of).collect())
            }
        }
    }

    /// Kills those of one node, as a dead machine takes its containers along.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(crate) async fn kill_those_of(&self, node: &Node) -> Result<(), Failure> {
        match self {
            Containers::Docker(client) => {
                let Some(cluster) = cluster_of(std::slice::from_ref(node)) else { return Ok(()) };
                client.remove_containers_of_node(&cluster, &node.id).await.map_err(Failure::new)?;
            }
            Containers::Processes => processes::held_below(node.dir()).iter().for_each(processes::Held::kill),
        }
        Ok(())
    }

    /// Removes all of them, and every process that was started with this `PATH`. Daemons must be dead before.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(crate) async fn clear(&self, nodes: &[Node], path_begin: &Path) -> Result<(), Failure> {
        let mut clean = 0;
        for _ in 0..SWEEPS_LIMIT {
            let mut found = processes::kill_started_with(path_begin);
            if let (Containers::Docker(client), Some(cluster)) = (self, cluster_of(nodes)) {
                found += client.remove_containers_of(&cluster).await.map_err(|why| {
                    Failure::new(format!("containers are left: {why}")).next(format!(
                        "remove them: docker rm -f $(docker ps -aq --filter label=skein.dev/cluster={cluster})"
                    ))
                })?;
            }
            clean = if found == 0 { clean + 1 } else { 0 };
            // What a dying daemon had asked for may come into being a moment later.
            if clean == CLEAN_SWEEPS {
                return Ok(());
            }
            tokio::time::sleep(SWEEP_PAUSE).await;
        }
        let next = format!("see which are left: pgrep -af {}", path_begin.display());
        Err(Failure::new("some of the demo's processes or containers could not be ended").next(next))
    }
}

/// The id of the nodes' cluster, as soon as one of them has it on disk.
fn cluster_of(nodes: &[Node]) -> Option<String> {
    nodes.iter().find_map(|node| Some(ClusterFile::load(node.dir()).ok()??.cluster))
}
