//! Writes that go on while the cluster loses its leader: one after the other, at each of the given peers in turn, each read
//! back at the next.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::manifest::NAMESPACE;
use crate::client::Client;

/// How long one write may take.
const WRITE_LIMIT: Duration = Duration::from_secs(3);
/// How long a write may take to be read at another peer.
const READ_LIMIT: Duration = Duration::from_secs(3);
/// How long between two writes.
const PAUSE: Duration = Duration::from_millis(200);
const READ_PAUSE: Duration = Duration::from_millis(10);
/// The most outcomes that wait to be looked at; then the writer waits.
const WAITING_LIMIT: usize = 1024;

/// What became of one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Where it was sent to.
    pub(crate) at: String,
    /// Where it was read.
    pub(crate) read_at: String,
    /// How long it took, or why it failed.
    pub(crate) took: Result<Duration, String>,
    /// How long after the answer another peer had it; `None` when it had not in time.
    pub(crate) read_after: Option<Duration>,
    /// When it was answered.
    pub(crate) answered: Instant,
}

/// The writer. It stops when this is dropped.
#[derive(Debug)]
pub(crate) struct Writes {
    outcomes: mpsc::Receiver<Outcome>,
    done: Vec<Outcome>,
    _task: JoinSet<()>,
}

impl Writes {
    /// Begins to write at peers, which are given by name.
    pub(crate) fn begin(peers: Vec<(String, Client)>) -> Self {
        let (sender, outcomes) = mpsc::channel(WAITING_LIMIT);
        let mut task = JoinSet::new();
        task.spawn(async move {
            for number in 0.. {
                let (at, read_at) = (&peers[number % peers.len()], &peers[(number + 1) % peers.len()]);
                let outcome = write(number, at, read_at).await;
                if sender.send(outcome).await.is_err() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Writes { outcomes, done: Vec::new(), _task: task }
    }

    /// All that is done until now, in order.
    pub(crate) fn done(&mut self) -> &[Outcome] {
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.done.push(outcome);
        }
        &self.done
    }
}

async fn write(number: usize, at: &(String, Client), read_at: &(String, Client)) -> Outcome {
    let name = format!("written-meanwhile-{number}");
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": &name}, "data": {"at": &at.0}});
    let begun = Instant::now();
    let written = at.1.within(WRITE_LIMIT).post(&format!("{path}?fieldManager=skein-demo"), &object).await;
    let answered = Instant::now();
    let took = written.map(|_| answered - begun).map_err(|error| error.to_string());
    let mut read_after = None;
    while took.is_ok() && read_after.is_none() && answered.elapsed() < READ_LIMIT {
        match read_at.1.get(&format!("{path}/{name}")).await {
            Ok(_) => read_after = Some(answered.elapsed()),
            Err(_) => tokio::time::sleep(READ_PAUSE).await,
        }
    }
    Outcome { at: at.0.clone(), read_at: read_at.0.clone(), took, read_after, answered }
}
