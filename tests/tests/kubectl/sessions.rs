//! What goes into pods and comes out of them: commands, files, attachments, ports. Always a pod that another peer runs than
//! the one that is asked.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::Value;
use skein_tests::cluster::Cluster;
use skein_tests::failure::{Failure, Outcome, ensure};
use tungstenite::Message;

use super::{PATIENCE, Stream, contains, kubectl, space};

/// Where the pods' web server listens, and what its page says.
const PORT: u16 = 8080;
const PAGE: &str = "ok\n";

pub(super) fn executes(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let (space, pod) = (space(peer), elsewhere(cluster, peer)?);
    let exec = |flags: &[&str], command: &[&str], input: &str| {
        let arguments = [&["-n", space.as_str(), "exec"][..], flags, &[pod.as_str(), "--"], command].concat();
        cluster.run_kubectl(peer, &arguments, input)
    };
    let (code, out, error) = exec(&[], &["sh", "-c", "echo $GREETING; echo bad >&2; exit 3"], "")?;
    let as_said = code == 3 && out == "welcome\n" && error.contains("bad\n");
    ensure(as_said, || format!("exit {code}: {out:?} {error:?}"))?;
    let long = "0123456789abcde\n".repeat(1 << 16);
    let (code, back, error) = exec(&["-i"], &["cat"], &long)?;
    ensure(code == 0 && back == long, || format!("exit {code}, {} bytes came back: {error}", back.len()))?;
    let (code, count, error) = exec(&["-i"], &["wc", "-c"], &long)?;
    ensure(code == 0 && count.trim() == "1048576", || format!("exit {code}: {count:?} {error}"))?;
    let (code, _, error) = exec(&[], &["no-such-program"], "")?;
    ensure(code != 0, || "a program that there is not ran".to_owned())?;
    Ok(format!("what is not there: exit {code}: {}", error.trim().lines().last().unwrap_or_default()))
}

pub(super) fn copies(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let pod = elsewhere(cluster, peer)?;
    let here = |name: &str| cluster.lab().host(peer).directory.join(name);
    let (sent, back) = (here("sent"), here("back"));
    let bytes: Vec<u8> = (0..1u32 << 17).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&sent, &bytes)?;
    kubectl(cluster, peer, &format!("cp {} {pod}:/tmp/copy", sent.display()))?;
    kubectl(cluster, peer, &format!("cp {pod}:/tmp/copy {}", back.display()))?;
    let same = std::fs::read(&back)? == bytes;
    for file in [sent, back] {
        std::fs::remove_file(file)?;
    }
    ensure(same, || "another file came back".to_owned())?;
    Ok(String::new())
}

pub(super) fn attaches(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let pod = elsewhere(cluster, peer)?;
    let stream = Stream::of(cluster, peer, &format!("attach {pod}"))?;
    stream.until("tick", PATIENCE)?;
    stream.until("tick", PATIENCE)?;
    drop(stream);
    // The pod ends because its input does, as the option asks that kubectl sets for it.
    let space = space(peer);
    let run = ["-n", space.as_str(), "run", "once", "-i", "--rm", "--restart=Never", "--image=bb:1", "--", "cat"];
    let (code, out, error) = cluster.run_kubectl(peer, &run, "hello\n")?;
    ensure(code == 0 && out.contains("hello\n"), || format!("exit {code}: {out:?} {error}"))?;
    Ok(String::new())
}

