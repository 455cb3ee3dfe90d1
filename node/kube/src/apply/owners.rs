//! Who owns which field, and `metadata.managedFields`, which says so.
//!
//! Nearly all of it follows from each field's last write: its change says with which tool it was made. Two things do not
//! follow, and are kept as notes beside the fields (see [`NOTE_PREFIX`]): which fields a tool applied that had that value
//! already, so that a field can have several owners and one that is left out later can be removed; and which fields a tool
//! gave up without anybody writing them. A note holds for what was written up to its own stamp.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Value, json};
use skein_crdt_state::layout::NOTE_PREFIX;
use skein_crdt_state::path::{self, Step};
use skein_crdt_state::{Edit, Hlc, Leaf, LeafPath, Message, Operation, Scalar, WriteId};

use super::field_set::{Element, FieldSet};
use crate::resource::Resource;
use crate::schema::{Field, Merge, Support, Ty, TypeSchema};
use crate::status::{Problem, Status};
use crate::time::rfc3339;

/// The note of what a tool applied.
const APPLIED: &str = "$applied";
/// The note of what a tool gave up.
const RELEASED: &str = "$released";
/// What is added to the name of a tool that applied an object's scale. No tool is called so.
pub(super) const BY_SCALE: &str = "\u{1f}scale";
/// The most entries of `managedFields` that are taken from a client.
const MAX_ENTRIES: usize = 256;
/// The most tools with notes of one sort on an object. Of those that own nothing any more the notes go first; a tool beyond it is
/// refused. Where peers let tools in apart there may be more, until no more are let in.
pub const MAX_APPLIERS: usize = 64;
/// The longest name of a tool, in characters, as in Kubernetes.
pub(super) const MAX_MANAGER_CHARS: usize = 128;

/// A stored object's fields with their authors.
#[derive(Debug, Clone, Default)]
pub struct Authored {
    /// The fields, and the notes beside them.
    pub leaves: BTreeMap<LeafPath, Leaf>,
    /// What the changes say that wrote them.
    pub messages: BTreeMap<WriteId, Arc<str>>,
}

/// What one tool owns in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The tool: Kubernetes' field manager.
    pub manager: String,
    /// How it came to own them.
    pub operation: Operation,
    /// When it last wrote one, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The fields.
    pub fields: FieldSet,
}

/// Who owns which fields of an object, those who applied first.
#[must_use]
pub fn owners(resource: &Resource, authored: &Authored) -> Vec<Owner> {
    let (applied, released) = (notes(authored, APPLIED), notes(authored, RELEASED));
    let mut found: BTreeMap<(Operation, &str), (u64, FieldSet)> = BTreeMap::new();
    for (steps, leaf) in fields_of(resource, authored) {
        let text = authored.messages.get(&leaf.write).map_or("", |text| text);
        let by = Message::parse(text);
        let place = Place::of(resource, &steps, leaf);
        for (manager, claims) in &applied {
            let own_write = by.operation == Operation::Apply && by.manager == manager;
            let mut mine = FieldSet::default();
            for (stamp, set) in claims {
                let holds = place.is_shared || own_write || leaf.stamp <= *stamp;
                place.paths.iter().filter(|path| holds && set.contains(path)).for_each(|path| mine.insert(path));
            }
            if !mine.is_empty() {
                let (time, fields) = found.entry((Operation::Apply, manager.as_str())).or_default();
                let written = claims.iter().map(|(stamp, _)| *stamp).chain(own_write.then_some(leaf.stamp));
                *time = written.map(Hlc::millis).fold(*time, u64::max);
                fields.add(&mine);
            }
        }
        let manager = if by.manager.is_empty() { "unknown" } else { by.manager };
        let gave_up = |path: &[Element]| {
            let mut claims = released.get(manager).into_iter().flatten();
            claims.any(|(stamp, set)| leaf.stamp <= *stamp && set.contains(path))
        };
        let kept: Vec<_> = place.paths.iter().filter(|path| !gave_up(path)).collect();
        if by.operation == Operation::Update && !kept.is_empty() {
            let (time, fields) = found.entry((Operation::Update, manager)).or_default();
            *time = leaf.stamp.millis().max(*time);
            kept.into_iter().for_each(|path| fields.insert(path));
        }
    }
    let mut owners: Vec<Owner> = found
        .into_iter()
        .map(|((operation, manager), (time_ms, fields))| Owner {
            manager: manager.to_owned(),
            operation,
            time_ms,
            fields,
        })
        .collect();
    owners.sort_by(|a, b| (b.operation, a.time_ms, &a.manager).cmp(&(a.operation, b.time_ms, &b.manager)));
    owners
}

