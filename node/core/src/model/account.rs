//! Accounts as pods have them: which one a pod is, and what a pod gets by it without asking: a volume with a token, the
//! cluster's certificate and the namespace, where clients of the API look for them, and the account's logins at registries.
//!
//! Kubernetes writes that into each pod when it is made. Here it follows from the template and the account, the same at all
//! peers, so templates stay as they were written. Signing tokens does not live here, nor does when that is due.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use skein_crdt_state::ObjectKey;

use super::{ROOT_CA_KEY, ROOT_CA_NAME};

/// The kind of an account.
pub const ACCOUNT_KIND: &str = "ServiceAccount";
/// The account that pods have in their namespace unless they name another.
pub const DEFAULT_ACCOUNT: &str = "default";
/// Where clients in pods look for their token.
pub const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How the name of the volume begins that pods get.
const VOLUME_PREFIX: &str = "kube-api-access-";
/// How long its token is valid, in seconds: Kubernetes' number, by which this volume is told from others.
const TOKEN_SECONDS: u64 = 3607;
/// How many letters tell the volumes of different workloads apart.
const SUFFIX_LETTERS: usize = 5;

/// What an account says of its pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// Its uid: which life of its name it is.
    pub uid: String,
    /// Whether its pods get a token, if it says so.
    pub automount: Option<bool>,
    /// The Secrets with logins that its pods get.
    pub pull_secrets: Vec<String>,
}

impl Account {
    /// Reads an account. What is not of the right form counts as not there, as only a merge could have made it.
    #[must_use]
    pub fn of(json: &Value) -> Self {
        let named = json.get("imagePullSecrets").and_then(Value::as_array).into_iter().flatten();
        let names = named.filter_map(|of| Some(of.get("name")?.as_str()?.to_owned()));
        Account {
            uid: String::new(),
            automount: json.get("automountServiceAccountToken").and_then(Value::as_bool),
            pull_secrets: names.filter(|name| !name.is_empty()).collect(),
        }
    }
}

/// The name of the account that a pod has by its spec.
#[must_use]
pub fn name_of(spec: &Value) -> &str {
    let named = ["serviceAccountName", "serviceAccount"].into_iter().filter_map(|field| spec.get(field)?.as_str());
    named.into_iter().find(|name| !name.is_empty()).unwrap_or(DEFAULT_ACCOUNT)
}

/// Whether a volume is one that pods get without asking, by its name. Where nothing can be mounted they do without it.
#[must_use]
pub fn is_given(volume: &str) -> bool {
    volume.starts_with(VOLUME_PREFIX)
}

/// Adds to a pod's spec what Kubernetes adds to it when it is made. `maker` is what the pod is made from; `account` is the one
/// that it has, as far as it is known; `has_api` says whether there is an API to speak to. Doing it again changes nothing.
pub fn admit(spec: &mut Value, maker: &ObjectKey, account: Option<&Account>, has_api: bool) {
    let name = name_of(spec).to_owned();
    let Some(fields) = spec.as_object_mut() else { return };
    fields.insert("serviceAccountName".into(), name.as_str().into());
    fields.insert("serviceAccount".into(), name.into());
    let own = fields.get("automountServiceAccountToken").and_then(Value::as_bool);
    if has_api && own.or(account.and_then(|account| account.automount)).unwrap_or(true) {
        mount_token(fields, maker);
    }
    let secrets = account.map(|account| account.pull_secrets.as_slice()).unwrap_or_default();
    let has_own = fields.get("imagePullSecrets").and_then(Value::as_array).is_some_and(|own| !own.is_empty());
    if !secrets.is_empty() && !has_own {
        let secrets: Vec<Value> = secrets.iter().map(|name| json!({ "name": name })).collect();
        fields.insert("imagePullSecrets".into(), secrets.into());
    }
}

/// Mounts the volume in each container that has nothing in its place.
fn mount_token(fields: &mut Map<String, Value>, maker: &ObjectKey) {
    let volumes = fields.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let known = volumes.filter_map(|volume| volume.get("name")?.as_str()).find(|name| is_given(name));
    let known = known.map(str::to_owned);
    let name = known.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", suffix(maker)));
    let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
    let mut is_needed = false;
    for list in ["initContainers", "containers"] {
        let containers = fields.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter_map(Value::as_object_mut) {
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            if mounts.is_null() {
                *mounts = json!([]);
            }
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if mounts.iter().all(|mount| mount.get("mountPath").is_none_or(|path| path != MOUNT_PATH)) {
                mounts.push(mount.clone());
                is_needed = true;
            }
        }
    }
    if known.is_some() || !is_needed {
        return;
    }
    let volumes = fields.entry("volumes").or_insert_with(|| json!([]));
    if volumes.is_null() {
        *volumes = json!([]);
    }
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(token_volume(&name));
    }
}

fn token_volume(name: &str) -> Value {
    let namespace = json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": ROOT_CA_NAME, "items": [{"key": ROOT_CA_KEY, "path": ROOT_CA_KEY}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
        },
    })
}

