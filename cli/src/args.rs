//! The command line: which verbs there are, their flags, and their help. What settings of a daemon come to is decided in
//! `settings`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use skein_node::runtime::RuntimeKind;

use crate::demo::page;
use crate::units;

/// The hidden verb that holds one container of the `process` runtime. Known to the daemon; never typed.
pub(crate) const SHIM_VERB: &str = "__shim";
const RUNTIMES: &str = "docker|process|auto";
const ROLES: &str = "member|observer|client";

/// skein: containers on many machines, and none of them is the master.
#[derive(Debug, Parser)]
#[command(name = "skein", version, subcommand_required = true, arg_required_else_help = true)]
#[command(
    after_help = "Try it on this machine alone: skein demo\nAll else is kubectl's: skein kubeconfig > skein.yaml, then kubectl --kubeconfig skein.yaml"
)]
pub(crate) struct Args {
    /// Where the node keeps everything [default: /var/lib/skein as root, else ~/.local/share/skein]
    #[arg(long, global = true, env = "SKEIN_DATA_DIR", value_name = "DIR", hide_env_values = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run this machine's node: found a cluster, or go on with the one in the data directory
    Up(DaemonFlags),
    /// Join a cluster with a code from `skein invite` or a token from `skein token create`, and go on as its node
    Join(JoinFlags),
    /// Invite a machine on this network: print a code for `skein join` on it, and wait until it has come
    Invite(InviteFlags),
    /// Leave the cluster: this node's pods start elsewhere, and its daemon ends
    Leave,
    /// Remove another node for good, and change all keys that it knew: kubeconfigs made before count no more
    Remove(RemoveFlags),
    /// Change the keys that members hold in common: the authority, all tokens, the key of the data
    Rotate {
        /// How long what was issued before counts still, such as 24h or 0s
        #[arg(long, default_value = "24h", value_parser = units::grace)]
        grace: Duration,
    },
    /// Change what opens the data directory: another key file, or a passphrase (while the daemon is stopped)
    Seal(SealFlags),
    /// Make, list and revoke join tokens
    #[command(subcommand)]
    Token(TokenVerb),
    /// Print a kubeconfig for kubectl and its like: the administrator's, or another user's
    Kubeconfig(KubeconfigFlags),
    /// Let no token and no certificate count any more that was issued to a user until now
    Revoke {
        /// The user's name
        user: String,
    },
    /// List the cluster's nodes: alive, down, refused (it broke the rules), left, removed, or unvouched (let in by a removed one alone)
    Peers,
    /// Say who leads now
    Leader,
    /// Show objects as a table, and with --watch keep it up to date
    Get(GetFlags),
    /// Explain why a pod is where it is or is nowhere, and what was set to different values on two sides of a cut
    Why(WhyFlags),
    /// Watch three nodes on this machine lose their leader and carry on (under 40 s; removes all it made)
    Demo(DemoFlags),
    /// Serve the demo's page.
    #[command(name = "__serve", hide = true)]
    Serve(ServeFlags),
}

/// Which node to remove, and what of the keys.
#[derive(Debug, clap::Args)]
pub(crate) struct RemoveFlags {
    /// The node's name, or its id as `skein peers` shows it
    pub(crate) peer: String,
    /// How long what was issued before counts still, such as 1h: for as long the removed node can act with it
    #[arg(long, default_value = "0s", value_parser = units::grace, conflicts_with = "keep_keys")]
    pub(crate) grace: Duration,
    /// Do not change the keys, though the removed node knows them
    #[arg(long)]
    pub(crate) keep_keys: bool,
}

/// What opens the data directory.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct OpenerFlags {
    /// The file with the key that the data directory is sealed with [env: SKEIN_SEAL_KEY] [default: beside it, DATA_DIR.seal]
    #[arg(long, value_name = "FILE")]
    pub(crate) seal_key: Option<PathBuf>,
    /// A file with the passphrase that the data directory is sealed with; it may also be in SKEIN_PASSPHRASE [env: SKEIN_PASSPHRASE_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "seal_key")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// What is to open the data directory from now on.
