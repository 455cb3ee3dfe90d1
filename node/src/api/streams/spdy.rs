//! SPDY/3.1 as far as kubectl speaks it: frames taken apart and put together, without IO. Older kubectl speaks it after an
//! upgrade, newer kubectl forwards ports by it inside a WebSocket.
//!
//! There is no flow control beyond that of the connection below: clients neither send window updates nor wait for them.
//! What streams are for does not live here.

mod connection;
mod dictionary;
mod headers;
mod terminal;

use bytes::{Buf as _, Bytes, BytesMut};

pub(super) use self::connection::{Sender, send, split};
use self::headers::{Deflate, Inflate};
pub(super) use self::terminal::{Expected, wait_for_streams};

/// The longest control frame, in bytes; streams are opened by some hundred.
pub const CONTROL_LIMIT: usize = 16 << 10;
/// The most bytes of one piece of data that the parser gives out. A frame may be longer: it comes in pieces.
pub const PIECE_LIMIT: usize = 16 << 10;
/// The status of a reset by which a stream is refused.
pub const REFUSED_STREAM: u32 = 3;

const HEAD: usize = 8;
const VERSION: u16 = 3;
const FIN: u8 = 1;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// Headers of a stream: names in lower case with their values, in their order.
pub type Headers = Vec<(String, String)>;

/// What one side says to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A stream is opened.
    Open {
        /// Its number.
        stream: u32,
        /// Whether nothing will come on it from who opens it.
        fin: bool,
        /// What it is for.
        headers: Headers,
    },
    /// A stream was accepted.
    Reply {
        /// Its number.
        stream: u32,
    },
    /// A piece of data.
    Data {
        /// Its stream.
        stream: u32,
        /// The data, at most [`PIECE_LIMIT`].
        bytes: Bytes,
        /// Whether no more comes on it.
        fin: bool,
    },
    /// A stream is over, at once and in both directions.
    Reset {
        /// Its number.
        stream: u32,
    },
    /// To be sent back.
    Ping {
        /// Its number, odd for those of clients.
        id: u32,
    },
    /// No more streams will be opened.
    GoAway,
}

/// What is no SPDY/3. The connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpdyError {
    /// Another version.
    #[error("a SPDY frame of version {0}, not 3")]
    Version(u16),
    /// A control frame beyond the limit.
    #[error("a SPDY control frame of {0} bytes")]
    TooLong(usize),
    /// A frame that is shorter than its fields, or about stream 0.
    #[error("a malformed SPDY frame of type {0}")]
    Malformed(u16),
    /// Headers that cannot be unpacked, or are too many.
    #[error("malformed SPDY headers")]
    Headers,
}

/// Takes a connection's bytes apart.
#[derive(Debug, Default)]
pub struct Parser {
    buffer: BytesMut,
    data: Option<DataFrame>,
    inflate: Inflate,
}

/// A data frame that is under way.
#[derive(Debug)]
struct DataFrame {
    stream: u32,
    fin: bool,
    left: usize,
}

impl Parser {
    /// Adds what has arrived. Before more is added, [`Parser::frame`] should have said `None`: then at most
    /// [`CONTROL_LIMIT`] wait.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, if it has arrived. Frames that need no answer are passed over.
    ///
    /// # Errors
    /// When it is none. Everything after that is an error too, or nonsense.
    pub fn frame(&mut self) -> Result<Option<Frame>, SpdyError> {
        loop {
            if let Some(frame) = &mut self.data {
                let count = frame.left.min(self.buffer.len()).min(PIECE_LIMIT);
                if count == 0 && frame.left > 0 {
                    return Ok(None);
                }
                frame.left -= count;
                let (stream, is_last, fin) = (frame.stream, frame.left == 0, frame.fin);
                let bytes = self.buffer.split_to(count).freeze();
                if is_last {
                    self.data = None;
                }
                return Ok(Some(Frame::Data { stream, bytes, fin: fin && is_last }));
            }
            let Some((first, flags, length)) = self.head() else { return Ok(None) };
            if first & (1 << 31) == 0 {
                if first == 0 {
                    return Err(SpdyError::Malformed(0));
                }
                self.buffer.advance(HEAD);
                self.data = Some(DataFrame { stream: first, fin: flags & FIN != 0, left: length });
                continue;
            }
            let [version, kind] = [(first >> 16) as u16 & 0x7fff, first as u16];
            if version != VERSION {
                return Err(SpdyError::Version(version));
            }
            if length > CONTROL_LIMIT {
                return Err(SpdyError::TooLong(length));
            }
            if self.buffer.len() < HEAD + length {
                return Ok(None);
            }
            self.buffer.advance(HEAD);
            let payload = self.buffer.split_to(length).freeze();
            if let Some(frame) = self.control(kind, flags, payload)? {
                return Ok(Some(frame));
            }
        }
    }

