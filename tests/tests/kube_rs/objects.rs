//! What programs on kube-rs do to objects.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use skein_tests::cluster::Cluster;
use skein_tests::failure::{Outcome, ensure};
use skein_tests::manifests;

use super::{Programs, eventually, refused};

fn config_map(name: &str, value: &str) -> ConfigMap {
    let mut map: ConfigMap = serde_json::from_value(manifests::config_map(name, "key", value)).unwrap();
    map.metadata.labels = Some(BTreeMap::from([("of".to_owned(), "objects".to_owned())]));
    map
}

fn value_of<'a>(map: &'a ConfigMap, key: &str) -> &'a str {
    map.data.as_ref().and_then(|data| data.get(key)).map_or("", String::as_str)
}

pub(super) fn created(cluster: &mut Cluster) -> Outcome<String> {
    let programs = Programs::on(cluster);
    programs.run(async || {
        let [first, second, third] = programs.everywhere::<ConfigMap>().await?;
        let map = config_map("made", "one");
        let made = first.create(&PostParams::default(), &map).await?;
        let got: ConfigMap = eventually("the object at h2", async || Ok(second.get("made").await?)).await?;
        ensure(got.uid() == made.uid() && value_of(&got, "key") == "one", || format!("h2 has {got:?}"))?;
        refused(second.create(&PostParams::default(), &map).await, 409)?;
        let chosen = ListParams::default().labels("of=objects");
        let listed = eventually("the object in h3's list", async || {
            let listed = third.list(&chosen).await?;
            ensure(listed.items.len() == 1, || format!("{} are listed", listed.items.len()))?;
            Ok(listed)
        });
        let listed = listed.await?;
        ensure(listed.items[0].uid() == made.uid(), || format!("h3 lists {listed:?}"))?;
        ensure(third.get_opt("missing").await?.is_none(), || "what nobody made is there".to_owned())?;
        Ok(String::new())
    })
}

