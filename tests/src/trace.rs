//! What a process asks of the kernel, watched by strace: enough of it to say in which order a disk was flushed and an
//! answer was sent.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::{Failure, Outcome};
use crate::netns::Netns;
use crate::requirements;

/// An strace at work; ends when dropped.
pub struct Trace {
    process: Child,
    path: PathBuf,
}

/// One system call that came back.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Everything after the name, as far as strace prints it.
    pub text: String,
    /// When it was called, in seconds since 1970.
    pub begun: f64,
    /// When it came back, likewise.
    pub ended: f64,
}

impl Trace {
    /// Watches the `calls` (as strace's `-e trace=` takes them) of a process and all its threads from now on. strace runs
    /// in the process's network namespace, where it can tell sockets apart.
    ///
    /// # Errors
    /// When strace is not there or may not attach.
    pub fn attach(netns: &Netns, pid: Pid, calls: &str, path: &Path) -> Outcome<Self> {
        Self::start(netns, pid, &["-e", &format!("trace={calls}")], path)
    }

    /// Makes every flush to disk of a process take `delay` longer from now on, as a slow disk would.
    ///
    /// # Errors
    /// As [`Trace::attach`].
    pub fn slow_disk(netns: &Netns, pid: Pid, delay: Duration, path: &Path) -> Outcome<Self> {
        let inject = format!("inject=fsync,fdatasync:delay_enter={}", delay.as_micros());
        Self::start(netns, pid, &["-e", "trace=fsync,fdatasync", "-e", &inject], path)
    }

    /// Ends the watching and returns the calls in the order in which they came back.
    ///
    /// # Errors
    /// When what strace wrote cannot be read.
    pub fn finish(mut self) -> Outcome<Vec<Call>> {
        self.detach();
        let written = std::fs::read(&self.path)?;
        let mut calls = parse(&String::from_utf8_lossy(&written));
        calls.sort_by(|a, b| a.ended.total_cmp(&b.ended));
        Ok(calls)
    }

    fn start(netns: &Netns, pid: Pid, what: &[&str], path: &Path) -> Outcome<Self> {
        requirements::find("strace").ok_or_else(|| Failure::new("there is no strace; `tests/run` installs it"))?;
        let mut process = netns
            .command("strace")
            .args(["-f", "-ttt", "-T", "-yy", "-s", "8"])
            .args(what)
            .args(["-p", &pid.to_string(), "-o"])
            .arg(path)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = process.stderr.take().ok_or_else(|| Failure::new("no stderr"))?;
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let attached = lines.find(|line| line.contains("attached"));
        attached.ok_or_else(|| Failure::new(format!("strace did not attach to {pid}")))?;
        // It announces each thread; whoever stops reading would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, path: path.to_owned() })
    }

    fn detach(&mut self) {
        // An interrupt makes strace let go of the process; a kill could leave it stopped.
        let _ = kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap_or(i32::MAX)), Signal::SIGINT);
        let _ = self.process.wait();
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Reads strace's lines: `PID TIME name(arguments) = result <seconds>`, or in two halves when another thread came between:
/// `PID TIME name(arguments <unfinished ...>` and `PID TIME <... name resumed>rest) = result <seconds>`.
fn parse(written: &str) -> Vec<Call> {
    let mut open: std::collections::BTreeMap<(&str, &str), (f64, &str)> = std::collections::BTreeMap::new();
    let mut calls = Vec::new();
    for line in written.lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(time)) = (words.next(), words.next()) else { continue };
        let rest = line[line.find(time).map_or(0, |at| at + time.len())..].trim_start();
        let Ok(time) = time.parse::<f64>() else { continue };
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((name, rest)) = resumed.split_once(" resumed>") else { continue };
            let Some((begun, first)) = open.remove(&(thread, name)) else { continue };
            calls.push(Call { name: name.to_owned(), text: format!("{first}{rest}"), begun, ended: time });
            continue;
        }
        let Some((name, text)) = rest.split_once('(') else { continue };
        if let Some(first) = text.strip_suffix(" <unfinished ...>") {
            open.insert((thread, name), (time, first));
            continue;
        }
        let lasted = text.rsplit_once('<').and_then(|(_, end)| end.strip_suffix('>')?.parse::<f64>().ok());
        let Some(lasted) = lasted else { continue };
        calls.push(Call { name: name.to_owned(), text: text.to_owned(), begun: time, ended: time + lasted });
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn calls_in_one_piece_and_in_two_are_read() {
        let written = "4101  1700000000.100000 fdatasync(11</d/state.redb>) = 0 <0.002000>\n\
                       4102 1700000000.200000 fdatasync(11</d/state.redb> <unfinished ...>\n\
                       4101 1700000000.201000 write(12<TCP:[10.99.0.1:7443->10.99.0.1:5000]>, \"x\"..., 9) = 9 <0.000010>\n\
                       4102 1700000000.300000 <... fdatasync resumed>) = 0 <0.100000>\n\
                       4102 1700000000.400000 +++ exited with 0 +++\n";
        let calls = parse(written);
        let read: Vec<(&str, bool)> = calls.iter().map(|c| (c.name.as_str(), c.text.contains("state.redb"))).collect();
        assert_eq!(read, [("fdatasync", true), ("write", false), ("fdatasync", true)]);
        assert!((calls[0].ended - 1_700_000_000.102).abs() < 1e-4);
        assert!(calls[2].begun < calls[1].begun && calls[2].ended > calls[1].ended);
    }
}
