//! What the network is started with, and why it may not start.

use std::net::SocketAddr;

use skein_gossip::Keypair;

/// How this node is on the network.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// The node's key, which is also its name.
    pub keypair: Keypair,
    /// Where to listen; an unspecified IP address means all interfaces, port 0 any free port. Empty: only dial.
    pub listen: Vec<SocketAddr>,
    /// What to tell peers to dial. Empty: the listen addresses, without loopback and container bridges.
    pub advertise: Vec<SocketAddr>,
    /// The program and its version, told to everybody who connects.
    pub agent_version: String,
    /// Whether to find members, and be found, by multicast DNS. Has no effect when listening on loopback alone.
    pub mdns: bool,
    /// Whether to tell of strangers that mDNS finds, for a machine that looks for members to be let in by. They are claims of
    /// whoever sends them; nobody is trusted for being found.
    pub tells_strangers: bool,
}

impl NetConfig {
    /// A node that listens on `listen`, without mDNS.
    #[must_use]
    pub fn new(keypair: Keypair, listen: Vec<SocketAddr>) -> Self {
        Self {
            keypair,
            listen,
            advertise: Vec::new(),
            agent_version: concat!("skein/", env!("CARGO_PKG_VERSION")).to_owned(),
            mdns: false,
            tells_strangers: false,
        }
    }
}

/// Why the network could not be started. Nothing was left running.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The address is taken, or is none of this host's.
    #[error("cannot listen for peers on {addr}: {source} (is another daemon running? --listen takes another address)")]
    Listen {
        /// Which one.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The node's key does not work with the transport.
    #[error("the node's key cannot be used for connections: {0}")]
    Key(String),
}
