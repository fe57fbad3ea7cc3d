//! The state file of a directory with a Terraform configuration. I/O: reads files.
//!
//! Nothing is executed: Terraform would run what the configuration names, such as providers and scripts.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// The file to read: the path itself, unless it is a directory.
///
/// # Errors
/// A directory whose state is elsewhere, or that has none; the error says what to run.
pub fn state_file(path: &Path) -> anyhow::Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let show = format!(
        "run `terraform -chdir={0} show -json > state.json` (or tofu), and then keelson import --terraform state.json",
        path.display()
    );
    let backend = read(&path.join(".terraform/terraform.tfstate"))?.unwrap_or_default();
    let type_ = backend.pointer("/backend/type").and_then(Value::as_str).unwrap_or("local");
    if type_ != "local" {
        bail!("the state of {} is in a backend ({type_}), and Keelson runs no Terraform: {show}", path.display());
    }
    let workspace = std::fs::read_to_string(path.join(".terraform/environment")).unwrap_or_default();
    let file = match (workspace.trim(), backend.pointer("/backend/config/path").and_then(Value::as_str)) {
        ("" | "default", Some(configured)) => path.join(configured),
        ("" | "default", None) => path.join("terraform.tfstate"),
        (other, _) => path.join("terraform.tfstate.d").join(other).join("terraform.tfstate"),
    };
    if !file.is_file() {
        bail!("{} has no state file ({}): {show}", path.display(), file.display());
    }
    Ok(file)
}

fn read(path: &Path) -> anyhow::Result<Option<Value>> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => {
            let text = other.with_context(|| format!("{} cannot be read", path.display()))?;
            serde_json::from_str(&text).map(Some).with_context(|| format!("{} is not JSON", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_file_of_a_directory_is_found() {
        let root = std::env::temp_dir().join(format!("keelson-state-of-a-directory-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let dir = root.as_path();
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let error = state_file(dir).unwrap_err().to_string();
        assert!(error.contains("has no state file") && error.contains("show -json > state.json"), "{error}");
        write("terraform.tfstate", "{}");
        assert_eq!(state_file(dir).unwrap(), dir.join("terraform.tfstate"));
        assert_eq!(state_file(&dir.join("terraform.tfstate")).unwrap(), dir.join("terraform.tfstate"));
        write("terraform.tfstate.d/blue/terraform.tfstate", "{}");
        write(".terraform/environment", "blue");
        assert_eq!(state_file(dir).unwrap(), dir.join("terraform.tfstate.d/blue/terraform.tfstate"));
        write(".terraform/terraform.tfstate", r#"{"backend": {"type": "s3", "config": {"bucket": "b"}}}"#);
        let error = state_file(dir).unwrap_err().to_string();
        assert!(error.contains("in a backend (s3)"), "{error}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
