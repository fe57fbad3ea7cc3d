//! The Kubernetes version: of the file, of `--version`, or EKS's default. Pure.

use crate::api::KubernetesVersion;
use crate::cli::import::section::Section;

/// EKS's default for new clusters when this Keelson was released: the newest row of e2e/aws/keelson_aws/versions.py.
const DEFAULT: KubernetesVersion = KubernetesVersion { major: 1, minor: 36 };

/// Takes `metadata.version`. `wanted`: the flag `--version`, which wins.
pub fn version(metadata: &mut Section<'_>, wanted: Option<KubernetesVersion>) -> Option<KubernetesVersion> {
    let Some(text) = metadata.some_text("version") else {
        if wanted.is_none() {
            report_default(metadata);
        }
        return Some(wanted.unwrap_or(DEFAULT));
    };
    match (text.parse::<KubernetesVersion>(), wanted) {
        (Ok(version), Some(wanted)) if wanted != version => {
            metadata.report_difference("version", format!("{version} became {wanted}, from --version"));
            Some(wanted)
        }
        (Ok(version), _) => Some(version),
        (Err(error), None) => {
            metadata.report_mistake("version", error.to_string());
            None
        }
        (Err(_), Some(wanted)) => {
            metadata.report_difference("version", format!("{text:?} became {wanted}, from --version"));
            Some(wanted)
        }
    }
}

fn report_default(metadata: &Section<'_>) {
    metadata.report_difference(
        "version",
        format!(
            "is missing, and became {DEFAULT}, EKS's default when this version of Keelson was released; eksctl has a default of \
             its own. For another one use --version; `aws eks describe-cluster --name NAME --query cluster.version` shows that of \
             a running cluster"
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_the_newest_version_in_the_table_of_versions() {
        let table = include_str!("../../../../e2e/aws/keelson_aws/versions.py");
        let row =
            |line: &str| line.trim().strip_prefix('"')?.split_once("\": Minor(")?.0.parse::<KubernetesVersion>().ok();
        assert_eq!(table.lines().filter_map(row).max(), Some(DEFAULT));
    }
}
