//! A hostile host beside a cluster. Whatever it tries is refused, logged once, counted by reason, and disturbs nobody: the p99 of
//! API calls stays within twice what it was right before.

#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use skein_crdt_state::ClusterId;
use skein_gossip::{Keypair, NodeId};
use skein_tests::api::Api;
use skein_tests::attacker;
use skein_tests::cluster::Cluster;
use skein_tests::daemon::Start;
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::knock::Knock;
use skein_tests::lab::Lab;
use skein_tests::manifests::{config_map, core};
use skein_tests::netns::Netns;
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(15);
/// How long calls are measured at a time, and how often; the best of the windows counts, since the machine is shared.
const WINDOW: Duration = Duration::from_secs(3);
const WINDOWS: usize = 3;
/// Below this, differences are the machine's.
const FLOOR_MS: f64 = 20.0;
/// How many connections are opened on each of two ports and left alone: 10 000 in all.
const HALF_OPEN: usize = 5_000;

/// How many invitations are guessed at, and how many guesses end one.
const INVITATIONS: usize = 12;
const GUESSES: usize = 3;

/// Members that serve; the last host is the attacker's.
const SERVING: [usize; 3] = [1, 2, 3];
/// The member whose key is stolen while it is one, and the one that is removed.
const CAPTIVE: usize = 4;
const REMOVED: usize = 5;
const HOSTILE: usize = 6;

struct Story {
    cluster: Cluster,
    cluster_id: ClusterId,
    /// The captive's key, once its daemon is stopped.
    stolen: Keypair,
    seed: u64,
}

type Step = fn(&mut Story) -> Outcome<String>;

const STEPS: [(&str, Step); 12] = [
    ("no token", no_token),
    ("an expired token", expired_token),
    ("a used-up token, and the same question from another key", used_up_and_replayed),
    ("a token of another cluster", foreign_token),
    ("a signed admission of another node", replayed_statement),
    ("guesses at codes that were read aloud", guesses),
    ("the key of a removed node", removed_key),
    ("a member that forges an author", forged_author),
    ("a member that forges a report of another node", forged_report),
    ("a member that forges a vote", forged_vote),
    ("random bytes on every port", random_bytes),
    ("10 000 half-open connections, on two ports", half_open),
];

#[test]
fn a_hostile_host_is_refused_counted_and_disturbs_nobody() -> Outcome<()> {
    // What daemons may open they inherit; they are to raise it themselves.
    limit_open_files("1024")?;
    let mut steps = Steps::of("the attacker");
    let mut cluster = Cluster::form(Lab::build(0, HOSTILE)?, REMOVED)?;
    // Every connection is a file of this program.
    limit_open_files("16384")?;
    let token = cluster.daemon(1).start().skein_says(&["token", "create"])?;
    let (cluster_id, _) = attacker::parts_of(&token)?;
    cluster.daemon(1).start().skein_says(&["remove", &format!("h{REMOVED}")])?;
    cluster.take_credentials(1, &SERVING)?;
    cluster.daemon(CAPTIVE).stop()?;
    let stolen = attacker::key_of(cluster.daemon(CAPTIVE).start().directory())?;
    cluster.agreed_leader(&SERVING, PATIENCE)?;
    let mut story = Story { cluster, cluster_id, stolen, seed: 0x9e37_79b9_7f4a_7c15 };
    let shared = std::cell::RefCell::new(&mut story);
    for (name, step) in STEPS {
        steps.run(name, || step(&mut shared.borrow_mut()), || shared.borrow_mut().cluster.evidence());
    }
    steps.end()
}

/// How many files this program may open, and what it starts from now on unless that raises it.
fn limit_open_files(soft: &str) -> Outcome<()> {
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={soft}:")]).status()?;
    ensure(status.success(), || format!("this program may not open {soft} files"))
}

impl Story {
    fn hostile(&self) -> Netns {
        self.cluster.lab().host(HOSTILE).netns.clone()
    }

    fn address(&self) -> String {
        self.cluster.lab().host(HOSTILE).address().to_string()
    }

