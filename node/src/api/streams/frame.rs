//! How two peers speak about one session, over a byte stream of their own: a request, then frames in both directions.
//! What a frame leads to does not live here.
//!
//! A frame is a kind (one byte), a length (two bytes, big-endian) and so many bytes. The stream below holds back who sends
//! faster than is read, so nothing here queues.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::request::{Outcome, SessionRequest};
use crate::runtime::{SessionError, Size};

/// The most bytes that one frame carries; longer pieces are sent as several.
pub const PAYLOAD_LIMIT: usize = 16 << 10;
/// The longest request, in bytes: the longest URL as JSON is below it.
pub const REQUEST_LIMIT: usize = 256 << 10;
const HEAD: usize = 3;

/// One thing that is said about a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// To the node: input of the process, or bytes for the port.
    Input(Bytes),
    /// To the node: no more input comes.
    InputEnd,
    /// To the node: the terminal's size.
    Resize(Size),
    /// To the node: whoever asked is connected, so begin.
    Start,
    /// From the node: what was asked for can be had.
    Opened,
    /// From the node: it cannot, and why.
    Refused(SessionError),
    /// From the node: output, or bytes from the port.
    Output(Bytes),
    /// From the node: what the process says on its standard error.
    ErrorOutput(Bytes),
    /// From the node, last of all: how it ended.
    Outcome(Outcome),
    /// From the node: there is nothing to say; whoever is gone is noticed by it.
    Alive,
}

const INPUT: u8 = 0;
const INPUT_END: u8 = 1;
const RESIZE: u8 = 2;
const START: u8 = 3;
const OPENED: u8 = 4;
const REFUSED: u8 = 5;
const OUTPUT: u8 = 6;
const ERROR_OUTPUT: u8 = 7;
const OUTCOME: u8 = 8;
const ALIVE: u8 = 9;

/// The reading end.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from a stream.
    pub fn new(stream: R) -> Self {
        FrameReader { stream, buffer: BytesMut::with_capacity(HEAD + PAYLOAD_LIMIT) }
    }

    /// The request at the stream's beginning.
    ///
    /// # Errors
    /// When the stream breaks or ends, or it is no request.
    pub async fn request(&mut self) -> io::Result<SessionRequest> {
        let length = self.stream.read_u32().await? as usize;
        if length > REQUEST_LIMIT {
            return Err(invalid("a request that is too long"));
        }
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await?;
        parsed(&bytes)
    }

    /// The next frame; `None` at the stream's end. May be dropped while it waits, without loss.
    ///
    /// # Errors
    /// When the stream breaks, ends within a frame, or carries what is no frame.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = decode(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }
}

/// The writing end.
#[derive(Debug)]
pub struct FrameWriter<W> {
    stream: W,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes to a stream.
    pub fn new(stream: W) -> Self {
        FrameWriter { stream }
    }

    /// The request, which comes before all frames.
    ///
    /// # Errors
    /// When it is too long, or the stream breaks.
    pub async fn request(&mut self, request: &SessionRequest) -> io::Result<()> {
        let bytes = serde_json::to_vec(request).map_err(io::Error::other)?;
        let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= REQUEST_LIMIT);
        let length = length.ok_or_else(|| invalid("the command is too long"))?;
        self.stream.write_all(&[&length.to_be_bytes(), bytes.as_slice()].concat()).await?;
        self.stream.flush().await
    }

    /// One frame, or several when it carries more than one may.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        match frame {
            Frame::Input(bytes) => self.pieces(INPUT, bytes).await?,
            Frame::Output(bytes) => self.pieces(OUTPUT, bytes).await?,
            Frame::ErrorOutput(bytes) => self.pieces(ERROR_OUTPUT, bytes).await?,
            Frame::InputEnd => self.piece(INPUT_END, &[]).await?,
            Frame::Start => self.piece(START, &[]).await?,
            Frame::Opened => self.piece(OPENED, &[]).await?,
            Frame::Alive => self.piece(ALIVE, &[]).await?,
            Frame::Resize(size) => self.piece(RESIZE, &json(size)?).await?,
            Frame::Refused(why) => self.piece(REFUSED, &json(why)?).await?,
            Frame::Outcome(outcome) => self.piece(OUTCOME, &json(outcome)?).await?,
        }
        self.stream.flush().await
    }

    /// Says that no more comes.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    async fn pieces(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PAYLOAD_LIMIT) {
            self.piece(kind, piece).await?;
        }
        Ok(())
    }

    async fn piece(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let length = u16::try_from(payload.len()).ok().filter(|_| payload.len() <= PAYLOAD_LIMIT);
        let [high, low] = length.ok_or_else(|| invalid("a frame that is too long"))?.to_be_bytes();
        self.stream.write_all(&[&[kind, high, low], payload].concat()).await
    }
}

