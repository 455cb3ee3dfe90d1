//! A picture of two sides' figures: for each thing a bar for each side, as long as the median, with a line for the range. Lengths
//! are logarithmic, since what is compared may differ a hundredfold.

use std::fmt::Write as _;

use super::figures::{Figures, short};

const LEFT: f64 = 340.0;
const WIDTH: f64 = 520.0;
const TOP: f64 = 64.0;
const BAR: f64 = 13.0;
const GAP: f64 = 16.0;
const COLOURS: [&str; 3] = ["#2f7d6b", "#b8b0a4", "#c8553d"];

/// One thing that was measured.
pub struct Group {
    /// What it is.
    pub title: &'static str,
    /// The figures of each side, in the order of their names.
    pub bars: Vec<Figures>,
}

/// The picture as SVG. What never came reaches beyond the end and says so.
pub fn svg(title: &str, sides: &[&str], groups: &[Group]) -> String {
    let finite = || {
        let figures = groups.iter().flat_map(|group| &group.bars);
        figures.flat_map(|bar| [bar.least(), bar.greatest()]).filter(|figure| figure.is_finite() && *figure > 0.0)
    };
    let low = decade(finite().fold(1.0, f64::min), f64::floor);
    let high = decade(finite().fold(1.0, f64::max), f64::ceil);
    let x = |figure: f64| {
        let place = (figure.max(low).log10() - low.log10()) / (high.log10() - low.log10()).max(1.0);
        WIDTH * place.min(1.04)
    };
    let each = BAR * sides.len() as f64 + GAP;
    let height = TOP + each * groups.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\" fill=\"#333\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"14\" font-weight=\"600\">{title}</text>\n",
        LEFT + WIDTH + 90.0,
        height + 34.0
    );
    let mut tick = low;
    while tick <= high * 1.001 {
        let at = LEFT + x(tick);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{}\" y2=\"{height}\" stroke=\"#e6e6e6\"/>",
            TOP - 8.0
        );
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            height + 18.0,
            short(tick)
        );
        tick *= 10.0;
    }
    for (number, side) in sides.iter().enumerate() {
        let at = LEFT + 130.0 * number as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{at}\" y=\"34\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{}\"/>",
            COLOURS[number % 3]
        );
        let _ = writeln!(svg, "<text x=\"{}\" y=\"44\">{side}</text>", at + 18.0);
    }
    for (number, group) in groups.iter().enumerate() {
        let top = TOP + each * number as f64;
        let middle = top + BAR * sides.len() as f64 / 2.0 + 4.0;
        let _ =
            writeln!(svg, "<text x=\"{}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>", LEFT - 10.0, group.title);
        for (side, figures) in group.bars.iter().enumerate() {
            bar(&mut svg, figures, top + BAR * side as f64, COLOURS[side % 3], &x);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn bar(svg: &mut String, figures: &Figures, top: f64, colour: &str, x: &impl Fn(f64) -> f64) {
    if figures.count() == 0 {
        return;
    }
    let (length, height, middle) = (x(figures.median()).max(2.0), BAR - 2.0, top + BAR / 2.0 - 1.0);
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"{height}\" rx=\"2\" fill=\"{colour}\"/>"
    );
    let (from, until) = (LEFT + x(figures.least()), LEFT + x(figures.greatest()));
    let _ = writeln!(
        svg,
        "<line x1=\"{from:.1}\" x2=\"{until:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"#333\"/>"
    );
    let after = until.max(LEFT + length) + 6.0;
    let _ = writeln!(
        svg,
        "<text x=\"{after:.1}\" y=\"{:.1}\" font-size=\"11\">{}</text>",
        middle + 4.0,
        short(figures.median())
    );
}

/// The power of ten at or beyond a figure.
fn decade(figure: f64, round: fn(f64) -> f64) -> f64 {
    10_f64.powf(round(figure.log10()))
}
