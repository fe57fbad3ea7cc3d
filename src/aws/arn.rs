//! Names of AWS resources (ARNs), taken apart. Pure.

/// An ARN: `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`. Region and account are empty where the service has none
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arn<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: &'a str,
    /// `eks`.
    pub service: &'a str,
    /// `eu-west-1`.
    pub region: &'a str,
    /// `123456789012`.
    pub account: &'a str,
    /// `cluster/demo`; it may contain colons.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Parses an ARN; `None`: it is none.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let is_arn = parts.next() == Some("arn");
        let (partition, service) = (parts.next()?, parts.next()?);
        let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        let is_complete = is_arn && !partition.is_empty() && !service.is_empty() && !resource.is_empty();
        is_complete.then_some(Self { partition, service, region, account, resource })
    }

    /// The last part of the resource's path: `demo` of `cluster/demo`.
    pub fn name(&self) -> &'a str {
        self.resource.rsplit('/').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arn_is_taken_apart_and_other_text_is_none() {
        let arn = Arn::parse("arn:aws-cn:eks:cn-north-1:123456789012:cluster/demo").unwrap();
        assert_eq!((arn.partition, arn.service, arn.region), ("aws-cn", "eks", "cn-north-1"));
        assert_eq!((arn.account, arn.resource, arn.name()), ("123456789012", "cluster/demo", "demo"));
        let policy = Arn::parse("arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy").unwrap();
        assert_eq!((policy.region, policy.account), ("", "aws"));
        let group = Arn::parse("arn:aws:logs:eu-west-1:123456789012:log-group:/vpc/demo").unwrap();
        assert_eq!(group.resource, "log-group:/vpc/demo");
        assert_eq!(Arn::parse("arn:aws:s3:::logs/a").unwrap().resource, "logs/a");
        for other in ["", "demo", "arn:aws:iam", "arn::iam::1:role/x", "urn:aws:iam::1:role/x", "arn:aws:iam::1:"] {
            assert_eq!(Arn::parse(other), None, "{other}");
        }
    }
}
