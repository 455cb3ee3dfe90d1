//! The file in the data directory that holds the sets of common secrets, sealed. What is in them does not live here.

use std::fs;
use std::io;
use std::path::Path;

use super::PkiError;
use super::epochs::{Epochs, MAX_SETS_BYTES};
use super::seal::{Seal, SealError, write_private};

/// The sets' file.
pub const EPOCHS_FILE: &str = "api-epochs.sealed";
/// The file in which versions before this one kept the only set there was, in clear.
pub const PLAIN_FILE: &str = "api-secrets.json";
/// More than a sealed file is longer than its text.
const SEALED_MORE: usize = 256;

/// Reads the sets of a data directory; `None` when it has none yet. What an earlier version kept in clear is sealed, and the
/// file in clear is removed.
///
/// # Errors
/// When a file cannot be read or written, or does not hold sets.
pub fn load(dir: &Path, seal: &Seal) -> Result<Option<Epochs>, PkiError> {
    let (path, plain) = (dir.join(EPOCHS_FILE), dir.join(PLAIN_FILE));
    let (bytes, earlier) = (read(&path)?, read(&plain)?);
    let epochs = match (bytes, &earlier) {
        (Some(bytes), _) => {
            let damaged = || SealError::Damaged { path: path.clone(), why: "it is not as it was sealed".to_owned() };
            let text = seal.unseal(EPOCHS_FILE, &bytes).ok_or_else(damaged)?;
            Epochs::from_disk(&text, &path.display().to_string())?
        }
        (None, Some(text)) => {
            let epochs = Epochs::from_bytes(text, &plain.display().to_string())?;
            store(dir, seal, &epochs)?;
            epochs
        }
        (None, None) => return Ok(None),
    };
    if earlier.is_some() {
        fs::remove_file(&plain).map_err(|source| PkiError::File { path: plain, source })?;
    }
    Ok(Some(epochs))
}

/// Writes the sets into a data directory, sealed, and waits until they are on disk.
///
/// # Errors
/// When the file cannot be written; an older one is then still there.
pub fn store(dir: &Path, seal: &Seal, epochs: &Epochs) -> Result<(), PkiError> {
    let path = dir.join(EPOCHS_FILE);
    let sealed = seal.seal(EPOCHS_FILE, &epochs.to_bytes())?;
    write_private(&path, &sealed).map_err(|source| PkiError::File { path, source })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, PkiError> {
    let failed = |source| PkiError::File { path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(found) if found.len() > (MAX_SETS_BYTES + SEALED_MORE) as u64 => {
            Err(failed(io::Error::other(format!("it is longer than {MAX_SETS_BYTES} bytes"))))
        }
        Ok(_) => fs::read(path).map(Some).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pki::ClusterSecrets;
    use crate::pki::seal::Opener;
    use std::os::unix::fs::PermissionsExt;

    fn opened() -> (tempfile::TempDir, std::path::PathBuf, Seal) {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("node");
        fs::create_dir(&dir).unwrap();
        let seal = Seal::open(&dir, &Opener::beside(&dir).unwrap()).unwrap();
        (place, dir, seal)
    }

    #[test]
    fn sets_come_back_from_disk_where_nothing_of_them_is_in_clear_and_nobody_else_can_read() {
        let (_place, dir, seal) = opened();
        assert!(load(&dir, &seal).unwrap().is_none());
        let secrets = ClusterSecrets::found("home").unwrap();
        let epochs = Epochs::founded(secrets.clone());
        store(&dir, &seal, &epochs).unwrap();
        store(&dir, &seal, &epochs).unwrap();
        let read = load(&dir, &seal).unwrap().unwrap();
        assert_eq!(read.get(&read.current()).map(|set| (**set).clone()), Some(secrets.clone()));
        let path = dir.join(EPOCHS_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let holds = |bytes: &[u8]| bytes.windows(64).any(|window| window == secrets.admin_token.as_bytes());
        assert!(!holds(&fs::read(&path).unwrap()) && holds(&epochs.to_bytes()));
    }

    #[test]
    fn what_an_earlier_version_kept_in_clear_is_sealed_at_the_first_start() {
        let (_place, dir, seal) = opened();
        let secrets = ClusterSecrets::found("home").unwrap();
        fs::write(dir.join(PLAIN_FILE), secrets.to_bytes()).unwrap();
        for _ in 0..2 {
            assert_eq!(load(&dir, &seal).unwrap().unwrap().current(), secrets.epoch());
            assert!(!dir.join(PLAIN_FILE).exists() && dir.join(EPOCHS_FILE).exists());
        }
    }

    #[test]
    fn a_changed_file_is_damaged_and_is_not_taken_for_none() {
        let (_place, dir, seal) = opened();
        store(&dir, &seal, &Epochs::founded(ClusterSecrets::found("home").unwrap())).unwrap();
        let path = dir.join(EPOCHS_FILE);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(load(&dir, &seal).unwrap_err().to_string().contains("damaged"));
    }
}
