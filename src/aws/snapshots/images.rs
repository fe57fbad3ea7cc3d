//! The SSM parameter with the newest AMI release of a Kubernetes version: public parameters of AWS. Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/retrieve-ami-id.html> and
//! <https://docs.aws.amazon.com/eks/latest/userguide/retrieve-ami-id-bottlerocket.html>.

/// The parameter's name. `None` where AWS has none: for Windows it contains only the image, and custom AMIs have no
/// releases.
pub fn release_parameter(kubernetes_version: &str, ami_type: &str) -> Option<String> {
    if let Some(variant) = ami_type.strip_prefix("BOTTLEROCKET_") {
        let (architecture, variant) = architecture(variant)?;
        let variant = match variant {
            "" => "",
            "FIPS" => "-fips",
            "NVIDIA" => "-nvidia",
            "NVIDIA_FIPS" => "-nvidia-fips",
            _ => return None,
        };
        let path = format!("/aws/service/bottlerocket/aws-k8s-{kubernetes_version}{variant}");
        return Some(format!("{path}/{architecture}/latest/image_version"));
    }
    let path = if let Some(variant) = ami_type.strip_prefix("AL2023_") {
        let (architecture, variant) = architecture(variant)?;
        let variant = match variant {
            "STANDARD" => "standard",
            "NVIDIA" => "nvidia",
            "NEURON" => "neuron",
            _ => return None,
        };
        format!("amazon-linux-2023/{architecture}/{variant}")
    } else {
        match ami_type {
            "AL2_x86_64" => "amazon-linux-2",
            "AL2_x86_64_GPU" => "amazon-linux-2-gpu",
            "AL2_ARM_64" => "amazon-linux-2-arm64",
            _ => return None,
        }
        .to_owned()
    };
    Some(format!("/aws/service/eks/optimized-ami/{kubernetes_version}/{path}/recommended/release_version"))
}

/// The architecture in the format of the parameters, and the rest of the AMI type.
fn architecture(text: &str) -> Option<(&'static str, &str)> {
    [("x86_64", "x86_64"), ("ARM_64", "arm64")].into_iter().find_map(|(prefix, name)| {
        let rest = text.strip_prefix(prefix)?;
        Some((name, rest.strip_prefix('_').unwrap_or(rest)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ami_type_with_releases_has_a_parameter() {
        use aws_sdk_eks::types::AmiTypes;
        let table: Vec<String> = AmiTypes::values()
            .iter()
            .map(|ami_type| format!("{ami_type}: {}", release_parameter("1.34", ami_type).unwrap_or_default()))
            .collect();
        insta::assert_snapshot!(table.join("\n"));
        assert_eq!(release_parameter("1.34", "SOMETHING_NEW"), None);
    }
}
