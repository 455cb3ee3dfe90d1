//! The picture: a lane for each node over virtual time. Places along the time are percentages, so that a page can be
//! stretched without its texts growing; heights are pixels.

use std::fmt::Write as _;

use super::markup::{escaped, percent, seconds};
use super::scale::Scale;
use super::{Idle, Lane, Pod, Span, Story, Told, Write};
use crate::run::Violation;

/// The height of the axis with the phases above the lanes, in pixels.
const AXIS: usize = 44;
/// Where the strip that shows who leads is in a lane, and how high it is.
const LEAD: (usize, usize) = (7, 12);
/// Where the first pod is in a lane.
const PODS: usize = 25;
/// The fewest rows for pods in a lane.
const MIN_ROWS: usize = 2;
/// From how many rows of pods on they are drawn thinner.
const MANY_ROWS: usize = 14;
/// The height of the row with the users' marks.
const MARKS: usize = 18;
/// The height of the row that names one-way cuts, where there are any.
const CUTS: usize = 12;
/// From which width on, in percent, a leader's span has its term written on it, and another span its name.
const LABEL: f64 = 3.4;
/// How wide the name of a one-way cut is, in percent.
const CUT_LABEL: f64 = 3.0;

/// How wide a letter is, in percent.
const LETTER: f64 = 0.65;
/// From where on, in percent, it is written to the left of its mark.
const LATE: f64 = 85.0;

/// Where one lane is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The top, in pixels.
    pub(super) top: usize,
    /// The height, in pixels.
    pub(super) height: usize,
    /// The row of each pod.
    rows: Vec<usize>,
    /// How far one row is from the next.
    pitch: usize,
}

/// What is drawn, and where the lanes are.
pub(super) struct Chart<'a> {
    story: &'a Story,
    scale: Scale,
    workloads: Vec<String>,
    violation: Option<&'a Violation>,
    /// Where the lanes are.
    pub(super) places: Vec<Place>,
    /// The height of everything.
    pub(super) height: usize,
}

impl<'a> Chart<'a> {
    /// Finds a place for everything.
    pub(super) fn new(story: &'a Story, workloads: Vec<String>, violation: Option<&'a Violation>) -> Self {
        let mut places: Vec<Place> = Vec::new();
        for (number, lane) in story.lanes.iter().enumerate() {
            let top = places.last().map_or(AXIS, |place: &Place| place.top + place.height);
            let rows = pack(&lane.pods);
            let count = rows.iter().map(|row| row + 1).max().unwrap_or(0).max(MIN_ROWS);
            let pitch = if count > MANY_ROWS { 4 } else { 7 };
            let cuts = if story.cuts.iter().any(|cut| cut.what.0 == number) { CUTS } else { 0 };
            places.push(Place { top, height: PODS + count * pitch + MARKS + cuts, rows, pitch });
        }
        let height = places.last().map_or(AXIS, |place| place.top + place.height) + 1;
        Chart { story, scale: Scale::new(story.mended_us, story.end_us), workloads, violation, places, height }
    }

