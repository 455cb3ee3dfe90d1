//! What runs on the fake node: logs of a few lines, and containers that use as much as is asked of them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use skein_node::api::backend::{
    ContainerUsage, LogError, LogRequest, LogSource, LogStream, NodeUsage, UsageSource, Used,
};

use super::{BORN_MS, Inner, kind};

pub struct Lines;

impl LogSource for Lines {
    fn open(&self, request: LogRequest) -> BoxFuture<'_, Result<LogStream, LogError>> {
        Box::pin(async move {
            let all = ["one\n", "two\n", "three\n"];
            let skip = request.tail_lines.map_or(0, |tail| all.len().saturating_sub(tail as usize));
            let lines: Vec<_> = all.iter().skip(skip).map(|line| Ok(Bytes::from(*line))).collect();
            let log = futures::stream::iter(lines);
            Ok(if request.follow { log.chain(futures::stream::pending()).boxed() } else { log.boxed() })
        })
    }
}

/// A node on which each container of each pod runs and uses a core times the number.
pub struct Busy {
    pub(super) inner: Arc<Mutex<Inner>>,
    pub(super) cores: u64,
}

impl UsageSource for Busy {
    fn usage(&self) -> BoxFuture<'_, NodeUsage> {
        let used = Used { cpu_nanocores: self.cores * 1_000_000_000, memory_bytes: self.cores << 20 };
        let mut answer = NodeUsage { at_ms: BORN_MS, window_ms: 15_000, machine: Some(used), containers: Vec::new() };
        for (object, stored) in &self.inner.lock().unwrap().objects {
            let containers = stored.rendered.value["spec"]["containers"].as_array().cloned().unwrap_or_default();
            for container in containers.iter().filter(|_| object.kind == kind("Pod")) {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let uid = text(&stored.rendered.value["metadata"]["uid"]);
                let container = text(&container["name"]);
                answer.containers.push(ContainerUsage { uid, container, attempt: 0, used });
            }
        }
        Box::pin(async move { answer })
    }
}
