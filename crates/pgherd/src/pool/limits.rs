//! The limits of one pool.

use std::time::Duration;

use pgherd_core::pool::Bounds;
use pgherd_core::settings::PoolSettings;

/// The limits of one pool: `[pool]` of the settings, whose documentation says what each is.
///
/// ```
/// use pgherd::Settings;
/// use pgherd::pool::Limits;
///
/// let limits = Limits::new(&Settings::default().pool);
/// assert_eq!((limits.size, limits.leak_after.is_some()), (20, true));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `pool.size`.
    pub size: usize,
    /// `pool.min_idle`.
    pub min_idle: usize,
    /// `pool.max_opening`.
    pub max_opening: usize,
    /// `pool.max_waiting`.
    pub max_waiting: usize,
    /// `pool.acquire_timeout`.
    pub acquire_timeout: Duration,
    /// `pool.idle_timeout`.
    pub idle_timeout: Duration,
    /// `pool.max_lifetime`.
    pub max_lifetime: Duration,
    /// `pool.check_after`.
    pub check_after: Duration,
    /// `pool.keepalive`; `None` is off.
    pub keepalive: Option<Duration>,
    /// `pool.leak_after`; `None` is off.
    pub leak_after: Option<Duration>,
}

/// The time between two rounds of upkeep, at most: doing any of it some seconds late costs
/// nothing.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

impl Limits {
    /// Those of the settings.
    pub fn new(settings: &PoolSettings) -> Self {
        let unless_off = |limit: Duration| (!limit.is_zero()).then_some(limit);
        Self {
            size: settings.size as usize,
            min_idle: settings.min_idle as usize,
            max_opening: settings.max_opening as usize,
            max_waiting: settings.max_waiting as usize,
            acquire_timeout: settings.acquire_timeout,
            idle_timeout: settings.idle_timeout,
            max_lifetime: settings.max_lifetime,
            check_after: settings.check_after,
            keepalive: unless_off(settings.keepalive),
            leak_after: unless_off(settings.leak_after),
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            min_open: self.min_idle,
            max_opening: self.max_opening,
            max_waiting: self.max_waiting,
            ..Bounds::default()
        }
    }

    /// How long a check may take: so little that there is time for a replacement.
    pub(super) fn check_limit(&self) -> Duration {
        self.acquire_timeout / 4
    }

    /// The time between two rounds of upkeep.
    pub(crate) fn upkeep_interval(&self) -> Duration {
        let limits = [Some(self.idle_timeout), self.keepalive, self.leak_after];
        let shortest = limits.into_iter().flatten().min().unwrap_or(UPKEEP_INTERVAL);
        (shortest / 2).min(UPKEEP_INTERVAL)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(&PoolSettings::default())
    }
}