/// `metadata.managedFields`.
#[must_use]
pub fn managed_fields(resource: &Resource, owners: &[Owner]) -> Value {
    let entry = |owner: &Owner| {
        let (manager, part) = through(&owner.manager);
        let mut entry = json!({
            "manager": manager,
            "operation": owner.operation.as_str(),
            "apiVersion": resource.api_version(),
            "time": rfc3339(owner.time_ms),
            "fieldsType": "FieldsV1",
            "fieldsV1": owner.fields.to_fields_v1(),
        });
        if !part.is_empty() {
            entry["subresource"] = part.into();
        }
        entry
    };
    owners.iter().map(entry).collect()
}

/// A tool's own name, and through which part of the object it applied; empty: the object itself.
pub(super) fn through(manager: &str) -> (&str, &str) {
    manager.strip_suffix(BY_SCALE).map_or((manager, ""), |name| (name, "scale"))
}

/// What it takes to note that a tool applied these fields. Nothing: what is known says so already.
///
/// # Errors
/// 422 when more tools apply than are noted, see [`MAX_APPLIERS`].
pub fn note_applied(
    resource: &Resource,
    authored: &Authored,
    owners: &[Owner],
    manager: &str,
    fields: &FieldSet,
) -> Result<Vec<Edit>, Status> {
    let notes = notes(authored, APPLIED);
    let known = notes.get(manager).map(Vec::as_slice).unwrap_or_default();
    if known.is_empty() && fields.is_empty() {
        return Ok(Vec::new());
    }
    let owned = |manager: &str| {
        let mut applied = owners.iter().filter(|owner| owner.operation == Operation::Apply);
        applied.find(|owner| owner.manager == manager)
    };
    let lost = owned(manager).map_or_else(|| fields.clone(), |owned| fields.without(&owned.fields));
    // What is not there yet is written together with the note, and an empty object that others filled is not there.
    let is_there = |path: &Vec<Element>| lost.contains(path);
    let has_lost =
        fields_of(resource, authored).any(|(steps, leaf)| Place::of(resource, &steps, leaf).paths.iter().any(is_there));
    if matches!(known, [(_, set)] if set == fields) && !has_lost {
        return Ok(Vec::new());
    }
    let mut edits = vec![note(authored, APPLIED, manager, fields)];
    if known.is_empty() && notes.len() >= MAX_APPLIERS {
        let idle = notes.keys().filter(|manager| owned(manager).is_none());
        edits.extend(idle.map(|manager| note(authored, APPLIED, manager, &FieldSet::default())));
    }
    within_limit(resource, authored, &edits)?;
    Ok(edits)
}

/// Refuses edits that would add to notes of which there are too many.
fn within_limit(resource: &Resource, authored: &Authored, edits: &[Edit]) -> Result<(), Status> {
    for sort in [APPLIED, RELEASED] {
        let is_note = |path: &str| matches!(path::parse(path).as_deref(), Some([Step::Field(root), _]) if root == sort);
        let mut now: BTreeSet<&LeafPath> = authored.leaves.keys().filter(|path| is_note(path)).collect();
        let before = now.len();
        for edit in edits.iter().filter(|edit| is_note(&edit.path)) {
            if edit.value.is_some() {
                now.insert(&edit.path)
            } else {
                now.remove(&edit.path)
            };
        }
        if now.len() > MAX_APPLIERS && now.len() > before {
            let why = format!(
                "must be fields of no more than {MAX_APPLIERS} managers; take those out of it that apply this object no more"
            );
            let problem = Problem::invalid("metadata.managedFields", &now.len().into(), &why);
            return Err(Status::invalid(resource.group, resource.kind_name, "", &[problem]));
        }
    }
    Ok(())
}

/// What it takes to confirm fields that were set apart to different values: whoever names one with the value that stands has
/// decided, though nothing else becomes different.
#[must_use]
pub fn confirmations(resource: &Resource, authored: &Authored, named: &FieldSet) -> Vec<Edit> {
    let disputed =
        authored.leaves.iter().filter(|(path, leaf)| !path.starts_with(NOTE_PREFIX) && !leaf.others.is_empty());
    let is_named = |(path, leaf): &(&LeafPath, &Leaf)| {
        let place = path::parse(path).map(|steps| Place::of(resource, &steps, leaf));
        place.is_some_and(|place| !place.paths.is_empty() && place.paths.iter().all(|path| named.contains(path)))
    };
    disputed.filter(is_named).map(|(path, leaf)| Edit { path: path.clone(), value: Some(leaf.value.clone()) }).collect()
}

