//! The page: how the run ended, the picture, what its signs mean, the knobs, and what else happened. Everything is in
//! one file and nothing is fetched.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::chart::{Chart, hue};
use super::markup::{escaped, seconds};
use super::{Lane, Story, Told};
use crate::knobs::Knobs;
use crate::overrides;
use crate::run::{End, Outcome, Violation};

/// How many of the other moments are listed.
const LISTED: usize = 2_000;

/// A run that is over: all that a page shows.
#[derive(Debug)]
pub struct Run<'a> {
    /// What it was like.
    pub knobs: &'a Knobs,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// What was seen of it.
    pub story: &'a Story,
    /// The command that replays it.
    pub replay: &'a str,
}

/// One HTML page that shows a run and needs nothing besides itself.
#[must_use]
pub fn page(run: &Run<'_>) -> String {
    let workloads: BTreeSet<String> =
        run.story.lanes.iter().flat_map(|lane| &lane.pods).map(|pod| pod.what.workload.clone()).collect();
    let workloads: Vec<String> = workloads.into_iter().collect();
    let violation = run.outcome.end.violation();
    let chart = Chart::new(run.story, workloads.clone(), violation);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'; img-src data:\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>netsim, seed {}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n",
        run.knobs.seed,
        include_str!("page.css")
    );
    header(&mut out, run);
    if let Some(violation) = violation {
        callout(&mut out, run, violation);
    }
    picture(&mut out, run, &chart, violation);
    legend(&mut out, &workloads, violation.is_some());
    knobs(&mut out, run.knobs);
    moments(&mut out, run.story);
    let (replay, hash) = (escaped(run.replay), escaped(&run.outcome.hash));
    let _ = write!(
        out,
        "<footer><p>Replay it: <code>{replay}</code></p><p>Trace <code>{hash}</code></p></footer>\n</main>"
    );
    let _ = write!(
        out,
        "\n<div id=\"tip\" hidden></div>\n<script>\n{}</script>\n</body>\n</html>\n",
        include_str!("page.js")
    );
    out
}

fn header(out: &mut String, run: &Run<'_>) {
    let (class, verdict) = match &run.outcome.end {
        End::Clean => ("held", "every promise held"),
        End::Broken(_) => ("failed", "a promise was broken"),
        End::Late(_) => ("failed", "not settled in time"),
        End::Crashed(_) => ("failed", "crashed"),
    };
    let _ = write!(out, "<header><p class=\"eyebrow\">skein · netsim</p><h1>Seed {}", run.knobs.seed);
    let _ = write!(out, " <span class=\"verdict {class}\">{verdict}</span></h1>");
    let nodes = count(run.story.lanes.len(), "node", "nodes");
    let settling = run.outcome.settled_ms as f64 / 1e3;
    let ended = match (&run.outcome.end, run.story.mended_us) {
        (End::Clean, _) => format!(", settled {settling:.1} s after all was mended"),
        (_, Some(_)) => format!(", not settled {settling:.1} s after all was mended"),
        (_, None) => format!(" were planned; a check failed after {}", seconds(run.story.end_us)),
    };
    let busy = run.knobs.busy_ms as f64 / 1e3;
    let _ = write!(out, "<p class=\"lede\">{nodes}, {busy:.1} s of faults and users{ended}.</p>");
    facts(out, run.story);
    out.push_str("</header>\n");
}

fn facts(out: &mut String, story: &Story) {
    let told = |told| story.writes.iter().filter(|write| write.told == told).count();
    let led = story.lanes.iter().enumerate().flat_map(|(number, lane)| leads(lane, number));
    let reigns = led.collect::<BTreeSet<(u64, usize)>>().len();
    let idle = story.lanes.iter().map(|lane| lane.idle.len()).sum();
    let facts = [
        (story.writes.len(), "write", "writes"),
        (told(Told::Done), "done", "done"),
        (told(Told::Warned), "done with a warning", "done with a warning"),
        (told(Told::Refused), "refused", "refused"),
        (told(Told::Nothing), "without an answer", "without an answer"),
        (story.partitions.len(), "partition", "partitions"),
        (story.cuts.len(), "one-way cut", "one-way cuts"),
        (idle, "crash or pause", "crashes and pauses"),
        (reigns, "reign", "reigns"),
    ];
    out.push_str("<dl class=\"facts\">");
    for (number, one, many) in facts {
        let (class, what) = (if number == 0 { " class=\"none\"" } else { "" }, if number == 1 { one } else { many });
        let _ = write!(out, "<div{class}><dd>{number}</dd><dt>{what}</dt></div>");
    }
    out.push_str("</dl>");
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The terms in which a node led.
fn leads(lane: &Lane, number: usize) -> impl Iterator<Item = (u64, usize)> + '_ {
    lane.follows.iter().filter(move |span| span.what.leader == number).map(move |span| (span.what.term, number))
}

