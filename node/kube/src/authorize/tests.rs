//! What is allowed and what is not, case by case as a real server decides; and what must hold for all rules there can be.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ALL: Action<'static> =
    Action::Resource { verb: "get", group: "", resource: "pods", subresource: "", namespace: "", name: "" };

fn resource<'a>(verb: &'a str, path: &'a str) -> Action<'a> {
    // GROUP/RESOURCE, with .PART, in NAMESPACE, called NAME: "apps/deployments.scale@shop:web".
    let (what, rest) = path.split_once('@').unwrap_or((path, ""));
    let (namespace, name) = rest.split_once(':').unwrap_or((rest, ""));
    let (group, what) = what.rsplit_once('/').unwrap_or(("", what));
    let (resource, subresource) = what.split_once('.').unwrap_or((what, ""));
    Action::Resource { verb, group, resource, subresource, namespace, name }
}

fn path<'a>(verb: &'a str, path: &'a str) -> Action<'a> {
    Action::Path { verb, path }
}

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names})
}

fn urls(verbs: &[&str], urls: &[&str]) -> Value {
    json!({"verbs": verbs, "nonResourceURLs": urls})
}

fn role(namespace: &str, name: &str, rules: &[Value]) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "rules": rules})
}

/// A binding to a `Role` or a `ClusterRole`; subjects are written as `User:alice`.
fn binding(namespace: &str, role: &str, subjects: &[&str]) -> Value {
    let (kind, name) = role.split_once(':').unwrap();
    let subject = |text: &&str| {
        let (kind, name) = text.split_once(':').unwrap();
        match name.split_once('/') {
            Some((namespace, name)) => json!({"kind": kind, "namespace": namespace, "name": name}),
            None => json!({"kind": kind, "name": name}),
        }
    };
    json!({
        "metadata": {"namespace": namespace, "name": format!("to-{name}")},
        "roleRef": {"kind": kind, "name": name},
        "subjects": subjects.iter().map(subject).collect::<Vec<_>>(),
    })
}

fn user(text: &str) -> User {
    let (name, groups) = text.split_once(' ').unwrap_or((text, ""));
    User::new(name, groups.split_whitespace().map(str::to_owned))
}

#[derive(Default)]
struct World {
    cluster_roles: Vec<Value>,
    cluster_role_bindings: Vec<Value>,
    roles: Vec<Value>,
    role_bindings: Vec<Value>,
}

impl World {
    fn policy(&self) -> Policy {
        fn refs(values: &[Value]) -> Vec<&Value> {
            values.iter().collect()
        }
        Policy::new(Objects {
            cluster_roles: &refs(&self.cluster_roles),
            cluster_role_bindings: &refs(&self.cluster_role_bindings),
            roles: &refs(&self.roles),
            role_bindings: &refs(&self.role_bindings),
        })
    }
}

fn expect(policy: &Policy, who: &str, allowed: &[Action<'_>], refused: &[Action<'_>]) {
    for action in allowed {
        assert!(policy.allows(&user(who), action).is_some(), "{who} may not {action:?}");
    }
    for action in refused {
        assert_eq!(policy.allows(&user(who), action), None, "{who} may {action:?}");
    }
}

