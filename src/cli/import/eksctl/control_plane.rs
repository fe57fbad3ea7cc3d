//! Settings of the control plane's components, which EKS names almost as eksctl does. Pure.

use serde_json::{Map, Value, json};

use crate::cli::import::section::Section;

/// Adds `controlPlane` to the spec, if the file has any of it.
pub fn components(file: &mut Section<'_>, spec: &mut Value, egress_mode: Option<&str>) {
    let mut found = Map::new();
    found.extend(egress_mode.map(|mode| ("egressMode".to_owned(), json!(mode))));
    if let Some(mut server) = file.section("kubeAPIServerConfig") {
        let mut config = json!({});
        if let Some(ttl) = server.some_text("eventTTL") {
            config["eventTtl"] = json!(ttl);
        }
        if let Some(mut range) = server.section("serviceNodePortRange") {
            config["serviceNodePortRange"] =
                json!({"minPort": range.number("minPort"), "maxPort": range.number("maxPort")});
        }
        found.insert("apiServer".to_owned(), config);
    }
    if let Some(mut manager) = file.section("kubeControllerManagerConfig") {
        let name = "horizontalPodAutoscalerControllerConfig";
        if let Some(mut autoscaler) = manager.section(name) {
            let period = "horizontalPodAutoscalerSyncPeriod";
            found.insert("controllerManager".to_owned(), json!({name: {period: autoscaler.some_text(period)}}));
        }
    }
    if let Some(mut scheduler) = file.section("kubeSchedulerConfig")
        && let Some(mut fit) = scheduler.section("nodeResourcesFit")
        && let Some(mut strategy) = fit.section("scoringStrategy")
    {
        let mut scoring = json!({"type": strategy.some_text("type")});
        let weights = strategy.sections("resources");
        if !weights.is_empty() {
            let weight = |mut one: Section<'_>| json!({"name": one.some_text("name"), "weight": one.number("weight")});
            scoring["resources"] = weights.into_iter().map(weight).collect();
        }
        found.insert("scheduler".to_owned(), json!({"nodeResourcesFit": {"scoringStrategy": scoring}}));
    }
    if !found.is_empty() {
        spec["controlPlane"] = Value::Object(found);
    }
}

/// Adds `remoteNetworks` of hybrid nodes to the spec, and the access of their role.
pub fn remote_networks(file: &mut Section<'_>, spec: &mut Value) {
    let Some(mut remote) = file.section("remoteNetworkConfig") else { return };
    let mut ranges = |field: &str| {
        let networks = remote.sections(field);
        networks.into_iter().flat_map(|mut one| one.texts("cidrs").unwrap_or_default()).collect::<Vec<_>>()
    };
    let (nodes, pods) = (ranges("remoteNodeNetworks"), ranges("remotePodNetworks"));
    let mut networks = json!({"nodeCidrs": nodes});
    if !pods.is_empty() {
        networks["podCidrs"] = json!(pods);
    }
    spec["remoteNetworks"] = networks;
    remote.refuse(
        "vpcGatewayID",
        "Keelson adds no routes to gateways of others: add them, and network.existing refers to the VPC",
    );
    let Some(mut iam) = remote.section("iam") else { return };
    let Some(role) = iam.some_text("roleARN") else {
        let why = "Keelson creates no role for nodes outside AWS: create it, with Systems Manager or IAM Roles Anywhere, and list it in \
                   access.entries with type: HybridLinux";
        return iam.refuse_each(&[("provider", why), ("caBundleCert", why)]);
    };
    iam.value("provider");
    iam.refuse("caBundleCert", "IAM Roles Anywhere is yours to set up, as with eksctl for a role that exists");
    let entry = json!({"principalArn": role, "type": "HybridLinux"});
    match spec["access"]["entries"].as_array_mut() {
        Some(entries) => entries.push(entry),
        None => spec["access"]["entries"] = json!([entry]),
    }
}
