//! An envelope that was checked and read: what it says beside how it was signed, and how it is written to disk. Each is made
//! once; where many nodes share a memo, as in the simulator, they share these too.

use std::sync::{Arc, OnceLock};

use crate::envelope::{Body, Envelope};
use crate::store::Report;

/// An envelope and what follows from it alone. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Opened(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    envelope: Arc<Envelope>,
    body: Body,
    report: Option<Arc<Report>>,
    row_key: OnceLock<Arc<[u8]>>,
    encoded: OnceLock<Arc<[u8]>>,
}

impl Opened {
    /// Of an envelope whose body was read and whose signature is known to be good.
    pub(crate) fn new(envelope: Arc<Envelope>, body: Body) -> Self {
        let report = match &body {
            Body::Report { section, stamp, body } => Some(Arc::new(Report {
                node: envelope.author(),
                section: section.clone(),
                sequence: envelope.sequence(),
                stamp: *stamp,
                body: body.clone(),
                envelope: envelope.clone(),
            })),
            _ => None,
        };
        let (row_key, encoded) = (OnceLock::new(), OnceLock::new());
        Opened(Arc::new(Inner { envelope, body, report, row_key, encoded }))
    }

    /// As it was signed.
    pub(crate) fn envelope(&self) -> &Arc<Envelope> {
        &self.0.envelope
    }

    /// What it says.
    pub(crate) fn body(&self) -> &Body {
        &self.0.body
    }

    /// The report that it is, if it is one.
    pub(crate) fn report(&self) -> Option<&Arc<Report>> {
        self.0.report.as_ref()
    }

    /// The bytes that are stored and sent.
    pub(crate) fn encoded(&self) -> Arc<[u8]> {
        self.0.encoded.get_or_init(|| self.0.envelope.encode().into()).clone()
    }

    /// The key under which it is stored, which follows from what it says; `make` makes it at the first call.
    pub(crate) fn row_key(&self, make: impl FnOnce() -> Vec<u8>) -> Arc<[u8]> {
        self.0.row_key.get_or_init(|| make().into()).clone()
    }
}
