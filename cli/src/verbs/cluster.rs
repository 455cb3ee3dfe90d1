//! The verbs that ask the daemon one thing about its cluster and print the answer.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skein_node::api::backend::{LeaderInfo, PeerInfo, Removal, Rotated, TokenInfo};

use crate::args::{KubeconfigFlags, RemoveFlags, TokenVerb, WhyFlags};
use crate::client::{Client, ClientError, encode};
use crate::failure::Failure;
use crate::screen::{Screen, print};
use crate::table::Table;
use crate::units;

/// Prints who leads, the name first.
///
/// # Errors
/// While no leader is known, or when nobody answers.
pub(crate) async fn leader(client: Client) -> Result<(), Failure> {
    let leader: LeaderInfo = read(client.get("/skein/v1/leader").await?)?;
    // What comes from a peer may be anything.
    let ends = Duration::try_from_secs_f64(leader.tenure_ends_in_seconds).unwrap_or_default();
    let backed = if leader.quorate { "backed by most voters" } else { "not backed by most voters" };
    print(&format!("{}  (term {}, {backed}, for another {})\n", leader.name, leader.term, units::short(ends)))
}

/// Prints the members.
///
/// # Errors
/// When nobody answers.
pub(crate) async fn peers(client: Client) -> Result<(), Failure> {
    let mut answer = client.get("/skein/v1/peers").await?;
    let peers: Vec<PeerInfo> = read(answer["peers"].take())?;
    Screen::stdout().say(peers_table(peers).lines())
}

/// Prints a new token, lists all, or revokes one.
///
/// # Errors
/// When nobody answers, or it is refused.
pub(crate) async fn token(client: Client, verb: TokenVerb) -> Result<(), Failure> {
    match verb {
        TokenVerb::Create { uses, ttl, role, grant } => {
            let asked = json!({"uses": uses, "ttl_seconds": ttl.as_secs(), "role": role.as_str(), "grant": grant});
            let answer = client.post("/skein/v1/tokens", &asked).await?;
            let token: String = read(answer["token"].clone())?;
            print(&format!("{token}\n"))
        }
        TokenVerb::List => {
            let mut answer = client.get("/skein/v1/tokens").await?;
            let tokens: Vec<TokenInfo> = read(answer["tokens"].take())?;
            if tokens.is_empty() {
                return Screen::stdout().say(["there are no tokens"]);
            }
            Screen::stdout().say(tokens_table(tokens).lines())
        }
        TokenVerb::Revoke { id } => {
            let answer = client.post("/skein/v1/revoke-token", &json!({"id": id})).await?;
            let id: String = read(answer["id"].clone())?;
            print(&format!("token {id} lets nobody in any more, at any peer that has heard of it\n"))
        }
    }
}

/// Prints a kubeconfig: the administrator's, or that of a user, who is given a role first.
///
/// # Errors
/// When nobody answers, a name cannot be, or there is no such role.
pub(crate) async fn kubeconfig(client: Client, flags: KubeconfigFlags) -> Result<(), Failure> {
    let Some(user) = flags.user else { return print(&client.text("/skein/v1/kubeconfig").await?) };
    let asked = json!({
        "user": user,
        "groups": flags.groups,
        "role": flags.role.unwrap_or_default(),
        "namespace": flags.namespace.unwrap_or_default(),
        "ttl_seconds": flags.expires.as_secs(),
        "certificate": flags.certificate,
    });
    print(&client.post_for_text("/skein/v1/users", &asked).await?)
}

/// Ends all that was issued to a user.
///
/// # Errors
/// When nobody answers, or it could not be written.
pub(crate) async fn revoke(client: Client, user: &str) -> Result<(), Failure> {
    client.post("/skein/v1/revoke", &json!({"user": user})).await?;
    print(&format!("what was issued to {user} until now counts no more; roles that are bound to {user} stay\n"))
}

/// Leaves the cluster.
///
/// # Errors
/// When nobody answers, or leaving is refused.
pub(crate) async fn leave(client: Client) -> Result<(), Failure> {
    client.post("/skein/v1/leave", &json!({})).await?;
    print("this node has left its cluster, and its daemon ends\n")
}

