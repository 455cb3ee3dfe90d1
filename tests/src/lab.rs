//! N hosts on one bridge, 10.99.0.1 and on, with or without an engine each: built, found again, switched off and on. Their
//! cables are cut and healed in `links`. Daemons are not the lab's business: see `daemon` and `cluster`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use self::links::port;
use crate::engine::{self, Engine};
use crate::failure::{Failure, Outcome, ensure};
use crate::image;
use crate::leftovers;
use crate::netns::{self, Netns};
use crate::requirements;
use crate::steps::say;

mod links;

/// The hosts' network, its last number the host's.
const NETWORK: [u8; 3] = [10, 99, 0];
/// The port that peers meet on.
pub const PEER_PORT: u16 = 7311;
/// The port of the API.
pub const API_PORT: u16 = 7443;
/// The greatest number of hosts: more would not fit the machine, and names would not fit an interface's.
pub const MAX_HOSTS: usize = 40;

/// Hosts, until it is dropped, unless it was let go.
pub struct Lab {
    directory: PathBuf,
    lan: Netns,
    hosts: Vec<Host>,
    stands: bool,
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
    /// When the lab was built without engines, or this one runs no more.
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
        check(count, bare)?;
        Self::raise(leftovers::make_directory()?, count, bare)
    }

    /// As [`Lab::build`], in a directory that was chosen for it. [`Lab::let_go`] makes it outlive this process.
    ///
    /// # Errors
    /// As [`Lab::build`], or when there is something in the directory.
    pub fn build_in(directory: &Path, count: usize, bare: usize) -> Outcome<Self> {
        check(count, bare)?;
        leftovers::claim(directory)?;
        Self::raise(directory.to_owned(), count, bare)
    }

    /// The lab that another process built in `directory` and let go. It stays when this is dropped.
    ///
    /// # Errors
    /// When none of its namespaces is there.
    pub fn find(directory: &Path) -> Outcome<Self> {
        let count = leftovers::namespaces_of(directory).len().saturating_sub(1);
        ensure(count > 0, || format!("no host of a lab in {} is there", directory.display()))?;
        let lan = Netns::existing(leftovers::namespace_name(directory, "lan"));
        let hosts = (1..=count).map(|number| {
            let name = format!("h{number}");
            let netns = Netns::existing(leftovers::namespace_name(directory, &name));
            let directory = directory.join(&name);
            Host { engine: Engine::find(&directory), name, number, netns, directory }
        });
        Ok(Self { directory: directory.to_owned(), lan, hosts: hosts.collect(), stands: true })
    }

    /// From now on it stays when this is dropped and when this process ends.
    pub fn let_go(&mut self) {
        self.hosts.iter_mut().filter_map(|host| host.engine.as_mut()).for_each(Engine::let_go);
        leftovers::release(&self.directory);
        self.stands = true;
    }

    fn raise(directory: PathBuf, count: usize, bare: usize) -> Outcome<Self> {
        let begun = Instant::now();
        let lan = Netns::create(leftovers::namespace_name(&directory, "lan"));
        let lan = lan.inspect_err(|_| leftovers::remove(&directory))?;
        // From here on dropping the lab takes away what there is of it.
        let mut lab = Self { directory, lan, hosts: Vec::new(), stands: false };
        netns::ip(&format!("-n {} link add br0 type bridge", lab.lan.name()))?;
        netns::ip(&format!("-n {} link set br0 up", lab.lan.name()))?;
        for number in 1..=count + bare {
            lab.add_host(number)?;
        }
        lab.start_engines(count)?;
        say(&format!("   {} hosts, {count} engines after {:.1} s", count + bare, begun.elapsed().as_secs_f64()));
        Ok(lab)
    }

    fn start_engines(&mut self, count: usize) -> Outcome<()> {
        if count == 0 {
            return Ok(());
        }
        let tar = self.directory.join("image.tar");
        image::write_tar(&tar)?;
        let tar = std::fs::read(tar)?;
        for host in self.hosts.iter_mut().take(count) {
            host.engine = Some(Engine::start(&host.netns, &host.directory)?);
        }
        std::thread::scope(|scope| {
            let engines = self.hosts.iter_mut().filter_map(|host| host.engine.as_mut());
            let threads: Vec<_> = engines.map(|engine| scope.spawn(|| engine.prepare(&tar))).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::new("the thread that waited for an engine panicked")),
            })
        })
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

    /// The network between the hosts.
    pub fn lan(&self) -> &Netns {
        &self.lan
    }

    /// Switches a host off as a power cut would: no packet, and all that ran on it is gone. What is on its disk stays.
    ///
    /// # Errors
    /// What iproute2 says, or when something outlived it.
    pub fn power_off(&mut self, number: usize) -> Outcome<()> {
        self.cut(number)?;
        let host = &mut self.hosts[number - 1];
        let left = leftovers::kill_all(&host.netns);
        if let Some(mut engine) = host.engine.take() {
            engine.kill9();
        }
        ensure(left.is_empty(), || format!("{} was killed and still runs: {left:?}", host.name))?;
        leftovers::unmount_below(&host.directory);
        engine::empty_runtime_directory(&host.directory);
        Ok(())
    }

    /// Switches a host on: its cable, and its engine if it ever had one. Its daemon is started by whoever holds it.
    ///
    /// # Errors
    /// What iproute2 says, or when the engine does not start.
    pub fn power_on(&mut self, number: usize) -> Outcome<()> {
        self.heal(number)?;
        let stands = self.stands;
        let host = &mut self.hosts[number - 1];
        if host.engine.is_some() || !Engine::was_started(&host.directory) {
            return Ok(());
        }
        let mut engine = Engine::start(&host.netns, &host.directory)?;
        if stands {
            engine.let_go();
        }
        engine.wait_ready()?;
        host.engine = Some(engine);
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
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.stands {
            return;
        }
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

/// What the machine must have for a lab, and how large it may be.
fn check(count: usize, bare: usize) -> Outcome<()> {
    requirements::check(count > 0)?;
    ensure(count + bare <= MAX_HOSTS, || format!("{} hosts are too many; {MAX_HOSTS} fit", count + bare))
}

fn address(number: usize) -> IpAddr {
    let [a, b, c] = NETWORK;
    // MAX_HOSTS is far below 255.
    IpAddr::V4(Ipv4Addr::new(a, b, c, u8::try_from(number).unwrap_or(u8::MAX)))
}