#[test]
fn a_rule_allows_what_it_names_and_a_star_stands_for_all() {
    let cases: [(Value, &[Action<'_>], &[Action<'_>]); 8] = [
        (
            rule(&["*"], &["g"], &["r"], &[]),
            &[resource("get", "g/r"), resource("frobnicate", "g/r")],
            &[resource("get", "h/r"), resource("get", "g/s"), resource("get", "g/r.status")],
        ),
        (
            rule(&["get"], &["*"], &["r"], &[]),
            &[resource("get", "g/r"), resource("get", "r")],
            &[resource("list", "g/r"), resource("get", "g/s")],
        ),
        (
            rule(&["get"], &["g"], &["*"], &[]),
            &[resource("get", "g/r"), resource("get", "g/r.status")],
            &[resource("get", "r"), resource("list", "g/r"), path("get", "/r")],
        ),
        (
            rule(&["get", "list"], &["", "g"], &["r", "s/log"], &[]),
            &[resource("list", "r"), resource("get", "g/s.log")],
            &[resource("get", "g/s"), resource("get", "g/r.log")],
        ),
        (
            rule(&["update"], &["*"], &["*/scale"], &[]),
            &[resource("update", "apps/deployments.scale"), resource("update", "g/r.scale")],
            &[resource("update", "apps/deployments"), resource("update", "g/r.status"), resource("get", "g/r.scale")],
        ),
        (
            rule(&["get", "create", "list", "deletecollection"], &[""], &["r"], &["a", "b"]),
            &[resource("get", "r@n:a"), resource("list", "r@n:b")],
            &[
                resource("get", "r@n:c"),
                resource("list", "r@n"),
                resource("create", "r@n"),
                resource("deletecollection", "r@n"),
            ],
        ),
        (
            urls(&["get"], &["/foo", "/bar/*"]),
            &[path("get", "/foo"), path("get", "/bar/"), path("get", "/bar/x/y")],
            &[path("get", "/foo/x"), path("get", "/bar"), path("post", "/foo"), resource("get", "foo")],
        ),
        (urls(&["*"], &["*"]), &[path("put", "/anything")], &[resource("get", "pods")]),
    ];
    for (rule, allowed, refused) in cases {
        let read = Rule::of(&rule);
        for action in allowed {
            assert!(read.allows(action), "{rule} {action:?}");
        }
        for action in refused {
            assert!(!read.allows(action), "{rule} {action:?}");
        }
    }
}

#[test]
fn a_binding_gives_a_role_where_it_is_and_to_whom_it_names() {
    let all = [rule(&["*"], &["*"], &["*"], &[]), urls(&["*"], &["*"])];
    let world = World {
        cluster_roles: vec![role("", "everything", &all)],
        roles: vec![role("shop", "reader", &[rule(&["get"], &[""], &["pods"], &[])])],
        cluster_role_bindings: vec![binding("", "ClusterRole:everything", &["User:root", "ServiceAccount:ops/robot"])],
        role_bindings: vec![
            binding("shop", "ClusterRole:everything", &["User:alice", "Group:devs"]),
            binding("shop", "Role:reader", &["User:bob", "ServiceAccount:builder"]),
            binding("yard", "Role:reader", &["User:carol"]),
        ],
    };
    let policy = world.policy();
    let (in_shop, in_yard, everywhere) =
        (resource("get", "pods@shop"), resource("get", "pods@yard"), resource("get", "pods"));
    expect(&policy, "root", &[in_shop, in_yard, everywhere, path("get", "/metrics")], &[]);
    expect(&policy, "system:serviceaccount:ops:robot", &[in_yard, everywhere], &[]);
    expect(&policy, "alice", &[in_shop, resource("delete", "g/x@shop")], &[in_yard, everywhere, path("get", "/x")]);
    expect(&policy, "joe devs", &[in_shop], &[in_yard, everywhere]);
    expect(&policy, "bob", &[in_shop], &[resource("list", "pods@shop"), in_yard]);
    // An account of a RoleBinding without a namespace is one of the binding's own.
    expect(&policy, "system:serviceaccount:shop:builder", &[in_shop], &[in_yard]);
    expect(&policy, "system:serviceaccount:yard:builder", &[], &[in_shop, in_yard]);
    // The role of this binding is in another namespace, so there is none.
    expect(&policy, "carol", &[], &[in_yard, in_shop]);
    expect(&policy, "devs", &[], &[in_shop]);
}

#[test]
fn masters_may_do_everything_whatever_is_stored() {
    let nothing = role("", "cluster-admin", &[]);
    let policy = World { cluster_roles: vec![nothing], ..World::default() }.policy();
    expect(&policy, "any system:masters", &[ALL, path("post", "/skein/v1/leave")], &[]);
    expect(&policy, "any", &[], &[ALL]);
}

