//! Others than the administrator, with an unmodified kubectl: what they may do is the same at every peer, also at one that
//! is cut off, and what is taken back is taken back everywhere.

use std::time::Duration;

use serde_json::Value;
use skein_tests::cluster::Cluster;
use skein_tests::failure::{Outcome, ensure};
use skein_tests::lab::Lab;
use skein_tests::steps::Steps;
use skein_tests::wait::eventually;

/// How long news may take between hosts that hear each other.
const SOON: Duration = Duration::from_secs(10);
/// How long hosts that were apart may take to find each other again.
const AFTER_A_HEAL: Duration = Duration::from_secs(30);
const HOSTS: [usize; 3] = [1, 2, 3];

type Step = fn(&mut Cluster) -> Outcome<String>;

const STEPS: [(&str, Step); 5] = [
    ("a viewer reads and does not write, at every peer", viewer),
    ("who they are and what they may do", asks),
    ("a peer that is cut off decides alike", apart),
    ("an account's token opens what its account may", account),
    ("what is revoked opens nothing any more", revoked),
];

#[test]
fn each_may_do_what_was_given_to_them() -> Outcome<()> {
    let mut steps = Steps::of("access");
    let mut cluster = Cluster::form(Lab::build(0, 3)?, 3)?;
    let shared = std::cell::RefCell::new(&mut cluster);
    for (name, step) in STEPS {
        steps.run(name, || step(&mut shared.borrow_mut()), || shared.borrow_mut().evidence());
    }
    steps.end()
}

/// A kubeconfig of a user, from a member's command line, for the peer at `host`.
fn kubeconfig(cluster: &mut Cluster, host: usize, user: &str, flags: &[&str]) -> Outcome<String> {
    let arguments = [&["kubeconfig", "--user", user], flags].concat();
    let text = cluster.daemon(1).start().skein_says(&arguments)?;
    let mut config: Value = serde_yaml_ng::from_str(&text)?;
    let lab = cluster.lab();
    config["clusters"][0]["cluster"]["server"] = format!("https://{}", lab.host(host).api_socket()).into();
    let path = lab.host(host).directory.join(format!("kubeconfig-{user}"));
    std::fs::write(&path, config.to_string())?;
    Ok(path.display().to_string())
}

/// Runs kubectl with a user's kubeconfig, which [`kubeconfig`] wrote; the exit code, and all that it says.
fn kubectl(cluster: &Cluster, host: usize, user: &str, words: &str) -> Outcome<(i32, String)> {
    let path = cluster.lab().host(host).directory.join(format!("kubeconfig-{user}")).display().to_string();
    let arguments: Vec<&str> = ["--kubeconfig", &path].into_iter().chain(words.split_whitespace()).collect();
    let (code, out, error) = cluster.run_kubectl(host, &arguments, "")?;
    Ok((code, format!("{out}{error}")))
}

fn says(cluster: &Cluster, host: usize, user: &str, words: &str, wanted: &str) -> Outcome<()> {
    let (code, said) = kubectl(cluster, host, user, words)?;
    ensure(code == 0 && said.contains(wanted), || format!("h{host}: {user}: kubectl {words}: exit {code}: {said}"))
}

fn is_refused(cluster: &Cluster, host: usize, user: &str, words: &str, wanted: &str) -> Outcome<()> {
    let (code, said) = kubectl(cluster, host, user, words)?;
    ensure(code != 0 && said.contains(wanted), || format!("h{host}: {user}: kubectl {words}: exit {code}: {said}"))
}

fn viewer(cluster: &mut Cluster) -> Outcome<String> {
    cluster.namespace("shop")?;
    cluster.kubectl_says(1, &["-n", "shop", "create", "configmap", "colours", "--from-literal=a=red"], "")?;
    for host in HOSTS {
        kubeconfig(cluster, host, "alice", &["--role", "view", "--namespace", "shop"])?;
        eventually("alice's role", SOON, || says(cluster, host, "alice", "get configmaps", "colours"))?;
        let refused =
            "User \"alice\" cannot create resource \"configmaps\" in API group \"\" in the namespace \"shop\"";
        is_refused(cluster, host, "alice", "create configmap mine", refused)?;
        is_refused(cluster, host, "alice", "delete configmap colours", "configmaps \"colours\" is forbidden")?;
        is_refused(cluster, host, "alice", "get secrets", "cannot list resource \"secrets\"")?;
        is_refused(cluster, host, "alice", "get pods -n default", "in the namespace \"default\"")?;
        is_refused(cluster, host, "alice", "get nodes", "at the cluster scope")?;
        let binding = "create rolebinding more --clusterrole=admin --user=alice";
        is_refused(cluster, host, "alice", binding, "cannot create resource \"rolebindings\"")?;
    }
    Ok("alice sees colours and changes nothing".to_owned())
}