/// Removes another node, and changes the keys that it knew.
///
/// # Errors
/// When nobody answers, or there is no such node.
pub(crate) async fn remove(client: Client, flags: &RemoveFlags) -> Result<(), Failure> {
    let asked = json!({"peer": flags.peer, "grace_seconds": flags.grace.as_secs(), "keep_keys": flags.keep_keys});
    let mut answer = client.post("/skein/v1/remove", &asked).await?;
    let rotated: Option<Rotated> = read(answer["rotated"].take())?;
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("rotated");
    }
    let removed: Removal = read(answer)?;
    let mut lines = vec![
        format!("{} is removed: its pods start elsewhere, and its key never comes back.", removed.name),
        "What it has read it keeps: change passwords and other secrets that its pods or its disk held.".to_owned(),
        "Join tokens that it had made (or counted a client of) let nobody in where this is known; skein token list shows the rest.".to_owned(),
    ];
    match &rotated {
        Some(rotated) => lines.extend(rotated_lines(rotated, now_ms())),
        None if flags.keep_keys => {
            lines.push(
                "It knows the cluster's keys and can act as the administrator until `skein rotate --grace 0s`."
                    .to_owned(),
            );
        }
        None => {}
    }
    lines.extend(removed.warnings.into_iter().map(|warning| format!("warning: {warning}")));
    Screen::stdout().say(lines)
}

/// Changes the keys that members hold in common.
///
/// # Errors
/// When nobody answers, or they could not be changed.
pub(crate) async fn rotate(client: Client, grace: Duration) -> Result<(), Failure> {
    let rotated: Rotated = read(client.post("/skein/v1/rotate", &json!({"grace_seconds": grace.as_secs()})).await?)?;
    Screen::stdout().say(rotated_lines(&rotated, now_ms()))
}

/// What a rotation means for whoever asked for it.
fn rotated_lines(rotated: &Rotated, now_ms: u64) -> Vec<String> {
    let left = Duration::from_millis(rotated.lapse_ms.saturating_sub(now_ms));
    let mut lines =
        vec![format!("The cluster has new keys ({}): members take them over within seconds.", rotated.epoch)];
    if left.is_zero() {
        lines.push("Kubeconfigs, tokens and certificates that were made before count no more.".to_owned());
        lines.push("Next: make new ones, the administrator's with: skein kubeconfig > skein.yaml".to_owned());
    } else {
        let left = units::short(left);
        lines.push(format!("Kubeconfigs, tokens and certificates that were made before count for another {left}."));
        lines.push(
            "Next: hand out new ones before that, the administrator's with: skein kubeconfig > skein.yaml".to_owned(),
        );
    }
    lines.push("A member that cannot be reached goes on with the old keys until it can.".to_owned());
    lines.extend(rotated.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines
}

fn now_ms() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Prints why an object is as it is.
///
/// # Errors
/// When nobody answers, or there is no such object.
pub(crate) async fn why(client: Client, flags: WhyFlags) -> Result<(), Failure> {
    let (object, namespace) = (encode(&flags.object), encode(&flags.namespace));
    let mut answer = client.get(&format!("/skein/v1/why?object={object}&namespace={namespace}")).await?;
    let lines: Vec<String> = read(answer["lines"].take())?;
    Screen::stdout().say(lines)
}

fn read<T: DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    let read = serde_json::from_value(answer);
    Ok(read.map_err(ClientError::OtherVersion)?)
}

fn tokens_table(tokens: Vec<TokenInfo>) -> Table {
    let mut table = Table::new(&["ID", "ROLE", "USED", "EXPIRES"]);
    table.rows = tokens
        .into_iter()
        .map(|token| {
            let expires = match u64::try_from(token.seconds_left) {
                Ok(left) => format!("in {}", units::short(Duration::from_secs(left))),
                Err(_) => "is over".to_owned(),
            };
            vec![token.id, token.role, format!("{}/{}", token.used, token.uses), expires]
        })
        .collect();
    table
}

fn peers_table(peers: Vec<PeerInfo>) -> Table {
    let mut table = Table::new(&["NAME", "STATE", "ROLE", "LEADER", "ADDRESS", "VERSION", "ID"]);
    let known = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    table.rows = peers
        .into_iter()
        .map(|peer| {
            let leader = if peer.leader { "leader" } else { "-" }.to_owned();
            vec![peer.name, peer.state, peer.role, leader, known(peer.address), known(peer.version), peer.id]
        })
        .collect();
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_says_how_long_what_was_made_before_counts_and_what_to_do() {
        let rotated = Rotated { epoch: "00ff".into(), lapse_ms: 60_000, warnings: vec!["one disk".into()] };
        let said = |now_ms| rotated_lines(&rotated, now_ms).join("\n");
        assert!(said(0).contains("for another 1m") && said(0).contains("before that"), "{}", said(0));
        assert!(
            said(60_000).contains("count no more") && said(60_000).contains("skein kubeconfig"),
            "{}",
            said(60_000)
        );
        assert!(said(0).ends_with("warning: one disk"));
    }

    #[test]
    fn what_is_not_known_of_a_peer_is_shown_as_such() {
        let peer = PeerInfo {
            name: "n1".into(),
            id: "x".into(),
            address: String::new(),
            state: "down".into(),
            leader: false,
            version: String::new(),
            role: "observer".into(),
        };
        let lines = peers_table(vec![peer]).lines();
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["n1", "down", "observer", "-", "-", "-", "x"]);
    }
}
