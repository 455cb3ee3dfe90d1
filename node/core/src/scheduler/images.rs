//! The images that a node has, kept so that asking every node for one is cheap. For preferences alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::score::seed;

/// The images of a node: their names as numbers, in order, each with its size in bytes. Two names that come to the same
/// number, which nobody sees happen, make a node a little more or less preferred.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Images(Arc<[(u64, u64)]>);

impl Images {
    /// Of what a node says that it has.
    #[must_use]
    pub fn of(images: &BTreeMap<String, u64>) -> Self {
        let mut numbered: Vec<(u64, u64)> =
            images.iter().map(|(name, bytes)| (seed(name.as_bytes()), *bytes)).collect();
        numbered.sort_unstable();
        Images(numbered.into())
    }

    fn bytes(&self, name: u64) -> Option<u64> {
        let found = self.0.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        Some(self.0[found].1)
    }
}

/// The images that a pod needs.
#[derive(Debug)]
pub(super) struct Wanted(Vec<(u64, Option<u64>)>);

impl Wanted {
    /// Of these names. One without a tag is also known by the tag that engines fill in.
    pub(super) fn of<'a>(images: impl IntoIterator<Item = &'a String>) -> Self {
        let names = |image: &String| {
            let tagged = image.rsplit('/').next().is_some_and(|last| last.contains(':') || last.contains('@'));
            (seed(image.as_bytes()), (!tagged).then(|| seed(format!("{image}:latest").as_bytes())))
        };
        Wanted(images.into_iter().map(names).collect())
    }

    /// How many bytes of them a node has.
    pub(super) fn bytes_on(&self, images: &Images) -> u64 {
        let bytes = |(name, other): &(u64, Option<u64>)| images.bytes(*name).or_else(|| images.bytes((*other)?));
        self.0.iter().filter_map(bytes).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_tag_is_found_by_the_tag_that_engines_fill_in() {
        let images = Images::of(&[("web:latest".to_owned(), 7), ("host:5000/db".to_owned(), 5)].into());
        let bytes = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Wanted::of(&names).bytes_on(&images)
        };
        assert_eq!([bytes(&["web"]), bytes(&["web:1"]), bytes(&["host:5000/db"])], [7, 0, 5]);
        assert_eq!(bytes(&["web:latest", "host:5000/db", "other"]), 12);
    }
}
