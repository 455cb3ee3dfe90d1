//! Events, in both groups. They are what nodes report.

use super::Resource;
use crate::schema;

const READ: &[&str] = &["get", "list", "watch"];

/// Events, as the core group shows them. They are what nodes report, so they are only read.
pub static EVENTS: Resource = Resource {
    stored_kind: "Event",
    group: "",
    version: "v1",
    plural: "events",
    singular: "event",
    kind_name: "Event",
    short_names: &["ev"],
    in_all: false,
    namespaced: true,
    verbs: READ,
    subresources: &[],
    schema: &schema::event::EVENT,
};

/// The same events, as their own group shows them.
pub static EVENTS_GROUP_EVENTS: Resource = Resource {
    stored_kind: "Event",
    group: "events.k8s.io",
    version: "v1",
    plural: "events",
    singular: "event",
    kind_name: "Event",
    short_names: &["ev"],
    in_all: false,
    namespaced: true,
    verbs: READ,
    subresources: &[],
    schema: &schema::event::EVENTS_GROUP_EVENT,
};
