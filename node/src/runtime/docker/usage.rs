//! What the containers of an engine have used so far.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::{ListContainersOptions, StatsOptions};
use futures::{StreamExt as _, stream};
use skein_core::runtime::ContainerRef;
use tokio::time::Instant;

use super::super::usage::{Counter, Counters};
use super::{DockerEngine, words};

/// How many containers are asked about at once.
const ASKED_AT_ONCE: usize = 16;

impl DockerEngine {
    /// What our containers that run have used so far. One that ends meanwhile is left out.
    pub(in super::super) async fn usage(&self) -> Result<Counters, String> {
        let docker = self.connection.docker().await?;
        // Without `all` it lists those that run.
        let options =
            ListContainersOptions { filters: Some(self.owner.filter(None)), ..ListContainersOptions::default() };
        let listed = docker.list_containers(Some(options)).await.map_err(|error| words::of(&error))?;
        let ours = listed.into_iter().filter_map(|summary| {
            let id = self.owner.container(summary.labels.as_ref())?;
            Some((id, summary.id?))
        });
        let docker = &docker;
        let counted = stream::iter(ours).map(|(id, engine_id)| async move { counter(docker, id, &engine_id).await });
        Ok(counted.buffer_unordered(ASKED_AT_ONCE).filter_map(std::future::ready).collect().await)
    }
}

async fn counter(docker: &Docker, id: ContainerRef, engine_id: &str) -> Option<(ContainerRef, Counter)> {
    // One look, at once: otherwise the engine itself waits for a second one.
    let options = StatsOptions { stream: false, one_shot: true };
    let mut answers = Box::pin(docker.stats(engine_id, Some(options)));
    let stats = answers.next().await?.ok()?;
    Some((id, read(&stats)?))
}

fn read(stats: &ContainerStatsResponse) -> Option<Counter> {
    let cpu_ns = stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
    let memory_bytes = stats.memory_stats.as_ref().and_then(working_set)?;
    Some(Counter { seen: Instant::now(), cpu_ns, memory_bytes })
}

/// What could not be taken away from it at once: all but the files that it has not touched lately.
fn working_set(memory: &ContainerMemoryStats) -> Option<u64> {
    let none = HashMap::new();
    let counted = memory.stats.as_ref().unwrap_or(&none);
    // The second is the name in the first version of cgroups, where the plain one does not count what is below.
    let files = counted.get("total_inactive_file").or_else(|| counted.get("inactive_file")).copied().unwrap_or(0);
    Some(memory.usage?.saturating_sub(files))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stats(json: &str) -> ContainerStatsResponse {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn files_that_are_not_in_use_are_not_counted_in_either_version_of_cgroups() {
        let with = |stats: &str| {
            format!(
                r#"{{"cpu_stats":{{"cpu_usage":{{"total_usage":7}}}},"memory_stats":{{"usage":100,"stats":{stats}}}}}"#
            )
        };
        let memory = |text: &str| read(&stats(text)).map(|counter| (counter.cpu_ns, counter.memory_bytes));
        assert_eq!(memory(&with(r#"{"inactive_file":30}"#)), Some((7, 70)));
        assert_eq!(memory(&with(r#"{"inactive_file":1,"total_inactive_file":40}"#)), Some((7, 60)));
        assert_eq!(memory(&with("{}")), Some((7, 100)));
        // A container that has just ended has nothing to say.
        assert_eq!(memory(r#"{"cpu_stats":{"cpu_usage":{"total_usage":0}},"memory_stats":{}}"#), None);
    }
}
