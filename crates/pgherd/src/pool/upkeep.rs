//! What is done now and then: closing what is not needed or too old, keeping the rest alive,
//! finding leases that nobody gives back.

use std::sync::Arc;

use tracing::{debug, warn};

use super::lending::{Pool, Shared, now};
use super::lent::Loan;
use super::state::Slot;
use super::{CloseReason, Manager, PoolEvent};

impl<M: Manager> Pool<M> {
    /// Closes idle backends that were not needed for long or are too old, opens what is then
    /// missing, asks those that have been silent for `keepalive` and reports leases that are
    /// held for longer than `leak_after`.
    ///
    /// Dropping the future leaves the rest to the next time.
    pub async fn upkeep(&self) {
        self.0.close_surplus();
        self.0.report_overdue();
        self.0.keep_alive().await;
    }
}

impl<M: Manager> Shared<M> {
    fn close_surplus(self: &Arc<Self>) {
        let now = now();
        let mut gone: Vec<(Box<Slot<M::Backend>>, CloseReason)> = Vec::new();
        let effects = {
            let mut state = self.state.lock();
            let machine = &mut state.machine;
            while let Some(slot) = machine.pop_surplus(now, self.limits.idle_timeout) {
                gone.push((slot, CloseReason::Idle));
            }
            while let Some(slot) = machine.remove_idle(|slot| slot.dies_at <= now) {
                gone.push((slot, CloseReason::Lifetime));
            }
            for (slot, _) in &gone {
                state.forget_backend(slot);
            }
            state.orders(now)
        };
        for (slot, reason) in gone {
            self.close_backend(*slot, reason);
        }
        self.carry_out(effects);
    }

    /// Asks the idle backends that have been silent for long, one after the other.
    async fn keep_alive(self: &Arc<Self>) {
        let Some(limit) = self.limits.keepalive else { return };
        let began = now();
        loop {
            let borrowed = {
                let mut state = self.state.lock();
                state
                    .machine
                    .borrow_idle(|slot| began.saturating_duration_since(slot.heard_at) >= limit)
            };
            let Some((slot, since)) = borrowed else { return };
            // Given back also when the future is dropped.
            let loan = Loan::new(slot, self);
            let check = self.manager.check(&loan.slot().backend);
            let answer = tokio::time::timeout(self.limits.check_limit(), check).await;
            let mut slot = loan.into_slot();
            if answer == Ok(true) {
                slot.heard_at = now();
                self.place(now(), |state| state.machine.put_back(slot, since));
            } else {
                debug!(node = %self.manager.node(), "an idle backend no longer answers");
                self.discard(slot, CloseReason::CheckFailed);
            }
        }
    }

    /// Reports, once each, the leases that are held for too long.
    fn report_overdue(&self) {
        let Some(limit) = self.limits.leak_after else { return };
        let now = now();
        let mut found = Vec::new();
        {
            let mut state = self.state.lock();
            for (_, taken) in &mut state.leases {
                let Some(taken) = taken else { continue };
                let held = now.saturating_duration_since(taken.since);
                if let Some(at) = taken.at
                    && held >= limit
                    && !std::mem::replace(&mut taken.is_reported, true)
                {
                    found.push((at, held));
                }
            }
            state.counts.overdue += found.len() as u64;
        }
        for (taken_at, held) in found {
            let node = self.manager.node();
            warn!(%node, %taken_at, ?held, "a lease is held for longer than pool.leak_after");
            self.observe(|| PoolEvent::Overdue { taken_at, held });
        }
    }
}