    /// A member, by its number: who it is and where it meets its peers.
    fn member(&mut self, number: usize) -> Outcome<(NodeId, std::net::SocketAddr)> {
        let key = attacker::key_of(self.cluster.daemon(number).start().directory())?;
        Ok((key.node_id(), self.cluster.lab().host(number).peer_socket()))
    }

    fn counted(&self, number: usize, metric: &str, reason: &str) -> f64 {
        self.cluster.metric(number, &format!("{metric}{{reason=\"{reason}\"}}")).unwrap_or(0.0)
    }

    /// The lines of a member's log that name this source and this reason.
    fn logged(&self, number: usize, source: &str, reason: &str) -> Outcome<usize> {
        let log = std::fs::read_to_string(self.cluster.lab().host(number).directory.join("skein.log"))?;
        let reason = format!("reason=\"{reason}\"");
        Ok(log.lines().filter(|line| line.contains(source) && line.contains(&reason)).count())
    }

    /// Runs an attack on a member again and again while calls are measured. It must be counted and logged, but not each time.
    fn attack(
        &self,
        number: usize,
        (metric, reason, source): (&str, &str, &str),
        attack: impl Fn() -> Outcome<()> + Sync,
    ) -> Outcome<String> {
        let (counted, logged) = (self.counted(number, metric, reason), self.logged(number, source, reason)?);
        let begun = Instant::now();
        let calls = self.undisturbed(&attack)?;
        let look = || {
            let more = self.counted(number, metric, reason) - counted;
            ensure(more >= 1.0, || format!("h{number} does not count it as {metric} {reason}")).map(|()| more)
        };
        let (more, _) = eventually("the count", PATIENCE, look)?;
        let lines = self.logged(number, source, reason)? - logged;
        // Once in a minute; what was logged right before does not say it again.
        let most = 1 + usize::try_from(begun.elapsed().as_secs() / 60).unwrap_or(usize::MAX);
        let since_start = self.logged(number, source, reason)?;
        ensure(since_start >= 1 && lines <= most, || {
            format!("h{number} logged {lines} lines about {more} cases of {reason} by {source}, {since_start} in all")
        })?;
        Ok(format!("{more} counted, {lines} lines; {calls}"))
    }

    /// Calls take no longer than twice what they take without the attack.
    fn undisturbed(&self, attack: &(impl Fn() -> Outcome<()> + Sync)) -> Outcome<String> {
        let quiet = self.p99()?;
        let (stop, failed) = (AtomicBool::new(false), Mutex::new(None));
        let attacked = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(failure) = attack() {
                        *failed.lock().unwrap() = Some(failure);
                        return;
                    }
                    // Attacker and attacked share the processors of one machine.
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
            // It is under way.
            std::thread::sleep(Duration::from_millis(500));
            let measured = self.p99();
            stop.store(true, Ordering::Relaxed);
            measured
        })?;
        if let Some(failure) = failed.into_inner().unwrap_or_default() {
            return Err(failure.while_doing("the attack itself"));
        }
        let said = format!("p99 {quiet:.1} ms before, {attacked:.1} ms during the attack");
        ensure(attacked.max(FLOOR_MS) <= 2.0 * quiet.max(FLOOR_MS), || said.clone())?;
        Ok(said)
    }

    /// The best of several windows' p99 of creating, getting and listing, in milliseconds.
    fn p99(&self) -> Outcome<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..WINDOWS {
            let apis = SERVING.map(|number| self.cluster.api(number));
            let calls = std::thread::scope(|scope| {
                let clients: Vec<_> = apis.iter().map(|api| scope.spawn(|| calls(api))).collect();
                clients.into_iter().map(|client| client.join().unwrap()).collect::<Outcome<Vec<Vec<f64>>>>()
            })?;
            let mut calls = calls.concat();
            calls.sort_by(f64::total_cmp);
            let p99 = calls.get(calls.len() * 99 / 100).ok_or_else(|| Failure::new("no call was made"))?;
            best = best.min(*p99);
        }
        Ok(best)
    }
}