#[derive(Debug, clap::Args)]
#[group(id = "to", required = true, multiple = false, args = ["to_key", "to_passphrase_file"])]
pub(crate) struct SealFlags {
    /// What opens it now.
    #[command(flatten)]
    pub(crate) now: OpenerFlags,
    /// The key file from now on; made if it is not there
    #[arg(long, value_name = "FILE")]
    pub(crate) to_key: Option<PathBuf>,
    /// The file with the passphrase from now on
    #[arg(long, value_name = "FILE")]
    pub(crate) to_passphrase_file: Option<PathBuf>,
    /// The settings' file, as for `up`
    #[arg(long, env = "SKEIN_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// How a daemon runs. All of them can also be set in the environment and in a file, in this order.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct DaemonFlags {
    /// Where peers connect to [default: 0.0.0.0:7311]
    #[arg(long, env = "SKEIN_LISTEN", hide_env_values = true, value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where clients such as kubectl connect to [default: 0.0.0.0:7443]
    #[arg(long, env = "SKEIN_API", hide_env_values = true, value_name = "IP:PORT")]
    pub(crate) api: Option<SocketAddr>,
    /// What peers are told to connect to, if that is not what is listened on; may be repeated
    #[arg(long, env = "SKEIN_ADVERTISE", hide_env_values = true, value_name = "IP:PORT", value_delimiter = ',')]
    pub(crate) advertise: Vec<SocketAddr>,
    /// What runs containers [default: auto]
    #[arg(long, env = "SKEIN_RUNTIME", hide_env_values = true, value_enum, value_name = RUNTIMES, hide_possible_values = true)]
    pub(crate) runtime: Option<Runtime>,
    /// Where Docker's engine is, such as unix:///var/run/docker.sock [default: $DOCKER_HOST, or where it usually is]
    #[arg(long, env = "SKEIN_DOCKER_HOST", hide_env_values = true, value_name = "URL")]
    pub(crate) docker_host: Option<String>,
    /// The node's name [default: the machine's]
    #[arg(long, env = "SKEIN_NAME", hide_env_values = true, value_parser = units::node_name)]
    pub(crate) name: Option<String>,
    /// How much to log to stderr: error, warn, info, debug, trace [default: info]
    #[arg(long, env = "SKEIN_LOG", hide_env_values = true, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// What opens the data directory.
    #[command(flatten)]
    pub(crate) opener: OpenerFlags,
    /// A TOML file with settings [default: DATA_DIR/skein.toml, if it is there]
    #[arg(long, env = "SKEIN_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// How to join.
#[derive(Debug, clap::Args)]
pub(crate) struct JoinFlags {
    /// The code or the token, or - to read it from stdin (others on this machine can read arguments) [env: SKEIN_TOKEN]
    #[arg(value_name = "CODE|TOKEN", num_args = 0..=8)]
    pub(crate) ticket: Vec<String>,
    /// Read the code or the token from a file
    #[arg(long, value_name = "FILE", conflicts_with = "ticket")]
    pub(crate) token_file: Option<PathBuf>,
    /// Where the member is that has made the code, if mDNS does not find it; may be repeated
    #[arg(long = "peer", value_name = "IP:PORT")]
    pub(crate) peers: Vec<SocketAddr>,
    /// For clients: what the user of the kubeconfig is called [default: whoever runs this]
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Give up the cluster that the data directory belongs to, if it is another one
    #[arg(long)]
    pub(crate) discard: bool,
    /// As for `up`.
    #[command(flatten)]
    pub(crate) daemon: DaemonFlags,
}

/// Whom to invite.
#[derive(Debug, clap::Args)]
pub(crate) struct InviteFlags {
    /// What whoever comes is to be: observers run nothing and do not vote, clients get a kubeconfig
    #[arg(long, value_enum, default_value = "member", value_name = ROLES, hide_possible_values = true)]
    pub(crate) role: Role,
    /// How many may come with the code, at most 64
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) uses: u32,
    /// How long the code counts, such as 10m or 1h, at most 1d
    #[arg(long, default_value = "10m", value_parser = units::duration)]
    pub(crate) ttl: Duration,
    /// For clients: the role that they are given, such as view or edit [default: view]
    #[arg(long, value_name = "NAME")]
    pub(crate) grant: Option<String>,
    /// Do not wait until somebody has come
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// Whose kubeconfig to print.
#[derive(Debug, clap::Args)]
pub(crate) struct KubeconfigFlags {
    /// A user's name [default: the administrator's own, which counts until the keys are changed: skein rotate, skein remove]
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// A group that the user is in; may be repeated
    #[arg(long = "group", value_name = "NAME", requires = "user")]
    pub(crate) groups: Vec<String>,
    /// A role to give to the user, such as view, edit, admin or cluster-admin
    #[arg(long, value_name = "NAME", requires = "user")]
    pub(crate) role: Option<String>,
    /// Where the user has the role, and where kubectl looks [default: in all namespaces]
    #[arg(short, long, value_name = "NAME", requires = "user")]
    pub(crate) namespace: Option<String>,
    /// How long it is valid, such as 12h or 30d, at most a year
    #[arg(long, default_value = "30d", value_parser = units::duration, requires = "user")]
    pub(crate) expires: Duration,
    /// Put a certificate into it rather than a token
    #[arg(long, requires = "user")]
    pub(crate) certificate: bool,
}

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Print a new join token, and nothing else
    Create {
        /// How often it may be used, at most 10000 times
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// How long it is valid, such as 30m, 1h or 7d, at most 365d
        #[arg(long, default_value = "1h", value_parser = units::duration)]
        ttl: Duration,
        /// What it is for: observers run nothing and do not vote, clients get a kubeconfig
        #[arg(long, value_enum, default_value = "member", value_name = ROLES, hide_possible_values = true)]
        role: Role,
        /// For clients: the role that they are given, such as view or edit [default: view]
        #[arg(long, value_name = "NAME")]
        grant: Option<String>,
    },
    /// List all tokens, each by an id that tells nothing of its secret
    List,
    /// Let nobody in any more with a token
    Revoke {
        /// Its id, as `skein token list` shows it
        id: String,
    },
}

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct GetFlags {
    /// The kind: pods, deployments, nodes, or another one that the cluster has
    pub(crate) kind: String,
    /// In which namespace
    #[arg(short, long, default_value = "default", conflicts_with = "all_namespaces")]
    pub(crate) namespace: String,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Go on showing changes until interrupted
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// What to explain.
#[derive(Debug, clap::Args)]
pub(crate) struct WhyFlags {
    /// A pod's name, or KIND/NAME of anything else, such as deployment/web
    #[arg(value_name = "POD|KIND/NAME")]
    pub(crate) object: String,
    /// Its namespace
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}

/// How to run the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoFlags {
    /// What runs containers; auto takes Docker if an engine answers
    #[arg(long, value_enum, default_value = "auto", value_name = RUNTIMES, hide_possible_values = true)]
    pub(crate) runtime: Runtime,
}

