//! Histories: what clients at every peer asked for and were answered while things broke, written down line by line, and the
//! judge that decides from the lines alone whether the promises held. A history is made in `run`; `check` shares no code
//! with skein, and needs no lab: it reads what is in `entry`.

pub mod chance;
pub mod check;
pub mod client;
pub mod entry;
pub mod record;
pub mod run;
pub mod schedule;
pub mod settle;
