//! `keelson import --name` and `--all`: the manifest of existing clusters, whose plan is to adopt them unchanged.
//! I/O: reads from AWS, with the credentials of the environment; standard output and standard error.

use anyhow::{Context as _, bail};

use super::adopted::{self, Shared};
use super::{ObjectPlacement, write_manifest};
use crate::aws::{Identity, Session};
use crate::cli::reading;
use crate::resources::inventory::{self, Inventory};

/// The clusters to import.
pub enum ImportSelection<'a> {
    /// The cluster of that name in EKS.
    Named(&'a str),
    /// Every cluster of the region.
    All,
}

/// Prints the manifest, and on standard error what it leaves out.
pub fn run(region: &str, which: &ImportSelection<'_>, placing: &ObjectPlacement) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clusters = runtime.block_on(read(region, which))?;
    if clusters.is_empty() {
        crate::cli::note(&format!("no clusters to import in {region}"));
        return Ok(());
    }
    let mut shared = Shared::default();
    let manifest: Vec<_> =
        clusters.iter().map(|cluster| manifest(cluster, region, placing, &mut shared)).collect::<Result<_, _>>()?;
    let manifest = manifest.join("---\n");
    crate::cli::print_document(&manifest)?;
    crate::cli::plan::check(&manifest).context("the manifest is invalid: correct it before you apply it")?;
    // Last, and not in the file, where nobody reads it before applying it.
    crate::cli::note(&shared.needs.describe(placing));
    Ok(())
}

async fn read(region: &str, which: &ImportSelection<'_>) -> anyhow::Result<Vec<Inventory>> {
    let aws = reading::session(&Identity::ambient(), region).await?;
    match which {
        ImportSelection::Named(name) => {
            let cluster = one(&aws, name).await?;
            if let Some(owner) = cluster.owner() {
                bail!(
                    "cluster {name} belongs to {owner}: it already has a manifest. If that object no longer exists, \
                     apply it again under its name and run keelson recover; or first remove the tags \
                     keelson.dev/owner, keelson.dev/cluster and keelson.dev/resource of the cluster and its resources"
                );
            }
            Ok(vec![cluster])
        }
        ImportSelection::All => {
            let mut found = Vec::new();
            for name in inventory::clusters(&aws).await? {
                let cluster = one(&aws, &name).await?;
                match cluster.owner() {
                    Some(owner) => crate::cli::note(&format!("cluster {name} is left out: it belongs to {owner}")),
                    None => found.push(cluster),
                }
            }
            Ok(found)
        }
    }
}

async fn one(aws: &Session, name: &str) -> anyhow::Result<Inventory> {
    inventory::read(aws, name).await.with_context(|| format!("cluster {name} cannot be read"))
}

/// The documents of a cluster and its node groups.
fn manifest(of: &Inventory, region: &str, placing: &ObjectPlacement, shared: &mut Shared) -> anyhow::Result<String> {
    let adopted = adopted::objects(of, region, placing, shared)?;
    for note in &adopted.notes {
        crate::cli::note(&format!("{}: {note}", of.name()));
    }
    let mut comments = adopted::comments(of, "by `keelson import`");
    comments.extend(adopted.notes.iter().map(ToString::to_string));
    write_manifest::manifest(&comments, &adopted.objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_of_an_unusual_cluster() {
        let placing = ObjectPlacement { namespace: Some("team".into()), account_ref: Some("prod".into()) };
        let text = manifest(&inventory::odd(), "eu-west-1", &placing, &mut Shared::default()).unwrap();
        insta::assert_snapshot!(text);
        crate::cli::plan::check(&text).unwrap();
    }
}
