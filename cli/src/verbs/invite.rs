//! `invite`: prints a code, says until when it counts, and tells what becomes of it.

use std::time::Duration;

use serde_json::{Value, json};
use skein_node::joining::{Over, Standing};

use crate::args::{InviteFlags, Role};
use crate::client::{Client, ClientError};
use crate::failure::Failure;
use crate::screen::{Screen, print};
use crate::units;

/// How often it is asked what has become of the code.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Invites somebody, and waits until they have come or the code counts no more.
///
/// # Errors
/// When nobody answers, the invitation is refused, or wrong codes or its time have ended it.
pub(crate) async fn invite(client: Client, flags: InviteFlags) -> Result<(), Failure> {
    let asked = json!({
        "uses": flags.uses,
        "ttl_seconds": flags.ttl.as_secs(),
        "role": flags.role.as_str(),
        "grant": flags.grant,
    });
    let mut answer = client.post("/skein/v1/invitations", &asked).await?;
    let code: String = read(answer["code"].take())?;
    print(&format!("{code}\n"))?;
    let mut screen = Screen::stdout();
    // What a client is given is a credential, which should not stay on a screen.
    let rest = if matches!(flags.role, Role::Client) {
        " > skein.yaml   (add --user NAME for another name than the login)"
    } else {
        ""
    };
    screen.say([format!(
        "on the other machine: skein join {code}{rest}\nit counts for {} and {} {}, or until three wrong codes were tried",
        units::short(flags.ttl),
        flags.uses,
        if flags.uses == 1 { "use" } else { "uses" },
    )])?;
    let number = code.split('-').next().unwrap_or_default().to_owned();
    if flags.no_wait {
        return Ok(());
    }
    wait(&client, &number, flags.uses, &mut screen).await
}

/// Tells what becomes of an invitation until it is over or as many have come as were invited.
async fn wait(client: &Client, number: &str, uses: u32, screen: &mut Screen) -> Result<(), Failure> {
    let (mut came, mut tries_left) = (0, None);
    loop {
        let mut answer = client.get(&format!("/skein/v1/invitations?number={number}")).await?;
        let standing: Option<Standing> = read(answer["invitation"].take())?;
        let forgotten = "the daemon was restarted, and the code with it forgotten";
        let standing = standing.ok_or_else(|| Failure::new(forgotten).next("skein invite makes a new one"))?;
        for guest in standing.came.iter().skip(came) {
            screen.say([format!("{guest} has shown the code and comes in as {}", standing.role)])?;
        }
        came = standing.came.len();
        if standing.tries_left < *tries_left.get_or_insert(standing.tries_left) && standing.over.is_none() {
            screen.say([format!("a wrong code was tried; {} more end the invitation", standing.tries_left)])?;
        }
        tries_left = Some(standing.tries_left);
        match standing.over {
            Some(Over::UsedUp) => return Ok(()),
            _ if came >= uses as usize => return Ok(()),
            Some(Over::Expired) => {
                let what =
                    if came == 0 { "nobody came in time".to_owned() } else { format!("{came} of {uses} came in time") };
                return Err(Failure::new(what).next("skein invite makes a new code"));
            }
            Some(Over::Guessed) => {
                let what = "wrong codes were tried three times, which has ended the invitation";
                let next = "somebody on this network may be guessing; skein invite makes a new code";
                return Err(Failure::new(what).next(next));
            }
            None => tokio::time::sleep(ASK_EVERY).await,
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    let read = serde_json::from_value(answer);
    Ok(read.map_err(ClientError::OtherVersion)?)
}
