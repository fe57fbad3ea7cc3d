//! Fields that this version does not support yet. An object that sets one is `Stalled` with reason `InvalidSpec`, so
//! that no field is silently ignored. Pure.
//!
//! The structs are destructured without `..`, so a new field does not compile until it is listed here: with `_` if it
//! is supported, with its own line if not.

use super::access::Access;
use super::gitops::{Agent, ArgoCd, Flux, GitOps, GitSource, OciSource, SourceKind};
use super::node_group::{NodeGroupSpec, Scaling};
use super::{EksClusterSpec, SpecError};

/// Paths of unsupported fields that are set, in the order of the spec.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unsupported(Vec<&'static str>);

impl Unsupported {
    fn add_if(&mut self, is_set: bool, field: &'static str) {
        if is_set {
            self.0.push(field);
        }
    }

    /// The fields' paths, such as `spec.additionalRolePolicies`.
    pub fn fields(&self) -> &[&'static str] {
        &self.0
    }

    /// The condition's message: which fields, and what to do. `None` if there are none.
    pub fn message(&self) -> Option<String> {
        let what_to_do = "remove them, or put them back to their defaults";
        (!self.0.is_empty())
            .then(|| format!("not supported yet by this version of Keelson: {}: {what_to_do}", self.0.join(", ")))
    }
}

/// The unsupported fields that a cluster sets.
pub fn of_cluster(spec: &EksClusterSpec) -> Result<Unsupported, SpecError> {
    let EksClusterSpec {
        account_ref: _,
        region: _,
        cluster_name: _,
        version: _,
        tags: _,
        change_policy: _,
        drift_policy: _,
        deletion_policy: _,
        adoption_policy: _,
        suspend: _,
        network: _,
        kubernetes_network: _,
        endpoint_access: _,
        logging: _,
        log_group: _,
        secrets_encryption: _,
        role_arn: _,
        support_type: _,
        control_plane_scaling: _,
        control_plane: _,
        remote_networks: _,
        zonal_shift: _,
        persistent_volumes: _,
        deletion_protection: _,
        auto_mode: _,
        access,
        oidc_provider: _,
        pod_identities: _,
        addons: _,
        prune_addons: _,
        prune_core_addons: _,
        fargate_profiles: _,
        karpenter: _,
        capabilities: _,
        upgrade: _,
        hooks: _,
        gitops,
        write_kubeconfig_to_secret_ref: _,
        register_with: _,
        registration: _,
    } = spec;
    let Access { authentication_mode: _, prune: _, entries: _, oidc_identity_provider: _ } = access;

    if let Some(gitops) = gitops {
        of_gitops(gitops)?;
    }
    Ok(Unsupported::default())
}

/// All fields are supported, or the check of the agent's spec rejects them with a reason.
fn of_gitops(gitops: &GitOps) -> Result<(), SpecError> {
    let flux = match gitops.agent()? {
        None => return Ok(()),
        Some(Agent::Flux(flux)) => flux,
        Some(Agent::ArgoCd(argocd)) => {
            let ArgoCd { version: _, take_over: _, namespace: _, source: _, path: _ } = argocd;
            return Ok(());
        }
    };
    let Flux {
        version: _,
        take_over: _,
        registry: _,
        image_pull_secret_ref: _,
        components: _,
        source,
        path: _,
        interval: _,
        prune: _,
        decryption: _,
        facts: _,
    } = flux;
    match source.kind()? {
        SourceKind::Git(GitSource {
            url: _,
            reference: _,
            interval: _,
            timeout: _,
            sparse_checkout: _,
            recurse_submodules: _,
            secret_ref: _,
            proxy_secret_ref: _,
            verify: _,
        }) => {}
        SourceKind::Oci(OciSource {
            url: _,
            reference: _,
            provider: _,
            interval: _,
            timeout: _,
            secret_ref: _,
            cert_secret_ref: _,
            proxy_secret_ref: _,
            verify: _,
        }) => {}
    }
    Ok(())
}

/// The unsupported fields that a node group sets.
pub fn of_node_group(spec: &NodeGroupSpec) -> Unsupported {
    let NodeGroupSpec {
        cluster_ref: _,
        node_group_name: _,
        version: _,
        release_version: _,
        ami_type: _,
        instance_types: _,
        capacity_type: _,
        disk_size_gib: _,
        scaling: Scaling { min: _, max: _, desired: _, desired_policy: _ },
        subnets: _,
        labels: _,
        taints: _,
        launch_template: _,
        node: _,
        role_arn,
        additional_role_policies,
        update: _,
        repair: _,
        warm_pool: _,
        replacement_policy: _,
        deletion_policy: _,
        suspend: _,
        tags: _,
        auto_scaling_group_tags: _,
    } = spec;
    let mut found = Unsupported::default();
    // Keelson does not change a role that it did not create.
    found.add_if(
        role_arn.is_some() && !additional_role_policies.is_empty(),
        "spec.additionalRolePolicies together with spec.roleArn",
    );
    found
}
