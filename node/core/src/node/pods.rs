//! From state to agent: what the slots that concern this node say, whenever that becomes different.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_crdt_state::{Kind, NameKey, ObjectKey, ObjectState, StoreChange, WriteId};
use skein_gossip::{NodeId, Now};

use super::Node;
use super::start::has_api;
use crate::agent::{self, SlotFacts};
use crate::ephemeral;
use crate::model::account::{self, DEFAULT_ACCOUNT};
use crate::model::pod::{EphemeralContainer, PodSpecError, PodTemplateSpec};
use crate::model::source::{SourceData, SourceKind, SourceName, Sources};
use crate::model::{NAMESPACE_KIND, ROOT_CA_KEY, ROOT_CA_NAME};
use crate::project::given_uid;
use crate::slot::{self, SLOT_KIND, Value, pod_uid};
use crate::status::PodStatus;

/// The most parsed templates that are remembered; then all are forgotten and parsed again as needed.
const MAX_TEMPLATES: usize = 1024;

/// The most ConfigMaps and Secrets that are remembered as they are read; then all are forgotten and read again as needed.
const MAX_SOURCES: usize = 256;

type Template = Result<Arc<PodTemplateSpec>, PodSpecError>;

/// A template, with the account of its pods that it was parsed with.
#[derive(Debug, Clone)]
struct Parsed {
    account: SourceName,
    said: Option<Arc<SourceData>>,
    template: Template,
}

/// What the glue between state and agent remembers.
#[derive(Debug, Default)]
pub(crate) struct PodIndex {
    /// Of which slot a pod is, for all pods of slots that the agent knows.
    slot_of: BTreeMap<String, ObjectKey>,
    /// Parsed templates by object and version.
    templates: BTreeMap<(ObjectKey, u64), Parsed>,
    /// ConfigMaps, Secrets and accounts that pods of this node use, by their version.
    sources: BTreeMap<ObjectKey, (u64, Arc<SourceData>)>,
}

impl Node {
    pub(super) fn refresh_pods(&mut self, now: Now, changes: &BTreeSet<StoreChange>) {
        let mut slots = BTreeSet::new();
        for change in changes {
            match change {
                StoreChange::Object(key) if is_slot(key) => drop(slots.insert(key.clone())),
                StoreChange::Object(key) if key.kind().as_str() == "ReplicaSet.apps" => {
                    slots.extend(self.agent.slots().filter(|slot| slot.is_within(key)).cloned());
                }
                StoreChange::Object(key) if SourceKind::of(key.kind().as_str()).is_some() => {
                    slots.extend(self.users_of(key));
                }
                StoreChange::Report(_, section) => {
                    let uid = section.strip_prefix("pod/");
                    slots.extend(uid.and_then(|uid| self.pods.slot_of.get(uid)).cloned());
                }
                _ => {}
            }
        }
        self.refresh_slots(now, &slots);
    }

    /// Nodes came or went: whether their pods are ready counts only while they are alive.
    pub(super) fn refresh_pods_of(&mut self, now: Now, nodes: &BTreeSet<NodeId>) {
        let concerned = |slot: &ObjectKey| {
            let object = self.store.object(slot);
            let values = object.map(|object| slot::values(object)).unwrap_or_default();
            values.iter().any(|value| value.placement.node.is_some_and(|node| nodes.contains(&node)))
                || self.claims.on(slot).iter().any(|(node, _)| nodes.contains(node))
        };
        let slots = self.agent.slots().filter(|slot| concerned(slot)).cloned().collect();
        self.refresh_slots(now, &slots);
    }

    pub(super) fn refresh_slots(&mut self, now: Now, slots: &BTreeSet<ObjectKey>) {
        if slots.is_empty() || self.left {
            return;
        }
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        for slot in slots {
            match self.facts(slot) {
                Some(facts) => changed.push(facts),
                None if self.agent.knows(slot) && self.may_go(now, slot) => removed.push(slot.clone()),
                None => {}
            }
        }
        if !changed.is_empty() || !removed.is_empty() {
            self.agent.handle(now, agent::Input::Slots { changed, removed });
        }
    }

