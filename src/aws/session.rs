//! One identity in one account and region: its clients, and the method that calls them. I/O: the calls that are passed
//! in.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_sdk_sts::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::call::Caller;
use super::errors::{AwsError, Class};
use super::service::{Priority, Service};
use super::snapshots::Snapshots;

/// Clients of one account and region, verified to be the expected account. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Session {
    pub account_id: Arc<str>,
    /// `aws`, `aws-cn`, `aws-us-gov`: for ARNs.
    pub partition: Arc<str>,
    pub region: Arc<str>,
    /// Our ARN in the account, from GetCallerIdentity.
    pub caller_arn: Arc<str>,
    pub ec2: aws_sdk_ec2::Client,
    pub eks: aws_sdk_eks::Client,
    pub iam: aws_sdk_iam::Client,
    /// Reads shared by all sessions of this identity and region.
    pub snapshots: Snapshots,
    pub(super) caller: Caller,
    /// For clients that few commands need.
    pub(super) config: Arc<SdkConfig>,
}

impl Session {
    /// Sends an operation: `session.call(Service::Ec2, "CreateVpc", "vpc", session.ec2.create_vpc().send())`.
    ///
    /// # Errors
    /// As [`Caller::call`].
    pub fn call<'a, T, E, F>(
        &'a self,
        service: Service,
        action: &'static str,
        resource: &'a str,
        request: F,
    ) -> impl Future<Output = Result<T, AwsError>> + Send + 'a
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
        T: RequestId + Send + 'a,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        self.caller.call(service, action, resource, request)
    }

    /// The credentials of this identity, for what the SDK does not sign: a cluster's token.
    ///
    /// # Errors
    /// As the call that fetches them.
    pub async fn credentials(&self) -> Result<Credentials, AwsError> {
        match self.caller.credentials() {
            Some(credentials) => credentials.credentials().await,
            None => {
                let call = self.caller.describe(Service::Sts, "GetCredentials", "the session");
                Err(call.failed(Class::CredentialsUnavailable, "the session has no credentials").into())
            }
        }
    }

    /// A client of KMS.
    pub fn kms(&self) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.config)
    }

    /// A client of CloudWatch Logs.
    pub fn logs(&self) -> aws_sdk_cloudwatchlogs::Client {
        aws_sdk_cloudwatchlogs::Client::new(&self.config)
    }

    /// A client of EC2 Auto Scaling.
    pub fn autoscaling(&self) -> aws_sdk_autoscaling::Client {
        aws_sdk_autoscaling::Client::new(&self.config)
    }

    /// A client of SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    /// A client of EventBridge.
    pub fn events(&self) -> aws_sdk_eventbridge::Client {
        aws_sdk_eventbridge::Client::new(&self.config)
    }

    /// A client of Service Quotas.
    pub fn service_quotas(&self) -> aws_sdk_servicequotas::Client {
        aws_sdk_servicequotas::Client::new(&self.config)
    }

    /// The same session for work that can wait: its calls leave a part of every bucket to others.
    pub fn background(&self) -> Self {
        let caller = self.caller.with_priority(Priority::Background);
        Session { snapshots: self.snapshots.with_caller(caller.clone()), caller, ..self.clone() }
    }

    /// A failure detected in a response: a required field is missing, for example.
    pub fn failure(
        &self,
        service: Service,
        action: &'static str,
        resource: &str,
        class: Class,
        message: impl Into<String>,
    ) -> AwsError {
        self.caller.describe(service, action, resource).failed(class, message).into()
    }

    /// The name, without its path, of an IAM resource in this account whose ARN resource begins with `kind`.
    pub fn own_iam_name<'a>(&self, arn: &'a str, kind: &str) -> Option<&'a str> {
        let path = arn.strip_prefix(&self.iam_arn(kind))?;
        path.rsplit('/').next().filter(|name| !name.is_empty())
    }

    /// `arn:PARTITION:iam::ACCOUNT:RESOURCE`.
    pub fn iam_arn(&self, resource: &str) -> String {
        format!("arn:{}:iam::{}:{resource}", self.partition, self.account_id)
    }
}