/// What it takes to make `managedFields` what a client wants, as far as that can be: a tool may apply more or less and give
/// fields up; who wrote a field last stays who wrote it. Also a warning, if more was asked for.
///
/// # Errors
/// 422 when it cannot be read, or names more tools than are noted, see [`MAX_APPLIERS`].
pub fn rewrite(
    resource: &Resource,
    authored: &Authored,
    wanted: &Value,
) -> Result<(Vec<Edit>, Option<String>), Status> {
    let wanted = read_managed_fields(resource, wanted)?;
    let Some(wanted) = wanted else { return Ok((Vec::new(), None)) };
    let (owners, nothing) = (owners(resource, authored), FieldSet::default());
    let find = |operation: Operation, manager: &str| {
        let of = |owner: &&Owner| owner.operation == operation && owner.manager == manager;
        owners.iter().find(of).map_or(&nothing, |owner| &owner.fields)
    };
    let released = notes(authored, RELEASED);
    let mut edits = Vec::new();
    for owner in &owners {
        let wanted = wanted.get(&(owner.operation, owner.manager.clone())).unwrap_or(&nothing);
        let gone = owner.fields.without(wanted);
        match owner.operation {
            Operation::Apply if *wanted != owner.fields => {
                edits.push(note(authored, APPLIED, &owner.manager, wanted));
            }
            Operation::Update if !gone.is_empty() => {
                // What it gave up before and has not written since.
                let mut all = gone;
                for (_, set) in released.get(&owner.manager).into_iter().flatten() {
                    all.add(&set.without(&owner.fields));
                }
                edits.push(note(authored, RELEASED, &owner.manager, &all));
            }
            _ => {}
        }
    }
    let mut ignored = Vec::new();
    for ((operation, manager), fields) in &wanted {
        let has = find(*operation, manager);
        match operation {
            Operation::Apply if has.is_empty() && !fields.is_empty() => {
                edits.push(note(authored, APPLIED, manager, fields));
            }
            Operation::Update if !fields.without(has).is_empty() => ignored.push(manager.as_str()),
            _ => {}
        }
    }
    let warning = (!ignored.is_empty()).then(|| {
        let ignored = ignored.join(", ");
        format!("metadata.managedFields: nothing was added for {ignored}: who updated a field follows from who wrote it last")
    });
    within_limit(resource, authored, &edits)?;
    Ok((edits, warning))
}

/// Where a leaf is in the object.
struct Place {
    /// The paths that it stands for.
    paths: Vec<Vec<Element>>,
    /// Whether it stands for what several have without one of them having set it: an element of a list or set.
    is_shared: bool,
}

impl Place {
    fn of(resource: &Resource, steps: &[Step], leaf: &Leaf) -> Self {
        let mut set = FieldSet::default();
        set.insert_leaf(steps.to_vec());
        let mut paths = Vec::new();
        set.each(&mut |path| paths.push(path.to_vec()));
        let elements = match (&leaf.value, field_at(resource.schema, steps)) {
            (Scalar::Json(text), Some(field)) if field.merge == Merge::Set => serde_json::from_str::<Value>(text).ok(),
            _ => None,
        };
        if let (Some(Value::Array(elements)), [list]) = (elements, paths.as_slice()) {
            let list = list.clone();
            let element = |value: &Value| [list.as_slice(), &[Element::Value(value.to_string())]].concat();
            return Place { paths: elements.iter().map(element).collect(), is_shared: true };
        }
        Place { paths, is_shared: matches!(steps.last(), Some(Step::Element(_))) }
    }
}

/// The field of the schema that a path leads to; `None` below a map or where there is none.
fn field_at(root: &'static TypeSchema, steps: &[Step]) -> Option<&'static Field> {
    let mut of = Some(root);
    let mut at = None;
    for step in steps {
        let Step::Field(name) = step else { continue };
        let field = of?.field(name)?;
        of = object_in(&field.ty);
        at = Some(field);
    }
    at
}

/// The type of the objects in a field: of itself, or of a list's elements.
pub(super) fn object_in(ty: &Ty) -> Option<&'static TypeSchema> {
    match ty {
        Ty::Object(of) | Ty::List(Ty::Object(of)) => Some(of),
        _ => None,
    }
}

