//! The disk: batches of records, each batch whole or not at all, and durable before it is reported as written.
//!
//! One thread owns the database. Batches that arrive while it writes are committed together, so that many writers share
//! one flush.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use skein_core::node::is_founding_row;
use skein_crdt_state::Record;
use skein_crdt_state::store::tables;
use tracing::{debug, error};

const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");
/// The file in the data directory.
const FILE_NAME: &str = "state.redb";
/// The most batches that wait for the disk; then the core waits, and with it whoever writes.
const MAX_WAITING: usize = 1024;
/// How much of the file is kept in memory, in bytes.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Everything that a disk holds: (table, key, value).
pub type Rows = Vec<(String, Vec<u8>, Vec<u8>)>;

/// Why the disk cannot be used. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another daemon has it.
    #[error("{0} is in use by another skein daemon; stop it first, or use another --data-dir")]
    InUse(PathBuf),
    /// It cannot be opened or read.
    #[error(
        "{path} cannot be used: {reason}; move it away to start empty and take the state from the other members again, if there are any"
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// What became of batches.
#[derive(Debug)]
pub enum Written {
    /// All up to this one are durable.
    Until(u64),
    /// This batch and those after it were refused; nothing of them is on disk. All that come are refused until one asks again.
    Failed(u64, String),
}

/// A batch that waits to be written.
struct Batch {
    number: u64,
    records: Arc<[Record]>,
    /// Whether it holds all that was refused before it.
    again: bool,
}

/// The thread that writes.
pub struct Disk {
    batches: Option<mpsc::SyncSender<Batch>>,
    thread: Option<JoinHandle<()>>,
}

/// Opens the disk in a data directory and reads all of it.
///
/// # Errors
/// When another daemon holds it or it cannot be read.
pub fn open(dir: &Path) -> Result<(Database, Rows), DiskError> {
    let path = dir.join(FILE_NAME);
    let unusable = |reason: String| DiskError::Unusable { path: path.clone(), reason };
    let file = open_private(&path).map_err(|error| unusable(error.to_string()))?;
    let open = |file| Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(FileBackend::new(file)?);
    let database = open(file).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => DiskError::InUse(path.clone()),
        other => unusable(other.to_string()),
    })?;
    let rows = read_all(&database).map_err(|error| unusable(error.to_string()))?;
    Ok((database, rows))
}

/// A file that its owner alone may open, whatever the system gives to new ones and whatever it had before.
fn open_private(path: &Path) -> std::io::Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

fn read_all(database: &Database) -> Result<Rows, redb::Error> {
    let transaction = database.begin_write()?;
    // Opening the table for writing makes it exist.
    transaction.open_table(RECORDS)?;
    transaction.commit()?;
    let transaction = database.begin_read()?;
    let table = transaction.open_table(RECORDS)?;
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        let key = key.value();
        let Some(end) = key.iter().position(|byte| *byte == 0) else { continue };
        let table = String::from_utf8_lossy(&key[..end]).into_owned();
        rows.push((table, key[end + 1..].to_vec(), value.value().to_vec()));
    }
    Ok(rows)
}

/// Writes what a node begins with, and waits until it is on disk. What an earlier beginning left there that was cut short goes:
/// no start has used it, and it may be of another cluster. A disk that a start has used stays that of its cluster.
///
/// # Errors
/// When the disk refuses; then all is as it was.
pub fn begin_with(dir: &Path, database: &Database, found: &mut Rows, mut first: Rows) -> Result<(), DiskError> {
    let unusable = |reason: redb::Error| DiskError::Unusable { path: dir.join(FILE_NAME), reason: reason.to_string() };
    // Each start writes other records than a beginning does.
    let is_unused = found.iter().all(|(table, key, _)| table == tables::MEMBERS || is_founding_row(table, key));
    if !is_unused {
        first.retain(|(table, key, _)| !is_founding_row(table, key));
    }
    let left_behind = if is_unused { std::mem::take(found) } else { Rows::new() };
    replace(database, &left_behind, &first).map_err(unusable)?;
    found.extend(first);
    Ok(())
}

