//! Merges entries into a kubeconfig file: locked as kubectl does, written beside it and renamed, readable by its owner
//! only. I/O: that file.

use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::entries::Entries;

/// The first file of KUBECONFIG, else `~/.kube/config`.
///
/// # Errors
/// There is no home directory.
pub fn default_path() -> anyhow::Result<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    if let Some(first) = std::env::split_paths(&listed).find(|path| !path.as_os_str().is_empty()) {
        return Ok(first);
    }
    let home = std::env::home_dir().context("there is no home directory: name a file, --merge FILE")?;
    Ok(home.join(".kube/config"))
}

/// Merges the entries into the file, which is created if it does not exist.
///
/// # Errors
/// It is no kubeconfig, another process writes it, or it cannot be written.
pub fn merge(path: &Path, entries: &Entries, makes_current: bool) -> anyhow::Result<()> {
    let place = || path.display().to_string();
    // A symbolic link stays one.
    let path = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(_) if path.is_symlink() => bail!("{} is a link to a file that does not exist", place()),
        Err(_) => path.to_owned(),
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(place)?;
    }
    let _lock = Lock::take(&path)?;
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(place),
    };
    let mut config: Value = match text.trim() {
        "" => Value::Null,
        // The parser's message would quote the file, which may contain credentials.
        text => serde_saphyr::from_str(text).ok().with_context(|| format!("{} is not YAML", place()))?,
    };
    entries.merge(&mut config, makes_current).with_context(place)?;
    write(&path, &serde_saphyr::to_string(&config)?).with_context(place)
}

/// Replaces the file at once: whoever reads it meanwhile sees the one or the other.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    // Nobody can know the name beforehand and put a file or a link there.
    let number = std::hash::RandomState::new().build_hasher().finish();
    let new = with_suffix(path, &format!(".{number:016x}"));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The lock file that kubectl uses too.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> anyhow::Result<Self> {
        let lock = with_suffix(path, ".lock");
        match OpenOptions::new().write(true).create_new(true).open(&lock) {
            Ok(_) => Ok(Self(lock)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
                "{} exists: another command writes {}. If none runs, delete the lock",
                lock.display(),
                path.display()
            ),
            Err(error) => Err(error).with_context(|| lock.display().to_string()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("keelson-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn file_or_link_that_somebody_put_beside_it_is_not_written() {
        let folder = folder("kubeconfig-beside");
        let (config, other, victim) = (folder.join("config"), folder.join("config.keelson"), folder.join("victim"));
        fs::write(&victim, "kept").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).unwrap();
        symlink(&victim, &other).unwrap();
        write(&config, "secret").unwrap();
        assert_eq!((fs::read_to_string(&config).unwrap().as_str(), mode(&config)), ("secret", 0o600));
        assert_eq!((fs::read_to_string(&victim).unwrap().as_str(), mode(&victim)), ("kept", 0o644));
        fs::remove_file(&other).unwrap();
        fs::write(&other, "theirs").unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
        write(&config, "new").unwrap();
        assert_eq!((fs::read_to_string(&config).unwrap().as_str(), mode(&config)), ("new", 0o600));
        assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "nothing is left over");
        fs::remove_dir_all(folder).unwrap();
    }
}
