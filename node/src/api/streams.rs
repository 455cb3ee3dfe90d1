//! `exec`, `attach` and `portforward`: checks what is asked, finds the node that has the pod, and hands the client's
//! connection over to the dialect that it speaks. The same session then crosses peers, whatever the dialect.
//!
//! | client | asks by | dialect |
//! |---|---|---|
//! | kubectl from 1.31, kube-rs, Python | WebSocket `v5.channel.k8s.io`, `v4.channel.k8s.io` | [`channels`] |
//! | older kubectl, and newer after a refusal | an upgrade to SPDY/3.1 | [`spdy`] |
//! | kubectl from 1.31, for ports | WebSocket `SPDY/3.1+portforward.k8s.io` | SPDY in messages |
//! | kube-rs, Python, for ports | WebSocket `v4.channel.k8s.io`, `?ports=` | two channels for each port |

pub mod channels;
mod forward;
pub mod frame;
pub mod node_side;
pub mod request;
pub mod session;
pub mod spdy;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequestParts as _;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use skein_kube::resource::Subresource;
use skein_kube::status::Status;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use self::forward::Target;
use self::request::{SessionRequest, Wanted};
use self::session::{OpenError, Session};
use self::spdy::Expected;
use super::answer::{Answer, too_many};
use super::backend::Rendered;
use super::logs;
use super::query::Query;
use super::routes::Asked;
use super::shell::{Call, Shell};
use crate::runtime::{SessionError, Wires};

/// How many clients may have sessions through this peer at once; further ones are told to try again.
pub const CLIENTS_LIMIT: usize = 256;
/// The longest message of a WebSocket, in bytes; a longer one ends the session. Some clients send a whole file as one.
const MESSAGE_LIMIT: usize = 4 << 20;
/// How much is read from a WebSocket at once, in bytes.
const READ_BYTES: usize = 16 << 10;
/// SPDY's name in an upgrade, and the header by which it is agreed what its streams are for.
const SPDY: &str = "SPDY/3.1";
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
/// What its streams may be for. Without the first, clients would lose exit codes.
const TERMINAL_STREAMS: &str = "v4.channel.k8s.io";
const FORWARD_STREAMS: &str = "portforward.k8s.io";
/// What a WebSocket may be for when ports are forwarded, the better one first.
const FORWARD_SOCKETS: [&str; 3] = [forward::TUNNEL, "v4.channel.k8s.io", "v5.channel.k8s.io"];

