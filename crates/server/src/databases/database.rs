//! One database: what the settings say of it, and what consoles have ordered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use pgherd_core::id::GroupId;
use pgherd_core::settings::DatabaseSettings;
use pgherd_core::topology::{Group, Topology};

use super::Places;

/// Which database it is. Never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatabaseId(pub u32);

/// A database as clients see it.
#[derive(Debug)]
pub struct Database {
    /// Which it is.
    pub id: DatabaseId,
    /// What clients call it.
    pub name: Box<str>,
    /// On which nodes it is.
    pub group: GroupId,
    pub(super) clients: Places,
    // Whether the settings name it now, and not `"*"`.
    is_listed: AtomicBool,
    // Change when settings are read again.
    settings: ArcSwap<DatabaseSettings>,
    // What consoles have ordered.
    // 0, or the number of the order that pauses it.
    paused_by: AtomicU64,
    is_disabled: AtomicBool,
    reconnect_before: AtomicU64,
}

impl Database {
    /// What it is called on the nodes.
    pub fn on_nodes(&self) -> String {
        self.settings.load().on_nodes(&self.name).to_owned()
    }

    /// Whether the settings name it, and not `"*"`.
    pub fn is_listed(&self) -> bool {
        self.is_listed.load(Ordering::Relaxed)
    }

    /// The settings do not name it any more.
    pub(super) fn unlist(&self) {
        self.is_listed.store(false, Ordering::Relaxed);
    }

    /// What consoles have ordered of another one is ordered of this.
    pub(super) fn take_orders_of(&self, other: &Self) {
        self.paused_by.store(other.paused_by.load(Ordering::Relaxed), Ordering::Relaxed);
        self.set_disabled(other.is_disabled());
    }

    /// What is run on a backend when it has been opened, and when it has been reset; empty: nothing.
    pub fn connect_query(&self) -> String {
        self.settings.load().connect_query.clone()
    }

    /// It is so from now on: see [`Databases::follow`](super::Databases::follow).
    pub(super) fn follow(&self, settings: DatabaseSettings, now: &dyn Fn() -> u64) {
        let before = self.settings.swap(Arc::new(settings.clone()));
        let is_other = before.on_nodes(&self.name) != settings.on_nodes(&self.name)
            || before.connect_query != settings.connect_query
            || !before.parameters().eq(settings.parameters());
        if is_other {
            // Later than whatever has begun by what was set before.
            self.reconnect(now());
        }
    }

    /// The nodes that it is on.
    pub(crate) fn nodes<'t>(&self, topology: &'t Topology) -> &'t Group {
        topology.group(self.group).expect("settings name no database of other groups")
    }

    /// Its settings.
    pub(crate) fn settings(&self) -> Arc<DatabaseSettings> {
        self.settings.load_full()
    }

    /// Clients that are logged in to it.
    pub(crate) fn client_count(&self) -> usize {
        self.clients.taken()
    }

    /// Whether its clients get no backends for now.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused_by.load(Ordering::Relaxed) != 0
    }

    /// Pauses it, by the order of this number.
    pub(crate) fn pause(&self, order: u64) {
        self.paused_by.store(order, Ordering::Relaxed);
    }

    /// Lets it go on; whether that is a change.
    pub(crate) fn resume(&self) -> bool {
        self.paused_by.swap(0, Ordering::Relaxed) != 0
    }

    /// Lets it go on, if it is paused by this order and by none since.
    pub(crate) fn undo_pause(&self, order: u64) {
        // If it is not, there is nothing to undo.
        let _ = self.paused_by.compare_exchange(order, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether new clients are refused.
    pub(crate) fn is_disabled(&self) -> bool {
        self.is_disabled.load(Ordering::Relaxed)
    }

    /// Has new clients refused, or accepted.
    pub(crate) fn set_disabled(&self, is_disabled: bool) {
        self.is_disabled.store(is_disabled, Ordering::Relaxed);
    }

    /// Until when its backends were opened that are to be closed as soon as they are free, in the
    /// time of [`admin::Admin::nanos`]; 0 is none.
    pub(crate) fn reconnect_before(&self) -> u64 {
        self.reconnect_before.load(Ordering::Relaxed)
    }

    /// Has those closed that were opened until then.
    pub(crate) fn reconnect(&self, before: u64) {
        self.reconnect_before.store(before, Ordering::Relaxed);
    }

    /// Whether a console has ordered something that is not to be forgotten.
    pub(super) fn is_ordered(&self) -> bool {
        self.is_paused() || self.is_disabled()
    }

    pub(super) fn new(
        id: DatabaseId,
        name: &str,
        settings: Arc<DatabaseSettings>,
        is_listed: bool,
        clients: Places,
    ) -> Self {
        let name = name.into();
        let reconnect_before = AtomicU64::new(0);
        Self {
            id,
            name,
            group: settings.group(),
            clients,
            is_listed: AtomicBool::new(is_listed),
            settings: ArcSwap::new(settings),
            paused_by: AtomicU64::new(0),
            is_disabled: AtomicBool::new(false),
            reconnect_before,
        }
    }
}
