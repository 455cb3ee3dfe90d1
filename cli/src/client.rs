//! Asks a daemon over the Unix socket in its data directory: one HTTP/1.1 request on a connection of its own, and its
//! answer. What is asked lives in the verbs.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use skein_node::api::server::SOCKET_FILE;
use tokio::net::UnixStream;

use crate::failure::Failure;
use crate::settings::ROOT_DATA_DIR;

/// How long an answer's head may take; the daemon itself gives up after a minute.
const ANSWER_LIMIT: Duration = Duration::from_secs(65);
/// The largest answer that is read, in bytes: a table of 100 000 pods has about 40 MB.
const ANSWER_BYTES: usize = 256 << 20;
/// The longest line of a stream, in bytes.
const LINE_BYTES: usize = 4 << 20;

/// What a table asks to be written as: rows with the cells that people read.
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const JSON: &str = "application/json";

/// Why a daemon did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens.
    #[error("no skein daemon answers on {path} ({source})", path = socket.display())]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The socket belongs to somebody else.
    #[error("the socket {path} may not be used by this user", path = socket.display())]
    Denied {
        /// The socket.
        socket: PathBuf,
    },
    /// It said no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// In the daemon's words.
        message: String,
        /// After how many seconds it may be asked again, if it says so; else 0.
        retry_after_s: u64,
    },
    /// The connection broke, or the answer is none.
    #[error("the daemon's answer was cut off: {0}")]
    Broken(String),
    /// Its answer is whole, and not as this program reads it.
    #[error("this skein and the daemon do not understand each other ({0}): they are of different versions")]
    OtherVersion(serde_json::Error),
    /// It did not answer in time.
    #[error("the daemon did not answer within {} s", .0.as_secs_f32())]
    Late(Duration),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Failure::new(&error);
        match error {
            ClientError::NoDaemon { socket, .. } => {
                let dir = socket.parent().unwrap_or(Path::new(""));
                let is_elsewhere = !nix::unistd::geteuid().is_root() && Path::new(ROOT_DATA_DIR).exists();
                failure.next(remedy(dir, is_elsewhere))
            }
            ClientError::Denied { .. } => failure.next("run this as the user who ran `skein up`, or as root"),
            ClientError::Refused { retry_after_s: 1, .. } => failure.next("try again in a second"),
            ClientError::Refused { retry_after_s: seconds @ 2.., .. } => {
                failure.next(format!("try again in {seconds} seconds"))
            }
            ClientError::Refused { .. } => failure,
            ClientError::OtherVersion(_) => {
                failure.next("restart the daemon with this program, or use the one that the daemon runs")
            }
            ClientError::Broken(_) | ClientError::Late(_) => failure.next("look at the daemon's log, and try again"),
        }
    }
}

/// What to do where no daemon answers. A node that runs as root keeps its data elsewhere than other users' nodes: who forgets `sudo`
/// must not be told to start a second one.
fn remedy(dir: &Path, is_elsewhere: bool) -> String {
    let start = format!("start it with `skein up --data-dir {}`", dir.display());
    let root = if is_elsewhere {
        format!("if the node of {ROOT_DATA_DIR} is meant, run this as root (sudo); else ")
    } else {
        String::new()
    };
    format!("{root}{start}, or name the right one with --data-dir DIR")
}

/// Where a daemon is asked.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
    limit: Duration,
}

impl Client {
    /// The daemon of a data directory.
    pub(crate) fn of(data_dir: &Path) -> Self {
        Client { socket: data_dir.join(SOCKET_FILE), limit: ANSWER_LIMIT }
    }

    /// The same, with less patience.
    pub(crate) fn within(&self, limit: Duration) -> Self {
        Client { limit, ..self.clone() }
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// When nobody answers, or not as asked.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.get_as(path, JSON).await
    }

