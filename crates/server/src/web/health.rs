//! `/health` and what `/readyz` says.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use pgherd::HealthReport;
use pgherd_core::stats::Counters;
use pgherd_core::topology::NodeState;
use serde::Serialize;

use super::{Answer, Web, answer, text};

/// For how long a report is good: nodes are asked at most this often, however many want to know.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// What was last answered.
pub(super) struct Kept {
    at: Instant,
    status: StatusCode,
    body: String,
}

/// What is answered: the object that the library's `health_check()` gives, and what only a proxy has.
#[derive(Serialize)]
struct Health<'h> {
    #[serde(flatten)]
    report: &'h HealthReport,
    /// What `/readyz` says.
    ready: bool,
    /// Whether a shutdown was asked for.
    draining: bool,
    version: &'static str,
}

impl Web {
    pub(super) async fn health(&self) -> Answer {
        let mut kept = self.health.lock().await;
        let kept = match &mut *kept {
            Some(kept) if kept.at.elapsed() < GOOD_FOR => kept,
            stale => match self.asked().await {
                Ok(fresh) => stale.insert(fresh),
                Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            },
        };
        answer(kept.status, "application/json", kept.body.clone())
    }

    /// Asks every node.
    async fn asked(&self) -> serde_json::Result<Kept> {
        let answers = self.monitor.probe_all().await;
        let report = HealthReport::new(&self.monitor.snapshot(), &answers, statistics(self));
        let health = Health {
            report: &report,
            ready: why_not_ready(self).is_none(),
            draining: self.proxy.admin.is_ending(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let status = match report.coordinator.healthy {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        Ok(Kept { at: Instant::now(), status, body: serde_json::to_string(&health)? })
    }
}

/// What was asked for so far, counted in batches. Reads are told from writes where there are replicas to
/// send them to, and nowhere else: all others count as writes.
fn statistics(web: &Web) -> Counters {
    let topology = web.monitor.snapshot();
    let nodes = topology.nodes().iter();
    let counts = nodes.flat_map(|node| web.proxy.counts.of_node(node.id.index()));
    let mut sum = Counters::default();
    for counts in counts {
        sum += Counters {
            total: counts.batches.get(),
            reads: counts.reads.get(),
            writes: 0,
            errors: counts.errors.get(),
            retries: counts.retries.get(),
        };
    }
    sum.reads = sum.reads.min(sum.total);
    sum.writes = sum.total - sum.reads;
    sum
}

/// Why no more clients should be sent here, if they should not.
pub(super) fn why_not_ready(web: &Web) -> Option<&'static str> {
    if web.proxy.admin.is_ending() {
        return Some("pgherd is shutting down");
    }
    let topology = web.monitor.snapshot();
    let primary = topology.coordinator().primary;
    let health = topology.health(primary);
    match health.state {
        NodeState::Unknown => Some("nothing was heard of the coordinator yet"),
        NodeState::Down => Some("the coordinator does not answer"),
        NodeState::Up | NodeState::Suspect | NodeState::Probation => {
            (!health.takes_writes()).then_some("the coordinator takes no writes")
        }
    }
}
