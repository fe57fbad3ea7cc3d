//! The FleetRollouts and the clusters of all namespaces. I/O: reads them from the management cluster's API; what is made of
//! them is pure.

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use crate::api::fleet_rollout_status::FleetRolloutStatus;
use crate::api::{EksCluster, FleetRollout, NodeGroup};
use crate::controllers::rollout::member::members;
use crate::rollout::view::View;
use crate::rollout::{Member, Rollout, Rollouts};

/// The FleetRollouts and their clusters at one time.
pub struct Fleet {
    /// All FleetRollouts, by name.
    pub rollouts: Vec<FleetRollout>,
    /// All clusters; `None`: the user may not list them.
    pub members: Option<Vec<Member>>,
    no_status: FleetRolloutStatus,
}

impl Fleet {
    /// Reads all of them. A user who may not list the clusters sees the FleetRollouts.
    pub async fn read(client: &Client) -> anyhow::Result<Self> {
        let all = ListParams::default();
        let rollouts = Api::<FleetRollout>::all(client.clone()).list(&all).await.context("FleetRollouts")?.items;
        let (clusters, groups) = (Api::<EksCluster>::all(client.clone()), Api::<NodeGroup>::all(client.clone()));
        let listed = futures::future::try_join(clusters.list(&all), groups.list(&all)).await;
        let members = match listed {
            Ok((clusters, groups)) => {
                let clusters: Vec<Arc<EksCluster>> = clusters.items.into_iter().map(Arc::new).collect();
                Some(members(&clusters, groups.items.into_iter().map(Arc::new)))
            }
            Err(kube::Error::Api(status)) if status.code == 403 => None,
            Err(error) => return Err(error).context("EksClusters and NodeGroups of all namespaces"),
        };
        Ok(Self::of(rollouts, members))
    }

    pub fn of(mut rollouts: Vec<FleetRollout>, members: Option<Vec<Member>>) -> Self {
        rollouts.sort_by_key(|rollout| rollout.name_any());
        Self { rollouts, members, no_status: FleetRolloutStatus::default() }
    }

    /// The FleetRollout of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, name: &str) -> anyhow::Result<&FleetRollout> {
        let found = self.rollouts.iter().find(|rollout| rollout.name_any() == name);
        found.with_context(|| format!("FleetRollout {name} does not exist"))
    }

    /// A FleetRollout with its clusters; `None`: the user may not list them, or nothing begins, as its status says.
    pub fn view(&self, rollout: &FleetRollout, now: Timestamp) -> Option<View<'_>> {
        let members = self.members.as_ref()?;
        let readable: Vec<Rollout<'_>> = self.rollouts.iter().map(|one| self.rollout(one)).collect();
        let rollouts = Rollouts::Listed { readable, unreadable: Vec::new() };
        View::of(&self.rollout(rollout), &rollouts, members, now).ok()
    }

    fn rollout<'a>(&'a self, of: &'a FleetRollout) -> Rollout<'a> {
        Rollout {
            name: of.metadata.name.as_deref().unwrap_or_default(),
            spec: &of.spec,
            status: of.status.as_ref().unwrap_or(&self.no_status),
        }
    }
}