    /// Reads JSON of some kind of its own.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Result<Value, ClientError> {
        parse(&self.bytes(Method::GET, path, accept, None).await?)
    }

    /// Reads text.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) async fn text(&self, path: &str) -> Result<String, ClientError> {
        let bytes = self.bytes(Method::GET, path, "*/*", None).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sends JSON, and reads JSON.
    ///
    /// # Errors
    /// As [`Client::get`]. Where the answer was cut off or is late, what was asked may have happened.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        parse(&self.bytes(Method::POST, path, JSON, Some(body)).await?)
    }

    /// Sends JSON, and reads text.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub(crate) async fn post_for_text(&self, path: &str, body: &Value) -> Result<String, ClientError> {
        let bytes = self.bytes(Method::POST, path, "*/*", Some(body)).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Begins to read a stream of JSON, one value on each line.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) async fn lines(&self, path: &str, accept: &str) -> Result<Lines, ClientError> {
        let answer = self.ask(Method::GET, path, accept, None).await?;
        if answer.status().is_success() {
            return Ok(Lines { body: answer.into_body(), read: Vec::new() });
        }
        Err(refused(answer.status().as_u16(), &self.read(answer.into_body()).await?))
    }

    async fn bytes(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, ClientError> {
        let answer = self.ask(method, path, accept, body).await?;
        let status = answer.status();
        let bytes = self.read(answer.into_body()).await?;
        if status.is_success() { Ok(bytes) } else { Err(refused(status.as_u16(), &bytes)) }
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, ClientError> {
        let read = Limited::new(body, ANSWER_BYTES).collect();
        let read = tokio::time::timeout(self.limit, read).await.map_err(|_| ClientError::Late(self.limit))?;
        Ok(read.map_err(|error| ClientError::Broken(error.to_string()))?.to_bytes())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, ClientError> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "skein");
        request = request.header(header::ACCEPT, accept).header(header::USER_AGENT, "skein");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, JSON);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| ClientError::Broken(format!("{path}: {error}")))?;
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Denied { socket: self.socket.clone() },
            _ => ClientError::NoDaemon { socket: self.socket.clone(), source },
        })?;
        let broken = |error: hyper::Error| ClientError::Broken(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the answer's body; what is wrong with it is told there.
        tokio::spawn(async move { drop(connection.await) });
        let answer = tokio::time::timeout(self.limit, sender.send_request(request)).await;
        answer.map_err(|_| ClientError::Late(self.limit))?.map_err(broken)
    }
}

/// A stream of JSON values.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Incoming,
    read: Vec<u8>,
}

impl Lines {
    /// The next value; `None` at the end. A call that is dropped loses nothing.
    ///
    /// # Errors
    /// When the stream breaks, or a line is none.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return parse(&line).map(Some);
            }
            if self.read.len() > LINE_BYTES {
                return Err(ClientError::Broken(format!("a line is longer than {LINE_BYTES} bytes")));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(ClientError::Broken(error.to_string())),
                Some(Ok(frame)) => self.read.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            }
        }
    }
}

/// Percent-encodes what a query's value or a path's part cannot hold.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn parse(bytes: &[u8]) -> Result<Value, ClientError> {
    serde_json::from_slice(bytes).map_err(ClientError::OtherVersion)
}

/// What a failed answer says: the message of its Status, or its text.
fn refused(code: u16, body: &[u8]) -> ClientError {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    let message = match status["message"].as_str() {
        Some(message) => message.to_owned(),
        None if text.trim().is_empty() => format!("the daemon answered with status {code}"),
        None => format!("the daemon answered with status {code}: {}", text.trim()),
    };
    let retry_after_s = status["details"]["retryAfterSeconds"].as_u64().unwrap_or(0);
    ClientError::Refused { code, message, retry_after_s }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    /// A daemon that says one thing and hangs up.
    async fn says(answer: &'static str) -> (tempfile::TempDir, Client) {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET_FILE)).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let client = Client::of(dir.path());
        (dir, client)
    }

    #[tokio::test]
    async fn without_a_daemon_it_is_said_how_to_start_one() {
        let dir = tempfile::tempdir().unwrap();
        let error = Client::of(dir.path()).get("/x").await.unwrap_err();
        assert!(matches!(error, ClientError::NoDaemon { .. }), "{error}");
        assert!(error.to_string().contains("skein.sock"));
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_daemon_s_words() {
        let (_dir, client) = says("HTTP/1.1 503 X\r\ncontent-length: 27\r\n\r\n{\"message\":\"no leader now\"}").await;
        let error = client.get("/x").await.unwrap_err();
        assert!(
            matches!(&error, ClientError::Refused { code: 503, message, .. } if message == "no leader now"),
            "{error}"
        );
        let (_dir, client) = says("HTTP/1.1 500 X\r\ncontent-length: 5\r\n\r\nnope\n").await;
        assert!(client.get("/x").await.unwrap_err().to_string().ends_with("500: nope"));
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_is_no_answer() {
        let (_dir, client) = says("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"a\":1}").await;
        assert!(matches!(client.get("/x").await, Err(ClientError::Broken(_))));
    }

    #[tokio::test]
    async fn a_stream_is_read_line_by_line_however_it_is_cut() {
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{\"a\r\n8\r\n\":1}\n{\"b\r\n6\r\n\":2}\n\n\r\n0\r\n\r\n";
        let (_dir, client) = says(answer).await;
        let mut lines = client.lines("/x", JSON).await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap()["a"], 1);
        assert_eq!(lines.next().await.unwrap().unwrap()["b"], 2);
        assert!(lines.next().await.unwrap().is_none());
    }

    #[test]
    fn what_a_query_cannot_hold_is_encoded() {
        assert_eq!(encode("a-b.c_d~"), "a-b.c_d~");
        assert_eq!(encode("a b&ü"), "a%20b%26%C3%BC");
    }
}
