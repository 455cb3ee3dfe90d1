//! Acknowledged writes of 2 KB beside etcd: the same hosts, the same client, the same kind of path (HTTPS and JSON), both sides
//! up and one of them loaded at a time, in turn. Both acknowledge once two disks of three hold a write, or the one there is.
//!
//! Skein's side lives in `skein`, etcd's in `etcd`, what clients do in `load`, watchers in `fan_out`.

use std::time::Duration;

use self::etcd::Etcd;
use self::load::Load;
use self::skein::Skein;
use super::figures::{Figures, short, table};
use crate::failure::Outcome;
use crate::http::Connection;
use crate::lab::Lab;
use crate::netns::Netns;
use crate::process;
use crate::steps::say;
use nix::unistd::Pid;

pub mod etcd;
pub mod fan_out;
pub mod flushes;
pub mod load;
pub mod skein;

/// How many clients write at once.
const CLIENTS: [usize; 3] = [1, 16, 64];

/// Something that keeps small values, acknowledges them once they are durable, and tells watchers of them.
pub trait Store: Sync {
    /// What it is called.
    const NAME: &'static str;

    /// The processes of its members, each with the network that it is in.
    fn members(&self) -> Vec<(Netns, Pid)>;

    /// Opens a connection to a member, 0 and on.
    ///
    /// # Errors
    /// When nobody listens there.
    fn connect(&self, member: usize) -> Outcome<Connection>;

    /// Writes a value at a member. `is_new` says that the key was never written before.
    ///
    /// # Errors
    /// When it is refused or not acknowledged in time.
    fn put(&self, member: usize, connection: &mut Connection, key: &str, value: &str, is_new: bool) -> Outcome<()>;

    /// Opens a stream of all that changes from now on.
    ///
    /// # Errors
    /// When it is refused.
    fn watch(&self, member: usize, connection: &mut Connection) -> Outcome<()>;

    /// What such a stream holds when this key was written.
    fn sign_of(&self, key: &str) -> String;
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How often each number of clients is tried with each side.
    pub rounds: usize,
    /// For how long each time.
    pub seconds: u64,
}

/// What one side did with one number of clients.
#[derive(Debug, Default)]
struct Side {
    rates: Figures,
    took_ms: Figures,
    cpu_ms: Figures,
    failed: usize,
}

/// Measures with three members and with one. Returns tables.
///
/// # Errors
/// When a side does not start, or refuses a write.
pub fn run(plan: Plan) -> Outcome<String> {
    let mut text = String::new();
    for members in [3, 1] {
        say(&format!("-- {members} member(s)"));
        let lab = Lab::build(0, members)?;
        // It keeps what it needs to know of the hosts: the cluster has the lab.
        let etcd = Etcd::start(&lab, members)?;
        let skein = Skein::form(lab, members)?;
        text.push_str(&format!("\n{} of each, writes of 2 KB:\n\n", if members == 1 { "One" } else { "Three" }));
        text.push_str(&writes(&skein, &etcd, plan)?);
        text.push_str(&format!("\nMemory of a member then: {}\n", memory(&skein, &etcd)?));
        text.push_str(&format!("\n{}", flushes::table(&skein, &etcd)?));
        if members > 1 {
            text.push_str(&format!("\n{}", fan_out::table(&skein, &etcd)?));
        }
    }
    Ok(text)
}

fn writes(skein: &Skein, etcd: &Etcd, plan: Plan) -> Outcome<String> {
    let mut rows = Vec::new();
    for clients in CLIENTS {
        let (mut ours, mut other) = (Side::default(), Side::default());
        for round in 0..plan.rounds {
            let seconds = Duration::from_secs(plan.seconds);
            ours.add(&load::run(skein, clients, seconds, round)?);
            other.add(&load::run(etcd, clients, seconds, round)?);
        }
        for side in [(Skein::NAME, &ours), (Etcd::NAME, &other)] {
            say(&format!("   {clients} clients, {}: {} a second", side.0, short(side.1.rates.median())));
        }
        let times = |side: &Side| format!("{} / {}", short(side.took_ms.median()), short(side.took_ms.at(99)));
        rows.push(vec![
            clients.to_string(),
            short(ours.rates.median()),
            short(other.rates.median()),
            format!("{} ×", short(ours.rates.median() / other.rates.median())),
            times(&ours),
            times(&other),
            short(ours.cpu_ms.median()),
            short(other.cpu_ms.median()),
            format!("{} / {}", ours.failed, other.failed),
        ]);
    }
    let titles = [
        "clients",
        "skein, a second",
        "etcd, a second",
        "ratio",
        "skein ms, p50 / p99",
        "etcd ms, p50 / p99",
        "skein CPU ms for each",
        "etcd CPU ms for each",
        "failed",
    ];
    Ok(table(&titles, &rows))
}

impl Side {
    fn add(&mut self, load: &Load) {
        self.rates.add(load.took_ms.len() as f64 / load.lasted.as_secs_f64());
        self.cpu_ms.add(load.cpu.as_secs_f64() * 1e3 / load.took_ms.len() as f64);
        self.took_ms.extend(load.took_ms.iter().copied());
        self.failed += load.failed;
    }
}

fn memory(skein: &Skein, etcd: &Etcd) -> Outcome<String> {
    let resident = |members: Vec<(Netns, Pid)>| -> Outcome<Figures> {
        members.iter().map(|(_, pid)| Ok(process::resident_bytes(*pid)? as f64 / f64::from(1 << 20))).collect()
    };
    let (ours, other) = (resident(skein.members())?, resident(etcd.members())?);
    Ok(format!("{} {} MB, {} {} MB.", Skein::NAME, short(ours.median()), Etcd::NAME, short(other.median())))
}
