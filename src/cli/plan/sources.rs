//! Reads manifests from files and folders, as `kubectl apply -f` does. I/O: those files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::manifest::Manifest;

/// Endings of the files in a folder that are read.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// The objects in all files; folders are read with their subfolders.
///
/// # Errors
/// A file cannot be read, or what it holds would be refused.
pub fn read(paths: &[PathBuf], namespace: Option<&str>) -> anyhow::Result<Manifest> {
    let mut manifest = Manifest::in_namespace(namespace);
    let is_one_file = paths.len() == 1 && !paths[0].is_dir();
    for path in paths {
        if !path.is_dir() {
            let place = if is_one_file { String::new() } else { format!("{}, ", path.display()) };
            manifest.add_text(&place, &crate::cli::read(path)?, true)?;
            continue;
        }
        let mut files = Vec::new();
        collect(path, &mut files)?;
        if files.is_empty() {
            bail!("{}: there is no file that ends in .yaml, .yml or .json", path.display());
        }
        for file in files {
            // A folder holds manifests of others, too.
            manifest.add_text(&format!("{}, ", file.display()), &crate::cli::read(&file)?, false)?;
        }
    }
    Ok(manifest)
}

/// The manifests below a folder, sorted; hidden files and folders are left out.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut paths: Vec<PathBuf> =
        entries.with_context(|| folder.display().to_string())?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_hidden {
            continue;
        }
        let ending = path.extension().and_then(|ending| ending.to_str());
        if path.is_dir() {
            collect(&path, found)?;
        } else if ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
            found.push(path);
        }
    }
    Ok(())
}
