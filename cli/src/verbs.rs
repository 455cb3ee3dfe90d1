//! Each verb's own work, and what all of them need: the data directory and a runtime. What the daemon does lives in
//! skein-node.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::args::{Args, Verb};
use crate::client::Client;
use crate::demo;
use crate::failure::Failure;
use crate::settings;

mod cluster;
mod daemon;
mod get;
mod invite;
mod join;
mod seal;

/// How long what the daemon left running in the background may take to end.
const END_LIMIT: Duration = Duration::from_secs(3);

/// Does what was asked for.
///
/// # Errors
/// What is wrong, and what to do next.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let data_dir = args.data_dir;
    let client = || settings::data_dir(data_dir.clone()).map(|dir| Client::of(&dir));
    match args.verb {
        Verb::Up(flags) => up(flags, data_dir, None),
        Verb::Join(mut flags) => {
            let daemon = std::mem::take(&mut flags.daemon);
            let joining = join::Joining::of(flags)?;
            up(daemon, data_dir, Some(joining))
        }
        Verb::Invite(flags) => alone(invite::invite(client()?, flags)),
        Verb::Leave => alone(cluster::leave(client()?)),
        Verb::Remove(flags) => alone(cluster::remove(client()?, &flags)),
        Verb::Rotate { grace } => alone(cluster::rotate(client()?, grace)),
        Verb::Seal(flags) => seal::change(flags, &settings::data_dir(data_dir.clone())?),
        Verb::Token(verb) => alone(cluster::token(client()?, verb)),
        Verb::Kubeconfig(flags) => alone(cluster::kubeconfig(client()?, flags)),
        Verb::Revoke { user } => alone(cluster::revoke(client()?, &user)),
        Verb::Peers => alone(cluster::peers(client()?)),
        Verb::Leader => alone(cluster::leader(client()?)),
        Verb::Why(flags) => alone(cluster::why(client()?, flags)),
        Verb::Get(flags) => alone(get::get(client()?, flags)),
        Verb::Demo(flags) => alone(demo::run(flags)),
        Verb::Serve(flags) => alone(demo::page::serve(flags)),
    }
}

fn up(flags: crate::args::DaemonFlags, data_dir: Option<PathBuf>, join: Option<join::Joining>) -> Result<(), Failure> {
    let settings = settings::resolve(flags, settings::data_dir(data_dir)?)?;
    let runtime = started(Builder::new_multi_thread())?;
    let result = runtime.block_on(Box::pin(daemon::run(settings, join)));
    runtime.shutdown_timeout(END_LIMIT);
    result
}

/// Runs what needs no second thread.
fn alone(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = started(Builder::new_current_thread())?;
    let result = runtime.block_on(work);
    // Nothing that is still read matters any more.
    runtime.shutdown_background();
    result
}

fn started(mut builder: Builder) -> Result<Runtime, Failure> {
    builder
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("the system gives no threads or timers: {error}")))
}
