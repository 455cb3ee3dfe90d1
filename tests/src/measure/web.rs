//! Requests to web servers, spread over the endpoints that an orchestrator names, as a balancer would that asks it often: what
//! a user meets while replicas come and go.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::duel::Endpoint;
use crate::failure::Outcome;
use crate::http::{Connection, Request};
use crate::lab::Lab;

/// Where the web servers listen.
const PORT: u16 = 8080;
/// How often the endpoints are asked for.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How many make requests.
const CLIENTS: usize = 4;
/// How often each makes one.
const REQUEST_EVERY: Duration = Duration::from_millis(40);
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Load {
    /// How many there were.
    pub requests: usize,
    /// Those that were not answered with 200, in words.
    pub failed: Vec<String>,
}

/// Makes requests until it is told to stop. `endpoints` says where they may go; while it fails, those known last are used.
pub fn load(lab: &Lab, endpoints: impl Fn() -> Outcome<Vec<Endpoint>> + Sync, stop: &AtomicBool) -> Load {
    let known = Mutex::new(endpoints().unwrap_or_default());
    let next = AtomicUsize::new(0);
    let loads: Vec<Load> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| client(lab, &known, &next, stop))).collect();
        while !stop.load(Ordering::Relaxed) {
            if let Ok(now) = endpoints() {
                *known.lock().unwrap_or_else(PoisonError::into_inner) = now;
            }
            std::thread::sleep(ASK_EVERY);
        }
        clients.into_iter().filter_map(|client| client.join().ok()).collect()
    });
    let mut all = Load::default();
    for load in loads {
        all.requests += load.requests;
        all.failed.extend(load.failed);
    }
    all
}

fn client(lab: &Lab, known: &Mutex<Vec<Endpoint>>, next: &AtomicUsize, stop: &AtomicBool) -> Load {
    let mut load = Load::default();
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        due += REQUEST_EVERY;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let chosen = {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let number = next.fetch_add(1, Ordering::Relaxed);
            if known.is_empty() { None } else { Some(known[number % known.len()].clone()) }
        };
        load.requests += 1;
        match chosen {
            None => load.failed.push("there is no endpoint".to_owned()),
            Some(endpoint) => load.failed.extend(request(lab, &endpoint).err()),
        }
    }
    load
}

fn request(lab: &Lab, endpoint: &Endpoint) -> Result<(), String> {
    let named = |error: std::io::Error| format!("h{} {}: {error}", endpoint.host, endpoint.address);
    let to = SocketAddr::new(endpoint.address, PORT);
    let tcp = lab.host(endpoint.host).netns.connect(to, PATIENCE).map_err(named)?;
    let request = Request { method: "GET", path: "/", headers: &[], body: &[] };
    let answer = Connection::plain(tcp, "web").call(&request, PATIENCE).map_err(named)?;
    if answer.status == 200 {
        Ok(())
    } else {
        Err(format!("h{} {}: {}", endpoint.host, endpoint.address, answer.status))
    }
}
