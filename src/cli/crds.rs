//! `keelson crds`.

use std::io::Write;

/// Prints all definitions as YAML documents.
pub fn print() -> anyhow::Result<()> {
    let text = crate::api::crds::all_to_yaml()?;
    match std::io::stdout().write_all(text.as_bytes()) {
        // Cut off by `head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
