//! The manifests of the built-in versions: `deploy/flux`, embedded.
//!
//! Not allowed here: customization. No I/O. The text is in the binary's read-only pages.

use super::input::{Component, Version};

/// Separator between two objects of a file.
pub const SEPARATOR: &str = "\n---\n";

/// The files of one version.
pub struct Release {
    pub system: &'static str,
    source_controller: &'static str,
    kustomize_controller: &'static str,
    helm_controller: &'static str,
    notification_controller: &'static str,
}

macro_rules! release {
    ($version:literal) => {
        Release {
            system: include_str!(concat!("../../../deploy/flux/", $version, "/flux-system.yaml")),
            source_controller: include_str!(concat!("../../../deploy/flux/", $version, "/source-controller.yaml")),
            kustomize_controller: include_str!(concat!(
                "../../../deploy/flux/",
                $version,
                "/kustomize-controller.yaml"
            )),
            helm_controller: include_str!(concat!("../../../deploy/flux/", $version, "/helm-controller.yaml")),
            notification_controller: include_str!(concat!(
                "../../../deploy/flux/",
                $version,
                "/notification-controller.yaml"
            )),
        }
    };
}

impl Release {
    pub fn of(version: Version) -> Self {
        match version {
            Version::V2_9_5 => release!("v2.9.5"),
            Version::V2_7_5 => release!("v2.7.5"),
        }
    }

    pub fn component(&self, component: Component) -> &'static str {
        match component {
            Component::SourceController => self.source_controller,
            Component::KustomizeController => self.kustomize_controller,
            Component::HelmController => self.helm_controller,
            Component::NotificationController => self.notification_controller,
        }
    }
}
