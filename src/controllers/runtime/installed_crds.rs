//! Whether the CRDs of the management cluster are older than this version: then the API server rejects status, and drops
//! fields from specs. Every authenticated user may read the document that is compared. I/O: the management cluster's API.

use std::time::Duration;

use kube::{Client, Resource as _};
use serde_json::Value;

use crate::api::EksCluster;
use crate::api::installed_schema::missing_parts;
use crate::api::listing::first_few;

/// An API server that does not answer must not delay readiness.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most parts that a message names.
const MAX_NAMED: usize = 3;

/// What the installed CRDs lack of this version's; empty: nothing, or they are not installed.
///
/// # Errors
/// The document cannot be read.
pub async fn missing(client: &Client) -> Result<Vec<String>, kube::Error> {
    let request = http::Request::get(format!("/openapi/v3/apis/{}", EksCluster::api_version(&()))).body(Vec::new());
    let request = request.map_err(kube::Error::HttpError)?;
    Ok(missing_parts(&client.request::<Value>(request).await?))
}

/// The message that the installed CRDs are older; `None`: they are not, or that is unknown.
pub async fn describe_older(client: &Client) -> Option<String> {
    match tokio::time::timeout(TIMEOUT, missing(client)).await {
        Ok(Ok(missing)) => describe(missing),
        // Whatever is wrong with the API server is found by the other checks.
        Ok(Err(_)) | Err(_) => None,
    }
}

/// The message about missing parts; `None`: none is missing.
pub fn describe(missing: Vec<String>) -> Option<String> {
    let version = env!("CARGO_PKG_VERSION");
    (!missing.is_empty()).then(|| {
        format!(
            "the installed CRDs are older than version {version} and lack {}: install the CRDs of this version (crds/)",
            first_few(missing, MAX_NAMED)
        )
    })
}
