//! Headers of SPDY streams: pairs of counted texts, packed with zlib, primed with the protocol's dictionary. All headers that
//! one side of a connection sends are one zlib stream, flushed after each block.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::DICTIONARY;
use super::{Headers, SpdyError};

/// The most bytes of one block of headers once it is unpacked, and the most headers in it.
const UNPACKED_LIMIT: usize = 64 << 10;
const HEADERS_LIMIT: usize = 100;
const GROWTH: usize = 4 << 10;

/// Unpacks one side's headers.
#[derive(Debug)]
pub(super) struct Inflate {
    zlib: Decompress,
    is_primed: bool,
}

impl Default for Inflate {
    fn default() -> Self {
        Inflate { zlib: Decompress::new(true), is_primed: false }
    }
}

impl Inflate {
    /// The headers of one block.
    pub(super) fn headers(&mut self, packed: &[u8]) -> Result<Headers, SpdyError> {
        parse(&self.unpack(packed)?).ok_or(SpdyError::Headers)
    }

    fn unpack(&mut self, mut packed: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let mut out = Vec::new();
        loop {
            if out.len() == out.capacity() {
                if out.len() >= UNPACKED_LIMIT {
                    return Err(SpdyError::Headers);
                }
                out.reserve_exact(GROWTH);
            }
            let before = (self.zlib.total_in(), out.len());
            let result = self.zlib.decompress_vec(packed, &mut out, FlushDecompress::Sync);
            let taken = usize::try_from(self.zlib.total_in() - before.0).unwrap_or(usize::MAX);
            packed = packed.get(taken..).unwrap_or_default();
            match result {
                Err(error) if error.needs_dictionary().is_some() && !self.is_primed => {
                    self.zlib.set_dictionary(DICTIONARY).map_err(|_| SpdyError::Headers)?;
                    self.is_primed = true;
                }
                Err(_) | Ok(Status::StreamEnd) => return Err(SpdyError::Headers),
                Ok(_) if packed.is_empty() && out.len() < out.capacity() => return Ok(out),
                // No room is left, or there is more to take; without progress there never will be.
                Ok(_) if taken == 0 && out.len() == before.1 => return Err(SpdyError::Headers),
                Ok(_) => {}
            }
        }
    }
}

/// Packs one side's headers.
#[derive(Debug)]
pub(super) struct Deflate {
    zlib: Compress,
}

impl Deflate {
    pub(super) fn new() -> Self {
        let mut zlib = Compress::new(Compression::fast(), true);
        // It fails only for a stream that has begun. Should it ever, clients cannot read the replies and say so.
        let _ = zlib.set_dictionary(DICTIONARY);
        Deflate { zlib }
    }

    /// One block.
    pub(super) fn headers(&mut self, headers: &[(String, String)]) -> Vec<u8> {
        let mut plain = count(headers.len()).to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(count(text.len()));
            plain.extend_from_slice(text.as_bytes());
        }
        let (mut out, mut rest) = (Vec::new(), plain.as_slice());
        loop {
            out.reserve(GROWTH);
            let before = self.zlib.total_in();
            let result = self.zlib.compress_vec(rest, &mut out, FlushCompress::Sync);
            let taken = usize::try_from(self.zlib.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            if result.is_err() || (rest.is_empty() && out.len() < out.capacity()) {
                return out;
            }
        }
    }
}

fn count(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

fn parse(mut plain: &[u8]) -> Option<Headers> {
    let headers = number(&mut plain).filter(|count| *count <= HEADERS_LIMIT)?;
    (0..headers).map(|_| Some((text(&mut plain)?.to_lowercase(), text(&mut plain)?))).collect()
}

fn number(plain: &mut &[u8]) -> Option<usize> {
    let (number, rest) = plain.split_first_chunk()?;
    *plain = rest;
    usize::try_from(u32::from_be_bytes(*number)).ok()
}

fn text(plain: &mut &[u8]) -> Option<String> {
    let length = number(plain)?;
    let (text, rest) = plain.split_at_checked(length)?;
    *plain = rest;
    String::from_utf8(text.to_vec()).ok()
}
