//! N hosts on one bridge, 10.99.0.1 and on, with or without an engine each; their cables can be cut and healed. Daemons
//! are not the lab's business: see `daemon` and `cluster`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::failure::{Failure, Outcome, ensure};
use crate::image;
use crate::leftovers;
use crate::netns::{self, Netns};
use crate::requirements;
use crate::steps::say;
use crate::wait::eventually;

/// The hosts' network, its last number the host's.
const NETWORK: [u8; 3] = [10, 99, 0];
/// The port that peers meet on.
pub const PEER_PORT: u16 = 7311;
/// The port of the API.
pub const API_PORT: u16 = 7443;
/// The packet filter's table for the lab's one-way cuts, partitions and losses.
const TABLE: &str = "inet skeinlab";
/// How long a healed link may take until it carries.
const LINK_UP: Duration = Duration::from_secs(10);
/// The greatest number of hosts: more would not fit the machine, and names would not fit an interface's.
const MAX_HOSTS: usize = 20;

/// Hosts, until it is dropped.
pub struct Lab {
    directory: PathBuf,
    lan: Netns,
    hosts: Vec<Host>,
}

/// One machine.
pub struct Host {
    /// `h1` and on.
    pub name: String,
    /// Its number, 1 and on, which is also the last part of its address.
    pub number: usize,
    /// Its network.
    pub netns: Netns,
    /// Where its files are.
    pub directory: PathBuf,
    engine: Option<Engine>,
}

impl Host {
    /// Its address.
    pub fn address(&self) -> IpAddr {
        address(self.number)
    }

    /// Where its daemon meets its peers.
    pub fn peer_socket(&self) -> SocketAddr {
        SocketAddr::new(self.address(), PEER_PORT)
    }

    /// Where its daemon serves the API.
    pub fn api_socket(&self) -> SocketAddr {
        SocketAddr::new(self.address(), API_PORT)
    }

    /// Its engine.
    ///
    /// # Errors
    /// When the lab was built without engines, or this one was killed.
    pub fn engine(&self) -> Outcome<&Engine> {
        self.engine.as_ref().ok_or_else(|| Failure::new(format!("{} has no engine", self.name)))
    }
}

impl Lab {
    /// Builds `count` hosts with an engine each, all of which answer and hold the image when it returns.
    ///
    /// # Errors
    /// When something is missing on the machine, or an engine does not start.
    pub fn with_engines(count: usize) -> Outcome<Self> {
        Self::build(count, 0)
    }

