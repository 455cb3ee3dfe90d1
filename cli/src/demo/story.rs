//! The story: a cluster forms, runs six pods, loses its leader with all that ran there, carries on, and has its node back.
//! Each act says what it waits for, measures it, and gives up after a while.

use std::future::Future;
use std::time::{Duration, Instant};

use super::look::{self, Look};
use super::manifest::{FILE, Manifest};
use super::page;
use super::stage::Stage;
use super::writes::{Outcome, Writes};
use crate::client::Client;
use crate::failure::Failure;

/// How long each act may take before the demo has failed.
const ACT_LIMIT: Duration = Duration::from_secs(30);
/// How long what is shown stays before the next act.
const PAUSE: Duration = Duration::from_millis(1500);
/// How long exactly the asked-for pods must run to be believed.
const STEADY: Duration = Duration::from_secs(2);

/// What was measured: what, and how long it took.
type Measured = Vec<(String, Duration)>;

/// Tells the whole story.
///
/// # Errors
/// What did not happen.
pub(crate) async fn tell(
    stage: &mut Stage,
    manifest: &Manifest,
    image: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut measured = Measured::new();
    let mut image = std::pin::pin!(image);
    let mut forming = Box::pin(form(stage));
    // Both take seconds, and neither needs the other.
    let mut made = None;
    loop {
        tokio::select! {
            formed = &mut forming => break formed?,
            done = &mut image, if made.is_none() => made = Some(done),
        }
    }
    drop(forming);
    match made {
        Some(made) => made?,
        None => image.await?,
    }
    apply(stage, manifest, &mut measured).await?;
    tokio::time::sleep(PAUSE).await;
    let lost = lose_the_leader(stage, manifest.replicas(), &mut measured).await?;
    tokio::time::sleep(PAUSE).await;
    come_back(stage, lost, manifest.replicas(), &mut measured).await?;
    summary(stage, &measured)
}

/// Act 1: one founds, two join.
async fn form(stage: &mut Stage) -> Result<(), Failure> {
    let names: Vec<String> = stage.nodes.iter().map(|node| node.name.clone()).collect();
    stage.say(&format!(
        "{} founds a cluster and makes a token; {} join with it",
        names[0],
        names[1..].join(" and ")
    ))?;
    stage.nodes[0].up().await?;
    let mut deadline = Deadline::new("the founder to lead");
    while look::leader(&stage.nodes[0].client()).await.ok().flatten().is_none() {
        deadline.check()?;
        stage.wait().await?;
    }
    let token = stage.nodes[0].create_token(names.len() - 1).await?;
    for node in &mut stage.nodes[1..] {
        node.join(&token).await?;
    }
    deadline = Deadline::new("all nodes to be ready at all nodes");
    for at in 0..names.len() {
        loop {
            match look::ready_nodes(&stage.nodes[at].client()).await {
                Ok(ready) if ready.len() == names.len() => break,
                Ok(ready) => deadline.seen(format!("{} shows {ready:?}", names[at])),
                Err(error) => deadline.seen(error.to_string()),
            }
            deadline.check()?;
            stage.wait().await?;
        }
    }
    let look = Look::at(&stage.nodes[0].client()).await?;
    for node in &mut stage.nodes {
        node.id = look.id_of(&node.name);
    }
    stage.say(&format!("{} nodes are ready", names.len()))
}

