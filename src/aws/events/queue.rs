//! The event queue: long polls, and deletion of handled messages. I/O: SQS.

use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, MessageSystemAttributeName};

use crate::aws::call::Caller;
use crate::aws::errors::AwsError;
use crate::aws::service::Service;

/// SQS's maximum wait time.
const LONG_POLL_SECONDS: i32 = 20;
/// SQS's maximum batch size.
const MAX_MESSAGES: i32 = 10;

/// A message, until it is deleted or redelivered.
#[derive(Clone, Debug)]
pub struct Received {
    pub body: String,
    /// Handle for the deletion.
    pub receipt: String,
    /// The sender as SQS recorded it: `SenderId`, the unique id of a principal, for a role followed by `:SESSION`. The
    /// sender cannot choose it.
    pub sender: Option<String>,
}

/// A queue, read with the operator's own credentials. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    pub(in crate::aws) url: String,
    pub(in crate::aws) sqs: aws_sdk_sqs::Client,
    pub(in crate::aws) caller: Caller,
}

impl Queue {
    /// Waits up to 20 s for messages; may return none.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn receive(&self) -> Result<Vec<Received>, AwsError> {
        let request = self
            .sqs
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(MAX_MESSAGES)
            .wait_time_seconds(LONG_POLL_SECONDS)
            .message_system_attribute_names(MessageSystemAttributeName::SenderId);
        let response = self.caller.call(Service::Sqs, "ReceiveMessage", &self.url, request.send()).await?;
        let messages = response.messages.unwrap_or_default().into_iter();
        let received = messages.filter_map(|message| {
            let sender = message.attributes.and_then(|mut all| all.remove(&MessageSystemAttributeName::SenderId));
            Some(Received { body: message.body.unwrap_or_default(), receipt: message.receipt_handle?, sender })
        });
        Ok(received.collect())
    }

    /// Deletes messages. A message that is not deleted is redelivered, which is harmless.
    ///
    /// # Errors
    /// When SQS rejects the call.
    pub async fn delete(&self, receipts: Vec<String>) -> Result<(), AwsError> {
        let entries: Vec<_> = receipts.into_iter().enumerate().filter_map(entry).collect();
        if entries.is_empty() {
            return Ok(());
        }
        let request = self.sqs.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
        self.caller.call(Service::Sqs, "DeleteMessageBatch", &self.url, request.send()).await.map(drop)
    }
}

fn entry((number, receipt): (usize, String)) -> Option<DeleteMessageBatchRequestEntry> {
    DeleteMessageBatchRequestEntry::builder().id(number.to_string()).receipt_handle(receipt).build().ok()
}

/// The label before the domain in the legacy form of a queue's host: `eu-west-1.queue.amazonaws.com`.
const LEGACY_HOST: &str = "queue";

/// The region in the URL of a queue, for SQS's endpoints; `None` for others (an emulator).
///
/// See <https://docs.aws.amazon.com/general/latest/gr/sqs-service.html>.
pub fn region_of(url: &str) -> Option<String> {
    let host = url::Url::parse(url).ok()?.host_str()?.to_owned();
    let labels: Vec<&str> = host.split('.').collect();
    let at = labels.iter().position(|label| ["sqs", "sqs-fips", LEGACY_HOST].contains(label))?;
    let region = if labels[at] == LEGACY_HOST { labels.get(at.checked_sub(1)?) } else { labels.get(at + 1) };
    let aws = host.contains(".amazonaws.com") || host.contains(".api.aws") || host.contains(".aws.");
    region.filter(|region| aws && region.contains('-')).map(|region| (*region).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_is_read_from_all_queue_url_formats() {
        let cases = [
            ("https://sqs.eu-west-1.amazonaws.com/111122223333/keelson-events", Some("eu-west-1")),
            ("https://sqs-fips.us-gov-west-1.amazonaws.com/111122223333/q", Some("us-gov-west-1")),
            ("https://sqs.cn-north-1.amazonaws.com.cn/111122223333/q", Some("cn-north-1")),
            ("https://eu-central-1.queue.amazonaws.com/111122223333/q", Some("eu-central-1")),
            ("https://vpce-0a1b-xyz.sqs.us-east-1.vpce.amazonaws.com/111122223333/q", Some("us-east-1")),
            ("https://sqs.eu-west-1.api.aws/111122223333/q", Some("eu-west-1")),
            ("https://queue.amazonaws.com/111122223333/q", None),
            ("http://127.0.0.1:4566/111122223333/q", None),
            ("http://sqs.eu-west-1.localhost.localstack.cloud:4566/000000000000/q", None),
            ("not a url", None),
        ];
        for (url, region) in cases {
            assert_eq!(region_of(url).as_deref(), region, "{url}");
        }
    }
}
