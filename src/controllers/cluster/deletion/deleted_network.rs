//! The network of a cluster that is deleted: the one its spec names, unless that is owned by others. I/O: as
//! [`crate::controllers::account::owned`].
//!
//! A deletion sweeps leftovers from the cluster's network. An edit must not direct that at a network of others, and
//! no allowlist may block a deletion: so it uses the network that the cluster was last observed in.

use crate::api::network::{ExistingNetwork, Network};
use crate::api::status_cluster::EksClusterStatus;
use crate::api::{EksCluster, EksClusterSpec};
use crate::controllers::account::owned::{self, Denied};
use crate::controllers::account::{Grant, named};
use crate::controllers::cluster::Reconcile;
use crate::controllers::reconcile_error::BuildError;
use crate::resources::cloud::Cloud;

impl Reconcile<'_> {
    /// The spec to delete by.
    pub(crate) async fn spec_to_delete(&self, grant: &Grant, cloud: &Cloud) -> Result<EksClusterSpec, BuildError> {
        let EksCluster { spec, status, .. } = self.object;
        let named = named::by_network(&spec.network);
        let allowed = match owned::check(grant, &named) {
            Ok(undecided) => {
                let age = self.survey_age();
                owned::check_owned(self.ctx, &cloud.aws, grant, &self.namespace, &undecided, age).await
            }
            Err(refusal) => Err(Denied::Refused(refusal)),
        };
        match allowed {
            Ok(()) => Ok(spec.clone()),
            Err(Denied::Unreadable(failure)) => Err(BuildError::Survey(failure)),
            Err(Denied::Refused(_)) => {
                Ok(EksClusterSpec { network: last_network(status.as_ref(), &spec.network), ..spec.clone() })
            }
        }
    }
}

/// The network of the last status, which was allowed; without one, nothing was created in any network. The security
/// groups that the spec names are never the cluster's own, allowed or not.
fn last_network(status: Option<&EksClusterStatus>, spec: &Network) -> Network {
    let subnets = status.and_then(|status| status.network.as_ref()).map(|network| &network.subnets);
    let ids: Vec<_> = subnets.into_iter().flatten().map(|subnet| subnet.id.clone()).collect();
    if ids.is_empty() {
        return Network::default();
    }
    let security_group_ids = spec.existing.as_ref().and_then(|existing| existing.security_group_ids.clone());
    Network {
        vpc: None,
        existing: Some(ExistingNetwork { subnet_ids: Some(ids), security_group_ids, ..ExistingNetwork::default() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deletion_uses_the_last_observed_network() {
        let status = json!({"network": {"vpcId": "vpc-1", "subnets": [
            {"id": "subnet-1", "zone": "z-a", "tier": "Private"}, {"id": "subnet-2", "zone": "z-b", "tier": "Private"},
        ]}});
        let network = last_network(Some(&serde_json::from_value(status).unwrap()), &Network::default());
        assert_eq!(network.existing.unwrap().subnet_ids.unwrap(), ["subnet-1", "subnet-2"]);
        assert!(
            last_network(None, &Network::default()).existing.is_none()
                && last_network(None, &Network::default()).vpc.is_some()
        );
    }
}