#[test]
fn everybody_may_ask_what_is_served_and_what_they_may_do() {
    let policy = Policy::new(Objects::default());
    let reviews = resource("create", "authorization.k8s.io/selfsubjectaccessreviews");
    let who = resource("create", "authentication.k8s.io/selfsubjectreviews");
    let open = [reviews, who, path("get", "/apis/apps/v1"), path("get", "/openapi/v3"), path("get", "/version")];
    expect(&policy, "nobody", &open, &[ALL, path("get", "/metrics"), path("get", "/skein/v1/peers")]);
    let groups = vec!["system:unauthenticated".into()];
    let stranger = User { name: "system:anonymous".into(), groups, ..User::default() };
    assert!(policy.allows(&stranger, &path("get", "/version")).is_some());
    assert_eq!(policy.allows(&stranger, &path("get", "/api")), None);
}

#[test]
fn view_reads_no_secrets_edit_writes_no_roles_and_admin_does() {
    let bind = |role: &str, who: &str| binding("shop", &format!("ClusterRole:{role}"), &[&format!("User:{who}")]);
    let bindings = vec![bind("view", "v"), bind("edit", "e"), bind("admin", "a")];
    let policy = World { role_bindings: bindings, ..World::default() }.policy();
    let (read, log) = (resource("list", "apps/deployments@shop"), resource("get", "pods.log@shop:web"));
    let (exec, secrets) = (resource("create", "pods.exec@shop:web"), resource("get", "secrets@shop:x"));
    let (scale, bind) = (
        resource("patch", "apps/deployments.scale@shop:web"),
        resource("create", "rbac.authorization.k8s.io/rolebindings@shop"),
    );
    let elsewhere = [resource("list", "apps/deployments@yard"), resource("get", "nodes:n1"), ALL];
    expect(&policy, "v", &[read, log], &[exec, secrets, scale, bind]);
    expect(&policy, "e", &[read, log, exec, secrets, scale], &[bind, resource("update", "resourcequotas@shop:q")]);
    expect(&policy, "a", &[read, log, exec, secrets, scale, bind], &[resource("delete", "namespaces@shop:shop")]);
    for who in ["v", "e", "a"] {
        expect(&policy, who, &[], &elsewhere);
    }
}

