//! Codes of SSM, SQS, EventBridge, KMS, CloudWatch Logs and EC2 Auto Scaling:
//! <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html>,
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>,
//! <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_Operations.html>,
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_Operations.html>,
//! <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CreateOrUpdateTags.html>.

use super::row::Advice::{Do, OfClass, Quota, Retried};
use super::row::{Row, phrase, row};
use crate::aws::service::Service::{self, AutoScaling, Events, Kms, Logs, Sqs, Ssm};
use crate::engine::Class;

const AUTO_SCALING: &[Service] = &[AutoScaling];
const KMS: &[Service] = &[Kms];
const EVENTS: &[Service] = &[Events];
const LOGS: &[Service] = &[Logs];
const SSM: &[Service] = &[Ssm];
const SQS: &[Service] = &[Sqs];

pub(super) const ROWS: &[Row] = &[
    row(
        KMS,
        &["NotFound"],
        Class::NotFound,
        Do("Check the ARN of the key, and that the key is in the cluster's region"),
    ),
    row(SSM, &["ParameterNotFound", "ParameterVersionNotFound"], Class::NotFound, Retried),
    row(SSM, &["InvalidKeyId"], Class::Invalid, OfClass),
    row(
        SQS,
        &["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"],
        Class::NotFound,
        Do(
            "Check --event-queue-url: the queue does not exist in that region and account; without it, drift is found at \
            the next interval",
        ),
    ),
    row(
        SQS,
        &["KmsAccessDenied", "KMS.AccessDenied"],
        Class::Denied,
        Do("The policy of the queue's KMS key does not allow the operator to decrypt (kms:Decrypt): the key's \
            administrator can allow it"),
    ),
    row(
        SQS,
        &[
            "KmsDisabled",
            "KmsInvalidKeyUsage",
            "KmsInvalidState",
            "KmsNotFound",
            "KmsOptInRequired",
            "KMS.Disabled",
            "KMS.InvalidState",
            "KMS.NotFound",
        ],
        Class::Invalid,
        Do("The queue's KMS key cannot be used: enable it, or choose another key for the queue"),
    ),
    row(SQS, &["KmsThrottled", "RequestThrottled"], Class::Throttled, Retried),
    row(SQS, &["OverLimit"], Class::Busy, Retried),
    row(
        SQS,
        &["InvalidAddress", "InvalidIdFormat", "InvalidSecurity", "ReceiptHandleIsInvalid", "UnsupportedOperation"],
        Class::Invalid,
        Do("Check that --event-queue-url is the URL of a standard queue, with https"),
    ),
    // A batch whose entries SQS rejects; each message is delivered again.
    row(
        SQS,
        &["BatchEntryIdsNotDistinct", "EmptyBatchRequest", "InvalidBatchEntryId", "TooManyEntriesInBatchRequest"],
        Class::Invalid,
        OfClass,
    ),
    // SQS, where a queue is created, kept or deleted.
    row(SQS, &["QueueDeletedRecently", "AWS.SimpleQueueService.QueueDeletedRecently"], Class::Busy, Retried),
    row(SQS, &["QueueNameExists", "QueueAlreadyExists"], Class::Conflict, OfClass),
    row(SQS, &["InvalidAttributeName", "InvalidAttributeValue"], Class::Invalid, OfClass),
    // EventBridge.
    row(EVENTS, &["ConcurrentModification"], Class::Busy, Retried),
    row(EVENTS, &["LimitExceeded"], Class::Quota, Quota("Rules")),
    row(EVENTS, &["InvalidEventPattern"], Class::Invalid, OfClass),
    row(EVENTS, &["ManagedRule"], Class::Conflict, OfClass),
    row(EVENTS, &["Internal"], Class::Unavailable, Retried),
    // CloudWatch Logs, where a log group is read, kept or deleted.
    row(LOGS, &["LimitExceeded"], Class::Quota, Quota("Log groups")),
    row(LOGS, &["TooManyTags"], Class::Invalid, Do("The log group has too many tags: remove some of spec.tags")),
    // EC2 Auto Scaling, where a group is read or tagged. EKS deletes the group with its node group, and another one may follow.
    phrase(AUTO_SCALING, &["ValidationError"], &["not found"], Class::NotFound, Retried),
    row(
        AUTO_SCALING,
        &["LimitExceeded"],
        Class::Invalid,
        Do("An Auto Scaling group carries at most 50 tags, those of EKS and of other tools included: remove some of \
            spec.autoScalingGroupTags"),
    ),
    row(AUTO_SCALING, &["AlreadyExists"], Class::Conflict, OfClass),
    row(AUTO_SCALING, &["ResourceContention", "ResourceInUse"], Class::Busy, Retried),
    row(&[], &["OperationAborted"], Class::Busy, Retried),
    row(&[], &["ResourceAlreadyExists"], Class::Conflict, OfClass),
    row(&[], &["NoSuchResource", "ResourceNotFound"], Class::NotFound, Retried),
    row(&[], &["IllegalArgument", "InvalidArn"], Class::Invalid, OfClass),
    row(&[], &["DependencyTimeout", "KMSInternal"], Class::Unavailable, Retried),
];
