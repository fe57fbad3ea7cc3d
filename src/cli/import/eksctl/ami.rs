//! Maps eksctl's AMI family and the instance types to EKS's AMI type. Pure.

/// The AMI type; `None`: EKS has none for the family, which needs a launch template.
pub fn ami_type(family: &str, instance_types: &[String]) -> Option<String> {
    let machine = InstanceHardware::of(instance_types);
    Some(match family {
        "AmazonLinux2023" => format!("AL2023_{}", machine.named("STANDARD", "NVIDIA", "NEURON")),
        "AmazonLinux2" => match machine {
            InstanceHardware { arm: true, .. } => "AL2_ARM_64".to_owned(),
            InstanceHardware { chips: AcceleratorKind::Usual, .. } => "AL2_x86_64".to_owned(),
            InstanceHardware { .. } => "AL2_x86_64_GPU".to_owned(),
        },
        "Bottlerocket" => format!("BOTTLEROCKET_{}", machine.named("", "NVIDIA", "")),
        "BottlerocketFips" => format!("BOTTLEROCKET_{}_FIPS", machine.named("", "NVIDIA", "")),
        windows => {
            let rest = windows.strip_prefix("WindowsServer")?.strip_suffix("Container")?;
            let (year, edition) = (rest.get(..4)?, rest.get(4..)?);
            let known = year.bytes().all(|byte| byte.is_ascii_digit()) && ["Core", "Full"].contains(&edition);
            format!("WINDOWS_{}_{year}_x86_64", known.then(|| edition.to_uppercase())?)
        }
    })
}

#[derive(Clone, Copy)]
enum AcceleratorKind {
    Usual,
    Nvidia,
    Neuron,
}

#[derive(Clone, Copy)]
struct InstanceHardware {
    arm: bool,
    chips: AcceleratorKind,
}

impl InstanceHardware {
    /// From the first type with a GPU or Neuron chip, else from the first.
    fn of(instance_types: &[String]) -> Self {
        let machines = || instance_types.iter().map(|name| Self::called(name));
        let special = machines().find(|machine| !matches!(machine.chips, AcceleratorKind::Usual));
        special.or_else(|| machines().next()).unwrap_or(Self { arm: false, chips: AcceleratorKind::Usual })
    }

    /// Parses EC2's type names: letters of the family, a generation, then attributes, of which `g` is Graviton.
    fn called(name: &str) -> Self {
        let family = name.split('.').next().unwrap_or_default();
        let at = family.find(|c: char| c.is_ascii_digit()).unwrap_or(family.len());
        let (letters, rest) = family.split_at(at);
        let attributes = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let chips = match letters {
            "inf" | "trn" => AcceleratorKind::Neuron,
            // g4ad has AMD GPUs.
            "g" if attributes.starts_with('a') => AcceleratorKind::Usual,
            "g" | "gr" | "p" => AcceleratorKind::Nvidia,
            _ => AcceleratorKind::Usual,
        };
        let arm = letters == "a" || attributes.starts_with('g') || attributes.contains("-gb");
        Self { arm, chips }
    }

    fn named(self, usual: &str, nvidia: &str, neuron: &str) -> String {
        let chips = match self.chips {
            AcceleratorKind::Usual => usual,
            AcceleratorKind::Nvidia => nvidia,
            AcceleratorKind::Neuron => neuron,
        };
        let architecture = if self.arm { "ARM_64" } else { "x86_64" };
        if chips.is_empty() { architecture.to_owned() } else { format!("{architecture}_{chips}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ami_type_matches_family_and_instance_types() {
        for (family, types, expected) in [
            ("AmazonLinux2023", "m5.large", Some("AL2023_x86_64_STANDARD")),
            ("AmazonLinux2023", "m7i-flex.large", Some("AL2023_x86_64_STANDARD")),
            ("AmazonLinux2023", "c6gd.large", Some("AL2023_ARM_64_STANDARD")),
            ("AmazonLinux2023", "im4gn.large", Some("AL2023_ARM_64_STANDARD")),
            ("AmazonLinux2023", "a1.large", Some("AL2023_ARM_64_STANDARD")),
            ("AmazonLinux2023", "g5.xlarge", Some("AL2023_x86_64_NVIDIA")),
            ("AmazonLinux2023", "g5g.xlarge", Some("AL2023_ARM_64_NVIDIA")),
            ("AmazonLinux2023", "m5.large p4d.24xlarge", Some("AL2023_x86_64_NVIDIA")),
            ("AmazonLinux2023", "trn1.2xlarge", Some("AL2023_x86_64_NEURON")),
            ("AmazonLinux2", "g4ad.xlarge", Some("AL2_x86_64")),
            ("AmazonLinux2", "inf1.xlarge", Some("AL2_x86_64_GPU")),
            ("AmazonLinux2", "t4g.small", Some("AL2_ARM_64")),
            ("Bottlerocket", "r8g.large", Some("BOTTLEROCKET_ARM_64")),
            ("Bottlerocket", "inf2.xlarge", Some("BOTTLEROCKET_x86_64")),
            ("BottlerocketFips", "g6.xlarge", Some("BOTTLEROCKET_x86_64_NVIDIA_FIPS")),
            ("WindowsServer2022CoreContainer", "m5.large", Some("WINDOWS_CORE_2022_x86_64")),
            ("WindowsServer2025FullContainer", "m5.large", Some("WINDOWS_FULL_2025_x86_64")),
            ("WindowsServer20H2CoreContainer", "m5.large", None),
            ("Ubuntu2404", "m5.large", None),
            ("AmazonLinux2023", "", Some("AL2023_x86_64_STANDARD")),
        ] {
            let types: Vec<_> = types.split_whitespace().map(str::to_owned).collect();
            assert_eq!(ami_type(family, &types).as_deref(), expected, "{family} {types:?}");
        }
    }
}