fn asks(cluster: &mut Cluster) -> Outcome<String> {
    kubeconfig(cluster, 2, "bob", &["--role", "edit", "--namespace", "shop", "--certificate", "--group", "devs"])?;
    eventually("bob's role", SOON, || says(cluster, 2, "bob", "auth can-i create deployments", "yes"))?;
    says(cluster, 2, "bob", "create configmap bobs", "created")?;
    for (user, words, wanted) in [
        ("alice", "auth can-i list pods", "yes"),
        ("alice", "auth can-i --list", "deployments.apps"),
        ("bob", "auth can-i --list", "secrets"),
    ] {
        says(cluster, 2, user, words, wanted)?;
    }
    is_refused(cluster, 2, "alice", "auth can-i create pods", "no")?;
    is_refused(cluster, 2, "bob", "auth can-i create rolebindings", "no")?;
    let who = cluster.run_kubectl(2, &["auth", "whoami"], "")?;
    // An older kubectl does not know it.
    if who.0 == 0 {
        says(cluster, 2, "bob", "auth whoami", "devs")?;
        cluster.kubectl_says(2, &["auth", "whoami", "--as", "carol"], "")?;
    }
    let as_alice = cluster.run_kubectl(2, &["delete", "configmap", "colours", "-n", "shop", "--as", "alice"], "")?;
    ensure(as_alice.0 != 0 && as_alice.2.contains("User \"alice\" cannot delete"), || as_alice.2.clone())?;
    Ok("bob edits with a certificate, and the administrator acts as alice".to_owned())
}

fn apart(cluster: &mut Cluster) -> Outcome<String> {
    cluster.lab().partition(&[1, 2], &[3])?;
    std::thread::sleep(Duration::from_secs(3));
    for host in HOSTS {
        says(cluster, host, "alice", "get configmaps", "colours")?;
        is_refused(cluster, host, "alice", "create configmap mine", "is forbidden")?;
    }
    // What is given on one side counts there at once, and on the other one after the heal.
    cluster.kubectl_says(
        1,
        &["-n", "shop", "create", "rolebinding", "more", "--clusterrole=edit", "--user=alice"],
        "",
    )?;
    says(cluster, 1, "alice", "create configmap mine", "created")?;
    is_refused(cluster, 3, "alice", "create configmap theirs", "is forbidden")?;
    cluster.lab().heal_all()?;
    eventually("alice's new role at h3", AFTER_A_HEAL, || {
        says(cluster, 3, "alice", "auth can-i create configmaps", "yes")
    })?;
    says(cluster, 3, "alice", "create configmap theirs", "created")?;
    Ok("each side went by what it knew".to_owned())
}

fn account(cluster: &mut Cluster) -> Outcome<String> {
    cluster.kubectl_says(1, &["-n", "shop", "create", "serviceaccount", "robot"], "")?;
    let bind = ["-n", "shop", "create", "rolebinding", "robots", "--clusterrole=view", "--serviceaccount=shop:robot"];
    cluster.kubectl_says(1, &bind, "")?;
    let request = serde_json::json!({"spec": {"expirationSeconds": 600}});
    let made = cluster.api(1).create("/api/v1/namespaces/shop/serviceaccounts/robot/token", &request)?;
    let token = made["status"]["token"].as_str().unwrap_or_default().to_owned();
    let with_token = |host: usize, words: &[&str]| {
        // The kubeconfig of somebody else's credentials would be taken before the token.
        let server = format!("--server=https://{}", cluster.lab().host(host).api_socket());
        let token = format!("--token={token}");
        let flags = ["--kubeconfig=/dev/null", "--insecure-skip-tls-verify", &server, &token];
        cluster.run_kubectl(host, &[&flags[..], words].concat(), "")
    };
    for host in HOSTS {
        let look = || {
            let (code, said, error) = with_token(host, &["-n", "shop", "get", "configmaps"])?;
            ensure(code == 0 && said.contains("colours"), || format!("h{host}: {said} {error}"))
        };
        eventually("the account's role", SOON, look)?;
        let (code, _, error) = with_token(host, &["-n", "shop", "delete", "configmap", "colours"])?;
        let who = "User \"system:serviceaccount:shop:robot\" cannot delete";
        ensure(code != 0 && error.contains(who), || format!("h{host}: {error}"))?;
    }
    cluster.kubectl_says(1, &["-n", "shop", "delete", "serviceaccount", "robot"], "")?;
    let ended = || {
        let (code, said, error) = with_token(3, &["-n", "shop", "get", "configmaps"])?;
        ensure(code != 0 && error.contains("Unauthorized"), || format!("{said} {error}"))
    };
    eventually("the token's end at h3", SOON, ended)?;
    Ok("it ended with its account".to_owned())
}

fn revoked(cluster: &mut Cluster) -> Outcome<String> {
    cluster.daemon(2).start().skein_says(&["revoke", "alice"])?;
    for host in HOSTS {
        let look = || is_refused(cluster, host, "alice", "get configmaps", "Unauthorized");
        eventually("alice's end", SOON, look)?;
    }
    let log = std::fs::read_to_string(cluster.daemon(3).start().directory().join("audit.log"))?;
    let refused = |line: &&str| line.contains("\"username\":\"alice\"") && line.contains("\"code\":403");
    ensure(log.lines().filter(refused).count() >= 6, || format!("the audit log of h3: {log}"))?;
    ensure(!log.contains("eyJ"), || "there is a token in the audit log".to_owned())?;
    Ok("alice is nobody at all three".to_owned())
}
