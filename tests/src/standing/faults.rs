//! What a person does to a lab that stands: cut, heal, kill, start. Each says in a sentence what is so now, and enters it in
//! the timeline. How it is done lives in `lab` and `cluster`.

use super::{Runtime, Standing};
use crate::failure::{Failure, Outcome, ensure};

/// One direction of a host's cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What others send to it.
    In,
    /// What it sends.
    Out,
}

/// A cut, as a person asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// Each of these hosts on its own: the whole cable, or one way of it, or a share of its packets.
    Each {
        /// Which hosts.
        hosts: Vec<usize>,
        /// Which way; both when not said.
        way: Option<Way>,
        /// How many of a hundred packets are lost; all when not said.
        loss: Option<u8>,
    },
    /// Two groups from each other.
    Between(Vec<usize>, Vec<usize>),
}

impl Cut {
    /// Reads `3`, `1,2` or `1,2 from 3,4,5`.
    ///
    /// # Errors
    /// What is wrong with the words, or that they do not go with a way or a loss.
    pub fn parse(words: &[String], way: Option<Way>, loss: Option<u8>) -> Outcome<Self> {
        match words {
            [hosts] => Ok(Self::Each { hosts: numbers(hosts)?, way, loss }),
            [one, from, other] if from == "from" => {
                ensure(way.is_none() && loss.is_none(), || {
                    "--one-way and --loss are for single hosts; groups are cut from each other altogether".to_owned()
                })?;
                let (one, other) = (numbers(one)?, numbers(other)?);
                let shared = one.iter().find(|number| other.contains(number));
                match shared {
                    Some(number) => Err(Failure::new(format!("host {number} cannot be on both sides"))),
                    None => Ok(Self::Between(one, other)),
                }
            }
            _ => Err(Failure::new(format!(
                "\"{}\" is no cut; say which host, as in `lab cut 3`, or which from which: lab cut 1,2 from 3,4,5",
                words.join(" ")
            ))),
        }
    }

    fn hosts(&self) -> Vec<usize> {
        match self {
            Self::Each { hosts, .. } => hosts.clone(),
            Self::Between(one, other) => one.iter().chain(other).copied().collect(),
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Between(one, other) => format!("{} cut from {}", names(one), names(other)),
            Self::Each { hosts, way: None, loss: None } => format!("{} cut off: the cable is pulled", names(hosts)),
            Self::Each { hosts, way, loss } => {
                let what = match way {
                    None => "of all packets to and from",
                    Some(Way::In) => "of all packets to",
                    Some(Way::Out) => "of all packets from",
                };
                format!("{} % {what} {} are lost", loss.unwrap_or(100), names(hosts))
            }
        }
    }
}

impl Standing {
    /// Cuts. A newer cut of the same way between the same hosts takes the place of the older one.
    ///
    /// # Errors
    /// When there is no such host, one of them is off, or the kernel refuses.
    pub fn cut(&self, cut: &Cut) -> Outcome<String> {
        cut.hosts().into_iter().try_for_each(|number| self.must_be_on(number))?;
        let lab = self.cluster.lab();
        match cut {
            Cut::Between(one, other) => lab.partition(one, other)?,
            Cut::Each { hosts, way, loss } => {
                for number in hosts.iter().copied() {
                    match (way, loss) {
                        (None, None) => lab.cut(number)?,
                        (None, Some(percent)) => {
                            lab.lose(number, *percent)?;
                            lab.lose_outgoing(number, *percent)?;
                        }
                        (Some(Way::In), None) => lab.cut_incoming(number)?,
                        (Some(Way::In), Some(percent)) => lab.lose(number, *percent)?,
                        (Some(Way::Out), None) => lab.cut_outgoing(number)?,
                        (Some(Way::Out), Some(percent)) => lab.lose_outgoing(number, *percent)?,
                    }
                }
            }
        }
        self.tell(cut.in_words())
    }

    /// Heals these hosts, or all that are on when none is named.
    ///
    /// # Errors
    /// As [`Standing::cut`].
    pub fn heal(&self, hosts: &[usize]) -> Outcome<String> {
        if hosts.is_empty() {
            for number in self.cluster.members().into_iter().filter(|number| !self.record.off.contains(number)) {
                self.cluster.lab().heal(number)?;
            }
            return self.tell("all healed".to_owned());
        }
        for number in hosts.iter().copied() {
            self.must_be_on(number)?;
            self.cluster.lab().heal(number)?;
        }
        self.tell(format!("{} healed", names(hosts)))
    }

