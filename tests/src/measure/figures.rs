//! Figures of several runs: their middle, their range, and how two sides compare. How they are printed is here, too.

use std::fmt::Write as _;

/// The figures of one thing over some runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures(Vec<f64>);

impl Figures {
    /// Takes in the figure of one more run. Infinity stands for what never came.
    pub fn add(&mut self, figure: f64) {
        self.0.push(figure);
        self.0.sort_by(f64::total_cmp);
    }

    /// All of them, the least first.
    pub fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().copied()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The one in the middle; the upper of two. NaN of none.
    pub fn median(&self) -> f64 {
        self.at(50)
    }

    /// The least. NaN of none.
    pub fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    /// The greatest. NaN of none.
    pub fn greatest(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// The one that `percent` of all are below. NaN of none.
    pub fn at(&self, percent: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * percent / 100).min(last)).copied().unwrap_or(f64::NAN)
    }
}

impl Extend<f64> for Figures {
    fn extend<T: IntoIterator<Item = f64>>(&mut self, figures: T) {
        self.0.extend(figures);
        self.0.sort_by(f64::total_cmp);
    }
}

impl FromIterator<f64> for Figures {
    fn from_iter<T: IntoIterator<Item = f64>>(figures: T) -> Self {
        let mut this = Self::default();
        this.extend(figures);
        this
    }
}

/// A figure with as many digits as say something; `never` for infinity, a dash for none.
pub fn short(figure: f64) -> String {
    match figure {
        figure if figure.is_nan() => "-".to_owned(),
        figure if figure.is_infinite() => "never".to_owned(),
        0.0 => "0".to_owned(),
        figure if figure.abs() < 0.01 => format!("{figure:.3}"),
        figure if figure.abs() < 1.0 => format!("{figure:.2}"),
        figure if figure.abs() < 100.0 => format!("{figure:.1}"),
        figure => format!("{figure:.0}"),
    }
}

/// How many times as much `other` is as `ours`: over 1, ours is less. A dash where that says nothing.
pub fn ratio(other: f64, ours: f64) -> String {
    match other / ours {
        ratio if ratio.is_nan() || ours == 0.0 => "-".to_owned(),
        ratio if ratio.is_infinite() => "never".to_owned(),
        ratio => format!("{} ×", short(ratio)),
    }
}

/// A table in Markdown, its columns aligned, so that it reads well as it is.
pub fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str).chain([titles[column]]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[&str], fill: char| {
        for (cell, width) in cells.iter().zip(&widths) {
            let missing = width - cell.chars().count();
            let _ = write!(text, "| {cell}{} ", fill.to_string().repeat(missing));
        }
        text.push_str("|\n");
    };
    line(titles, ' ');
    line(&vec!["-"; titles.len()], '-');
    for row in rows {
        line(&row.iter().map(String::as_str).collect::<Vec<_>>(), ' ');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends_of_some_runs() {
        let figures: Figures = [3.0, 1.0, 2.0].into_iter().collect();
        assert_eq!([figures.least(), figures.median(), figures.greatest()], [1.0, 2.0, 3.0]);
        assert!(Figures::default().median().is_nan());
    }

    #[test]
    fn what_never_came_is_worse_than_all_that_did() {
        let figures: Figures = [f64::INFINITY, 1.0, 2.0].into_iter().collect();
        assert_eq!([short(figures.median()), short(figures.greatest())], ["2.0", "never"]);
        assert_eq!([ratio(f64::INFINITY, 2.0), ratio(6.0, 2.0), ratio(0.0, 0.0)], ["never", "3.0 ×", "-"]);
    }

    #[test]
    fn a_table_is_markdown_and_aligned() {
        let rows = [vec!["x".to_owned(), "12 ×".to_owned()]];
        assert_eq!(table(&["a", "b"], &rows), "| a | b    |\n| - | ---- |\n| x | 12 × |\n");
    }
}
