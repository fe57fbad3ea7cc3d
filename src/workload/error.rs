//! Errors between the operator and a workload cluster.
//!
//! Not allowed here: retries; the caller decides by the type. No I/O.

use std::error::Error as _;
use std::time::Duration;

use jiff::Timestamp;

use super::cluster_identity::OtherCluster;
use super::object::ObjectId;
use super::token::TokenError;
use crate::api::conditions::Reason;

/// Why a workload cluster could not be reconciled. The reconciliation of AWS continues.
#[derive(Debug, thiserror::Error)]
pub enum GitOpsError {
    #[error("the cluster's API server {endpoint} cannot be reached since {since:.0}: {cause}")]
    Unreachable {
        endpoint: String,
        since: Timestamp,
        #[source]
        cause: Unreachable,
        requeue_after: Duration,
    },
    #[error("the cluster's API server {endpoint} denies the operator access: {message}; {advice}")]
    Denied { endpoint: String, message: String, advice: &'static str },
    #[error("the cluster's API server {endpoint} returned an unexpected response: {message}")]
    Unexpected { endpoint: String, message: String },
    #[error(
        "the cluster's API server {endpoint} sends more data than the operator reads from one cluster: {message}; the state of the cluster is \
         unknown until there is less"
    )]
    OverBudget { endpoint: String, message: String },
    #[error("the cluster's endpoint or certificate authority from EKS is invalid: {0}")]
    Endpoint(String),
    #[error(transparent)]
    OtherCluster(#[from] OtherCluster),
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl GitOpsError {
    /// The reason for the GitOpsReady condition.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unreachable { .. }
            | Self::Unexpected { .. }
            | Self::OverBudget { .. }
            | Self::Endpoint(_)
            | Self::OtherCluster(_) => Reason::AgentUnreachable,
            Self::Denied { .. } => Reason::AccessDenied,
            Self::Token(_) => Reason::CredentialsUnavailable,
        }
    }

    /// Keeps an earlier start of the outage, known from before this process started.
    pub fn since(self, earlier: Timestamp) -> Self {
        match self {
            Self::Unreachable { endpoint, since, cause, requeue_after } => {
                Self::Unreachable { endpoint, since: since.min(earlier), cause, requeue_after }
            }
            other => other,
        }
    }

    /// The delay until the next try.
    pub fn requeue_after(&self) -> Duration {
        match self {
            Self::Unreachable { requeue_after, .. } => *requeue_after,
            // An access entry takes effect some seconds after its creation.
            Self::Denied { .. } | Self::Unexpected { .. } => Duration::from_secs(10),
            Self::Endpoint(_) | Self::OtherCluster(_) | Self::Token(_) => Duration::from_secs(60),
            // Each try is expensive for both sides, and only a user can fix it.
            Self::OverBudget { .. } => Duration::from_secs(120),
        }
    }

    /// Whether the endpoint or CA may have changed: describe the cluster again before the next try.
    pub fn endpoint_may_have_changed(&self) -> bool {
        match self {
            Self::Unreachable { cause, .. } => {
                matches!(cause, Unreachable::Tls(_) | Unreachable::Connect(_))
            }
            Self::Endpoint(_) | Self::OtherCluster(_) => true,
            Self::Unexpected { .. } | Self::OverBudget { .. } | Self::Denied { .. } | Self::Token(_) => false,
        }
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(cause) => cause.fmt(f),
            Self::Denied { message, .. } | Self::Refused(message) | Self::TooLarge(message) => f.write_str(message),
            Self::Expired => f.write_str("the resourceVersion has expired"),
            Self::NotFound => f.write_str("the object does not exist, or its kind is not served"),
            Self::Conflict => f.write_str("the object was changed concurrently"),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(cause) => Some(cause),
            // The client's error is not kept: what a workload cluster answers is cut to a bounded text here, and its
            // parser quotes values, which may be secret.
            Self::Denied { .. } | Self::Refused(_) | Self::TooLarge(_) => None,
            Self::Expired | Self::NotFound | Self::Conflict => None,
        }
    }
}

/// Why an API server is unreachable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    #[error("its certificate is not trusted ({0}); the certificate authority is read from EKS again")]
    Tls(String),
    #[error("{0}")]
    Connect(String),
    #[error("the request timed out; a private endpoint must be reachable from where the operator runs")]
    Timeout,
    #[error("it returned {0}")]
    Busy(String),
    #[error("{0}")]
    WatchEnds(String),
}

