//! The partitions of AWS: what differs between them and Keelson has to know. Pure.
//!
//! Ids and DNS suffixes are those of AWS's `partitions.json`. The principals of EKS, Fargate and Pod Identity, and the audience
//! of tokens, end in `amazonaws.com` in all partitions; EC2's does not in China:
//! <https://docs.amazonaws.cn/en_us/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-services>. In the
//! European Sovereign Cloud, IAM refuses a principal with its DNS suffix (pulumi-eks issue 2341). In China, endpoint services
//! have one of two prefixes, by service and region (aws-cdk pull request 16139).

/// A partition.
#[derive(Debug, PartialEq, Eq)]
pub struct Partition {
    /// In ARNs.
    pub id: &'static str,
    /// Its regions begin with this.
    region_prefix: &'static str,
    /// Of the hosts of its services.
    pub dns_suffix: &'static str,
    /// EC2 in the trust policy of nodes' roles.
    pub ec2_principal: &'static str,
    /// How the names of endpoint services of AWS begin; the first that exists counts.
    pub endpoint_prefixes: &'static [&'static str],
    /// A region that every account of the partition has.
    pub first_region: &'static str,
}

const EC2: &str = "ec2.amazonaws.com";
const ENDPOINTS: &[&str] = &["com.amazonaws"];

const fn partition(
    id: &'static str,
    region_prefix: &'static str,
    dns_suffix: &'static str,
    first_region: &'static str,
) -> Partition {
    Partition { id, region_prefix, dns_suffix, ec2_principal: EC2, endpoint_prefixes: ENDPOINTS, first_region }
}

/// All partitions. The last one has the regions that no other has.
pub static ALL: [Partition; 8] = [
    Partition {
        ec2_principal: "ec2.amazonaws.com.cn",
        endpoint_prefixes: &["cn.com.amazonaws", "com.amazonaws"],
        ..partition("aws-cn", "cn-", "amazonaws.com.cn", "cn-north-1")
    },
    partition("aws-us-gov", "us-gov-", "amazonaws.com", "us-gov-west-1"),
    partition("aws-eusc", "eusc-", "amazonaws.eu", "eusc-de-east-1"),
    partition("aws-iso-b", "us-isob-", "sc2s.sgov.gov", "us-isob-east-1"),
    partition("aws-iso-f", "us-isof-", "csp.hci.ic.gov", "us-isof-south-1"),
    partition("aws-iso-e", "eu-isoe-", "cloud.adc-e.uk", "eu-isoe-west-1"),
    partition("aws-iso", "us-iso-", "c2s.ic.gov", "us-iso-east-1"),
    partition("aws", "", "amazonaws.com", "us-east-1"),
];

/// The partition of a region.
pub fn of_region(region: &str) -> &'static Partition {
    let [.., last] = &ALL;
    ALL.iter().find(|partition| region.starts_with(partition.region_prefix)).unwrap_or(last)
}

/// The regions whose STS may issue credentials for `region`, in the order to try them. Sessions of a regional STS work in all
/// regions, but STS answers only in regions that the caller's own account has: not in one that only the target account
/// opted in to. `own`: the region that the operator runs in, if that is configured.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html>
pub fn sts_regions(own: Option<&str>, region: &str) -> Vec<String> {
    let partition = of_region(region);
    let own = own.filter(|own| of_region(own) == partition);
    let mut regions: Vec<String> = Vec::new();
    for candidate in own.into_iter().chain([region, partition.first_region]) {
        if !regions.iter().any(|one| one == candidate) {
            regions.push(candidate.to_owned());
        }
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_names() {
        for (region, id, suffix, ec2, endpoints) in [
            ("eu-west-1", "aws", "amazonaws.com", "ec2.amazonaws.com", &["com.amazonaws"][..]),
            ("us-east-1", "aws", "amazonaws.com", "ec2.amazonaws.com", &["com.amazonaws"]),
            (
                "cn-north-1",
                "aws-cn",
                "amazonaws.com.cn",
                "ec2.amazonaws.com.cn",
                &["cn.com.amazonaws", "com.amazonaws"],
            ),
            (
                "cn-northwest-1",
                "aws-cn",
                "amazonaws.com.cn",
                "ec2.amazonaws.com.cn",
                &["cn.com.amazonaws", "com.amazonaws"],
            ),
            ("us-gov-west-1", "aws-us-gov", "amazonaws.com", "ec2.amazonaws.com", &["com.amazonaws"]),
            ("eusc-de-east-1", "aws-eusc", "amazonaws.eu", "ec2.amazonaws.com", &["com.amazonaws"]),
            ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov", "ec2.amazonaws.com", &["com.amazonaws"]),
            ("us-iso-east-1", "aws-iso", "c2s.ic.gov", "ec2.amazonaws.com", &["com.amazonaws"]),
        ] {
            let found = of_region(region);
            assert_eq!((found.id, found.dns_suffix), (id, suffix), "{region}");
            assert_eq!((found.ec2_principal, found.endpoint_prefixes), (ec2, endpoints), "{region}");
        }
    }

    #[test]
    fn sts_of_the_operators_own_region_comes_first_within_the_partition() {
        for (own, region, expected) in [
            (Some("eu-west-1"), "ap-south-2", &["eu-west-1", "ap-south-2", "us-east-1"][..]),
            (Some("eu-west-1"), "eu-west-1", &["eu-west-1", "us-east-1"]),
            (None, "ap-south-2", &["ap-south-2", "us-east-1"]),
            (Some("eu-west-1"), "cn-northwest-1", &["cn-northwest-1", "cn-north-1"]),
            (Some("us-gov-east-1"), "us-gov-west-1", &["us-gov-east-1", "us-gov-west-1"]),
        ] {
            assert_eq!(sts_regions(own, region), expected, "{own:?} {region}");
        }
    }
}
