//! Deadlines for calls to the management cluster's API: an API server that accepts a call and never responds delays
//! only one object, and only until the deadline. Watches have their own timeout. No I/O of its own.

use std::time::Duration;

use crate::aws::WriteGate;
use crate::telemetry::management;

/// Longer than a healthy API server needs under load. After a timeout the next reconcile retries the call.
const DEADLINE: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(10) };

/// Runs `request` with the deadline. `call` names it in the log and in `keelson_management_api_timeouts_total`.
///
/// # Errors
/// The API server's error, or a timeout. A write may have taken effect despite a timeout.
pub async fn with_deadline<T>(
    call: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    within(DEADLINE, call, request).await
}

/// Like [`with_deadline`], for writes of the leader: aborted when the lease expires, so that they do not overwrite
/// writes of the next leader.
///
/// # Errors
/// As [`with_deadline`].
pub async fn with_deadline_while_leading<T>(
    gate: &dyn WriteGate,
    call: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    let remaining = gate.open_for().unwrap_or(DEADLINE);
    within(remaining.min(DEADLINE), call, request).await
}

async fn within<T>(
    deadline: Duration,
    call: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    match tokio::time::timeout(deadline, request).await {
        Ok(response) => response,
        Err(_) => {
            management::count_timeout(call);
            tracing::warn!(call, ?deadline, "the management cluster's API server did not answer in time");
            let message =
                format!("the API server did not answer `{call}` within {} s; Keelson will retry", deadline.as_secs());
            Err(kube::Error::Service(message.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EksCluster;
    use crate::controllers::runtime::apply;
    use crate::controllers::runtime::leader::Leadership;
    use serde_json::json;

    /// A client of an API server that accepts connections and never responds.
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
    async fn writes_to_an_unresponsive_api_server_time_out() {
        let client = silent().await;
        let object = json!({"apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": "demo", "namespace": "team", "uid": "u", "finalizers": [crate::api::FINALIZER]},
            "spec": {"region": "eu-west-1", "version": "1.34"}});
        let object: EksCluster = serde_json::from_value(object).unwrap();
        let status = json!({"resources": []});
        let gate = Leadership::always();
        let writes = async {
            vec![
                apply::patch_status(&client, &object, apply::MANAGER, &gate, &status).await.map(drop),
                apply::patch_status(&client, &object, apply::JOURNAL, &gate, &status).await.map(drop),
                apply::add_finalizer(&client, &object).await,
                apply::remove_finalizer(&client, &object).await,
                apply::delete(&client, &object).await,
            ]
        };
        let results = tokio::time::timeout(DEADLINE * 20, writes).await.expect("each call ends");
        for result in results {
            let message = apply::describe_error(&result.unwrap_err());
            assert!(message.contains("did not answer"), "{message}");
        }
        let text = crate::telemetry::Metrics::new().encode();
        for call in ["patch status", "patch finalizers", "delete"] {
            let metric = format!("keelson_management_api_timeouts_total{{call=\"{call}\"}} ");
            assert!(text.contains(&metric), "{metric} not in\n{text}");
        }
    }
}
