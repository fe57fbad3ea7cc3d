//! Lists of objects in a workload cluster, page by page: of each object only the fields that `T` names are kept.
//!
//! May not enter: what is done with them. I/O: the workload cluster's API, reads only.

use kube::Client;
use kube::core::params::ListParams;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::CallError;
use super::object::{collection, or_default};

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default = "Vec::new", deserialize_with = "or_default")]
    items: Vec<T>,
}

#[derive(Deserialize, Default)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: String,
}

/// Hands every object to `each`, until that says that it has enough. A kind that is not served has no objects.
pub async fn each<T: DeserializeOwned>(
    client: &Client,
    (api_version, kind): (&str, &str),
    namespace: Option<&str>,
    parameters: &ListParams,
    page: u32,
    mut each: impl FnMut(T) -> Go,
) -> Result<(), CallError> {
    let requests = collection(api_version, kind, namespace);
    let mut parameters = parameters.clone().limit(page);
    loop {
        let request = requests.list(&parameters).map_err(kube::Error::BuildRequest)?;
        let page: Page<T> = match client.request(request).await.map_err(CallError::from) {
            Ok(page) => page,
            Err(CallError::NotFound) => return Ok(()),
            Err(other) => return Err(other),
        };
        for item in page.items {
            if each(item) == Go::Enough {
                return Ok(());
            }
        }
        if page.metadata.next.is_empty() {
            return Ok(());
        }
        parameters = parameters.continue_token(&page.metadata.next);
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    On,
    Enough,
}
