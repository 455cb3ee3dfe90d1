//! Watches: what is there, what comes, where a client resumes, and when it has to list again.

use serde_json::{Value, json};

use crate::client::{Lines, World};
use crate::fake::reference;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

async fn watch(world: &World, query: &str) -> Lines {
    Lines::new(world.request("GET", &format!("{MAPS}?watch=true{query}")).open().await)
}

async fn listed(world: &World) -> String {
    let list = world.request("GET", MAPS).send().await.json();
    list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

fn put(world: &World, name: &str, app: &str) {
    world.fake.put("ConfigMap", "default", name, &json!({"metadata": {"labels": {"app": app}}}));
}

async fn next(lines: &mut Lines) -> (String, Value) {
    let event = lines.next().await.expect("the stream ended");
    (event["type"].as_str().unwrap().to_owned(), event["object"].clone())
}

async fn next_names(lines: &mut Lines, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        let (kind, object) = next(lines).await;
        names.push(format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or("-")));
    }
    names
}

/// The hub learns of changes a moment after they are made.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

async fn soon(holds: impl Fn() -> bool) {
    for _ in 0..100 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it does not come to hold");
}

#[tokio::test]
async fn a_watch_from_a_list_sees_what_came_after_it_and_goes_on() {
    let world = World::new().await;
    put(&world, "before", "web");
    settle().await;
    let version = listed(&world).await;
    put(&world, "after", "web");
    settle().await;
    let mut lines = watch(&world, &format!("&resourceVersion={version}")).await;
    assert_eq!(next_names(&mut lines, 1).await, ["ADDED after"]);
    put(&world, "later", "web");
    let patch = world.request("PATCH", &format!("{MAPS}/before"));
    patch.patch("merge-patch+json", &json!({"data": {"a": "b"}})).send().await;
    world.request("DELETE", &format!("{MAPS}/before")).send().await;
    assert_eq!(next_names(&mut lines, 2).await, ["ADDED later", "MODIFIED before"]);
    let (kind, gone) = next(&mut lines).await;
    assert_eq!((kind.as_str(), &gone["metadata"]["name"]), ("DELETED", &json!("before")));
    // The version of each event is a place to resume at.
    let version = gone["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    put(&world, "last", "web");
    settle().await;
    let mut resumed = watch(&world, &format!("&resourceVersion={version}")).await;
    assert_eq!(next_names(&mut resumed, 1).await, ["ADDED last"]);
}

#[tokio::test]
async fn a_place_of_another_peer_is_expired_within_a_stream() {
    let world = World::new().await;
    put(&world, "x", "web");
    settle().await;
    let version: u64 = listed(&world).await.parse().unwrap();
    for foreign in [version ^ 1, 1, (1 << 62) + 5] {
        let mut lines = watch(&world, &format!("&resourceVersion={foreign}")).await;
        let (kind, status) = next(&mut lines).await;
        assert_eq!((kind.as_str(), &status["code"], &status["reason"]), ("ERROR", &json!(410), &json!("Expired")));
        assert_eq!(lines.next().await, None);
    }
    assert_eq!(world.metrics.watches.get(), 0);
}

#[tokio::test]
async fn a_watch_from_nowhere_begins_with_what_is_there() {
    let world = World::new().await;
    put(&world, "a", "web");
    put(&world, "b", "web");
    settle().await;
    for query in ["", "&resourceVersion=0", "&resourceVersion="] {
        let mut lines = watch(&world, query).await;
        assert_eq!(next_names(&mut lines, 2).await, ["ADDED a", "ADDED b"]);
    }
    let initial = "&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut lines = watch(&world, initial).await;
    assert_eq!(next_names(&mut lines, 2).await, ["ADDED a", "ADDED b"]);
    let (kind, mark) = next(&mut lines).await;
    assert_eq!((kind.as_str(), &mark["kind"], &mark["apiVersion"]), ("BOOKMARK", &json!("ConfigMap"), &json!("v1")));
    assert_eq!(mark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    // The bookmark is a place to resume at, which the versions of old objects may not be.
    let version = mark["metadata"]["resourceVersion"].as_str().unwrap();
    put(&world, "c", "web");
    settle().await;
    let mut resumed = watch(&world, &format!("&resourceVersion={version}")).await;
    assert_eq!(next_names(&mut resumed, 1).await, ["ADDED c"]);
    assert_eq!(next_names(&mut lines, 1).await, ["ADDED c"]);
    let mut later = watch(&world, "&sendInitialEvents=false").await;
    settle().await;
    put(&world, "d", "web");
    assert_eq!(next_names(&mut later, 1).await, ["ADDED d"]);
}

#[tokio::test]
async fn an_object_enters_and_leaves_a_watch_with_its_labels() {
    let world = World::new().await;
    put(&world, "x", "db");
    settle().await;
    let version = listed(&world).await;
    let mut lines = watch(&world, &format!("&resourceVersion={version}&labelSelector=app%3Dweb")).await;
    let path = format!("{MAPS}/x");
    for app in ["web", "web2", "web"] {
        let label = json!({"metadata": {"labels": {"app": app, "n": app}}});
        world.request("PATCH", &path).patch("merge-patch+json", &label).send().await;
    }
    let more = json!({"data": {"a": "b"}});
    world.request("PATCH", &path).patch("merge-patch+json", &more).send().await;
    let names = next_names(&mut lines, 4).await;
    assert_eq!(names, ["ADDED x", "DELETED x", "ADDED x", "MODIFIED x"]);
}

#[tokio::test]
async fn a_table_watch_names_its_columns_once() {
    let world = World::new().await;
    put(&world, "a", "web");
    put(&world, "b", "web");
    settle().await;
    let ask =
        world.request("GET", &format!("{MAPS}?watch=true&fieldSelector=metadata.name%3Db")).header("accept", TABLE);
    let mut lines = Lines::new(ask.open().await);
    let (_, first) = next(&mut lines).await;
    assert_eq!((&first["kind"], &first["rows"][0]["cells"][0]), (&json!("Table"), &json!("b")));
    assert!(first["columnDefinitions"].is_array());
    world.fake.report(&reference("ConfigMap", "default", "b"), &json!({"is": "new"}));
    let (kind, second) = next(&mut lines).await;
    assert_eq!((kind.as_str(), &second["columnDefinitions"]), ("MODIFIED", &Value::Null));
    let row = &second["rows"][0]["object"]["metadata"]["resourceVersion"];
    assert_eq!(row, &second["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over_and_when_the_daemon_stops() {
    let world = World::new().await;
    let started = std::time::Instant::now();
    let mut lines = watch(&world, "&timeoutSeconds=1").await;
    assert_eq!(lines.next().await, None);
    assert!(started.elapsed().as_millis() >= 1000);
    // More time than there is, is no mistake.
    put(&world, "x", "web");
    let mut long = watch(&world, &format!("&timeoutSeconds={}", u64::MAX)).await;
    assert_eq!(next_names(&mut long, 1).await, ["ADDED x"]);
    drop(long);
    soon(|| world.metrics.watches.get() == 0).await;
    let mut open = watch(&world, "").await;
    assert_eq!(next_names(&mut open, 1).await, ["ADDED x"]);
    assert_eq!(world.metrics.watches.get(), 1);
    world.server.shutdown().await;
    assert_eq!(open.next().await, None);
}