    /// Tells the agent everything at once, before it starts its work.
    pub(super) fn restore_pods(&mut self, now: Now) {
        let kinds = [SLOT_KIND, "Pod"].map(Kind::new);
        let slots = kinds.iter().flat_map(|kind| self.store.live(kind)).map(|slot| slot.key().clone()).collect();
        self.refresh_slots(now, &slots);
        let pods = self.said_of_pods();
        // What was said in an earlier boot ends when this one's first word of the node itself arrives, so it is said again.
        // The agent corrects what is not so any more.
        for (uid, body, _) in &pods {
            self.say(now, &format!("pod/{uid}"), body);
        }
        let pods = pods.into_iter().map(|(uid, _, status)| (uid, status)).collect();
        let synced = agent::Input::Synced { claims: self.status.claims.clone(), pods };
        self.agent.handle(now, synced);
    }

    /// What this node said of its pods before it was restarted.
    fn said_of_pods(&self) -> Vec<(String, Arc<[u8]>, PodStatus)> {
        let own = self.store.reports().filter(|(node, _, _)| **node == self.me);
        own.filter_map(|(_, section, report)| {
            let status = postcard::from_bytes::<PodStatus>(&report.body).ok()?;
            Some((section.strip_prefix("pod/")?.to_owned(), report.body.clone(), status))
        })
        .collect()
    }

    /// What the state says of a slot, if it is live and concerns this node.
    fn facts(&mut self, slot: &ObjectKey) -> Option<SlotFacts> {
        // An observer runs nothing, whatever leaders write.
        if !self.store.is_live(slot) || self.store.members().is_observer(&self.me) {
            return None;
        }
        let object = self.store.object(slot)?.clone();
        let values = slot::values(&object);
        let names_me = |value: &Value| {
            value.placement.node == Some(self.me) || value.placement.displaces.is_some_and(|d| d.node == self.me)
        };
        if !values.iter().any(names_me) && !self.agent.knows(slot) {
            return None;
        }
        let claims = self.claims.on(slot).to_vec();
        let placed = values.iter().filter_map(|value| Some((value.placement.node?, value.write)));
        let kept = claims.iter().map(|(node, claim)| (*node, claim.kept));
        let pods: Vec<(NodeId, WriteId)> = placed.chain(kept).collect();
        let cluster = self.config.cluster;
        let mut ready = BTreeSet::new();
        for (node, write) in pods {
            let uid = pod_uid(&cluster, slot, &write);
            if self.serves(&node, &uid) {
                ready.insert(write);
            } else {
                self.want_word_of(node);
            }
            self.pods.slot_of.insert(uid, slot.clone());
        }
        let template = self.template_of(&object);
        let mut names = template.as_ref().map(|template| template.sources.clone()).unwrap_or_default();
        let added = if ephemeral::has_any(&object) {
            ephemeral::added(&self.store.json_of(&object))
        } else {
            ephemeral::Added::new()
        };
        names.extend(added.values().flat_map(|list| list.iter()).flat_map(EphemeralContainer::sources));
        let sources = self.sources_of(slot.namespace().unwrap_or_default(), &names);
        Some(SlotFacts { slot: slot.clone(), live: true, values, claims, ready, template, sources, added })
    }

    pub(super) fn is_reported_ready(&self, node: &NodeId, uid: &str) -> bool {
        let report = self.store.report(node, &format!("pod/{uid}"));
        report
            .and_then(|report| postcard::from_bytes::<PodStatus>(&report.body).ok())
            .is_some_and(|status| status.ready)
    }

    /// The slots whose pods here use a ConfigMap or a Secret.
    fn users_of(&self, source: &ObjectKey) -> Vec<ObjectKey> {
        let Some(kind) = SourceKind::of(source.kind().as_str()) else { return Vec::new() };
        let name = SourceName::new(kind, source.name());
        self.agent.slots_that_use(source.namespace().unwrap_or_default(), &name).cloned().collect()
    }

    /// What there is now of the ConfigMaps and Secrets of a namespace.
    fn sources_of(&mut self, namespace: &str, names: &BTreeSet<SourceName>) -> Sources {
        let found = names.iter().filter_map(|name| Some((name.clone(), self.source(namespace, name)?)));
        found.collect()
    }

