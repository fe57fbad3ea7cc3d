//! AMI types of EKS: what their names mean, and their last Kubernetes version. Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/APIReference/API_Nodegroup.html> and, for the end of support of Amazon
//! Linux 2, <https://docs.aws.amazon.com/eks/latest/userguide/eks-ami-deprecation-faqs.html>.

use aws_sdk_eks::types::AmiTypes;

use crate::api::KubernetesVersion;

/// The default of EKS, whatever the instance types are.
pub const DEFAULT: &str = "AL2023_x86_64_STANDARD";
/// A custom AMI: its properties are unknown.
pub const CUSTOM: &str = "CUSTOM";
/// The last Kubernetes version with Amazon Linux 2 AMIs.
const LAST_AL2_VERSION: KubernetesVersion = KubernetesVersion { major: 1, minor: 32 };

/// Accelerators that an AMI supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// NVIDIA GPUs.
    Nvidia,
    /// AWS Inferentia and Trainium.
    Neuron,
    /// Either.
    NvidiaOrNeuron,
}

impl Accelerator {
    /// Whether an instance with accelerators of those manufacturers has this one.
    pub fn is_in(self, makers: &std::collections::BTreeSet<String>) -> bool {
        let (nvidia, neuron) =
            (makers.contains("NVIDIA"), makers.iter().any(|maker| maker == "AWS" || maker == "Amazon"));
        match self {
            Accelerator::Nvidia => nvidia,
            Accelerator::Neuron => neuron,
            Accelerator::NvidiaOrNeuron => nvidia || neuron,
        }
    }
}

/// The properties that the name of an AMI type encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmiType {
    /// In EC2's notation.
    pub architecture: &'static str,
    /// The accelerator that its instances must have.
    pub accelerator: Option<Accelerator>,
    /// The last Kubernetes version with such AMIs, if there is a last one.
    pub last: Option<KubernetesVersion>,
}

impl AmiType {
    /// Parses a name; `None` if it is no AMI type of EKS. Future Windows releases parse too: EKS may offer more than
    /// this version of Keelson knows.
    pub fn parse(name: &str) -> Option<Self> {
        let (family, rest, architecture) =
            [("_x86_64", "x86_64"), ("_ARM_64", "arm64")].into_iter().find_map(|(part, architecture)| {
                name.split_once(part).map(|(family, rest)| (family, rest, architecture))
            })?;
        let variant = match rest {
            "" => "",
            rest => rest.strip_prefix('_')?,
        };
        let is_windows =
            family.strip_prefix("WINDOWS_").and_then(|rest| rest.split_once('_')).is_some_and(|(edition, year)| {
                matches!(edition, "CORE" | "FULL") && year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit())
            });
        let accelerator = match (family, variant) {
            ("AL2", "") => None,
            ("AL2", "GPU") => Some(Accelerator::NvidiaOrNeuron),
            ("AL2023", "STANDARD") => None,
            ("AL2023", "NVIDIA") => Some(Accelerator::Nvidia),
            ("AL2023", "NEURON") => Some(Accelerator::Neuron),
            ("BOTTLEROCKET", "" | "FIPS") => None,
            ("BOTTLEROCKET", "NVIDIA" | "NVIDIA_FIPS") => Some(Accelerator::Nvidia),
            (_, "") if is_windows => None,
            _ => return None,
        };
        Some(Self { architecture, accelerator, last: (family == "AL2").then_some(LAST_AL2_VERSION) })
    }
}

/// The known AMI types, for messages.
pub fn known_types() -> String {
    AmiTypes::values().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ami_types_of_eks_parse_and_others_do_not() {
        for name in AmiTypes::values() {
            assert!(AmiType::parse(name).is_some() || *name == CUSTOM, "{name}");
        }
        assert!(AmiType::parse(DEFAULT).is_some());
        assert!(AmiType::parse("WINDOWS_CORE_2028_x86_64").is_some(), "a future year");
        for wrong in [
            "AL2023_x86_64",
            "AL2023_x86_64_STANDRD",
            "al2_x86_64",
            "AL2_X86_64",
            "UBUNTU_x86_64",
            "AL2_ARM_64GPU",
            "x",
        ] {
            assert_eq!(AmiType::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn name_encodes_architecture_accelerator_and_last_version() {
        let of = |name| AmiType::parse(name).unwrap();
        assert_eq!(of("AL2023_ARM_64_STANDARD").architecture, "arm64");
        assert_eq!(of("BOTTLEROCKET_x86_64_NVIDIA_FIPS").accelerator, Some(Accelerator::Nvidia));
        assert_eq!((of("AL2_x86_64").last, of("AL2023_x86_64_STANDARD").last), (Some(LAST_AL2_VERSION), None));
    }
}
