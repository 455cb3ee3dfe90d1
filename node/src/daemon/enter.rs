//! How a data directory comes to belong to a cluster: it goes on with the one that it has, joins one, or founds one. Each way ends
//! with the file that names the cluster: what is on disk before it counts for nothing without it, so that a start which is cut short
//! at any moment is followed by one that begins anew or by one that has all.

use std::path::Path;

use redb::Database;
use skein_core::node::founding_row;
use skein_crdt_state::ClusterId;
use skein_crdt_state::store::tables;
use skein_gossip::Keypair;
use skein_net::NetHandle;
use tracing::info;

use super::admission::{self, Admitted};
use super::identity::{self, AddressBook, ClusterFile, IdentityError};
use super::token::JoinToken;
use super::{DaemonConfig, DaemonError, machine_name};
use crate::disk::{self, Rows};
use crate::pki::epochs::Epochs;
use crate::pki::seal::Seal;
use crate::pki::{ClusterSecrets, file};

/// What a node has once it belongs to a cluster.
pub(super) struct Entry {
    pub(super) file: ClusterFile,
    pub(super) cluster: ClusterId,
    pub(super) epochs: Epochs,
    pub(super) book: AddressBook,
}

/// Where a node keeps what it has.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) dir: &'a Path,
    pub(super) seal: &'a Seal,
    pub(super) database: &'a Database,
}

/// Goes on with a known cluster, joins one, or founds one. `rows` is what the disk holds, before and after.
pub(super) async fn enter(
    config: &DaemonConfig,
    place: Place<'_>,
    rows: &mut Rows,
    known: Option<ClusterFile>,
    token: Option<JoinToken>,
    keys: &Keypair,
    net: &NetHandle,
) -> Result<Entry, DaemonError> {
    let Place { dir, seal, .. } = place;
    if let (Some(cluster_file), Some(epochs)) = (known, file::load(dir, seal)?) {
        let cluster = cluster_file
            .id()
            .map_err(|reason| IdentityError::Damaged { path: dir.to_owned(), reason: reason.into() })?;
        let book = identity::load_addresses(dir);
        return Ok(Entry { file: cluster_file, cluster, epochs, book });
    }
    let name = config.name.clone().or_else(machine_name).ok_or(DaemonError::Name)?;
    if let Some(token) = token {
        let admitted = admission::join(net, &token, &name).await?;
        return begin_as_admitted(place, rows, token.cluster, &name, admitted);
    }
    let nonce = identity::random_bytes(dir)?;
    let cluster = skein_crdt_state::members::cluster_id(&keys.node_id(), &nonce);
    let epochs = Epochs::founded(ClusterSecrets::found(&cluster.to_string())?);
    let cluster_file = ClusterFile::new(&cluster, &name, Some(nonce));
    disk::begin_with(dir, place.database, rows, vec![founding_row(cluster)])?;
    file::store(dir, seal, &epochs)?;
    cluster_file.store(dir)?;
    info!(%cluster, %name, "founded a cluster");
    Ok(Entry { file: cluster_file, cluster, epochs, book: AddressBook::new() })
}

/// Keeps what a member has given. The statements by which this node knows the others, and itself as one of them, are on disk before
/// the directory belongs to the cluster: without them it would be a node that knows nobody.
fn begin_as_admitted(
    place: Place<'_>,
    rows: &mut Rows,
    cluster: ClusterId,
    name: &str,
    admitted: Admitted,
) -> Result<Entry, DaemonError> {
    let (dir, cluster_file) = (place.dir, ClusterFile::new(&cluster, name, None));
    let Admitted { members, epochs, peers } = admitted;
    let row = |said: &skein_crdt_state::Envelope| (tables::MEMBERS.to_owned(), said.digest().to_vec(), said.encode());
    disk::begin_with(dir, place.database, rows, members.iter().map(|said| row(said)).collect())?;
    identity::store_addresses(dir, &peers)?;
    file::store(dir, place.seal, &epochs)?;
    cluster_file.store(dir)?;
    Ok(Entry { file: cluster_file, cluster, epochs, book: peers })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use skein_crdt_state::{Body, Envelope, Hlc, Sequence, members};

    use super::*;
    use crate::pki::seal::Opener;

    #[test]
    fn a_join_that_is_cut_short_at_its_last_step_leaves_the_statements_and_no_cluster_and_one_more_goes_on() {
        let place = tempfile::tempdir().unwrap();
        let dir = &place.path().join("node");
        std::fs::create_dir(dir).unwrap();
        let seal = &Seal::open(dir, &Opener::beside(dir).unwrap()).unwrap();
        let keys = Keypair::from_secret([1; 32]);
        let cluster = members::cluster_id(&keys.node_id(), &[7; 32]);
        let body = Body::Founding { nonce: [7; 32], name: "a".into(), stamp: Hlc(1) };
        let said = Arc::new(Envelope::seal(&keys, &cluster, Sequence { boot: 1, number: 1 }, &body));
        let epochs = Epochs::founded(ClusterSecrets::found("home").unwrap());
        let begin = || {
            let (database, mut rows) = disk::open(dir).unwrap();
            let admitted = Admitted { members: vec![said.clone()], epochs: epochs.clone(), peers: AddressBook::new() };
            let place = Place { dir, seal, database: &database };
            begin_as_admitted(place, &mut rows, cluster, "b", admitted).map(|_| rows)
        };
        // The last step fails: the file's name is taken.
        std::fs::create_dir(dir.join("cluster.json")).unwrap();
        assert!(begin().is_err());
        std::fs::remove_dir(dir.join("cluster.json")).unwrap();
        assert_eq!(ClusterFile::load(dir).unwrap(), None, "it belongs to no cluster");
        assert_eq!(disk::open(dir).unwrap().1.len(), 1, "the statements were there before");
        assert_eq!(begin().unwrap().len(), 1);
        assert_eq!(ClusterFile::load(dir).unwrap().unwrap().cluster, cluster.to_string());
        assert_eq!(disk::open(dir).unwrap().1.len(), 1);
    }
}