#[test]
fn a_role_is_made_of_those_that_its_selectors_select_however_far() {
    let mut part = role("", "monitor", &[rule(&["get"], &["g"], &["monitors"], &[])]);
    part["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let ring = |name: &str, of: &str| {
        let mut ring = role("", name, &[rule(&["get"], &["g"], &[name], &[])]);
        ring["metadata"]["labels"] = json!({"ring": name});
        ring["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"ring": of}}]});
        ring
    };
    let world = World {
        cluster_roles: vec![part, ring("a", "b"), ring("b", "a")],
        cluster_role_bindings: vec![
            binding("", "ClusterRole:admin", &["User:admin"]),
            binding("", "ClusterRole:a", &["User:ring"]),
        ],
        ..World::default()
    };
    expect(&world.policy(), "admin", &[resource("get", "g/monitors@x")], &[resource("delete", "g/monitors@x")]);
    // What a role that is made of others says itself does not count.
    expect(&world.policy(), "ring", &[], &[resource("get", "g/a"), resource("get", "g/b")]);
}

#[test]
fn the_built_in_roles_are_valid_and_show_what_they_are_made_of() {
    let roles = built_in::cluster_roles();
    let edit = roles.iter().find(|role| role["metadata"]["name"] == "edit").unwrap();
    assert!(edit["rules"].as_array().unwrap().len() > 15, "{edit}");
    let served = |group: &str, held: &str| {
        let (plural, part) = held.split_once('/').map_or((held, None), |(plural, part)| (plural, Some(part)));
        let found = crate::resource::all().find(|row| row.group == group && row.plural == plural);
        found.is_some_and(|row| part.is_none_or(|part| row.subresource(part).is_some()))
    };
    for (resource, objects) in [
        (&crate::resource::CLUSTER_ROLES, roles),
        (&crate::resource::CLUSTER_ROLE_BINDINGS, built_in::cluster_role_bindings()),
    ] {
        for object in objects {
            let problems = crate::validate::create(resource, object.as_object().unwrap());
            assert_eq!(problems, [], "{object}");
            for rule in rule::rules_of(&object).iter().filter(|rule| !rule.has_group("metrics.k8s.io")) {
                let plain = rule.resources.iter().filter(|held| *held != "*" && !rule.groups.is_empty());
                for held in plain {
                    assert!(served(&rule.groups[0], held), "{held} of {:?} is not served", rule.groups);
                }
            }
        }
    }
}

#[test]
fn a_refusal_reads_as_a_real_servers_does() {
    let alice = user("alice");
    let status = resource("list", "pods@default").refusal(&alice).to_value();
    let wanted = "pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!(status["message"], wanted);
    assert_eq!(status["details"], json!({"kind": "pods"}));
    assert_eq!((&status["reason"], &status["code"]), (&json!("Forbidden"), &json!(403)));
    let status = resource("create", "apps/deployments.scale@a:web").refusal(&alice).to_value();
    let wanted = "deployments.apps \"web\" is forbidden: User \"alice\" cannot create resource \"deployments/scale\" in API \
                  group \"apps\" in the namespace \"a\"";
    assert_eq!(status["message"], wanted);
    assert_eq!(status["details"], json!({"name": "web", "group": "apps", "kind": "deployments"}));
    let status = resource("get", "nodes@:n1").refusal(&alice);
    assert!(status.message.ends_with("in API group \"\" at the cluster scope"), "{status}");
    assert_eq!(
        path("get", "/metrics").refusal(&alice).message,
        "forbidden: User \"alice\" cannot get path \"/metrics\""
    );
}

#[test]
fn nobody_covers_more_than_they_hold() {
    let rules = |values: &[Value]| values.iter().map(Rule::of).collect::<Vec<_>>();
    let covers = |held: &[Value], wanted: &[Value]| cover::missing(&rules(held), &rules(wanted)).is_empty();
    let pods = |verbs: &[&str], names: &[&str]| rule(verbs, &[""], &["pods"], names);
    assert!(covers(&[pods(&["get"], &[]), pods(&["list"], &[])], &[pods(&["get", "list"], &["a"])]));
    assert!(covers(&[rule(&["*"], &["*"], &["*"], &[])], &[rule(&["*"], &["a", "*"], &["x/y", "*"], &[])]));
    assert!(covers(&[rule(&["get"], &[""], &["*/log"], &[])], &[rule(&["get"], &[""], &["pods/log"], &[])]));
    assert!(covers(&[urls(&["get"], &["/a/*"])], &[urls(&["get"], &["/a/b", "/a/b/*"])]));
    assert!(covers(&[], &[]) && covers(&[], &[json!({})]));
    for (held, wanted) in [
        (pods(&["get"], &["a"]), pods(&["get"], &[])),
        (pods(&["get"], &["a"]), pods(&["get"], &["a", "b"])),
        (pods(&["get", "list", "watch"], &[]), pods(&["*"], &[])),
        (rule(&["get"], &[""], &["pods"], &[]), rule(&["get"], &[""], &["pods/log"], &[])),
        (rule(&["get"], &[""], &["*/log"], &[]), rule(&["get"], &[""], &["*"], &[])),
        (urls(&["get"], &["/a/*"]), urls(&["get"], &["/a"])),
        (urls(&["get"], &["/a/b"]), urls(&["get"], &["/a/*"])),
    ] {
        assert!(!covers(std::slice::from_ref(&held), std::slice::from_ref(&wanted)), "{held} covers {wanted}");
    }
    let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let huge = json!({"verbs": many, "apiGroups": many, "resources": many});
    assert!(!covers(&[rule(&["*"], &["*"], &["*"], &[])], &[huge]), "what cannot be looked at is not held");
}

fn texts(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(proptest::sample::select(of), 0..3)
        .prop_map(|texts| texts.into_iter().map(str::to_owned).collect())
}

const VERBS: &[&str] = &["get", "list", "*"];
const GROUPS: &[&str] = &["", "g", "*"];
const RESOURCES: &[&str] = &["r", "s", "r/x", "*/x", "*"];
const NAMES: &[&str] = &["a", "b"];
const URLS: &[&str] = &["/u", "/u/*", "/u/v", "*"];

fn any_rule() -> impl Strategy<Value = Rule> {
    (texts(VERBS), texts(GROUPS), texts(RESOURCES), texts(NAMES), texts(URLS))
        .prop_map(|(verbs, groups, resources, names, urls)| Rule { verbs, groups, resources, names, urls })
}

/// Every action that the words of the rules can tell apart.
fn actions() -> Vec<Action<'static>> {
    let mut all = Vec::new();
    for verb in ["get", "list", "other"] {
        all.extend(["/u", "/u/v", "/u/v/w", "/w"].map(|url| path(verb, url)));
        for (group, resource, subresource) in
            [("", "r", ""), ("g", "r", "x"), ("g", "s", "x"), ("h", "s", ""), ("h", "t", "x")]
        {
            for (namespace, name) in [("", ""), ("n", "a"), ("n", "c"), ("m", "b")] {
                all.push(Action::Resource { verb, group, resource, subresource, namespace, name });
            }
        }
    }
    all
}

