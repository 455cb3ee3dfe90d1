//! What runs on a host, asked from the host itself: its engine, or, without one, its processes. Never asked from skein.

use std::collections::BTreeMap;

use nix::unistd::Pid;

use crate::engine::Container;
use crate::failure::Outcome;
use crate::lab::Host;
use crate::{leftovers, process};

/// The label with the name of a container's pod.
const POD_LABEL: &str = "io.kubernetes.pod.name";

/// The pods whose containers run on `host`, a pod's name once for each of its containers, in order.
///
/// # Errors
/// When the host has an engine that does not answer.
pub fn running_pods(host: &Host) -> Outcome<Vec<String>> {
    let mut pods: Vec<String> = match host.engine() {
        Ok(engine) => {
            let running = engine.containers(POD_LABEL)?.into_iter().filter(Container::is_running);
            running.map(|container| container.label(POD_LABEL).to_owned()).collect()
        }
        Err(_) => leftovers::living_in(&host.netns).into_iter().filter_map(pod_of).collect(),
    };
    pods.sort();
    Ok(pods)
}

/// How many of `pods` belong to the workload called `name`.
pub fn count_of(pods: &[String], name: &str) -> usize {
    let belongs = |pod: &&String| pod.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    pods.iter().filter(belongs).count()
}

/// The pod whose container a process is the first of: it leads a group, and has the two variables that every container of the
/// process runtime gets. Its shim need not be alive.
fn pod_of(pid: Pid) -> Option<String> {
    if !process::leads_group(pid) {
        return None;
    }
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let environment = String::from_utf8_lossy(&environment);
    let variables: BTreeMap<&str, &str> = environment.split('\0').filter_map(|entry| entry.split_once('=')).collect();
    variables.get("POD_IP")?;
    variables.get("HOSTNAME").map(|pod| (*pod).to_owned())
}

#[cfg(test)]
mod tests {
    use super::count_of;

    #[test]
    fn a_workload_is_not_taken_for_another_whose_name_goes_on() {
        let pods = ["web-1-abc", "web-12-abc", "web-1"].map(str::to_owned);
        assert_eq!(count_of(&pods, "web-1"), 2);
        assert_eq!(count_of(&pods, "web-12"), 1);
        assert_eq!(count_of(&pods, "we"), 0);
    }
}
