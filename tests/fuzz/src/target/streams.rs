//! Streams: SPDY from clients, sessions from peers, WebSocket channels.

use bytes::Bytes;
use skein_node::api::streams::frame::FrameReader;
use skein_node::api::streams::{channels, spdy};

use super::Target;

/// A SPDY connection's bytes.
pub(super) struct Spdy;

impl Target for Spdy {
    fn name(&self) -> &'static str {
        "spdy"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut encoder = spdy::Encoder::new();
        let open = |stream, kind| spdy::Frame::Open {
            stream,
            fin: false,
            headers: vec![header("streamType", kind), header("port", "80"), header("requestID", "0")],
        };
        let frames = [
            open(1, "error"),
            open(3, "data"),
            spdy::Frame::Data { stream: 3, bytes: b"hello".to_vec().into(), fin: true },
            spdy::Frame::Reply { stream: 1 },
            spdy::Frame::Ping { id: 7 },
            spdy::Frame::Reset { stream: 3 },
            spdy::Frame::GoAway,
        ];
        let each: Vec<Vec<u8>> = frames.iter().map(|frame| encoder.encode(frame)).collect();
        [vec![each.concat()], each].concat()
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let mut parser = spdy::Parser::default();
        let mut kinds = String::new();
        for piece in input.chunks(spdy::PIECE_LIMIT) {
            parser.push(piece);
            loop {
                match parser.frame() {
                    Ok(Some(frame)) => kinds.push(match frame {
                        spdy::Frame::Open { .. } => 'o',
                        spdy::Frame::Data { .. } => 'd',
                        spdy::Frame::Reply { .. } => 'r',
                        spdy::Frame::Reset { .. } => 'x',
                        spdy::Frame::Ping { .. } => 'p',
                        spdy::Frame::GoAway => 'g',
                    }),
                    Ok(None) => break,
                    Err(error) => return format!("{kinds} {error}"),
                }
            }
        }
        kinds
    }
}

/// A session between peers: a request and frames; and the same bytes as one WebSocket message of a client's.
pub(super) struct Sessions;

impl Target for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let request =
            br#"{"kind":"exec","uid":"u","container":"c","attempt":0,"command":["sh"],"stdin":true,"tty":false}"#;
        let length = u32::try_from(request.len()).unwrap_or(0).to_be_bytes();
        let frames = [[0, 0, 0, 0, 3, b'a', b'b', b'c'], [1, 0, 0, 0, 3, b'x', b'y', b'z']].concat();
        vec![
            [&length[..], request, &frames].concat(),
            b"\x04{\"Width\":80,\"Height\":24}".to_vec(),
            b"\0input".to_vec(),
        ]
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let message = channels::decode(&Bytes::copy_from_slice(input)).is_some();
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return String::new() };
        let read = runtime.block_on(async {
            let mut reader = FrameReader::new(input);
            if let Err(error) = reader.request().await {
                return format!("no request: {error}");
            }
            let mut count = 0;
            loop {
                match reader.next().await {
                    Ok(Some(_)) => count += 1,
                    Ok(None) => return format!("{} frames", if count > 2 { "many" } else { "few" }),
                    Err(error) => return error.to_string(),
                }
            }
        });
        format!("{message} {read}")
    }
}
