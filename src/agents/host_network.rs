//! An agent on its nodes' network. A cluster that brings its own CNI gets it from Git, and so from the agent: nodes are
//! not Ready before, and no Pod gets an address. Until then the agent's Pods run on the host network, tolerate nodes that
//! are not Ready, and need neither Services nor the cluster's DNS: all on one node, they reach each other at its loopback
//! addresses, which no other machine can.
//!
//! Not allowed here: which agent. I/O: the workload cluster's API, reads only.

use std::time::{Duration, Instant};

use http::Uri;
use kube::Client;
use kube::core::params::{GetParams, ListParams};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::workload::answer;
use crate::workload::client::Workload;
use crate::workload::error::CallError;
use crate::workload::kept::first_items;
use crate::workload::list::{self, ListFlow};
use crate::workload::memory::PodNetwork;
use crate::workload::nodes;
use crate::workload::object::{ObjectId, or_default};

/// How often the cluster is asked for a Pod network, and for how long after the agent was pointed at its source.
pub const POLL: (Duration, i64) = (Duration::from_secs(4), 3600);
/// The agent leaves the host network without a DNS server that is recognized, this long after the first Ready node.
const WITHOUT_DNS: Duration = Duration::from_secs(600);
/// For the end of GitOpsReady's message.
pub const NOTE: &str = "it runs on the host network until a CNI makes nodes Ready and the cluster's DNS runs";

/// The same for an agent that does not use it, where no node is Ready.
const STUCK: &str = "no node is Ready, and the agent is not on the host network, so it cannot install a missing CNI: if nodes wait \
                     for one, install it with kubectl or Helm";

/// Label of Pods on the host network, which share one node.
const LABEL: &str = "keelson.dev/host-network";
/// Taints of a node whose CNI does not run yet: the kubelet's, and those with which CNIs keep Pods away until then.
const TAINTS: [&str; 4] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/network-unavailable",
    "node.cloudprovider.kubernetes.io/uninitialized",
    "node.cilium.io/agent-not-ready",
];
/// Labels of DNS servers: EKS's CoreDNS, and that of CoreDNS's own chart.
const DNS: &str = "k8s-app in (kube-dns,coredns)";

/// Where the API server is. Pods get the address of its Service otherwise, which needs kube-proxy or the CNI.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ApiAddress {
    pub host: String,
    pub port: u16,
}

impl ApiAddress {
    /// From the cluster's endpoint.
    pub fn of_endpoint(endpoint: &str) -> Option<Self> {
        let url: Uri = endpoint.parse().ok()?;
        Some(Self { host: url.host()?.to_owned(), port: url.port_u16().unwrap_or(443) })
    }
}

/// Whether the agent still needs the host network. `component`: the one that leaves it last. An agent that is on the Pod network never goes back.
pub async fn is_needed(workload: &Workload, component: &ObjectId) -> Result<bool, CallError> {
    match uses_host_network(&workload.client, component).await? {
        Some(false) => Ok(false),
        Some(true) | None => Ok(!has_pod_network(workload).await?),
    }
}

/// What keeps an agent on the Pod network from ever running; `None`: nothing known.
pub async fn stuck_note(workload: &Workload) -> Result<Option<String>, CallError> {
    let is_stuck = !nodes::has_schedulable(&workload.client).await?;
    Ok(is_stuck.then(|| STUCK.to_owned()))
}

async fn has_pod_network(workload: &Workload) -> Result<bool, CallError> {
    let ready = nodes::has_schedulable(&workload.client).await?;
    let resolves = ready && has_dns(&workload.client).await?;
    let mut memory = workload.memory.lock();
    let now = Instant::now();
    memory.pod_network = match memory.pod_network {
        _ if !ready => PodNetwork::Unknown,
        PodNetwork::Unknown => PodNetwork::ReadySince(now),
        other => other,
    };
    Ok(resolves || memory.pod_network.is_ready_for(WITHOUT_DNS, now))
}

