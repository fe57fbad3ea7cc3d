//! The bearer token that an EKS API server accepts: a presigned STS `GetCallerIdentity`, minted in memory.
//!
//! Not allowed here: AWS clients; credentials are passed as a value. No I/O: signing is arithmetic.
//!
//! The form is that of `aws eks get-token` (aws-iam-authenticator): `k8s-aws-v1.` and the URL in base64url without
//! padding. The API server's webhook calls the URL, adding the header `x-k8s-aws-id` with its own cluster's name, which
//! is why that header is signed: a token for one cluster is rejected by every cluster of another name.
//!
//! The signature covers the name, the STS endpoint and the time, and not the account, the region or the endpoint of the
//! cluster: any cluster *of the same name*, in any account, accepts the token if it knows the principal, and its
//! receiver can use it there for its 15 minutes. So it must be sent only to the intended cluster:
//! [`super::cluster_identity`].

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::Url;

/// EKS accepts a token for 15 minutes after its signing date; this leaves room for clock skew and long calls.
pub const USABLE_FOR: Duration = Duration::from_secs(12 * 60);

/// `X-Amz-Expires`: how long STS accepts the URL after EKS first called it. EKS requires a short time, and counts its
/// 15 minutes separately.
const PRESIGNED_FOR: Duration = Duration::from_secs(60);

const PREFIX: &str = "k8s-aws-v1.";
const CLUSTER_HEADER: &str = "x-k8s-aws-id";

/// A bearer token. Only [`Token::expose`] returns its text, so it is not printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The text for the `Authorization` header. It must not appear in logs, events or status.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(** redacted **)")
    }
}

/// Why no token could be minted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the STS endpoint {endpoint:?} is not a URL: correct AWS_ENDPOINT_URL_STS or AWS_ENDPOINT_URL")]
    Endpoint {
        endpoint: String,
        #[source]
        source: url::ParseError,
    },
    #[error("signing the token for cluster {cluster:?} failed")]
    Signing {
        cluster: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The STS endpoint that the cluster's webhook will call.
///
/// EKS calls STS's own hosts only, and regional ones do not need the global endpoint. An emulator's webhook calls the
/// emulator, so there the URL has the host of `AWS_ENDPOINT_URL`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StsEndpoint(Url);

impl StsEndpoint {
    /// The endpoint of a region, or `endpoint_override` if the AWS configuration has one.
    pub fn of_region(region: &str, endpoint_override: Option<&str>) -> Result<Self, TokenError> {
        let text = match endpoint_override {
            Some(url) => url.to_owned(),
            None => format!("https://sts.{region}.{}", dns_suffix(region)),
        };
        let mut url = Url::parse(&text).map_err(|source| TokenError::Endpoint { endpoint: text, source })?;
        url.set_path("/");
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self(url))
    }
}

/// The DNS suffix of a region's partition, from AWS's `partitions.json`.
fn dns_suffix(region: &str) -> &'static str {
    let partition = |prefix: &str| region.starts_with(prefix);
    match region {
        _ if partition("cn-") => "amazonaws.com.cn",
        _ if partition("eusc-") => "amazonaws.eu",
        _ if partition("us-isob-") => "sc2s.sgov.gov",
        _ if partition("us-isof-") => "csp.hci.ic.gov",
        _ if partition("us-iso-") => "c2s.ic.gov",
        _ if partition("eu-isoe-") => "cloud.adc-e.uk",
        _ => "amazonaws.com",
    }
}

