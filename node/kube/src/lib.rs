//! Kubernetes' API as rules: which resources there are, what their objects must look like, how patches, tables and
//! discovery read. All of it is pure: values in, values out. Requests, connections and state do not live here.

pub mod admission;
pub mod apply;
pub mod authorize;
pub mod body;
pub mod check;
pub mod convert;
pub mod defaults;
pub mod discovery;
pub mod effect;
pub mod field_selector;
pub mod negotiate;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod resource;
pub mod review;
pub mod schema;
pub mod selector;
pub mod status;
pub mod structure;
pub mod table;
pub mod time;
pub mod usage;
pub mod validate;
