//! What a lab that stands looks like now: each host's daemon and engine, what its peer says, what runs on it, what is cut. All
//! of it is looked at, nothing is remembered, except which hosts were switched off; what the peers said goes into the timeline,
//! so that nothing is shown that the timeline does not tell.

use super::{Runtime, Standing, watch};
use crate::containers::running_pods;
use crate::failure::Outcome;

const TITLES: [&str; 7] = ["HOST", "ADDRESS", "DAEMON", "ENGINE", "PODS", "SEES", "CUTS"];

impl Standing {
    /// The state of all hosts as a table.
    ///
    /// # Errors
    /// When iproute2 or nft cannot be started, or the timeline cannot be written.
    pub fn status(&mut self) -> Outcome<String> {
        let mut rows = vec![TITLES.map(str::to_owned)];
        for number in self.cluster.members() {
            rows.push(self.row(number)?);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..TITLES.len()).map(width).collect();
        let mut text = String::new();
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        Ok(text)
    }

    fn row(&mut self, number: usize) -> Outcome<[String; 7]> {
        let off = self.record.off.contains(&number);
        let daemon = self.cluster.daemon(number);
        let daemon = if daemon.is_running() { format!("pid {}", daemon.pid()) } else { "not running".to_owned() };
        let host = self.host(number)?;
        let engine = match (self.record.runtime, host.engine()) {
            (Runtime::Process, _) => "none",
            (Runtime::Docker, Ok(_)) => "running",
            (Runtime::Docker, Err(_)) => "not running",
        };
        // An engine that does not answer says nothing of what it runs.
        let pods = if off { Ok(Vec::new()) } else { running_pods(host) };
        let pods = pods.map_or_else(|_| "?".to_owned(), |pods| pods.len().to_string());
        let sees = watch::ask(&self.cluster.api(number));
        self.timeline().saw(number, &sees)?;
        let sees = sees.in_words();
        let cuts = if off { vec!["switched off".to_owned()] } else { self.cluster.lab().faults(number)? };
        let cuts = if cuts.is_empty() { "-".to_owned() } else { cuts.join("; ") };
        Ok([host.name.clone(), host.address().to_string(), daemon, engine.to_owned(), pods, sees, cuts])
    }
}