fn decode(buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
    let [kind, high, low, ..] = buffer[..] else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > PAYLOAD_LIMIT {
        return Err(invalid("a frame that is too long"));
    }
    if buffer.len() < HEAD + length {
        return Ok(None);
    }
    buffer.advance(HEAD);
    let payload = buffer.split_to(length).freeze();
    Ok(Some(match kind {
        INPUT => Frame::Input(payload),
        INPUT_END => Frame::InputEnd,
        RESIZE => Frame::Resize(parsed(&payload)?),
        START => Frame::Start,
        OPENED => Frame::Opened,
        REFUSED => Frame::Refused(parsed(&payload)?),
        OUTPUT => Frame::Output(payload),
        ERROR_OUTPUT => Frame::ErrorOutput(payload),
        OUTCOME => Frame::Outcome(parsed(&payload)?),
        ALIVE => Frame::Alive,
        _ => return Err(invalid("a frame of a kind that there is not")),
    }))
}

fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::other)
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(|error| invalid(&error.to_string()))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        let bytes = || prop::collection::vec(any::<u8>(), 1..200).prop_map(Bytes::from);
        prop_oneof![
            bytes().prop_map(Frame::Input),
            bytes().prop_map(Frame::Output),
            bytes().prop_map(Frame::ErrorOutput),
            Just(Frame::InputEnd),
            Just(Frame::Start),
            Just(Frame::Opened),
            Just(Frame::Alive),
            any::<(u16, u16)>().prop_map(|(width, height)| Frame::Resize(Size { width, height })),
            any::<i32>().prop_map(|code| Frame::Outcome(Outcome::Exited(code))),
            ".{0,50}".prop_map(|why| Frame::Outcome(Outcome::Failed(why))),
            ".{0,50}".prop_map(|why| Frame::Refused(SessionError::Failed(why))),
        ]
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    proptest! {
        #[test]
        fn frames_arrive_as_they_were_sent_however_they_are_cut(
            frames in prop::collection::vec(any_frame(), 0..8), room in 1usize..64,
        ) {
            let heard = run(async {
                let (ours, theirs) = tokio::io::duplex(room);
                let sent = frames.clone();
                let send = async move {
                    let mut writer = FrameWriter::new(ours);
                    for frame in &sent {
                        writer.send(frame).await.unwrap();
                    }
                };
                let receive = async move {
                    let mut reader = FrameReader::new(theirs);
                    let mut heard = Vec::new();
                    while let Some(frame) = reader.next().await.unwrap() {
                        heard.push(frame);
                    }
                    heard
                };
                futures::join!(send, receive).1
            });
            prop_assert_eq!(heard, frames);
        }

        #[test]
        fn nonsense_is_an_error_and_no_more(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            run(async {
                let mut reader = FrameReader::new(bytes.as_slice());
                while let Ok(Some(_)) = reader.next().await {}
                let _ = FrameReader::new(bytes.as_slice()).request().await;
            });
        }
    }

    #[test]
    fn what_is_longer_than_a_frame_comes_in_several() {
        let bytes = Bytes::from(vec![7; 3 * PAYLOAD_LIMIT + 1]);
        let mut sent = Vec::new();
        run(FrameWriter::new(&mut sent).send(&Frame::Output(bytes.clone()))).unwrap();
        let mut reader = FrameReader::new(sent.as_slice());
        let mut heard = Vec::new();
        while let Some(Frame::Output(piece)) = run(reader.next()).unwrap() {
            heard.push(piece);
        }
        assert_eq!((heard.len(), heard.concat()), (4, bytes.to_vec()));
    }

    #[test]
    fn a_request_that_is_too_long_is_not_read() {
        let long = [&u32::MAX.to_be_bytes()[..], &[b' '; 64]].concat();
        assert!(run(FrameReader::new(long.as_slice()).request()).is_err());
    }
}
