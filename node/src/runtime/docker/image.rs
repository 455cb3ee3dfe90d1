//! Images: references, pulling, and importing one that was made on the spot.

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{CreateImageOptions, RemoveImageOptions};
use bytes::Bytes;
use futures::StreamExt as _;
use skein_core::runtime::{Login, PullPolicy};

use super::super::engine::ImageError;
use super::words;

/// The longest reference, as registries have it.
const REFERENCE_BYTES: usize = 512;

/// Makes sure that an image is there. With logins they are tried one after the other, and the last failure is told.
pub(super) async fn ensure(
    docker: &Docker,
    image: &str,
    policy: PullPolicy,
    logins: &[Login],
) -> Result<(), ImageError> {
    let Some(reference) = Reference::parse(image) else {
        let message = format!("\"{image}\" is not a valid image reference, such as registry.example/name:tag");
        return Err(ImageError { message, permanent: true });
    };
    let full = reference.to_string();
    if policy != PullPolicy::Always {
        match docker.inspect_image(&full).await {
            Ok(_) => return Ok(()),
            Err(error) if words::is_missing(&error) => {}
            Err(error) => return Err(ImageError { message: words::of(&error), permanent: false }),
        }
    }
    if policy == PullPolicy::Never {
        let message = format!("Container image \"{image}\" is not present with pull policy of Never");
        return Err(ImageError { message, permanent: true });
    }
    let options = CreateImageOptions { from_image: Some(full), ..CreateImageOptions::default() };
    let pull = |login: Option<&Login>| finish(docker.create_image(Some(options.clone()), None, login.map(credentials)));
    let failed =
        |error: bollard::errors::Error| ImageError { message: words::of_pull(image, &error), permanent: false };
    let Some((last, others)) = logins.split_last() else { return pull(None).await.map_err(failed) };
    for login in others {
        if pull(Some(login)).await.is_ok() {
            return Ok(());
        }
    }
    pull(Some(last)).await.map_err(failed)
}

fn credentials(login: &Login) -> DockerCredentials {
    let filled = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    DockerCredentials {
        username: filled(&login.username),
        password: filled(&login.password),
        identitytoken: filled(&login.identity_token),
        serveraddress: filled(&login.server),
        ..DockerCredentials::default()
    }
}

/// The user that an image runs as, perhaps with a group; empty: the superuser.
pub(super) async fn user(docker: &Docker, image: &str) -> Result<String, String> {
    let full = Reference::parse(image).map_or_else(|| image.to_owned(), |reference| reference.to_string());
    let found = docker.inspect_image(&full).await.map_err(|error| words::of(&error))?;
    Ok(found.config.and_then(|config| config.user).unwrap_or_default())
}

/// Makes an image of a tar archive with its root. `changes` are instructions of a Dockerfile, such as `CMD ["/web"]`.
pub(super) async fn import(docker: &Docker, image: &str, tar: Bytes, changes: Vec<String>) -> Result<(), String> {
    let reference = Reference::parse(image).ok_or_else(|| format!("\"{image}\" is not a valid image reference"))?;
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(reference.name),
        tag: Some(reference.tag.unwrap_or_else(|| "latest".to_owned())),
        changes,
        ..CreateImageOptions::default()
    };
    finish(docker.create_image(Some(options), Some(bollard::body_full(tar)), None))
        .await
        .map_err(|error| format!("image \"{image}\" cannot be imported: {}", words::of(&error)))
}

/// Removes an image, unless a container uses it. One that is gone is no failure.
pub(super) async fn remove(docker: &Docker, image: &str) -> Result<(), String> {
    match docker.remove_image(image, None::<RemoveImageOptions>, None).await {
        Err(error) if !words::is_missing(&error) => Err(words::of(&error)),
        _ => Ok(()),
    }
}

async fn finish<T>(
    progress: impl futures::Stream<Item = Result<T, bollard::errors::Error>>,
) -> Result<(), bollard::errors::Error> {
    let mut progress = std::pin::pin!(progress);
    while let Some(step) = progress.next().await {
        step?;
    }
    Ok(())
}

/// An image reference in its parts. Without a tag the engine would pull all tags there are.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    name: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        match (&self.tag, &self.digest) {
            (None, None) => f.write_str(":latest"),
            (Some(tag), None) => write!(f, ":{tag}"),
            // The digest says it all, and some engines take no tag beside it.
            (_, Some(digest)) => write!(f, "@{digest}"),
        }
    }
}

impl Reference {
    fn parse(text: &str) -> Option<Reference> {
        if text.len() > REFERENCE_BYTES {
            return None;
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let sound = is_name(name) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
        let owned = |part: Option<&str>| part.map(str::to_owned);
        sound.then(|| Reference { name: name.to_owned(), tag: owned(tag), digest: owned(digest) })
    }
}

fn is_name(name: &str) -> bool {
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), path),
        _ => (None, name),
    };
    let is_part = |part: &str| {
        let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        ends(part.bytes().next()) && ends(part.bytes().last()) && part.bytes().all(inner)
    };
    let is_registry = |registry: &str| {
        let (host, port) = registry.split_once(':').unwrap_or((registry, "0"));
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        !host.is_empty() && host.bytes().all(inner) && port.parse::<u16>().is_ok()
    };
    registry.is_none_or(is_registry) && path.split('/').all(is_part)
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

fn is_digest(digest: &str) -> bool {
    let hexadecimal = |text: &str| text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digest.split_once(':').is_some_and(|(algorithm, value)| {
        !algorithm.is_empty() && algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric()) && hexadecimal(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full(text: &str) -> Option<String> {
        Reference::parse(text).map(|reference| reference.to_string())
    }

    #[test]
    fn a_reference_without_a_tag_means_the_latest() {
        assert_eq!(full("web").as_deref(), Some("web:latest"));
        assert_eq!(full("registry.example:5000/team/web").as_deref(), Some("registry.example:5000/team/web:latest"));
        assert_eq!(full("localhost/web:1.2-rc_1").as_deref(), Some("localhost/web:1.2-rc_1"));
    }

    #[test]
    fn a_digest_names_the_image_alone() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(full(&format!("team/web:1@{digest}")), Some(format!("team/web@{digest}")));
    }

    #[test]
    fn what_no_registry_can_have_is_refused() {
        for text in [
            "",
            "Web",
            "web:",
            "web:a b",
            "/web",
            "web/",
            "a//b",
            "web@sha256:12",
            "web:1/../x",
            "-web",
            "we?b=1",
            "x@y@z",
        ] {
            assert_eq!(full(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_is_total(text in "\\PC{0,60}") {
            if let Some(full) = full(&text) {
                // Nothing that would end the path or begin a query gets into a request.
                prop_assert!(!full.contains(['?', '#', '%', ' ']));
            }
        }
    }
}