    /// Draws it.
    pub(super) fn svg(&self) -> String {
        let Scale { mended_us, end_us, mended_at } = self.scale;
        let mut out =
            format!(r#"<svg id="plot" class="plot" height="{}" role="img" aria-label="The run" "#, self.height);
        let _ = write!(out, r#"data-mended-us="{mended_us}" data-end-us="{end_us}" data-mended-at="{mended_at:.3}">"#);
        out.push_str(include_str!("patterns.svg"));
        self.axis(&mut out);
        for (number, lane) in self.story.lanes.iter().enumerate() {
            self.lane(&mut out, number, lane);
        }
        self.partition_edges(&mut out);
        self.failure(&mut out);
        // Where the pointer is; the script moves it.
        out.push_str(r#"<line id="now" y1="20" y2="100%" visibility="hidden"/></svg>"#);
        out
    }

    fn axis(&self, out: &mut String) {
        let formed = crate::run::FORM_US.min(self.scale.mended_us);
        let dense = self.scale.density();
        let settles =
            if dense > 1.5 { format!("settles (time drawn {dense:.0} times denser)") } else { "settles".into() };
        let phases = [
            ("forms", "the cluster forms".to_owned(), 0, formed),
            ("fire", "faults and users are at work".to_owned(), formed, self.scale.mended_us),
            ("settles", settles, self.scale.mended_us, self.scale.end_us),
        ];
        for (class, text, from_us, to_us) in phases.iter().filter(|phase| phase.2 < phase.3) {
            let (x, width) = (percent(self.scale.at(*from_us)), self.scale.width(*from_us, *to_us));
            let _ =
                write!(out, r#"<g class="phase {class}"><rect x="{x}" y="0" width="{}" height="19"/>"#, percent(width));
            let (dx, shown) = (8, if width > text.len() as f64 * LETTER { text.as_str() } else { class });
            let shown = if width > shown.len() as f64 * LETTER { shown } else { "" };
            let _ = write!(out, r#"<text x="{x}" dx="{dx}" y="13">{}</text><title>{text}</title></g>"#, escaped(shown));
        }
        for tick in self.scale.ticks() {
            let (x, second) = (percent(self.scale.at(tick)), tick / 1_000_000);
            let _ = write!(out, r#"<line class="grid" x1="{x}" x2="{x}" y1="{AXIS}" y2="{}"/>"#, self.height);
            if self.is_covered(self.scale.at(tick)) {
                continue;
            }
            let anchor = if tick == 0 { "start" } else { "middle" };
            let _ = write!(out, r#"<text class="tick" x="{x}" y="36" text-anchor="{anchor}">{second} s</text>"#);
        }
    }

    /// Whether the name of the failed check is written here, in percent.
    fn is_covered(&self, at: f64) -> bool {
        self.violation.is_some_and(|violation| {
            let (from, width) = (self.scale.at(violation.at_us), violation.check.len() as f64 * LETTER + 2.0);
            (if from > LATE { from - width..from + 2.0 } else { from - 2.0..from + width }).contains(&at)
        })
    }

    fn lane(&self, out: &mut String, number: usize, lane: &Lane) {
        let (place, name) = (&self.places[number], escaped(&lane.name));
        let (top, height) = (place.top, place.height);
        let _ = write!(out, r#"<g class="lane" data-node="{name}" transform="translate(0 {top})">"#);
        let _ = write!(out, r#"<rect class="ground" x="0" y="0" width="100%" height="{height}"/>"#);
        self.shades(out, number, lane, height);
        self.leaders(out, lane, number);
        for idle in lane.idle.iter().filter(|idle| self.scale.width(idle.from_us, idle.to_us) > LABEL) {
            let (x, y) = (percent(self.scale.at(idle.from_us)), LEAD.0 + 10);
            let _ = write!(out, r#"<text class="idlename" x="{x}" dx="5" y="{y}">{}</text>"#, word(&idle.what).1);
        }
        for (pod, row) in lane.pods.iter().zip(&place.rows) {
            self.pod(out, pod, PODS + row * place.pitch, place.pitch - 2);
        }
        let cuts = if self.story.cuts.iter().any(|cut| cut.what.0 == number) { CUTS } else { 0 };
        self.marks(out, number, height - cuts - MARKS / 2);
        let _ = write!(out, r#"<line class="edge" x1="0" x2="100%" y1="{height}" y2="{height}"/></g>"#);
    }

    /// Partitions, one-way cuts, and when the node does nothing.
    fn shades(&self, out: &mut String, number: usize, lane: &Lane, height: usize) {
        for part in &self.story.partitions {
            let side = part.what.get(number).copied().unwrap_or(0);
            let title = format!("The network had fallen apart: {}", self.sides(&part.what));
            let class = format!("partition side{}", side.min(3));
            self.rect(out, &class, part, (0, height), &format!(r#" data-side="{side}""#), &title);
        }
        let mut free_from = 0.0;
        for cut in self.story.cuts.iter().filter(|cut| cut.what.0 == number) {
            let to = self.name(cut.what.1);
            let title = format!("Nothing passed from {} to {to}", lane.name);
            self.rect(out, "cut", cut, (0, height), &format!(r#" data-to="{}""#, escaped(&to)), &title);
            let at = self.scale.at(cut.from_us);
            if at >= free_from && self.scale.width(cut.from_us, cut.to_us) > CUT_LABEL {
                let (x, y) = (percent(at), height - 4);
                let _ = write!(out, r#"<text class="cutname" x="{x}" dx="4" y="{y}">⇢ {}</text>"#, escaped(&to));
                free_from = at + CUT_LABEL;
            }
        }
        for idle in &lane.idle {
            let title = match &idle.what {
                Idle::Paused => "The machine stood still",
                Idle::Down(said) if said.is_empty() => "Its daemon did not run",
                Idle::Down(said) => said,
            };
            self.rect(out, &format!("idle {}", word(&idle.what).0), idle, (0, height), "", title);
        }
    }

    /// A strip in the leader's colour: thick where this node leads, thin where it follows another.
    fn leaders(&self, out: &mut String, lane: &Lane, number: usize) {
        for span in &lane.follows {
            let (leader, term) = (span.what.leader, span.what.term);
            let hue = hue(leader, self.story.lanes.len());
            let quorate = if span.what.quorate { "quorate" } else { "minority" };
            let backed = if span.what.quorate { "backed by more than half" } else { "not backed by more than half" };
            let data = format!(r#" data-term="{term}" style="--h:{hue}""#);
            if leader != number {
                let title = format!("{} follows {} in term {term}, {backed}", lane.name, self.name(leader));
                self.rect(out, &format!("follow {quorate}"), span, (LEAD.0 + 4, 4), &data, &title);
                continue;
            }
            let title = format!("{} leads in term {term}, {backed}", lane.name);
            self.rect(out, &format!("lead {quorate}"), span, LEAD, &data, &title);
            let text = term.to_string();
            if self.scale.width(span.from_us, span.to_us) > LABEL + text.len() as f64 * LETTER {
                let (x, y) = (percent(self.scale.at(span.from_us)), LEAD.0 + 9);
                let _ = write!(out, r#"<text class="term {quorate}" x="{x}" dx="5" y="{y}">term {term}</text>"#);
            }
        }
    }

    fn pod(&self, out: &mut String, span: &Span<Pod>, y: usize, height: usize) {
        let pod = &span.what;
        let group = self.workloads.iter().position(|known| *known == pod.workload).unwrap_or(0) % 6;
        let version = pod.image.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 4;
        let data = format!(r#" rx="1.5" data-slot="{}""#, escaped(&pod.slot));
        let title = format!("{} of {}, {}", pod.name, pod.workload, pod.image);
        self.rect(out, &format!("pod w{group} v{version}"), span, (y, height), &data, &title);
    }

    /// What users asked for and were told, and what else happened here.
    fn marks(&self, out: &mut String, number: usize, y: usize) {
        let shown = |what: &str| !what.contains(" stands still for ") && !what.ends_with(" boots, start 1");
        let moments = self.story.moments.iter().filter(|moment| moment.lane == Some(number) && shown(&moment.what));
        for moment in moments {
            let (x, title) = (percent(self.scale.at(moment.at_us)), escaped(&moment.what));
            let (y1, y2, at) = (y - 6, y + 6, seconds(moment.at_us));
            let _ = write!(out, r#"<line class="moment" x1="{x}" x2="{x}" y1="{y1}" y2="{y2}">"#);
            let _ = write!(out, "<title>{title}\n{at}</title></line>");
        }
        for write in self.story.writes.iter().filter(|write| write.lane == number) {
            self.write(out, write, y);
        }
    }

    fn write(&self, out: &mut String, write: &Write, y: usize) {
        let (class, said) = match write.told {
            Told::Done => ("done", write.answer.as_str()),
            Told::Warned => ("warned", write.answer.as_str()),
            Told::Refused => ("refused", write.answer.as_str()),
            Told::Nothing => ("nothing", "no answer"),
        };
        let x = percent(self.scale.at(write.asked_us));
        let _ = write!(out, r#"<g class="write {class}">"#);
        if write.told != Told::Nothing && self.scale.width(write.asked_us, write.answered_us) > 0.3 {
            let to = percent(self.scale.at(write.answered_us));
            let _ = write!(out, r#"<line class="wait" x1="{x}" x2="{to}" y1="{y}" y2="{y}"/>"#);
        }
        let took = seconds(write.answered_us - write.asked_us);
        let (what, said, at) = (escaped(&write.what), escaped(said), seconds(write.asked_us));
        let _ = write!(out, r##"<use href="#mark-{class}" x="{x}" y="{y}"/><title>{what}"##);
        let _ = write!(out, "\n{said}\nat {at}, after {took}</title></g>");
    }

    fn partition_edges(&self, out: &mut String) {
        for at_us in self.story.partitions.iter().flat_map(|part| [part.from_us, part.to_us]) {
            let x = percent(self.scale.at(at_us));
            let _ = write!(out, r#"<line class="parting" x1="{x}" x2="{x}" y1="{AXIS}" y2="{}"/>"#, self.height);
        }
    }

    /// The check that failed, marked at its time with its text.
    fn failure(&self, out: &mut String) {
        let Some(violation) = self.violation else { return };
        let at = self.scale.at(violation.at_us);
        let (x, late) = (percent(at), at > LATE);
        let (anchor, dx) = if late { ("end", -7) } else { ("start", 7) };
        let (check, what) = (escaped(violation.check), escaped(&violation.what));
        let _ = write!(out, r#"<g class="violation" data-check="{check}"><line x1="{x}" x2="{x}" y1="20" y2="100%"/>"#);
        let _ = write!(out, r##"<use href="#mark-violation" x="{x}" y="26"/>"##);
        let _ = write!(out, r#"<text x="{x}" dx="{dx}" y="31" text-anchor="{anchor}">{check}</text>"#);
        let _ = write!(out, "<title>{check}: {what}\n{}</title></g>", seconds(violation.at_us));
    }

    /// A rectangle over a span of time.
    fn rect<T>(
        &self,
        out: &mut String,
        class: &str,
        span: &Span<T>,
        (y, height): (usize, usize),
        data: &str,
        title: &str,
    ) {
        let (x, width) = (percent(self.scale.at(span.from_us)), percent(self.scale.width(span.from_us, span.to_us)));
        let _ = write!(out, r#"<rect class="{class}" x="{x}" width="{width}" y="{y}" height="{height}"{data}>"#);
        let (from, to) = (seconds(span.from_us), seconds(span.to_us));
        let took = seconds(span.to_us - span.from_us);
        let _ = write!(out, "<title>{}\n{from} to {to} ({took})</title></rect>", escaped(title));
    }

    fn sides(&self, sides: &[usize]) -> String {
        let most = sides.iter().max().copied().unwrap_or(0);
        let names = |side| {
            let lanes = (0..sides.len()).filter(|lane| sides[*lane] == side);
            lanes.map(|lane| self.name(lane)).collect::<Vec<_>>().join(" ")
        };
        (0..=most).map(names).collect::<Vec<_>>().join(" | ")
    }

    fn name(&self, lane: usize) -> String {
        self.story.lanes.get(lane).map(|lane| lane.name.clone()).unwrap_or_default()
    }
}

/// The class of what a node's doing nothing looks like, and its name.
fn word(idle: &Idle) -> (&'static str, &'static str) {
    match idle {
        Idle::Paused => ("paused", "paused"),
        Idle::Down(said) if said.contains("power") => ("power", "no power"),
        Idle::Down(said) if said.contains("has left") => ("down", "left"),
        Idle::Down(_) => ("down", "down"),
    }
}

/// A colour for each node, around the circle.
pub(super) fn hue(lane: usize, lanes: usize) -> usize {
    (lane * 360 / lanes.max(1) + 40) % 360
}

/// A row for each pod, so that none covers another: the first that is free.
fn pack(pods: &[Span<Pod>]) -> Vec<usize> {
    let mut free_from: Vec<u64> = Vec::new();
    let place = |pod: &Span<Pod>| {
        let row = free_from.iter().position(|free| *free <= pod.from_us).unwrap_or(free_from.len());
        if row == free_from.len() {
            free_from.push(0);
        }
        free_from[row] = pod.to_us;
        row
    };
    pods.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(spans: &[(u64, u64)]) -> Vec<Span<Pod>> {
        let what = Pod { name: String::new(), slot: String::new(), workload: String::new(), image: String::new() };
        spans.iter().map(|(from_us, to_us)| Span { from_us: *from_us, to_us: *to_us, what: what.clone() }).collect()
    }

    #[test]
    fn no_pod_covers_another_and_rows_are_used_again() {
        assert_eq!(pack(&pods(&[(0, 10), (5, 20), (10, 12), (11, 30), (12, 15)])), [0, 1, 0, 2, 0]);
    }

    #[test]
    fn each_node_has_a_colour_of_its_own() {
        for lanes in 1..=12 {
            let hues: std::collections::BTreeSet<usize> = (0..lanes).map(|lane| hue(lane, lanes)).collect();
            assert_eq!(hues.len(), lanes);
        }
    }
}
