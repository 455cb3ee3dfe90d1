//! A client of `exec` or `attach` that speaks SPDY: one stream each for input, output, errors, the terminal's size and the
//! outcome, which it opens before anything else.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncRead;

use super::connection::{Reader, Sender, send};
use super::{Frame, header};
use crate::api::streams::request::Outcome;
use crate::api::streams::session::{ClientReader, ClientWriter, FromClient};

/// How long a client may take to open all its streams.
const STREAMS_WAIT: Duration = Duration::from_secs(30);
/// How much input may come before the last stream is open, in pieces, and the longest size of a terminal, in bytes.
const EARLY_LIMIT: usize = 16;
const SIZE_LIMIT: usize = 4 << 10;

/// Which streams the client's query promises, beside the one for the outcome.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Expected {
    pub(in super::super) stdin: bool,
    pub(in super::super) stdout: bool,
    pub(in super::super) stderr: bool,
    pub(in super::super) resize: bool,
}

/// What the client says.
#[derive(Debug)]
pub(in super::super) struct TerminalReader<S> {
    reader: Reader<S>,
    streams: Streams,
    waiting: VecDeque<FromClient>,
    size: Vec<u8>,
}

/// What the client hears.
#[derive(Debug)]
pub(in super::super) struct TerminalWriter {
    out: Sender,
    streams: Streams,
    pings: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Streams {
    error: Option<u32>,
    stdin: Option<u32>,
    stdout: Option<u32>,
    stderr: Option<u32>,
    resize: Option<u32>,
}

/// Waits until the client has opened what it promised. `None`: it went away, or took too long.
pub(in super::super) async fn wait_for_streams<S: AsyncRead + Send>(
    reader: Reader<S>,
    out: Sender,
    expected: Expected,
) -> Option<(TerminalReader<S>, TerminalWriter)> {
    let mut client = TerminalReader { reader, streams: Streams::default(), waiting: VecDeque::new(), size: Vec::new() };
    let all_open = async {
        while !client.streams.are_all(expected) {
            let frame = client.reader.next().await.ok()??;
            match frame {
                Frame::Open { stream, headers, .. } => {
                    let kind = header(&headers, "streamtype").unwrap_or_default();
                    let accepted = client.streams.open(kind, stream);
                    let answer = if accepted { Frame::Reply { stream } } else { Frame::Reset { stream } };
                    client.reader.send(answer).await.ok()?;
                }
                other => client.take(other),
            }
            if client.waiting.len() > EARLY_LIMIT {
                return None;
            }
        }
        Some(())
    };
    tokio::time::timeout(STREAMS_WAIT, all_open).await.ok()??;
    let writer = TerminalWriter { out, streams: client.streams, pings: 0 };
    Some((client, writer))
}

impl Streams {
    /// Notes a new stream; `false` for one that is there already, or for nothing.
    fn open(&mut self, kind: &str, stream: u32) -> bool {
        let place = match kind {
            "error" => &mut self.error,
            "stdin" => &mut self.stdin,
            "stdout" => &mut self.stdout,
            "stderr" => &mut self.stderr,
            "resize" => &mut self.resize,
            _ => return false,
        };
        place.is_none() && *place.insert(stream) == stream
    }

    fn are_all(&self, expected: Expected) -> bool {
        self.error.is_some()
            && self.stdin.is_some() >= expected.stdin
            && self.stdout.is_some() >= expected.stdout
            && self.stderr.is_some() >= expected.stderr
            && self.resize.is_some() >= expected.resize
    }
}

impl<S> TerminalReader<S> {
    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Data { stream, bytes, fin } if Some(stream) == self.streams.stdin => {
                self.waiting.extend((!bytes.is_empty()).then_some(FromClient::Input(bytes)));
                self.waiting.extend(fin.then_some(FromClient::InputEnd));
            }
            Frame::Data { stream, bytes, .. } if Some(stream) == self.streams.resize => self.resized(&bytes),
            Frame::Reset { stream } if Some(stream) == self.streams.stdin => {
                self.waiting.push_back(FromClient::InputEnd);
            }
            _ => {}
        }
    }

    /// Sizes come as lines of JSON, which frames may cut.
    fn resized(&mut self, bytes: &[u8]) {
        self.size.extend_from_slice(bytes);
        while let Some(end) = self.size.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.size.drain(..=end).collect();
            self.waiting.extend(serde_json::from_slice(&line).ok().map(FromClient::Resize));
        }
        if self.size.len() > SIZE_LIMIT {
            self.size.clear();
        }
    }
}

