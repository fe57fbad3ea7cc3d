//! The SDK as configured here, against a server that misbehaves like AWS and networks.

mod calls;
mod credentials;
mod reads;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_types::timeout::TimeoutConfig;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;

use super::accounts::{Accounts, Identity, Role, Settings};
use super::errors::{AwsError, Class};
use super::service::Service;
use super::session::Session;
use super::shared::MaxStaleness;
use super::write_gate::AlwaysOpen;
use crate::telemetry::Metrics;

const ACCOUNT: &str = "111122223333";
const REGION: &str = "eu-west-1";

/// A request as the server received it, and the response to it.
#[derive(Debug, Clone)]
struct Request {
    form: HashMap<String, String>,
    authorization: String,
}

impl Request {
    fn action(&self) -> &str {
        self.form.get("Action").map_or("", String::as_str)
    }
}

type Response = (StatusCode, String);
type Script = Arc<dyn Fn(&Request, usize) -> Response + Send + Sync>;

#[derive(Clone)]
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// `script` gets each request and the number of earlier requests for its action.
    async fn start(script: impl Fn(&Request, usize) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = Server { url, requests: Arc::default() };
        let (requests, script): (_, Script) = (server.requests.clone(), Arc::new(script));
        let response = move |headers: HeaderMap, body: Bytes| {
            let request = Request {
                form: url::form_urlencoded::parse(&body).into_owned().collect(),
                authorization: headers
                    .get("authorization")
                    .and_then(|h| h.to_str().ok())
                    .unwrap_or_default()
                    .to_owned(),
            };
            let mut requests = requests.lock().expect("not poisoned");
            let before = requests.iter().filter(|r: &&Request| r.action() == request.action()).count();
            let response = script(&request, before);
            requests.push(request);
            async move { (response.0, [("x-amzn-requestid", "r-1")], response.1) }
        };
        let app = axum::Router::new().fallback(response);
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    fn count(&self, action: &str) -> usize {
        self.requests.lock().expect("not poisoned").iter().filter(|r| r.action() == action).count()
    }

    fn last(&self, action: &str) -> Request {
        let requests = self.requests.lock().expect("not poisoned");
        requests.iter().rfind(|r| r.action() == action).expect("the action was called").clone()
    }
}

fn config(url: &str, call_timeout: Duration) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(call_timeout).build();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(url)
        .timeout_config(timeouts)
        .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
        .http_client(super::accounts::http_client())
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "AKIAOPERATOR",
            "secret",
            None,
            None,
            "tests",
        )))
        .build()
}

fn accounts(url: &str) -> Accounts {
    Accounts::new(config(url, Duration::from_millis(500)), Settings::default(), Arc::new(AlwaysOpen), Metrics::new())
}

async fn session(server: &Server) -> Session {
    accounts(&server.url).session(&Identity::ambient(), REGION).await.expect("a session")
}

fn ok(body: impl Into<String>) -> Response {
    (StatusCode::OK, body.into())
}

fn caller_identity(account: &str) -> Response {
    ok(format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>arn:aws-cn:sts::{account}:assumed-role/x/y</Arn><UserId>U</UserId><Account>{account}</Account>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>"
    ))
}

fn assume_role_response(number: usize, lasts: Duration) -> Response {
    let expires = jiff::Timestamp::now() + lasts;
    ok(format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
         <AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>SECRET-key</SecretAccessKey><SessionToken>SECRET-token</SessionToken>\
         <Expiration>{expires}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    ))
}

fn query_error(status: u16, code: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (
        status,
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        ),
    )
}

fn ec2_error(status: u16, code: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (
        status,
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>as AWS says</Message></Error></Errors><RequestID>r-1</RequestID></Response>"
        ),
    )
}

fn vpcs(ids: &[&str], next: Option<&str>) -> Response {
    let items: String = ids
        .iter()
        .map(|id| format!("<item><vpcId>{id}</vpcId><tagSet><item><key>keelson.dev/owner</key><value>u</value></item></tagSet></item>"))
        .collect();
    let next = next.map(|token| format!("<nextToken>{token}</nextToken>")).unwrap_or_default();
    ok(format!(
        "<DescribeVpcsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><vpcSet>{items}</vpcSet>{next}</DescribeVpcsResponse>"
    ))
}

async fn create_vpc(session: &Session) -> Result<(), AwsError> {
    session
        .call(Service::Ec2, "CreateVpc", "vpc", session.ec2.create_vpc().cidr_block("10.0.0.0/16").send())
        .await
        .map(drop)
}

fn role(external_id: Option<&str>) -> Identity {
    let role = Role {
        arn: format!("arn:aws:iam::{ACCOUNT}:role/keelson"),
        external_id: external_id.map(str::to_owned),
        session_name: "keelson".into(),
    };
    Identity { account_id: Some(ACCOUNT.into()), role: Some(role) }
}
