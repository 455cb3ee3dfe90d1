//! `join`: what somebody was given is read, a code is made a token of, and a client gets a kubeconfig. A node's daemon then goes
//! on in `daemon`.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;

use skein_gossip::Keypair;
use skein_node::api::backend::TokenRole;
use skein_node::daemon::token::JoinToken;
use skein_node::daemon::{belongs_to_a_cluster, identity};
use skein_node::joining::{Code, guest};
use skein_node::pki::seal::Opener;

use crate::args::JoinFlags;
use crate::failure::Failure;
use crate::screen::print;
use crate::settings::failure;

/// More than any token has.
const TICKET_BYTES: u64 = 64 << 10;
/// Where a token may stand that no argument and no file holds.
const TOKEN_VAR: &str = "SKEIN_TOKEN";
/// What every token begins with.
const TOKEN: &str = "skein1-";

/// What somebody joins with.
#[derive(Debug)]
pub(crate) struct Joining {
    ticket: Ticket,
    peers: Vec<SocketAddr>,
    user: Option<String>,
    /// Whether to give up the cluster that the data directory belongs to.
    pub(crate) discard: bool,
}

#[derive(Debug, PartialEq)]
enum Ticket {
    Code(Code),
    Token(JoinToken),
}

impl Joining {
    /// Reads what somebody was given.
    ///
    /// # Errors
    /// When there is nothing, or it is neither a code nor a token.
    pub(crate) fn of(flags: JoinFlags) -> Result<Self, Failure> {
        let in_env = std::env::var(TOKEN_VAR).unwrap_or_default();
        let text = match (&flags.token_file, flags.ticket.as_slice()) {
            (Some(path), _) => std::fs::File::open(path).and_then(read).map_err(|error| {
                Failure::new(format!("{} cannot be read: {error}", path.display()))
                    .next("name a file with the code or the token in it, or give it on stdin: skein join -")
            })?,
            (None, []) => in_env,
            (None, [dash]) if dash == "-" => read(std::io::stdin())
                .map_err(|error| Failure::new(format!("it cannot be read from stdin: {error}")))?,
            (None, words) => words.join(" "),
        };
        let ticket = Ticket::of(text.trim())?;
        Ok(Joining { ticket, peers: flags.peers, user: flags.user, discard: flags.discard })
    }

    /// The token to join with, which a code is exchanged for. `None`: it is for clients, and the kubeconfig was printed.
    ///
    /// # Errors
    /// When no member is found, or it is refused.
    pub(crate) async fn token(&self, data_dir: &Path, opener: &Opener) -> Result<Option<String>, Failure> {
        let wrong = |error: &dyn std::error::Error| failure(error);
        let is_code = matches!(self.ticket, Ticket::Code(_));
        // The code would be used up before this came out.
        if is_code && !self.discard && self.user.is_none() && belongs_to_a_cluster(data_dir) {
            let what = format!("{} belongs to a cluster already", data_dir.display());
            return Err(Failure::new(what).next("go on with it with skein up, or give it up with --discard"));
        }
        let known = identity::known_keypair(data_dir, opener).map_err(|error| wrong(&error))?;
        let keys = match known {
            Some(keys) => keys,
            None => Keypair::from_secret(identity::random_bytes(data_dir).map_err(|error| wrong(&error))?),
        };
        let token = match &self.ticket {
            Ticket::Token(token) => token.clone(),
            Ticket::Code(code) => guest::redeem(code, &keys, &self.peers).await.map_err(|error| wrong(&error))?,
        };
        if token.role == TokenRole::Client {
            let user = self.user.clone().or_else(login).ok_or_else(|| {
                Failure::new("it is not known who runs this").next("name the user of the kubeconfig with --user")
            })?;
            let kubeconfig = guest::become_client(&token, &keys, &user).await.map_err(|error| wrong(&error))?;
            return print(&kubeconfig).map(|()| None);
        }
        if self.user.is_some() {
            let what = format!("--user is for clients, and this lets somebody in as {}", token.role.as_str());
            return Err(Failure::usage(what).next("leave it out"));
        }
        // The code was shown by this key: it may be shown once more if what follows fails.
        identity::adopt(data_dir, opener, &keys).map_err(|error| wrong(&error))?;
        Ok(Some(token.to_string()))
    }
}

impl Ticket {
    fn of(text: &str) -> Result<Self, Failure> {
        let next = "`skein invite` prints a code at any member, and `skein token create` a token";
        if text.is_empty() {
            return Err(Failure::usage("there is no code and no token").next(next));
        }
        if text.starts_with(TOKEN) {
            let token = text.parse().map_err(|error: skein_node::daemon::token::ParseTokenError| failure(&error))?;
            return Ok(Ticket::Token(token));
        }
        let code = text.parse::<Code>().map_err(|error| Failure::usage(error.to_string()).next(next))?;
        Ok(Ticket::Code(code))
    }
}

fn read(from: impl std::io::Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(TICKET_BYTES).read_to_string(&mut text).map(|_| text)
}

/// Whoever runs this program.
fn login() -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok()??;
    Some(user.name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn flags(ticket: &[&str]) -> JoinFlags {
        JoinFlags {
            ticket: ticket.iter().map(|word| (*word).to_owned()).collect(),
            token_file: None,
            peers: Vec::new(),
            user: None,
            discard: false,
            daemon: crate::args::DaemonFlags::default(),
        }
    }

    #[test]
    fn a_code_is_read_however_it_is_written_and_also_from_a_file() {
        let code = Joining::of(flags(&["42-acorn-actor-album-alley"])).unwrap().ticket;
        assert!(matches!(code, Ticket::Code(_)));
        assert_eq!(Joining::of(flags(&["42", "ACORN", "actor", "albu", "alley"])).unwrap().ticket, code);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "42 acorn actor album alley\n").unwrap();
        let from_file = JoinFlags { token_file: Some(file.path().to_owned()), ..flags(&[]) };
        assert_eq!(Joining::of(from_file).unwrap().ticket, code);
    }

    #[test]
    fn what_is_neither_a_code_nor_a_token_is_refused_and_not_repeated() {
        for wrong in ["", "  ", "skein1-secret", "42-secret-secret-secret-secret", "secret"] {
            let error = Joining::of(flags(&[wrong])).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
