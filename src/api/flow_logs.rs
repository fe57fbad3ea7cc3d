//! Flow logs of the cluster's own VPC: what is recorded, and where EC2 delivers it. No I/O.

use kube::KubeSchema;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SpecError;
use super::rules;
use super::schema;

/// Records of the VPC's IP traffic, which EC2 delivers to an existing destination: exactly one of `s3`,
/// `cloudWatchLogs`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one_of(&["s3", "cloudWatchLogs"]))]
#[serde(rename_all = "camelCase")]
pub struct FlowLogs {
    /// Delivers to an S3 bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Destination>,
    /// Delivers to a log group of CloudWatch Logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_watch_logs: Option<LogGroupDestination>,
    /// The traffic that is recorded: `All`, `Accepted` or `Rejected`.
    #[serde(default)]
    pub traffic: Traffic,
    /// Longest time that one record covers: 60 or 600 seconds. For nodes, which are Nitro
    /// instances, EC2 uses at most 60.
    #[serde(default = "default_aggregation_seconds")]
    #[schemars(schema_with = "schema::small_number")]
    #[x_kube(validation = aggregation_seconds())]
    pub aggregation_seconds: u16,
    /// The fields of a record, such as `${version} ${srcaddr} ${dstaddr}`; absent: EC2's default format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = record_format())]
    pub format: Option<String>,
}

/// An S3 bucket, whose policy must allow `delivery.logs.amazonaws.com` to write.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Destination {
    /// ARN of the bucket.
    #[schemars(length(max = 128))]
    #[x_kube(validation = bucket_arn())]
    pub bucket_arn: String,
    /// Folder in the bucket, such as `vpc/prod`; absent: the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = bucket_prefix())]
    pub prefix: Option<String>,
}

/// A log group, and the role that writes to it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogGroupDestination {
    /// Name or ARN of the log group.
    #[schemars(length(max = 640))]
    #[x_kube(validation = log_group())]
    pub log_group: String,
    /// ARN of an existing role that `vpc-flow-logs.amazonaws.com` can assume and that may write to the log group.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::role_arn())]
    pub role_arn: String,
}

/// The traffic that a flow log records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Traffic {
    #[default]
    All,
    Accepted,
    Rejected,
}

/// Where a flow log is delivered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A bucket.
    S3(&'a S3Destination),
    /// A log group.
    CloudWatchLogs(&'a LogGroupDestination),
}

impl FlowLogs {
    /// The one destination that is set.
    pub fn destination(&self) -> Result<Destination<'_>, SpecError> {
        match (&self.s3, &self.cloud_watch_logs) {
            (Some(s3), None) => Ok(Destination::S3(s3)),
            (None, Some(log_group)) => Ok(Destination::CloudWatchLogs(log_group)),
            _ => Err(SpecError::new("spec.network.vpc.flowLogs", "exactly one of s3, cloudWatchLogs must be set")),
        }
    }
}

impl S3Destination {
    /// The ARN of the folder, as EC2 takes it.
    pub fn arn(&self) -> String {
        match self.prefix.as_deref().map(|prefix| prefix.trim_matches('/')) {
            Some(prefix) if !prefix.is_empty() => format!("{}/{prefix}", self.bucket_arn),
            _ => self.bucket_arn.clone(),
        }
    }
}

impl LogGroupDestination {
    /// The name of the log group, also if the spec has its ARN.
    pub fn name(&self) -> &str {
        let name = self.log_group.rsplit(":log-group:").next().unwrap_or(&self.log_group);
        name.trim_end_matches(":*")
    }

    /// The ARN of the log group, if the spec has it.
    pub fn arn(&self) -> Option<&str> {
        self.log_group.starts_with("arn:").then(|| self.log_group.trim_end_matches(":*"))
    }
}

fn default_aggregation_seconds() -> u16 {
    600
}

fn aggregation_seconds() -> Rule {
    Rule::new("self == 60 || self == 600").message("must be 60 or 600, the intervals that EC2 offers")
}

fn record_format() -> Rule {
    rules::matches(
        r"^\$\{[a-z0-9-]+\}( \$\{[a-z0-9-]+\})*$",
        "must be fields of EC2's flow log records with one space between them, such as ${version} ${srcaddr} ${dstaddr}",
    )
}

fn bucket_arn() -> Rule {
    rules::matches(
        r"^arn:aws[a-z-]*:s3:::[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        "must be the ARN of an S3 bucket, arn:aws:s3:::<name>; a folder in it is the prefix",
    )
}

/// EC2 itself creates the folder `AWSLogs` below, and rejects it as a prefix.
fn bucket_prefix() -> Rule {
    Rule::new(r"self.matches(r'^[A-Za-z0-9!_.()-]+(/[A-Za-z0-9!_.()-]+)*/?$') && !self.matches(r'^AWSLogs(/|$)')").message(
        "must be a folder in the bucket, such as vpc/prod: letters, digits and ! _ . ( ) - between slashes, not beginning with AWSLogs, \
         which EC2 creates itself",
    )
}

fn log_group() -> Rule {
    rules::matches(
        r"^(arn:aws[a-z-]*:logs:[a-z0-9-]+:[0-9]{12}:log-group:)?[A-Za-z0-9_/.#-]{1,512}(:\*)?$",
        "must be the name or the ARN of a log group, arn:aws:logs:<region>:<account id>:log-group:<name>",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arn_and_name_of_a_log_group_are_the_same_destination() {
        let group = |text: &str| LogGroupDestination { log_group: text.into(), role_arn: String::new() };
        let arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/vpc/demo";
        for text in ["/vpc/demo", arn, &format!("{arn}:*")] {
            assert_eq!(group(text).name(), "/vpc/demo");
        }
        assert_eq!((group("/vpc/demo").arn(), group(&format!("{arn}:*")).arn()), (None, Some(arn)));
    }

    #[test]
    fn prefix_is_a_folder_below_the_bucket() {
        let bucket = |prefix: Option<&str>| S3Destination {
            bucket_arn: "arn:aws:s3:::logs".into(),
            prefix: prefix.map(str::to_owned),
        };
        assert_eq!(bucket(None).arn(), "arn:aws:s3:::logs");
        assert_eq!(bucket(Some("a/b/")).arn(), bucket(Some("a/b")).arn());
        assert_eq!(bucket(Some("a/b")).arn(), "arn:aws:s3:::logs/a/b");
    }
}