/// How to serve the demo's page.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeFlags {
    /// The port
    #[arg(long, default_value_t = page::PORT)]
    pub(crate) port: u16,
}

/// What somebody is let in as, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// A node that does all that nodes do
    Member,
    /// A node that holds the state and serves the API, runs nothing and does not vote
    Observer,
    /// No node: somebody with a kubeconfig
    Client,
}

impl Role {
    /// As the daemon reads it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Role::Member => "member",
            Role::Observer => "observer",
            Role::Client => "client",
        }
    }
}

/// What runs containers, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runtime {
    /// Docker, or what speaks its API
    Docker,
    /// Processes of the host, without isolation
    Process,
    /// Docker if an engine answers, else processes
    Auto,
}

impl From<Runtime> for RuntimeKind {
    fn from(runtime: Runtime) -> Self {
        match runtime {
            Runtime::Docker => RuntimeKind::Docker,
            Runtime::Process => RuntimeKind::Process,
            Runtime::Auto => RuntimeKind::Auto,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_data_directory_may_come_before_or_after_the_verb() {
        for words in [["skein", "--data-dir", "/d", "leader"], ["skein", "leader", "--data-dir", "/d"]] {
            assert_eq!(Args::try_parse_from(words).unwrap().data_dir, Some("/d".into()));
        }
    }

    #[test]
    fn what_makes_no_sense_is_wrong_usage() {
        let wrong: [&[&str]; 17] = [
            &["invite", "--role", "king"],
            &["invite", "--uses", "0"],
            &["token", "revoke"],
            &["join", "x", "--token-file", "y"],
            &["kubeconfig", "--role", "view"],
            &["tokn", "create"],
            &["token", "create", "--uses", "many"],
            &["token", "create", "--uses", "0"],
            &["token", "create", "--ttl", "soon"],
            &["token"],
            &[],
            &["up", "--listen", "here"],
            &["up", "--name", "No Name"],
            &["up", "--seal-key", "a", "--passphrase-file", "b"],
            &["seal"],
            &["seal", "--to-key", "a", "--to-passphrase-file", "b"],
            &["remove", "b", "--grace", "1h", "--keep-keys"],
        ];
        for words in wrong {
            let error = Args::try_parse_from([&["skein"], words].concat()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words:?}: {error}");
        }
    }

    #[test]
    fn a_code_may_be_written_as_words() {
        let words = ["skein", "join", "42", "amber", "tiger", "lemon", "piano", "--peer", "10.0.0.1:7311"];
        let Verb::Join(join) = Args::try_parse_from(words).unwrap().verb else { panic!("not a join") };
        assert_eq!(join.ticket.join(" "), "42 amber tiger lemon piano");
        assert_eq!(join.peers, ["10.0.0.1:7311".parse().unwrap()]);
    }

    #[test]
    fn joining_takes_the_same_flags_as_up() {
        let words = ["skein", "join", "-", "--listen=10.0.0.1:1", "--runtime=process", "--discard"];
        let Verb::Join(join) = Args::try_parse_from(words).unwrap().verb else { panic!("not a join") };
        assert!(join.discard && join.ticket == ["-"]);
        assert_eq!(join.daemon.listen, Some("10.0.0.1:1".parse().unwrap()));
        assert_eq!(join.daemon.runtime, Some(Runtime::Process));
    }
}