pub(super) fn forwards(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let pod = elsewhere(cluster, peer)?;
    serve_page(cluster, peer, &pod)?;
    let stream = Stream::of(cluster, peer, &format!("port-forward {pod} :{PORT}"))?;
    let line = stream.until("Forwarding from 127.0.0.1:", PATIENCE)?;
    let local = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
    let local: u16 = local.unwrap_or_default().parse()?;
    for _ in 0..3 {
        let mut tcp = cluster.lab().host(peer).netns.connect(([127, 0, 0, 1], local).into(), PATIENCE)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.write_all(b"GET /index.html HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer)?;
        ensure(answer.starts_with("HTTP/1.") && answer.ends_with(PAGE), || format!("{answer:?}"))?;
    }
    Ok(String::new())
}

/// The dialect that newer clients speak, whichever kubectl is here.
pub(super) fn over_websockets(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let pod = elsewhere(cluster, peer)?;
    let at = |rest: &str| format!("/api/v1/namespaces/{}/pods/{pod}/{rest}", space(peer));
    let exec = at("exec?command=sh&command=-c&command=wc%20-c;exit%203&stdin=1&stdout=1");
    let mut socket = cluster.api(peer).socket(&exec, "v5.channel.k8s.io", PATIENCE)?;
    let piece = [&[0][..], &[b'x'; 32 << 10]].concat();
    for _ in 0..32 {
        socket.send(Message::Binary(piece.clone().into()))?;
    }
    socket.send(Message::Binary(vec![255, 0].into()))?;
    let channels = hear(&mut socket, 4)?;
    let status: Value = serde_json::from_slice(&channels[3])?;
    let counted = String::from_utf8_lossy(&channels[1]).trim().to_owned();
    let as_said = counted == "1048576" && status["details"]["causes"][0]["message"] == "3";
    ensure(as_said, || format!("{counted:?} {status}"))?;

    serve_page(cluster, peer, &pod)?;
    let forward = at(&format!("portforward?ports={PORT},{}", PORT + 1));
    let mut socket = cluster.api(peer).socket(&forward, "v4.channel.k8s.io", PATIENCE)?;
    socket.send(Message::Binary([&[0][..], b"GET /index.html HTTP/1.0\r\n\r\n"].concat().into()))?;
    let channels = hear(&mut socket, 4)?;
    let text = |channel: usize| String::from_utf8_lossy(channels[channel].get(2..).unwrap_or_default()).into_owned();
    ensure(text(0).ends_with(PAGE), || format!("{:?}", text(0)))?;
    ensure(text(3).contains("connection refused"), || format!("{:?}", text(3)))?;
    Ok(text(3))
}

/// A pod of the Deployment that runs on another host than the peer that will be asked.
fn elsewhere(cluster: &Cluster, peer: usize) -> Outcome<String> {
    let list = format!("get pods -l app=web --field-selector=spec.nodeName!=h{peer},status.phase=Running -o name");
    let pods = kubectl(cluster, peer, &list)?;
    let pod = pods.lines().next().and_then(|name| name.strip_prefix("pod/"));
    pod.map(str::to_owned).ok_or_else(|| Failure::new("every pod is on this peer's own host"))
}

/// Starts the pod's web server, unless an earlier step did.
fn serve_page(cluster: &Cluster, peer: usize, pod: &str) -> Outcome<()> {
    let space = space(peer);
    let script = format!("wget -q -O - http://127.0.0.1:{PORT} >/dev/null || httpd -p {PORT} -h /www");
    contains(&cluster.kubectl_says(peer, &["-n", &space, "exec", pod, "--", "sh", "-c", &script], "")?, &[])?;
    std::thread::sleep(Duration::from_millis(100));
    Ok(())
}

/// What was said on each channel until the server closed.
fn hear(socket: &mut skein_tests::api::Socket, channels: usize) -> Outcome<Vec<Vec<u8>>> {
    let mut said = vec![Vec::new(); channels];
    loop {
        match socket.read()? {
            Message::Binary(bytes) => {
                let (channel, rest) = bytes.split_first().ok_or_else(|| Failure::new("an empty message"))?;
                let place = said.get_mut(usize::from(*channel));
                place.ok_or_else(|| Failure::new(format!("channel {channel}")))?.extend_from_slice(rest);
            }
            Message::Close(Some(frame)) if u16::from(frame.code) == 1000 => return Ok(said),
            Message::Ping(_) | Message::Pong(_) => {}
            other => return Err(Failure::new(format!("{other:?}"))),
        }
    }
}
