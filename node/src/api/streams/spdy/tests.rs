//! Frames and headers of SPDY, there and back, cut anywhere, and nonsense.

#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn any_headers() -> impl Strategy<Value = Headers> {
    let name = prop_oneof![Just("streamtype".to_owned()), Just("port".to_owned()), "[a-z-]{1,12}"];
    prop::collection::vec((name, "[ -~]{0,40}"), 0..6)
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let stream = || 1u32..1 << 31;
    let bytes = prop::collection::vec(any::<u8>(), 0..60).prop_map(Bytes::from);
    prop_oneof![
        (stream(), any::<bool>(), any_headers()).prop_map(|(stream, fin, headers)| Frame::Open {
            stream,
            fin,
            headers
        }),
        stream().prop_map(|stream| Frame::Reply { stream }),
        (stream(), bytes, any::<bool>()).prop_map(|(stream, bytes, fin)| Frame::Data { stream, bytes, fin }),
        stream().prop_map(|stream| Frame::Reset { stream }),
        any::<u32>().prop_map(|id| Frame::Ping { id }),
        Just(Frame::GoAway),
    ]
}

/// What a parser makes of bytes that arrive in pieces, with data put together again.
fn heard(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, SpdyError> {
    let (mut parser, mut heard): (Parser, Vec<Frame>) = (Parser::default(), Vec::new());
    let mut open: Option<(u32, Vec<u8>)> = None;
    for piece in bytes.chunks(piece) {
        parser.push(piece);
        while let Some(frame) = parser.frame()? {
            let is_done = parser.data.is_none();
            match frame {
                Frame::Data { stream, bytes, fin } => {
                    let mut all = open.take().map_or_else(Vec::new, |(_, all)| all);
                    all.extend_from_slice(&bytes);
                    if is_done {
                        heard.push(Frame::Data { stream, bytes: all.into(), fin });
                    } else {
                        assert!(!fin);
                        open = Some((stream, all));
                    }
                }
                other => heard.push(other),
            }
        }
    }
    Ok(heard)
}

proptest! {
    #[test]
    fn frames_arrive_as_they_were_sent_however_they_are_cut(
        frames in prop::collection::vec(any_frame(), 0..12), piece in 1usize..40,
    ) {
        let mut encoder = Encoder::new();
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| encoder.encode(frame)).collect();
        prop_assert_eq!(heard(&bytes, piece).unwrap(), frames);
    }

    #[test]
    fn nonsense_is_an_error_and_no_more(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..40) {
        let _ = heard(&bytes, piece);
    }

    #[test]
    fn a_frame_with_a_flipped_bit_is_no_panic(frames in prop::collection::vec(any_frame(), 1..6), at in any::<usize>()) {
        let mut encoder = Encoder::new();
        let mut bytes: Vec<u8> = frames.iter().flat_map(|frame| encoder.encode(frame)).collect();
        let at = at % (bytes.len() * 8);
        bytes[at / 8] ^= 1 << (at % 8);
        let _ = heard(&bytes, 16);
    }
}

#[test]
fn the_dictionary_is_the_protocol_s() {
    // Every SPDY/3 block of headers begins so: zlib's head with a dictionary, and the dictionary's Adler-32.
    let block = Encoder::new().encode(&Frame::Reply { stream: 1 });
    assert_eq!(block[HEAD + 4] & 0x0f, 8);
    assert_eq!(block[HEAD + 5] & 0x20, 0x20);
    assert_eq!(block[HEAD + 6..HEAD + 10], [0xe3, 0xc6, 0xa7, 0xc2]);
}

#[test]
fn a_block_that_unpacks_to_too_much_is_refused() {
    let mut encoder = Encoder::new();
    let long = Frame::Open { stream: 1, fin: false, headers: vec![("a".into(), "x".repeat(1 << 20))] };
    let bytes = encoder.encode(&long);
    assert!(bytes.len() < CONTROL_LIMIT, "packed it would fit");
    assert_eq!(heard(&bytes, 1 << 14), Err(SpdyError::Headers));
}

#[test]
fn limits_and_versions_are_kept() {
    let mut long = control(SYN_STREAM, 0, &[0; 10]);
    long[5] = 1;
    assert_eq!(heard(&long, 100), Err(SpdyError::TooLong((1 << 16) + 10)));
    let mut two = control(PING, 0, &[0; 4]);
    two[1] = 2;
    assert_eq!(heard(&two, 100), Err(SpdyError::Version(2)));
    assert_eq!(heard(&[0, 0, 0, 0, 0, 0, 0, 1, 9], 100), Err(SpdyError::Malformed(0)));
    assert_eq!(heard(&control(SYN_STREAM, 0, &[0; 3]), 100), Err(SpdyError::Malformed(SYN_STREAM)));
    // Settings are passed over.
    assert_eq!(heard(&control(4, 0, &[0; 12]), 5), Ok(Vec::new()));
}
