//! The roles and bindings that every cluster has without anybody writing them: Kubernetes' own, as far as they speak of what
//! is served here. Somebody who writes one of their names has written it; who deletes that has the built-in one again.

use serde_json::{Map, Value, json};

use super::{Rule, aggregated, named};

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const READ_WRITE: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];
/// What the labels that bring a role into another one begin with.
const AGGREGATE_LABEL: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// A role of the table.
struct Role {
    name: &'static str,
    /// The roles that it is a part of.
    part_of: &'static [&'static str],
    /// Whether it is made of those that are parts of it.
    aggregates: bool,
    rules: &'static [Allowed],
}

/// A rule of the table.
enum Allowed {
    /// Verbs, a group, resources.
    On(&'static [&'static str], &'static str, &'static [&'static str]),
    /// Reading these paths.
    Paths(&'static [&'static str]),
    /// Everything.
    All,
}

use Allowed::{All, On, Paths};

const RBAC: &str = "rbac.authorization.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
const WORKLOADS: &[&str] = &[
    "daemonsets",
    "deployments",
    "deployments/scale",
    "replicasets",
    "replicasets/scale",
    "statefulsets",
    "statefulsets/scale",
];

static ROLES: &[Role] = &[
    Role { name: "cluster-admin", part_of: &[], aggregates: false, rules: &[All] },
    Role { name: "admin", part_of: &[], aggregates: true, rules: &[] },
    Role { name: "edit", part_of: &["admin"], aggregates: true, rules: &[] },
    Role { name: "view", part_of: &["edit"], aggregates: true, rules: &[] },
    Role {
        name: "system:aggregate-to-admin",
        part_of: &["admin"],
        aggregates: false,
        rules: &[
            On(CREATE, AUTHORIZATION, &["localsubjectaccessreviews"]),
            On(READ_WRITE, RBAC, &["rolebindings", "roles"]),
        ],
    },
    Role {
        name: "system:aggregate-to-edit",
        part_of: &["edit"],
        aggregates: false,
        rules: &[
            On(READ, "", &["pods/attach", "pods/exec", "pods/portforward", "secrets"]),
            On(&["impersonate"], "", &["serviceaccounts"]),
            On(WRITE, "", &["pods", "pods/attach", "pods/exec", "pods/portforward"]),
            On(CREATE, "", &["pods/eviction"]),
            On(
                WRITE,
                "",
                &["configmaps", "events", "persistentvolumeclaims", "secrets", "serviceaccounts", "services"],
            ),
            On(CREATE, "", &["serviceaccounts/token"]),
            On(WRITE, "apps", WORKLOADS),
            On(WRITE, "autoscaling", &["horizontalpodautoscalers"]),
            On(WRITE, "batch", &["cronjobs", "jobs"]),
            On(WRITE, "policy", &["poddisruptionbudgets"]),
            On(WRITE, "networking.k8s.io", &["ingresses", "networkpolicies"]),
            On(READ_WRITE, "coordination.k8s.io", &["leases"]),
        ],
    },
    Role {
        name: "system:aggregate-to-view",
        part_of: &["view"],
        aggregates: false,
        rules: &[
            On(
                READ,
                "",
                &[
                    "configmaps",
                    "endpoints",
                    "persistentvolumeclaims",
                    "persistentvolumeclaims/status",
                    "pods",
                    "serviceaccounts",
                    "services",
                    "services/status",
                ],
            ),
            On(
                READ,
                "",
                &[
                    "events",
                    "limitranges",
                    "namespaces/status",
                    "pods/log",
                    "pods/status",
                    "resourcequotas",
                    "resourcequotas/status",
                ],
            ),
            On(READ, "", &["namespaces"]),
            On(READ, "discovery.k8s.io", &["endpointslices"]),
            On(READ, "apps", &["controllerrevisions", "daemonsets/status", "deployments/status"]),
            On(READ, "apps", &["replicasets/status", "statefulsets/status"]),
            On(READ, "apps", WORKLOADS),
            On(READ, "autoscaling", &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
            On(READ, "batch", &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
            On(READ, "policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
            On(READ, "networking.k8s.io", &["ingresses", "ingresses/status", "networkpolicies"]),
        ],
    },
    Role {
        name: "system:aggregated-metrics-reader",
        part_of: &["view", "edit", "admin"],
        aggregates: false,
        rules: &[On(READ, "metrics.k8s.io", &["pods", "nodes"])],
    },
    Role {
        name: "system:auth-delegator",
        part_of: &[],
        aggregates: false,
        rules: &[On(CREATE, AUTHENTICATION, &["tokenreviews"]), On(CREATE, AUTHORIZATION, &["subjectaccessreviews"])],
    },
    Role {
        name: "system:basic-user",
        part_of: &[],
        aggregates: false,
        rules: &[
            On(CREATE, AUTHORIZATION, &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
            On(CREATE, AUTHENTICATION, &["selfsubjectreviews"]),
        ],
    },
    Role {
        name: "system:discovery",
        part_of: &[],
        aggregates: false,
        rules: &[Paths(&[
            "/api",
            "/api/*",
            "/apis",
            "/apis/*",
            "/healthz",
            "/livez",
            "/openapi",
            "/openapi/*",
            "/readyz",
            "/version",
            "/version/",
        ])],
    },
    Role {
        name: "system:monitoring",
        part_of: &[],
        aggregates: false,
        rules: &[Paths(&["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/readyz", "/readyz/*"])],
    },
    Role {
        name: "system:public-info-viewer",
        part_of: &[],
        aggregates: false,
        rules: &[Paths(&["/healthz", "/livez", "/readyz", "/version", "/version/"])],
    },
];

/// Which groups have which role of the cluster.
static BINDINGS: &[(&str, &[&str])] = &[
    ("cluster-admin", &["system:masters"]),
    ("system:basic-user", &["system:authenticated"]),
    ("system:discovery", &["system:authenticated"]),
    ("system:monitoring", &["system:monitoring"]),
    ("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
];

/// All that every cluster has.
#[must_use]
pub fn all() -> Vec<Value> {
    cluster_roles().into_iter().chain(cluster_role_bindings()).collect()
}

/// All ClusterRoles of the table. One that is made of others shows what the table gives it.
#[must_use]
pub fn cluster_roles() -> Vec<Value> {
    let plain: Vec<Value> = ROLES.iter().map(Role::to_value).collect();
    let by_name = named(plain.iter());
    let shown = |role: &Role| {
        let mut value = role.to_value();
        if role.aggregates {
            let rules = aggregated(&by_name, role.name);
            value["rules"] = rules.iter().map(Rule::to_value).collect();
        }
        value
    };
    ROLES.iter().map(shown).collect()
}

/// All ClusterRoleBindings of the table.
#[must_use]
pub fn cluster_role_bindings() -> Vec<Value> {
    let binding = |(role, groups): &(&str, &[&str])| {
        let subject = |group: &&str| json!({"apiGroup": RBAC, "kind": "Group", "name": group});
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": metadata(role, Map::new()),
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": groups.iter().map(subject).collect::<Vec<_>>(),
        })
    };
    BINDINGS.iter().map(binding).collect()
}

impl Role {
    fn to_value(&self) -> Value {
        let labels = self.part_of.iter().map(|of| (format!("{AGGREGATE_LABEL}{of}"), json!("true"))).collect();
        let mut value = json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRole",
            "metadata": metadata(self.name, labels),
            "rules": self.rules.iter().flat_map(Allowed::to_values).collect::<Vec<_>>(),
        });
        if self.aggregates {
            let labels = Map::from_iter([(format!("{AGGREGATE_LABEL}{}", self.name), json!("true"))]);
            value["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
        }
        value
    }
}

impl Allowed {
    fn to_values(&self) -> Vec<Value> {
        match self {
            On(verbs, group, resources) => vec![json!({"verbs": verbs, "apiGroups": [group], "resources": resources})],
            Paths(paths) => vec![json!({"verbs": ["get"], "nonResourceURLs": paths})],
            All => vec![
                json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
                json!({"verbs": ["*"], "nonResourceURLs": ["*"]}),
            ],
        }
    }
}

fn metadata(name: &str, mut labels: Map<String, Value>) -> Value {
    labels.insert("kubernetes.io/bootstrapping".to_owned(), json!("rbac-defaults"));
    json!({"name": name, "labels": labels})
}
