//! Reads manifests from files and folders, as `kubectl apply -f` does. I/O: those files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::manifest::Manifest;
use crate::cli::terminal::one_line;

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
        let root = fs::canonicalize(path).with_context(|| path.display().to_string())?;
        collect(path, &root, &mut files, &mut manifest.notes)?;
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

/// The manifests below a folder, sorted; hidden files and folders are left out, and links to folders and out of `root`,
/// with a note.
fn collect(folder: &Path, root: &Path, found: &mut Vec<PathBuf>, notes: &mut Vec<String>) -> anyhow::Result<()> {
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
        if path.is_symlink()
            && !fs::canonicalize(&path).is_ok_and(|target| target.is_file() && target.starts_with(root))
        {
            let place = one_line(&path.display().to_string());
            notes.push(format!("{place} is left out: it is no link to a file in the folder"));
        } else if path.is_dir() {
            collect(&path, root, found, notes)?;
        } else if ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_out_of_the_folder_and_to_folders_are_left_out() {
        let outer = std::env::temp_dir().join(format!("keelson-sources-{}", std::process::id()));
        let _ = fs::remove_dir_all(&outer);
        let folder = outer.join("clusters");
        fs::create_dir_all(folder.join("sub")).unwrap();
        let account = |name: &str| {
            format!(
                "apiVersion: keelson.dev/v1alpha1\nkind: AwsAccount\nmetadata: {{name: {name}}}\nspec: {{accountId: \"111122223333\"}}\n"
            )
        };
        fs::write(outer.join("secret.yaml"), account("outside")).unwrap();
        fs::write(folder.join("sub/real"), account("inside")).unwrap();
        symlink(outer.join("secret.yaml"), folder.join("a.yaml")).unwrap();
        symlink("sub/real", folder.join("b.yaml")).unwrap();
        symlink(&folder, folder.join("sub/circle")).unwrap();
        symlink("nowhere.yaml", folder.join("c.yaml")).unwrap();
        let manifest = read(std::slice::from_ref(&folder), None).unwrap();
        assert!(manifest.account("inside").is_some() && manifest.accounts.len() == 1);
        let left_out: Vec<&str> = manifest.notes.iter().filter_map(|note| note.split(' ').next()).collect();
        let expected = ["a.yaml", "c.yaml", "sub/circle"].map(|name| folder.join(name).display().to_string());
        assert_eq!(left_out, expected);
        fs::remove_dir_all(outer).unwrap();
    }
}
