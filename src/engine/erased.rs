//! A type-erased resource, as the graph stores it. A kind implements the typed [`Resource`].

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::action::Action;
use super::change::Change;
use super::failure::{Class, Failure};
use super::key::Key;
use super::refs::Refs;
use super::resource::{Observation, ObserveOptions, PollPolicy, Presence, Resource, Succession};
use super::sweep::{CheckedSweep, Scope, Sweep};

/// Observation of a resource of any kind.
pub type AnyObservation = Observation<Arc<dyn Any + Send + Sync>>;

/// A [`Resource`] of any kind.
#[async_trait]
#[allow(missing_docs)]
pub trait Node<C>: Send + Sync {
    fn key(&self) -> Key;
    fn after(&self) -> Vec<Key>;
    fn adopted_after(&self) -> Vec<Key>;
    fn inside(&self) -> Option<Key>;
    fn observed_after(&self) -> Option<Key>;
    fn deleted_with(&self) -> Option<Key>;
    fn holds(&self) -> Vec<Key>;
    fn deleted_after(&self) -> Vec<Key>;
    fn succession(&self) -> Option<Succession>;
    fn makes_stale(&self) -> Vec<Key>;
    fn is_retained(&self) -> bool;
    fn deletable_while(&self, action: Action) -> bool;
    fn facts(&self) -> Vec<(&'static str, String)>;
    fn expected(&self, action: Action) -> Duration;
    fn expected_operation(&self, kind: &str) -> Duration;
    fn poll_policy(&self) -> PollPolicy;
    fn records_intent(&self) -> bool;
    fn records_create(&self) -> bool;
    fn sweep_scope(&self) -> Option<Scope>;
    fn excluded_ids(&self) -> Vec<String>;
    fn irreplaceable(&self) -> Option<String>;
    fn diff(&self, observed: &AnyObservation, refs: &Refs) -> Vec<Change>;
    fn batch(&self, changes: &[Change]) -> Vec<Change>;
    async fn observe(
        &self,
        cloud: &C,
        refs: &Refs,
        options: &ObserveOptions,
        last: Option<&AnyObservation>,
    ) -> Result<Presence<Arc<dyn Any + Send + Sync>>, Failure>;
    async fn create(&self, cloud: &C, refs: &Refs) -> Result<AnyObservation, Failure>;
    async fn update(
        &self,
        cloud: &C,
        refs: &Refs,
        observed: &AnyObservation,
        changes: &[Change],
    ) -> Result<AnyObservation, Failure>;
    async fn delete(
        &self,
        cloud: &C,
        observed: &AnyObservation,
    ) -> Result<Presence<Arc<dyn Any + Send + Sync>>, Failure>;
    async fn list_sweep(&self, cloud: &C, observed: &AnyObservation) -> Result<Sweep, Failure>;
    async fn sweep(
        &self,
        cloud: &C,
        observed: &AnyObservation,
        action: Action,
        swept: &CheckedSweep,
    ) -> Result<Presence<Arc<dyn Any + Send + Sync>>, Failure>;
    async fn adopt(&self, cloud: &C, observed: &AnyObservation) -> Result<AnyObservation, Failure>;
    async fn release(&self, cloud: &C, observed: &AnyObservation) -> Result<(), Failure>;
}

#[async_trait]
impl<R: Resource> Node<R::Cloud> for R {
    fn key(&self) -> Key {
        Resource::key(self)
    }
    fn after(&self) -> Vec<Key> {
        Resource::after(self)
    }
    fn adopted_after(&self) -> Vec<Key> {
        Resource::adopted_after(self)
    }
    fn inside(&self) -> Option<Key> {
        Resource::inside(self)
    }
    fn observed_after(&self) -> Option<Key> {
        Resource::observed_after(self)
    }
    fn deleted_with(&self) -> Option<Key> {
        Resource::deleted_with(self)
    }
    fn holds(&self) -> Vec<Key> {
        Resource::holds(self)
    }
    fn deleted_after(&self) -> Vec<Key> {
        Resource::deleted_after(self)
    }
    fn succession(&self) -> Option<Succession> {
        Resource::succession(self)
    }
    fn makes_stale(&self) -> Vec<Key> {
        Resource::makes_stale(self)
    }
    fn is_retained(&self) -> bool {
        Resource::is_retained(self)
    }
    fn deletable_while(&self, action: Action) -> bool {
        Resource::deletable_while(self, action)
    }
    fn facts(&self) -> Vec<(&'static str, String)> {
        Resource::facts(self)
    }
    fn expected(&self, action: Action) -> Duration {
        Resource::expected(self, action)
    }
    fn expected_operation(&self, kind: &str) -> Duration {
        Resource::expected_operation(self, kind)
    }
    fn poll_policy(&self) -> PollPolicy {
        Resource::poll_policy(self)
    }
    fn records_intent(&self) -> bool {
        Resource::records_intent(self)
    }
    fn records_create(&self) -> bool {
        Resource::records_create(self)
    }
    fn sweep_scope(&self) -> Option<Scope> {
        Resource::sweep_scope(self)
    }
    fn excluded_ids(&self) -> Vec<String> {
        Resource::excluded_ids(self)
    }
    fn irreplaceable(&self) -> Option<String> {
        Resource::irreplaceable(self)
    }
    fn diff(&self, observed: &AnyObservation, refs: &Refs) -> Vec<Change> {
        match typed::<R>(observed) {
            Ok(observed) => Resource::diff(self, &observed, refs),
            // Observed as another kind with the same name, after an operator upgrade: observe again.
            Err(_) => Vec::new(),
        }
    }
    fn batch(&self, changes: &[Change]) -> Vec<Change> {
        Resource::batch(self, changes)
    }
    async fn observe(
        &self,
        cloud: &R::Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        last: Option<&AnyObservation>,
    ) -> Result<Presence<Arc<dyn Any + Send + Sync>>, Failure> {
        let last = last.and_then(|last| typed::<R>(last).ok());
        let observed = Resource::observe(self, cloud, refs, options, last.as_ref()).await?;
        Ok(untyped_presence::<R>(observed))
    }
    async fn create(&self, cloud: &R::Cloud, refs: &Refs) -> Result<AnyObservation, Failure> {
        Ok(untyped::<R>(Resource::create(self, cloud, refs).await?))
    }
    async fn update(
        &self,
        cloud: &R::Cloud,
        refs: &Refs,
        observed: &AnyObservation,
        changes: &[Change],
    ) -> Result<AnyObservation, Failure> {
        let observed = typed::<R>(observed)?;
        Ok(untyped::<R>(Resource::update(self, cloud, refs, &observed, changes).await?))
    }
    async fn delete(
        &self,
        cloud: &R::Cloud,
        observed: &AnyObservation,
    ) -> Result<Presence<Arc<dyn Any + Send + Sync>>, Failure> {
        let observed = typed::<R>(observed)?;
        Ok(untyped_presence::<R>(Resource::delete(self, cloud, &observed).await?))
    }
    async fn list_sweep(&self, cloud: &R::Cloud, observed: &AnyObservation) -> Result<Sweep, Failure> {
        Resource::list_sweep(self, cloud, &typed::<R>(observed)?).await
    }
    async fn sweep(
        &self,
        cloud: &R::Cloud,
        observed: &AnyObservation,
        action: Action,
        swept: &CheckedSweep,
    ) -> Result<Presence<Arc<dyn Any + Send + Sync>>, Failure> {
        Ok(untyped_presence::<R>(Resource::sweep(self, cloud, &typed::<R>(observed)?, action, swept).await?))
    }
    async fn adopt(&self, cloud: &R::Cloud, observed: &AnyObservation) -> Result<AnyObservation, Failure> {
        Ok(untyped::<R>(Resource::adopt(self, cloud, &typed::<R>(observed)?).await?))
    }
    async fn release(&self, cloud: &R::Cloud, observed: &AnyObservation) -> Result<(), Failure> {
        Resource::release(self, cloud, &typed::<R>(observed)?).await
    }
}

fn untyped<R: Resource>(observed: Observation<R::Detail>) -> AnyObservation {
    observed.map(|detail| Arc::new(detail) as Arc<dyn Any + Send + Sync>)
}

fn untyped_presence<R: Resource>(presence: Presence<R::Detail>) -> Presence<Arc<dyn Any + Send + Sync>> {
    match presence {
        Presence::Absent => Presence::Absent,
        Presence::Foreign(owner) => Presence::Foreign(owner),
        Presence::External(observed) => Presence::External(untyped::<R>(observed)),
        Presence::Unowned(observed) => Presence::Unowned(untyped::<R>(observed)),
        Presence::Ours(observed) => Presence::Ours(untyped::<R>(observed)),
    }
}

fn typed<R: Resource>(observed: &AnyObservation) -> Result<Observation<R::Detail>, Failure> {
    let Some(detail) = observed.detail.downcast_ref::<R::Detail>() else {
        let message = format!("{} was observed as another kind of resource", observed.id);
        return Err(Failure::new(Class::Unknown, message));
    };
    let detail = detail.clone();
    Ok(observed.clone().map(|_| detail))
}
