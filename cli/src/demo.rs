//! `skein demo`: sets the stage for three nodes on this machine, has the story told on it, and removes all of it again,
//! however the story ended. What is told lives in `story`.

use std::future::Future;
use std::time::Duration;

use skein_node::runtime::{DockerClient, image_from_executable};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{DemoFlags, Runtime};
use crate::failure::Failure;
use crate::screen::print;

mod containers;
mod look;
mod manifest;
mod nodes;
pub(crate) mod page;
mod processes;
mod stage;
mod story;
mod writes;

use containers::Containers;
use manifest::Manifest;
use stage::Stage;

/// How long an engine may take to say that it is there.
const ENGINE_LIMIT: Duration = Duration::from_secs(2);

/// Runs the demo.
///
/// # Errors
/// When the cluster did not do what it should, or when it was interrupted. Nothing is left of it then either, unless the
/// failure says so.
pub(crate) async fn run(flags: DemoFlags) -> Result<(), Failure> {
    let interrupted = interrupted()?;
    let (containers, why) = choose(flags.runtime).await?;
    let mut stage = Stage::set(containers)?;
    let mut failed = false;
    let told = tokio::select! {
        told = Box::pin(play(&mut stage, &why)) => told.inspect_err(|_| failed = true),
        name = interrupted => Err(Failure::new(format!("the demo was interrupted ({name})"))),
    };
    if failed {
        stage.show_logs();
    }
    let cleared = stage.clear().await;
    match (told, cleared) {
        (told, Ok(())) => {
            print("\nEverything that the demo made is removed again.\n")?;
            told
        }
        (Ok(()), Err(left)) => Err(left),
        (Err(failure), Err(left)) => {
            left.tell();
            Err(failure)
        }
    }
}

async fn play(stage: &mut Stage, why: &str) -> Result<(), Failure> {
    let manifest = Manifest::web()?;
    stage.open(why)?;
    let image = make_image(stage, &manifest).await?;
    story::tell(stage, &manifest, image).await
}

/// What runs the containers, and a sentence that says so and why.
async fn choose(asked: Runtime) -> Result<(Containers, String), Failure> {
    let processes =
        |why: String| (Containers::Processes, format!("Pods run as plain processes of this machine: {why}."));
    if asked == Runtime::Process {
        return Ok(processes("--runtime process asks for it".to_owned()));
    }
    let client = DockerClient::new(None).map_err(Failure::usage)?;
    match (client.answers(ENGINE_LIMIT).await, asked) {
        (Ok(()), _) => {
            let why = "Pods run as Docker containers: an engine answers on this machine.".to_owned();
            Ok((Containers::Docker(client), why))
        }
        (Err(why), Runtime::Auto) => Ok(processes(why)),
        (Err(why), _) => {
            Err(Failure::new(why).next("start Docker, or run the demo without it: skein demo --runtime process"))
        }
    }
}

/// Begins to make the image that the manifest names, where images count.
async fn make_image(
    stage: &mut Stage,
    manifest: &Manifest,
) -> Result<impl Future<Output = Result<(), Failure>> + use<>, Failure> {
    let made = match stage.containers().clone() {
        Containers::Processes => None,
        Containers::Docker(client) => {
            let image = manifest.image();
            stage.owns_image(&image);
            Some((client, image, stage.executable()))
        }
    };
    Ok(async move {
        let Some((client, image, executable)) = made else { return Ok(()) };
        let failed = |why: String| Failure::new(format!("the image {image} cannot be made: {why}"));
        let tar = tokio::task::spawn_blocking(move || image_from_executable(&executable)).await;
        let tar = tar.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        // The executable is at the image's root.
        client.import_image(&image, tar, vec!["ENV PATH=/".to_owned()]).await.map_err(failed)
    })
}

/// Waits for somebody to end the demo. From the first call on, signals no longer end this program by themselves.
fn interrupted() -> Result<impl Future<Output = &'static str>, Failure> {
    let refused = |error| Failure::new(format!("signals cannot be received: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(refused)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            _ = hangup.recv() => "SIGHUP",
        }
    })
}
