//! Programs on kube-rs that wait for what others do: a rollout, a store that follows the objects, an election.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, reflector};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use skein_tests::cluster::Cluster;
use skein_tests::failure::{Failure, Outcome, ensure};
use skein_tests::manifests;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{NAMESPACE, Programs, eventually};

const LEASE: &str = "leader";
/// How long a leader counts as one after it was last heard of, in the eyes of the others.
const LEASE_LASTS: Duration = Duration::from_secs(2);
/// How long it takes itself for the leader after it last said so: shorter, so that there are never two.
const LEADS: Duration = Duration::from_millis(1500);
const RENEWED_EVERY: Duration = Duration::from_millis(300);

pub(super) fn awaited(cluster: &mut Cluster) -> Outcome<String> {
    let programs = Programs::on(cluster);
    programs.run(async || {
        let (first, second): (Api<Deployment>, Api<Deployment>) = (programs.api(1).await?, programs.api(2).await?);
        let patch = json!({"spec": {"template": {"metadata": {"annotations": {"edition": "2"}}}}});
        first.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
        let begun = Instant::now();
        eventually("the edit at h2", async || {
            let web = second.get("web").await?;
            let annotations = web.spec.and_then(|spec| spec.template.metadata).and_then(|meta| meta.annotations);
            ensure(annotations.is_some_and(|all| all.contains_key("edition")), || "it is not there".to_owned())
        })
        .await?;
        let web = await_condition(second, "web", conditions::is_deployment_completed()).await?;
        let status = web.and_then(|web| web.status).unwrap_or_default();
        let done = (status.updated_replicas, status.ready_replicas, status.replicas) == (Some(2), Some(2), Some(2));
        ensure(done, || format!("{status:?}"))?;
        Ok(format!("{:.1} s", begun.elapsed().as_secs_f64()))
    })
}

/// A balancer in front of the peers, as a name or an address is that several of them share: whoever connects to it is led
/// to the peer that is open.
struct Door {
    address: SocketAddr,
    open: watch::Sender<SocketAddr>,
}

impl Door {
    async fn to(peer: SocketAddr) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (open, chosen) = watch::channel(peer);
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let peer = *chosen.borrow();
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(peer).await {
                        // A connection that breaks is the client's matter.
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Ok(Self { address, open })
    }
}

pub(super) fn reflected(cluster: &mut Cluster) -> Outcome<String> {
    let programs = Programs::on(cluster);
    let [second, third] = [2, 3].map(|number| cluster.lab().host(number).api_socket());
    let daemon = cluster.daemon(2);
    let outcome = programs.run(async || {
        let door = Door::to(second).await?;
        let mut config = programs.config(2).await?;
        config.cluster_url = format!("https://{}", door.address).parse()?;
        config.tls_server_name = Some("localhost".to_owned());
        let watched: Api<ConfigMap> = Api::namespaced(Client::try_from(config)?, NAMESPACE);
        let maps: Api<ConfigMap> = programs.api(1).await?;
        let make = async |name: &str| -> Outcome<()> {
            let mut map: ConfigMap = serde_json::from_value(manifests::config_map(name, "key", "value"))?;
            map.metadata.labels = Some(BTreeMap::from([("of".to_owned(), "reflector".to_owned())]));
            maps.create(&PostParams::default(), &map).await?;
            Ok(())
        };
        make("before").await?;
        let (store, writer) = reflector::store();
        let stream = watcher(watched, watcher::Config::default().labels("of=reflector")).default_backoff();
        let mut events = Box::pin(reflector::reflector(writer, stream));
        let lists = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&lists);
        let following = tokio::spawn(async move {
            loop {
                // After an error the watcher goes on by itself.
                match events.try_next().await {
                    Ok(Some(Event::Init)) => *counted.lock().unwrap_or_else(PoisonError::into_inner) += 1,
                    Ok(None) => break,
                    Ok(Some(_)) | Err(_) => {}
                }
            }
        });
        let holds = async |names: &[&str]| {
            eventually(&format!("a store with {names:?}"), async || {
                let mut found: Vec<String> = store.state().iter().map(|map| map.name_any()).collect();
                found.sort();
                ensure(found == names, || format!("it holds {found:?}"))
            })
            .await
        };
        holds(&["before"]).await?;
        make("watched").await?;
        holds(&["before", "watched"]).await?;
        daemon.kill9();
        // What happens while nobody is watched is not missed.
        maps.delete("before", &DeleteParams::default()).await?;
        make("between").await?;
        door.open.send(third)?;
        let begun = Instant::now();
        holds(&["between", "watched"]).await?;
        let took = begun.elapsed();
        make("after").await?;
        holds(&["after", "between", "watched"]).await?;
        following.abort();
        let lists = *lists.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(format!("true again {:.1} s after the way was changed, {lists} lists in all", took.as_secs_f64()))
    });
    cluster.start_again(2)?;
    outcome
}

