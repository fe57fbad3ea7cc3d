//! Whether a server answers, without credentials: for `keelson doctor`. I/O: one request, or one connection.

use std::time::Duration;

use http::{Request, Uri};
use kube::client::Body;
use kube::{Client, Config};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::client::certificates;
use super::error::with_causes;
use super::proxy::Proxy;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The status of a GET of `path` at a server. `certificate_authority`: PEM in base64; `None`: the system's.
///
/// # Errors
/// Why there is no answer: name, connection, certificate, time.
pub async fn status(
    server: &Uri,
    path: &str,
    certificate_authority: Option<&str>,
    proxy: Option<&Proxy>,
) -> Result<u16, String> {
    let mut config = Config::new(server.clone());
    config.proxy_url = proxy.and_then(|proxy| proxy.to(server).cloned());
    config.root_cert = certificate_authority.map(certificates).transpose()?;
    config.connect_timeout = Some(TIMEOUT);
    config.read_timeout = Some(TIMEOUT);
    config.default_retry = false;
    let client = Client::try_from(config).map_err(|error| error.to_string())?;
    let request = Request::get(path).body(Body::empty()).map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(TIMEOUT, client.send(request)).await;
    let answer = answer.map_err(|_| format!("no answer within {} s", TIMEOUT.as_secs()))?;
    answer.map(|answer| answer.status().as_u16()).map_err(|error| with_causes(&error))
}

/// The first line that an SSH server sends, such as `SSH-2.0-babeld`.
///
/// # Errors
/// As [`status`].
pub async fn ssh_version(host: &str, port: u16) -> Result<String, String> {
    let read = async {
        let mut connection = TcpStream::connect((host, port)).await?;
        let mut line = [0_u8; 64];
        let length = connection.read(&mut line).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&line[..length]).lines().next().unwrap_or_default().to_owned())
    };
    match tokio::time::timeout(TIMEOUT, read).await {
        Ok(Ok(line)) if line.starts_with("SSH-") => Ok(line),
        Ok(Ok(line)) => Err(format!("it answers {line:?}, which is no SSH server")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    }
}