fn replace(database: &Database, gone: &Rows, new: &Rows) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut records = transaction.open_table(RECORDS)?;
        let row = |table: &str, key: &[u8]| [table.as_bytes(), &[0], key].concat();
        for (table, key, _) in gone {
            records.remove(row(table, key).as_slice())?;
        }
        for (table, key, value) in new {
            records.insert(row(table, key).as_slice(), value.as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

impl Disk {
    /// Starts the thread. `written` is called on it after each commit.
    pub fn start(database: Database, written: impl FnMut(Written) + Send + 'static) -> std::io::Result<Self> {
        let (batches, incoming) = mpsc::sync_channel(MAX_WAITING);
        let thread = std::thread::Builder::new()
            .name("skein-disk".into())
            .spawn(move || write_all(&database, &incoming, written))?;
        Ok(Disk { batches: Some(batches), thread: Some(thread) })
    }

    /// Hands over a batch; batches come in rising order. After a refusal all are refused until one asks again, which holds
    /// what was refused. Waits while too many are on their way.
    pub fn persist(&self, number: u64, records: Arc<[Record]>, again: bool) {
        if let Some(batches) = &self.batches {
            // The thread ends only when this sender is dropped.
            let _ = batches.send(Batch { number, records, again });
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_all(database: &Database, incoming: &mpsc::Receiver<Batch>, mut written: impl FnMut(Written)) {
    let mut refuses = false;
    while let Ok(first) = incoming.recv() {
        let mut batches = vec![first];
        batches.extend(incoming.try_iter().take(MAX_WAITING));
        if refuses {
            // Without what was refused before it a batch may not stand.
            let Some(again) = batches.iter().position(|batch| batch.again) else { continue };
            batches.drain(..again);
        }
        let (from, until) = (batches[0].number, batches.last().map_or(0, |batch| batch.number));
        match commit(database, &batches) {
            Ok(()) => {
                debug!(from, until, "batches on disk");
                refuses = false;
                written(Written::Until(until));
            }
            Err(reason) => {
                error!(from, until, %reason, "the disk refuses writes");
                refuses = true;
                written(Written::Failed(from, reason.to_string()));
            }
        }
    }
}

fn commit(database: &Database, batches: &[Batch]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(RECORDS)?;
        for record in batches.iter().flat_map(|batch| batch.records.iter()) {
            let key = [record.table.as_bytes(), &[0], &record.key[..]].concat();
            match &record.value {
                Some(value) => drop(table.insert(key.as_slice(), &value[..])?),
                None => drop(table.remove(key.as_slice())?),
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use skein_core::node::founding_row;
    use skein_crdt_state::ClusterId;

    use super::*;

    fn record(key: &str, value: Option<&str>) -> Record {
        Record { table: "t", key: key.as_bytes().into(), value: value.map(|value| value.as_bytes().into()) }
    }

    #[test]
    fn what_was_reported_as_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (database, rows) = open(dir.path()).unwrap();
        assert!(rows.is_empty());
        let (sender, receiver) = mpsc::channel();
        let disk = Disk::start(database, move |written| sender.send(written).unwrap()).unwrap();
        disk.persist(1, [record("a", Some("1")), record("b", Some("2"))].into(), false);
        disk.persist(2, [record("a", None), record("c", Some("3"))].into(), false);
        let mut until = 0;
        while until < 2 {
            match receiver.recv().unwrap() {
                Written::Until(batch) => until = batch,
                Written::Failed(_, reason) => panic!("{reason}"),
            }
        }
        drop(disk);
        let (_, rows) = open(dir.path()).unwrap();
        let keys: Vec<_> = rows.iter().map(|(table, key, _)| (table.as_str(), key.as_slice())).collect();
        assert_eq!(keys, [("t", b"b".as_slice()), ("t", b"c".as_slice())]);
    }

    #[test]
    fn what_a_node_begins_with_is_on_disk_and_what_was_cut_short_before_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let row = |table: &str, key: u8| (table.to_owned(), vec![key], vec![key; 3]);
        let begin = |first: Rows| {
            let (database, mut found) = open(dir.path()).unwrap();
            begin_with(dir.path(), &database, &mut found, first).unwrap();
            drop(database);
            let (_, rows) = open(dir.path()).unwrap();
            assert_eq!(rows, found, "what is in memory is what is on disk");
            rows
        };
        assert_eq!(begin(vec![row("members", 1), row("members", 2)]).len(), 2);
        assert_eq!(begin(vec![row("members", 3), row("t", 0)]), [row("members", 3), row("t", 0)]);
        assert_eq!(begin(vec![row("u", 4)]).len(), 3, "a start has used it: it stays");
    }

    #[test]
    fn a_disk_that_was_used_stays_that_of_its_cluster_whoever_founds_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, other) = (founding_row(ClusterId([1; 16])), founding_row(ClusterId([2; 16])));
        let (database, mut found) = open(dir.path()).unwrap();
        for row in [&other, &mine] {
            begin_with(dir.path(), &database, &mut found, vec![row.clone()]).unwrap();
            assert_eq!(found, std::slice::from_ref(row), "nobody has started on it");
        }
        found.push(("meta".to_owned(), b"boot".to_vec(), vec![1]));
        begin_with(dir.path(), &database, &mut found, vec![other]).unwrap();
        assert!(found.len() == 2 && found[0] == mine);
    }

    #[test]
    fn the_file_is_its_owners_alone_also_if_it_was_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        for _ in 0..2 {
            drop(open(dir.path()).unwrap());
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        }
    }

    #[test]
    fn a_second_daemon_on_the_same_directory_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let _first = open(dir.path()).unwrap();
        assert!(matches!(open(dir.path()), Err(DiskError::InUse(_))));
    }
}
