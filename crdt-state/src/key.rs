//! Identity: an object is named by its whole owner chain with the incarnation of each link, so that a name created
//! twice apart is one object, and a child of a dead owner is dead by its key alone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The most links a key may have; namespace, Deployment, ReplicaSet and slot are four.
pub const MAX_CHAIN: usize = 8;
/// The longest kind or name in a key, in bytes (a Kubernetes name has at most 253).
pub const MAX_NAME_BYTES: usize = 253;

/// A cluster, named by sixteen bytes drawn when it was founded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Uuid::from_bytes(self.0).simple())
    }
}

impl FromStr for ClusterId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(|id| ClusterId(*id.as_bytes()))
    }
}

/// A kind with its API group: `Pod`, `Deployment.apps`, `Slot.skein.dev`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Kind(Arc<str>);

impl Kind {
    /// A kind from its text; the text is not checked, see [`ObjectKey::check`].
    #[must_use]
    pub fn new(text: &str) -> Self {
        Kind(text.into())
    }

    /// `Deployment.apps`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One link of an owner chain: which life of which name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Segment {
    /// The kind.
    pub kind: Kind,
    /// The name within its owner.
    pub name: Arc<str>,
    /// Which life of the name, from 1.
    pub incarnation: u32,
}

/// An object: its owner chain, the outermost first, itself last. Cheap to clone.
///
/// Written `Namespace:shop@1/Deployment.apps:web@3`. The order sorts owners before what they own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Arc<[Segment]>")]
pub struct ObjectKey(Arc<[Segment]>);

/// A key without a link names nothing; it is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key without a link")]
pub struct NoLink;

impl TryFrom<Arc<[Segment]>> for ObjectKey {
    type Error = NoLink;

    /// # Errors
    /// When there is no link. What else a key must be is looked at by [`ObjectKey::check`].
    fn try_from(segments: Arc<[Segment]>) -> Result<Self, NoLink> {
        if segments.is_empty() { Err(NoLink) } else { Ok(ObjectKey(segments)) }
    }
}

impl ObjectKey {
    /// The key of an object that nothing owns, such as a namespace or a node.
    #[must_use]
    pub fn root(kind: &Kind, name: &str, incarnation: u32) -> Self {
        ObjectKey([Segment { kind: kind.clone(), name: name.into(), incarnation }].into())
    }

    /// The key of something that this object owns.
    #[must_use]
    pub fn child(&self, kind: &Kind, name: &str, incarnation: u32) -> Self {
        self.name_of_child(kind, name).life(incarnation)
    }

    /// The name of something that this object owns, in whichever life.
    #[must_use]
    pub fn name_of_child(&self, kind: &Kind, name: &str) -> NameKey {
        NameKey { owner: self.0.clone(), kind: kind.clone(), name: name.into() }
    }

    /// All links, the outermost first, this object last.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The object's kind.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.last().kind
    }

    /// The object's name within its owner.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.last().name
    }

    /// Which life of its name this is.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.last().incarnation
    }

    /// The name without the life.
    #[must_use]
    pub fn name_key(&self) -> NameKey {
        let (last, owner) = (self.last(), &self.0[..self.0.len() - 1]);
        NameKey { owner: owner.into(), kind: last.kind.clone(), name: last.name.clone() }
    }

    /// The direct owner, if there is one.
    #[must_use]
    pub fn owner(&self) -> Option<ObjectKey> {
        (self.0.len() > 1).then(|| ObjectKey(self.0[..self.0.len() - 1].into()))
    }

    /// The namespace's name, when the chain starts in one and this is not the namespace itself.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        (self.0.len() > 1 && &*self.0[0].kind.0 == "Namespace").then(|| &*self.0[0].name)
    }

    /// The one of this object and its owners whose key has so many links. `None`: this key has fewer.
    #[must_use]
    pub fn outermost(&self, links: usize) -> Option<ObjectKey> {
        match self.0.len() {
            len if links == 0 || len < links => None,
            len if len == links => Some(self.clone()),
            _ => Some(ObjectKey(self.0[..links].into())),
        }
    }

    /// This object and its owners, itself first.
    pub fn lineage(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        (1..=self.0.len()).rev().map(|n| ObjectKey(self.0[..n].into()))
    }

    /// The links of this object and of its owners, itself first, without making keys of them.
    pub(crate) fn links(&self) -> impl Iterator<Item = Link<'_>> {
        (0..self.0.len()).rev().map(|n| Link(&self.0[..n], &self.0[n]))
    }

    /// Whether `self` is `other` or owned by it, directly or further down.
    #[must_use]
    pub fn is_within(&self, other: &ObjectKey) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The uid: the same at every peer, another for each life (UUIDv5 of cluster and key, RFC 9562).
    #[must_use]
    pub fn uid(&self, cluster: &ClusterId) -> Uuid {
        Uuid::new_v5(&Uuid::from_bytes(cluster.0), self.to_string().as_bytes())
    }

    /// Whether a key that came from outside is one that this node would have made.
    #[must_use]
    pub fn check(&self) -> bool {
        let sane = |text: &str, parts: &[u8]| {
            !text.is_empty()
                && text.len() <= MAX_NAME_BYTES
                && text.bytes().all(|b| b.is_ascii_graphic() && !parts.contains(&b))
        };
        // A name may hold what parts it from its kind and its life: the first `:` and the last `@` do so.
        let is_link = |s: &Segment| s.incarnation > 0 && sane(&s.kind.0, b"/@:") && sane(&s.name, b"/");
        !self.0.is_empty() && self.0.len() <= MAX_CHAIN && self.0.iter().all(is_link)
    }

    fn last(&self) -> &Segment {
        // A key is never empty: the constructors give one link, and none is read that has none.
        &self.0[self.0.len() - 1]
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            let slash = if i == 0 { "" } else { "/" };
            write!(f, "{slash}{}:{}@{}", segment.kind, segment.name, segment.incarnation)?;
        }
        Ok(())
    }
}

