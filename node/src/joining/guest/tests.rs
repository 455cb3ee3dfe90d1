//! Real connections on loopback between a machine that wants in and members that have invited, or have not.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use skein_core::node::TokenRole;

use super::super::host::Host;
use super::super::invitations::{Offer, Over};
use super::*;

const LIFE: Duration = Duration::from_secs(600);

fn keys(n: u8) -> Keypair {
    Keypair::from_secret([n; 32])
}

/// A member that answers questions about codes and nothing else.
struct Member {
    host: Arc<Host>,
    address: SocketAddr,
    ended: mpsc::Receiver<JoinToken>,
    token: JoinToken,
    net: NetHandle,
}

impl Member {
    async fn start(n: u8) -> Member {
        let (me, cluster) = (keys(n).node_id(), ClusterId([n; 16]));
        let config = NetConfig::new(keys(n), vec!["127.0.0.1:0".parse().unwrap()]);
        let (net, mut events) = Net::start(config, |_| false).await.unwrap();
        let (host, ended) = Host::new(me, cluster, Arc::default());
        let address = loop {
            if let NetEvent::Listening(address) = events.recv().await.unwrap() {
                break address;
            }
        };
        let answers = host.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let NetEvent::Admission { peer, request, reply, .. } = event else { continue };
                let answer = match Question::decode(&request).unwrap() {
                    Question::Find { number } => postcard::to_stdvec(&answers.find(number)),
                    Question::Begin { number, hello } => postcard::to_stdvec(&answers.begin(peer, number, &hello)),
                    Question::Prove { session, proof } => postcard::to_stdvec(&answers.prove(peer, session, &proof)),
                    other => panic!("{other:?}"),
                };
                let _ = reply.send(answer.unwrap().into());
            }
        });
        let peers = vec![(me, vec![address])];
        let token = JoinToken { cluster, secret: [n; 16], role: TokenRole::Observer, peers };
        Member { host, address, ended, token, net }
    }

    fn invite(&self) -> Code {
        self.host.open(Offer { token: self.token.clone(), uses: 1 }, LIFE).unwrap()
    }
}

fn other_words(code: &Code) -> Code {
    let words = if code.to_string().ends_with("acorn-acorn-acorn-acorn") { [1; 4] } else { [0; 4] };
    Code::new(code.number(), words)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_code_at_a_given_address_brings_the_token() {
    let member = Member::start(1).await;
    let code = member.invite();
    assert_eq!(redeem(&code, &keys(9), &[member.address]).await, Ok(member.token.clone()));
    let standing = member.host.standing(code.number()).unwrap();
    assert_eq!((standing.came, standing.tries_left), (vec![keys(9).node_id().short()], 3));
    member.net.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_wrong_codes_end_the_invitation_and_its_token() {
    let mut member = Member::start(2).await;
    let code = member.invite();
    for left in ["2", "1", "0"] {
        let error = redeem(&other_words(&code), &keys(9), &[member.address]).await.unwrap_err().to_string();
        assert!(error.contains("the code is wrong") && error.contains(left), "{error}");
    }
    assert_eq!(member.host.standing(code.number()).unwrap().over, Some(Over::Guessed));
    assert_eq!(member.ended.recv().await, Some(member.token.clone()));
    assert!(member.host.find(code.number()).is_none(), "the right code is not looked at any more");
    member.net.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_has_another_code_of_the_same_number_does_not_keep_the_right_one_from_being_found() {
    let (other, right) = (Member::start(3).await, Member::start(4).await);
    let code = right.invite();
    // The number of an invitation is drawn: it is tried until both have the same.
    let same = (0..).map(|_| other.invite()).take(15).find(|theirs| theirs.number() == code.number());
    let begun = Instant::now();
    assert_eq!(redeem(&code, &keys(9), &[other.address, right.address]).await, Ok(right.token.clone()));
    assert!(begun.elapsed() < FIND_LIMIT);
    if let Some(same) = same {
        assert!(other.host.standing(same.number()).unwrap().came.is_empty());
    }
    other.net.shutdown().await;
    right.net.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_claims_to_have_invited_and_has_not_the_code_learns_nothing_and_gives_nothing() {
    let hostile = Member::start(5).await;
    // It opens an invitation of the number that it heard of, with words of its own.
    let theirs = hostile.invite();
    let error = redeem(&other_words(&theirs), &keys(9), &[hostile.address]).await.unwrap_err();
    assert!(matches!(error, JoinError::Code(_)), "{error:?}");
    hostile.net.shutdown().await;
}