fn callout(out: &mut String, run: &Run<'_>, violation: &Violation) {
    let (word, check) = (run.outcome.end.word(), escaped(violation.check));
    let (at, what) = (seconds(violation.at_us), escaped(&violation.what));
    let _ = write!(out, "<section class=\"callout\" id=\"failure\"><h2>{check} <small>{word} at {at}</small></h2>");
    let _ = writeln!(out, "<p>{what}</p></section>");
}

fn picture(out: &mut String, run: &Run<'_>, chart: &Chart<'_>, violation: Option<&Violation>) {
    out.push_str("<section class=\"chart\"><div class=\"tools\"><span>Stretch</span>");
    for zoom in [1, 2, 4, 8] {
        let _ = write!(out, "<button type=\"button\" data-zoom=\"{zoom}\">{zoom}×</button>");
    }
    out.push_str("</div><div class=\"frame\"><div class=\"names\">");
    for (number, (lane, place)) in run.story.lanes.iter().zip(&chart.places).enumerate() {
        let led: u64 = lane
            .follows
            .iter()
            .filter(|span| span.what.leader == number && span.what.quorate)
            .map(|span| span.to_us - span.from_us)
            .sum();
        let led = if led > 0 { format!("led {:.1} s", led as f64 / 1e6) } else { String::new() };
        let named = violation.is_some_and(|violation| names(&violation.what, &lane.name));
        let (class, name, h) =
            (if named { "name named" } else { "name" }, escaped(&lane.name), hue(number, run.story.lanes.len()));
        let (top, height) = (place.top, place.height);
        let _ = write!(out, "<div class=\"{class}\" style=\"top:{top}px;height:{height}px\">");
        let _ = write!(out, "<b><i style=\"--h:{h}\"></i>{name}</b><small>{led}</small></div>");
    }
    let _ = writeln!(out, "</div><div class=\"scroll\" id=\"scroll\">{}</div></div></section>", chart.svg());
}

/// Whether a text speaks of a node.
fn names(text: &str, node: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == node)
}

fn legend(out: &mut String, workloads: &[String], failed: bool) {
    let mark = |name: &str| format!("<g class=\"write {name}\"><use href=\"#mark-{name}\" x=\"13\" y=\"7\"/></g>");
    let bar = |class: &str, y: u8, height: u8| {
        format!("<rect class=\"{class}\" style=\"--h:40\" x=\"0\" y=\"{y}\" width=\"26\" height=\"{height}\"/>")
    };
    let mut signs = vec![
        (bar("lead quorate", 1, 12), "leads, backed by more than half"),
        (bar("lead minority", 1, 12), "leads without that"),
        (bar("follow quorate", 5, 4), "follows the node of this colour"),
        (
            format!("{}{}", bar("partition side0", 0, 7), bar("partition side1", 7, 7)),
            "partition: sides that hear nothing of each other",
        ),
        (bar("cut", 0, 14), "one-way cut: what it says is not heard at ⇢"),
        (bar("idle down", 0, 14), "the daemon does not run"),
        (bar("idle power", 0, 14), "no power: containers ended, too"),
        (bar("idle paused", 0, 14), "the machine stands still"),
        (mark("done"), "a user's write, done"),
        (mark("warned"), "done, with a warning"),
        (mark("refused"), "refused"),
        (mark("nothing"), "without an answer"),
        ("<line class=\"moment\" x1=\"13\" x2=\"13\" y1=\"1\" y2=\"13\"/>".to_owned(), "something else"),
    ];
    if failed {
        let sign = "<g class=\"violation\"><use href=\"#mark-violation\" x=\"13\" y=\"7\"/></g>";
        signs.push((sign.to_owned(), "the check that failed"));
    }
    out.push_str("<section class=\"legend\"><h2>What is shown</h2><ul>");
    for (sign, text) in signs {
        let _ = write!(out, "<li><svg width=\"26\" height=\"14\" aria-hidden=\"true\">{sign}</svg>{text}</li>");
    }
    for (number, workload) in workloads.iter().enumerate() {
        let sign = bar(&format!("pod w{} v0", number % 6), 4, 6);
        let name = escaped(workload);
        let _ = write!(out, "<li><svg width=\"26\" height=\"14\" aria-hidden=\"true\">{sign}</svg>pods of {name}</li>");
    }
    out.push_str(
        "</ul><p class=\"note\">A bar is a container; another shade of its colour is another image.</p></section>\n",
    );
}

