//! The cables between a lab's hosts: pulling them, closing one direction, separating groups, losing a share of the packets,
//! and what is wrong with them now, asked from the kernel and not remembered. The hosts themselves live in `lab`.
//!
//! A host's filter has a table for what comes from each other host, and one for what comes from anywhere. Each holds one
//! rule: the newest.

use std::process::Command;
use std::time::Duration;

use super::{Lab, address, output};
use crate::failure::{Outcome, ensure};
use crate::netns;
use crate::wait::eventually;

/// How the packet filter's tables of the lab are called, with the number of the host that the packets come from, or nothing
/// for all of them.
const TABLE: &str = "inet skeinlab";
/// How long a healed link may take until it carries.
const LINK_UP: Duration = Duration::from_secs(10);

/// Which packets at a host a rule is about.
#[derive(Clone, Copy)]
enum From {
    Anywhere,
    Host(usize),
}

impl Lab {
    /// Pulls a host's cable: nothing comes or goes, and nobody is told.
    ///
    /// # Errors
    /// What iproute2 says.
    pub fn cut(&self, number: usize) -> Outcome<()> {
        netns::ip(&format!("-n {} link set {} down", self.lan().name(), port(number)))
    }

    /// Plugs a host's cable in again and takes all filters away that are about it, at itself and at the others. Returns when
    /// the link carries: the kernel takes up to a second to say so, as a switch would.
    ///
    /// # Errors
    /// What iproute2 or nft says.
    pub fn heal(&self, number: usize) -> Outcome<()> {
        netns::ip(&format!("-n {} link set {} up", self.lan().name(), port(number)))?;
        for host in self.hosts() {
            let others = self.hosts().iter().map(|other| From::Host(other.number));
            let tables: Vec<From> =
                if host.number == number { others.chain([From::Anywhere]).collect() } else { vec![From::Host(number)] };
            let gone: Vec<String> = tables.into_iter().map(without).collect();
            host.netns.filter(&gone.join("; "))?;
        }
        let carries = || ensure(self.is_connected(number)?, || "it is down".to_owned());
        eventually(&format!("the link of h{number}"), LINK_UP, carries).map(|_| ())
    }

    /// Heals every host.
    ///
    /// # Errors
    /// As [`Lab::heal`].
    pub fn heal_all(&self) -> Outcome<()> {
        self.hosts().iter().try_for_each(|host| self.heal(host.number))
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

    /// Lets nothing from the hosts `from` arrive at the host `to`; the other direction stays open.
    ///
    /// # Errors
    /// What nft says.
    pub fn cut_one_way(&self, from: &[usize], to: usize) -> Outcome<()> {
        from.iter().try_for_each(|other| self.drop_at(to, From::Host(*other), None))
    }

    /// Separates the hosts in `one` from those in `other`, in both directions.
    ///
    /// # Errors
    /// What nft says.
    pub fn partition(&self, one: &[usize], other: &[usize]) -> Outcome<()> {
        one.iter().try_for_each(|number| self.cut_one_way(other, *number))?;
        other.iter().try_for_each(|number| self.cut_one_way(one, *number))
    }

    /// Lets nothing arrive at a host; what it sends arrives.
    ///
    /// # Errors
    /// What nft says.
    pub fn cut_incoming(&self, number: usize) -> Outcome<()> {
        self.drop_at(number, From::Anywhere, None)
    }

    /// Lets nothing that a host sends arrive anywhere; it hears all the others.
    ///
    /// # Errors
    /// What nft says.
    pub fn cut_outgoing(&self, number: usize) -> Outcome<()> {
        self.others(number).into_iter().try_for_each(|other| self.cut_one_way(&[number], other))
    }

    /// Loses `percent` (0 to 99) of all packets that arrive at a host from others, by chance.
    ///
    /// # Errors
    /// What nft says.
    pub fn lose(&self, number: usize, percent: u8) -> Outcome<()> {
        self.drop_at(number, From::Anywhere, Some(percent))
    }

    /// Loses `percent` (0 to 99) of all packets that a host sends, by chance.
    ///
    /// # Errors
    /// What nft says.
    pub fn lose_outgoing(&self, number: usize, percent: u8) -> Outcome<()> {
        self.others(number).into_iter().try_for_each(|other| self.drop_at(other, From::Host(number), Some(percent)))
    }

    /// What is wrong now with what arrives at a host, each in a few words; empty when nothing is.
    ///
    /// # Errors
    /// When iproute2 or nft cannot be started.
    pub fn faults(&self, number: usize) -> Outcome<Vec<String>> {
        let mut faults = Vec::new();
        if !self.is_connected(number)? {
            faults.push("its cable is pulled".to_owned());
        }
        let listed = output(self.host(number).netns.command("nft").args(["list", "ruleset"]))?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let comments = listed.lines().filter_map(|line| line.split_once("comment \"lab: ")?.1.split_once('"'));
        faults.extend(comments.map(|(words, _)| words.to_owned()));
        faults.sort();
        Ok(faults)
    }

    /// Drops all, or a share, of what comes from somewhere at a host, instead of what was dropped of it before.
    fn drop_at(&self, number: usize, from: From, percent: Option<u8>) -> Outcome<()> {
        let table = table(from);
        let (source, whose) = match from {
            From::Anywhere => ("iif eth0".to_owned(), String::new()),
            From::Host(other) => (format!("ip saddr {}", address(other)), format!(" from h{other}")),
        };
        let (share, words) = match percent {
            None => (String::new(), format!("nothing{whose} arrives")),
            Some(percent) => {
                (format!("numgen random mod 100 < {percent}"), format!("{percent} % of what arrives{whose} is lost"))
            }
        };
        let rules = format!(
            "{}; add table {table}; \
             add chain {table} incoming {{ type filter hook prerouting priority -400; }}; \
             add rule {table} incoming {source} {share} drop comment \"lab: {words}\"",
            without(from)
        );
        self.host(number).netns.filter(&rules)
    }

    fn others(&self, number: usize) -> Vec<usize> {
        self.hosts().iter().map(|host| host.number).filter(|other| *other != number).collect()
    }
}

/// The name of a host's port at the bridge.
pub(super) fn port(number: usize) -> String {
    format!("p{number}")
}

fn table(from: From) -> String {
    match from {
        From::Anywhere => TABLE.to_owned(),
        From::Host(number) => format!("{TABLE}{number}"),
    }
}

/// The command that takes a table away, whether it is there or not.
fn without(from: From) -> String {
    let table = table(from);
    format!("add table {table}; delete table {table}")
}
