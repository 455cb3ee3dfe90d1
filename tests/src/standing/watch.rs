//! A small program in the background of a lab that stands: it asks every peer once a second who leads and how many are alive,
//! and enters what has changed in the timeline. It lives in the lab's own network, so it goes when the lab goes.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::timeline::Seen;
use super::{RECORD, Standing};
use crate::api::Api;
use crate::failure::Outcome;

/// The hidden verb of the tool.
pub const VERB: &str = "__watch";
/// How often the peers are asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Starts the watch of a lab.
///
/// # Errors
/// When this program cannot be started once more.
pub(super) fn start(standing: &Standing) -> Outcome<()> {
    let mut command = standing.cluster().lab().lan().command(std::env::current_exe()?);
    command.args([VERB.as_ref(), standing.directory().join(RECORD).as_os_str()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    // Nobody waits for it: it ends with the lab.
    drop(command.spawn()?);
    Ok(())
}

/// Watches the lab whose record is `record` until it is taken away.
///
/// # Errors
/// When there is no such lab.
pub fn run(record: &Path) -> Outcome<()> {
    let standing = Standing::open(record.parent().unwrap_or(record))?;
    let (cluster, timeline) = (standing.cluster(), standing.timeline());
    let mut last: BTreeMap<usize, Seen> = BTreeMap::new();
    while record.exists() {
        for number in cluster.members() {
            let seen = ask(&cluster.api(number));
            if last.get(&number) != Some(&seen) {
                timeline.saw(number, &seen)?;
                last.insert(number, seen);
            }
        }
        std::thread::sleep(INTERVAL);
    }
    Ok(())
}

/// What a peer says now.
pub(super) fn ask(api: &Api) -> Seen {
    let get = |path: &str| -> Option<Value> {
        let answer = api.call(("GET", path), ("", &[]), PATIENCE).ok()?;
        serde_json::from_slice(&answer.body).ok()
    };
    let Some(peers) = get("/skein/v1/peers") else { return Seen::default() };
    // While nobody leads it says so with a status that has no term.
    let leader = get("/skein/v1/leader").unwrap_or_default();
    let peers = peers["peers"].as_array().into_iter().flatten();
    Seen {
        answers: true,
        leader: if leader["term"].is_u64() {
            leader["name"].as_str().unwrap_or_default().to_owned()
        } else {
            String::new()
        },
        term: leader["term"].as_u64().unwrap_or(0),
        alive: peers.filter(|peer| peer["state"] == "alive").count(),
    }
}
