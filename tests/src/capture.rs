//! What goes over the wires of a lab: all frames in a network namespace, put together again as far as they are TCP. What is
//! to be seen in them, and what is not, does not live here.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt};

use crate::failure::{Failure, Outcome};
use crate::netns::Netns;

/// The longest frame: what a network card's offloading puts together.
const FRAME_BYTES: usize = 128 << 10;
/// Room for frames that wait to be read.
const BUFFER_BYTES: usize = 64 << 20;
/// The most that is kept of one connection's direction, and of all other frames; what is beyond is counted as lost.
const KEPT_BYTES: usize = 256 << 20;

/// Records until it is told to stop.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Heard>,
}

/// All that was heard.
#[derive(Default)]
pub struct Heard {
    streams: BTreeMap<[u8; 12], Stream>,
    /// What is no TCP, frame after frame.
    others: Vec<u8>,
    /// How many frames were heard.
    pub frames: usize,
    /// How many bytes did not fit.
    pub lost: usize,
}

#[derive(Default)]
struct Stream {
    next: Option<u32>,
    bytes: Vec<u8>,
}

impl Capture {
    /// Begins to record every frame on every interface of a namespace.
    ///
    /// # Errors
    /// When the kernel refuses (it needs root).
    pub fn of(netns: &Netns) -> Outcome<Self> {
        let opened = netns.inside(|| {
            let flags = SockFlag::SOCK_CLOEXEC;
            socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
        })?;
        let socket = opened?;
        // Without the right to more the usual room has to do.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES);
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || record(&socket, &told));
        Ok(Capture { stop, thread })
    }

    /// Ends, and says what was heard.
    ///
    /// # Errors
    /// When the thread that recorded panicked.
    pub fn end(self) -> Outcome<Heard> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failure::new("the thread that recorded frames panicked"))
    }
}

impl Heard {
    /// How many bytes were carried over TCP.
    pub fn stream_bytes(&self) -> usize {
        self.streams.values().map(|stream| stream.bytes.len()).sum()
    }

    /// Where `text` was heard: which ports it went from and to, or in which other place.
    pub fn places_of(&self, text: &[u8]) -> Vec<String> {
        let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        let port = |at: &[u8]| u16::from_be_bytes([at[0], at[1]]);
        let streams = self.streams.iter().filter(|(_, stream)| holds(&stream.bytes));
        let mut places: Vec<String> =
            streams.map(|(key, _)| format!("TCP from port {} to port {}", port(&key[8..]), port(&key[10..]))).collect();
        if holds(&self.others) {
            places.push("what is no TCP".to_owned());
        }
        places
    }

    fn hear(&mut self, frame: &[u8]) {
        self.frames += 1;
        let Some((key, sequence, payload)) = tcp(frame) else {
            return keep(&mut self.others, frame, &mut self.lost);
        };
        if payload.is_empty() {
            return;
        }
        let stream = self.streams.entry(key).or_default();
        // Each frame is heard at several interfaces, and what gets lost is sent again.
        let behind = stream.next.is_some_and(|next| (sequence.wrapping_sub(next) as i32) < 0);
        if !behind {
            keep(&mut stream.bytes, payload, &mut self.lost);
            stream.next = Some(sequence.wrapping_add(payload.len() as u32));
        }
    }
}

fn keep(kept: &mut Vec<u8>, more: &[u8], lost: &mut usize) {
    if kept.len() + more.len() > KEPT_BYTES {
        *lost += more.len();
    } else {
        kept.extend_from_slice(more);
    }
}

fn record(socket: &OwnedFd, stop: &AtomicBool) -> Heard {
    use std::os::fd::AsFd as _;
    let mut heard = Heard::default();
    let mut frame = vec![0; FRAME_BYTES];
    loop {
        match recv(socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => heard.hear(&frame[..length]),
            Err(Errno::EAGAIN) if stop.load(Ordering::Relaxed) => return heard,
            Err(_) => {
                let mut waits = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                // A tenth of a second, so that the end is noticed.
                let _ = poll(&mut waits, PollTimeout::from(100u16));
            }
        }
    }
}

/// The ends of a TCP connection over IPv4, the segment's place, and what it carries.
fn tcp(frame: &[u8]) -> Option<([u8; 12], u32, &[u8])> {
    let ip = frame.get(14..).filter(|_| frame.get(12..14) == Some(&[8, 0]))?;
    let (header, total) =
        (usize::from(ip.first()? & 0xf) * 4, usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?])));
    // A length of 0 is that of a frame that offloading put together.
    let ip = if total == 0 { ip } else { ip.get(..total)? };
    let segment = ip.get(header..).filter(|_| ip.get(9) == Some(&6))?;
    let mut key = [0; 12];
    key[..8].copy_from_slice(ip.get(12..20)?);
    key[8..].copy_from_slice(segment.get(..4)?);
    let sequence = u32::from_be_bytes(segment.get(4..8)?.try_into().ok()?);
    let payload = segment.get(usize::from(segment.get(12)? >> 4) * 4..)?;
    Some((key, sequence, payload))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn frame(sequence: u32, payload: &[u8]) -> Vec<u8> {
        let total = u16::try_from(40 + payload.len()).unwrap().to_be_bytes();
        let ip = [&[0x45, 0], &total[..], &[0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]].concat();
        let tcp = [&[0, 1, 0, 2], &sequence.to_be_bytes()[..], &[0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0]].concat();
        [&[0; 12], &[8, 0][..], &ip, &tcp, payload].concat()
    }

    #[test]
    fn what_is_cut_into_segments_and_heard_twice_is_found_all_the_same() {
        let mut heard = Heard::default();
        for (sequence, payload) in [(7u32, &b"xxcan"[..]), (7, b"xxcan"), (12, b"ary"), (12, b"ary"), (7, b"xxcan")] {
            heard.hear(&frame(sequence, payload));
        }
        assert_eq!(heard.places_of(b"canary"), ["TCP from port 1 to port 2"]);
        assert!(heard.places_of(b"canaryx").is_empty());
        heard.hear(b"an odd canary in a frame of its own");
        assert_eq!(heard.places_of(b"odd canary"), ["what is no TCP"]);
    }
}