    /// Kills a host's daemon as a crash would; its containers go on.
    ///
    /// # Errors
    /// When there is no such host, or its daemon does not run.
    pub fn kill_daemon(&mut self, number: usize) -> Outcome<String> {
        self.must_be_on(number)?;
        let start = self.command(&format!("start {number}"));
        let daemon = self.cluster.daemon(number);
        ensure(daemon.is_running(), || format!("the daemon of h{number} does not run; start it: {start}"))?;
        daemon.kill9();
        self.tell(format!("the daemon of h{number} killed; its containers go on"))
    }

    /// Switches a host off as a power cut would.
    ///
    /// # Errors
    /// When there is no such host, or it is off, or something of it outlives that.
    pub fn kill_host(&mut self, number: usize) -> Outcome<String> {
        self.must_be_on(number)?;
        // Noted first: a command that is interrupted leaves a host that `start` brings back.
        self.record.off.insert(number);
        self.write_record()?;
        self.cluster.power_off(number)?;
        self.tell(format!("h{number} switched off, with all that ran on it"))
    }

    /// Starts what does not run of a host: all of it when it was switched off, else its daemon.
    ///
    /// # Errors
    /// When there is no such host, or something does not start: the end of its log.
    pub fn start(&mut self, number: usize) -> Outcome<String> {
        self.host(number)?;
        if self.record.off.contains(&number) {
            let took = self.cluster.power_on(number)?;
            self.record.off.remove(&number);
            self.write_record()?;
            return self.tell(format!("h{number} switched on; its daemon was ready after {:.1} s", took.as_secs_f64()));
        }
        let has_engine = self.host(number)?.engine().is_ok();
        ensure(self.record.runtime == Runtime::Process || has_engine, || {
            let (kill, start) = (self.command("kill --host"), self.command("start"));
            format!("the engine of h{number} has ended; switch the host off and on: {kill} {number}; {start} {number}")
        })?;
        if self.cluster.daemon(number).is_running() {
            return Ok(format!("h{number} runs already"));
        }
        let took = self.cluster.start_again(number)?;
        self.tell(format!("the daemon of h{number} started; it was ready after {:.1} s", took.as_secs_f64()))
    }

    fn must_be_on(&self, number: usize) -> Outcome<()> {
        self.host(number)?;
        ensure(!self.record.off.contains(&number), || {
            format!("h{number} is switched off; switch it on: {}", self.command(&format!("start {number}")))
        })
    }

    fn tell(&self, what: String) -> Outcome<String> {
        self.timeline().did(&what)?;
        Ok(what)
    }
}

/// The hosts' numbers in `1,2,3`.
fn numbers(word: &str) -> Outcome<Vec<usize>> {
    let number = |part: &str| {
        let number = part.trim_start_matches('h').parse().ok();
        number.ok_or_else(|| Failure::new(format!("\"{part}\" is no host's number; hosts are numbered 1 and on")))
    };
    word.split(',').map(number).collect()
}

fn names(hosts: &[usize]) -> String {
    hosts.iter().map(|number| format!("h{number}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str, way: Option<Way>, loss: Option<u8>) -> Outcome<Cut> {
        Cut::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>(), way, loss)
    }

    #[test]
    fn cuts_are_read_as_people_write_them() {
        let each = |hosts: &[usize], way, loss| Cut::Each { hosts: hosts.to_vec(), way, loss };
        assert_eq!(parse("3", None, None).unwrap(), each(&[3], None, None));
        assert_eq!(parse("h3", Some(Way::In), Some(20)).unwrap(), each(&[3], Some(Way::In), Some(20)));
        assert_eq!(parse("1,2 from 3,4,5", None, None).unwrap(), Cut::Between(vec![1, 2], vec![3, 4, 5]));
    }

    #[test]
    fn what_is_no_cut_is_refused_with_what_to_say_instead() {
        for (text, loss, said) in [
            ("three", None, "\"three\" is no host's number"),
            ("1,2 from 2,3", None, "host 2 cannot be on both sides"),
            ("1 and 2", None, "lab cut 1,2 from 3,4,5"),
            ("1 from 2", Some(20), "for single hosts"),
        ] {
            let failure = parse(text, None, loss).unwrap_err().to_string();
            assert!(failure.contains(said), "{failure}");
        }
    }
}
