//! Where a call waits.

use crate::builder::ConfigError;
use crate::core::lane_state::LaneState;
use crate::current;
use crate::lane::Lane;
use crate::offload::Offload;
use crate::pool::Kind;
use crate::priority::Priority;
use std::sync::Arc;

/// What a call, or an adapter, was told of where to wait.
#[derive(Clone)]
pub(crate) enum Line {
    Lane(Lane),
    /// By its hashed key.
    Tenant(u128),
}

impl Line {
    pub(crate) fn lane(&self) -> Option<&Lane> {
        match self {
            Self::Lane(lane) => Some(lane),
            Self::Tenant(_) => None,
        }
    }
}

/// The lane of a call that is made here to a pool of `offload`: that of its `line`, or of the job
/// that makes the call. `None`: the one that calls share.
///
/// # Errors
///
/// What was asked for contradicts itself.
#[inline]
pub(crate) fn lane(
    line: Option<&Line>,
    class: Option<Priority>,
    offload: &Offload,
    pool: Kind,
) -> Result<Option<Arc<LaneState>>, ConfigError> {
    let turns = offload.turns(pool);
    Ok(match line {
        None => {
            let inherited = current::inherited_lane(turns);
            match class {
                Some(class) => match inherited.and_then(|lane| lane.key()) {
                    Some(key) => Some(offload.tenant(key, class)),
                    None => turns.pool().queue.shared(class).cloned(),
                },
                None => inherited,
            }
        }
        Some(Line::Tenant(key)) => {
            let class = class.or_else(|| {
                let inherited = current::inherited_lane(turns)?;
                Some(inherited.priority())
            });
            Some(offload.tenant(*key, class.unwrap_or_default()))
        }
        Some(Line::Lane(lane)) => {
            if let Some(class) = class {
                let value = format!("{class:?}, in the lane `{}`", lane.name());
                let allowed = "left to the lane: `Lane::priority`";
                return Err(ConfigError::new("priority", value, allowed));
            }
            let foreign = || {
                let (name, allowed) = (lane.name().to_owned(), "of the same `Offload`");
                ConfigError::new("lane", name, allowed)
            };
            Some(lane.state(offload, pool).ok_or_else(foreign)?)
        }
    })
}
