//! Text from files, and to standard output. I/O: both.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;

/// A file's text; `-` is standard input.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str() == "-" {
        return std::io::read_to_string(std::io::stdin()).context("standard input cannot be read");
    }
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// Writes to standard output, in colour if that is a terminal and NO_COLOR is not set. A closed pipe, as with `head`,
/// is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
