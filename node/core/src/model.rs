//! Kubernetes' objects as the brain reads them: typed, parsed once for each version of an object.
//!
//! What clients may write is checked elsewhere (`skein-kube`); parsing here is total and falls back to Kubernetes' defaults,
//! since a merge may have made what nobody wrote.

pub mod account;
pub mod affinity;
pub mod closing;
pub mod needs;
pub mod partition;
pub mod pod;
pub mod quantity;
pub mod source;
pub mod taint;
pub mod template;
pub mod workload;

/// The kind of a namespace.
pub const NAMESPACE_KIND: &str = "Namespace";
/// The kind of a node's object: what people want of it.
pub const NODE_KIND: &str = "Node";
/// The kind of a pod that nothing owns.
pub const POD_KIND: &str = "Pod";
/// The ConfigMap with the cluster's certificate, which every namespace has.
pub const ROOT_CA_NAME: &str = "kube-root-ca.crt";
/// Its key.
pub const ROOT_CA_KEY: &str = "ca.crt";
/// The kind of a Deployment.
pub const DEPLOYMENT_KIND: &str = "Deployment.apps";
/// The kind of a ReplicaSet.
pub const REPLICA_SET_KIND: &str = "ReplicaSet.apps";
/// The leaf of a node's object that ties it to the node.
pub const PROVIDER_ID_LEAF: &str = "spec.providerID";
/// What the leaf [`PROVIDER_ID_LEAF`] starts with; the node's id follows.
pub const PROVIDER_ID_PREFIX: &str = "skein://";