/// How long calls at one peer take, in milliseconds, each on a connection that the client keeps.
fn calls(api: &Api) -> Outcome<Vec<f64>> {
    let mut connection = api.connect(PATIENCE)?;
    let (collection, begun) = (core("default", "configmaps"), Instant::now());
    let one = core("default", "configmaps/kube-root-ca.crt");
    let mut took = Vec::new();
    while begun.elapsed() < WINDOW {
        let body = config_map(&format!("c-{}", fresh()), "k", "v").to_string();
        let create = ("POST", collection.as_str(), "application/json", body.as_bytes(), 201);
        let read = |path| ("GET", path, "", &[][..], 200);
        for (method, path, kind, body, status) in
            [create, read(one.as_str()), read("/api/v1/namespaces"), read("/api/v1/nodes")]
        {
            let asked = Instant::now();
            let answer = api.call_on(&mut connection, (method, path), (kind, body), PATIENCE)?;
            took.push(asked.elapsed().as_secs_f64() * 1000.0);
            ensure(answer.status == status, || format!("{method} {path}: {}: {}", answer.status, answer.text()))?;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(took)
}

/// A number that was not used before.
fn fresh() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn stranger(n: u8) -> Keypair {
    Keypair::from_secret([0xa0 ^ n; 32])
}

const ADMISSIONS: &str = "skein_admissions_refused_total";
const PEERS: &str = "skein_peer_refusals_total";
const WRONG_CODES: &str = "skein_wrong_codes_total";
const OFFENCES: &str = "skein_member_offences_total";

/// Asks again and again, faster than one address is answered, and gets nothing.
fn refused_at_the_door(story: &mut Story, request: &[u8], reason: &str) -> Outcome<String> {
    let (from, address, target) = (story.hostile(), story.address(), story.member(1)?);
    let keys = stranger(1);
    // What is answered tells the reason and nothing of the cluster; what is not answered was too often.
    let ask = || {
        let answer = attacker::ask_admission(&from, &keys, target, request)?;
        ensure(answer.as_ref().map_or(0, Vec::len) < 300, || format!("it was answered at length: {answer:?}"))
    };
    story.attack(1, (ADMISSIONS, reason, &address), ask)
}

fn no_token(story: &mut Story) -> Outcome<String> {
    let request = attacker::question(story.cluster_id, [0; 16], "intruder")?;
    refused_at_the_door(story, &request, "unknown-token")
}

fn expired_token(story: &mut Story) -> Outcome<String> {
    let token = story.cluster.daemon(1).start().skein_says(&["token", "create", "--ttl", "1s"])?;
    std::thread::sleep(Duration::from_secs(2));
    let (cluster, secret) = attacker::parts_of(&token)?;
    refused_at_the_door(story, &attacker::question(cluster, secret, "intruder")?, "expired-token")
}

/// Somebody heard the very bytes with which another was let in.
fn used_up_and_replayed(story: &mut Story) -> Outcome<String> {
    let token = story.cluster.daemon(1).start().skein_says(&["token", "create", "--uses", "1"])?;
    let host = story.cluster.lab().host(HOSTILE);
    let first = Start::on(host).in_directory(&host.directory.join("honest"));
    let mut daemon = first.join(&token)?;
    daemon.wait_ready()?;
    first.skein_says(&["leave"])?;
    eventually("its end", PATIENCE, || ensure(!daemon.is_running(), || "it still runs".to_owned()))?;
    let (cluster, secret) = attacker::parts_of(&token)?;
    refused_at_the_door(story, &attacker::question(cluster, secret, "h6")?, "used-up-token")
}

fn foreign_token(story: &mut Story) -> Outcome<String> {
    let request = attacker::question(ClusterId([7; 16]), [1; 16], "intruder")?;
    refused_at_the_door(story, &request, "foreign-token")
}

/// A statement that a member signed is no question: who is admitted, is so by a member that it asked itself.
fn replayed_statement(story: &mut Story) -> Outcome<String> {
    let statement = attacker::admission_statement(&story.stolen, stranger(1).node_id(), story.cluster_id);
    refused_at_the_door(story, &statement, "unreadable")
}

/// Guesses at invitations, at each as often as it stands and once more, as fast as one address is answered.
fn guesses(story: &mut Story) -> Outcome<String> {
    let (from, keys, target) = (story.hostile(), stranger(2), story.member(1)?);
    let mut numbers = Vec::new();
    for _ in 0..INVITATIONS {
        let said = story.cluster.daemon(1).start().skein_says(&["invite", "--no-wait"])?;
        let number = said.split('-').next().and_then(|number| number.parse::<u8>().ok());
        numbers.push(number.ok_or_else(|| Failure::new(format!("no code: {said}")))?);
    }
    let counted = story.cluster.metric(1, WRONG_CODES)?;
    let (at, wrong, refused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let guess = || {
        let Some(number) = numbers.get(at.load(Ordering::Relaxed) / (GUESSES + 1)) else { return Ok(()) };
        // What is not answered was too often, and is asked again.
        let Some(guessed) = attacker::guess_code(&from, &keys, target, *number)? else { return Ok(()) };
        at.fetch_add(1, Ordering::Relaxed);
        let count = if guessed == attacker::Guessed::Wrong { &wrong } else { &refused };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let calls = story.undisturbed(&guess)?;
    let (wrong, refused) = (wrong.into_inner(), refused.into_inner());
    ensure(wrong > GUESSES && refused > 0, || format!("{wrong} guesses were compared, {refused} refused"))?;
    let more = story.cluster.metric(1, WRONG_CODES)? - counted;
    ensure(more >= wrong as f64, || format!("{wrong} guesses were wrong, and {more} are counted"))?;
    let log = std::fs::read_to_string(story.cluster.lab().host(1).directory.join("skein.log"))?;
    let over = log.matches("an invitation is over").count();
    ensure((1..=INVITATIONS).contains(&over), || format!("{over} invitations are said to be over"))?;
    Ok(format!("{more} counted, {over} invitations over; {calls}"))
}

fn removed_key(story: &mut Story) -> Outcome<String> {
    let keys = attacker::key_of(story.cluster.daemon(REMOVED).start().directory())?;
    let (from, address, target) = (story.hostile(), story.address(), story.member(1)?);
    let token = story.cluster.daemon(1).start().skein_says(&["token", "create"])?;
    let (cluster, secret) = attacker::parts_of(&token)?;
    let request = attacker::question(cluster, secret, "h5")?;
    let ask = || attacker::ask_admission(&from, &keys, target, &request).map(drop);
    let door = story.attack(1, (ADMISSIONS, "removed-node", &address), ask)?;
    let knock = Knock {
        secret: Some(keys.secret()),
        to: target.1,
        protocol: "/skein/control/1",
        bytes: b"hello".to_vec(),
        close: false,
        listen: Duration::from_millis(300),
    };
    let lane = || {
        let heard = knock.from(&from)?;
        ensure(!heard.opened && heard.bytes.is_empty(), || format!("{heard:?}"))
    };
    let lane = story.attack(1, (PEERS, "stranger-stream", &address), lane)?;
    Ok(format!("{door}; {lane}"))
}

/// A member's key, driven by the attacker: each time the connection is dropped, and then it is refused for a while.
fn forging(story: &mut Story, number: usize, frame: &[u8], offence: &str) -> Outcome<String> {
    let (from, target, keys) = (story.hostile(), story.member(number)?, story.stolen.clone());
    let dropped = attacker::send_frame(&from, &keys, target, frame)?;
    ensure(dropped, || "the connection stays".to_owned())?;
    let id = keys.node_id().to_string();
    // Once it is refused, there is no link to be had.
    let forge = || attacker::send_frame(&from, &keys, target, frame).map(drop).or(Ok(()));
    let said = story.attack(number, (OFFENCES, offence, &id), forge)?;
    let named = || {
        let log = std::fs::read_to_string(story.cluster.lab().host(number).directory.join("skein.log"))?;
        let line = log.lines().find(|line| line.contains("refused for a while") && line.contains("name=h4"));
        ensure(line.is_some(), || "the log does not name it as refused for a while".to_owned())
    };
    eventually("who it was", PATIENCE, named)?;
    Ok(said)
}

fn forged_author(story: &mut Story) -> Outcome<String> {
    let victim = story.member(2)?.0;
    let frame = attacker::forged_author(&story.stolen, victim, story.cluster_id)?;
    let said = forging(story, 1, &frame, "forged-author")?;
    ensure(story.cluster.api(1).exists("/api/v1/namespaces/default")?, || "what it deleted is gone".to_owned())?;
    Ok(said)
}

fn forged_report(story: &mut Story) -> Outcome<String> {
    let victim = story.member(1)?.0;
    let frame = attacker::forged_report(&story.stolen, victim, story.cluster_id)?;
    forging(story, 2, &frame, "forged-report")
}

fn forged_vote(story: &mut Story) -> Outcome<String> {
    let frame = attacker::forged_vote()?;
    let said = forging(story, 3, &frame, "forged-vote")?;
    story.cluster.agreed_leader(&SERVING, PATIENCE)?;
    Ok(said)
}

fn random_bytes(story: &mut Story) -> Outcome<String> {
    let (from, address) = (story.hostile(), story.address());
    let host = story.cluster.lab().host(1);
    let (peers, api) = (host.peer_socket(), host.api_socket());
    let mdns = std::net::SocketAddr::new(host.address(), 5353);
    let seed = Mutex::new(story.seed);
    let tcp = |to| {
        let closed = attacker::noise_on_tcp(&from, to, 5, &mut seed.lock().unwrap())?;
        ensure(closed == 5, || format!("{to} closed only {closed} of 5"))
    };
    let a = story.attack(1, (PEERS, "handshake", &address), || tcp(peers))?;
    let b = story.attack(1, ("skein_api_refusals_total", "tls-handshake", &address), || tcp(api))?;
    let noise = || attacker::noise_on_mdns(&from, mdns, 200, &mut seed.lock().unwrap());
    let c = story.undisturbed(&noise)?;
    Ok(format!("{a}; {b}; {c}"))
}

fn half_open(story: &mut Story) -> Outcome<String> {
    let (from, address) = (story.hostile(), story.address());
    let host = story.cluster.lab().host(1);
    let opened = Mutex::new((0, 0));
    let (peers, api) = (host.peer_socket(), host.api_socket());
    let held = Mutex::new(Vec::new());
    let open = || {
        // All of them at first, and then as many again as were closed by the other side.
        let count = if held.lock().unwrap().is_empty() { HALF_OPEN } else { 100 };
        let (a, b) = std::thread::scope(|scope| {
            let a = scope.spawn(|| attacker::half_open(&from, peers, count, PATIENCE));
            let b = scope.spawn(|| attacker::half_open(&from, api, count, PATIENCE));
            (a.join().unwrap(), b.join().unwrap())
        });
        let (a, b) = (a?, b?);
        let mut opened = opened.lock().unwrap();
        *opened = (opened.0 + a.len(), opened.1 + b.len());
        let mut held = held.lock().unwrap();
        held.extend(a.into_iter().chain(b));
        let surplus = held.len().saturating_sub(2 * HALF_OPEN);
        held.drain(..surplus);
        Ok(())
    };
    let said = story.attack(1, (PEERS, "handshakes-of-address", &address), open)?;
    let of_api = story.counted(1, "skein_api_refusals_total", "guests-of-address");
    ensure(of_api >= 1.0, || "the API's port counts none of them".to_owned())?;
    let (a, b) = *opened.lock().unwrap();
    ensure(a >= HALF_OPEN && b >= HALF_OPEN, || format!("only {a} and {b} could be opened"))?;
    Ok(format!("{a} and {b} opened, {of_api} closed by the API; {said}"))
}