/// Letters that follow from what a pod is made from, so that all peers name the volume alike.
fn suffix(maker: &ObjectKey) -> String {
    // Kubernetes' alphabet for suffixes: no vowels, so that no words come out.
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let digest = Sha256::digest(maker.to_string().as_bytes());
    let letter = |byte: &u8| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]);
    digest.iter().take(SUFFIX_LETTERS).map(letter).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_crdt_state::Kind;

    fn maker(name: &str) -> ObjectKey {
        ObjectKey::root(&Kind::new("Namespace"), "shop", 1).child(&Kind::new("ReplicaSet.apps"), name, 1)
    }

    fn admitted(mut spec: Value, account: Option<&Account>) -> Value {
        admit(&mut spec, &maker("web"), account, true);
        let once = spec.clone();
        admit(&mut spec, &maker("web"), account, true);
        assert_eq!(spec, once, "doing it again changes nothing");
        spec
    }

    fn volume_of(spec: &Value) -> Option<&str> {
        let volumes = spec["volumes"].as_array().into_iter().flatten();
        volumes.filter_map(|volume| volume["name"].as_str()).find(|name| is_given(name))
    }

    #[test]
    fn a_pod_gets_a_volume_with_a_token_in_each_container_as_by_a_real_server() {
        let spec = admitted(
            json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a", "volumeMounts": null}, {"name": "b"}]}),
            Some(&Account::default()),
        );
        let name = volume_of(&spec).unwrap();
        assert_eq!(name.len(), "kube-api-access-".len() + 5);
        let mount = json!([{"name": name, "readOnly": true,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
        for container in [&spec["initContainers"][0], &spec["containers"][0], &spec["containers"][1]] {
            assert_eq!(container["volumeMounts"], mount);
        }
        assert_eq!(
            spec["volumes"],
            json!([{"name": name, "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
            ]}}])
        );
        assert_eq!((&spec["serviceAccountName"], &spec["serviceAccount"]), (&json!("default"), &json!("default")));
        let mut other = json!({"containers": [{"name": "a"}]});
        admit(&mut other, &maker("api"), None, true);
        assert_ne!(volume_of(&other), volume_of(&spec), "another workload's has another name");
    }

    #[test]
    fn the_pod_says_whether_it_gets_a_token_and_then_the_account() {
        let says = |automount| Account { automount, ..Account::default() };
        for (pod, account, gets) in [
            (None, None, true),
            (None, Some(true), true),
            (None, Some(false), false),
            (Some(true), Some(false), true),
            (Some(false), Some(true), false),
        ] {
            let spec = json!({"automountServiceAccountToken": pod, "containers": [{"name": "a"}]});
            let spec = admitted(spec, Some(&says(account)));
            assert_eq!(volume_of(&spec).is_some(), gets, "{pod:?} {account:?}");
        }
        let mut spec = json!({"containers": [{"name": "a"}]});
        admit(&mut spec, &maker("web"), None, false);
        assert_eq!(volume_of(&spec), None, "there is no API to speak to");
    }

    #[test]
    fn what_a_pod_mounts_there_itself_is_left_and_a_copied_volume_is_used() {
        let there = json!([{"name": "own", "mountPath": MOUNT_PATH}]);
        let own = json!({"containers": [{"name": "a", "volumeMounts": there}], "volumes": [{"name": "own"}]});
        assert_eq!(admitted(own.clone(), None)["volumes"], own["volumes"]);
        let copied = admitted(
            json!({"containers": [{"name": "a"}], "volumes": [{"name": "kube-api-access-abcde", "projected": {}}]}),
            None,
        );
        assert_eq!(copied["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-abcde");
        assert_eq!(copied["volumes"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn an_accounts_logins_are_its_pods_unless_they_have_their_own() {
        let account = Account::of(&json!({"imagePullSecrets": [{"name": "a"}, {"name": ""}, 1, {"name": "b"}]}));
        let got = admitted(json!({"containers": [], "imagePullSecrets": []}), Some(&account));
        assert_eq!(got["imagePullSecrets"], json!([{"name": "a"}, {"name": "b"}]));
        let own = admitted(json!({"imagePullSecrets": [{"name": "c"}]}), Some(&account));
        assert_eq!(own["imagePullSecrets"], json!([{"name": "c"}]));
    }

    #[test]
    fn the_older_name_of_the_field_counts_when_the_newer_one_is_not_there() {
        assert_eq!(name_of(&json!({"serviceAccount": "robot", "serviceAccountName": ""})), "robot");
        assert_eq!(name_of(&json!({"serviceAccount": "old", "serviceAccountName": "new"})), "new");
        assert_eq!(admitted(json!({"serviceAccount": "robot"}), None)["serviceAccountName"], "robot");
    }

    #[test]
    fn what_is_no_spec_stays_as_it_is() {
        for odd in [json!(null), json!([]), json!("x")] {
            assert_eq!(admitted(odd.clone(), None), odd);
        }
        let odd = json!({"containers": [1, {"volumeMounts": "x"}], "volumes": 7, "initContainers": {}});
        let spec = admitted(odd, None);
        assert_eq!((&spec["volumes"], &spec["containers"]), (&json!(7), &json!([1, {"volumeMounts": "x"}])));
    }
}
