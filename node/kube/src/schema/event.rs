//! Events, as the core group and as their own group show them. They are read only, so nothing is checked.

use super::meta::OBJECT_META;
use super::{Field, Ty, TypeSchema};

/// An event of the core group.
pub static EVENT: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Event",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("involvedObject", 2, Ty::Object(&OBJECT_REFERENCE)),
        Field::new("reason", 3, Ty::Str),
        Field::new("message", 4, Ty::Str),
        Field::new("source", 5, Ty::Object(&EVENT_SOURCE)),
        Field::new("firstTimestamp", 6, Ty::Time),
        Field::new("lastTimestamp", 7, Ty::Time),
        Field::new("count", 8, Ty::Int32),
        Field::new("type", 9, Ty::Str),
        Field::new("eventTime", 10, Ty::MicroTime),
        Field::new("series", 11, Ty::Object(&EVENT_SERIES)),
        Field::new("action", 12, Ty::Str),
        Field::new("related", 13, Ty::Object(&OBJECT_REFERENCE)),
        Field::new("reportingComponent", 14, Ty::Str),
        Field::new("reportingInstance", 15, Ty::Str),
    ],
};

/// An event of `events.k8s.io`.
pub static EVENTS_GROUP_EVENT: TypeSchema = TypeSchema {
    name: "io.k8s.api.events.v1.Event",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("eventTime", 2, Ty::MicroTime),
        Field::new("series", 3, Ty::Object(&EVENT_SERIES)),
        Field::new("reportingController", 4, Ty::Str),
        Field::new("reportingInstance", 5, Ty::Str),
        Field::new("action", 6, Ty::Str),
        Field::new("reason", 7, Ty::Str),
        Field::new("regarding", 8, Ty::Object(&OBJECT_REFERENCE)),
        Field::new("related", 9, Ty::Object(&OBJECT_REFERENCE)),
        Field::new("note", 10, Ty::Str),
        Field::new("type", 11, Ty::Str),
        Field::new("deprecatedSource", 12, Ty::Object(&EVENT_SOURCE)),
        Field::new("deprecatedFirstTimestamp", 13, Ty::Time),
        Field::new("deprecatedLastTimestamp", 14, Ty::Time),
        Field::new("deprecatedCount", 15, Ty::Int32),
    ],
};

/// Who says so.
pub static EVENT_SOURCE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.EventSource",
    fields: &[Field::new("component", 1, Ty::Str), Field::new("host", 2, Ty::Str)],
};

/// How often, and when last.
pub static EVENT_SERIES: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.EventSeries",
    fields: &[Field::new("count", 1, Ty::Int32), Field::new("lastObservedTime", 2, Ty::MicroTime)],
};

/// What it is about.
pub static OBJECT_REFERENCE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ObjectReference",
    fields: &[
        Field::new("kind", 1, Ty::Str),
        Field::new("namespace", 2, Ty::Str),
        Field::new("name", 3, Ty::Str),
        Field::new("uid", 4, Ty::Str),
        Field::new("apiVersion", 5, Ty::Str),
        Field::new("resourceVersion", 6, Ty::Str),
        Field::new("fieldPath", 7, Ty::Str),
    ],
};
