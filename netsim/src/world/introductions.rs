//! How a host that a peer does not take for a member introduces itself, by the way that is open to strangers.

use std::sync::Arc;

use skein_core::node::Input;
use skein_core::request::{AdmissionError, RequestId};
use skein_crdt_state::Envelope;
use skein_gossip::NodeId;

use super::{Event, World};

/// Introductions are numbered from here.
const INTRODUCTIONS: RequestId = 1 << 41;

/// One that was made, by its place in the list; an answer may come or not.
#[derive(Debug)]
pub(super) struct Introduction {
    /// Who introduced itself.
    of: usize,
    /// In which start of its daemon.
    start: u64,
}

impl World {
    pub(super) fn introduce(&mut self, from: usize, to: &NodeId, said: Vec<Arc<Envelope>>) {
        let Some(to) = self.host_of(to).filter(|to| self.links.is_whole(from, *to)) else { return };
        self.trace.line(self.now_us, format_args!("h{from} introduces itself to h{to}"));
        let id = INTRODUCTIONS + self.introductions.len() as u64;
        self.introductions.push(Introduction { of: from, start: self.hosts[from].start });
        let stranger = self.hosts[from].keys.node_id();
        let (start, delay) = (self.hosts[to].start, self.latency_us(from, to));
        self.after(delay, Event::Hear { host: to, start, input: Box::new(Input::Introduced { id, stranger, said }) });
    }

    pub(super) fn acquainted(&mut self, to: usize, id: RequestId, answer: Result<Vec<Arc<Envelope>>, AdmissionError>) {
        let made = usize::try_from(id - INTRODUCTIONS).ok().and_then(|number| self.introductions.get(number));
        let Some(Introduction { of, start }) = made else { return };
        let (of, start) = (*of, *start);
        match answer {
            Ok(said) if self.links.is_whole(of, to) => {
                let peer = self.hosts[to].keys.node_id();
                let delay = self.latency_us(to, of);
                self.after(delay, Event::Hear { host: of, start, input: Box::new(Input::Acquainted { peer, said }) });
            }
            Ok(_) => {}
            Err(error) => self.trace.line(self.now_us, format_args!("h{to} answers h{of}: {error}")),
        }
    }
}
