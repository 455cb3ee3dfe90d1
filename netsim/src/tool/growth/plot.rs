//! The picture of how costs grow: four charts beside each other, both axes logarithmic, so that what grows with the cluster is a
//! slope and what does not is flat.

use std::fmt::Write as _;

use super::Cost;

const WIDTH: f64 = 260.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 46.0;
const GAP: f64 = 84.0;

/// A line in a chart: its name, its colour, and its value for a size.
type Series = (&'static str, &'static str, fn(&Cost) -> f64);

/// The four charts: their titles, units and lines.
const CHARTS: [(&str, &str, &[Series]); 4] = [
    ("frames a second", "", &[("idle", "#3b6ea5", |cost| cost.frames)]),
    (
        "bytes a second",
        " B",
        &[("idle", "#3b6ea5", |cost| cost.bytes), ("an edit a second", "#c8553d", |cost| cost.edited_bytes)],
    ),
    (
        "share of a core",
        " %",
        &[
            ("idle", "#3b6ea5", |cost| cost.core_percent),
            ("an edit a second", "#c8553d", |cost| cost.edited_core_percent),
        ],
    ),
    ("memory", " MB", &[("", "#3b6ea5", |cost| cost.memory_mb)]),
];

/// The picture.
pub(super) fn svg(costs: &[Cost]) -> String {
    let (width, height) = (LEFT + CHARTS.len() as f64 * (WIDTH + GAP), TOP + HEIGHT + 56.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#333\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (number, (title, unit, series)) in CHARTS.iter().enumerate() {
        let left = LEFT + number as f64 * (WIDTH + GAP);
        let _ = writeln!(svg, "<g transform=\"translate({left} {TOP})\">");
        chart(&mut svg, costs, title, unit, series);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn chart(svg: &mut String, costs: &[Cost], title: &str, unit: &str, series: &[Series]) {
    let values = || series.iter().flat_map(|(_, _, of)| costs.iter().map(of)).filter(|value| *value > 0.0);
    let (low, high) = decades(values());
    let (few, many) = (costs.first().map_or(1, |cost| cost.nodes), costs.last().map_or(10, |cost| cost.nodes));
    let x = |nodes: usize| WIDTH * place(nodes as f64, few as f64, many as f64);
    let y = |value: f64| HEIGHT * (1.0 - place(value.max(low), low, high));
    let _ = writeln!(svg, "<text y=\"-26\" font-size=\"14\" font-weight=\"600\">{title}, each node</text>");
    let mut tick = low;
    while tick <= high * 1.001 {
        let at = y(tick);
        let _ = writeln!(svg, "<line x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e3e3e3\"/>");
        let label = number(tick);
        let _ = writeln!(svg, "<text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{label}{unit}</text>", at + 4.0);
        tick *= 10.0;
    }
    for cost in costs {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(cost.nodes),
            HEIGHT + 18.0,
            cost.nodes
        );
    }
    let _ =
        writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">nodes</text>", WIDTH / 2.0, HEIGHT + 38.0);
    for (line, (name, colour, of)) in series.iter().enumerate() {
        let points: Vec<String> = costs.iter().map(|cost| format!("{:.1},{:.1}", x(cost.nodes), y(of(cost)))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
            points.join(" ")
        );
        for point in &points {
            let (cx, cy) = point.split_once(',').unwrap_or_default();
            let _ = writeln!(svg, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3.5\" fill=\"{colour}\"/>");
        }
        let at = 120.0 * line as f64;
        let _ = writeln!(svg, "<text x=\"{at}\" y=\"-8\" fill=\"{colour}\">{name}</text>");
    }
}

/// The powers of ten around values, at least one apart.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(0.0, f64::max);
    if high <= 0.0 {
        return (1.0, 10.0);
    }
    let low = 10f64.powf(low.log10().floor());
    (low, 10f64.powf(high.log10().ceil()).max(low * 10.0))
}

/// Where a value is between two others, from 0 to 1, by its logarithm.
fn place(value: f64, low: f64, high: f64) -> f64 {
    if high <= low { 0.5 } else { ((value.ln() - low.ln()) / (high.ln() - low.ln())).clamp(0.0, 1.0) }
}

fn number(value: f64) -> String {
    if value >= 1000.0 {
        format!("{}k", value / 1000.0)
    } else if value >= 1.0 {
        format!("{value:.0}")
    } else {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_with_the_cluster_is_a_slope_and_what_does_not_is_flat() {
        let cost = |nodes: usize| Cost {
            nodes,
            frames: 12.0,
            bytes: 100.0 * nodes as f64,
            edited_bytes: 100.0 * nodes as f64,
            core_percent: 0.1,
            edited_core_percent: 0.2,
            memory_mb: 2.0,
            ..Cost::default()
        };
        let svg = svg(&[cost(10), cost(100), cost(1000)]);
        assert_eq!(svg.matches("<polyline").count(), 6);
        let lines: Vec<&str> = svg.lines().filter(|line| line.starts_with("<polyline")).collect();
        let heights = |line: &str| -> Vec<String> {
            let points = line.split('"').nth(1).unwrap_or_default();
            points.split(' ').filter_map(|point| Some(point.split_once(',')?.1.to_owned())).collect()
        };
        assert!(heights(lines[0]).windows(2).all(|pair| pair[0] == pair[1]), "{}", lines[0]);
        assert!(heights(lines[1]).windows(2).all(|pair| pair[0] != pair[1]), "{}", lines[1]);
    }
}