/// When somebody took itself for the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reign {
    who: &'static str,
    from: Instant,
    until: Instant,
}

type Reigns = Arc<Mutex<Vec<Reign>>>;

/// Stands for election and leads while it is elected, as client-go does it: with reads, creations and updates that name the version
/// that was read, and with its own clock alone.
async fn stand(leases: Api<Lease>, who: &'static str, reigns: Reigns) {
    let mut seen: Option<(String, Instant)> = None;
    loop {
        let asked = Instant::now();
        if let Ok(true) = try_to_lead(&leases, who, &mut seen).await {
            let reign = Reign { who, from: Instant::now(), until: asked + LEADS };
            reigns.lock().unwrap_or_else(PoisonError::into_inner).push(reign);
        }
        tokio::time::sleep(RENEWED_EVERY).await;
    }
}

/// Whether it leads from now on. `seen` is the version that was read last, and when it was new.
async fn try_to_lead(leases: &Api<Lease>, who: &str, seen: &mut Option<(String, Instant)>) -> kube::Result<bool> {
    let now = Some(MicroTime(Timestamp::now()));
    let spec = |transitions: i32| LeaseSpec {
        holder_identity: Some(who.to_owned()),
        lease_duration_seconds: i32::try_from(LEASE_LASTS.as_secs()).ok(),
        acquire_time: now.clone(),
        renew_time: now.clone(),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    };
    let Some(mut lease) = leases.get_opt(LEASE).await? else {
        let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
        return leases.create(&PostParams::default(), &Lease { metadata, spec: Some(spec(0)) }).await.map(|_| true);
    };
    let version = lease.resource_version().unwrap_or_default();
    if seen.as_ref().is_none_or(|(known, _)| *known != version) {
        *seen = Some((version, Instant::now()));
    }
    let held = lease.spec.take().unwrap_or_default();
    let mine = held.holder_identity.as_deref() == Some(who);
    if !mine && seen.as_ref().is_some_and(|(_, since)| since.elapsed() < LEASE_LASTS) {
        return Ok(false);
    }
    let transitions = held.lease_transitions.unwrap_or(0);
    lease.spec = Some(if mine { LeaseSpec { renew_time: now.clone(), ..held } } else { spec(transitions + 1) });
    leases.replace(LEASE, &PostParams::default(), &lease).await.map(|_| true)
}

pub(super) fn elected(cluster: &mut Cluster) -> Outcome<String> {
    let programs = Programs::on(cluster);
    programs.run(async || {
        let reigns = Reigns::default();
        let all = || reigns.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let leads = async |who: &str| {
            eventually(&format!("{who} as the leader"), async || {
                let last = all().into_iter().rev().find(|reign| reign.who == who);
                let since = last.filter(|reign| reign.until > Instant::now());
                since.ok_or_else(|| Failure::new("somebody else leads, or nobody"))
            })
            .await
        };
        let first = tokio::spawn(stand(programs.api(1).await?, "first", Arc::clone(&reigns)));
        leads("first").await?;
        let second = tokio::spawn(stand(programs.api(2).await?, "second", Arc::clone(&reigns)));
        tokio::time::sleep(2 * LEASE_LASTS).await;
        ensure(all().iter().all(|reign| reign.who == "first"), || format!("two led: {:?}", all()))?;
        leads("first").await?;
        first.abort();
        let begun = Instant::now();
        leads("second").await?;
        let took = begun.elapsed();
        // One that comes back finds another one in its place.
        let again = tokio::spawn(stand(programs.api(3).await?, "first", Arc::clone(&reigns)));
        tokio::time::sleep(2 * LEASE_LASTS).await;
        leads("second").await?;
        second.abort();
        again.abort();
        let all = all();
        let overlap = |a: &Reign, b: &Reign| a.who != b.who && a.from < b.until && b.from < a.until;
        let both = all.iter().find_map(|a| all.iter().find(|b| overlap(a, b)).map(|b| (a, b)));
        ensure(both.is_none(), || format!("two led at once: {both:?}"))?;
        let lease: Lease = programs.api::<Lease>(1).await?.get(LEASE).await?;
        let spec = lease.spec.unwrap_or_default();
        let end = (spec.holder_identity.as_deref(), spec.lease_transitions);
        ensure(end == (Some("second"), Some(1)), || format!("{spec:?}"))?;
        Ok(format!("the second leads {:.1} s after the first fell silent", took.as_secs_f64()))
    })
}
