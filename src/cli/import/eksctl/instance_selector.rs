//! `instanceSelector` as instance types. eksctl asks EC2 for all types of a size; these are those of the usual families. Pure.

use serde_json::{Value, json};

use crate::cli::import::section::Section;

/// Families with their machine and GiB of memory per vCPU: of general use, for computing, for memory. All have the sizes of [`SIZES`].
const FAMILIES: [(&str, Arch, u64); 15] = [
    ("m7i", Arch::X86, 4),
    ("m6i", Arch::X86, 4),
    ("m5", Arch::X86, 4),
    ("c7i", Arch::X86, 2),
    ("c6i", Arch::X86, 2),
    ("r7i", Arch::X86, 8),
    ("r6i", Arch::X86, 8),
    ("r5", Arch::X86, 8),
    ("m7g", Arch::Arm, 4),
    ("m6g", Arch::Arm, 4),
    ("c7g", Arch::Arm, 2),
    ("c6g", Arch::Arm, 2),
    ("r7g", Arch::Arm, 8),
    ("r6g", Arch::Arm, 8),
    ("m6a", Arch::X86, 4),
];
const SIZES: [(&str, u64); 5] = [("large", 2), ("xlarge", 4), ("2xlarge", 8), ("4xlarge", 16), ("8xlarge", 32)];
/// Types with bursts, with vCPUs and GiB.
const BURSTABLE: [(&str, u64, u64); 6] =
    [("micro", 2, 1), ("small", 2, 2), ("medium", 2, 4), ("large", 2, 8), ("xlarge", 4, 16), ("2xlarge", 8, 32)];
/// Families with one GPU in these sizes, and 4 GiB per vCPU.
const WITH_GPU: [&str; 3] = ["g6", "g5", "g4dn"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Arch {
    X86,
    Arm,
}

/// Replaces the selector by `instanceTypes`. Without a type that fits, and for conditions that only EC2 can tell, it stays.
pub fn replace(item: &mut Section<'_>) {
    if item.has("instanceType") || item.has("instanceTypes") {
        return;
    }
    let Some(selector) = item.value("instanceSelector") else { return };
    match types(&selector).filter(|types| !types.is_empty()) {
        Some(types) => {
            let how = format!(
                "became {}: eksctl asks EC2 for all types of that size, and these are the usual ones",
                types.join(", ")
            );
            item.report_difference("instanceSelector", how);
            item.set("instanceTypes", json!(types));
        }
        None => item.set("instanceSelector", selector),
    }
}

fn types(selector: &Value) -> Option<Vec<String>> {
    let fields = selector.as_object()?;
    const KNOWN: [&str; 5] = ["vCPUs", "memory", "gpus", "neuron_devices", "cpuArchitecture"];
    let number = |field: &str| selector.get(field).filter(|value| !value.is_null()).map(Value::as_u64);
    if fields.keys().any(|field| !KNOWN.contains(&field.as_str()))
        || !matches!(number("neuron_devices"), None | Some(Some(0)))
    {
        return None;
    }
    let arch = match selector.get("cpuArchitecture").map(|text| text.as_str().unwrap_or_default()) {
        None | Some("x86_64" | "amd64") => Arch::X86,
        Some("arm64") => Arch::Arm,
        Some(_) => return None,
    };
    let (cpus, memory) = (number("vCPUs")??, gib(selector.get("memory")?)?);
    Some(match (number("gpus"), arch) {
        (None | Some(Some(0)), _) => without_gpu(arch, cpus, memory),
        (Some(Some(1)), Arch::X86) if memory == cpus * 4 => with_gpu(cpus),
        _ => Vec::new(),
    })
}

fn without_gpu(arch: Arch, cpus: u64, memory: u64) -> Vec<String> {
    let burstable: &[&str] = if arch == Arch::X86 { &["t3", "t3a"] } else { &["t4g"] };
    let bursts = BURSTABLE.iter().filter(|(_, with, of)| (*with, *of) == (cpus, memory));
    let bursts = bursts.flat_map(|(size, ..)| burstable.iter().map(move |family| format!("{family}.{size}")));
    let size = SIZES.iter().find(|(_, with)| *with == cpus).map(|(size, _)| *size);
    let families = FAMILIES.iter().filter(|(_, of, ratio)| *of == arch && ratio * cpus == memory);
    let steady = families.filter_map(|(family, ..)| Some(format!("{family}.{}", size?)));
    steady.chain(bursts).collect()
}

fn with_gpu(cpus: u64) -> Vec<String> {
    let size = SIZES.iter().find(|(_, with)| *with == cpus && (4..=16).contains(with));
    size.map(|(size, _)| WITH_GPU.iter().map(|family| format!("{family}.{size}")).collect()).unwrap_or_default()
}

/// Whole GiB: the unit may be left out.
fn gib(memory: &Value) -> Option<u64> {
    let text = memory.as_str().map(str::to_owned).or_else(|| memory.as_u64().map(|number| number.to_string()))?;
    text.trim_end_matches("GiB").trim_end_matches("Gi").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_the_size_are_found() {
        for (selector, expected) in [
            (json!({"vCPUs": 2, "memory": "2GiB", "cpuArchitecture": "x86_64"}), "t3.small t3a.small"),
            (json!({"vCPUs": 2, "memory": "4", "gpus": 0}), "c7i.large c6i.large t3.medium t3a.medium"),
            (json!({"vCPUs": 8, "memory": 64, "cpuArchitecture": "arm64"}), "r7g.2xlarge r6g.2xlarge"),
            (json!({"vCPUs": 4, "memory": "16", "gpus": 1}), "g6.xlarge g5.xlarge g4dn.xlarge"),
            (json!({"vCPUs": 3, "memory": "5"}), ""),
            (json!({"vCPUs": 4, "memory": "16", "gpus": 8}), ""),
        ] {
            assert_eq!(types(&selector).unwrap().join(" "), expected, "{selector}");
        }
        for unknown in [
            json!({"vCPUs": 2}),
            json!({"memory": "4"}),
            json!({"vCPUs": 2, "memory": "512MiB"}),
            json!({"vCPUs": 2, "memory": "4", "allow": "m5.*"}),
            json!({"vCPUs": 2, "memory": "4", "neuron_devices": 1}),
            json!({"vCPUs": 2, "memory": "4", "cpuArchitecture": "mips"}),
        ] {
            assert_eq!(types(&unknown), None, "{unknown}");
        }
    }
}