/// As a program would make it that uses types: nothing in it is `null`.
fn web() -> Deployment {
    let mut web = manifests::web("web", 1);
    web["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "FIRST", "value": "1"}]);
    serde_json::from_value(web).unwrap()
}

pub(super) fn patched(cluster: &mut Cluster) -> Outcome<String> {
    let programs = Programs::on(cluster);
    programs.run(async || {
        let [first, second, third] = programs.everywhere::<Deployment>().await?;
        let made: Deployment = first.create(&PostParams::default(), &web()).await?;
        eventually("the Deployment at h2 and h3", async || {
            second.get("web").await?;
            Ok(third.get("web").await?)
        })
        .await?;
        let none = PatchParams::default();
        let merged = second.patch("web", &none, &Patch::Merge(json!({"spec": {"replicas": 2}}))).await?;
        ensure(merged.spec.unwrap().replicas == Some(2), || "the merge patch did not count".to_owned())?;
        let container = json!({"name": "web", "env": [{"name": "SECOND", "value": "2"}]});
        let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        third.patch("web", &none, &Patch::Strategic(patch)).await?;
        let found = eventually("both patches at h1", async || {
            let found = first.get("web").await?;
            let spec = serde_json::to_value(&found.spec)?;
            let env = &spec["template"]["spec"]["containers"][0]["env"];
            let names: Vec<&str> = env.as_array().into_iter().flatten().filter_map(|e| e["name"].as_str()).collect();
            let all = spec["replicas"] == 2 && names.contains(&"FIRST") && names.contains(&"SECOND");
            ensure(all, || format!("it is {spec}"))?;
            Ok(found)
        })
        .await?;
        let stale = Deployment { metadata: made.metadata.clone(), ..found.clone() };
        let said = refused(second.replace("web", &PostParams::default(), &stale).await, 409)?;
        ensure(said.contains("the object has been modified"), || said.clone())?;
        let mut newer = found;
        newer.metadata.annotations.get_or_insert_default().insert("note".to_owned(), "replaced".to_owned());
        first.replace("web", &PostParams::default(), &newer).await?;
        eventually("the replaced one at h3", async || {
            let found = third.get("web").await?;
            ensure(found.annotations().get("note").is_some_and(|note| note == "replaced"), || format!("{found:?}"))
        })
        .await?;
        Ok(String::new())
    })
}

pub(super) fn applied(cluster: &mut Cluster) -> Outcome<String> {
    let programs = Programs::on(cluster);
    let map = |value: &str, more: Option<&str>| -> Value {
        let mut map = manifests::config_map("applied", "key", value);
        if let Some(more) = more {
            map["data"]["more"] = json!(more);
        }
        map
    };
    programs.run(async || {
        let [first, second, third] = programs.everywhere::<ConfigMap>().await?;
        let (one, other) = (PatchParams::apply("one"), PatchParams::apply("other"));
        let _: ConfigMap = first.patch("applied", &one, &Patch::Apply(map("1", Some("m")))).await?;
        eventually("it at h2", async || Ok(second.get("applied").await?)).await?;
        let said = refused(second.patch("applied", &other, &Patch::Apply(map("2", None))).await, 409)?;
        ensure(said.contains("\"one\"") && said.contains(".data.key"), || said.clone())?;
        second.patch("applied", &other.clone().force(), &Patch::Apply(map("2", None))).await?;
        eventually("the value that was forced, at h3", async || {
            let found = third.get("applied").await?;
            let values = (value_of(&found, "key"), value_of(&found, "more"));
            ensure(values == ("2", "m"), || format!("{found:?}"))?;
            let owners: Vec<_> = found.managed_fields().iter().filter_map(|entry| entry.manager.as_deref()).collect();
            ensure(owners.contains(&"one") && owners.contains(&"other"), || format!("owners are {owners:?}"))
        })
        .await?;
        refused(third.patch("applied", &one, &Patch::Apply(map("3", Some("m")))).await, 409)?;
        // Who applies without a field that is its own takes it away.
        third.patch("applied", &one, &Patch::Apply(map("2", None))).await?;
        eventually("the end of the field that nobody applies, at h1", async || {
            let found = first.get("applied").await?;
            ensure(value_of(&found, "more").is_empty(), || format!("{found:?}"))
        })
        .await?;
        Ok(said)
    })
}

pub(super) fn deleted(cluster: &mut Cluster) -> Outcome<String> {
    let programs = Programs::on(cluster);
    programs.run(async || {
        let (first, second) = (programs.api::<ConfigMap>(1).await?, programs.api::<ConfigMap>(2).await?);
        let made = first.create(&PostParams::default(), &config_map("doomed", "one")).await?;
        eventually("it at h2", async || Ok(second.get("doomed").await?)).await?;
        let only = |uid: &str, version: Option<&str>| {
            let preconditions =
                Preconditions { uid: Some(uid.to_owned()), resource_version: version.map(str::to_owned) };
            DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
        };
        let uid = made.uid().unwrap();
        refused(second.delete("doomed", &only("00000000-0000-0000-0000-000000000000", None)).await, 409)?;
        refused(second.delete("doomed", &only(&uid, Some("1"))).await, 409)?;
        second.delete("doomed", &only(&uid, None)).await?;
        eventually("its end at h1", async || {
            ensure(first.get_opt("doomed").await?.is_none(), || "it is there".to_owned())
        })
        .await?;
        let chosen = ListParams::default().labels("of=objects");
        second.delete_collection(&DeleteParams::default(), &chosen).await?;
        eventually("the end of all with that label at h1", async || {
            let left = first.list(&chosen).await?.items.len();
            ensure(left == 0, || format!("{left} are left"))
        })
        .await?;
        ensure(first.get_opt("applied").await?.is_some(), || "what has no such label went, too".to_owned())?;
        Ok(String::new())
    })
}