    fn source(&mut self, namespace: &str, name: &SourceName) -> Option<Arc<SourceData>> {
        let namespace = self.store.current_life(&NameKey::root(&Kind::new(NAMESPACE_KIND), namespace))?;
        let key = self.store.current_life(&namespace.name_of_child(&Kind::new(name.kind.as_str()), &name.name));
        let Some(key) = key else { return self.given(&namespace, name) };
        // What has not arrived as a whole is not there yet; its arrival is a change.
        let object = self.store.object(&key).filter(|object| self.store.is_complete(object))?;
        if let Some((_, data)) = self.pods.sources.get(&key).filter(|(version, _)| *version == object.version()) {
            return Some(data.clone());
        }
        let mut read = SourceData::of(name.kind, &self.store.json_of(object));
        if let Some(account) = &mut read.account {
            account.uid = key.uid(&self.config.cluster).to_string();
        }
        let read = Arc::new(read);
        if self.pods.sources.len() >= MAX_SOURCES {
            self.pods.sources.clear();
        }
        self.pods.sources.insert(key, (object.version(), read.clone()));
        Some(read)
    }

    /// What every namespace is given without its being stored.
    fn given(&self, namespace: &ObjectKey, name: &SourceName) -> Option<Arc<SourceData>> {
        if *name == SourceName::new(SourceKind::Account, DEFAULT_ACCOUNT) {
            let uid = given_uid(namespace, account::ACCOUNT_KIND, DEFAULT_ACCOUNT, &self.config.cluster);
            let account = Some(account::Account { uid, ..account::Account::default() });
            return Some(Arc::new(SourceData { account, ..SourceData::default() }));
        }
        let ca = self.config.ca_certificate.as_bytes();
        let is_root = *name == SourceName::new(SourceKind::ConfigMap, ROOT_CA_NAME) && !ca.is_empty();
        let data = || SourceData { data: [(ROOT_CA_KEY.to_owned(), ca.to_vec())].into(), ..SourceData::default() };
        is_root.then(|| Arc::new(data()))
    }

    /// What a slot's pods are made from: its ReplicaSet's template, or for a pod without an owner the pod itself; with what pods
    /// get by their account.
    fn template_of(&mut self, slot: &Arc<ObjectState>) -> Template {
        let missing = || PodSpecError("its ReplicaSet is not here yet".into());
        let is_owned = slot.key().kind().as_str() == SLOT_KIND;
        let maker = match is_owned {
            true => slot.key().owner().and_then(|owner| self.store.object(&owner)).ok_or_else(missing)?.clone(),
            false => slot.clone(),
        };
        let namespace = slot.key().namespace().unwrap_or_default();
        let name = (maker.key().clone(), maker.version());
        if let Some(parsed) = self.pods.templates.get(&name).cloned()
            && parsed.said == self.said_by(namespace, &parsed.account)
        {
            return parsed.template;
        }
        let json = maker.to_json();
        let json = if is_owned { json.pointer("/spec/template").ok_or_else(missing)?.clone() } else { json };
        let account = SourceName::new(
            SourceKind::Account,
            account::name_of(json.get("spec").unwrap_or(&serde_json::Value::Null)),
        );
        let said = self.said_by(namespace, &account);
        let template = self.admitted(json, maker.key(), &account, said.as_deref());
        // A pod of its own is parsed once for each version of it, and there are many.
        if is_owned {
            if self.pods.templates.len() >= MAX_TEMPLATES {
                self.pods.templates.clear();
            }
            self.pods.templates.insert(name, Parsed { account, said, template: template.clone() });
        }
        template
    }

    /// What an account says, if there is an API for its pods to speak to.
    fn said_by(&mut self, namespace: &str, account: &SourceName) -> Option<Arc<SourceData>> {
        if has_api(&self.config) { self.source(namespace, account) } else { None }
    }

    fn admitted(
        &self,
        mut json: serde_json::Value,
        maker: &ObjectKey,
        account: &SourceName,
        said: Option<&SourceData>,
    ) -> Template {
        let has_api = has_api(&self.config);
        if let Some(spec) = json.get_mut("spec") {
            account::admit(spec, maker, said.and_then(|said| said.account.as_ref()), has_api);
        }
        let mut template = PodTemplateSpec::of(&json)?;
        if has_api {
            // Also where the template names them no more: a pod keeps what it began with.
            let root = SourceName::new(SourceKind::ConfigMap, ROOT_CA_NAME);
            template.sources.extend([account.clone(), root]);
        }
        Ok(Arc::new(template))
    }
}

fn is_slot(key: &ObjectKey) -> bool {
    matches!(key.kind().as_str(), SLOT_KIND | "Pod")
}