/// Act 2: the manifest, and its pods.
async fn apply(stage: &mut Stage, manifest: &Manifest, measured: &mut Measured) -> Result<(), Failure> {
    let wanted = manifest.replicas();
    stage.say(&format!("apply {FILE} at {}: a Deployment with {wanted} replicas", stage.nodes[0].name))?;
    let begun = Instant::now();
    manifest.apply(&stage.nodes[0].client()).await?;
    let names: Vec<String> = stage.nodes.iter().map(|node| node.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut deadline = Deadline::new("all pods to be ready");
    let look = loop {
        match Look::at(&stage.nodes[0].client()).await {
            Ok(look) => {
                stage.show(&look)?;
                if look.ready_on(&names) == wanted {
                    break look;
                }
                deadline.seen(look.line());
            }
            Err(error) => deadline.seen(error.to_string()),
        }
        deadline.check()?;
        stage.wait().await?;
    };
    measured.push((format!("{wanted} pods ready after apply"), begun.elapsed()));
    let running: usize = stage.containers().running(&stage.nodes).await?.iter().sum();
    let witness = stage.containers().witness();
    stage.say(&format!(
        "{wanted} pods are ready, after {}; {running} containers run, {witness}",
        shown(begun.elapsed())
    ))?;
    if let Some(pod) = look.pods.last().filter(|pod| !pod.ip.is_empty()) {
        // Where containers have a network of their own, this machine may not reach it.
        if let Some(said) = page::visit(&pod.ip).await {
            stage.say(&format!("http://{}:{} says: {said}", pod.ip, page::PORT))?;
        }
    }
    stage.show(&look)
}

/// Act 3: the leader is gone from one moment to the next. The result is its index.
async fn lose_the_leader(stage: &mut Stage, wanted: usize, measured: &mut Measured) -> Result<usize, Failure> {
    let leader = look::leader(&stage.nodes[0].client()).await?;
    let lost = stage.nodes.iter().position(|node| Some(&node.name) == leader.as_ref());
    let lost = lost.ok_or_else(|| Failure::new("no leader is known although nothing has happened to it"))?;
    let name = stage.nodes[lost].name.clone();
    let pods = stage.containers().running(&stage.nodes).await?[lost];
    stage.say(&format!("{name} leads. Its machine dies: kill -9 of its daemon and its {pods} pods"))?;
    let survivors: Vec<(String, Client)> =
        stage.nodes.iter().filter(|node| node.name != name).map(|node| (node.name.clone(), node.client())).collect();
    stage.nodes[lost].kill().await;
    let killed = Instant::now();
    let mut writes = Writes::begin(survivors.clone());
    stage.containers().kill_those_of(&stage.nodes[lost]).await?;

    let mut story = Recovery::new(killed, name, survivors, wanted);
    let mut deadline = Deadline::new("a new leader, and all pods to be ready elsewhere");
    while !story.over() {
        story.look(stage, &mut writes, measured).await?;
        deadline.seen(story.seen.clone());
        deadline.check()?;
        stage.wait().await?;
    }
    tell_writes(stage, writes.done(), measured)?;
    Ok(lost)
}

/// What has been seen of the recovery.
struct Recovery {
    killed: Instant,
    lost: String,
    survivors: Vec<(String, Client)>,
    wanted: usize,
    wrote: bool,
    led: bool,
    ready: bool,
    seen: String,
}

impl Recovery {
    fn new(killed: Instant, lost: String, survivors: Vec<(String, Client)>, wanted: usize) -> Self {
        let (wrote, led, ready, seen) = (false, false, false, String::new());
        Recovery { killed, lost, survivors, wanted, wrote, led, ready, seen }
    }

    fn over(&self) -> bool {
        self.wrote && self.led && self.ready
    }

    async fn look(&mut self, stage: &mut Stage, writes: &mut Writes, measured: &mut Measured) -> Result<(), Failure> {
        let look = match Look::at(&self.survivors[0].1).await {
            Ok(look) => look,
            Err(error) => {
                self.seen = error.to_string();
                return Ok(());
            }
        };
        let after = self.killed.elapsed();
        self.seen = look.line();
        if !self.wrote
            && let Some(first) = writes.done().first()
        {
            self.wrote = true;
            stage.say(&first_write(first, self.killed))?;
        }
        if !self.led
            && let Some(leader) = self.agreed().await
        {
            self.led = true;
            stage.say(&format!("{leader} leads, {} after the loss", shown(after)))?;
            measured.push(("a new leader".to_owned(), after));
        }
        let names: Vec<&str> = self.survivors.iter().map(|(name, _)| name.as_str()).collect();
        if !self.ready && look.ready_on(&names) == self.wanted {
            self.ready = true;
            let (wanted, places) = (self.wanted, names.join(" and "));
            stage.say(&format!("{wanted} pods are ready on {places}, {} after the loss", shown(after)))?;
            measured.push((format!("{wanted} pods ready on the others"), after));
        }
        stage.show(&look)
    }

    /// The new leader, once all survivors name the same one.
    async fn agreed(&self) -> Option<String> {
        let mut agreed: Option<String> = None;
        for (_, client) in &self.survivors {
            let named = look::leader(client).await.ok().flatten()?;
            if named == self.lost || agreed.as_ref().is_some_and(|agreed| *agreed != named) {
                return None;
            }
            agreed = Some(named);
        }
        agreed
    }
}

fn first_write(first: &Outcome, killed: Instant) -> String {
    let since = shown(first.answered - killed);
    match (&first.took, first.read_after) {
        (Ok(_), Some(read)) => {
            format!(
                "meanwhile {} took a write, {since} after the loss; {} had it {} later",
                first.at,
                first.read_at,
                shown(read)
            )
        }
        (Ok(_), None) => format!("meanwhile {} took a write, {since} after the loss", first.at),
        (Err(why), _) => format!("meanwhile {} refused a write, {since} after the loss: {why}", first.at),
    }
}

/// Says what became of all writes.
///
/// # Errors
/// When one failed: none should have.
fn tell_writes(stage: &mut Stage, done: &[Outcome], measured: &mut Measured) -> Result<(), Failure> {
    let failed: Vec<&Outcome> = done.iter().filter(|outcome| outcome.took.is_err()).collect();
    let slowest = done.iter().filter_map(|outcome| outcome.took.as_ref().ok()).max().copied().unwrap_or_default();
    if let Some(Outcome { at, took: Err(why), .. }) = failed.first() {
        let count = failed.len();
        return Err(Failure::new(format!(
            "{count} of {} writes failed without the leader, one at {at}: {why}",
            done.len()
        )));
    }
    measured.push((format!("slowest of {} writes meanwhile", done.len()), slowest));
    stage.say(&format!("{} writes were taken meanwhile, none failed; the slowest took {}", done.len(), shown(slowest)))
}

/// Act 4: the node comes back, and nothing runs twice.
async fn come_back(stage: &mut Stage, lost: usize, wanted: usize, measured: &mut Measured) -> Result<(), Failure> {
    let name = stage.nodes[lost].name.clone();
    stage.say(&format!("{name} is started again"))?;
    let begun = Instant::now();
    stage.nodes[lost].up().await?;
    let other = stage.nodes[(lost + 1) % stage.nodes.len()].client();
    let own = stage.nodes[lost].client();
    let names: Vec<String> = stage.nodes.iter().map(|node| node.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut deadline = Deadline::new("the node to be back and exactly the asked-for pods to run");
    let (mut back, mut steady) = (false, None::<Instant>);
    loop {
        let look = Look::at(&other).await.unwrap_or_default();
        let running: usize = stage.containers().running(&stage.nodes).await?.iter().sum();
        // What the returned node itself shows counts too; it may not answer yet.
        let own_look = Look::at(&own).await.unwrap_or_default();
        if !back && look.is_alive(&name) && own_look.is_alive(&name) && own_look.leader.is_some() {
            back = true;
            stage.say(&format!("{name} is back, {} after its start", shown(begun.elapsed())))?;
        }
        let exact = |look: &Look| look.pods.len() == wanted && look.ready_on(&names) == wanted;
        let is_exact = back && exact(&look) && exact(&own_look) && running == wanted;
        steady = if is_exact { Some(steady.unwrap_or_else(Instant::now)) } else { None };
        stage.show(&look)?;
        if let Some(since) = steady.filter(|since| since.elapsed() >= STEADY) {
            let took = since - begun;
            measured.push((format!("exactly {wanted} again after its return"), took));
            let witness = stage.containers().witness();
            stage.say(&format!(
                "exactly {wanted} pods, as {name} and the others show, {} after its start; exactly {wanted} containers run, {witness}",
                shown(took)
            ))?;
            return stage.show(&look);
        }
        deadline.seen(format!("{}, and {running} containers run", look.line()));
        deadline.check()?;
        stage.wait().await?;
    }
}

fn summary(stage: &mut Stage, measured: &Measured) -> Result<(), Failure> {
    let mut lines = vec![String::new(), "Measured:".to_owned()];
    let width = measured.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
    lines.extend(measured.iter().map(|(what, took)| format!("  {what:<width$}   {:>7}", shown(*took))));
    stage.keep();
    stage.say_plain(&lines)
}

/// A measured time, as exactly as it matters.
fn shown(took: Duration) -> String {
    match took.as_millis() {
        0 => "<1 ms".to_owned(),
        millis @ 1..100 => format!("{millis} ms"),
        100..1000 => format!("{:.2} s", took.as_secs_f64()),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

/// The patience of one act.
struct Deadline {
    what: &'static str,
    begun: Instant,
    seen: String,
}

impl Deadline {
    fn new(what: &'static str) -> Self {
        Deadline { what, begun: Instant::now(), seen: String::new() }
    }

    /// Remembers what was seen instead.
    fn seen(&mut self, seen: String) {
        self.seen = seen;
    }

    fn check(&self) -> Result<(), Failure> {
        if self.begun.elapsed() < ACT_LIMIT {
            return Ok(());
        }
        let seen = if self.seen.is_empty() { String::new() } else { format!(" (last seen: {})", self.seen) };
        let what = format!("waited {} s for {}{seen}", ACT_LIMIT.as_secs(), self.what);
        Err(Failure::new(what).next("a busy machine may be too slow for it: try once more, or --runtime process"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_exactly_as_they_matter() {
        assert_eq!(shown(Duration::from_millis(14)), "14 ms");
        assert_eq!(shown(Duration::from_millis(934)), "0.93 s");
        assert_eq!(shown(Duration::from_millis(4449)), "4.4 s");
    }

    #[test]
    fn a_first_write_that_fails_is_told_as_such() {
        let killed = Instant::now();
        let outcome = Outcome {
            at: "n2".into(),
            read_at: "n3".into(),
            took: Err("no".into()),
            read_after: None,
            answered: killed + Duration::from_secs(2),
        };
        assert_eq!(first_write(&outcome, killed), "meanwhile n2 refused a write, 2.0 s after the loss: no");
    }
}
