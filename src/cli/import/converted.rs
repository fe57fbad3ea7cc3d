//! What becomes of the clusters in a file of another tool that manages them. I/O: standard output and standard error.

use anyhow::Context as _;

use super::adopted::{self, Adopted};
use super::section::Report;
use super::write_manifest;
use crate::resources::inventory::Inventory;

/// Manifests that adopt the clusters, and what the user should know.
#[derive(Default)]
pub struct Converted {
    pub manifest: String,
    /// What is not converted.
    pub remarks: Vec<String>,
    /// What to do next.
    pub next: String,
}

impl Converted {
    /// Adds the objects of a cluster. `source` says where it is from, and `report` what its description has besides.
    ///
    /// # Errors
    /// An object cannot be written.
    pub fn add(&mut self, of: &Inventory, adopted: &Adopted, report: &Report, source: &str) -> anyhow::Result<()> {
        let about: Vec<_> =
            report.describe().into_iter().chain(adopted.notes.iter().map(ToString::to_string)).collect();
        self.remarks.extend(about.iter().map(|remark| format!("{}: {remark}", of.name())));
        let comments: Vec<_> = adopted::comments(of, source).into_iter().chain(about).collect();
        if !self.manifest.is_empty() {
            self.manifest.push_str("---\n");
        }
        self.manifest.push_str(&write_manifest::manifest(&comments, &adopted.objects)?);
        Ok(())
    }

    /// Prints the manifest, and on standard error the rest.
    ///
    /// # Errors
    /// The manifest is invalid.
    pub fn print(&self) -> anyhow::Result<()> {
        for remark in &self.remarks {
            crate::cli::note(remark);
        }
        crate::cli::print_document(&self.manifest)?;
        crate::cli::plan::check(&self.manifest).context("the manifest is invalid: correct it before you apply it")?;
        crate::cli::note(&self.next);
        Ok(())
    }
}