proptest! {
    #[test]
    fn what_is_covered_allows_nothing_that_is_not_held(
        held in proptest::collection::vec(any_rule(), 0..4),
        wanted in proptest::collection::vec(any_rule(), 0..3),
    ) {
        let missing = cover::missing(&held, &wanted);
        for rule in wanted.iter().filter(|rule| !missing.contains(rule)) {
            for action in actions().iter().filter(|action| rule.allows(action)) {
                prop_assert!(held.iter().any(|own| own.allows(action)), "{:?} by {:?}", action, rule);
            }
        }
        prop_assert!(cover::missing(&held, &held).is_empty(), "what is held is covered by itself");
    }

    #[test]
    fn a_binding_more_never_takes_a_permission_away(
        rules in proptest::collection::vec(any_rule(), 1..4),
        bound in proptest::collection::vec((0usize..4, 0usize..3, 0usize..3), 0..6),
        more in (0usize..4, 0usize..3, 0usize..3),
    ) {
        let mut world = World::default();
        for (n, rule) in rules.iter().enumerate() {
            world.cluster_roles.push(role("", &format!("r{n}"), &[rule.to_value()]));
        }
        let bind = |world: &mut World, n: usize, (role, subject, place): (usize, usize, usize)| {
            let subject = ["User:u", "Group:v", "ServiceAccount:n/w"][subject];
            let mut binding = binding(["", "n", "m"][place], &format!("ClusterRole:r{role}"), &[subject]);
            binding["metadata"]["name"] = json!(format!("b{n}"));
            let of = if place == 0 { &mut world.cluster_role_bindings } else { &mut world.role_bindings };
            of.push(binding);
        };
        for (n, one) in bound.iter().enumerate() {
            bind(&mut world, n, *one);
        }
        let before = world.policy();
        bind(&mut world, bound.len(), more);
        let after = world.policy();
        for who in ["u", "u v", "system:serviceaccount:n:w", "nobody"] {
            let who = user(who);
            for action in actions() {
                let could = before.allows(&who, &action).is_some();
                prop_assert!(!could || after.allows(&who, &action).is_some(), "{:?} {:?}", who, action);
            }
            // What is listed is what is decided by.
            for action in actions() {
                let Action::Resource { namespace, .. } = action else { continue };
                let listed = after.rules_of(&who, namespace).iter().any(|rule| rule.allows(&action));
                prop_assert_eq!(listed, after.allows(&who, &action).is_some());
            }
        }
    }
}
