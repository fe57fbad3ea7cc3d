//! `keelson crds`.

/// Prints all definitions as YAML documents.
pub fn print() -> anyhow::Result<()> {
    super::print_document(&crate::api::crds::all_to_yaml()?)
}