/// Whether an installed component is on the host network; `None`: it is not installed.
async fn uses_host_network(client: &Client, component: &ObjectId) -> Result<Option<bool>, CallError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Component {
        spec: ComponentSpec,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct ComponentSpec {
        template: Template,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Template {
        #[serde(deserialize_with = "or_default")]
        spec: PodSpec,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct PodSpec {
        host_network: bool,
    }
    let request = component.request().get(&component.name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
    match answer::request::<Component>(client, request).await {
        Ok(found) => Ok(Some(found.spec.template.spec.host_network)),
        Err(CallError::NotFound) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Whether a DNS server of the cluster is ready.
async fn has_dns(client: &Client) -> Result<bool, CallError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Pod {
        #[serde(deserialize_with = "or_default")]
        status: Status,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        #[serde(deserialize_with = "first_items")]
        conditions: Vec<Condition>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Condition {
        #[serde(rename = "type")]
        kind: String,
        status: String,
    }
    let mut found = false;
    list::for_each(client, ("v1", "Pod"), None, &ListParams::default().labels(DNS), 20, |pod: Pod| {
        found = pod.status.conditions.iter().any(|one| one.kind == "Ready" && one.status == "True");
        if found { ListFlow::Stop } else { ListFlow::Continue }
    })
    .await?;
    Ok(found)
}

/// Puts the Pods of a Deployment or StatefulSet on the host network. They share one node, and know where the API server
/// is.
pub fn set_host_network(workload: &mut Value, api: &ApiAddress) {
    if workload["kind"] == "Deployment" {
        // A new Pod beside the old one would find its ports in use.
        workload["spec"]["strategy"] = json!({"type": "Recreate"});
    }
    let template = &mut workload["spec"]["template"];
    template["metadata"]["labels"][LABEL] = "true".into();
    let pod = &mut template["spec"];
    pod["hostNetwork"] = true.into();
    // The node's own: the cluster's needs the Pod network.
    pod["dnsPolicy"] = "Default".into();
    pod["tolerations"] = TAINTS.map(|key| json!({"key": key, "operator": "Exists"})).into_iter().collect();
    // The first Pod may run anywhere, because it matches its own term; the others must run beside it.
    pod["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
        "labelSelector": {"matchLabels": {LABEL: "true"}},
        "topologyKey": "kubernetes.io/hostname",
    }]}});
    for containers in ["initContainers", "containers"] {
        for container in pod[containers].as_array_mut().into_iter().flatten() {
            if container["env"].is_null() {
                container["env"] = json!([]);
            }
            container["env"].as_array_mut().into_iter().for_each(|env| {
                env.push(json!({"name": "KUBERNETES_SERVICE_HOST", "value": api.host}));
                env.push(json!({"name": "KUBERNETES_SERVICE_PORT", "value": api.port.to_string()}));
            });
        }
    }
}

/// Sets the flags of a container on the host network, in place of its own, and points its probes at `probed` on the
/// node's loopback. Its ports are declared no longer: the scheduler would keep two with the same number apart.
pub fn set_addresses(container: &mut Value, flags: &[String], probed: Option<u16>) {
    let name = |flag: &str| flag.split('=').next().unwrap_or(flag).to_owned();
    if container["args"].is_null() {
        container["args"] = json!([]);
    }
    if let Some(arguments) = container["args"].as_array_mut() {
        let is_replaced = |given: &str| flags.iter().any(|flag| name(flag) == name(given));
        arguments.retain(|argument| !argument.as_str().is_some_and(is_replaced));
        arguments.extend(flags.iter().map(|flag| Value::from(flag.as_str())));
    }
    if let Some(container) = container.as_object_mut() {
        container.remove("ports");
        for probe in ["livenessProbe", "readinessProbe"] {
            if let (Some(probe), Some(port)) = (container.get_mut(probe), probed) {
                probe["httpGet"]["host"] = "127.0.0.1".into();
                probe["httpGet"]["port"] = port.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_address_is_that_of_the_endpoint() {
        let of = |endpoint| ApiAddress::of_endpoint(endpoint).map(|api| (api.host, api.port));
        let host = "ABC.gr7.eu-west-1.eks.amazonaws.com".to_owned();
        assert_eq!(of("https://ABC.gr7.eu-west-1.eks.amazonaws.com"), Some((host, 443)));
        assert_eq!(of("https://127.0.0.1:6443"), Some(("127.0.0.1".to_owned(), 6443)));
        assert_eq!(of(""), None);
    }

    #[test]
    fn pods_on_the_host_network_share_a_node_and_need_neither_dns_nor_services() {
        let container = json!({"name": "manager", "args": ["--log-level=info", "--health-addr=:1"], "ports": [{"containerPort": 1}],
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "healthz"}}});
        let template = json!({
            "metadata": {"labels": {"app": "a"}},
            "spec": {"initContainers": [{"name": "init"}], "containers": [container]},
        });
        let mut deployment = json!({"kind": "Deployment", "spec": {"template": template}});
        set_host_network(&mut deployment, &ApiAddress { host: "api.example".into(), port: 443 });
        set_addresses(
            &mut deployment["spec"]["template"]["spec"]["containers"][0],
            &["--health-addr=127.0.0.1:9791".into()],
            Some(9791),
        );
        insta::assert_yaml_snapshot!(deployment);
    }

    #[test]
    fn patience_without_a_known_dns_server_starts_with_the_first_ready_node() {
        let now = Instant::now();
        assert!(!PodNetwork::Unknown.is_ready_for(WITHOUT_DNS, now + WITHOUT_DNS));
        assert!(!PodNetwork::ReadySince(now).is_ready_for(WITHOUT_DNS, now));
        assert!(PodNetwork::ReadySince(now).is_ready_for(WITHOUT_DNS, now + WITHOUT_DNS));
        assert!(PodNetwork::Used.is_ready_for(WITHOUT_DNS, now));
    }
}
