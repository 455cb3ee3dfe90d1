//! Logins at registries, from the Secrets that a pod names for its images: which of them fit an image. Only the pod's own node
//! reads them, when it pulls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::model::source::{SourceKind, SourceName, Sources};
use crate::runtime::Login;

/// The keys under which Secrets have logins, in the newer and in the older form.
const KEYS: [&str; 2] = [".dockerconfigjson", ".dockercfg"];
/// The registry of images that name none, and what else it is called in logins.
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];
/// The most logins that are tried for one image.
const LOGINS_LIMIT: usize = 16;

/// The logins that fit an image, the closest first, and the Secrets that are not there.
pub(super) fn logins<'a>(image: &str, secrets: &'a [String], sources: &Sources) -> (Vec<Login>, Vec<&'a str>) {
    let (registry, path) = split(image);
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in secrets {
        let Some(secret) = sources.get(&SourceName::new(SourceKind::Secret, name)) else {
            missing.push(name.as_str());
            continue;
        };
        let texts = KEYS.into_iter().filter_map(|key| secret.data.get(key));
        let configs = texts.filter_map(|bytes| serde_json::from_slice::<Value>(bytes).ok());
        for config in configs {
            let entries = config.get("auths").unwrap_or(&config).as_object().cloned().unwrap_or_default();
            for (place, entry) in entries.iter().filter(|(place, _)| fits(place, &registry, path)) {
                found.extend(login(place, entry).map(|login| (place.len(), login)));
            }
        }
    }
    // A stable sort: of equally close ones that of the Secret that is named first.
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    (found.into_iter().map(|(_, login)| login).take(LOGINS_LIMIT).collect(), missing)
}

/// An image's registry, and its name there.
fn split(image: &str) -> (String, &str) {
    match image.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (plain(first), path),
        _ => (DEFAULT_REGISTRY.to_owned(), image),
    }
}

fn plain(registry: &str) -> String {
    let registry = registry.to_ascii_lowercase();
    if DEFAULT_ALIASES.contains(&registry.as_str()) { DEFAULT_REGISTRY.to_owned() } else { registry }
}

/// Whether a login for a place is one for an image: `registry.example`, `https://registry.example/v1/`, `*.example/team`.
fn fits(place: &str, registry: &str, path: &str) -> bool {
    let place = place.trim_start_matches("https://").trim_start_matches("http://");
    let (host, below) = place.split_once('/').unwrap_or((place, ""));
    let below = below.trim_end_matches('/');
    let below = if matches!(below, "v1" | "v2") { "" } else { below };
    let (host, parts) = (plain(host), |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>());
    let (ours, theirs) = (parts(&host), parts(registry));
    let same = |(ours, theirs): (&String, &String)| ours == "*" || ours == theirs;
    let is_host = ours.len() == theirs.len() && ours.iter().zip(&theirs).all(same);
    let is_below = path
        .strip_prefix(below)
        .is_some_and(|rest| below.is_empty() || rest.is_empty() || rest.starts_with(['/', ':', '@']));
    is_host && is_below
}

fn login(place: &str, entry: &Value) -> Option<Login> {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    let decoded = BASE64.decode(text("auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some((user, word)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) {
        (username, password) = (user.to_owned(), word.to_owned());
    }
    let identity_token = text("identitytoken");
    let says = !username.is_empty() || !identity_token.is_empty();
    says.then(|| Login { server: place.to_owned(), username, password, identity_token })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::SourceData;
    use proptest::prelude::*;
    use serde_json::json;
    use std::sync::Arc;

    fn secret(key: &str, config: &Value) -> Arc<SourceData> {
        let data = [(key.to_owned(), config.to_string().into_bytes())].into();
        Arc::new(SourceData { data, ..SourceData::default() })
    }

    fn sources() -> Sources {
        let auth = BASE64.encode("me:with:colon");
        let new = json!({"auths": {
            "registry.example": {"username": "all", "password": "p"},
            "https://registry.example/team": {"auth": auth},
            "other.example:5000": {"identitytoken": "t"},
            "nobody.example": {},
        }});
        let old =
            json!({"https://index.docker.io/v1/": {"username": "hub", "password": "p"}, "*.cloud": {"username": "c"}});
        [("new", secret(".dockerconfigjson", &new)), ("old", secret(".dockercfg", &old))]
            .into_iter()
            .map(|(name, data)| (SourceName::new(SourceKind::Secret, name), data))
            .collect()
    }

    fn users(image: &str) -> Vec<String> {
        let names = ["new", "old", "gone"].map(str::to_owned);
        let (found, missing) = logins(image, &names, &sources());
        assert_eq!(missing, ["gone"]);
        found.into_iter().map(|login| format!("{}{}", login.username, login.identity_token)).collect()
    }

    #[test]
    fn an_image_gets_the_logins_of_its_registry_the_closest_first() {
        assert_eq!(users("registry.example/team/web:1"), ["me", "all"]);
        assert_eq!(users("registry.example/teams/web:1"), ["all"]);
        assert_eq!(users("other.example:5000/web"), ["t"]);
        assert_eq!(users("other.example/web"), [] as [&str; 0]);
        assert_eq!(users("a.cloud/web"), ["c"]);
        assert_eq!(users("a.b.cloud/web"), [] as [&str; 0]);
        for image in ["web", "team/web:1", "docker.io/team/web", "index.docker.io/web@sha256:00"] {
            assert_eq!(users(image), ["hub"], "{image}");
        }
        assert_eq!(users("nobody.example/web"), [] as [&str; 0]);
    }

    #[test]
    fn a_password_is_never_shown() {
        let (found, _) = logins("registry.example/team/web", &["new".to_owned()], &sources());
        let shown = format!("{found:?}");
        assert!(shown.contains("registry.example/team") && !shown.contains("with:colon"), "{shown}");
        assert_eq!(found.first().map(|login| login.password.as_str()), Some("with:colon"));
    }

    proptest! {
        #[test]
        fn any_secret_is_read(image in ".{0,40}", text in ".{0,80}", place in ".{0,40}") {
            let entry = json!({"auths": {place.as_str(): {"auth": text, "username": 1}}});
            for data in [text.clone().into_bytes(), entry.to_string().into_bytes()] {
                let data = [(".dockerconfigjson".to_owned(), data)].into();
                let data = Arc::new(SourceData { data, ..SourceData::default() });
                let sources: Sources = [(SourceName::new(SourceKind::Secret, "s"), data)].into_iter().collect();
                let _ = logins(&image, &["s".to_owned()], &sources);
            }
        }
    }
}
