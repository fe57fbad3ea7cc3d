//! What to do with the manifest, and with the objects of Cluster API, in this order. Pure.

use std::collections::BTreeSet;

use super::object::Object;
use crate::cli::import::ObjectPlacement;
use crate::cli::import::next_steps::Needs;

/// Kinds in the order in which their objects are removed: what belongs to others first.
const KINDS: [&str; 6] = [
    "AWSFargateProfile",
    "AWSManagedMachinePool",
    "MachinePool",
    "AWSManagedControlPlane",
    "AWSManagedCluster",
    "Cluster",
];

/// The steps. `objects`: those that the manifest replaces.
pub fn describe(objects: &[&Object], needs: &Needs, placing: &ObjectPlacement) -> String {
    let command = |one: &&Object| (one.namespace.clone(), resource(one), one.name.clone());
    let of_kind = |kind: &'static str| objects.iter().filter(move |one| one.kind == kind).map(command);
    let mut lines = vec![
        "next, in this order:".to_owned(),
        "1. suspend what applies these objects from Git, and pause Cluster API. It pauses Fargate profiles only by their own \
         annotation:"
            .to_owned(),
    ];
    lines.extend(of_kind("Cluster").map(|(namespace, _, name)| {
        format!("  kubectl patch cluster.cluster.x-k8s.io {name} -n {namespace} --type=merge -p '{{\"spec\":{{\"paused\":true}}}}'")
    }));
    lines.extend(of_kind("AWSFargateProfile").map(|(namespace, resource, name)| {
        format!("  kubectl annotate {resource} {name} -n {namespace} cluster.x-k8s.io/paused=true")
    }));
    lines.push("2. keelson plan -f FILE --live, which must show only adoptions".to_owned());
    lines.push("3. apply FILE, and wait until its objects are Ready".to_owned());
    lines.push(
        "4. remove the objects of Cluster API, still paused and with their controllers running: without finalizers, nothing is deleted in \
         AWS. Keep a copy first (kubectl get -o yaml). Each line removes one:"
            .to_owned(),
    );
    let order: Vec<_> = KINDS.into_iter().flat_map(of_kind).collect();
    lines.extend(order.iter().map(|(namespace, resource, name)| {
        format!(
            "  kubectl patch {resource} {name} -n {namespace} --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}' && \
             kubectl delete {resource} {name} -n {namespace} --wait=false"
        )
    }));
    let namespaces: BTreeSet<_> = objects.iter().map(|one| one.namespace.as_str()).collect();
    lines.extend(namespaces.iter().map(|namespace| {
        format!(
            "  before the last ones, `kubectl get cluster-api -n {namespace}` must show nothing else of the cluster: remove that first, in the \
             same way"
        )
    }));
    lines.push(format!("before step 3, {}", needs.describe_account(placing)));
    lines.join("\n")
}

/// The resource as kubectl takes it without ambiguity.
fn resource(object: &Object) -> String {
    let group = match object.kind.as_str() {
        "Cluster" | "MachinePool" => "cluster.x-k8s.io",
        "AWSManagedControlPlane" => "controlplane.cluster.x-k8s.io",
        _ => "infrastructure.cluster.x-k8s.io",
    };
    format!("{}.{group}", object.kind.to_lowercase())
}