    /// The next frame's first word, flags and length.
    fn head(&self) -> Option<(u32, u8, usize)> {
        let [a, b, c, d, flags, e, f, g, ..] = self.buffer[..] else { return None };
        let length = u32::from_be_bytes([0, e, f, g]);
        Some((u32::from_be_bytes([a, b, c, d]), flags, length as usize))
    }

    fn control(&mut self, kind: u16, flags: u8, mut payload: Bytes) -> Result<Option<Frame>, SpdyError> {
        let malformed = SpdyError::Malformed(kind);
        let number = |payload: &mut Bytes| payload.try_get_u32().map_err(|_| malformed);
        Ok(match kind {
            SYN_STREAM => {
                let stream = number(&mut payload)? & !(1 << 31);
                // The stream that it belongs to, priority and slot mean nothing here.
                let skipped = payload.len().checked_sub(6).filter(|_| stream != 0);
                payload.advance(skipped.map(|_| 6).ok_or(malformed)?);
                let headers = self.inflate.headers(&payload)?;
                Some(Frame::Open { stream, fin: flags & FIN != 0, headers })
            }
            SYN_REPLY | HEADERS => {
                let stream = number(&mut payload)? & !(1 << 31);
                // Unpacked also where nobody reads them: all headers of a connection are packed as one.
                self.inflate.headers(&payload)?;
                (kind == SYN_REPLY).then_some(Frame::Reply { stream })
            }
            RST_STREAM => Some(Frame::Reset { stream: number(&mut payload)? & !(1 << 31) }),
            PING => Some(Frame::Ping { id: number(&mut payload)? }),
            GOAWAY => Some(Frame::GoAway),
            // Settings and window updates, and what may come with later versions.
            _ => None,
        })
    }
}

/// Puts frames together.
#[derive(Debug)]
pub struct Encoder {
    deflate: Deflate,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// One for a connection.
    #[must_use]
    pub fn new() -> Self {
        Encoder { deflate: Deflate::new() }
    }

    /// A frame's bytes. Frames must be sent in the order in which they were encoded. Data longer than a frame can carry
    /// (16 MB) are cut.
    #[must_use]
    pub fn encode(&mut self, frame: &Frame) -> Vec<u8> {
        match frame {
            Frame::Open { stream, fin, headers } => {
                let mut payload = [&stream.to_be_bytes()[..], &[0; 6]].concat();
                payload.extend(self.deflate.headers(headers));
                control(SYN_STREAM, if *fin { FIN } else { 0 }, &payload)
            }
            Frame::Reply { stream } => {
                let mut payload = stream.to_be_bytes().to_vec();
                payload.extend(self.deflate.headers(&[]));
                control(SYN_REPLY, 0, &payload)
            }
            Frame::Data { stream, bytes, fin } => {
                let bytes = bytes.get(..0xff_ffff).unwrap_or(bytes);
                let mut frame = (stream & !(1 << 31)).to_be_bytes().to_vec();
                frame.extend(head(if *fin { FIN } else { 0 }, bytes.len()));
                frame.extend_from_slice(bytes);
                frame
            }
            Frame::Reset { stream } => {
                control(RST_STREAM, 0, &[stream.to_be_bytes(), REFUSED_STREAM.to_be_bytes()].concat())
            }
            Frame::Ping { id } => control(PING, 0, &id.to_be_bytes()),
            Frame::GoAway => control(GOAWAY, 0, &[0; 8]),
        }
    }
}

/// A header's value.
#[must_use]
pub fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

fn control(kind: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = (VERSION | (1 << 15)).to_be_bytes().to_vec();
    frame.extend(kind.to_be_bytes());
    frame.extend(head(flags, payload.len()));
    frame.extend_from_slice(payload);
    frame
}

fn head(flags: u8, length: usize) -> [u8; 4] {
    let [_, a, b, c] = u32::try_from(length).unwrap_or(0xff_ffff).to_be_bytes();
    [flags, a, b, c]
}

#[cfg(test)]
mod tests;
