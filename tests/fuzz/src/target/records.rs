//! A disk that was changed: a node starts from it, names what it cannot use, and goes on.

use skein_core::node::Node;

use super::Target;
use crate::cluster::{Cluster, config};

/// The node whose disk it is.
const OWNER: usize = 1;

/// Records of a store: which one is replaced says the input's first two bytes, the rest is the record.
pub(super) struct Records {
    rows: Vec<(String, Vec<u8>, Vec<u8>)>,
    cluster: Cluster,
}

impl Records {
    pub(super) fn new() -> Self {
        let cluster = Cluster::formed();
        Records { rows: cluster.rows(OWNER), cluster }
    }
}

impl Target for Records {
    fn name(&self) -> &'static str {
        "records"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let row = |(number, row): (usize, &(String, Vec<u8>, Vec<u8>))| {
            let number = u16::try_from(number).unwrap_or(0).to_be_bytes();
            [&number[..], &[u8::try_from(row.1.len()).unwrap_or(0)], &row.1, &row.2].concat()
        };
        self.rows.iter().enumerate().map(row).collect()
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let Some((number, rest)) = input.split_first_chunk::<2>() else { return "short".into() };
        let Some((length, rest)) = rest.split_first() else { return "short".into() };
        let Some((key, value)) = rest.split_at_checked(usize::from(*length)) else { return "short".into() };
        let at = usize::from(u16::from_be_bytes(*number)) % self.rows.len();
        let mut rows = self.rows.clone();
        (rows[at].1, rows[at].2) = (key.to_vec(), value.to_vec());
        match Node::start(config(OWNER), self.cluster.now(), rows) {
            Ok((mut node, damaged)) => {
                while node.poll_effect().is_some() {}
                damaged.iter().map(|damaged| damaged.reason.clone()).collect()
            }
            Err(error) => error.to_string(),
        }
    }
}
