//! Writes what was done to the log, a line for each `listen.stats_period`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::admin::report::Scope;
use crate::reactor::mio_driver::Mailbox;
use crate::reactor::{Mail, Proxy, Tally};

/// How often it is looked whether a line is due: the period may change meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// Writes the lines. Has no end.
pub(crate) async fn write_statistics(proxy: Arc<Proxy>, mailboxes: Arc<[Mailbox]>) {
    let mut last = None;
    loop {
        let settings = proxy.admin.settings();
        if !settings.log.statistics {
            // The cores are not asked for nothing.
            last = None;
            tokio::time::sleep(LOOK).await;
            continue;
        }
        let Some((before, since)) = &last else {
            // The first line is about one period, too.
            last = Some((total(&mailboxes).await, Instant::now()));
            continue;
        };
        let left = settings.listen.stats_period.saturating_sub(since.elapsed());
        if !left.is_zero() {
            tokio::time::sleep(left.min(LOOK)).await;
            continue;
        }
        let (total, over) = (total(&mailboxes).await, since.elapsed());
        tell(&total.since(before), over);
        last = Some((total, Instant::now()));
    }
}

/// What all cores have done so far.
async fn total(mailboxes: &[Mailbox]) -> Tally {
    let ask = |mailbox: &Mailbox| {
        let (to, told) = oneshot::channel();
        mailbox.post(Mail::Tell(Some(Scope::Sums), to));
        told
    };
    let mut total = Tally::default();
    for told in mailboxes.iter().map(ask).collect::<Vec<_>>() {
        // A core that has ended does nothing more, and neither will the others.
        let report = told.await.unwrap_or_default();
        report.tallies.iter().for_each(|of_database| total.add(&of_database.total));
    }
    total
}

fn tell(done: &Tally, over: Duration) {
    let per_second = |count: u64| (count as f64 / over.as_secs_f64()).round() as u64;
    let mean_us = |nanos: u64, count: u64| nanos / 1_000 / count.max(1);
    tracing::info!(
        transactions_per_second = per_second(done.transactions),
        queries_per_second = per_second(done.queries),
        logins_per_second = per_second(done.logins),
        in_bytes_per_second = per_second(done.received),
        out_bytes_per_second = per_second(done.sent),
        transaction_us = mean_us(done.transaction_nanos, done.transactions),
        query_us = mean_us(done.query_nanos, done.queries),
        wait_us = mean_us(done.wait_nanos, done.assignments),
        "statistics"
    );
}