fn knobs(out: &mut String, knobs: &Knobs) {
    let faults = overrides::faults_on(knobs, &overrides::fault_kinds());
    out.push_str("<details><summary>Knobs</summary><ul class=\"knobs\">");
    for (name, value) in overrides::values(knobs) {
        let class = if faults.contains(&name) { " class=\"on\"" } else { "" };
        let _ = write!(out, "<li{class}>{} <b>{}</b></li>", escaped(&name), escaped(&value));
    }
    out.push_str("</ul><p class=\"note\">Marked: the faults that are on.</p></details>\n");
}

fn moments(out: &mut String, story: &Story) {
    let all = story.moments.len();
    let _ = write!(out, "<details><summary>What else happened ({all})</summary><table>");
    for moment in story.moments.iter().take(LISTED) {
        let (at, what) = (moment.at_us as f64 / 1e6, escaped(&moment.what));
        let _ = write!(out, "<tr><td>{at:.3}</td><td>{what}</td></tr>");
    }
    let more = all.saturating_sub(LISTED);
    let more = if more > 0 { format!("<p class=\"note\">and {more} more</p>") } else { String::new() };
    let _ = writeln!(out, "</table>{more}</details>");
}

#[cfg(test)]
mod tests {
    use super::super::{Follows, Recorder, Span};
    use super::*;
    use crate::run::run_watched;

    fn told(knobs: &Knobs) -> (Outcome, Story, String) {
        let mut recorder = Recorder::default();
        let outcome = run_watched(knobs, &mut recorder);
        let story = recorder.finish();
        let page = page(&Run { knobs, outcome: &outcome, story: &story, replay: "netsim <it>" });
        (outcome, story, page)
    }

    #[test]
    fn every_node_has_a_lane_and_somebody_leads() {
        let (outcome, story, page) = told(&Knobs { busy_ms: 2_000, ..Knobs::calm(5, 4) });
        assert_eq!(page.matches("class=\"lane\"").count(), 4);
        let leads = story.lanes.iter().enumerate().flat_map(|(number, lane)| leads(lane, number)).count();
        assert!(leads >= 1 && page.matches("<rect class=\"lead quorate\" x").count() >= 1);
        assert!(story.mended_us.is_some() && story.partitions.is_empty() && !page.contains("id=\"failure\""));
        assert!(!story.writes.is_empty() && page.matches("class=\"write ").count() > story.writes.len());
        assert!(story.lanes.iter().any(|lane| !lane.pods.is_empty()), "nothing ran");
        assert!(page.contains(&outcome.hash) && page.contains("netsim &lt;it&gt;"));
    }

    #[test]
    fn what_holds_until_the_end_is_shown_until_the_end() {
        let (_, story, _) = told(&Knobs { busy_ms: 1_000, ..Knobs::calm(6, 3) });
        for (number, lane) in story.lanes.iter().enumerate() {
            let last: &Span<Follows> = lane.follows.last().expect("it follows somebody");
            assert_eq!(last.to_us, story.end_us, "lane {number}");
            assert!(lane.follows.windows(2).all(|pair| pair[0].to_us <= pair[1].from_us));
        }
    }

    #[test]
    fn a_failure_is_marked_with_its_text_and_cannot_break_out_of_it() {
        let knobs = Knobs { busy_ms: 1_000, ..Knobs::calm(6, 3) };
        let (mut outcome, story, _) = told(&knobs);
        let what = "h1 <b>and</b> h2 \"differ\"".to_owned();
        outcome.end = End::Broken(Violation { check: "agreement", what, at_us: 3_000_000 });
        let page = page(&Run { knobs: &knobs, outcome: &outcome, story: &story, replay: "" });
        assert!(page.contains("h1 &lt;b&gt;and&lt;/b&gt; h2 &quot;differ&quot;"));
        assert_eq!(page.matches("<g class=\"violation\" data-check=\"agreement\">").count(), 1);
        assert_eq!(page.matches("class=\"name named\"").count(), 2);
    }

    #[test]
    fn a_run_that_crashed_at_once_has_a_page() {
        let (outcome, story, page) = told(&Knobs { panic_at_ms: 1, ..Knobs::calm(6, 3) });
        assert!(matches!(outcome.end, End::Crashed(_)) && story.mended_us.is_none());
        assert!(page.contains("crashed") && page.contains("panic_at_ms asks for it"));
    }

    #[test]
    fn nothing_is_fetched() {
        let (_, _, page) = told(&Knobs { busy_ms: 500, ..Knobs::calm(6, 2) });
        for word in ["http://", "https://", "@import", "url(//", "src=\""] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
