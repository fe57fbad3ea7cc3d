//! All resources of an account and region that can carry an owner tag, as EC2 and IAM list them. I/O: shared reads.

use std::sync::Arc;

use crate::aws::snapshots::Role;
use crate::aws::{AwsError, MaxStaleness, Session};
use crate::resources::graph::kind::Kind;
use crate::resources::graph::kinds;
use crate::resources::graph::located::{Located, LocatedList};

/// The lists of one account and region.
pub struct AccountLists {
    /// Of the kinds that EC2 lists, by name.
    of_kinds: Vec<(&'static str, Arc<dyn LocatedList>)>,
    pub roles: Arc<Vec<Role>>,
}

impl AccountLists {
    /// Reads all lists.
    ///
    /// # Errors
    /// The error of the first read that fails: a partial list proves nothing.
    pub async fn read(aws: &Session, staleness: MaxStaleness) -> Result<Self, AwsError> {
        let reads = kinds::ALL.iter().filter_map(|kind| Some((kind.name, kind.read(aws, staleness)?)));
        let reads = reads.map(|(name, read)| async move { Ok::<_, AwsError>((name, read.await?)) });
        let (of_kinds, roles) =
            futures::try_join!(futures::future::try_join_all(reads), aws.snapshots.roles(staleness))?;
        Ok(Self { of_kinds, roles })
    }

    /// Those of a kind; none if EC2 does not list it.
    pub fn of(&self, kind: &Kind) -> Vec<&dyn Located> {
        self.of_kinds.iter().filter(|(name, _)| *name == kind.name).flat_map(|(_, list)| list.items()).collect()
    }
}
