//! Where lines go: to stdout, one after the other, or on a terminal also into a block that is drawn again in place. What
//! they say does not live here.

use std::io::{self, IsTerminal as _, Write as _};

use crossterm::{cursor, queue, terminal};

use crate::failure::Failure;

/// stdout, and the block at its end that is drawn in place.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: bool,
    /// How many lines the block has now.
    drawn: usize,
}

impl Screen {
    /// stdout.
    pub(crate) fn stdout() -> Self {
        Screen { terminal: io::stdout().is_terminal(), drawn: 0 }
    }

    /// Whether a block can be drawn in place.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes lines that stay. A block that was drawn is wiped first.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(crate) fn say<T: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = T>) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        self.wipe(&mut out).map_err(unread)?;
        for line in lines {
            writeln!(out, "{}", line.as_ref()).map_err(unread)?;
        }
        out.flush().map_err(unread)
    }

    /// Draws a block over the one before. Lines and rows that do not fit are cut off. Only for terminals.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(crate) fn draw(&mut self, lines: &[String]) -> Result<(), Failure> {
        let (width, height) = terminal::size().unwrap_or((80, 24));
        let mut out = io::stdout().lock();
        self.wipe(&mut out).map_err(unread)?;
        let fitting = fit(lines, usize::from(width), usize::from(height));
        for line in &fitting {
            writeln!(out, "{line}").map_err(unread)?;
        }
        self.drawn = fitting.len();
        out.flush().map_err(unread)
    }

    /// Leaves the block as it is: what comes next goes below it.
    pub(crate) fn keep(&mut self) {
        self.drawn = 0;
    }

    fn wipe(&mut self, out: &mut impl io::Write) -> io::Result<()> {
        if let Ok(up @ 1..) = u16::try_from(self.drawn) {
            queue!(out, cursor::MoveToPreviousLine(up), terminal::Clear(terminal::ClearType::FromCursorDown))?;
        }
        self.drawn = 0;
        Ok(())
    }
}

/// Prints one text as it is.
///
/// # Errors
/// When nobody reads.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(unread)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn unread(error: io::Error) -> Failure {
    match error.kind() {
        // As when the output is piped into `head`.
        io::ErrorKind::BrokenPipe => Failure::unread(),
        _ => Failure::new(format!("stdout cannot be written to: {error}")),
    }
}

/// The part of the lines that a terminal of this size shows without scrolling, each on one line.
fn fit(lines: &[String], width: usize, height: usize) -> Vec<String> {
    let room = height.saturating_sub(2).max(1);
    let cut = |line: &String| line.chars().take(width.max(1)).collect();
    let mut fitting: Vec<String> = lines.iter().take(room).map(cut).collect();
    if lines.len() > room {
        fitting.push(format!("({} more)", lines.len() - room));
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_never_scrolls_the_terminal() {
        let lines: Vec<String> = (0..100).map(|n| format!("line {n} {}", "x".repeat(200))).collect();
        let fitting = fit(&lines, 80, 24);
        assert_eq!(fitting.len(), 23);
        assert_eq!(fitting[22], "(78 more)");
        assert!(fitting.iter().all(|line| line.chars().count() <= 80));
        assert_eq!(fit(&lines[..3], 80, 24).len(), 3);
    }
}
