//! `/livez`, `/readyz` and `/healthz`: whether this node answers, as a whole or check by check. They need no token.

use axum::http::{StatusCode, Uri};

use super::answer::{Answer, text_answer};
use super::query::Query;
use super::shell::Shell;

/// Whether the daemon answers at all.
const PING: &str = "ping";
/// Whether the node's state is loaded, so that it takes requests.
const STATE: &str = "state";

/// Answers, if the path is one of these.
pub async fn answer(shell: &Shell, uri: &Uri) -> Option<Answer> {
    let path = uri.path().trim_end_matches('/').strip_prefix('/')?;
    let (name, one) = path.split_once('/').map_or((path, None), |(name, check)| (name, Some(check)));
    let checks: &[&'static str] = match name {
        "livez" | "healthz" => &[PING],
        "readyz" => &[PING, STATE],
        _ => return None,
    };
    let query = Query::parse(uri.query()).unwrap_or_default();
    let excluded = |check: &str| query.iter().any(|(field, value)| field == "exclude" && value == check);
    let asked: Vec<&'static str> = match one {
        None => checks.to_vec(),
        Some(one) => checks.iter().copied().filter(|check| *check == one).collect(),
    };
    if asked.is_empty() {
        return None;
    }
    let (mut report, mut well) = (String::new(), true);
    for check in asked.iter().copied() {
        if excluded(check) {
            report.push_str(&format!("[+]{check} excluded: ok\n"));
            continue;
        }
        let holds = check != STATE || shell.backend.ready().await;
        well &= holds;
        let line = if holds {
            format!("[+]{check} ok\n")
        } else {
            format!("[-]{check} failed: it is not loaded, or lost; skein peers says more\n")
        };
        report.push_str(&line);
    }
    let verbose = query.iter().any(|(field, _)| field == "verbose");
    let what = one.unwrap_or(name);
    Some(match (well, verbose) {
        (true, false) => text_answer(StatusCode::OK, "ok"),
        (true, true) => text_answer(StatusCode::OK, format!("{report}{what} check passed\n")),
        (false, _) => text_answer(StatusCode::SERVICE_UNAVAILABLE, format!("{report}{what} check failed\n")),
    })
}
