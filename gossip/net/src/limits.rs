//! Every bound of this crate, with what happens at it.

use std::time::Duration;

use skein_gossip::bucket::Rate;

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
/// The longest admission request, in bytes; longer ones are refused.
pub const MAX_ADMISSION: usize = 64 * 1024;
/// The longest reply to one, in bytes; longer ones are refused. Whoever is let in is told who belongs to the cluster, which in a
/// large one is long.
pub const MAX_ADMISSION_REPLY: usize = 5 * 1024 * 1024;
/// How long an admission may take, from dialling to the last byte of the reply.
pub const ADMISSION_LIMIT: Duration = Duration::from_secs(10);
/// Admission requests that are taken from all peers together; more are closed and counted.
pub const ADMISSION_RATE: Rate = Rate { per_second: 10, burst: 20 };
/// Admission requests that are taken from one address; more are closed and counted, and cost the others nothing.
pub const ADMISSION_RATE_OF_ADDRESS: Rate = Rate { per_second: 2, burst: 10 };
/// Admission requests that are being served at a time; more are closed and counted.
pub const ADMISSIONS_AT_ONCE: usize = 32;
/// Admission requests that are being served at a time for one address; more are closed and counted.
pub const ADMISSIONS_AT_ONCE_OF_ADDRESS: usize = 8;
/// Inbound connections of peers that are no members. One more takes the place of the oldest of the address that has most.
pub const STRANGERS: usize = 64;
/// Inbound connections of peers that are no members from one address. One more takes the place of the address' oldest.
pub const STRANGERS_OF_ADDRESS: usize = 8;
/// How long a peer that is no member may stay connected: longer than any admission takes. Then it is closed and counted.
pub const STRANGER_LIFE: Duration = Duration::from_secs(30);
/// Streams that are open at a time on a connection that a peer made before it was a member; one more ends the connection.
/// Each may hold 256 KB that nobody reads.
pub const STREAMS_OF_STRANGER: usize = 16;
/// Streams that are open at a time on a connection with a member, of both sides together; one more ends the connection.
pub const STREAMS_OF_MEMBER: usize = 2 * STREAMS_PER_PEER + 32;
/// Streams on which a protocol is being agreed on; further ones wait.
pub const NEGOTIATIONS: usize = 32;
/// Inbound connections whose handshake is under way and which come from where no member was seen yet; more are refused.
pub const HANDSHAKES: usize = 256;
/// The same from one address; more are refused. An address where a member was seen has these for itself, so that no stranger
/// can keep it out.
pub const HANDSHAKES_OF_ADDRESS: usize = 16;
/// The same from all addresses, members' included; more are refused.
pub const HANDSHAKES_IN_ALL: u32 = 2048;
/// Control frames of one peer, whatever the number of its connections. Above it reading from the peer pauses; see
/// [`FLOOD_PATIENCE`]. Five times as many as were ever measured of an honest one.
pub const CONTROL_FRAMES: Rate = Rate { per_second: 10_000, burst: 10_000 };
/// Bytes of control frames of one peer. Above it reading from the peer pauses; see [`FLOOD_PATIENCE`].
pub const CONTROL_BYTES: Rate = Rate { per_second: 32 << 20, burst: 32 << 20 };
/// Bulk frames of one peer. Above it reading from the peer pauses, and the peer waits.
pub const BULK_FRAMES: Rate = Rate { per_second: 2_000, burst: 2_000 };
/// Bytes of bulk frames of one peer. Above it reading from the peer pauses, and the peer waits.
pub const BULK_BYTES: Rate = Rate { per_second: 64 << 20, burst: 64 << 20 };
/// How long a peer may go on above the rate of control frames before it is cut off and refused for a while.
pub const FLOOD_PATIENCE: Duration = Duration::from_secs(5);
/// How long a peer that is heard may take nothing of what it is sent; then its connection is closed and counted.
pub const STALL_LIMIT: Duration = Duration::from_secs(20);
/// Peers that are known from the local network's announcements (mDNS). At one more all are forgotten and it begins anew.
pub const ANNOUNCED: usize = 1024;
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
