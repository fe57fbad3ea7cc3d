//! Text from files, and to standard output and standard error. I/O: all of them.

use std::io::{IsTerminal as _, Write};
use std::path::Path;

use anyhow::Context as _;

use super::terminal;

/// A file's text; `-` is standard input.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str() == "-" {
        return std::io::read_to_string(std::io::stdin()).context("standard input cannot be read");
    }
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// Writes to standard output what is for people, in colour if that is a terminal and NO_COLOR is not set.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    write(&terminal::safe(text))
}

/// Writes a document for programs, such as a manifest: exactly this text, unless somebody looks at it.
pub(super) fn print_document(text: &str) -> anyhow::Result<()> {
    if std::io::stdout().is_terminal() { print(text) } else { write(text) }
}

/// A closed pipe, as with `head`, is no error.
fn write(text: &str) -> anyhow::Result<()> {
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Writes a line to standard error.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", terminal::safe(text));
}
