//! What programs on kube-rs do with containers: all at a peer that does not run them.

use futures::{AsyncBufReadExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, ListParams, LogParams};
use kube::{Api, ResourceExt as _};
use skein_tests::cluster::Cluster;
use skein_tests::failure::{Failure, Outcome, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Programs, eventually};

/// More than fits in any buffer on the way.
const INPUT_BYTES: usize = 300_000;

/// A pod of the Deployment that the steps before made, and the pods at a peer that does not run it.
async fn pod(programs: &Programs) -> Outcome<(Api<Pod>, String)> {
    let pods: Api<Pod> = programs.api(1).await?;
    let running = async || {
        let listed = pods.list(&ListParams::default().labels("app=web")).await?;
        let ready = listed.items.into_iter().find(|pod| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let is_ready = conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True");
            // One of the former template goes soon.
            is_ready && pod.metadata.deletion_timestamp.is_none()
        });
        ready.ok_or_else(|| Failure::new("no pod is ready"))
    };
    let pod = eventually("a pod", running).await?;
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let elsewhere = if node == "h2" { 3 } else { 2 };
    let pods = programs.api(elsewhere).await?;
    let name = pod.name_any();
    eventually("the pod at another peer", async || Ok(pods.get(&name).await?)).await?;
    Ok((pods, name))
}

pub(super) fn executed(cluster: &mut Cluster) -> Outcome<String> {
    let programs = Programs::on(cluster);
    // Pods that are on their way out are no good for this.
    cluster.kubectl_says(1, &["-n", super::NAMESPACE, "rollout", "status", "deployment/web", "--timeout=30s"], "")?;
    programs.run(async || {
        let (pods, name) = pod(&programs).await?;
        let piped = AttachParams::default().stdin(true).stderr(false);
        let mut process = pods.exec(&name, ["sh", "-c", "wc -c; echo done"], &piped).await?;
        let (mut stdin, mut stdout) = (process.stdin().unwrap(), process.stdout().unwrap());
        stdin.write_all(&vec![b'x'; INPUT_BYTES]).await?;
        stdin.shutdown().await?;
        drop(stdin);
        let mut said = String::new();
        stdout.read_to_string(&mut said).await?;
        ensure(said == format!("{INPUT_BYTES}\ndone\n"), || format!("it said {said:?}"))?;
        let status = process.take_status().unwrap().await.unwrap_or_default();
        ensure(status.status.as_deref() == Some("Success"), || format!("{status:?}"))?;

        let both = AttachParams::default();
        let mut process = pods.exec(&name, ["sh", "-c", "echo out; echo err >&2; exit 3"], &both).await?;
        let (mut out, mut err) = (String::new(), String::new());
        process.stdout().unwrap().read_to_string(&mut out).await?;
        process.stderr().unwrap().read_to_string(&mut err).await?;
        ensure((out.as_str(), err.as_str()) == ("out\n", "err\n"), || format!("{out:?} and {err:?}"))?;
        let status = process.take_status().unwrap().await.unwrap_or_default();
        let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
        let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
        ensure(code.and_then(|cause| cause.message.as_deref()) == Some("3"), || format!("{causes:?}"))?;
        Ok(String::new())
    })
}

pub(super) fn logged(cluster: &mut Cluster) -> Outcome<String> {
    let programs = Programs::on(cluster);
    programs.run(async || {
        let (pods, name) = pod(&programs).await?;
        // What the first process prints is the container's log.
        let speak = |words: &str| format!("echo {words} > /proc/1/fd/1");
        let say = async |words: &str| -> Outcome<()> {
            let mut process = pods.exec(&name, ["sh", "-c", &speak(words)], &AttachParams::default()).await?;
            let status = process.take_status().unwrap().await.unwrap_or_default();
            ensure(status.status.as_deref() == Some("Success"), || format!("{status:?}"))
        };
        say("first").await?;
        say("second").await?;
        eventually("both lines", async || {
            let said = pods.logs(&name, &LogParams { tail_lines: Some(2), ..LogParams::default() }).await?;
            ensure(said == "first\nsecond\n", || format!("it says {said:?}"))
        })
        .await?;
        let following = LogParams { follow: true, tail_lines: Some(1), ..LogParams::default() };
        let mut lines = pods.log_stream(&name, &following).await?.lines();
        let mut next = async || lines.next().await.ok_or_else(|| Failure::new("the log ended"))?.map_err(Failure::from);
        let line = next().await?;
        ensure(line == "second", || format!("the last line is {line:?}"))?;
        say("third").await?;
        let line = next().await?;
        ensure(line == "third", || format!("the line that came is {line:?}"))?;
        Ok(String::new())
    })
}

pub(super) fn forwarded(cluster: &mut Cluster) -> Outcome<String> {
    let programs = Programs::on(cluster);
    programs.run(async || {
        let (pods, name) = pod(&programs).await?;
        let mut forwarder = pods.portforward(&name, &[8080]).await?;
        let mut stream = forwarder.take_stream(8080).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await?;
        let said = String::from_utf8_lossy(&said).into_owned();
        ensure(said.starts_with("HTTP/1") && said.ends_with("ok\n"), || format!("it said {said:?}"))?;
        // Where the other side closed first, kube-rs says of itself that it closes once more.
        forwarder.abort();
        Ok(String::new())
    })
}
