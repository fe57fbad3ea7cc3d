//! The warm pool of a node group: observed, desired, and the difference as EKS takes it. Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/APIReference/API_WarmPoolConfig.html>. The request repeats what the spec
//! does not set: EKS documents only of `enabled` that it keeps it when it is omitted.

use aws_sdk_eks::types::{WarmPoolConfig, WarmPoolState};

use super::repair::Fields;
use crate::api::warm_pool::{PoolState, WarmPool};

/// A warm pool, in EKS's notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    min_size: i32,
    max_prepared: Option<i32>,
    state: WarmPoolState,
    reuse: bool,
}

impl Default for Pool {
    /// EKS's defaults.
    fn default() -> Self {
        Self { min_size: 0, max_prepared: None, state: WarmPoolState::Stopped, reuse: false }
    }
}

/// The warm pool, if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedWarmPool(Option<Pool>);

impl From<&WarmPoolConfig> for ObservedWarmPool {
    fn from(config: &WarmPoolConfig) -> Self {
        Self((config.enabled() == Some(true)).then(|| Pool {
            min_size: config.min_size().unwrap_or_default(),
            max_prepared: config.max_group_prepared_capacity(),
            state: config.pool_state().cloned().unwrap_or(WarmPoolState::Stopped),
            reuse: config.reuse_on_scale_in().unwrap_or_default(),
        }))
    }
}

fn state(state: PoolState) -> WarmPoolState {
    match state {
        PoolState::Stopped => WarmPoolState::Stopped,
        PoolState::Running => WarmPoolState::Running,
        PoolState::Hibernated => WarmPoolState::Hibernated,
    }
}

impl ObservedWarmPool {
    /// Its members, by the spec's names.
    pub fn fields(&self) -> Fields {
        let enabled = [("enabled", Some(self.0.is_some().to_string()))];
        let pool = self.0.iter().flat_map(|Pool { min_size, max_prepared, state, reuse }| {
            [
                ("minSize", Some(min_size.to_string())),
                ("maxGroupPreparedCapacity", max_prepared.map(|most| most.to_string())),
                ("poolState", Some(state.as_str().to_owned())),
                ("reuseOnScaleIn", Some(reuse.to_string())),
            ]
        });
        enabled.into_iter().chain(pool).filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    fn to_config(&self) -> WarmPoolConfig {
        let config = WarmPoolConfig::builder().enabled(self.0.is_some());
        let Some(Pool { min_size, max_prepared, state, reuse }) = &self.0 else { return config.build() };
        config
            .min_size(*min_size)
            .set_max_group_prepared_capacity(*max_prepared)
            .pool_state(state.clone())
            .reuse_on_scale_in(*reuse)
            .build()
    }

    /// In the notation of the spec; `None` if there is none.
    pub fn to_spec(&self) -> Option<WarmPool> {
        let Pool { min_size, max_prepared, state, reuse } = self.0.as_ref()?;
        Some(WarmPool {
            enabled: true,
            min_size: Some(*min_size),
            max_group_prepared_capacity: *max_prepared,
            pool_state: Some(match state {
                WarmPoolState::Running => PoolState::Running,
                WarmPoolState::Hibernated => PoolState::Hibernated,
                _ => PoolState::Stopped,
            }),
            reuse_on_scale_in: Some(*reuse),
        })
    }
}

/// What the spec sets, and otherwise the current settings.
pub fn desired(spec: &WarmPool, current: &ObservedWarmPool) -> ObservedWarmPool {
    let WarmPool { enabled, min_size, max_group_prepared_capacity, pool_state, reuse_on_scale_in } = spec;
    let now = current.0.clone().unwrap_or_default();
    ObservedWarmPool(enabled.then(|| Pool {
        min_size: min_size.unwrap_or(now.min_size),
        max_prepared: max_group_prepared_capacity.or(now.max_prepared),
        state: pool_state.map_or(now.state, state),
        reuse: reuse_on_scale_in.unwrap_or(now.reuse),
    }))
}

/// For an update; `None` if nothing differs.
pub fn config(spec: Option<&WarmPool>, current: &ObservedWarmPool) -> Option<WarmPoolConfig> {
    let wanted = desired(spec?, current);
    (wanted != *current).then(|| wanted.to_config())
}

/// For a new node group; `None`: the spec sets none.
pub fn initial(spec: Option<&WarmPool>) -> Option<WarmPoolConfig> {
    config(spec, &ObservedWarmPool::default())
}
