//! Tables: columns and rows of text, and how wide they are. Where rows come from and where they are drawn lives elsewhere.

/// What stands between two columns.
const GAP: &str = "   ";

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// The headings.
    pub(crate) columns: Vec<String>,
    /// The rows; a row that has too few cells ends early.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Table { columns: columns.iter().map(|&column| column.to_owned()).collect(), rows: Vec::new() }
    }

    /// The lines of the table, the headings first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        std::iter::once(&self.columns).chain(&self.rows).map(|cells| line(cells, &widths)).collect()
    }

    /// How wide each column is, in characters.
    pub(crate) fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.columns.len()];
        for cells in std::iter::once(&self.columns).chain(&self.rows) {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

/// One line of a table whose columns have these widths. A cell that is wider moves the rest of its line, and cells beyond
/// the columns follow as they are.
pub(crate) fn line(cells: &[String], widths: &[usize]) -> String {
    let widths = widths.iter().copied().chain(std::iter::repeat(0));
    let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    padded.join(GAP).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.rows = vec![vec!["a-long-name".into(), "alive".into()], vec!["ü".into(), String::new()]];
        assert_eq!(table.lines(), ["NAME          STATE", "a-long-name   alive", "ü"]);
    }

    #[test]
    fn a_cell_beyond_the_columns_is_shown_too() {
        assert_eq!(line(&["a".into(), "b".into(), "(deleted)".into()], &[3, 1]), "a     b   (deleted)");
    }
}
