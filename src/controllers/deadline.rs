//! A deadline for each call to the management cluster's API: an API server that accepts a call and never answers holds up one
//! object for that long, and the others not at all. Watches have their own. No I/O of its own.

use std::time::Duration;

use crate::aws::WriteGate;
use crate::telemetry::management;

/// Longer than a healthy API server takes under load; a call that times out is made again by the next reconcile.
const DEADLINE: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(10) };

/// The answer to `request`, if it comes in time. `call` names it in the log and in `keelson_management_api_timeouts_total`.
///
/// # Errors
/// What the API server answered, or that it did not. A write may have been made all the same.
pub async fn answered<T>(
    call: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    within(DEADLINE, call, request).await
}

/// The same for what only the leader may write: given up when its lease runs out, so that it does not land on what the next
/// leader has written.
///
/// # Errors
/// As [`answered`].
pub async fn answered_while<T>(
    gate: &dyn WriteGate,
    call: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    let left = gate.open_for().unwrap_or(DEADLINE);
    within(left.min(DEADLINE), call, request).await
}

async fn within<T>(
    deadline: Duration,
    call: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    match tokio::time::timeout(deadline, request).await {
        Ok(answer) => answer,
        Err(_) => {
            management::count_timeout(call);
            tracing::warn!(call, ?deadline, "the management cluster's API server did not answer in time");
            let message =
                format!("the API server did not answer `{call}` within {} s; it is tried again", deadline.as_secs());
            Err(kube::Error::Service(message.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EksCluster;
    use crate::controllers::apply;
    use crate::controllers::leader::Leadership;
    use serde_json::json;

    /// A client of an API server that accepts connections and never answers.
    async fn silent() -> kube::Client {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                open.push(connection);
            }
        });
        kube::Client::try_from(kube::Config::new(url)).unwrap()
    }

    #[tokio::test]
    async fn no_write_to_a_silent_api_server_lasts_for_ever() {
        let client = silent().await;
        let object = json!({"apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": "demo", "namespace": "team", "uid": "u", "finalizers": [crate::api::FINALIZER]},
            "spec": {"region": "eu-west-1", "version": "1.34"}});
        let object: EksCluster = serde_json::from_value(object).unwrap();
        let status = json!({"resources": []});
        let gate = Leadership::always();
        let writes = async {
            vec![
                apply::status(&client, &object, apply::MANAGER, &gate, &status).await,
                apply::status(&client, &object, apply::JOURNAL, &gate, &status).await,
                apply::add_finalizer(&client, &object).await,
                apply::remove_finalizer(&client, &object).await,
                apply::delete(&client, &object).await,
            ]
        };
        let results = tokio::time::timeout(DEADLINE * 20, writes).await.expect("each ends");
        for result in results {
            let told = apply::describe_error(&result.unwrap_err());
            assert!(told.contains("did not answer"), "{told}");
        }
        let text = crate::telemetry::Metrics::new().encode();
        for call in ["patch status", "patch finalizers", "delete"] {
            let counted = format!("keelson_management_api_timeouts_total{{call=\"{call}\"}} ");
            assert!(text.contains(&counted), "{counted} not in\n{text}");
        }
    }
}
