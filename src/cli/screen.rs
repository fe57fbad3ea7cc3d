//! A screen that is drawn again and again. I/O: standard output, which is a terminal.

use std::io::Write as _;

use anyhow::Context as _;

use super::terminal;

/// A terminal that shows one text.
#[derive(Default)]
pub struct Screen {
    is_drawn: bool,
}

impl Screen {
    /// Shows the text in place of what was shown.
    ///
    /// # Errors
    /// The terminal cannot be written.
    pub fn draw(&mut self, text: &str) -> anyhow::Result<()> {
        let mut screen = anstream::stdout();
        // Home, the text with the rest of each line cleared, and the rest of the screen cleared.
        let text = terminal::safe(text).replace('\n', "\x1b[K\n");
        let start = if self.is_drawn { "\x1b[H" } else { "\x1b[2J\x1b[H" };
        write!(screen, "{start}{text}\x1b[J").and_then(|()| screen.flush()).context("the terminal")?;
        self.is_drawn = true;
        Ok(())
    }
}