/// Mints a token for `cluster` (its EKS name), signed with `credentials` as of `now`.
pub fn mint(
    cluster: &str,
    region: &str,
    endpoint: &StsEndpoint,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<Token, TokenError> {
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| TokenError::Signing { cluster: cluster.to_owned(), source };
    let mut url = endpoint.0.clone();
    url.query_pairs_mut().append_pair("Action", "GetCallerIdentity").append_pair("Version", "2011-06-15");

    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(PRESIGNED_FOR);
    let identity = credentials.clone().into();
    let params = aws_sigv4::sign::v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| failed(error.into()))?
        .into();
    let headers = [(CLUSTER_HEADER, cluster)];
    let request = SignableRequest::new("GET", url.as_str(), headers.into_iter(), SignableBody::Bytes(b""))
        .map_err(|error| failed(error.into()))?;
    let (instructions, _signature) =
        aws_sigv4::http_request::sign(request, &params).map_err(|error| failed(error.into()))?.into_parts();
    for (name, value) in instructions.params() {
        url.query_pairs_mut().append_pair(name, value);
    }
    Ok(Token(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(url.as_str()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minted(session: Option<&str>, endpoint: Option<&str>) -> (Token, Url) {
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            session.map(str::to_owned),
            None,
            "test",
        );
        let endpoint = StsEndpoint::of_region("eu-west-1", endpoint).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_255_200);
        let token = mint("demo", "eu-west-1", &endpoint, &credentials, now).unwrap();
        let text = URL_SAFE_NO_PAD.decode(token.expose().strip_prefix(PREFIX).unwrap()).unwrap();
        (token, Url::parse(std::str::from_utf8(&text).unwrap()).unwrap())
    }

    fn parameter(url: &Url, name: &str) -> Option<String> {
        url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    #[test]
    fn token_is_a_presigned_get_caller_identity_of_the_regional_endpoint() {
        let (_, url) = minted(Some("session/token+with=signs"), None);
        assert_eq!((url.scheme(), url.host_str(), url.path()), ("https", Some("sts.eu-west-1.amazonaws.com"), "/"));
        assert_eq!(parameter(&url, "Action").as_deref(), Some("GetCallerIdentity"));
        assert_eq!(parameter(&url, "X-Amz-Expires").as_deref(), Some("60"));
        assert_eq!(parameter(&url, "X-Amz-SignedHeaders").as_deref(), Some("host;x-k8s-aws-id"));
        assert_eq!(
            parameter(&url, "X-Amz-Credential").as_deref(),
            Some("AKIDEXAMPLE/20261121/eu-west-1/sts/aws4_request")
        );
        assert_eq!(parameter(&url, "X-Amz-Security-Token").as_deref(), Some("session/token+with=signs"));
    }

    // Expected values: botocore 1.44.5, SigV4QueryAuth, for the same request, keys and time.
    #[test]
    fn signature_matches_botocore() {
        let (_, url) = minted(None, None);
        assert_eq!(
            parameter(&url, "X-Amz-Signature").as_deref(),
            Some("320bbba157fb882b94915ae6342ef4b75bccbab1091c1007a44c51a5b1015b7e")
        );
        let (_, url) = minted(Some("session/token+with=signs"), None);
        assert_eq!(
            parameter(&url, "X-Amz-Signature").as_deref(),
            Some("59d42a054df073522b264e353b6909938259decafd54761ffbb16bf1942bd837")
        );
        let (_, url) = minted(None, Some("http://127.0.0.1:4566"));
        assert_eq!(
            parameter(&url, "X-Amz-Signature").as_deref(),
            Some("f08871bc0d7a6c481de7118925a8a34d539e9f69ad4b54e9692ea28bbac061bd")
        );
    }

    #[test]
    fn token_for_another_cluster_has_another_signature() {
        let credentials = Credentials::new("AKID", "secret", None, None, "test");
        let endpoint = StsEndpoint::of_region("eu-west-1", None).unwrap();
        let token = |cluster| mint(cluster, "eu-west-1", &endpoint, &credentials, SystemTime::UNIX_EPOCH).unwrap();
        assert_ne!(token("demo"), token("other"));
    }

    #[test]
    fn endpoint_override_is_the_presigned_host() {
        let (_, url) = minted(None, Some("http://127.0.0.1:4566/ignored?x=1"));
        assert_eq!(
            (url.scheme(), url.host_str(), url.port(), url.path()),
            ("http", Some("127.0.0.1"), Some(4566), "/")
        );
    }

    #[test]
    fn each_partition_has_its_own_suffix() {
        for (region, host) in [
            ("eu-central-1", "sts.eu-central-1.amazonaws.com"),
            ("us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
            ("us-iso-east-1", "sts.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "sts.us-isob-east-1.sc2s.sgov.gov"),
            ("eusc-de-east-1", "sts.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(StsEndpoint::of_region(region, None).unwrap().0.host_str(), Some(host));
        }
    }

    #[test]
    fn token_is_redacted_when_printed() {
        let (token, _) = minted(Some("session"), None);
        assert_eq!(format!("{token:?}"), "Token(** redacted **)");
    }
}