/// The leaves that are fields of the object which clients can set, each with its path.
fn fields_of<'a>(
    resource: &'a Resource,
    authored: &'a Authored,
) -> impl Iterator<Item = (Vec<Step>, &'a Leaf)> + use<'a> {
    let all = authored.leaves.iter().filter(|(path, _)| !path.starts_with(NOTE_PREFIX));
    all.filter_map(|(path, leaf)| {
        let steps = path::parse(path)?;
        let Some(Step::Field(root)) = steps.first() else { return None };
        resource.schema.field(root).filter(|field| field.support != Support::System)?;
        let is_systems = field_at(resource.schema, &steps).is_some_and(|field| field.support == Support::System);
        (!is_systems).then_some((steps, leaf))
    })
}

/// The notes of one sort: for each tool the sets, each with its stamp. Several, if they were written apart.
fn notes(authored: &Authored, sort: &str) -> BTreeMap<String, Vec<(Hlc, FieldSet)>> {
    let mut found: BTreeMap<String, Vec<(Hlc, FieldSet)>> = BTreeMap::new();
    let from = authored
        .leaves
        .range::<str, _>((Bound::Included(sort), Bound::Unbounded))
        .take_while(|(path, _)| path.starts_with(sort));
    for (path, leaf) in from {
        let steps = path::parse(path).unwrap_or_default();
        let [Step::Field(root), Step::Field(manager)] = steps.as_slice() else { continue };
        if root != sort {
            continue;
        }
        let others = leaf.others.iter().map(|other| (&other.value, other.stamp));
        let all = std::iter::once((&leaf.value, leaf.stamp)).chain(others);
        let sets = all.filter_map(|(value, stamp)| Some((stamp, read_note(value)?.0)));
        found.entry(manager.clone()).or_default().extend(sets);
    }
    found
}

fn read_note(value: &Scalar) -> Option<(FieldSet, u64)> {
    let Scalar::Json(text) = value else { return None };
    let value: Value = serde_json::from_str(text).ok()?;
    Some((FieldSet::from_fields_v1(&value["fields"])?, value["written"].as_u64().unwrap_or(0)))
}

/// A note, which differs from the one before also when it says the same: its stamp is what counts then.
fn note(authored: &Authored, sort: &str, manager: &str, fields: &FieldSet) -> Edit {
    let mut at = String::new();
    path::push_field(&mut at, sort);
    path::push_field(&mut at, manager);
    if fields.is_empty() {
        return Edit::unset(&at);
    }
    let before = authored.leaves.get(at.as_str()).and_then(|leaf| read_note(&leaf.value));
    let written = before.map_or(0, |(_, written)| written).wrapping_add(1);
    let value = json!({"fields": fields.to_fields_v1(), "written": written});
    Edit::set(&at, Scalar::Json(value.to_string().into()))
}

type Wanted = BTreeMap<(Operation, String), FieldSet>;

/// What a client's `managedFields` say. `None`: nothing, as when a client does not know of them.
fn read_managed_fields(resource: &Resource, value: &Value) -> Result<Option<Wanted>, Status> {
    let at = "metadata.managedFields";
    let wrong = |field: &str, value: &Value, why: &str| {
        let problem = Problem::invalid(format!("{at}{field}"), value, why);
        Status::invalid(resource.group, resource.kind_name, "", &[problem])
    };
    let Value::Array(entries) = value else {
        return if value.is_null() { Ok(None) } else { Err(wrong("", value, "must be a list")) };
    };
    if entries.is_empty() {
        return Ok(None);
    }
    if entries.len() > MAX_ENTRIES {
        return Err(wrong("", &entries.len().into(), "has too many entries"));
    }
    let mut wanted = Wanted::new();
    // A single empty entry takes all owners away.
    for entry in entries.iter().filter(|entry| entry.as_object().is_none_or(|fields| !fields.is_empty())) {
        let operation = match entry["operation"].as_str() {
            Some("Apply") => Operation::Apply,
            Some("Update") => Operation::Update,
            _ => return Err(wrong("[].operation", &entry["operation"], "must be `Apply` or `Update`")),
        };
        if entry["fieldsType"] != "FieldsV1" {
            return Err(wrong("[].fieldsType", &entry["fieldsType"], "must be `FieldsV1`"));
        }
        let manager = entry["manager"].as_str().unwrap_or_default();
        if manager.chars().count() > MAX_MANAGER_CHARS {
            return Err(wrong("[].manager", &manager.into(), "must be no more than 128 characters"));
        }
        let part = if operation == Operation::Apply && entry["subresource"] == "scale" { BY_SCALE } else { "" };
        let fields = FieldSet::from_fields_v1(&entry["fieldsV1"]);
        let fields = fields.ok_or_else(|| wrong("[].fieldsV1", &entry["fieldsV1"], "is no set of fields"))?;
        wanted.entry((operation, format!("{manager}{part}"))).or_default().add(&fields);
    }
    Ok(Some(wanted))
}
