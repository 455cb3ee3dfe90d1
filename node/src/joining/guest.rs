//! The side of a machine that wants in: it finds the member that has invited it, by mDNS or at addresses that it is given, shows
//! the code and is handed a token. It dials and listens to nobody.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use skein_crdt_state::ClusterId;
use skein_gossip::{Keypair, NodeId};
use skein_net::{Net, NetConfig, NetEvent, NetHandle};
use tokio::sync::mpsc;
use tracing::{debug, info};

use super::code::Code;
use super::exchange::{Ends, Joiner};
use super::wire::{Began, Question, Refusal, read};
use crate::daemon::JoinError;
use crate::daemon::token::JoinToken;

/// How long a member is looked for that has such an invitation.
pub const FIND_LIMIT: Duration = Duration::from_secs(20);
/// How long another one is looked for once a member has refused the code.
const ANOTHER_LIMIT: Duration = Duration::from_secs(2);
/// How often an address that was given is asked again until then.
const MEET_AGAIN: Duration = Duration::from_secs(2);
/// The most peers that are asked whether they have such an invitation: whoever is on the network can say that it is a peer.
const MAX_ASKED: usize = 64;
/// The most addresses at which one of them is asked.
const MAX_ADDRESSES: usize = 8;
/// The most members that the code is shown to. Each that has not made it is a guess at it.
const MAX_SHOWN: usize = 3;

/// A member that says that it has such an invitation.
type Found = Option<(NodeId, Vec<SocketAddr>, ClusterId)>;

/// Finds the member that has made a code, and shows it the code: the token that it stands for. `addresses` are asked as well as
/// whom mDNS finds.
///
/// # Errors
/// When nobody is found, or the code is wrong or counts no more.
pub async fn redeem(code: &Code, keys: &Keypair, addresses: &[SocketAddr]) -> Result<JoinToken, JoinError> {
    let config = NetConfig { mdns: true, tells_strangers: true, ..NetConfig::new(keys.clone(), Vec::new()) };
    let started = Net::start(config, |_| false).await;
    let (net, events) = started.map_err(|error| JoinError::NotFound(error.to_string()))?;
    let search = Search::new(net.clone(), code.number(), addresses.to_vec());
    let redeemed = search.run(events, code, keys.node_id()).await;
    net.shutdown().await;
    redeemed
}

/// Asks for a kubeconfig of a user with a token for clients.
///
/// # Errors
/// When no member of the token's answers, or it is refused.
pub async fn become_client(token: &JoinToken, keys: &Keypair, user: &str) -> Result<String, JoinError> {
    let started = Net::start(NetConfig::new(keys.clone(), Vec::new()), |_| false).await;
    let (net, mut events) = started.map_err(|error| JoinError::NotFound(error.to_string()))?;
    // Nothing that happens on this network concerns anybody, but it must be read.
    let reading = tokio::spawn(async move { while events.recv().await.is_some() {} });
    let answer = crate::daemon::become_client(&net, token, user).await;
    net.shutdown().await;
    reading.abort();
    answer
}

struct Search {
    net: NetHandle,
    number: u8,
    /// Whoever was found, with the addresses at which it was asked.
    asked: BTreeMap<NodeId, Vec<SocketAddr>>,
    given: Vec<SocketAddr>,
    asking: FuturesUnordered<BoxFuture<'static, Found>>,
}

impl Search {
    fn new(net: NetHandle, number: u8, given: Vec<SocketAddr>) -> Self {
        let search = Search { net, number, asked: BTreeMap::new(), given, asking: FuturesUnordered::new() };
        for address in &search.given {
            search.asking.push(Box::pin(ask_at(search.net.clone(), *address, number)));
        }
        search
    }

    async fn run(
        mut self,
        mut events: mpsc::Receiver<NetEvent>,
        code: &Code,
        me: NodeId,
    ) -> Result<JoinToken, JoinError> {
        let mut refused = None;
        let mut shown = Vec::new();
        let limit = tokio::time::sleep(FIND_LIMIT);
        tokio::pin!(limit);
        loop {
            let found = tokio::select! {
                event = events.recv() => {
                    match event {
                        Some(NetEvent::Stranger { peer, addr }) => self.found(peer, addr),
                        Some(_) => {}
                        None => return Err(self.nobody()),
                    }
                    continue;
                }
                Some(found) = self.asking.next(), if !self.asking.is_empty() => found,
                () = &mut limit => return Err(refused.unwrap_or_else(|| self.nobody())),
            };
            let Some((member, addresses, cluster)) = found else { continue };
            if shown.contains(&member) || shown.len() >= MAX_SHOWN {
                continue;
            }
            shown.push(member);
            let ends = Ends { joiner: me, member, cluster };
            // Events must be read while it goes on.
            let exchange = show(&self.net, code, &ends, addresses);
            tokio::pin!(exchange);
            let outcome = loop {
                tokio::select! {
                    outcome = &mut exchange => break outcome,
                    event = events.recv() => if event.is_none() { return Err(self.nobody()) },
                }
            };
            match outcome {
                Ok(token) => return Ok(token),
                // Another member may have an invitation of the same number: it is not waited for as long.
                Err(error) => {
                    refused = Some(error);
                    limit.as_mut().reset(tokio::time::Instant::now() + ANOTHER_LIMIT);
                }
            }
        }
    }

