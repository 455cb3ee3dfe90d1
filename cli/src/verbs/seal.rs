//! `seal`: changes what opens the data directory, while no daemon uses it.

use std::os::unix::net::UnixStream;
use std::path::Path;

use skein_node::api::server::SOCKET_FILE;
use skein_node::pki::seal::{Opener, Seal};

use crate::args::SealFlags;
use crate::failure::Failure;
use crate::screen::print;
use crate::settings;

/// Seals the data directory's key anew.
///
/// # Errors
/// When a daemon runs there, or what opens the directory now is not what was given.
pub(crate) fn change(flags: SealFlags, dir: &Path) -> Result<(), Failure> {
    if UnixStream::connect(dir.join(SOCKET_FILE)).is_ok() {
        let what = format!("a daemon runs in {}", dir.display());
        return Err(Failure::new(what).next("stop it, run this again, and start it with the new key or passphrase"));
    }
    let now = settings::opener_of(&flags.now, flags.config.as_deref(), dir)?;
    let (new, how) = match (flags.to_key, flags.to_passphrase_file) {
        (Some(path), _) => {
            let path = std::path::absolute(&path).unwrap_or(path);
            let how =
                format!("the key {}: start the daemon with --seal-key, unless that is its usual place", path.display());
            (Opener::KeyFile(path), how)
        }
        (None, Some(path)) => {
            let how = "the passphrase: start the daemon with --passphrase-file or SKEIN_PASSPHRASE".to_owned();
            (Opener::passphrase_file(&path).map_err(|error| settings::failure(&error))?, how)
        }
        (None, None) => return Err(Failure::usage("say what is to open it with --to-key or --to-passphrase-file")),
    };
    Seal::change(dir, &now, &new).map_err(|error| settings::failure(&error))?;
    print(&format!(
        "{} is opened by {how}\na copy that was made before is still opened by what opened it before\n",
        dir.display()
    ))
}