impl<S: AsyncRead + Send> ClientReader for TerminalReader<S> {
    async fn next(&mut self) -> Option<FromClient> {
        loop {
            if let Some(said) = self.waiting.pop_front() {
                return Some(said);
            }
            match self.reader.next().await.ok()?? {
                Frame::Open { stream, .. } => self.reader.send(Frame::Reset { stream }).await.ok()?,
                other => self.take(other),
            }
        }
    }
}

impl TerminalWriter {
    async fn data(&self, stream: Option<u32>, bytes: Bytes, fin: bool) -> io::Result<()> {
        // What the client did not ask for is not sent.
        let Some(stream) = stream else { return Ok(()) };
        send(&self.out, Frame::Data { stream, bytes, fin }).await
    }
}

impl ClientWriter for TerminalWriter {
    async fn output(&mut self, bytes: Bytes) -> io::Result<()> {
        self.data(self.streams.stdout, bytes, false).await
    }

    async fn error_output(&mut self, bytes: Bytes) -> io::Result<()> {
        self.data(self.streams.stderr, bytes, false).await
    }

    async fn alive(&mut self) -> io::Result<()> {
        self.pings = self.pings.wrapping_add(2);
        send(&self.out, Frame::Ping { id: self.pings }).await
    }

    async fn end(&mut self, outcome: &Outcome) -> io::Result<()> {
        let status = outcome.to_status().to_string();
        self.data(self.streams.error, status.into(), true).await?;
        self.data(self.streams.stdout, Bytes::new(), true).await?;
        self.data(self.streams.stderr, Bytes::new(), true).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::split;
    use super::*;
    use crate::runtime::Size;

    fn open(stream: u32, kind: &str) -> Frame {
        Frame::Open { stream, fin: false, headers: vec![("streamtype".into(), kind.into())] }
    }

    fn data(stream: u32, bytes: &'static [u8], fin: bool) -> Frame {
        Frame::Data { stream, bytes: Bytes::from_static(bytes), fin }
    }

    #[tokio::test]
    async fn a_client_opens_its_streams_speaks_and_hears_how_it_ended() {
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let (mut client, to_server, _writing) = split(theirs);
        let (reader, out, _ours) = split(ours);
        let said = [
            open(1, "error"),
            open(3, "stdin"),
            data(3, b"early", false),
            open(5, "elsewhere"),
            open(7, "resize"),
            open(9, "stdout"),
            data(7, b"{\"Width\":8", false),
            data(7, b",\"Height\":9}\n", false),
            data(3, b"late", true),
        ];
        for frame in said {
            to_server.send(frame).await.unwrap();
        }
        let expected = Expected { stdin: true, stdout: true, stderr: false, resize: true };
        let (mut reader, mut writer) = wait_for_streams(reader, out, expected).await.unwrap();
        let mut heard = Vec::new();
        for _ in 0..4 {
            heard.push(reader.next().await.unwrap());
        }
        let input = |text: &'static str| FromClient::Input(Bytes::from_static(text.as_bytes()));
        let size = FromClient::Resize(Size { width: 8, height: 9 });
        assert_eq!(heard, [input("early"), size, input("late"), FromClient::InputEnd]);
        writer.output("out".into()).await.unwrap();
        writer.error_output("nobody asked".into()).await.unwrap();
        writer.end(&Outcome::Exited(0)).await.unwrap();
        let mut answers = Vec::new();
        for _ in 0..8 {
            answers.push(client.next().await.unwrap().unwrap());
        }
        assert_eq!(answers[2], Frame::Reset { stream: 5 });
        assert!(answers.contains(&data(9, b"out", false)) && answers.contains(&data(9, b"", true)), "{answers:?}");
        let status = br#"{"metadata":{},"status":"Success"}"#;
        assert!(answers.contains(&data(1, status, true)), "{answers:?}");
    }
}
