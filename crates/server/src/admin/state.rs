//! What consoles know of the process.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use pgherd_core::Settings;

use super::live;
use crate::auth::MOST_ADDED;

use super::reload::{self, Follower, Reloaded, Source};

/// Whether all databases are held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Pause {
    None,
    Paused,
    Suspended,
}

/// What consoles know of the process beside what its cores tell.
pub struct Admin {
    // What it was started with, but for what a console has changed since.
    settings: Arc<ArcSwap<Settings>>,
    // Users that there is room for.
    most_users: usize,
    // Where they are read again, where somebody has said it.
    source: OnceLock<Source>,
    follower: OnceLock<Follower>,
    // Held while they are read again, and until what was read holds: one after the other.
    reloading: Mutex<()>,
    // Held while they are changed.
    changing: Mutex<()>,
    // How often they were read again.
    reloads: AtomicU64,
    // The same moment on both clocks.
    started: (Instant, SystemTime),
    // A Pause in the lower byte, and above it the number of the order that it is by.
    pause: AtomicU64,
    // Orders of consoles so far.
    orders: AtomicU64,
    // Nanoseconds after the start: backends that were opened before are closed once they are free.
    reconnect_before: AtomicU64,
    // Consoles that are logged in, over all cores.
    consoles: AtomicUsize,
    // A shutdown was asked for.
    ends: AtomicBool,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("orders", &self.orders).finish_non_exhaustive()
    }
}

impl Admin {
    /// For a proxy with these settings, started now.
    pub(crate) fn new(settings: Arc<ArcSwap<Settings>>, now: Instant) -> Self {
        Self {
            most_users: (settings.load().users.len() + MOST_ADDED).min(usize::from(u16::MAX)),
            settings,
            source: OnceLock::new(),
            follower: OnceLock::new(),
            reloading: Mutex::new(()),
            changing: Mutex::new(()),
            reloads: AtomicU64::new(0),
            started: (now, SystemTime::now()),
            pause: AtomicU64::new(0),
            orders: AtomicU64::new(0),
            reconnect_before: AtomicU64::new(0),
            consoles: AtomicUsize::new(0),
            ends: AtomicBool::new(false),
        }
    }

    /// What it was started with, but for what a console has changed since.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Changes a setting. The cores do not know of it yet.
    ///
    /// # Errors
    /// What is wrong with it, or that it cannot be changed.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<(), String> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut settings = Settings::clone(&self.settings());
        live::set(&mut settings, key, value)?;
        self.settings.store(Arc::new(settings));
        Ok(())
    }

    /// Says where settings are read again. Only the first who says it counts.
    pub(crate) fn set_source(&self, source: Source) {
        let _ = self.source.set(source);
    }

    /// Says who else goes by them once they were read again. Only the first who says it counts.
    pub(crate) fn set_follower(&self, follower: Follower) {
        let _ = self.follower.set(follower);
    }

    /// Whether they can be read again.
    pub(crate) fn has_source(&self) -> bool {
        self.source.get().is_some()
    }

    /// Reads the settings again, and has what holds from now on applied, beside what was read; what has
    /// changed. The cores look at it when they see that there was a reload. Waits for the disk.
    ///
    /// # Errors
    /// What is wrong with them. Nothing is changed then.
    pub(crate) fn reload(
        &self,
        apply: impl FnOnce(&Arc<Settings>, &Settings),
    ) -> Result<Reloaded, String> {
        let _one_by_one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let source = self.source.get().ok_or("settings are read at the start only")?;
        let new = source()?;
        new.check().map_err(|errors| errors.to_string())?;
        let alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, outcome) = reload::merge(&self.settings(), &new, self.most_users);
        let held = Arc::new(held);
        self.settings.store(Arc::clone(&held));
        drop(alone);
        apply(&held, &new);
        if let Some(follow) = self.follower.get() {
            follow(&held);
        }
        self.reloads.fetch_add(1, Ordering::Release);
        Ok(outcome)
    }

    /// How often the settings were read again.
    pub(crate) fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Acquire)
    }

    /// Consoles that are logged in.
    pub(crate) fn consoles(&self) -> usize {
        self.consoles.load(Ordering::Relaxed)
    }

    /// One more has logged in.
    pub(crate) fn console_opened(&self) {
        self.consoles.fetch_add(1, Ordering::Relaxed);
    }

    /// One has left.
    pub(crate) fn console_closed(&self) {
        self.consoles.fetch_sub(1, Ordering::Relaxed);
    }

    /// A shutdown was asked for.
    pub(crate) fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// Whether a shutdown was asked for: it is not taken back.
    pub(crate) fn is_ending(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// When it was started, in seconds since 1970.
    pub(crate) fn started_at(&self) -> f64 {
        self.started.1.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    }

    /// The number of an order that no other has; never 0.
    pub(crate) fn next_order(&self) -> u64 {
        self.orders.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Holds all databases up, or lets them go on, by the order of this number.
    pub(crate) fn set_pause(&self, pause: Pause, order: u64) {
        self.pause.store(order << 8 | u64::from(pause as u8), Ordering::Relaxed);
    }

    /// Lets all databases go on, if they are held up by this order and by none since.
    pub(crate) fn undo_pause(&self, order: u64) {
        let is_its = |word: u64| (word >> 8 == order).then_some(0);
        // If it is not, there is nothing to undo.
        let _ = self.pause.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_its);
    }

    /// Has the backends that were opened until now closed as soon as they are free.
    pub(crate) fn reconnect(&self, now: Instant) {
        self.reconnect_before.store(self.nanos(now), Ordering::Relaxed);
    }

    /// Until when backends were opened that are to be closed; 0 is none.
    pub(crate) fn reconnect_before(&self) -> u64 {
        self.reconnect_before.load(Ordering::Relaxed)
    }

    /// A moment in nanoseconds after the start.
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        let after = at.saturating_duration_since(self.started.0);
        // 2^64 of them are 584 years.
        after.as_secs() * 1_000_000_000 + u64::from(after.subsec_nanos())
    }

    /// Whether all databases are held up.
    pub(crate) fn pause(&self) -> Pause {
        match self.pause.load(Ordering::Relaxed) & 0xff {
            pause if pause == Pause::Paused as u64 => Pause::Paused,
            pause if pause == Pause::Suspended as u64 => Pause::Suspended,
            _ => Pause::None,
        }
    }

    /// `2026-11-29 01:20:00 UTC`.
    pub(crate) fn wall_time(&self, at: Instant) -> String {
        let (started, wall) = self.started;
        let wall = match at.checked_duration_since(started) {
            Some(after) => wall + after,
            None => wall - started.saturating_duration_since(at),
        };
        utc(wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

/// A moment in seconds since 1970.
///
/// Source: the days of the civil calendar, counted in eras of 400 years that begin on 1 March, so that
/// a leap day is the last of its year.
fn utc(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_as_date_says() {
        for (seconds, told) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), told);
        }
    }
}