/// Answers a request for a session with a pod: with an upgrade, after which the session goes on by itself.
///
/// # Errors
/// When no upgrade is asked for, or to what is not spoken here; when the container is not named or does not run; when its
/// node cannot be reached, or too many sessions are open.
pub async fn serve(shell: &Arc<Shell>, asked: &Asked<'_>, pod: &Rendered, part: Subresource) -> Result<Answer, Status> {
    let forwards = part == Subresource::PortForward;
    let (sockets, streams): (&[&'static str], _) =
        if forwards { (&FORWARD_SOCKETS, FORWARD_STREAMS) } else { (&channels::PROTOCOLS, TERMINAL_STREAMS) };
    let upgrade = Upgrade::agree(asked.call, sockets, streams).await?;
    let request = session_request(&pod.value, &asked.query, part)?;
    let busy = |_| too_many("too many sessions are open through this peer; try again later, or ask another one", 1);
    let permit = shell.sessions.clone().try_acquire_owned().map_err(busy)?;
    let node = pod.value["spec"]["nodeName"].as_str().unwrap_or_default();
    let node = logs::node_id(shell, node, &pod.value).await?;
    let client = if forwards {
        let target = Arc::new(Target { backend: shell.backend.clone(), node, pod: request });
        // Inside SPDY each connection names its port.
        let ports = if upgrade.is_spdy() { Vec::new() } else { forward::ports(&asked.query)? };
        Client::Ports(target, ports)
    } else {
        let expected = expected(&request.wanted, asked.query.flag("tty")?);
        Client::Terminal(session::open(&*shell.backend, node, &request).await?, expected)
    };
    Ok(upgrade.begin(shell, asked.call, client, permit))
}

/// What a client gets once it is connected.
enum Client {
    /// A process, and which streams of it the client promised to open.
    Terminal(Session, Expected),
    /// Ports of a pod: these, or those that the client names.
    Ports(Arc<Target>, Vec<u16>),
}

/// To what a client's connection goes over.
enum Upgrade {
    WebSocket(Box<WebSocketUpgrade>),
    Spdy(OnUpgrade, &'static str),
}

impl Upgrade {
    async fn agree(call: &Call, sockets: &[&'static str], streams: &'static str) -> Result<Upgrade, Status> {
        let named = call.header(header::UPGRADE.as_str()).unwrap_or_default();
        let is_spdy = named.eq_ignore_ascii_case(SPDY);
        if !is_spdy && !named.eq_ignore_ascii_case("websocket") {
            return Err(Status::bad_request("Upgrade request required"));
        }
        let missing = || Status::bad_request("Upgrade request required: the connection must be one of HTTP/1.1");
        let on = call.upgrade.clone().ok_or_else(missing)?;
        if !is_spdy {
            return websocket(call, on, sockets).await.map(|upgrade| Upgrade::WebSocket(Box::new(upgrade)));
        }
        let offered = call.headers.get_all(STREAM_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        let offered: Vec<&str> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
        if !offered.contains(&streams) {
            let offered = offered.join(" ");
            return Err(Status::new(
                403,
                "Forbidden",
                format!(
                    "unable to upgrade: unable to negotiate protocol: client supports [{offered}], server accepts [{streams}]"
                ),
            ));
        }
        Ok(Upgrade::Spdy(on, streams))
    }

    /// Whether the connection speaks SPDY, as it is or inside a WebSocket.
    fn is_spdy(&self) -> bool {
        match self {
            Upgrade::Spdy(..) => true,
            Upgrade::WebSocket(upgrade) => upgrade.selected_protocol().is_some_and(|name| name == forward::TUNNEL),
        }
    }

    /// The answer by which the connection goes over; what comes after it is served beside.
    fn begin(self, shell: &Arc<Shell>, call: &Call, client: Client, permit: OwnedSemaphorePermit) -> Answer {
        let is_spdy = self.is_spdy();
        let (stop, tasks) = (shell.stop.child_token(), shell.session_tasks.clone());
        let over = call.credential.clone().over(shell.clone());
        match self {
            Upgrade::WebSocket(upgrade) => upgrade.on_upgrade(move |socket| {
                tasks.track_future(async move {
                    let _permit = permit;
                    until_over(over, &stop, serve_socket(client, socket, is_spdy, &stop)).await;
                })
            }),
            Upgrade::Spdy(on, streams) => {
                tasks.spawn(async move {
                    let _permit = permit;
                    match on.await {
                        Ok(upgraded) => {
                            until_over(over, &stop, serve_spdy(client, TokioIo::new(upgraded), &stop)).await;
                        }
                        Err(error) => tracing::debug!(%error, "a client did not go over to SPDY"),
                    }
                });
                let mut answer = Response::new(Body::empty());
                *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                let headers = answer.headers_mut();
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
                headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(streams));
                answer
            }
        }
    }
}

/// Carries a session on, and has it end when what its client showed counts no more.
async fn until_over(over: impl Future<Output = ()>, stop: &CancellationToken, session: impl Future<Output = ()>) {
    let mut session = std::pin::pin!(session);
    tokio::select! {
        () = &mut session => return,
        () = over => stop.cancel(),
    }
    session.await;
}

async fn websocket(call: &Call, on: OnUpgrade, protocols: &[&'static str]) -> Result<WebSocketUpgrade, Status> {
    let mut request = Request::new(());
    *request.method_mut() = call.method.clone();
    *request.headers_mut() = call.headers.clone();
    request.extensions_mut().insert(on);
    let (mut parts, ()) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = upgrade.map_err(|rejection| Status::bad_request(rejection.to_string()))?;
    let upgrade = upgrade.max_message_size(MESSAGE_LIMIT).max_frame_size(MESSAGE_LIMIT).read_buffer_size(READ_BYTES);
    let upgrade = upgrade.protocols(protocols.iter().copied());
    if upgrade.selected_protocol().is_some() {
        return Ok(upgrade);
    }
    let offered: Vec<&str> = upgrade.requested_protocols().filter_map(|name| name.to_str().ok()).collect();
    let (offered, supported) = (offered.join(" "), protocols.join(" "));
    let message = format!("requested protocol(s) are not supported: [{offered}]; supports [{supported}]");
    Err(Status::bad_request(message))
}

async fn serve_socket(client: Client, socket: WebSocket, is_spdy: bool, stop: &CancellationToken) {
    match client {
        Client::Terminal(session, _) => {
            let (reader, writer) = channels::split(socket);
            session::run(session, reader, writer, stop).await;
        }
        Client::Ports(target, _) if is_spdy => forward::over_tunnel(target, socket, stop).await,
        Client::Ports(target, ports) => forward::over_channels(target, socket, &ports, stop).await,
    }
}

async fn serve_spdy<S>(client: Client, io: S, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    match client {
        Client::Terminal(session, expected) => {
            let (reader, out, writing) = spdy::split(io);
            let streams = tokio::select! {
                streams = spdy::wait_for_streams(reader, out, expected) => streams,
                () = stop.cancelled() => None,
            };
            if let Some((reader, writer)) = streams {
                session::run(session, reader, writer, stop).await;
            }
            writing.finish().await;
        }
        Client::Ports(target, _) => forward::over_spdy(target, io, stop).await,
    }
}

fn expected(wanted: &Wanted, has_size: bool) -> Expected {
    let wires = match wanted {
        Wanted::Exec { wires, .. } | Wanted::Attach { wires } => *wires,
        Wanted::Port { .. } => Wires::default(),
    };
    Expected { stdin: wires.stdin, stdout: wires.stdout, stderr: wires.stderr, resize: has_size }
}

/// What the node that has the pod is asked for.
fn session_request(pod: &Value, query: &Query, part: Subresource) -> Result<SessionRequest, Status> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (uid, name) = (text(&pod["metadata"]["uid"]), text(&pod["metadata"]["name"]));
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let (container, wanted) = match part {
        Subresource::PortForward => (some_running(pod)?, Wanted::Port { port: 0 }),
        _ => {
            let container = logs::container(pod, query)?;
            let wanted = wanted(pod, &container, query, part)?;
            (container, wanted)
        }
    };
    let status = status_of(pod, &container).filter(|status| status["state"]["running"].is_object());
    let status = status.ok_or_else(|| OpenError::Refused(SessionError::NotRunning(container.clone())))?;
    let attempt = u32::try_from(status["restartCount"].as_u64().unwrap_or(0)).unwrap_or(u32::MAX);
    Ok(SessionRequest { uid, pod: name, container, attempt, wanted })
}

fn wanted(pod: &Value, container: &str, query: &Query, part: Subresource) -> Result<Wanted, Status> {
    let flag = |name: &str| query.flag(name);
    let mut wires =
        Wires { stdin: flag("stdin")?, stdout: flag("stdout")?, stderr: flag("stderr")?, tty: flag("tty")? };
    if !wires.stdin && !wires.stdout && !wires.stderr {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    if part == Subresource::Attach {
        let of = |field: &str| pod["spec"][field].as_array().into_iter().flatten();
        let spec = of("containers")
            .chain(of("initContainers"))
            .chain(of("ephemeralContainers"))
            .find(|found| found["name"] == container);
        let has = |field: &str| spec.is_some_and(|spec| spec[field] == true);
        if wires.stdin && !has("stdin") {
            let message = format!("container {container} takes no input: its field stdin is not true");
            return Err(Status::bad_request(message));
        }
        // Whether there is a terminal was decided when the container was made.
        wires.tty = has("tty");
        wires.stderr &= !wires.tty;
        return Ok(Wanted::Attach { wires });
    }
    let command: Vec<String> =
        query.iter().filter(|(name, _)| *name == "command").map(|(_, word)| word.to_owned()).collect();
    if command.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    // What a terminal shows is one stream.
    wires.stderr &= !wires.tty;
    Ok(Wanted::Exec { command, wires })
}

/// A container of a pod that runs: all of them share the pod's network.
fn some_running(pod: &Value) -> Result<String, Status> {
    let mut statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let running = statuses.find(|status| status["state"]["running"].is_object());
    running.and_then(|status| status["name"].as_str()).map(str::to_owned).ok_or_else(|| {
        let phase = pod["status"]["phase"].as_str().unwrap_or("Unknown");
        Status::bad_request(format!("unable to forward port because pod is not running. Current status={phase}"))
    })
}

fn status_of<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    let of = |field: &str| pod["status"][field].as_array().into_iter().flatten();
    of("containerStatuses")
        .chain(of("initContainerStatuses"))
        .chain(of("ephemeralContainerStatuses"))
        .find(|status| status["name"] == container)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn pod(state: &Value) -> Value {
        json!({
            "metadata": {"name": "web-1", "uid": "u"},
            "spec": {"nodeName": "goose", "containers": [{"name": "web", "tty": true}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "web", "restartCount": 2, "state": state}]},
        })
    }

    fn ask(pod: &Value, query: &str, part: Subresource) -> Result<SessionRequest, (u16, String)> {
        let query = Query::parse(Some(query)).unwrap();
        session_request(pod, &query, part).map_err(|status| (status.code, status.message))
    }

    #[test]
    fn a_command_is_asked_for_as_the_query_says() {
        let running = pod(&json!({"running": {}}));
        let request = ask(&running, "command=ls&command=-l&stdin=1&stdout=true", Subresource::Exec).unwrap();
        let wires = Wires { stdin: true, stdout: true, ..Wires::default() };
        assert_eq!(request.wanted, Wanted::Exec { command: vec!["ls".into(), "-l".into()], wires });
        assert_eq!((request.attempt, request.container.as_str()), (2, "web"));
        let both = ask(&running, "command=sh&stdout=1&stderr=1&tty=1", Subresource::Exec).unwrap();
        let Wanted::Exec { wires, .. } = both.wanted else { panic!("no command") };
        assert!(wires.tty && !wires.stderr, "a terminal has one stream");
    }

    #[test]
    fn what_cannot_be_is_refused_in_kubernetes_words() {
        let running = pod(&json!({"running": {}}));
        let refused = |query: &str, part| ask(&running, query, part).unwrap_err();
        assert_eq!(refused("command=ls", Subresource::Exec).1, "you must specify at least 1 of stdin, stdout, stderr");
        assert_eq!(refused("stdout=1", Subresource::Exec).0, 400);
        assert!(refused("stdout=1&container=db", Subresource::Attach).1.contains("db is not valid"));
        assert!(refused("stdin=1", Subresource::Attach).1.contains("takes no input"));
        let waiting = pod(&json!({"waiting": {}}));
        let missing = (500, "container not found (\"web\")".to_owned());
        assert_eq!(ask(&waiting, "stdout=1&command=ls", Subresource::Exec).unwrap_err(), missing);
        assert!(ask(&waiting, "", Subresource::PortForward).unwrap_err().1.contains("Current status=Running"));
        let mut nowhere = running.clone();
        nowhere["spec"]["nodeName"] = Value::Null;
        assert_eq!(
            ask(&nowhere, "", Subresource::PortForward).unwrap_err().1,
            "pod web-1 does not have a host assigned"
        );
    }

    #[test]
    fn whether_an_attachment_has_a_terminal_is_the_container_s_matter() {
        let request = ask(&pod(&json!({"running": {}})), "stdout=1&stderr=1", Subresource::Attach).unwrap();
        assert_eq!(request.wanted, Wanted::Attach { wires: Wires { stdout: true, tty: true, ..Wires::default() } });
    }
}