/// A failed call, classified for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    Unreachable(Unreachable),
    /// 401 or 403.
    Denied {
        message: String,
        unauthenticated: bool,
    },
    /// 404: the object does not exist, or its kind is not served (yet).
    NotFound,
    /// 409: the object was changed concurrently.
    Conflict,
    /// 410: the resourceVersion has expired.
    Expired,
    /// The request or the object is rejected, or the response is invalid.
    Refused(String),
    /// More data than the operator reads from one cluster.
    TooLarge(String),
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => {
                let message =
                    bounded(if status.message.is_empty() { &status.reason } else { &status.message }, MESSAGE);
                match status.code {
                    401 => Self::Denied { message, unauthenticated: true },
                    403 => Self::Denied { message, unauthenticated: false },
                    404 => Self::NotFound,
                    409 => Self::Conflict,
                    410 => Self::Expired,
                    429 | 500.. => Self::Unreachable(Unreachable::Busy(format!("{}: {message}", status.code))),
                    _ => Self::Refused(message),
                }
            }
            // Only the position: the parser's message quotes the value, which may be secret.
            kube::Error::SerdeError(source) => {
                let (line, column) = (source.line(), source.column());
                Self::Refused(format!("the response cannot be parsed (line {line}, column {column})"))
            }
            _ => Self::Unreachable(unreachable(&error)),
        }
    }
}

/// Reads the chain of causes: kube boxes its connector's error.
fn unreachable(error: &kube::Error) -> Unreachable {
    let mut innermost = error.to_string();
    let mut timed_out = false;
    let mut source = error.source();
    while let Some(cause) = source {
        innermost = cause.to_string();
        let io = cause.downcast_ref::<std::io::Error>();
        timed_out |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut);
        source = cause.source().or_else(|| {
            // io::Error's source skips the error it wraps.
            io.and_then(|io| io.get_ref()).map(|inner| inner as &(dyn std::error::Error + 'static))
        });
    }
    let innermost = bounded(&innermost, MESSAGE);
    if timed_out {
        Unreachable::Timeout
    } else if innermost.contains("certificate") || innermost.contains("TLS") || innermost.contains("tls") {
        Unreachable::Tls(innermost)
    } else {
        Unreachable::Connect(innermost)
    }
}

/// Longest foreign message in conditions and status, in bytes.
pub const MESSAGE: usize = 512;

/// A text on one line, cut to at most `limit` bytes with an ellipsis.
pub fn bounded(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= limit {
        return line;
    }
    let end = (0..=limit.saturating_sub('…'.len_utf8())).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &line[..end])
}

/// An object that could not be applied, for the condition's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("applying {object} failed: {why}")]
pub struct ApplyFailure {
    pub object: ObjectId,
    pub why: String,
}

/// The error with its causes, each once: kube reports "service error" and keeps the rest in `source`.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    if let Some(text) = super::credential_command::describe(error) {
        return text;
    }
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_put_on_one_line_and_cut_between_characters() {
        assert_eq!(bounded("a\n  b", 10), "a b");
        assert_eq!(bounded("ääääää", 8), "ää…");
        assert!(bounded(&"ü".repeat(1000), MESSAGE).len() <= MESSAGE);
    }

    fn answer(code: u16) -> CallError {
        let status = kube::core::Status { code, message: "server message".into(), ..Default::default() };
        kube::Error::Api(Box::new(status)).into()
    }

    #[test]
    fn responses_are_classified_by_status_code() {
        assert_eq!(answer(404), CallError::NotFound);
        assert_eq!(answer(409), CallError::Conflict);
        assert_eq!(answer(422), CallError::Refused("server message".into()));
        assert!(matches!(answer(401), CallError::Denied { unauthenticated: true, .. }));
        assert!(matches!(answer(403), CallError::Denied { unauthenticated: false, .. }));
        assert_eq!(answer(503), CallError::Unreachable(Unreachable::Busy("503: server message".into())));
    }

    #[test]
    fn unreachable_cluster_leads_back_to_why() {
        let error = GitOpsError::Unreachable {
            endpoint: "https://api".into(),
            since: Timestamp::UNIX_EPOCH,
            cause: Unreachable::Timeout,
            requeue_after: Duration::ZERO,
        };
        let call = CallError::Unreachable(Unreachable::Timeout);
        for error in [&error as &dyn std::error::Error, &call] {
            let cause = error.source().and_then(|cause| cause.downcast_ref::<Unreachable>());
            assert_eq!(cause, Some(&Unreachable::Timeout));
            assert_eq!(with_causes(error), error.to_string(), "each cause once");
        }
    }

    #[test]
    fn output_of_a_command_that_gets_credentials_is_not_shown() {
        let broken = serde_saphyr::from_str::<u8>("token SECRET").unwrap_err();
        let broken = kube::client::AuthError::AuthExecParse(Box::new(broken));
        let text = with_causes(&kube::Error::Service(Box::new(broken)));
        assert!(text.contains("ExecCredential") && !text.contains("SECRET"), "{text}");
    }

    #[test]
    fn timeout_and_refused_connection_are_distinguished() {
        let io = |kind| kube::Error::Service(Box::new(std::io::Error::new(kind, "io error")));
        assert_eq!(CallError::from(io(std::io::ErrorKind::TimedOut)), CallError::Unreachable(Unreachable::Timeout));
        assert_eq!(
            CallError::from(io(std::io::ErrorKind::ConnectionRefused)),
            CallError::Unreachable(Unreachable::Connect("io error".into()))
        );
    }
}