    /// Builds `count` hosts with an engine each, and `bare` more behind them without.
    ///
    /// # Errors
    /// As [`Lab::with_engines`].
    pub fn build(count: usize, bare: usize) -> Outcome<Self> {
        requirements::check()?;
        let begun = Instant::now();
        ensure(count + bare <= MAX_HOSTS, || format!("{} hosts are too many", count + bare))?;
        let directory = leftovers::make_directory()?;
        let lan = Netns::create(leftovers::namespace_name(&directory, "lan"));
        let lan = lan.inspect_err(|_| leftovers::remove(&directory))?;
        // From here on dropping the lab takes away what there is of it.
        let mut lab = Self { directory, lan, hosts: Vec::new() };
        netns::ip(&format!("-n {} link add br0 type bridge", lab.lan.name()))?;
        netns::ip(&format!("-n {} link set br0 up", lab.lan.name()))?;
        for number in 1..=count + bare {
            lab.add_host(number)?;
        }
        let tar = lab.directory.join("image.tar");
        image::write_tar(&tar)?;
        let tar = std::fs::read(tar)?;
        for host in lab.hosts.iter_mut().take(count) {
            host.engine = Some(Engine::start(&host.netns, &host.directory)?);
        }
        std::thread::scope(|scope| {
            let engines = lab.hosts.iter_mut().filter_map(|host| host.engine.as_mut());
            let threads: Vec<_> = engines.map(|engine| scope.spawn(|| engine.prepare(&tar))).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::new("the thread that waited for an engine panicked")),
            })
        })?;
        say(&format!("   {} hosts, {count} engines after {:.1} s", count + bare, begun.elapsed().as_secs_f64()));
        Ok(lab)
    }

    /// All hosts, in the order of their numbers.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host with that number, 1 and on.
    ///
    /// # Panics
    /// When there is none: the test is wrong.
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    /// Where the lab's files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Pulls a host's cable: nothing comes or goes, and nobody is told.
    ///
    /// # Errors
    /// What iproute2 says.
    pub fn cut(&self, number: usize) -> Outcome<()> {
        netns::ip(&format!("-n {} link set {} down", self.lan.name(), port(number)))
    }

    /// Plugs a host's cable in again and takes its filters away. Returns when the link carries: the kernel takes up to a
    /// second to say so, as a switch would.
    ///
    /// # Errors
    /// What iproute2 or nft says.
    pub fn heal(&self, number: usize) -> Outcome<()> {
        netns::ip(&format!("-n {} link set {} up", self.lan.name(), port(number)))?;
        let netns = &self.host(number).netns;
        netns.filter(&format!("add table {TABLE}; delete table {TABLE}"))?;
        let carries = || ensure(self.is_connected(number)?, || "it is down".to_owned());
        eventually(&format!("the link of h{number}"), LINK_UP, carries).map(|_| ())
    }

    /// Whether a host's cable is in, as its own network says.
    ///
    /// # Errors
    /// When iproute2 cannot be started.
    pub fn is_connected(&self, number: usize) -> Outcome<bool> {
        let namespace = self.host(number).netns.name();
        let shown = output(Command::new("ip").args(["-n", namespace, "link", "show", "eth0"]))?;
        Ok(String::from_utf8_lossy(&shown.stdout).contains("state UP"))
    }

    /// Heals every host.
    ///
    /// # Errors
    /// As [`Lab::heal`].
    pub fn heal_all(&self) -> Outcome<()> {
        self.hosts.iter().try_for_each(|host| self.heal(host.number))
    }

    /// Lets nothing from the hosts `from` arrive at the host `to`; the other direction stays open.
    ///
    /// # Errors
    /// What nft says.
    pub fn cut_one_way(&self, from: &[usize], to: usize) -> Outcome<()> {
        let sources: Vec<String> = from.iter().map(|number| address(*number).to_string()).collect();
        self.drop_incoming(to, &format!("ip saddr {{ {} }}", sources.join(", ")))
    }

    /// Separates the hosts in `one` from those in `other`, in both directions.
    ///
    /// # Errors
    /// What nft says.
    pub fn partition(&self, one: &[usize], other: &[usize]) -> Outcome<()> {
        one.iter().try_for_each(|number| self.cut_one_way(other, *number))?;
        other.iter().try_for_each(|number| self.cut_one_way(one, *number))
    }

    /// Loses `percent` (0 to 99) of all packets that arrive at a host from others, by chance.
    ///
    /// # Errors
    /// What nft says.
    pub fn lose(&self, number: usize, percent: u8) -> Outcome<()> {
        self.drop_incoming(number, &format!("iif eth0 numgen random mod 100 < {percent}"))
    }

    /// Kills the host as a power cut would: no packet, no engine. Its daemon is killed by whoever holds it.
    ///
    /// # Errors
    /// What iproute2 says.
    pub fn kill_host(&mut self, number: usize) -> Outcome<()> {
        self.cut(number)?;
        self.hosts[number - 1].engine = None;
        Ok(())
    }

    fn add_host(&mut self, number: usize) -> Outcome<()> {
        let name = format!("h{number}");
        let netns = Netns::create(leftovers::namespace_name(&self.directory, &name))?;
        let (lan, own, port, address) = (self.lan.name(), netns.name(), port(number), address(number));
        // Both ends are made where they belong, so that their names meet no others.
        netns::ip(&format!("link add {port} netns {lan} type veth peer name eth0 netns {own}"))?;
        netns::ip(&format!("-n {lan} link set {port} master br0 up"))?;
        netns::ip(&format!("-n {own} address add {address}/24 dev eth0"))?;
        netns::ip(&format!("-n {own} link set eth0 up"))?;
        let directory = self.directory.join(&name);
        std::fs::create_dir_all(&directory)?;
        self.hosts.push(Host { name, number, netns, directory, engine: None });
        Ok(())
    }

    fn drop_incoming(&self, number: usize, matching: &str) -> Outcome<()> {
        let rules = format!(
            "add table {TABLE}; \
             add chain {TABLE} incoming {{ type filter hook prerouting priority -400; }}; \
             add rule {TABLE} incoming {matching} drop"
        );
        self.host(number).netns.filter(&rules)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os("SKEIN_LAB_KEEP").is_some() && std::thread::panicking() {
            say(&format!("lab: kept in {}; press Ctrl-C to take it away", self.directory.display()));
            loop {
                std::thread::park();
            }
        }
        leftovers::remove(&self.directory);
    }
}

/// Runs a command in the namespace of a host and returns its output, whatever its exit code.
///
/// # Errors
/// When it cannot be started.
pub fn output(command: &mut Command) -> Outcome<std::process::Output> {
    command.output().map_err(|e| Failure::new(format!("{command:?}: {e}")))
}

fn address(number: usize) -> IpAddr {
    let [a, b, c] = NETWORK;
    // MAX_HOSTS is far below 255.
    IpAddr::V4(Ipv4Addr::new(a, b, c, u8::try_from(number).unwrap_or(u8::MAX)))
}

fn port(number: usize) -> String {
    format!("p{number}")
}