/// A text that is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a key (expected links such as Namespace:shop@1/Deployment.apps:web@3)")]
pub struct ParseKeyError(pub String);

impl FromStr for ObjectKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseKeyError(text.chars().take(64).collect());
        let link = |link: &str| {
            let (kind, rest) = link.split_once(':')?;
            let (name, incarnation) = rest.rsplit_once('@')?;
            Some(Segment { kind: Kind::new(kind), name: name.into(), incarnation: incarnation.parse().ok()? })
        };
        let links =
            text.split('/').take(MAX_CHAIN + 1).map(link).collect::<Option<Vec<Segment>>>().ok_or_else(wrong)?;
        let key = ObjectKey(links.into());
        if key.check() { Ok(key) } else { Err(wrong()) }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A name within its owner, whichever life: what a deletion number is kept for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NameKey {
    owner: Arc<[Segment]>,
    kind: Kind,
    name: Arc<str>,
}

impl NameKey {
    /// The name of an object that nothing owns.
    #[must_use]
    pub fn root(kind: &Kind, name: &str) -> Self {
        NameKey { owner: [].into(), kind: kind.clone(), name: name.into() }
    }

    /// One life of this name.
    #[must_use]
    pub fn life(&self, incarnation: u32) -> ObjectKey {
        let own = Segment { kind: self.kind.clone(), name: self.name.clone(), incarnation };
        ObjectKey(self.owner.iter().cloned().chain([own]).collect())
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The life that owns this name, if there is one.
    #[must_use]
    pub fn owner(&self) -> Option<ObjectKey> {
        (!self.owner.is_empty()).then(|| ObjectKey(self.owner.clone()))
    }
}

/// Something that has a name within an owner: for looking names up without making one.
pub(crate) trait Named {
    /// The owner's links, the kind and the name.
    fn parts(&self) -> (&[Segment], &Kind, &str);
}

impl Named for NameKey {
    fn parts(&self) -> (&[Segment], &Kind, &str) {
        (&self.owner, &self.kind, &self.name)
    }
}

/// One link of an owner chain, with those before it.
pub(crate) struct Link<'a>(&'a [Segment], &'a Segment);

impl Named for Link<'_> {
    fn parts(&self) -> (&[Segment], &Kind, &str) {
        (self.0, &self.1.kind, &self.1.name)
    }
}

impl Link<'_> {
    pub(crate) fn incarnation(&self) -> u32 {
        self.1.incarnation
    }
}

impl<'a> std::borrow::Borrow<dyn Named + 'a> for NameKey {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

// The same order as that of `NameKey`, which is derived from its fields in the same sequence.
impl Ord for dyn Named + '_ {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for dyn Named + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Named + '_ {}

impl fmt::Display for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in self.owner.iter() {
            write!(f, "{}:{}@{}/", segment.kind, segment.name, segment.incarnation)?;
        }
        write!(f, "{}:{}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn web() -> ObjectKey {
        ObjectKey::root(&Kind::new("Namespace"), "shop", 1).child(&Kind::new("Deployment.apps"), "web", 3)
    }

    #[test]
    fn a_key_names_its_whole_chain() {
        assert_eq!(web().to_string(), "Namespace:shop@1/Deployment.apps:web@3");
        assert_eq!(web().namespace(), Some("shop"));
        assert_eq!(web().owner().map(|o| o.to_string()).as_deref(), Some("Namespace:shop@1"));
        assert_eq!(web().name_key().life(3), web());
        assert_eq!(web().lineage().count(), 2);
        assert_eq!([0, 1, 2, 3].map(|links| web().outermost(links)), [None, web().owner(), Some(web()), None]);
    }

    #[test]
    fn a_key_is_read_back_as_it_was_written() {
        assert_eq!(web().to_string().parse(), Ok(web()));
        let role = ObjectKey::root(&Kind::new("ClusterRole.rbac"), "system:a@b@2:x", 7);
        assert_eq!(role.to_string().parse(), Ok(role));
        for text in ["", "a", "Pod:a", "Pod:a@0", "Pod:a@x", "/Pod:a@1", "Pod:a@1/", "Pod:@1", &"Pod:a@1/".repeat(9)] {
            assert!(text.parse::<ObjectKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_life_and_each_cluster_has_its_own_uid() {
        let (a, b) = (ClusterId([1; 16]), ClusterId([2; 16]));
        assert_eq!(web().uid(&a), web().uid(&a));
        assert_ne!(web().uid(&a), web().uid(&b));
        assert_ne!(web().uid(&a), web().name_key().life(4).uid(&a));
    }

    #[test]
    fn a_key_without_a_link_is_not_read() {
        let key = ObjectKey::root(&Kind::new("Namespace"), "shop", 1);
        let bytes = postcard::to_stdvec(&key).unwrap();
        assert_eq!(postcard::from_bytes(&bytes), Ok(key));
        assert!(postcard::from_bytes::<ObjectKey>(&[0]).is_err());
    }

    #[test]
    fn a_key_that_no_node_would_make_is_refused() {
        assert!(web().check());
        assert!(!ObjectKey([].into()).check());
        assert!(!web().name_key().life(0).check());
        assert!(!ObjectKey::root(&Kind::new("Pod"), "a/b", 1).check());
        assert!(!ObjectKey::root(&Kind::new("Po:d"), "a", 1).check());
        assert!(ObjectKey::root(&Kind::new("Pod"), "a:b@1", 1).check());
        assert!(!ObjectKey::root(&Kind::new("Pod"), &"x".repeat(300), 1).check());
    }
}
