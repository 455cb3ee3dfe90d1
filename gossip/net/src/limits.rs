//! Every bound of this crate, with what happens at it.

use std::time::Duration;

/// The longest control frame, in bytes. A peer that sends a longer one loses the connection.
pub const MAX_CONTROL_FRAME: usize = 16 * 1024;
/// The longest bulk frame, in bytes: a Secret with a MiB of values fits in one. A peer that sends a longer one loses the connection.
pub const MAX_BULK_FRAME: usize = 2 * 1024 * 1024;
/// Control frames that may wait for one peer; more are dropped and counted.
pub const CONTROL_QUEUE: usize = 1024;
/// Bulk frames that may wait for one peer; more are dropped and counted.
pub const BULK_QUEUE: usize = 32;
/// Unacknowledged bytes of bulk on one lane or stream; the sender waits.
pub const BULK_IN_FLIGHT: usize = 64 * 1024;
/// The longest header of a stream, in bytes; opening with a longer one is an error, receiving one drops the connection.
pub const MAX_STREAM_HEADER: usize = 16 * 1024;
/// Streams that one peer may have open to us; more are closed at once and counted.
pub const STREAMS_PER_PEER: usize = 128;
/// The longest admission request or reply, in bytes; longer ones are refused.
pub const MAX_ADMISSION: usize = 64 * 1024;
/// How long an admission may take, from dialling to the last byte of the reply.
pub const ADMISSION_LIMIT: Duration = Duration::from_secs(10);
/// Admission requests that are taken each second from all peers together, after a burst of twice as many; more are
/// closed and counted.
pub const ADMISSIONS_PER_SECOND: u32 = 10;
/// Admission requests that are being served at a time; more are closed and counted.
pub const ADMISSIONS_AT_ONCE: usize = 32;
/// Inbound connections of peers that are no members; more are refused and counted.
pub const STRANGERS: usize = 64;
/// Inbound connections whose handshake is under way; more are refused.
pub const HANDSHAKES: u32 = 256;
/// Connections with one peer; more are refused. Two are usual for a moment, when both dial at once.
pub const CONNECTIONS_PER_PEER: u32 = 8;
/// How long a dial may take, handshakes included. Whoever wants the peer dials again, so TCP's own back-off never rules.
pub const DIAL_LIMIT: Duration = Duration::from_secs(2);
/// How long opening a lane or a stream on a connection may take.
pub const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// An idle control lane carries an empty frame this often.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// A link that was silent this long is doubted: the peer is dialled again beside it.
pub const DOUBT_AFTER: Duration = Duration::from_secs(4);
/// A link that was silent this long is down, whatever TCP says.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(8);
/// How long two connections with one peer are kept before the older ones are closed.
pub const DUPLICATE_LIFE: Duration = Duration::from_secs(5);
/// Events that may wait for the daemon. At the limit reading from peers pauses.
pub const EVENT_QUEUE: usize = 4096;
/// Commands that may wait for the network; more are dropped and counted.
pub const COMMAND_QUEUE: usize = 1024;
/// Opens of streams and admissions that may wait for one peer to be reached; more are errors.
pub const WAITING_PER_PEER: usize = 32;
/// How long a shutdown waits for what is queued.
pub const FLUSH_LIMIT: Duration = Duration::from_millis(500);