    /// Somebody says by mDNS that it is a peer.
    fn found(&mut self, peer: NodeId, address: SocketAddr) {
        if self.asked.len() >= MAX_ASKED && !self.asked.contains_key(&peer) {
            return;
        }
        let known = self.asked.entry(peer).or_default();
        if known.len() >= MAX_ADDRESSES || known.contains(&address) {
            return;
        }
        known.push(address);
        debug!(%peer, %address, "found a peer");
        self.asking.push(Box::pin(ask_whether_open(self.net.clone(), peer, known.clone(), self.number)));
    }

    fn nobody(&self) -> JoinError {
        let number = self.number;
        let where_ = match (self.asked.len(), &self.given[..]) {
            (0, []) => "no peer was found on this network: multicast DNS may not pass it".to_owned(),
            (0, given) => {
                let given: Vec<String> = given.iter().map(ToString::to_string).collect();
                format!("nobody at {} has an open invitation of number {number:02}", given.join(", "))
            }
            (count, _) => {
                format!("none of {count} peer(s) on this network has an open invitation of number {number:02}")
            }
        };
        JoinError::NotFound(format!(
            "{where_}; look at the code again, or name the address of the member that has invited with --peer IP:PORT"
        ))
    }
}

/// Asks whoever is at an address, time and again until the search is over.
async fn ask_at(net: NetHandle, address: SocketAddr, number: u8) -> Found {
    loop {
        match net.meet(address).await {
            Ok(peer) => return ask_whether_open(net, peer, vec![address], number).await,
            Err(error) => debug!(%address, %error, "nobody there"),
        }
        tokio::time::sleep(MEET_AGAIN).await;
    }
}

async fn ask_whether_open(net: NetHandle, peer: NodeId, addresses: Vec<SocketAddr>, number: u8) -> Found {
    let question = Bytes::from(Question::Find { number }.encode());
    let answer = net.admission(peer, addresses.clone(), question).await;
    let answer = answer.inspect_err(|error| debug!(%peer, %error, "a peer does not answer")).ok()?;
    let cluster = read::<Option<ClusterId>>(&answer)??;
    Some((peer, addresses, cluster))
}

/// Shows a member the code; the token that it gives.
async fn show(net: &NetHandle, code: &Code, ends: &Ends, addresses: Vec<SocketAddr>) -> Result<JoinToken, JoinError> {
    let (joiner, hello) = Joiner::new(code, ends);
    let begin = Question::Begin { number: code.number(), hello };
    let began: Began = ask(net, ends.member, &addresses, &begin).await?;
    let other = |_| JoinError::Code("the member that answers does not have this code; look at it again".to_owned());
    let keys = joiner.finish(&began.session, &began.hello).map_err(other)?;
    let prove = Question::Prove { session: began.session, proof: keys.proof() };
    let sealed: Vec<u8> = ask(net, ends.member, &addresses, &prove).await?;
    let given = keys.take(&sealed).map_err(other)?;
    let token: JoinToken = read(&given).ok_or(JoinError::Unreadable)?;
    if token.cluster != ends.cluster {
        return Err(JoinError::Unreadable);
    }
    info!(member = %ends.member, "the member that has invited knows the code");
    Ok(token)
}

async fn ask<T: serde::de::DeserializeOwned>(
    net: &NetHandle,
    member: NodeId,
    addresses: &[SocketAddr],
    question: &Question,
) -> Result<T, JoinError> {
    let answer = net.admission(member, addresses.to_vec(), question.encode().into()).await;
    let answer = answer.map_err(|error| JoinError::Unreachable { asked: 1, why: error.to_string() })?;
    let answer: Result<T, Refusal> = read(&answer).ok_or(JoinError::Unreadable)?;
    answer.map_err(|refusal| JoinError::Code(refusal.to_string()))
}

#[cfg(test)]
mod tests;
